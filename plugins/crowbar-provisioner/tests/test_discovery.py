"""Machines that nobody knows become nodes, each once, and wait in quarantine; what they say is taken for no more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .conftest import Site
from .light import LOCAL, Machine, host_key


def node_of(site: Site, name: str) -> Any:
    return site.bed.node(name)


def discovered(site: Site, **more: Any) -> tuple[Machine, str]:
    machine = site.machine(**more)
    machine.power_on()
    return machine, machine.registered()["node"]


def test_an_unknown_machine_is_a_node_in_quarantine_and_managed_once_it_is_accepted(site: Site) -> None:
    machine = site.machine(uuid="11111111-2222-3333-4444-000000000001", serial="S-1")
    assert machine.power_on().startswith("#!ipxe\nkernel http://127.0.0.1:")
    assert f" crowbar.mac={machine.macs[0]} crowbar.env=sledgehammer " in machine.script
    said = machine.registered()
    name = f"d{machine.macs[0].replace(':', '-')}.example.org"
    assert (said["node"], said["accepted"], said["env"]) == (name, False, "sledgehammer")
    assert said["authorized_keys"][0].startswith("ssh-rsa AAAA")
    node = node_of(site, name)
    assert (node.available, node.alive, node.bootenv, node.host_keys) == (False, False, "sledgehammer", (machine.key,))
    assert node.discovery["macs"] == machine.macs
    assert node.discovery["inventory"]["disks"][0]["name"] == "vda"
    assert machine.ask("POST", "/v1/alive", {"alive": True}).status == 200
    assert node_of(site, name).alive
    assert machine.work() == {"accepted": False, "env": "sledgehammer", "work": None, "poll": 5}
    site.accept(name)
    site.bed.anneal_until_quiet()
    assert site.bed.state("crowbar-managed-node", name) == "ACTIVE"
    assert site.bed.state("provisioner-discovered", name) == "ACTIVE"
    assert machine.work()["accepted"]
    assert machine.ask("POST", "/v1/alive", {"alive": False}).status == 200
    assert not node_of(site, name).alive
    (one,) = site.machines(name=name)
    lines = site.web.get(f"/api/v2/machines/{name}?fields=timeline").json["timeline"]
    assert [line["what"] for line in lines] == ["discovered", "is up", "accepted", "goes down"]
    assert (one["state"], one["decided_by"], one["serial"]) == ("accepted", "an operator", "S-1")


def test_twenty_machines_that_register_at_once_are_twenty_nodes(site: Site) -> None:
    several = [site.machine(serial=f"MANY-{number}") for number in range(20)]

    def come(machine: Machine) -> str:
        machine.power_on()
        first = machine.registered()["node"]
        assert machine.registered()["node"] == first, "said again, it is the same"
        return str(first)

    with ThreadPoolExecutor(20) as pool:
        names = list(pool.map(come, several))
    assert names == [f"d{machine.macs[0].replace(':', '-')}.example.org" for machine in several]
    there = [one for one in site.machines() if one["serial"].startswith("MANY-")]
    assert sorted(one["name"] for one in there) == sorted(names)


def test_one_machine_that_boots_by_both_its_cards_at_once_is_one_node(site: Site) -> None:
    macs = ["52:54:00:aa:00:01", "52:54:00:aa:00:02"]
    uuid = "11111111-2222-3333-4444-0000000000aa"
    several = [site.machine(macs=macs if card else macs[::-1], uuid=uuid) for card in (0, 1)]

    def come(machine: Machine) -> str:
        machine.power_on()
        return str(machine.registered()["node"])

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(come, several))) == 1


def test_a_machine_with_another_card_or_another_board_is_the_same_node(site: Site) -> None:
    machine, name = discovered(site, uuid="11111111-2222-3333-4444-0000000000bb", serial="S-BB")
    site.accept(name)
    for change in ({"macs": ["52:54:00:bb:00:02"]}, {"uuid": "11111111-2222-3333-4444-0000000000bc"}):
        for what, value in change.items():
            setattr(machine, what, value)
        assert site.web.put(f"/api/v2/machines/{name}/expect").status_code == 200
        machine.power_on()
        assert machine.registered() == {**machine.registered(), "node": name, "accepted": True}
    (one,) = site.machines(name=name)
    assert (one["macs"], one["uuid"]) == (["52:54:00:bb:00:02"], "11111111-2222-3333-4444-0000000000bc")
    assert node_of(site, name).host_keys == (machine.key,)


def test_a_card_that_is_in_another_machine_now_is_not_taken_from_the_first_one(site: Site) -> None:
    first, name = discovered(site, uuid="11111111-2222-3333-4444-0000000000c1", serial="S-C1")
    second = site.machine(uuid="11111111-2222-3333-4444-0000000000c2", serial="S-C2")
    second.macs.append(first.macs[0])
    second.power_on()
    other = second.registered()["node"]
    assert other != name
    rows = {one["name"]: one for one in site.machines()}
    assert (rows[name]["macs"], rows[other]["macs"]) == (first.macs, second.macs[:1])
    assert rows[other]["problem"] == f"Another machine has {first.macs[0]}, too: it stays that one's."


def test_rules_accept_by_subnet_by_mac_and_by_serial_number(site: Site) -> None:
    rules = (
        {"name": "rack", "subnet": "127.9.0.0/16"},
        {"name": "maker", "mac_prefix": "02-11-22"},
        {"name": "list", "serials": ["L-1", "L-2"], "subnet": "127.0.0.0/8"},
    )
    for rule in rules:
        assert site.web.post("/api/v2/accept_rules", json=rule).status_code == 201
    try:
        for more, by in (
            ({"source": "127.9.1.1"}, "rule rack"),
            ({"macs": ["02:11:22:00:00:01"]}, "rule maker"),
            ({"serial": "L-2"}, "rule list"),
            ({"serial": "L-3"}, ""),
        ):
            machine, name = discovered(site, **more)
            (one,) = site.machines(name=name)
            assert (one["state"], one["decided_by"]) == ("accepted" if by else "quarantined", by)
            assert machine.work()["accepted"] is bool(by)
        for wrong in (
            {"name": "x"}, {"name": "x", "subnet": "10.0.0.1/24"}, {"name": "x", "mac_prefix": "zz"},
            {"name": "x", "serials": [""]}, {"subnet": "10.0.0.0/8"}, {"name": "rack", "subnet": "10.0.0.0/8"},
        ):  # fmt: skip
            assert site.web.post("/api/v2/accept_rules", json=wrong).status_code in (409, 422), wrong
        assert site.web.patch("/api/v2/accept_rules/rack", json={"subnet": "127.8.0.0/16"}).status_code == 200
        [told] = site.web.get("/api/v2/audits?action=accept_rule.change").json
        assert told["detail"]["changed"] == {"subnet": {"old": "127.9.0.0/16", "new": "127.8.0.0/16"}}
    finally:
        for rule in rules:
            assert site.web.delete(f"/api/v2/accept_rules/{rule['name']}").status_code == 204


def test_a_refused_machine_is_not_heard_and_boots_from_its_disk(site: Site) -> None:
    machine, name = discovered(site)
    assert site.web.put(f"/api/v2/machines/{name}/refuse").status_code == 200
    assert machine.register().status == 401
    assert machine.power_on() == LOCAL
    machine.platform = "efi"
    assert machine.power_on().startswith("#!ipxe\nchain --autofree http://127.0.0.1:")
    again = site.web.put(f"/api/v2/machines/{name}/accept")
    assert (again.status_code, again.json["detail"].startswith(f"{name} was refused.")) == (409, True)
    assert site.web.delete(f"/api/v2/nodes/{name}").status_code in (200, 204)
    machine.power_on()
    assert machine.registered()["node"] == name, "where its node is gone, it is new"


def test_a_boot_that_nobody_expected_changes_nothing_until_it_is_accepted(site: Site) -> None:
    machine, name = discovered(site, serial="S-UNEXPECTED")
    site.accept(name)
    known = machine.key
    rule = {"name": "unexpected", "serials": ["S-UNEXPECTED"]}
    assert site.web.post("/api/v2/accept_rules", json=rule).status_code == 201, "rules have no say in it"
    machine.power_on()
    machine.more = {"vendor": "Another"}
    said = machine.registered()
    assert (said["node"], said["accepted"], machine.work()["accepted"]) == (name, False, False)
    assert machine.ask("POST", "/v1/alive", {"alive": True}).status == 200
    node = node_of(site, name)
    assert (node.host_keys, node.alive, node.discovery["inventory"]["vendor"]) == ((known,), False, "")
    assert site.web.delete("/api/v2/accept_rules/unexpected").status_code == 204
    (one,) = site.machines(claimed="true", name=name)
    assert one["state"] == "accepted"
    site.accept(name)
    node = node_of(site, name)
    assert (node.host_keys, node.discovery["inventory"]["vendor"]) == ((machine.key,), "Another")
    assert site.machines(claimed="true", name=name) == []
    assert machine.work()["accepted"]
    # One that was announced needs nobody.
    assert site.web.put(f"/api/v2/machines/{name}/expect").status_code == 200
    machine.power_on()
    assert machine.registered()["accepted"]
    assert node_of(site, name).host_keys == (machine.key,)


def test_a_new_boot_ends_the_token_of_the_one_before(site: Site) -> None:
    machine, _ = discovered(site)
    old = machine.token
    machine.power_on()
    assert machine.token not in ("", old)
    for method, path in (("POST", "/v1/register"), ("POST", "/v1/alive"), ("GET", "/v1/work"), ("POST", "/v1/steps")):
        assert machine.ask(method, path, {} if method == "POST" else None, token=old).status == 401, path
    assert machine.ask("GET", f"/b/{old}/vmlinuz").status == 404
    assert machine.ask("GET", f"/b/{machine.token}/vmlinuz").status == 200


def test_a_token_ends_with_its_time(site: Site) -> None:
    machine, _ = discovered(site)
    site.bed.clock.advance(25 * 3600)
    site.bed.periodic("provisioner-tokens")
    assert machine.register().status == 401


def test_the_page_of_a_machine_shows_what_it_said_as_text(site: Site) -> None:
    evil = "<script>alert(1)</script>{{7*7}}"
    machine, name = discovered(site, serial="EVIL" + evil.replace(" ", ""), more={"vendor": evil})
    disk = {"name": "vda", "size": 1 << 33, "model": evil, "serial": evil}
    machine.more = {"disks": [disk]}
    machine.power_on()
    machine.registered()
    (one,) = site.machines(name=name)
    browser = site.browser
    for path in ("/machines", f"/machines/{one['id']}", f"/nodes/{one['node_id']}"):
        shown = browser.open(path)
        assert browser.status == 200
        assert "<script>alert" not in shown
        assert "{{7*7}}" in shown or path == "/machines"
    browser.open("/machines")
    assert "is accepted" in browser.send(f"/machines/{one['id']}/accept")


def test_a_host_key_of_another_node_is_refused(site: Site) -> None:
    first, _ = discovered(site)
    second = site.machine()
    second.power_on()
    second.key = first.key
    answer = second.register()
    assert (answer.status, answer.json["error"]) == (
        409, "One of these host keys is another node's. Each machine needs keys of its own.",
    )  # fmt: skip
    second.key = host_key()
    assert second.register().status == 200
