"""However a run ends, nothing goes on unseen: timeouts, cancelling, dead controllers, lost connections, reboots."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from crowbar_jig_script.probe import probe

from crowbar_core import NodeUnreachable, Probe, RunCancelled, RunTimeout, TemporaryError
from crowbar_core.testing import wait_until

from .conftest import RUNS, Site

pytestmark = pytest.mark.lab

FAMILY = """sh -c 'sleep 621; true' & (sleep 622 & sh -c 'trap "" TERM; sleep 623; true') &
until pgrep -fx 'sleep 621' && pgrep -fx 'sleep 622' && pgrep -fx 'sleep 623'; do sleep 0.05; done >/dev/null
echo on; sleep 624"""
MARK = "sleep 62[1-4]"


def test_a_timeout_ends_the_script_with_its_children_and_theirs(site: Site) -> None:
    started = site.start(FAMILY, timeout=10.0)
    problem = started.error()
    assert started.out == ["on"], "its children were there"
    assert isinstance(problem, RunTimeout)
    assert "timed out after 10 s" in problem.detail
    assert "10-only.sh" in problem.detail
    assert site.running(MARK) == []
    assert site.remains() == []
    assert site.run("echo next").out == ["next"]


def test_cancelling_ends_the_script_with_its_children_and_theirs(site: Site) -> None:
    started = site.start(FAMILY)
    wait_until(lambda: started.out == ["on"])
    started.cancelled.set()
    assert isinstance(started.error(), RunCancelled)
    assert site.running(MARK) == []
    assert site.remains() == []


def test_a_script_may_tidy_up_when_it_is_told_to_stop(site: Site) -> None:
    started = site.start("trap 'echo tidying; exit 0' TERM; echo on; while :; do sleep 0.1; done")
    wait_until(lambda: started.out)
    started.cancelled.set()
    assert isinstance(started.error(), RunCancelled)
    assert started.out == ["on", "tidying"]


def test_a_stopped_script_is_ended_too(site: Site) -> None:
    started = site.start("sleep 625 & echo on; kill -STOP $!; kill -STOP $$", timeout=1.0)
    assert isinstance(started.error(), RunTimeout)
    assert site.running("sleep 625") == []


def test_a_log_that_cannot_be_written_ends_the_run_on_the_node(site: Site) -> None:
    def full(line: str, /, *, stream: str = "crowbar") -> None:
        if stream == "stdout":
            raise OSError("no room for the log")

    started = site.start("echo on; sleep 626", log=full)
    assert isinstance(started.outcome.exception(30), OSError | TemporaryError)
    assert site.running("sleep 626") == []


CONTROLLER = """
import json, sys, threading
from crowbar_core import NodeView, Role, Task
from crowbar_jig_script.jig import ScriptJig

config, task = json.load(sys.stdin)
node = NodeView(**task.pop("node"))
def log(line, *, stream="crowbar"):
    print(stream, line, flush=True)
ScriptJig(config).run(Task(**task, node=node, role=Role(name="r", jig="script"), log=log, cancelled=threading.Event()))
"""


def test_what_a_killed_controller_left_running_is_ended_before_the_next_run_begins(site: Site, tmp_path: Path) -> None:
    site.scripts({"10-only.sh": FAMILY})
    view = site.view()
    task = {
        "run_id": next(RUNS), "node_role_id": 1, "attempt": 1, "address": view.addresses[0], "barclamp": "b",
        "package": site.package.name, "deployment": "d", "data": {}, "timeout": 60.0, "refresh": False,
        "node": {"id": 1, "name": view.name, "addresses": view.addresses, "host_keys": view.host_keys},
    }  # fmt: skip
    environment = {**site.lab.environment, "PYTHONPATH": ":".join([str(site.package.parent), *sys.path])}
    controller = site.lab.popen(
        [sys.executable, "-c", CONTROLLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    with controller:
        assert controller.stdin is not None
        assert controller.stdout is not None
        json.dump([site.config, task], controller.stdin)
        controller.stdin.close()
        while controller.stdout.readline() != "stdout on\n":
            assert controller.poll() is None
        controller.kill()
    assert len(site.running(MARK)) >= 4, "a killed controller leaves its run behind"
    started = site.run("pgrep -f 'sleep 62[1-4]'; ls -A /run/crowbar | wc -l")
    assert started.out == ["2"], "the new run finds nothing of the old one, but its own directory and note"
    assert "an earlier run had left" in " ".join(started.log.of("crowbar"))
    assert site.running(MARK) == []
    assert site.remains() == []


def test_a_stranger_with_the_number_of_an_old_run_is_left_alone(site: Site) -> None:
    site.on_node(
        "mkdir -p /run/crowbar/old; setsid sleep 627 </dev/null >/dev/null 2>&1 &"
        ' echo "$! 1 old" >/run/crowbar/run-1-none'
    )
    assert site.run("echo on; ls -A /run/crowbar | wc -l").out == ["on", "2"]
    assert len(site.running("sleep 627")) == 1
    site.on_node("pkill -f 'sleep 627'")


def test_the_children_of_a_run_whose_leader_died_are_ended_by_their_mark(site: Site) -> None:
    problem = site.fail("setsid sleep 628 & sleep 629 & kill -9 $PPID; sleep 630")
    assert isinstance(problem, TemporaryError)
    assert "interrupted" in problem.detail
    assert site.running("sleep 629") == []
    assert site.running("sleep 630") == []
    assert len(site.running("sleep 628")) == 1, "what has a session of its own is a service"
    site.on_node("pkill -f 'sleep 628'")


def test_a_run_whose_connection_breaks_is_ended_over_a_new_one(site: Site) -> None:
    # The script's parent is the shell that stands by, a child of sshd.
    started = site.start("echo on; read -r _ _ _ sshd _ </proc/$PPID/stat; kill -9 $sshd; sleep 631")
    problem = started.error()
    assert isinstance(problem, TemporaryError)
    assert not isinstance(problem, NodeUnreachable)
    assert "interrupted" in problem.detail
    assert site.running("sleep 631") == []
    assert site.remains() == []


def test_a_node_that_is_switched_off_during_a_run_is_unreachable(sites: Callable[..., Site]) -> None:
    site = sites(node=2, lost_after=2.0, connect_timeout=5.0)
    started = site.start("echo on; sleep 632")
    wait_until(lambda: started.out)
    site.lab.power(site.name, "off")
    try:
        problem = started.error()
        assert isinstance(problem, NodeUnreachable)
        assert "was lost during script 10-only.sh" in problem.detail
    finally:
        site.lab.power(site.name, "on")
    assert site.run("echo back").out == ["back"]


def test_a_node_that_reboots_during_a_run_has_interrupted_it(sites: Callable[..., Site]) -> None:
    site = sites(node=2, lost_after=3.0)
    started = site.start("echo on; sleep 633")
    wait_until(lambda: started.out)
    site.lab.power(site.name, "reset")
    problem = started.error()
    assert isinstance(problem, TemporaryError)
    assert f"node {site.name} was rebooted during script 10-only.sh" in problem.detail
    assert site.run("echo back").out == ["back"]


def test_a_role_that_announces_its_reboot_is_done_when_the_node_goes_down(sites: Callable[..., Site]) -> None:
    site = sites(node=2, lost_after=3.0)
    started = site.start({"1.sh": "write_attribute kernel new", "2.sh": "announce_reboot; echo on; sleep 634"})
    wait_until(lambda: started.out)
    site.lab.power(site.name, "reset")
    assert started.result().wall == {"kernel": "new"}
    assert "only the last script" in site.run({"1.sh": "announce_reboot || true", "2.sh": "true"}).log.of("stderr")[0]


def test_a_server_without_sessions_of_their_own_and_one_that_allows_but_one_will_do(sites: Callable[..., Site]) -> None:
    host_key = "/etc/ssh/test_host_key"
    for port, server in {
        2222: f"dropbear -F -E -p 2222 -r {host_key}_dropbear",
        2223: f"/usr/sbin/sshd -D -p 2223 -h {host_key} -o MaxSessions=1",
    }.items():
        site = sites(node=1, port=port)
        site.on_node(f"[ -e {host_key} ] || ssh-keygen -q -t ed25519 -N '' -f {host_key}")
        site.on_node(f"[ -e {host_key}_dropbear ] || dropbearkey -t ed25519 -f {host_key}_dropbear")
        site.on_node(f"setsid {server} </dev/null >/tmp/server.log 2>&1 &")
        connected = wait_until(partial(_probe, site))
        view = site.view(host_keys=connected.host_keys)
        try:
            assert site.run("echo on", node=view).out == ["on"]
            started = site.start(FAMILY, node=view)
            wait_until(partial(getattr, started, "out"))
            started.cancelled.set()
            assert isinstance(started.error(), RunCancelled)
            assert site.running(MARK) == []
        finally:
            site.on_node(f"pkill -f '{server.split()[0]} .*-p {port}'")


def _probe(site: Site) -> Probe | None:
    seen = probe(site.view(host_keys=()), site.jig.connections)
    return seen if seen and seen.alive else None
