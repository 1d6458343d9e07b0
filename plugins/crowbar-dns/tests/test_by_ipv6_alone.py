"""An admin network without IPv4: nodes, their DNS server and the controller reach each other by IPv6 alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from .site import API, Site

pytestmark = pytest.mark.lab
NO_IPV4 = ["ip", "-4", "address", "flush", "scope", "global"]


def test_names_are_made_told_and_asked_for_by_ipv6_alone(tmp_path: Path) -> None:
    with Lab.create(f"dns6-{os.getpid()}", nodes=2, state_dir=tmp_path / "labs", owner=os.getpid()) as lab:
        server, other = lab.nodes
        for node in lab.nodes:
            lab.console(node.name, NO_IPV4, check=True)
        lab.exec(NO_IPV4, check=True)

        def work() -> None:
            with Site(lab, families=(6,)) as site:
                for node in lab.nodes:
                    site.bed.bind("network-lab", node.name)
                site.bed.bind("dns-server", server.name)
                site.bed.bind("dns-client", other.name)
                site.bed.commit()
                site.settle()
                assert site.bed.state("dns-client", other.name) == "ACTIVE", site.tell()
                for node in lab.nodes:
                    assert site.ask(node.name, "AAAA") == [node.ipv6]
                    assert site.ask(node.name, "A") == []
                    assert site.reverse(node.ipv6) == [node.name]
                said = lab.console(
                    other.name, ["sh", "-c", f"cat /etc/resolv.conf; getent ahostsv6 {server.name.partition('.')[0]}"],
                    check=True,
                ).stdout  # fmt: skip
                assert f"nameserver {server.ipv6}\n" in said
                assert said.splitlines()[-1].startswith(server.ipv6)
                assert site.web.patch(f"{API}/nodes/{other.name}", json={"name": "renamed.lab.test"}).status_code == 200
                site.settle()
                assert site.ask("renamed.lab.test", "AAAA") == [other.ipv6]
                assert site.reverse(other.ipv6) == ["renamed.lab.test"]
                assert site.web.delete(f"{API}/nodes/renamed.lab.test").status_code == 204
                site.settle()
                assert site.ask("renamed.lab.test", "AAAA") == ["NXDOMAIN"]
                assert not site.bed.hook_failures()

        inside(lab, work)
