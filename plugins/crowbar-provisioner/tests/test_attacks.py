"""From a node's root: other nodes' scripts and tokens, forged names, old boots. Nothing foreign is read or forged."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
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


@pytest.mark.parametrize("where", ["inventory", "report"])
def test_a_machine_has_no_hint_and_no_fact_of_a_node_to_set(
    site: Site, pair: tuple[Machine, Machine, str], where: str
) -> None:
    """Nor of itself: what it boots, whether it may be worked on, where it is found, are no words of its own."""
    attacker, victim, name = pair
    before, own = fact(site, name), fact(site, attacker.registered()["node"])
    values: dict[str, Any] = {
        "hint": {"hint-admin-v4addr": f"{victim.source}/24"}, "hints": {"stay_on": True}, "name": name, "node": name,
        "node_id": before[0].id, "bootenv": "local", "served_bootenv": "local", "available": True, "admin": True,
        "system": True, "state": "accepted", "accepted": True, "trusted": True, "deployment": "system",
        "machine_id": before[1]["id"], "env": "local", "token": "x" * 43, "expected_until": "2099-01-01T00:00:00Z",
    }  # fmt: skip
    for field, value in values.items():
        body: dict[str, Any] = {"inventory": attacker.inventory(), "host_keys": [attacker.key]}
        (body["inventory"] if where == "inventory" else body)[field] = value
        answer = attacker.ask("POST", "/v1/register", body)
        assert (answer.status, f"/{field}: " in answer.json["error"]) == (422, True), (field, answer.text)
    assert fact(site, name) == before
    assert fact(site, own[0].name) == own


def test_the_token_of_a_boot_opens_nothing_of_the_api(site: Site, pair: tuple[Machine, Machine, str]) -> None:
    attacker, victim, name = pair
    before = fact(site, name)
    web = site.bed.web("viewer")
    doors = (
        ("GET", "nodes"), ("GET", f"nodes/{name}"), ("GET", "machines"), ("GET", f"machines/{name}"),
        ("GET", "installations"), ("GET", "erasures"), ("GET", "hammers"), ("GET", "attribs"), ("GET", "os_defaults"),
        ("PATCH", f"nodes/{name}"), ("PUT", f"nodes/{name}/alive"), ("PUT", f"nodes/{name}/discovery"),
        ("PUT", f"nodes/{name}/host_keys"), ("DELETE", f"nodes/{name}"), ("PUT", f"machines/{name}/accept"),
        ("PUT", f"machines/{name}/expect"), ("PUT", f"machines/{name}/refuse"), ("PUT", f"machines/{name}/install"),
        ("POST", "accept_rules"), ("POST", "tokens"),
    )  # fmt: skip
    for token, (method, path) in itertools.product((attacker.token, victim.token), doors):
        web.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        answer = web.open(f"/api/v2/{path}", method=method, json={"alive": False} if method != "GET" else None)
        assert answer.status_code == 401, (method, path, answer.text)
    assert fact(site, name) == before


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP"])
def test_an_address_that_is_only_said_is_nobodys(site: Site, pair: tuple[Machine, Machine, str], header: str) -> None:
    attacker, victim, name = pair
    said = {header: f"for={victim.source}" if header == "Forwarded" else victim.source}
    for expected in (False, True):
        if expected:
            assert site.web.put(f"/api/v2/machines/{name}/expect").status_code == 200
        answer = attacker.ask("GET", f"/ipxe?mac={victim.macs[0]}", token="", **said)
        assert (answer.status, "crowbar.token" in answer.text) == (409, False), answer.text
    body = {"inventory": attacker.inventory(), "host_keys": [attacker.key]}
    own = attacker.ask("POST", "/v1/register", body, **said).json["node"]
    assert site.machines(name=own)[0]["source"] == attacker.source


@pytest.mark.parametrize("knows", [("uuid",), ("serial",), ("macs",), ("uuid", "serial", "macs")])
def test_a_node_that_boots_as_nobody_does_not_become_another_one_that_is_waited_for(
    site: Site, knows: tuple[str, ...]
) -> None:
    """By the report of a boot of a card that nobody has, whatever numbers of the other one it knows."""
    attacker, _ = living(site)
    number = next(site.numbers)
    victim = site.machine(uuid=f"11111111-2222-3333-4444-{number:012x}", serial=f"VICTIM-{number}")
    victim.power_on()
    name = victim.registered()["node"]
    site.accept(name)
    victim.ask("POST", "/v1/alive", {"alive": True})
    site.bed.change_node(name, alive=False)  # it was reset
    assert site.web.put(f"/api/v2/machines/{name}/expect").status_code == 200
    before = site.bed.node(name)
    forger = site.machine(macs=[f"52:54:00:66:{number // 256:02x}:{number % 256:02x}"], source=attacker.source)
    forger.power_on()
    for one in knows:
        setattr(forger, one, getattr(victim, one))
    answer = forger.register()
    assert (answer.status, "the address of another node" in answer.text) == (409, True), answer.text
    assert forger.ask("POST", "/v1/alive", {"alive": True}).status == 409
    assert forger.work()["work"] is None
    assert site.bed.node(name) == before
    forger.source = victim.source
    assert forger.register().status == 200, "it is its address that gave it away"


def test_a_node_is_given_no_script_of_one_in_quarantine_and_takes_it_no_token(site: Site) -> None:
    attacker, _ = living(site)
    other, victim = site.machine(), site.machine()
    for one in (other, victim):
        one.power_on()
        one.registered()

    def attack(machine: Machine) -> int:
        return attacker.ask("GET", f"/ipxe?mac={machine.macs[0]}", token="").status

    until_it_is(409, lambda: attack(other))
    assert attack(victim) == 409
    assert victim.register().status == 200, "its token is as valid as before"


def test_an_address_that_a_node_has_left_for_its_disk_is_given_to_others(site: Site) -> None:
    """As DHCP does: where it is found now, it still boots as nobody else."""
    node, name = living(site)
    other = site.machine(source=node.source)
    other.power_on()
    other.registered()

    def asks(source: str) -> int:
        other.source = source
        return other.ask("GET", f"/ipxe?mac={other.macs[0]}", token="").status

    until_it_is(409, lambda: asks(node.source))
    site.bed.change_node(name, bootenv="local")
    hint = {"hint-admin-v4addr": "127.8.0.1/24"}
    assert site.web.patch(f"/api/v2/nodes/{name}", json={"hint": hint}).status_code == 200
    until_it_is(200, lambda: asks(node.source))
    assert asks("127.8.0.1") == 409


def until_it_is(status: int, asks: Callable[[], int]) -> None:
    """Who is alive is looked up every ten seconds."""
    until = time.monotonic() + 120
    while asks() != status:
        assert time.monotonic() < until
        time.sleep(0.2)


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
