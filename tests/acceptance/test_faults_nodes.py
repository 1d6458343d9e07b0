"""What goes wrong on nodes, on real ones: a server dies with a script under way, a node loses power, a script hangs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.registration import register

from crowbar_core.client import Target
from tests.acceptance.processes import Site, installed

pytestmark = pytest.mark.lab

EVIDENCE = "/root/journal", "/root/violations", "/root/open", "/root/lock", "/var/lib/crowbar-node"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(
        f"faults-{os.getpid()}", nodes=3, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()
    ) as lab:
        yield lab


@dataclass
class Stage:
    """A lab whose nodes a server knows, and a look at them that does not go through the server."""

    site: Site
    lab: Lab

    def run(self, node: str, command: str) -> str:
        done = self.lab.exec(self.lab.ssh(node, [command]), capture_output=True, text=True, timeout=30)
        assert done.returncode != 255, done.stderr
        return str(done.stdout)

    def journal(self, node: str) -> list[str]:
        return self.run(node, "cat /root/journal 2>/dev/null").splitlines()

    def check(self) -> None:
        for node in self.lab.nodes:
            assert self.run(node.name, "cat /root/violations 2>/dev/null") == "", f"two at once on {node.name}"

    def register(self) -> list[str]:
        register(self.lab, Target(url=self.site.url, user="admin", password=self.site.password))
        names = [node.name for node in self.lab.nodes]
        for name in names:
            self.site.ask("PUT", f"nodes/{name}/probe")
        return names[1:]


@pytest.fixture
def stage(lab: Lab, tmp_path: Path) -> Iterator[Stage]:
    with installed(tmp_path / "crowbar", lab=lab, kill_grace=10, lease_seconds=120, probe_seconds=0.5) as site:
        one = Stage(site, lab)
        for node in lab.nodes:
            lab.power(node.name, "on")
            one.run(node.name, f"rm -rf {' '.join(EVIDENCE)}")
        site.start("serve")
        yield one


def bound(stage: Stage, *roles: tuple[str, str]) -> None:
    stage.site.ask("POST", "deployments", {"name": "work"})
    for node, role in roles:
        stage.site.bind(node, role)
    stage.site.commit()


def waits(stage: Stage, what: str, question: Callable[[], object]) -> None:
    stage.site.wait(question, what)


def test_what_a_dead_server_left_running_on_a_node_is_killed_before_it_starts_again(stage: Stage) -> None:
    site = stage.site
    node, _ = stage.register()
    bound(stage, (node, "s-after"))
    waits(stage, "the script has begun", lambda: stage.journal(node).count("begin s-slow") == 1)
    first = stage.run(node, "cat /root/lock/pid").strip()
    site.processes[0].kill()
    assert stage.run(node, f"test -d /proc/{first} && echo runs") == "runs\n", "nobody has told it to stop"
    site.start("serve")
    waits(stage, "the script begins again", lambda: stage.journal(node).count("begin s-slow") == 2)
    assert stage.run(node, f"test -d /proc/{first} && echo runs") == ""
    stage.run(node, "touch /root/open")
    site.wait_active()
    stage.check()
    site.check()
    assert stage.journal(node).count("end s-slow") == 1
    lost, again = site.runs_of(node, "s-slow")
    assert (lost["state"], again["state"]) == ("lost", "succeeded")
    assert any("an earlier run had left on the node" in line for line in site.run_log(again["id"]))


def test_a_node_that_loses_power_in_the_middle_comes_back_and_is_finished(stage: Stage) -> None:
    site, lab = stage.site, stage.lab
    node, other = stage.register()
    bound(stage, (node, "s-after"), (other, "follower"))
    waits(stage, "the script has begun", lambda: stage.journal(node).count("begin s-slow") == 1)
    lab.power(node, "off")
    waits(stage, "the node is seen to be dead", lambda: not site.ask("GET", f"nodes/{node}")["alive"])
    waits(stage, "no run is open", lambda: site.working() == 0)
    assert site.runs_of(node, "s-slow")[0]["state"] in ("cancelled", "failed")
    assert site.node_role(node, "s-slow")["state_name"] in ("TODO", "BLOCKED")
    slow = site.node_role(node, "quick")["id"]
    assert "not alive" in site.ask("GET", f"node_roles/{slow}/why")["summary"]
    lab.power(node, "on")
    stage.run(node, "touch /root/open")
    site.wait_active()
    # Now that all is done, it dies again: what stands on it on another node must wait, and then be done again.
    lab.power(node, "off")
    waits(stage, "the ripple", lambda: site.node_role(other, "follower")["state_name"] == "BLOCKED")
    lab.power(node, "on")
    site.wait_active()
    stage.check()
    assert stage.journal(node).count("end s-slow") == 2
    site.check(twice=frozenset({"quick", "follower"}))
    assert len(site.journal("end", other, "follower")) == 2


def test_a_script_that_hangs_is_killed_on_the_node_with_all_its_children(stage: Stage) -> None:
    site = stage.site
    node, other = stage.register()
    stage.run(other, "touch /root/open")
    bound(stage, (node, "s-hang"), (other, "s-after"))
    waits(stage, "ERROR", lambda: site.node_role(node, "s-hang")["state_name"] == "ERROR")
    assert "timed out after 2 s" in site.node_role(node, "s-hang")["status"]
    assert stage.run(node, "pgrep -f '[t]he-deaf-child'") == ""
    assert "hanging now" in site.run_log(site.runs_of(node, "s-hang")[0]["id"])
    waits(stage, "the other node is done", lambda: site.node_role(other, "s-after")["state_name"] == "ACTIVE")
    site.check()


def test_a_server_told_to_stop_ends_what_it_may_on_the_node_and_the_next_one_begins_it_again(stage: Stage) -> None:
    site = stage.site
    node, _ = stage.register()
    bound(stage, (node, "s-deaf"))
    waits(stage, "the script has begun", lambda: stage.journal(node).count("begin s-deaf") == 1)
    pid = int(stage.run(node, "pgrep -o -f 10-deaf").split()[0])
    code, _ = site.processes[0].terminate()
    assert code == 0, site.processes[0].log
    assert stage.run(node, f"test -d /proc/{pid} && echo runs") == "", "it was ended on the node"
    site.start("serve")
    waits(stage, "it begins again", lambda: stage.journal(node).count("begin s-deaf") == 2)
    stage.run(node, "touch /root/open")
    site.wait_active()
    handed_back, again = site.runs_of(node, "s-deaf")
    assert (handed_back["state"], again["state"], again["attempt"]) == ("cancelled", "succeeded", 1)


def test_a_server_told_to_stop_leaves_destructive_work_alone_and_its_mark_is_found(stage: Stage) -> None:
    site = stage.site
    node = erasing(stage)
    code, _ = site.processes[0].terminate()
    assert code == 0, site.processes[0].log
    site.start("serve")
    once = site.node_role(node, "s-once")
    assert once["state_name"] == "ERROR"
    assert "fate unknown" in once["status"]
    assert site.runs_of(node, "s-once")[0]["state"] != "running"
    stage.run(node, "touch /root/open")
    waits(stage, "its mark is found", lambda: site.node_role(node, "s-once")["state_name"] == "ACTIVE")
    assert stage.journal(node) == ["begin s-once", "end s-once"]


def erasing(stage: Stage) -> str:
    """A node on which a destructive script is under way."""
    node, _ = stage.register()
    bound(stage, (node, "s-once"))
    waits(stage, "the script has begun", lambda: stage.journal(node) == ["begin s-once"])
    return node


def state(stage: Stage, node: str) -> str:
    return str(stage.site.node_role(node, "s-once")["state_name"])


def test_destructive_work_that_ended_well_while_nobody_listened_is_found_by_its_mark(stage: Stage) -> None:
    """The worker dies between the script's end and the report."""
    site = stage.site
    node = erasing(stage)
    os.killpg(site.processes[0].popen.pid, signal.SIGSTOP)
    stage.run(node, "touch /root/open")
    waits(stage, "the mark", lambda: stage.run(node, "ls /var/lib/crowbar-node/done-* | grep -v report"))
    site.processes[0].kill()
    site.start("serve")
    waits(stage, "it is ACTIVE", lambda: state(stage, node) == "ACTIVE")
    assert stage.journal(node) == ["begin s-once", "end s-once"]
    assert [run["state"] for run in site.runs_of(node, "s-once")] == ["lost"]
    assert site.node_role(node, "s-once")["status"] == "passed over: it has succeeded before"


def test_destructive_work_that_goes_on_without_its_worker_is_waited_for_and_found(stage: Stage) -> None:
    site = stage.site
    node = erasing(stage)
    site.processes[0].kill()
    server = site.start("serve")
    waits(stage, "its fate is unknown", lambda: state(stage, node) == "ERROR")
    server.find("is still at work on run")
    stage.run(node, "touch /root/open")
    waits(stage, "it is ACTIVE", lambda: state(stage, node) == "ACTIVE")
    assert stage.journal(node) == ["begin s-once", "end s-once"]


def test_destructive_work_on_a_node_that_lost_power_waits_for_an_operators_word(stage: Stage) -> None:
    site, lab = stage.site, stage.lab
    node = erasing(stage)
    lab.power(node, "off")
    waits(stage, "the node is seen to be dead", lambda: not site.ask("GET", f"nodes/{node}")["alive"])
    assert state(stage, node) == "ERROR"
    lab.power(node, "on")
    stage.run(node, "touch /root/open")
    waits(stage, "the node is alive", lambda: site.ask("GET", f"nodes/{node}")["alive"])
    site.processes[0].find("there is no mark of success")
    assert state(stage, node) == "ERROR"
    assert "fate unknown" in site.node_role(node, "s-once")["status"]
    assert stage.journal(node) == ["begin s-once"]
    site.ask("PUT", f"node_roles/{site.node_role(node, 's-once')['id']}/retry")
    site.wait_active()
    assert stage.journal(node) == ["begin s-once", "begin s-once", "end s-once"]


def test_a_node_that_was_declared_dead_while_it_ended_well_is_believed(stage: Stage) -> None:
    """Its worker is told to stop, but the script has just done its work: the worker's late word counts, or the mark."""
    site = stage.site
    node = erasing(stage)
    os.killpg(site.processes[0].popen.pid, signal.SIGSTOP)
    stage.run(node, "touch /root/open")
    waits(stage, "the mark", lambda: stage.run(node, "ls /var/lib/crowbar-node/done-* | grep -v report"))
    os.killpg(site.processes[0].popen.pid, signal.SIGCONT)
    site.ask("PATCH", f"nodes/{node}", {"alive": False})
    site.ask("PUT", f"nodes/{node}/probe")
    waits(stage, "it is ACTIVE", lambda: state(stage, node) == "ACTIVE")
    assert stage.journal(node) == ["begin s-once", "end s-once"]
