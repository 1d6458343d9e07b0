"""Machines on which nothing is to be done are switched off, none that must not be, and on again when something is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_provisioner.sleeping import sleep
from crowbar_provisioner.sleeping.policies import SLEEP_ROLE
from sqlalchemy import text

from crowbar_core import Bind, SetHammer, Unbind

from .conftest import Bmc, Site
from .hall import DONE, hall
from .light import Machine
from .test_installing import IMAGE, ROLE, describe, name_of

MINUTE = 60.0


@pytest.fixture(scope="module")
def policy(site: Site) -> None:
    """Ten minutes, for all."""
    said = site.bed.cli("deployments", "add-role", "system", SLEEP_ROLE)
    assert said.exit_code == 0, said.output
    site.bed.set("provisioner-power-save-minutes", 10, deployment="system", role=SLEEP_ROLE)
    site.bed.commit()


@pytest.fixture
def machine(site: Site, policy: None) -> Iterator[Machine]:
    """Accepted, managed, with a hammer; idle since a moment ago."""
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE)
    describe(site)
    number = next(site.numbers)
    for made in site.managed(serial=f"S-{number}", uuid=f"11111111-2222-3333-4444-{number:012}"):
        look(site)
        yield made


def look(site: Site, minutes: float = 0) -> None:
    site.bed.clock.advance(minutes * MINUTE)  # type: ignore[attr-defined]
    site.bed.periodic("provisioner-sleep")
    site.bed.anneal_until_quiet()


def said_of(site: Site, name: str) -> tuple[str, bool]:
    return str(site.web.get(f"/api/v2/nodes/{name}").json["state"]), bool(site.machines(name=name)[0]["asleep"])


def test_an_idle_machine_is_switched_off_and_woken_by_work_that_is_bound_to_it(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    look(site, 9)
    assert (Bmc.told, said_of(site, name)) == ([], ("ACTIVE", False))
    look(site, 2)
    assert (Bmc.told, said_of(site, name)) == ([(name, "off")], ("OFF", True))
    assert "not alive now" not in str(site.web.get("/api/v2/health").json["findings"]), "it is no trouble"
    assert "asleep" in site.browser.open(f"/machines?name={name}")
    assert "asleep: it was switched off" in site.browser.open(f"/machines/{site.machines(name=name)[0]['id']}")
    look(site, 60)
    assert Bmc.told == [(name, "off")], "it sleeps on"
    site.bed.apply(Bind(node=name, role=ROLE, commit=True))
    site.bed.anneal_until_quiet()
    assert (Bmc.told[1:], said_of(site, name)[1]) == ([(name, "on")], False), "at once: nobody has looked"
    site.bed.clock.advance(3 * 60 * MINUTE)  # type: ignore[attr-defined]
    machine.power_on()
    assert machine.registered()["accepted"], "its boot was ordered, and may take its time"
    machine.ask("POST", "/v1/alive", {"alive": True})
    site.bed.anneal_until_quiet()
    assert site.bed.runs(ROLE, name), "its work goes on"


def test_an_operator_puts_it_to_sleep_and_wakes_it(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    assert "is not asleep" in site.bed.cli("machines", "wake", name).output
    said = site.bed.cli("machines", "sleep", name)
    assert said.exit_code == 0, said.output
    site.bed.anneal_until_quiet()
    assert (Bmc.told, said_of(site, name)[1]) == ([(name, "off")], True)
    site.browser.send(f"/machines/{site.machines(name=name)[0]['id']}/wake")
    site.bed.anneal_until_quiet()
    assert (Bmc.told[1:], said_of(site, name)[1]) == ([(name, "on")], False)
    machine.power_on()
    assert machine.registered()["accepted"]


def test_one_that_is_switched_on_as_any_node_is_keeps_its_standing(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    look(site, 11)
    assert said_of(site, name) == ("OFF", True)
    said = site.bed.cli("nodes", "power", name, "on")
    assert said.exit_code == 0, said.output
    site.bed.anneal_until_quiet()
    assert not said_of(site, name)[1]
    machine.power_on()
    assert machine.registered()["accepted"]


def test_what_no_hammer_can_switch_on_keeps_nobody_awake(
    site: Site, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sleep, "MOST", 2)
    first = name_of(machine)
    (hammer,) = [one for one in site.web.get(f"/api/v2/nodes/{first}/hammers").json if one["name"] == "bmc"]
    with contextlib.ExitStack() as stack:
        others = [name_of(stack.enter_context(contextlib.contextmanager(site.managed)(hammer=False))) for _ in range(3)]
        last = name_of(stack.enter_context(contextlib.contextmanager(site.managed)()))
        assert site.web.delete(f"/api/v2/hammers/{hammer['id']}").status_code in (200, 204)
        look(site)
        look(site, 11)
        look(site, 1)
        look(site, 1)
        assert Bmc.told == [(last, "off")]
        asleep = [one["name"] for one in site.machines(asleep="true")]
        assert asleep == [last], f"none of {first}, {others}"


def test_what_hinders_waking_hinders_no_binding_and_is_told(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    look(site, 11)
    (hammer,) = [one for one in site.web.get(f"/api/v2/nodes/{name}/hammers").json if one["name"] == "bmc"]
    assert site.web.delete(f"/api/v2/hammers/{hammer['id']}").status_code in (200, 204)
    site.bed.apply(Bind(node=name, role=ROLE))
    site.bed.anneal_until_quiet()
    assert said_of(site, name)[1]
    assert f"No hammer of node {name} can 'on'" in site.bed.cli("--format", "json", "hooks", "list").output
    site.bed.apply(SetHammer(node=name, name="bmc"))
    assert site.bed.cli("hooks", "retry", "--barclamp", "provisioner").exit_code == 0
    site.bed.anneal_until_quiet()
    assert (Bmc.told[-1], said_of(site, name)[1]) == ((name, "on"), False)


def test_work_begins_the_time_anew(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    look(site, 9)
    site.bed.apply(Bind(node=name, role=ROLE))
    look(site, 9)
    assert Bmc.told == [], "what is only proposed claims it, too"
    site.bed.apply(Unbind(node=name, role=ROLE), Unbind(node=name, role="crowbar-installed-node"))
    look(site)
    look(site, 9)
    assert Bmc.told == []
    look(site, 2)
    assert Bmc.told == [(name, "off")]


def test_what_must_stay_on_stays_on(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    key, node = site.machines(name=name)[0]["id"], site.bed.node(name).id

    def refused() -> str:
        answer = site.web.put(f"/api/v2/machines/{name}/sleep")
        assert answer.status_code == 409, answer.json
        look(site)
        look(site, 20)
        assert Bmc.told == []
        return str(answer.json["detail"])

    def turn(table: str, field: str, row: int) -> None:
        with site.bed.parts.store.write() as session:
            session.execute(text(f"UPDATE {table} SET {field} = NOT {field} WHERE id = {row}"))

    for table, field, row, why in (
        ("nodes", "admin", node, "it is an admin node"),
        ("nodes", "available", node, "only an accepted, available machine"),
        ("provisioner_machines", "joined", key, "was not released"),
    ):
        turn(table, field, row)
        assert why in refused()
        turn(table, field, row)
    assert site.web.patch(f"/api/v2/nodes/{name}", json={"hint": {"stay_on": True}}).status_code == 200
    assert "its hint stay_on" in refused()
    assert site.web.patch(f"/api/v2/nodes/{name}", json={"hint": {"stay_on": False}}).status_code == 200
    hammer: Any = next(one for one in site.web.get(f"/api/v2/nodes/{name}/hammers").json if one["name"] == "bmc")
    assert site.web.delete(f"/api/v2/hammers/{hammer['id']}").status_code in (200, 204)
    assert "no hammer that could switch it on again" in refused()
    site.bed.apply(SetHammer(node=name, name="bmc"), Bind(node=name, role=ROLE))
    assert "is bound to it" in refused()
    site.bed.apply(Unbind(node=name, role=ROLE), Unbind(node=name, role="crowbar-installed-node"))
    look(site)
    look(site, 11)
    assert Bmc.told == [(name, "off")], "nothing else has kept it on"


def test_a_node_has_a_time_of_its_own(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    site.bed.bind(SLEEP_ROLE, name)
    site.bed.set("provisioner-power-save-minutes", 0, node=name, role=SLEEP_ROLE)
    site.bed.commit()
    site.bed.anneal_until_quiet()
    look(site)
    look(site, 600)
    assert Bmc.told == []
    site.bed.set("provisioner-power-save-minutes", 30, node=name, role=SLEEP_ROLE)
    site.bed.commit()
    site.bed.anneal_until_quiet()
    look(site)
    look(site, 20)
    assert Bmc.told == []
    look(site, 11)
    assert Bmc.told == [(name, "off")]


@pytest.mark.lab
def test_a_node_of_the_lab_is_switched_off_and_installed_once_work_has_woken_it(tmp_path: Path) -> None:
    """With its real power, a whole server, and the job that looks every minute."""
    with hall(tmp_path) as made:
        (one,) = made.add(1)

        def row() -> dict[str, Any]:
            found: dict[str, Any] = made.api.get("machines", one.node)
            return found

        made.api.put("machines", one.node, "sleep")
        made.server.wait(lambda: not made.lab.node(one.name).powered, "it is off", made.told)
        made.server.wait(lambda: made.api.get("nodes", one.node)["state"] == "OFF", "it is OFF", made.told)
        assert row()["asleep"]
        made.install(one)
        made.server.wait(lambda: made.lab.node(one.name).powered, "it is woken", made.told)
        made.server.wait(lambda: made.is_active(DONE, one), "it is installed", made.told)
        assert (row()["asleep"], row()["claimed"], one.writes) == (False, False, 1)
