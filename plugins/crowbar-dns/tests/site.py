"""A core in this process with a lab's nodes, a network on them, and questions to the DNS servers that it sets up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import crowbar_dns
import crowbar_jig_script
import crowbar_network
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.reversename
from crowbar_dns.jig import DnsJig
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab

from crowbar_core.testing import FakeClock, FakeJig, Testbed

API = "/api/v2"


class Site:
    def __init__(self, lab: Lab, *, with_networks: bool = True, families: Sequence[int] = (4, 6)) -> None:
        self.lab, self.with_networks, self.families = lab, with_networks, families
        self.config = {"key_file": str(lab.private_key), "connect_timeout": 3.0}

    def __enter__(self) -> Site:
        jigs = {"script": ScriptJig(self.config), "network": FakeJig(), "dns": DnsJig({})}
        barclamps: list[Any] = [crowbar_jig_script, crowbar_dns]
        if self.with_networks:
            barclamps.insert(1, crowbar_network)
        self.bed = Testbed(*barclamps, jigs=jigs, config={"jig-script": self.config}).__enter__()
        self.web = self.bed.web("operator")
        four = ".".join(self.lab.nodes[0].ipv4.split(".")[:2])
        if self.with_networks:
            ranges = [{"name": "host", "first": f"{four}.0.10/16", "last": f"{four}.0.250/16"}]
            made = self.web.post(f"{API}/networks", json={
                "name": "lab", "category": "admin", "conduit": "?1g1",
                "v6prefix": "fd00:77::/64" if 6 in self.families else None,
                "ranges": ranges if 4 in self.families else [],
            })  # fmt: skip
            assert made.status_code == 201, made.json
        for node in self.lab.nodes:
            hint = {"hint-admin-v4addr": f"{node.ipv4}/16", "hint-lab-v4addr": node.ipv4}
            hint |= {"hint-admin-v6addr": f"{node.ipv6}/64", "hint-lab-v6addr": node.ipv6}
            if 4 not in self.families:
                hint = {name: value for name, value in hint.items() if "v6" in name}
            if not self.with_networks:
                hint = {name: value for name, value in hint.items() if "admin" in name}
            self.bed.add_node(node.name, hint=hint, host_keys=[node.host_key])
        return self

    def __exit__(self, *failed: Any) -> None:
        self.bed.close()

    def settle(self) -> None:
        self.bed.anneal_until_quiet(within=60)

    def follow(self) -> None:
        """As ``settle``; of what is put off until later no more than a second is waited for."""
        assert isinstance(self.bed.clock, FakeClock)
        before = self.bed.clock.now
        self.settle()
        assert (waited := (self.bed.clock.now - before).total_seconds()) <= 1, waited

    def bind(self, role: str, *nodes: str) -> None:
        for node in nodes or (None,):
            self.bed.bind(role, node)
        self.bed.commit()
        self.settle()

    def ask(self, name: str, kind: str, *, at: str = "", tcp: bool = False) -> list[str]:
        """What the first node's server answers, as texts, sorted; or the name of the code of its refusal."""
        where = at or (self.lab.nodes[0].ipv4 if 4 in self.families else self.lab.nodes[0].ipv6)
        query = dns.message.make_query(name, kind)
        answer = (dns.query.tcp if tcp else dns.query.udp)(query, where, timeout=30)
        if answer.rcode() != dns.rcode.NOERROR:
            return [dns.rcode.to_text(answer.rcode())]
        return sorted(str(one).rstrip(".") for rrset in answer.answer for one in rrset
                      if rrset.rdtype == dns.rdatatype.from_text(kind))  # fmt: skip

    def reverse(self, address: str, *, at: str = "") -> list[str]:
        return self.ask(dns.reversename.from_address(address).to_text(), "PTR", at=at)

    def reason(self, role: str, node: str) -> str:
        return self.bed.runs(role, node)[-1].exit_reason

    def dashboard(self) -> str:
        return str(self.bed.web().get("/").text)

    def tell(self) -> str:
        """What dns-database did last: for whoever reads that a test failed."""
        name = "system-phantom.internal.local"
        runs = [f"{one.id} {one.state} {one.refresh} {one.exit_reason}" for one in self.bed.runs("dns-database", name)]
        return "\n".join([*runs[-6:], *self.bed.log("dns-database", name)[-40:], self.bed.why("dns-database", name)])
