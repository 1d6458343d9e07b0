"""An admin network without IPv4: nodes, their DNS server and the controller reach each other by IPv6 alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crowbar_dns.testing import REVERSE, check_dns_driver
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from .servers import KEY, KINDS, Running
from .site import API, Site

pytestmark = pytest.mark.lab
NO_IPV4 = ["ip", "-4", "address", "flush", "scope", "global"]
ROUTER, PHANTOM = "fd00:77::1", "system-phantom.internal.local"
ZONES = ("lab.test", "0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    place = tmp_path_factory.mktemp("lab")
    with Lab.create(f"dns6-{os.getpid()}", nodes=2, state_dir=place, owner=os.getpid()) as lab:
        for node in lab.nodes:
            lab.console(node.name, NO_IPV4, check=True)
        lab.exec(NO_IPV4, check=True)
        yield lab


def names_follow(lab: Lab, server: str, bind: Callable[[Site], None], *, named: bool = False) -> None:
    """``bind`` has a server at this address told. Nodes have names there, and ask it, also when they change. ``named``:
    the node that asks must be told whom.
    """
    other = lab.nodes[1]
    with Site(lab, families=(6,)) as site:
        for node in lab.nodes:
            site.bed.bind("network-lab", node.name)
        bind(site)
        site.bed.bind("dns-client", other.name)
        if named:
            site.bed.set("dns-client-servers", [server], node=other.name, role="dns-client")
        site.bed.commit()
        site.settle()
        assert site.bed.state("dns-client", other.name) == "ACTIVE", site.tell()
        for node in lab.nodes:
            assert site.ask(node.name, "AAAA", at=server) == [node.ipv6]
            assert site.ask(node.name, "A", at=server) == []
            assert site.reverse(node.ipv6, at=server) == [node.name]
        first = lab.nodes[0]
        said = lab.console(
            other.name, ["sh", "-c", f"cat /etc/resolv.conf; getent ahostsv6 {first.name.partition('.')[0]}"],
            check=True,
        ).stdout  # fmt: skip
        assert f"nameserver {server}\n" in said
        assert said.splitlines()[-1].startswith(first.ipv6)
        assert site.web.patch(f"{API}/nodes/{other.name}", json={"name": "renamed.lab.test"}).status_code == 200
        site.follow()
        assert site.ask("renamed.lab.test", "AAAA", at=server) == [other.ipv6]
        assert site.reverse(other.ipv6, at=server) == ["renamed.lab.test"]
        assert site.web.delete(f"{API}/nodes/renamed.lab.test").status_code == 204
        site.follow()
        assert site.ask("renamed.lab.test", "AAAA", at=server) == ["NXDOMAIN"]
        assert site.reverse(other.ipv6, at=server) == ["NXDOMAIN"]
        assert not site.bed.hook_failures()


def test_names_are_made_told_and_asked_for_by_ipv6_alone(lab: Lab) -> None:
    server = lab.nodes[0]

    def bind(site: Site) -> None:
        site.bed.bind("dns-server", server.name)

    inside(lab, lambda: names_follow(lab, server.ipv6, bind))


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_of_ones_own_is_told_by_ipv6_alone_and_nothing_differs_after_changes_at_random_and_kills(
    lab: Lab, tmp_path: Path, pytestconfig: pytest.Config, kind: str
) -> None:
    def work() -> None:
        running = KINDS[kind](lab, tmp_path / kind, ROUTER, ZONES, 53)
        running.start()
        try:
            names_follow(lab, ROUTER, lambda site: bind(site, running), named=True)
        finally:
            running.stop()
        empty = KINDS[kind](lab, tmp_path / f"{kind}-random", ROUTER, ("example.test", *REVERSE), 5300)
        empty.start()
        try:
            changes, kills = pytestconfig.getoption("--dns-changes"), pytestconfig.getoption("--dns-kills")
            check_dns_driver(
                empty.driver, empty.server, zones=("example.test",), restart=empty.restart, changes=changes, kills=kills
            )
        finally:
            empty.stop()

    def bind(site: Site, running: Running) -> None:
        said = {"driver": running.driver, "addresses": [ROUTER], "port": running.server.port, "zones": list(ZONES)}
        said |= {"key": KEY} | ({"key-name": "crowbar"} if running.driver == "rfc2136" else {})
        site.bed.bind("dns-service")
        for what, value in said.items():
            site.bed.set(f"dns-service-{what}", value, node=PHANTOM, role="dns-service")

    inside(lab, work, timeout=3000)
