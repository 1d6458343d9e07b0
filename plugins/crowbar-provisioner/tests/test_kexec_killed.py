"""Installations that go on by kexec while the server is killed, the power is cut, or the machine never comes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest

from .hall import DONE, Hall, LightMachine, hall, passed
from .test_killed import STEPS

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("hall")]
MOMENTS = ("kexec", "jumps", "came")
"""Before it says that it goes, before it does, and before it is there."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with hall(tmp_path_factory.mktemp("hall")) as made:
        yield made


def wait(site: Hall, question: Callable[[], bool], what: str) -> None:
    site.server.wait(question, what, site.told)


def halted(site: Hall) -> dict[str, LightMachine]:
    made = dict(zip(MOMENTS, site.add(len(MOMENTS)), strict=True))
    for moment, one in made.items():
        one.closed = {moment}
    site.install(*made.values(), kexec=True)
    for moment, one in made.items():
        wait(site, lambda: one.at == moment, f"{one.node} at {moment}")  # noqa: B023
    return made


def check_installed(site: Hall, machine: LightMachine, steps: list[str], *, by_kexec: bool) -> None:
    """Once, by one run."""
    wait(site, partial(site.is_active, DONE, machine), machine.node)
    [run] = site.runs(machine)
    assert (run["state"], passed(run)) == ("succeeded", steps), site.told()
    assert (machine.writes, machine.half, machine.problem) == (1, False, "")
    found = site.api.get("machines", machine.node)
    assert found["by_kexec"] is by_kexec, site.told()


JUMPED = [*STEPS[:-1], "jumping"]


def test_whatever_is_killed_while_a_machine_goes_on_by_kexec_it_is_installed_once(site: Hall) -> None:
    machines = halted(site)
    for what in ("server", "boot"):
        site.server.kill(what)
    for machine in machines.values():
        machine.open(*MOMENTS)
    for machine in machines.values():
        check_installed(site, machine, JUMPED, by_kexec=True)
    for machine in machines.values():
        site.lab.power(machine.name, "reset")
    for machine in machines.values():
        wait(site, lambda: not site.api.get("machines", machine.node)["by_kexec"], "its firmware")  # noqa: B023


def test_one_whose_power_is_cut_comes_from_its_disk_by_its_firmware(site: Hall) -> None:
    machines = halted(site)
    for machine in machines.values():
        site.lab.power(machine.name, "off")
        machine.open(*MOMENTS)
        site.lab.power(machine.name, "on")
    for machine in machines.values():
        check_installed(site, machine, JUMPED, by_kexec=False)


@contextlib.contextmanager
def impatient(site: Hall) -> Iterator[None]:
    """Who does not come by kexec is reset after half a minute. Elsewhere a busy host may take longer."""
    restart_with(site, {"PLUGINS__PROVISIONER__BOOT_MINUTES": "0.6"})
    try:
        yield
    finally:
        restart_with(site, {})


def restart_with(site: Hall, settings: Mapping[str, str]) -> None:
    site.server.settings = settings
    site.server.kill("all")


def test_one_that_never_comes_is_reset_by_its_hammer_and_comes_by_its_firmware(site: Hall) -> None:
    [machine] = site.add(1)
    machine.closed = {"came"}
    with impatient(site):
        site.install(machine, kexec=True)
        wait(site, lambda: machine.at == "came", "it hangs")
        site.server.kill("server")
        check_installed(site, machine, [*JUMPED, "restarting"], by_kexec=False)
    told = [one["what"] for one in site.api.get("machines", machine.node, query={"fields": "timeline"})["timeline"]]
    assert told[-4:] == ["install: kexec begun", "install: reset", "boots", "install: done"], site.told()
