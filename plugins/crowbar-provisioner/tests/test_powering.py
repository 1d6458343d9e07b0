"""Machines are powered by the BMC that they told of: in installations, and when it refuses, lies or is slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crowbar_lab.vm_bmc import Quirks
from crowbar_provisioner.bmc import BMC_ROLE, hammers_of

from crowbar_core import PermanentError, SetHammer

from .bmcs import LightBmc, light_bmc
from .conftest import Bmc, Site
from .light import host_key
from .test_installing import IMAGE, ROLE, Installation, describe

SAID = {"bmc-user": "admin", "bmc-password": "pw", "bmc-certificate": "authority"}


@pytest.fixture(scope="module")
def database() -> Callable[[], str | None]:
    """One is enough: nothing here asks it anything of its own."""
    return lambda: None


@pytest.fixture
def bmc(monkeypatch: pytest.MonkeyPatch) -> Iterator[LightBmc]:
    monkeypatch.setattr("crowbar_bmc.hammer.PAUSE", 0.01)
    with light_bmc() as made:
        yield made


@pytest.fixture
def one(site: Site, bmc: LightBmc) -> Iterator[Installation]:
    """Accepted and managed; it has told of a BMC, and its noderole of it is bound."""
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE)
    describe(site)
    machine = site.machine()
    machine.more = {"bmc": {"present": True, "kind": "redfish", "address": "127.0.0.1"}}
    machine.power_on()
    name = machine.registered()["node"]
    machine.ask("POST", "/v1/alive", {"alive": True})
    site.accept(name)
    site.bed.bind(BMC_ROLE, name)
    values: dict[str, Any] = {
        "user": "admin", "password": "crowbar", "networks": ["127.0.0.0/8"],
        "options": {"redfish": {"port": bmc.port, "certificate": "plain-http", "settle": 0}},
    }  # fmt: skip
    for attribute, value in values.items():
        site.bed.set(f"provisioner-bmc-{attribute}", value, node=name, role=BMC_ROLE)
    site.bed.commit()
    site.bed.anneal_until_quiet()
    Bmc.told.clear()
    yield Installation(site, machine)
    site.web.delete(f"/api/v2/nodes/{name}?force=true")


def boots(one: Installation) -> None:
    """As its machine does, once it was restarted."""
    one.machine.power_on()
    assert one.machine.env == "debian-12-install"
    assert one.machine.registered()["accepted"]
    one.settle()


# ---- which hammers


@pytest.mark.parametrize(
    "said, found, wanted",
    [
        ({}, {}, {}),
        ({}, {"bmc": None}, {}),
        ({}, {"bmc": {"present": True, "address": ""}}, {}),
        (SAID, {"bmc": {"address": "10.0.9.1"}}, {"ipmi": {}}),
        (SAID, {"bmc": {"address": "10.0.9.1", "kind": "redfish"}, "firmware": "uefi"},
         {"redfish": {"certificate": "authority", "boot_mode": "uefi"}}),
        ({**SAID, "bmc-kind": "both", "bmc-options": {"ipmi": {"cipher": 3}}, "bmc-networks": ["10.0.9.9/24"]},
         {"bmc": {"address": "10.0.9.1"}}, {"redfish": {"certificate": "authority"}, "ipmi": {"cipher": 3}}),
        ({**SAID, "bmc-address": "10.0.9.1", "bmc-networks": ["10.1.0.0/24"]},
         {"bmc": {"address": "10.0.9.7"}}, {"ipmi": {}}),
    ],
)  # fmt: skip
def test_a_node_has_the_hammers_that_its_inventory_and_an_operator_say(said: Any, found: Any, wanted: Any) -> None:
    common = {"address": "10.0.9.1", "user": "admin", "password": "pw"}
    assert hammers_of("n1", said, found) == {name: {**common, **more} for name, more in wanted.items()}


@pytest.mark.parametrize(
    "said, told, why",
    [
        ({}, "10.0.9.1", "nobody has said who logs in there: set provisioner-bmc-user"),
        (SAID, "bmc.evil.example", "which is no address"),
        ({**SAID, "bmc-networks": ["10.0.9.0/24"]}, "192.0.2.1", "which is in none of 10.0.9.0/24"),
        ({**SAID, "bmc-networks": ["10.0.9.0/99"]}, "10.0.9.1", "one is no subnet"),
    ],
)
def test_nobody_logs_in_where_a_node_says_unless_that_can_be(said: Any, told: str, why: str) -> None:
    with pytest.raises(PermanentError, match=why):
        hammers_of("n1", said, {"bmc": {"address": told}})


def test_the_role_gives_the_node_its_hammer_and_says_what_the_bmc_says(site: Site, one: Installation) -> None:
    assert site.bed.state(BMC_ROLE, one.name) == "ACTIVE", site.bed.why(BMC_ROLE, one.name)
    assert site.bed.value("provisioner-bmc-power", one.name, role=BMC_ROLE) == "on"
    (hammer, _) = site.web.get(f"/api/v2/nodes/{one.name}/hammers?fields=name,config&sort=-priority").json
    assert (hammer["name"], hammer["config"]["password"]) == ("redfish", "***")
    assert "its BMC is reached by redfish, and says that it is on" in site.bed.log(BMC_ROLE, one.name)


def power_of(one: Installation) -> tuple[str, str]:
    """In the listing, and on the page."""
    one.site.bed.clock.advance(301)  # type: ignore[attr-defined]
    one.site.bed.periodic("provisioner-power")
    (row,) = one.site.machines(name=one.name)
    return row["power"], one.site.browser.open(f"/machines/{row['id']}")


def test_what_a_bmc_says_of_the_power_is_shown_as_it_was_read_last(one: Installation, bmc: LightBmc) -> None:
    state, page = power_of(one)
    assert (state, "on, read" in page) == ("on", True)
    bmc.switch.on = False
    assert power_of(one)[0] == "off"
    assert "accepted, off" in one.site.browser.open("/machines")
    assert one.name in one.site.bed.cli("machines", "list", user="viewer").stdout
    bmc.bmc.quirks = Quirks(drops=9)
    state, page = power_of(one)
    assert (state, "was asked twice: it ended the connection" in page) == ("", True)


# ---- installations


def test_an_installation_boots_from_the_network_once_and_then_from_the_disk(one: Installation, bmc: LightBmc) -> None:
    one.begin()
    assert (one.step, bmc.switch.boots) == ("booting", 1)
    assert (bmc.switch.target, bmc.switch.mode) == ("Pxe", "Once")
    boots(one)
    one.write()
    one.says("installed", host_keys=[host_key()])
    one.settle()
    assert one.step == "restarting"
    assert (bmc.switch.target, bmc.switch.mode, bmc.switch.boots) == ("Hdd", "Once", 1), "the installer restarts it"


@pytest.mark.parametrize("reset", [True, False])
def test_a_machine_that_is_off_is_switched_on(one: Installation, bmc: LightBmc, reset: bool) -> None:
    bmc.switch.on = False
    one.begin(reset=reset)
    assert (one.step, bmc.switch.on, bmc.switch.boots) == ("booting", True, 1)
    boots(one)
    assert one.step == "installing"


@pytest.mark.parametrize("quirk", [{"refuses": 1}, {"drops": 1}, {"slow": 0.05}, {"says": "on"}])
def test_what_a_bmc_does_that_bmcs_do_is_got_over(one: Installation, bmc: LightBmc, quirk: Any) -> None:
    bmc.switch.on = "says" not in quirk
    bmc.bmc.quirks = Quirks(**quirk)
    one.begin()
    assert (one.step, bmc.switch.boots) == ("booting", 1), one.site.bed.why(ROLE, one.name)
    boots(one)
    assert one.step == "installing"


@pytest.mark.parametrize("quirk", [{"refuses": 99}, {"says": "off"}])
def test_where_a_bmc_fails_the_next_hammer_resets_the_machine(
    site: Site, one: Installation, bmc: LightBmc, quirk: Any
) -> None:
    site.bed.apply(SetHammer(node=one.name, name="bmc"))
    bmc.bmc.quirks = Quirks(**quirk)
    one.begin()
    assert (one.step, Bmc.told) == ("booting", [(one.name, "reset")])


def test_where_no_hammer_is_left_the_installation_ends_with_its_step_and_what_the_bmc_did(
    site: Site, one: Installation, bmc: LightBmc
) -> None:
    bmc.bmc.quirks = Quirks(says="off")
    one.begin()
    assert one.state == "ERROR"
    why = site.bed.why(ROLE, one.name)
    assert "In the step booting: the node could not be reset" in why
    assert "still says 0 s later that the machine is off" in why
    bmc.bmc.quirks = Quirks()
    assert site.web.put(f"/api/v2/node_roles/{site.bed.node_role(ROLE, one.name).id}/retry").status_code == 200
    one.settle()
    assert one.step == "booting"


def test_a_machine_that_was_reset_as_its_bmc_says_and_never_boots_is_told_of_by_its_step(
    site: Site, one: Installation, bmc: LightBmc
) -> None:
    bmc.switch.deaf = True
    one.begin()
    assert (one.step, bmc.switch.boots) == ("booting", 0)
    site.bed.clock.advance(21 * 60)  # type: ignore[attr-defined]
    one.settle()
    assert one.state == "ERROR"
    assert "In the step booting: it did not boot the installer" in site.bed.why(ROLE, one.name)
