"""Names from which a process tells that another one has died."""

from __future__ import annotations

import subprocess
import sys

from crowbar_core.services.watch.workers import has_died, worker_name

NAMED = "from crowbar_core.services.watch.workers import worker_name; print(worker_name(), flush=True); input()"


def test_a_process_lives_until_it_ends_also_as_a_zombie() -> None:
    child = subprocess.Popen([sys.executable, "-c", NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert not has_died(name)
    child.stdin.close()
    assert child.stdout.read() == "", "its end of the pipe is closed when it has ended"
    child.stdout.close()
    while not has_died(name):  # nobody has waited for it, so it is a zombie from some moment on
        assert child.returncode is None
    child.wait(30)
    assert has_died(name)


def test_a_number_that_another_process_has_now_is_told_apart_by_its_start() -> None:
    host, machine, pid, started, nonce = worker_name().rsplit("/", 4)
    assert not has_died("/".join((host, machine, pid, started, nonce)))
    assert has_died("/".join((host, machine, pid, str(int(started) - 1), nonce)))


def test_of_a_process_elsewhere_nobody_can_tell() -> None:
    host, _, _, _, nonce = worker_name().rsplit("/", 4)
    assert not has_died("/".join((host, "elsewhere", "999999999", "1", nonce)))
    assert not has_died("nonsense")
