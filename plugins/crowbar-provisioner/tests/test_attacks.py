"""From a node's root: other nodes' scripts and tokens, forged names, old boots. Nothing foreign is read or forged."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from .conftest import Site
from .light import Machine

TOKENLESS = ("-", "x" * 43, "' OR 1=1 --", "../../etc/passwd", "\u00e9" * 3)
HOSTILE = (
    "",
    "../x",
    "a\nb",
    "a\0b",
    "$(id)",
    "; reboot",
    "{{7*7}}",
    "<script>",
    "${mac}",
    "||shell",
    "\u202e",
    "x" * 4097,
)


def living(site: Site) -> tuple[Machine, str]:
    machine = site.machine(uuid="")
    machine.power_on()
    name = machine.registered()["node"]
    site.accept(name)
    machine.ask("POST", "/v1/alive", {"alive": True})
    return machine, name


@pytest.fixture(scope="module")
def pair(site: Site) -> tuple[Machine, Machine, str]:
    """Whose root attacks; whom; and that one's name."""
    attacker, _ = living(site)
    victim, name = living(site)
    return attacker, victim, name


def fact(site: Site, name: str) -> Any:
    """All that an attack could have changed of a node."""
    node = site.bed.node(name)
    (row,) = site.machines(name=name)
    return node, {key: row[key] for key in row if key not in ("last_seen", "booted")}


def test_a_node_is_given_no_script_of_another_one_and_does_not_end_its_boot(
    site: Site, pair: tuple[Machine, Machine, str]
) -> None:
    attacker, victim, name = pair
    before = fact(site, name)
    numbers = [f"mac={victim.macs[0]}", f"mac={victim.macs[0].upper()}", f"mac={victim.macs[0].replace(':', '-')}"]
    for number, platform in itertools.product(numbers, ("pcbios", "efi")):
        for expected in (False, True):
            if expected:
                assert site.web.put(f"/api/v2/machines/{name}/expect").status_code == 200
            answer = attacker.ask("GET", f"/ipxe?{number}&platform={platform}", token="")
            assert (answer.status, "crowbar.token" in answer.text) == (409, False), answer.text
    assert victim.work()["accepted"], "its own token is as valid as before"
    node, row = fact(site, name)
    assert node == before[0]
    assert row | {"expected_until": None} == before[1] | {"expected_until": None}


def test_tokens_that_are_none_reach_nothing(pair: tuple[Machine, Machine, str]) -> None:
    attacker, _, _ = pair
    calls = (
        ("POST", "/v1/register"), ("POST", "/v1/alive"), ("POST", "/v1/steps"), ("GET", "/v1/work"),
        ("POST", "/v1/log"), ("GET", "/v1/images/debian-12.raw"),
    )  # fmt: skip
    for token, (method, path) in itertools.product(TOKENLESS, calls):
        raw = token.encode().decode("latin-1")
        answer = attacker.ask(method, path, {"alive": True} if method == "POST" else None, token=raw)
        assert answer.status == 401, (token, path)


def test_a_node_reports_nothing_in_the_name_of_another_one(site: Site, pair: tuple[Machine, Machine, str]) -> None:
    """With its own token, whatever numbers it claims: it stays the one that it is."""
    attacker, victim, name = pair
    before = fact(site, name)
    own = attacker.registered()["node"]
    kept, more = list(attacker.macs), dict(attacker.more)
    try:
        for claim in (
            {"macs": victim.macs}, {"macs": victim.macs + kept}, {"uuid": "11111111-2222-3333-4444-0000000000ff"},
            {"serial": "S-1"}, {"hostname": name}, {"addresses": [f"{victim.source}/24"]},
        ):  # fmt: skip
            attacker.more = claim
            answer = attacker.register()
            assert (answer.status, answer.json["node"]) == (200, own), claim
            assert fact(site, name) == before, claim
        attacker.more = {}
        attacker.key, key = victim.key, attacker.key
        assert attacker.register().status == 409, "another node's host key"
        attacker.key = key
        for body in ({"alive": False}, {"alive": True}):
            assert attacker.ask("POST", "/v1/alive", body).status == 200
        assert fact(site, name) == before
    finally:
        attacker.macs, attacker.more = kept, more
        attacker.registered()


@pytest.mark.parametrize(
    "place", ["vendor", "serial", "hostname", "kernel", "addresses", "macs", "disk", "nic", "host_keys"]
)
def test_hostile_texts_are_refused_or_are_texts(site: Site, pair: tuple[Machine, Machine, str], place: str) -> None:
    attacker, _, name = pair
    before = fact(site, name)
    for text in HOSTILE:
        inventory = attacker.inventory()
        keys = [attacker.key]
        if place in ("addresses", "macs"):
            inventory[place] = [text]
        elif place == "disk":
            inventory["disks"] = [{"name": text, "size": 1}]
        elif place == "nic":
            inventory["nics"] = [{"name": "eth0", "mac": text}]
        elif place == "host_keys":
            keys = [text]
        else:
            inventory[place] = text
        answer = attacker.ask("POST", "/v1/register", {"inventory": inventory, "host_keys": keys})
        refused = place in ("macs", "disk", "nic", "host_keys") or not text.isprintable() or len(text) > 500
        assert answer.status == (422 if refused else 200), (place, text, answer.text)
        assert text in ("", "../x") or not refused or text not in json.loads(answer.body)["error"]
    assert fact(site, name) == before
    attacker.registered()


def test_an_old_boot_is_not_played_again(site: Site) -> None:
    machine, name = living(site)
    old, key = machine.token, machine.key
    assert site.web.put(f"/api/v2/machines/{name}/expect").status_code == 200
    machine.power_on()
    machine.registered()
    before = fact(site, name)
    machine.key = key
    assert machine.register(token=old).status == 401
    assert machine.ask("POST", "/v1/alive", {"alive": False}, token=old).status == 401
    assert machine.ask("GET", f"/b/{old}/initrd.img", token="").status == 404
    assert fact(site, name) == before


def test_a_flood_of_machines_that_never_register_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowbar_provisioner.boots.STRANGERS_MOST", 3)
    answers = [
        site.machine(macs=[f"52:54:00:fe:00:{number:02x}"]).ask(
            "GET", f"/ipxe?mac=52:54:00:fe:00:{number:02x}", token=""
        ) for number in range(6)
    ]  # fmt: skip
    assert [one.status for one in answers][-2:] == [409, 409]
    again = site.machine(macs=["52:54:00:fe:00:00"])
    assert again.power_on().startswith("#!ipxe\nkernel"), "who comes again takes its own place"
