"""A real BIND on a lab's node, set up by dns-server, told by dns-database and asked over the wire."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
import pytest
from crowbar_dns.comparing import Edit
from crowbar_dns.drivers import driver_of
from crowbar_dns.tables import services
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from sqlalchemy import select

from .servers import Bind
from .site import API, Site

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(f"dns-{os.getpid()}", nodes=2, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()) as lab:
        yield lab


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """dns-server on the first node, dns-database, and both nodes on the network."""
    made = Site(lab)

    def set_up() -> None:
        made.__enter__()
        for node in lab.nodes:
            made.bed.bind("network-lab", node.name)
        made.bed.bind("dns-server", lab.nodes[0].name)
        made.bed.bind("dns-database")
        made.bed.commit()
        made.settle()

    try:
        inside(lab, set_up)
        yield made
    finally:
        with suppress(AttributeError):
            made.__exit__()


def by_hand(site: Site, edit: Callable[[dns.update.UpdateMessage], None], zone: str = "lab.test") -> None:
    """Change the zone as somebody else would who has a key."""
    with site.bed.change() as change:
        sealed = change.session.scalar(select(services.c.secret).where(services.c.name == site.lab.nodes[0].name))
        key = change.unseal(sealed)
    message = dns.update.UpdateMessage(zone, keyring=dns.tsigkeyring.from_text({"crowbar": ("hmac-sha256", key)}))
    edit(message)
    answer = dns.query.tcp(message, site.lab.nodes[0].ipv4, timeout=30)
    assert answer.rcode() == dns.rcode.NOERROR


def on_node(lab: Lab, node: str, command: str) -> str:
    asked = lab.exec(lab.ssh(node, [command]), capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    return str(asked.stdout)


def is_active(site: Site) -> bool:
    return site.bed.states()["dns-database", "system-phantom"] == "ACTIVE"


def test_nodes_have_names_forward_and_reverse_on_both_families(lab: Lab, site: Site) -> None:
    def work() -> None:
        for node in lab.nodes:
            assert site.ask(node.name, "A") == [node.ipv4]
            assert site.ask(node.name, "AAAA", tcp=True) == [node.ipv6]
            assert site.reverse(node.ipv4) == site.reverse(node.ipv6) == [node.name]
        assert site.ask(lab.nodes[1].name, "A", at=lab.nodes[0].ipv6) == [lab.nodes[1].ipv4]
        assert site.ask("nobody.lab.test", "A") == ["NXDOMAIN"]
        assert not site.bed.hook_failures()
        assert "is not told" not in site.dashboard()

    inside(lab, work)


def test_names_follow_a_node_that_is_made_renamed_given_another_address_and_deleted(lab: Lab, site: Site) -> None:
    def work() -> None:
        site.bed.add_node("fresh.lab.test")
        for address in ("10.77.0.200", "fd00:77::200"):
            given = {"node_id": "fresh.lab.test", "suggestion": address}
            assert site.web.post(f"{API}/networks/lab/allocate_ip", json=given).status_code == 201
        site.follow()
        assert site.ask("fresh.lab.test", "A") == ["10.77.0.200"]
        assert site.reverse("10.77.0.200") == ["fresh.lab.test"]
        [six] = site.ask("fresh.lab.test", "AAAA")
        assert site.web.patch(f"{API}/nodes/fresh.lab.test", json={"name": "other.lab.test"}).status_code == 200
        site.follow()
        assert site.ask("fresh.lab.test", "A") == ["NXDOMAIN"]
        assert site.ask("other.lab.test", "A") == ["10.77.0.200"]
        assert site.reverse(six) == ["other.lab.test"]
        held = site.web.get(f"{API}/nodes/other.lab.test/network_allocations").json
        [four] = [one for one in held if one["ip"] == "10.77.0.200"]
        assert site.web.delete(f"{API}/network_allocations/{four['id']}").status_code == 204
        given = {"node_id": "other.lab.test", "suggestion": "10.77.0.201"}
        assert site.web.post(f"{API}/networks/lab/allocate_ip", json=given).status_code == 201
        site.follow()
        assert site.ask("other.lab.test", "A") == ["10.77.0.201"]
        site.bed.change_node("other.lab.test", bootenv="rescue")
        site.follow()
        assert is_active(site)
        assert site.reverse("10.77.0.200") == ["NXDOMAIN"]
        assert site.web.delete(f"{API}/nodes/other.lab.test").status_code == 204
        site.follow()
        assert site.ask("other.lab.test", "A") == site.reverse("10.77.0.201") == site.reverse(six) == ["NXDOMAIN"]
        assert is_active(site)

    inside(lab, work)


def test_a_server_that_is_down_holds_nobody_up_is_shown_with_since_when_and_told_when_it_is_back(
    lab: Lab, site: Site
) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        on_node(lab, server, "rndc stop; while pidof named >/dev/null; do sleep 0.05; done")
        site.bed.add_node("late.lab.test", hint={"hint-lab-v4addr": "10.77.0.210"})
        site.bind("network-lab", "late.lab.test")
        assert is_active(site)
        assert site.bed.state("network-lab", "late.lab.test") == "ACTIVE"
        shown = site.dashboard()
        assert f"DNS server {server} is not told since " in shown
        assert "does not answer: Connection refused" in shown
        site.bed.periodic("dns-watch")
        site.settle()
        assert "is not told since" in site.dashboard()
        on_node(lab, server, "named -u bind; until rndc status >/dev/null 2>&1; do sleep 0.05; done")
        site.bed.periodic("dns-watch")
        site.settle()
        assert site.ask("late.lab.test", "A") == ["10.77.0.210"]
        assert "is not told since" not in site.dashboard()

    inside(lab, work)


def test_what_was_edited_by_hand_is_put_right_and_what_is_not_crowbars_is_left_alone(lab: Lab, site: Site) -> None:
    node = lab.nodes[1]

    def edit(message: dns.update.UpdateMessage) -> None:
        message.replace(f"{node.name}.", 60, "A", "10.77.9.9")
        message.delete(f"{lab.nodes[0].name}.")
        message.add("mail.lab.test.", 60, "A", "10.77.9.1")
        message.add("lab.test.", 60, "MX", "10 mail.lab.test.")

    def work() -> None:
        by_hand(site, edit)
        assert site.ask(node.name, "A") == ["10.77.9.9"]
        site.bed.periodic("dns-compare")
        site.settle()
        assert site.ask(node.name, "A") == [node.ipv4]
        assert site.ask(lab.nodes[0].name, "A") == [lab.nodes[0].ipv4]
        assert site.ask("mail.lab.test", "A") == ["10.77.9.1"]
        assert site.ask("lab.test", "MX") == ["10 mail.lab.test"]
        log = "\n".join(site.bed.log("dns-database", "system-phantom.internal.local"))
        assert f"lab.test: {node.name} A was {node.ipv4} and was found as 10.77.9.9: put right" in log

    inside(lab, work)


def test_a_name_that_somebody_else_has_is_refused_alone_and_said(lab: Lab, site: Site) -> None:
    def work() -> None:
        by_hand(site, lambda message: message.add("taken.lab.test.", 60, "A", "10.77.9.2"))
        site.bed.add_node("taken.lab.test", hint={"hint-lab-v4addr": "10.77.0.220"})
        site.bed.add_node("beside.lab.test", hint={"hint-lab-v4addr": "10.77.0.221"})
        site.bind("network-lab", "taken.lab.test", "beside.lab.test")
        assert site.ask("taken.lab.test", "A") == ["10.77.9.2"]
        assert site.ask("beside.lab.test", "A") == ["10.77.0.221"]
        assert site.reverse("10.77.0.220") == ["taken.lab.test"]
        assert "taken.lab.test A is there already and is not Crowbar&#39;s (10.77.9.2)" in site.dashboard()
        assert is_active(site)
        by_hand(site, lambda message: message.delete("taken.lab.test.", "A"))
        site.bed.periodic("dns-compare")
        site.settle()
        assert site.ask("taken.lab.test", "A") == ["10.77.0.220"]
        assert "is there already" not in site.dashboard()

    inside(lab, work)


def test_what_comes_back_with_a_backup_goes_again(lab: Lab, site: Site) -> None:
    def work() -> None:
        site.bed.add_node("gone.lab.test", hint={"hint-lab-v4addr": "10.77.0.230"})
        site.bind("network-lab", "gone.lab.test")
        assert site.web.delete(f"{API}/nodes/gone.lab.test").status_code == 204
        site.settle()
        assert site.ask("gone.lab.test", "A") == ["NXDOMAIN"]
        by_hand(site, lambda message: message.add("gone.lab.test.", 300, "A", "10.77.0.230"))
        site.bed.periodic("dns-compare")
        site.settle()
        assert site.ask("gone.lab.test", "A") == ["NXDOMAIN"]

    inside(lab, work)


def test_a_node_asks_the_clusters_server_and_no_longer_when_it_is_unbound(lab: Lab, site: Site) -> None:
    def work() -> None:
        node = lab.nodes[1].name
        before = on_node(lab, node, "cat /etc/resolv.conf")
        site.bind("dns-client", node)
        assert site.bed.value("dns-client-resolver", node, role="dns-client") == "resolv.conf"
        found = on_node(lab, node, f"cat /etc/resolv.conf; getent ahostsv4 {lab.nodes[0].name.partition('.')[0]}")
        assert f"nameserver {lab.nodes[0].ipv4}\n" in found
        assert found.splitlines()[-1].startswith(lab.nodes[0].ipv4)
        site.bed.unbind("dns-client", node)
        site.settle()
        assert on_node(lab, node, "cat /etc/resolv.conf") == before

    inside(lab, work)


def test_the_clusters_server_asks_others_for_all_other_names_for_those_alone_who_may(
    lab: Lab, site: Site, tmp_path: Path
) -> None:
    other, server = Bind(lab, tmp_path / "other", "10.77.0.1", ("outside.test",), 53), lab.nodes[0].name

    def say(**values: Any) -> None:
        for what, value in values.items():
            site.bed.set(f"dns-{what}", value, node=server, role="dns-server")
        site.settle()

    def work() -> None:
        other.start()
        try:
            www = Edit(name="www.outside.test", type="A", values=frozenset(("192.0.2.7",)))
            assert driver_of(other.driver, other.server).write("outside.test", [www]) == {}
            say(forwarders=["10.77.0.1"])
            assert site.ask("www.outside.test", "A") == ["192.0.2.7"]
            say(validation="yes")
            assert site.ask("again.outside.test", "A") == ["SERVFAIL"]  # nothing there is proved
            say(validation="auto", clients=["192.0.2.0/24"])
            assert site.ask("www.outside.test", "A") == ["REFUSED"]
            assert site.ask(server, "A") == [lab.nodes[0].ipv4]
            say(clients=[], forwarders=[])
        finally:
            other.stop()

    inside(lab, work)


SERVICE = "dns-service"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a key that does not fit": ({"key": base64.b64encode(b"another one").decode()}, "does not take the key crowbar"),
    "a key that is none": ({"key": "no base64!"}, "is not base64"),
    "a zone that is not its own": ({"zones": ["example.org"]}, "does not give the zone example.org away (NOTAUTH)"),
    "a zone that is none": ({"zones": ["a b"]}, "can be no zone"),
    "no zone": ({"zones": []}, "name those that Crowbar may change in dns-service-zones"),
    "no address": ({"addresses": []}, "set dns-service-addresses"),
    "an unknown driver": (
        {"driver": "tinydns"},
        "There is no DNS driver tinydns; there are powerdns, rfc2136. Install",
    ),
}


def test_a_server_of_ones_own_says_what_is_wrong_with_it(lab: Lab, site: Site) -> None:
    def work() -> None:
        with site.bed.change() as change:
            sealed = change.session.scalar(select(services.c.secret))
            key = change.unseal(sealed)
        good = {"addresses": [lab.nodes[0].ipv4], "zones": ["lab.test"], "key": key, "key-name": "crowbar"}
        site.bed.bind(SERVICE)
        for short, value in good.items():
            site.bed.set(f"dns-service-{short}", value, node="system-phantom.internal.local", role=SERVICE)
        site.bed.commit()
        site.settle()
        assert site.bed.state(SERVICE, "system-phantom.internal.local") == "ACTIVE"
        for changes, said in REFUSED.values():
            for short, value in changes.items():
                site.bed.set(f"dns-service-{short}", value, node="system-phantom.internal.local", role=SERVICE)
            site.settle()
            assert said in site.reason(SERVICE, "system-phantom.internal.local"), changes
            for short in changes:
                default: Any = {"driver": "rfc2136", "port": 0}.get(short)
                value = good.get(short, default)
                site.bed.set(f"dns-service-{short}", value, node="system-phantom.internal.local", role=SERVICE)
            site.settle()
        assert site.bed.runs(SERVICE, "system-phantom.internal.local")[-1].state == "succeeded"
        site.bed.unbind(SERVICE, "system-phantom.internal.local")
        site.settle()

    inside(lab, work)


def test_a_server_that_is_unbound_is_as_it_was_before(lab: Lab, site: Site) -> None:
    def work() -> None:
        server = lab.nodes[0].name
        site.bed.unbind("dns-server", server)
        site.settle()
        assert on_node(lab, server, "pidof named || echo none") == "none\n"
        assert on_node(lab, server, "grep -c crowbar /etc/bind/named.conf || true; ls /etc/bind").startswith("0\n")
        assert "no DNS server to tell yet" in site.dashboard()
        assert is_active(site)

    inside(lab, work)
