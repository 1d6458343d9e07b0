"""Rescue: a node boots the discovery image, is left alone there, disk and all, and comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crowbar_core import ChangeNode, SetBootEnv

from .conftest import Site
from .light import LOCAL, Machine, host_key


@pytest.fixture
def machine(site: Site) -> Iterator[Machine]:
    """It runs a system of its own, from its disk."""
    made = site.machine()
    made.power_on()
    made.name = made.registered()["node"]
    made.ask("POST", "/v1/alive", {"alive": True})
    site.accept(made.name)
    site.bed.anneal_until_quiet()
    made.disk_key = host_key()
    site.bed.apply(
        SetBootEnv(node=made.name, bootenv="local"), ChangeNode(node=made.name, host_keys=[made.disk_key])
    )  # fmt: skip
    assert made.power_on() == LOCAL
    yield made
    site.web.delete(f"/api/v2/nodes/{made.name}?force=true")


def decide(site: Site, machine: Machine, verb: str, status: int = 200) -> str:
    answer = site.web.put(f"/api/v2/machines/{machine.name}/{verb}")
    assert answer.status_code == status, answer.text
    return str(answer.text)


def rescue_of(site: Site, machine: Machine) -> str:
    (row,) = site.machines(name=machine.name)
    return str(row["rescue"])


def test_a_node_is_rescued_with_its_key_and_comes_back_under_that_of_its_disk(site: Site, machine: Machine) -> None:
    bed, name = site.bed, machine.name
    decide(site, machine, "debug")
    node = bed.node(name)
    assert (rescue_of(site, machine), node.bootenv, node.available) == ("wanted", "sledgehammer", False)
    runs = len(bed.runs("provisioner-discovered", name))
    machine.power_on()
    assert machine.env == "sledgehammer"
    said = machine.registered()
    assert (said["accepted"], said["node"], len(said["authorized_keys"])) == (True, name, 1)
    machine.ask("POST", "/v1/alive", {"alive": True})
    bed.anneal_until_quiet()
    node = bed.node(name)
    assert (rescue_of(site, machine), node.alive, node.host_keys) == ("in", True, (machine.key,))
    assert machine.work() == {"accepted": True, "env": "sledgehammer", "work": None, "poll": 5}
    assert len(bed.runs("provisioner-discovered", name)) == runs, "nothing is run on it"
    decide(site, machine, "undebug")
    node = bed.node(name)
    assert (node.bootenv, node.alive, node.available, node.host_keys) == ("local", False, True, (machine.disk_key,))
    assert rescue_of(site, machine) == "leaving"
    assert machine.work()["work"] is None, "local is not served yet"
    bed.anneal_until_quiet()
    assert machine.work()["work"] == {"do": "reboot", "id": "rescue"}
    machine.registered()
    assert bed.node(name).host_keys == (machine.disk_key,), "those of the image do not count any more"
    image = machine.token
    assert machine.power_on() == LOCAL
    bed.change_node(name, alive=True)  # it is probed, and shows the key of its disk
    bed.anneal_until_quiet()
    assert rescue_of(site, machine) == ""
    assert machine.ask("GET", "/v1/work", token=image).status == 401
    lines = site.web.get(f"/api/v2/machines/{name}?fields=timeline").json["timeline"]
    told = [line["what"] for line in lines if line["what"].startswith("rescue")]
    assert told == [
        "rescue: from its next boot on", "rescue: it is in the discovery image", "rescue: ends", "rescue: over",
    ]  # fmt: skip


def test_a_rescue_that_did_not_begin_is_called_off(site: Site, machine: Machine) -> None:
    decide(site, machine, "debug")
    decide(site, machine, "undebug")
    node = site.bed.node(machine.name)
    assert (node.bootenv, node.available, node.host_keys) == ("local", True, (machine.disk_key,))
    assert (rescue_of(site, machine), site.machines(name=machine.name)[0]["expected_until"]) == ("", None)
    assert machine.power_on() == LOCAL


def test_one_that_is_on_its_way_back_can_be_rescued_again(site: Site, machine: Machine) -> None:
    decide(site, machine, "debug")
    machine.power_on()
    machine.registered()
    decide(site, machine, "undebug")
    decide(site, machine, "debug")
    machine.power_on()
    machine.registered()
    assert rescue_of(site, machine) == "in"
    decide(site, machine, "undebug")
    assert site.bed.node(machine.name).host_keys == (machine.disk_key,)


def test_what_cannot_be_rescued_is_said_with_the_way_out(site: Site, machine: Machine) -> None:
    assert "crowbar machines debug" in decide(site, machine, "undebug", 409)
    decide(site, machine, "debug")
    assert "crowbar machines undebug" in decide(site, machine, "debug", 409)
    other = site.machine()
    other.power_on()
    other.name = other.registered()["node"]
    assert "only a machine that was accepted is rescued" in decide(site, other, "debug", 409)
    site.accept(other.name)
    assert "boots the discovery image anyway" in decide(site, other, "debug", 409)


def test_a_node_is_rescued_by_its_own_number_and_name_too(site: Site, machine: Machine) -> None:
    site.bed.add_node("none.example.org")
    assert "is no machine that was discovered" in site.web.put("/api/v2/nodes/none.example.org/debug").text
    site.bed.delete_node("none.example.org")
    key = site.bed.node(machine.name).id
    (row,) = site.machines(name=machine.name)
    for verb, rescue in (("debug", "wanted"), ("undebug", "")):
        for named in (key, machine.name):
            done = site.web.put(f"/api/v2/nodes/{named}/{verb}")
            assert done.status_code == (200 if named == key else 409), done.text
        assert done.status_code == 409
        assert rescue_of(site, machine) == rescue
    assert site.web.put(f"/api/v2/nodes/{key}/debug").json["id"] == row["id"]


def test_commands_and_pages_begin_and_end_a_rescue(site: Site, machine: Machine) -> None:
    done = site.bed.cli("machines", "debug", machine.name, user="operator")
    assert (done.exit_code, "boots the discovery image the next time" in done.stderr) == (0, True), done.stderr
    (row,) = site.machines(name=machine.name)
    place = f"/machines/{row['id']}"
    assert "from its next boot on" in site.browser.open(place)
    assert "It goes back to its disk." in site.browser.send(f"{place}/undebug")
    assert "It boots the discovery image the next time: restart it." in site.browser.send(f"{place}/debug")
    assert site.bed.cli("machines", "undebug", machine.name, user="operator").exit_code == 0
    assert site.bed.cli("machines", "undebug", machine.name, user="viewer").exit_code != 0
