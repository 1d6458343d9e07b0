"""Machines over REST, by the command line and on pages, each as the person may."""

from __future__ import annotations

import re
from typing import Any

import crowbar_provisioner
from crowbar_provisioner.pages import span

from crowbar_core.testing import check_barclamp

from .conftest import Site
from .light import GIB


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_provisioner) == []


def test_machines_are_listed_accepted_and_announced_by_command(site: Site) -> None:
    machine = site.machine(serial="CLI-1")
    machine.power_on()
    name = machine.registered()["node"]
    bed = site.bed
    listed = bed.cli("machines", "list", "--state", "quarantined", user="viewer")
    assert (listed.exit_code, name in listed.stdout) == (0, True), listed.stderr
    refused = bed.cli("machines", "accept", name, user="viewer")
    assert refused.exit_code != 0
    assert "quarantined" in bed.cli("machines", "show", name, user="viewer").stdout
    for verb, said in (("accept", "is accepted"), ("expect", "is expected to boot"), ("refuse", "is refused")):
        done = bed.cli("machines", verb, name, user="operator")
        assert (done.exit_code, said in done.stderr + done.stdout) == (0, True), done.stderr
    made = bed.cli("accept-rules", "create", "rack-9", "--subnet", "10.9.0.0/24", user="operator")
    assert made.exit_code == 0, made.stderr
    assert "10.9.0.0/24" in bed.cli("accept-rules", "list", user="viewer").stdout
    wrong = bed.cli("accept-rules", "create", "rack-8", "--subnet", "10.9.0.1/24", user="operator")
    assert "A subnet is an address with the length of its prefix" in wrong.stderr
    assert bed.cli("accept-rules", "destroy", "rack-9", "--yes", user="operator").exit_code == 0
    assert "debian-12" in bed.cli("oses", "list", user="viewer").stdout


def test_pages_make_and_remove_rules_and_the_dashboard_says_who_waits(site: Site) -> None:
    machine, other = site.machine(), site.machine()
    for one in (machine, other):
        one.power_on()
        one.registered()
    site.accept(other.registered()["node"])
    other.power_on()
    other.registered()
    shown = site.dashboard()
    assert re.search(r"\d+ machines? to be accepted: see /machines\?state=quarantined\.", shown)
    again = r"\d+ machines? to be accepted again, which booted unexpectedly: see /machines\?claimed=true\."
    assert re.search(again, shown)
    browser = site.browser
    browser.open("/accept-rules")
    shown = browser.send("/accept-rules", name="rack-7", subnet="10.7.0.0/24", mac_prefix="", serials="S-1 S-2")
    assert "S-1, S-2" in shown
    assert "names a subnet" in browser.send("/accept-rules", name="rack-6", subnet="", mac_prefix="", serials="")
    (rule,) = site.web.get("/api/v2/accept_rules?name=rack-7").json
    assert "The rule is gone." in browser.send(f"/accept-rules/{rule['id']}/remove")


def test_those_that_booted_unexpectedly_are_listed_and_accepted_with_one_command(site: Site) -> None:
    known = [site.machine(serial=f"POWER-{number}") for number in range(2)]
    names = []
    for one in known:
        one.power_on()
        names.append(one.registered()["node"])
        site.accept(names[-1])
    for one in known:  # the power failed, and is back
        one.power_on()
        assert not one.registered()["accepted"]

    def listed() -> str:
        return site.bed.cli("machines", "list", "--claimed", "true", user="viewer").stdout

    assert all(name in listed() for name in names)
    assert all(name in site.browser.open("/machines?claimed=true") for name in names)
    done = site.bed.cli("machines", "accept", *names, user="operator")
    assert done.exit_code == 0, done.stderr
    assert all(one.work()["accepted"] for one in known)
    assert not any(name in listed() for name in names)


WHOLE: dict[str, Any] = {
    "vendor": "Acme", "product": "R640", "cpu": {"model": "Fast", "sockets": 1, "cores": 8, "threads": 16},
    "memory": 64 * GIB, "bmc": {"present": True, "address": "10.0.9.7"},
    "nics": [{"name": "eno1", "mac": "52:54:00:00:00:01", "pci": "0000:3b:00.0", "driver": "ice", "speed": 25000}],
}  # fmt: skip


def test_who_accepts_a_machine_sees_what_it_is_made_of(site: Site) -> None:
    machine = site.machine(more=WHOLE)
    machine.power_on()
    name = machine.registered()["node"]
    (one,) = site.machines(name=name)
    assert "Acme R640, 16 threads, 64.0 GiB, 1 disk" in site.browser.open(f"/machines?name={name}")
    shown = site.browser.open(f"/machines/{one['id']}")
    for text in (
        "Acme R640", "Fast, 1 socket, 8 cores, 16 threads", "64.0 GiB", "10.0.9.7",
        "52:54:00:00:00:01, 0000:3b:00.0, ice, 25000 Mbit/s", "vda, 8.0 GiB, QEMU, serial number DISK1: suitable",
    ):  # fmt: skip
        assert text in shown
    for wrong in ("text", [1], {"disks": "none", "nics": [{}]}, {"memory": "much"}):
        site.bed.change_node(name, discovery={"inventory": wrong})
        assert "Acme" not in site.browser.open(f"/machines/{one['id']}")
        assert site.browser.status == 200, wrong
        assert name in site.browser.open("/machines")


def test_a_page_of_a_machine_is_brought_up_to_date_and_what_is_chosen_on_it_stays(site: Site) -> None:
    machine = site.machine()
    machine.power_on()
    name = machine.registered()["node"]
    site.accept(name)
    (one,) = site.machines(name=name)
    whole = site.browser.open(f"/machines/{one['id']}")
    part = site.web.get(f"/machines/{one['id']}", headers={"HX-Request": "true"}).text
    assert "What happened" in part
    assert "Burn in" in whole
    assert "Burn in" not in part
    times = [span(seconds) for seconds in (0.24, 59.9, 125.2, 12_000)]
    assert times == ["0.2 s", "59.9 s", "2 min 5 s", "3 h 20 min"]
