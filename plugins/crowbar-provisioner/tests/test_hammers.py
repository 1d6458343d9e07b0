"""An accepted machine has its hammers by itself, the best one first; and to install it is one wish."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from crowbar_provisioner.bmc import BMC_ROLE

from crowbar_core import SetHammer

from .bmcs import LightBmc, light_bmc
from .conftest import Bmc, Site
from .light import Machine
from .test_installing import IMAGE, ROLE, describe, name_of

INSTALLED = "crowbar-installed-node"


@pytest.fixture
def machine(site: Site) -> Iterator[Machine]:
    """In quarantine."""
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE)
    describe(site)
    made = site.machine()
    made.power_on()
    name = made.registered()["node"]
    made.ask("POST", "/v1/alive", {"alive": True})
    yield made
    site.web.delete(f"/api/v2/nodes/{name}?force=true")


@pytest.fixture
def bmc(monkeypatch: pytest.MonkeyPatch) -> Iterator[LightBmc]:
    monkeypatch.setattr("crowbar_bmc.hammer.PAUSE", 0.01)
    with light_bmc() as made:
        yield made


def hammers(site: Site, name: str) -> list[tuple[str, int]]:
    found = site.web.get(f"/api/v2/nodes/{name}/hammers?fields=name,priority").json
    return sorted(((one["name"], one["priority"]) for one in found), key=lambda one: -one[1])


def test_an_accepted_machine_is_given_ssh_and_what_an_operator_gave_it_stays(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    assert hammers(site, name) == []
    site.accept(name)
    assert hammers(site, name) == [("ssh", -100)]
    other = site.machine()
    other.power_on()
    another = other.registered()["node"]
    site.bed.apply(SetHammer(node=another, name="ssh", priority=7), SetHammer(node=another, name="bmc"))
    site.accept(another)
    assert hammers(site, another) == [("ssh", 7), ("bmc", 0)]


def test_a_machine_that_tells_of_a_bmc_has_it_once_it_is_said_who_logs_in(
    site: Site, machine: Machine, bmc: LightBmc
) -> None:
    name = name_of(machine)
    site.accept(name)
    machine.more = {"bmc": {"present": True, "kind": "redfish", "address": "127.0.0.1"}}
    machine.registered()
    site.bed.periodic("provisioner-hammers")
    assert not site.bed.node_roles(role=BMC_ROLE, node=name), "nobody has said who logs in"
    site.web.post("/api/v2/deployment_roles", json={"deployment_id": "system", "role_id": BMC_ROLE})
    options = {"redfish": {"port": bmc.port, "certificate": "plain-http", "settle": 0}}
    values: dict[str, Any] = {"user": "admin", "password": "crowbar", "options": options}
    try:
        for attribute, value in values.items():
            site.bed.set(f"provisioner-bmc-{attribute}", value, deployment="system")
        site.bed.periodic("provisioner-hammers")
        site.bed.anneal_until_quiet()
        assert site.bed.state(BMC_ROLE, name) == "ACTIVE", site.bed.why(BMC_ROLE, name)
        assert hammers(site, name) == [("redfish", 120), ("ssh", -100)]
        assert site.web.put(f"/api/v2/nodes/{name}/power", json={"action": "reset"}).status_code == 200
        assert bmc.switch.boots == 1, "the BMC comes before ssh"
        site.bed.unbind(BMC_ROLE, name)
        site.bed.anneal_until_quiet()
        site.bed.periodic("provisioner-hammers")
        assert not site.bed.node_roles(role=BMC_ROLE, node=name), "what an operator takes away stays away"
    finally:
        if site.bed.node_roles(role=BMC_ROLE, node=name):
            site.bed.unbind(BMC_ROLE, name)
        site.web.delete("/api/v2/deployment_roles/" + str(deployment_role(site)))


def deployment_role(site: Site) -> int:
    found = site.web.get("/api/v2/deployment_roles?limit=1000").json
    return int(next(one["id"] for one in found if one["role"] == BMC_ROLE))


def test_to_install_is_one_wish_whose_plan_says_what_is_erased(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    path = f"/api/v2/machines/{name}/install"
    early = site.web.put(path, json={})
    assert (early.status_code, "is quarantined: crowbar machines accept" in early.text) == (409, True)
    site.accept(name)
    site.bed.apply(SetHammer(node=name, name="bmc"))
    site.bed.anneal_until_quiet()
    Bmc.told.clear()
    for wrong in ({"os": ""}, {"layout": "zfs"}, {"disk": 1}, {"windows": True}):
        assert site.web.put(path, json=wrong).status_code == 422, wrong
    planned = site.bed.cli("machines", "install", name, "--disk", "DISK1", "--plan", user="operator")
    assert f"{name}: vda, 8.0 GiB, QEMU, serial number DISK1 is ERASED, and debian-12 written" in planned.stdout
    nobody = site.bed.cli("machines", "install", name, user="operator")
    assert (nobody.exit_code, "nobody is here to be asked: give --yes" in nobody.stderr) == (2, True)
    assert not site.bed.node_roles(role=ROLE, node=name), "so far nothing was done"
    page = site.browser.open(f"/machines/{site.machines(name=name)[0]['id']}")
    assert "Erase and install" in page
    key = site.machines(name=name)[0]["id"]
    said = site.browser.send(f"/machines/{key}/install", os="debian-12", disk="vda", layout="flat", name="another")
    assert "Nothing was done" in said
    done = site.bed.cli("machines", "install", name, "--disk", "DISK1", "--yes", user="operator")
    assert done.exit_code == 0, done.stderr
    site.bed.anneal_until_quiet()
    assert (site.bed.state(ROLE, name), site.bed.state(INSTALLED, name)) == ("TRANSITION", "BLOCKED")
    assert Bmc.told == [], "it is installed from the discovery image, which it runs"
    again = site.web.put(path, json={})
    assert (again.status_code, "crowbar nodes redeploy" in again.text) == (409, True)


def test_the_milestone_comes_with_the_role_and_goes_with_it_as_long_as_nothing_was_installed(
    site: Site, machine: Machine
) -> None:
    name = name_of(machine)
    site.accept(name)
    site.bed.anneal_until_quiet()
    site.bed.bind(ROLE, name)
    assert site.bed.state(INSTALLED, name) == "PROPOSED"
    site.bed.unbind(ROLE, name)
    assert not site.bed.node_roles(role=INSTALLED, node=name), "it is not called installed"
    site.bed.bind(ROLE, name)
    site.bed.delete_node(name)
