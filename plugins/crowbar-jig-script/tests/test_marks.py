"""Destructive roles leave a mark on their node when they have ended well; and nodes refuse the runs of yesterday."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable

import pytest
from crowbar_jig_script.payload import run_program
from crowbar_jig_script.scripts import find_scripts
from crowbar_lab.testing import inside

from crowbar_core import Done, Interrupted, NodeUnreachable, PermanentError, RunCancelled, RunTimeout, TemporaryError
from crowbar_core.testing import wait_until

from .conftest import RUNS, Site

pytestmark = pytest.mark.lab

KEPT = "/var/lib/crowbar-node"
WITNESS = "echo $CROWBAR_RUN_ID >>/root/ledger\n"
# The script's parent leads the run; that one's parent is the shell that stands by, a child of sshd.
CUT = "read -r _ _ _ sshd _ </proc/$PPID/stat; kill -9 $sshd\n"


@pytest.fixture
def once(site: Site) -> str:
    """The token of a binding, on a node whose ledger is empty."""
    site.on_node("rm -f /root/ledger /root/go")
    return secrets.token_hex(16)


def ledger(site: Site) -> list[str]:
    return site.on_node("cat /root/ledger 2>/dev/null").split()


def looked(site: Site, once: str, run_id: int) -> Done | None:
    task = site.task(lambda *_, **__: None, None, once=once, run_id=run_id)
    found = inside(site.lab, lambda: site.jig.look(task), timeout=30)
    assert found is None or isinstance(found, Done)
    return found


# ---------------------------------------------------------------- the mark


def test_a_destructive_role_that_has_ended_well_is_not_run_again_and_its_report_is_kept(site: Site, once: str) -> None:
    script = WITNESS + "write_attribute disk/size 7"
    first = site.start(script, once=once)
    assert first.result() == Done(wall={"disk": {"size": "7"}})
    again = site.start(script, once=once)
    assert again.result() == Done(wall={"disk": {"size": "7"}}, before=True)
    assert len(ledger(site)) == 1
    assert not again.out


def test_the_mark_is_roots_alone_and_outlives_a_start_of_the_node(sites: Callable[..., Site]) -> None:
    site, once = sites(node=2), secrets.token_hex(16)
    site.on_node("rm -f /root/ledger")
    site.run(WITNESS, once=once)
    assert site.on_node(f"stat -c '%a %U' {KEPT}").split() == ["700", "root"]
    site.lab.power(site.name, "reset")
    assert site.start(WITNESS, once=once).result().before
    assert len(ledger(site)) == 1


def test_another_binding_is_another_token_whose_mark_takes_the_old_ones_place(site: Site, once: str) -> None:
    site.run(WITNESS, once=once, node_role_id=77)
    other = secrets.token_hex(16)
    assert not site.start(WITNESS, once=other, node_role_id=77).result().before
    assert len(ledger(site)) == 2
    assert site.on_node(f"ls {KEPT} | grep ^done-77- | grep -v report").split() == [f"done-77-{other}"]


def test_a_role_that_is_not_destructive_leaves_no_mark(site: Site, once: str) -> None:
    site.run('echo "[$CROWBAR_MARK]" >/root/ledger')
    assert ledger(site) == ["[]"]


def test_a_failure_leaves_no_mark(site: Site, once: str) -> None:
    assert isinstance(site.fail(WITNESS + "exit 3", once=once), PermanentError)
    assert isinstance(site.fail({"1.sh": WITNESS, "2.sh": "exit 3"}, once=once), PermanentError)
    assert not site.start(WITNESS, once=once).result().before
    assert len(ledger(site)) == 3


def test_a_role_that_makes_a_new_disk_can_put_the_mark_there(site: Site, once: str) -> None:
    site.run('mkdir -p /root/new/${CROWBAR_MARK%/*} && : >"/root/new/$CROWBAR_MARK"', once=once)
    assert site.on_node(f"ls /root/new{KEPT}").split() == [f"done-1-{once}"]
    site.on_node("rm -r /root/new")


# ---------------------------------------------------------------- the last moment


def test_a_script_that_ends_well_after_its_connection_was_cut_has_succeeded(site: Site, once: str) -> None:
    script = f"trap '' TERM\n{WITNESS}write_attribute a b\n{CUT}sleep 0.5"
    assert site.start(script, once=once).result() == Done(wall={"a": "b"})
    assert len(ledger(site)) == 1


def test_a_script_whose_connection_was_cut_as_its_last_deed_has_succeeded(site: Site, once: str) -> None:
    assert isinstance(site.start(WITNESS + CUT, once=once).result(), Done)


def test_a_script_that_was_cut_off_in_the_middle_is_interrupted_and_has_no_mark(site: Site, once: str) -> None:
    problem = site.fail(WITNESS + CUT + "sleep 635", once=once, run_id=(number := next(RUNS)))
    assert isinstance(problem, Interrupted)
    assert site.running("sleep 635") == []
    assert looked(site, once, number) is None


@pytest.mark.parametrize("way", ["cancelled", "late"])
def test_a_script_that_ends_well_although_it_was_told_to_stop_has_succeeded(
    sites: Callable[..., Site], once: str, way: str
) -> None:
    site = sites(kill_grace=30.0 if way == "cancelled" else 1.0)
    script = f"trap '' TERM\n{WITNESS}echo on\nwhile [ ! -e /root/go ]; do sleep 0.05; done"
    started = site.start(script, once=once, timeout=60.0 if way == "cancelled" else 2.0)
    wait_until(lambda: started.out)
    if way == "cancelled":
        started.cancelled.set()
    wait_until(lambda: site.on_node("sleep 0.2; touch /root/go; echo x"))
    if way == "cancelled":
        assert isinstance(started.result(), Done)
    else:
        assert started.outcome.exception(60) is None or isinstance(started.outcome.exception(60), RunTimeout)
    assert len(ledger(site)) == 1


def test_of_two_scripts_the_second_is_not_begun_when_the_first_was_told_to_stop(site: Site, once: str) -> None:
    scripts = {"1.sh": "trap 'exit 0' TERM\necho on\nwhile :; do sleep 0.05; done", "2.sh": WITNESS}
    started = site.start(scripts, once=once)
    wait_until(lambda: started.out)
    started.cancelled.set()
    assert isinstance(started.error(), RunCancelled)
    assert ledger(site) == []
    assert not site.start({"1.sh": "true", "2.sh": "true"}, once=once).result().before


def test_a_reboot_that_was_announced_marks_success_when_it_has_happened(sites: Callable[..., Site]) -> None:
    site, once = sites(node=2, lost_after=3.0), secrets.token_hex(16)
    script = "write_attribute kernel new; announce_reboot; echo on; sleep 636"
    started = site.start(script, once=once, run_id=(number := next(RUNS)))
    wait_until(lambda: started.out)
    with pytest.raises(TemporaryError, match="still at work"):
        looked(site, once, number)
    site.lab.power(site.name, "reset")
    started.outcome.exception(60)
    assert looked(site, once, number) == Done(wall={"kernel": "new"}, before=True)


def test_a_reboot_that_was_announced_and_then_cut_off_marks_nothing(sites: Callable[..., Site]) -> None:
    site, once = sites(node=2, lost_after=3.0), secrets.token_hex(16)
    started = site.start("announce_reboot; echo on; sleep 637", once=once, run_id=(number := next(RUNS)))
    wait_until(lambda: started.out)
    started.cancelled.set()
    assert isinstance(started.error(), RunCancelled)
    site.lab.power(site.name, "reset")
    assert looked(site, once, number) is None


# ---------------------------------------------------------------- looking


def test_to_look_runs_nothing_and_tells_what_is_still_at_work_from_what_is_done(site: Site, once: str) -> None:
    number = next(RUNS)
    script = f"{WITNESS}write_attribute a b\necho on\nwhile [ ! -e /root/go ]; do sleep 0.05; done"
    started = site.start(script, once=once, run_id=number)
    wait_until(lambda: started.out)
    with pytest.raises(TemporaryError, match="still at work"):
        looked(site, once, number)
    site.on_node("touch /root/go")
    started.result()
    assert looked(site, once, number) == Done(wall={"a": "b"}, before=True)
    assert looked(site, secrets.token_hex(16), number) is None
    assert ledger(site) == [str(number)]


def test_a_run_whose_fate_was_asked_for_before_it_began_does_not_begin_any_more(site: Site, once: str) -> None:
    number = next(RUNS)
    assert looked(site, once, number) is None
    problem = site.fail(WITNESS, once=once, run_id=number)
    assert isinstance(problem, TemporaryError)
    assert "does not begin there again" in problem.detail
    assert ledger(site) == []
    assert not site.start(WITNESS, once=once).result().before


def test_a_node_without_an_address_cannot_be_looked_at(site: Site) -> None:
    with pytest.raises(NodeUnreachable, match="no address"):
        site.jig.look(site.task(None, None, address=None, once="x"))


# ---------------------------------------------------------------- a full disk


class full:  # noqa: N801 - reads like the function that it is
    """No file can be made any more where marks are kept; what is there stays."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def __enter__(self) -> None:
        self.site.on_node(
            f"cp -a {KEPT} /root/kept && mount -t tmpfs -o nr_inodes=40,size=256k none {KEPT} && "
            f"cp -a /root/kept/newest-none {KEPT}/; rm -r /root/kept; n=0; while touch {KEPT}/$n; do n=$((n + 1)); done"
        )

    def __exit__(self, *_: object) -> None:
        self.site.on_node(f"umount {KEPT}")


WAITS = WITNESS + "echo on\nwhile [ ! -e /root/go ]; do sleep 0.05; done"


def test_where_the_disk_is_full_a_run_can_still_be_ended_and_its_end_is_told(site: Site, once: str) -> None:
    site.run("true")
    started = site.start("echo on; sleep 638", once=once, run_id=(number := next(RUNS)))
    wait_until(lambda: started.out)
    with full(site):
        with pytest.raises(TemporaryError, match="still at work"):
            looked(site, once, number)
        started.cancelled.set()
        problem = started.error()
        assert isinstance(problem, RunCancelled)
        assert problem.detail.endswith("what it had started was ended.")
        assert site.running("sleep 638") == []
        assert looked(site, once, number) is None
        with pytest.raises(NodeUnreachable, match="said nothing"):
            looked(site, once, next(RUNS))


def test_a_success_that_cannot_be_marked_counts_and_the_log_says_so(site: Site, once: str) -> None:
    started = site.start(WAITS, once=once)
    wait_until(lambda: started.out)
    with full(site):
        site.on_node("touch /root/go")
        assert started.result() == Done(wall={})
    assert "the node keeps no mark of this success" in started.log.of("crowbar")[-1]


def test_a_role_that_is_done_once_does_not_begin_where_nothing_can_be_kept_of_it(site: Site, once: str) -> None:
    site.run("true")
    with full(site):
        problem = site.fail(WITNESS, once=once)
    assert isinstance(problem, TemporaryError)
    assert not isinstance(problem, Interrupted)
    assert "has no room" in problem.detail
    assert KEPT in problem.detail
    assert ledger(site) == []


# ---------------------------------------------------------------- the fence


def test_an_older_run_is_refused_after_a_newer_one_has_begun_and_nothing_is_touched(site: Site, once: str) -> None:
    older, newer = next(RUNS), next(RUNS)
    site.run("true", run_id=newer)
    for again in (older, newer):
        problem = site.fail(WITNESS, run_id=again)
        assert isinstance(problem, TemporaryError)
        assert not isinstance(problem, Interrupted)
    assert f"has seen run {newer} begin and refuses run {older}" in site.fail(WITNESS, run_id=older).detail
    assert ledger(site) == []
    assert site.remains() == []


def test_an_older_run_neither_ends_nor_disturbs_a_newer_one_that_is_at_work(site: Site, once: str) -> None:
    older, newer = next(RUNS), next(RUNS)
    started = site.start("echo on; while [ ! -e /root/go ]; do sleep 0.05; done; echo whole", run_id=newer)
    wait_until(lambda: started.out)
    assert "refuses run" in site.fail({"10-only.sh": WITNESS}, run_id=older).detail
    site.on_node("touch /root/go")
    started.result()
    assert started.out == ["on", "whole"]
    assert ledger(site) == []


def test_the_fence_outlives_a_start_of_the_node(sites: Callable[..., Site]) -> None:
    site = sites(node=2)
    older, newer = next(RUNS), next(RUNS)
    site.run("true", run_id=newer)
    site.lab.power(site.name, "reset")
    assert "refuses run" in site.fail(WITNESS, run_id=older).detail


def test_run_numbers_of_another_installation_say_nothing(site: Site, once: str) -> None:
    site.run("true", run_id=next(RUNS) + 10**9, installation="another")
    site.run(WITNESS, run_id=1, installation="a-third-one")
    assert ledger(site) == ["1"]


def test_a_worker_that_was_stopped_between_its_last_look_and_the_push_is_refused(
    sites: Callable[..., Site], once: str
) -> None:
    stopped, other = sites(idle_close=301.0), sites(idle_close=302.0)
    older, newer = next(RUNS), next(RUNS)
    meanwhile: list[str] = []

    def begin() -> None:
        other.run(WITNESS, run_id=newer)
        meanwhile.extend(ledger(other))

    problem = stopped.fail(WITNESS, run_id=older, begin=begin)
    assert f"refuses run {older}" in problem.detail
    assert ledger(other) == meanwhile == [str(newer)]


def test_nothing_reaches_a_node_when_the_last_look_says_that_the_run_is_somebody_elses(site: Site, once: str) -> None:
    def begin() -> None:
        raise RunCancelled("it is no longer mine")

    assert "no longer mine" in site.fail(WITNESS, begin=begin).detail
    assert ledger(site) == []


def test_however_runs_come_together_on_a_node_they_begin_in_order_and_never_two_at_once(
    sites: Callable[..., Site], once: str
) -> None:
    """Eight workers, each with a connection of its own, push at once what they have."""
    workers = [sites(idle_close=300.0 + number) for number in range(8)]
    alone = "mkdir /root/alone || echo two >>/root/ledger\n"
    # What is ended in the middle cannot tidy up: the next one does, before it looks.
    scripts = {"05-tidy.sh": "rmdir /root/alone 2>/dev/null; true", "10-only.sh": f"{alone}{WITNESS}sleep 0.1"}
    site = workers[0]
    for worker in workers:
        worker.run(scripts)
    site.on_node("rm -f /root/ledger")
    chance = random.Random(8)
    for _ in range(6):
        numbers = [next(RUNS) for _ in workers]
        chance.shuffle(numbers)
        runs = [worker.start(scripts, run_id=number) for worker, number in zip(workers, numbers, strict=True)]
        for run in runs:
            run.outcome.exception(timeout=60)
        newest = runs[numbers.index(max(numbers))]
        newest.result()
        assert max(map(int, ledger(site))) == max(numbers)
    begun = ledger(site)
    assert "two" not in begun
    assert begun == sorted(begun, key=int), "none began after a newer one"
    assert site.remains() == []


SHELLS = ("dash", "bash", "busybox sh")


@pytest.mark.parametrize("shell", SHELLS)
def test_marks_and_the_fence_are_the_same_in_every_shell(site: Site, once: str, shell: str) -> None:
    site.scripts({"10-only.sh": f"trap '' TERM\n{WITNESS}echo here\nkill -TERM $PPID\nwrite_attribute a b"})

    def push(run_id: int, token: str) -> list[str]:
        task = site.task(None, None, run_id=run_id, once=once)
        program = run_program(task, find_scripts(task.package, "r"), token=token, grace=1)
        command = site.lab.ssh(site.name, [f"exec setsid -w {shell}"])
        done = site.lab.exec(command, input=program, capture_output=True, timeout=60)
        return done.stdout.decode().replace("\x1e", "|").splitlines()

    older, first, second = next(RUNS), next(RUNS), next(RUNS)
    said = push(first, "aa")
    assert said[-1].endswith("|aa| end 0 0"), said
    assert "here" in said
    said = push(second, "bb")
    assert said[-1].endswith("|bb| end 0 0"), said
    assert "|bb| before" in said
    assert "here" not in said
    assert push(older, "cc")[-1] == f"|cc| overtaken {second}"
    assert ledger(site) == [str(first)]
    assert looked(site, once, first) == Done(wall={"a": "b"}, before=True)
