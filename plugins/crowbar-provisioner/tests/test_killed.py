"""Installations whose server is killed, or finds its disk full, or whose machine loses its power: each ends installed.

The machines are light, and all that they talk to is real: a server of processes, an sshd each, power that can be cut.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from crowbar_core.testing import PostgresServer

from .hall import DONE, Hall, LightMachine, hall, passed

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("hall")]
STEPS = ["serving", "booting", "installing", "leaving", "restarting"]
OF_MOMENT = {"script": "booting", "register": "booting", "restart": "restarting", "local": "restarting"}
"""The step of its run in which the machine halts; else installing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with hall(tmp_path_factory.mktemp("hall")) as made:
        yield made


def wait(site: Hall, question: Callable[[], bool], what: str) -> None:
    site.server.wait(question, what, site.told)


def wait_in(site: Hall, machine: LightMachine, moment: str, what: str) -> None:
    step = OF_MOMENT.get(moment, "installing")
    wait(site, lambda: site.step(machine) == step, what)


def check_installed(site: Hall, machine: LightMachine, *, writes: int = 1) -> None:
    """By one run, whose timeline is complete; it runs from what was written last."""
    wait(site, partial(site.is_active, DONE, machine), machine.node)
    [run] = site.runs(machine)
    assert (run["state"], passed(run)) == ("succeeded", STEPS)
    assert all(one["at"] and one["ended_at"] for one in run["timeline"])
    assert (machine.writes, machine.half, machine.problem) == (writes, False, "")
    [row] = site.api.rows("installations", query={"node": machine.node})
    assert (row["state"], row["percent"]) == ("done", 100)


def lines(site: Hall, machine: LightMachine) -> list[str]:
    """The timeline of the machine, as far as its installation goes."""
    found = site.api.get("machines", machine.node, query={"fields": "timeline"})["timeline"]
    return [what.partition(": ")[2] for one in found if (what := str(one["what"])).startswith("install: ")]


def test_whatever_is_killed_at_whatever_moment_each_machine_is_installed_and_once(site: Hall) -> None:
    halted = site.halted()
    for what in ("server", "all", "boot"):
        site.server.kill(what)
        for moment, machine in halted.items():
            wait_in(site, machine, moment, f"{moment} after {what}")
    for machine in halted.values():
        machine.open()
    for what in ("boot", "server"):  # while all of them are at it
        site.server.kill(what)
    wanted = ["begins", "disk done", "image begun", "image done", "check done", "grow done", "identity done"]
    for machine in halted.values():
        check_installed(site, machine)
        assert lines(site, machine) == [*wanted, "installed done", "restarts", "done"]


def test_a_machine_whose_power_is_cut_at_whatever_moment_goes_on_when_it_is_back(site: Hall) -> None:
    halted = site.halted()
    for machine in halted.values():
        site.lab.power(machine.name, "off")
    for moment, machine in halted.items():
        wait(site, partial(is_dead, site, machine), f"{machine.node} is dead")
        wait_in(site, machine, moment, f"{moment} without power")  # its run may just have been called for the death
        machine.open()
        site.lab.power(machine.name, "on")
    for moment, machine in halted.items():
        check_installed(site, machine, writes=2 if moment == "installed" else 1)


def is_dead(site: Hall, machine: LightMachine) -> bool:
    return not site.api.get("nodes", machine.node)["alive"]


def test_with_processes_apart_on_postgresql_a_machine_installs_while_each_of_them_is_killed(tmp_path: Path) -> None:
    with (
        PostgresServer() as server,
        hall(tmp_path, kinds=("web", "annealer", "service"), database=server.create_database()) as site,
    ):
        early, late = site.add(2)
        early.closed, late.closed = {"script"}, {"image"}
        site.install(early, late)
        for machine, moment in ((early, "script"), (late, "image")):
            wait(site, partial(halts, machine, moment), f"{machine.node} at {moment}")
        site.server.kill("annealer")
        early.open()
        late.open()
        for what in ("boot", "server"):
            site.server.kill(what)
        for machine in (early, late):
            check_installed(site, machine)


SMALL = 'cp -a "$1" "$1.made" && mount -t tmpfs -o size=12m x "$1" && cp -a "$1.made/." "$1" && shift && exec "$@"'


def test_while_the_disk_under_the_server_is_full_machines_wait_and_then_they_are_installed(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with hall(tmp_path, wrapper=("unshare", "--mount", "sh", "-c", SMALL, "sh", data)) as site:
        early, late = site.add(2)
        early.closed, late.closed = {"script"}, {"image"}
        site.install(early, late)
        for machine, moment in ((early, "script"), (late, "image")):
            wait(site, partial(halts, machine, moment), f"{machine.node} at {moment}")
        inside = ["nsenter", f"--mount=/proc/{site.server.pid_of('server')}/ns/mnt", "--", "sh", "-c"]
        subprocess.run([*inside, f"cat /dev/zero >{data}/filler 2>/dev/null; true"], check=True, timeout=60)
        wait(site, lambda: site.api.outside("readyz", accept=(503,))[0] == 503, "the disk is full")
        for machine in (early, late):
            machine.waits = ""
            machine.open()
        for machine in (early, late):
            wait(site, lambda: "disk is full" in machine.waits, f"{machine.node} is told to come again")  # noqa: B023
            assert machine.waits.startswith("503 "), machine.waits
        subprocess.run([*inside, f"rm {data}/filler"], check=True, timeout=60)
        for machine in (early, late):
            check_installed(site, machine)


def halts(machine: LightMachine, moment: str) -> bool:
    return machine.at == moment
