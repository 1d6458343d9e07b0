"""Who comes late from an ordered boot keeps its standing, if it says all that is known of it; nobody else has it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import crowbar_provisioner
import pytest

from .conftest import Bmc, Site
from .light import Machine
from .test_installing import IMAGE, ROLE, Installation, describe

HOUR = 3600.0


@pytest.fixture
def one(site: Site) -> Iterator[Installation]:
    """It was reset to be installed, has not come, and its run has failed: three hours ago."""
    offer_image(site)
    known = str(uuid.uuid4())
    for machine in site.managed(uuid=known, serial=f"S-{known[:8]}"):
        found = Installation(site, machine)
        found.begin()
        assert (found.step, Bmc.told[-1]) == ("booting", (found.name, "reset"))
        machine.ask("POST", "/v1/alive", {"alive": False})
        found.settle()
        wait(site, 2)
        found.settle()
        assert found.state == "ERROR"
        wait(site, 3)
        yield found


def offer_image(site: Site) -> None:
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE)
    describe(site)


def wait(site: Site, hours: float) -> None:
    site.bed.clock.advance(hours * HOUR)  # type: ignore[attr-defined]


def boots(machine: Machine) -> bool:
    """Whether its boot is taken for its own."""
    machine.power_on()
    return bool(machine.registered()["accepted"])


def test_a_machine_that_comes_hours_after_its_reset_is_who_it_was_and_a_retry_installs_it(
    site: Site, one: Installation
) -> None:
    assert boots(one.machine)
    assert one.machine.work()["accepted"]
    told = site.web.get(f"/api/v2/machines/{one.name}?fields=timeline").json["timeline"]
    assert any(line["detail"].endswith("; later than expected") for line in told)
    one.machine.ask("POST", "/v1/alive", {"alive": True})
    assert site.web.put(f"/api/v2/node_roles/{site.bed.node_role(ROLE, one.name).id}/retry").status_code == 200
    one.settle()
    assert one.step == "booting"


def test_once_it_has_come_no_later_boot_is_waited_for(site: Site, one: Installation) -> None:
    assert boots(one.machine)
    wait(site, 1)
    assert not boots(one.machine)
    assert site.machines(claimed="true", name=one.name)


def test_nobody_comes_late_in_the_name_of_a_machine_that_still_answers(site: Site, one: Installation) -> None:
    """A reset that was taken for done, and was not."""
    site.bed.change_node(one.name, alive=True)
    before = site.bed.node(one.name)
    other = site.machine(macs=one.machine.macs, uuid=one.machine.uuid, serial=one.machine.serial)
    assert not boots(other)
    assert not other.work()["accepted"]
    assert site.machines(claimed="true", name=one.name), "a person is asked"
    assert site.bed.node(one.name) == before
    told = site.web.get(f"/api/v2/machines/{one.name}").json["timeline"]
    assert any(line["detail"].endswith("; it runs already") for line in told)


def test_who_knows_all_numbers_of_a_machine_that_is_waited_for_passes_for_it_once_and_that_is_told(
    site: Site, one: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is promised, and what is not: they are no secret."""
    forged = site.machine(macs=one.machine.macs, uuid=one.machine.uuid, serial=one.machine.serial)
    assert boots(forged)
    assert f"{one.name} came later than expected" in site.dashboard()
    audits = site.web.get("/api/v2/audits?action=machine.late&limit=100").json
    assert f"node {one.name}" in [each["subject"] for each in audits]
    monkeypatch.setattr(crowbar_provisioner, "LATE_TOLD", timedelta(days=-36500))
    with site.bed.serving():
        told = [each.detail for each in crowbar_provisioner.status_checks()]
    assert not any("later than expected" in each for each in told), "not for ever"
    assert not boots(one.machine), "of the machine itself a person is asked"
    assert site.machines(claimed="true", name=one.name)
    assert site.web.put(f"/api/v2/machines/{one.name}/refuse").status_code == 200
    assert forged.ask("GET", "/v1/work").status == 401


def test_of_an_installation_that_fails_after_the_boot_nothing_is_waited_for(site: Site) -> None:
    offer_image(site)
    for machine in site.managed(uuid=str(uuid.uuid4()), serial="S-after-boot"):
        one = Installation(site, machine)
        one.begin()
        assert boots(machine)
        one.settle()
        one.says("image", "failed", detail="it was not written")
        one.settle()
        assert one.state == "ERROR"
        machine.ask("POST", "/v1/alive", {"alive": False})
        wait(site, 2)
        assert not boots(machine)


@pytest.mark.parametrize("lies", [{"uuid": ""}, {"serial": ""}, {"uuid": "", "serial": ""}, {"serial": "S-OTHER"}])
def test_who_knows_less_of_a_machine_than_is_known_gets_nothing_of_its_standing(
    site: Site, one: Installation, lies: dict[str, str]
) -> None:
    """And does not take it from the machine itself, which comes afterwards."""
    said = {"uuid": one.machine.uuid, "serial": one.machine.serial, **lies}
    other = site.machine(macs=one.machine.macs, **said)
    assert not boots(other)
    assert not other.work()["accepted"]
    assert boots(one.machine)
    assert other.ask("GET", "/v1/work").status == 401


def test_a_card_that_was_never_this_machines_is_none_of_it(site: Site, one: Installation) -> None:
    assert not boots(site.machine(uuid=one.machine.uuid, serial=one.machine.serial))


def test_it_is_waited_for_a_day_and_no_longer(site: Site, one: Installation) -> None:
    wait(site, 22)
    assert not boots(one.machine)


def test_a_boot_that_was_announced_and_not_ordered_comes_soon_or_waits(site: Site, one: Installation) -> None:
    assert boots(one.machine)
    assert site.web.put(f"/api/v2/machines/{one.name}/expect").status_code == 200
    wait(site, 1)
    assert not boots(one.machine)


def test_a_machine_of_which_only_its_card_is_known_is_not_known_well_enough(site: Site) -> None:
    offer_image(site)
    for machine in site.managed():
        Installation(site, machine).begin()
        machine.ask("POST", "/v1/alive", {"alive": False})
        wait(site, 1)
        assert not boots(machine)
