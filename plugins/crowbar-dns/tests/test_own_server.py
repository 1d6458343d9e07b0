"""A server of one's own that is named after dns-database: that waits for it, and keeps no other role of its node so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crowbar_dns
import pytest
from crowbar_dns import database, services
from crowbar_dns.comparing import gather
from crowbar_dns.drivers import driver_of
from crowbar_dns.testing import REVERSE
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from crowbar_core.testing import Testbed

from .servers import KEY, KINDS, Bind, Running

pytestmark = pytest.mark.lab

PHANTOM, ZONE, NOBODY = "system-phantom.internal.local", "own.test", "10.77.0.99"
ADDRESSES = ("10.77.0.1", "fd00:77::1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(f"dnso-{os.getpid()}", nodes=0, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()) as lab:
        yield lab


class Place:
    """A core with a node, dns-database, and a DNS server that is named later."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.bed = Testbed("jig-script", crowbar_dns)
        hint = {"hint-admin-v4addr": "10.9.0.5/16", "hint-admin-v6addr": "fd00:9::5/64"}
        self.bed.add_node(f"node.{ZONE}", hint=hint)
        self.bed.bind("dns-database")
        self.bed.commit()
        self.bed.anneal_until_quiet(within=60)

    def name(self, **values: Any) -> None:
        for what, value in values.items():
            self.bed.set(f"dns-service-{what.replace('_', '-')}", value, node=PHANTOM, role="dns-service")

    def name_all(self, address: str) -> None:
        port = self.running.server.port
        self.name(driver=self.running.driver, addresses=[address], port=port, zones=[ZONE, *REVERSE], key=KEY)
        if self.running.driver == "rfc2136":
            self.name(key_name="crowbar")

    def settle(self) -> None:
        self.bed.commit()
        self.bed.anneal_until_quiet(within=60)

    def states(self) -> list[str]:
        return [self.bed.state(role, PHANTOM) for role in ("dns-database", "dns-service")]

    def told(self) -> list[str]:
        there = gather(driver_of(self.running.driver, self.running.server).read(ZONE))
        return sorted(value for kind in ("A", "AAAA") for value in there[f"node.{ZONE}", kind].values)


def carried_out(lab: Lab, running: Running, what: Callable[[Place], None]) -> None:
    def work() -> None:
        running.start()
        try:
            place = Place(running)
            try:
                what(place)
            finally:
                place.bed.close()
        finally:
            running.stop()

    inside(lab, work)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_named_after_dns_database_has_its_turn_and_is_told(
    lab: Lab, tmp_path: Path, kind: str, address: str
) -> None:
    def work(place: Place) -> None:
        assert place.bed.state("dns-database", PHANTOM) == "TODO"
        assert database.NO_SERVER in place.bed.why("dns-database", PHANTOM)
        place.bed.bind("dns-service")
        place.name_all(address)
        place.settle()
        assert place.states() == ["ACTIVE", "ACTIVE"], place.bed.why("dns-service", PHANTOM)
        assert place.told() == ["10.9.0.5", "fd00:9::5"]

    carried_out(lab, KINDS[kind](lab, tmp_path / kind, address, (ZONE, *REVERSE), 5300), work)


def test_many_nodes_in_one_change_are_a_handful_of_refreshes(
    lab: Lab, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    many = 200 if pytestconfig.getoption("--dns-changes") < 1000 else 1000

    def work(place: Place) -> None:
        place.bed.bind("dns-service")
        place.name_all(ADDRESSES[0])
        place.settle()
        before = len(place.bed.runs("dns-database", PHANTOM))
        with place.bed.change() as change:
            for at in range(many):
                hint = {"hint-admin-v4addr": f"10.9.{1 + at // 250}.{at % 250}/16"}
                change.create_node(f"many{at}.{ZONE}", hint=hint)
        place.bed.anneal_until_quiet(within=60)
        assert len(place.bed.runs("dns-database", PHANTOM)) - before <= 5
        there = gather(driver_of(place.running.driver, place.running.server).read(ZONE))
        assert sum(name.startswith("many") for name, _ in there) == many

    carried_out(lab, KINDS["bind"](lab, tmp_path / "bind", ADDRESSES[0], (ZONE, *REVERSE), 5300), work)


def test_a_server_that_was_named_wrongly_can_be_named_anew_while_dns_database_waits_for_its_answer(
    lab: Lab, tmp_path: Path
) -> None:
    def work(place: Place) -> None:
        place.bed.bind("dns-service")
        place.name_all(NOBODY)
        place.settle()
        assert place.states() == ["TODO", "ACTIVE"]
        assert f"{NOBODY} port 5300 does not answer" in place.bed.why("dns-database", PHANTOM)
        place.name(addresses=[ADDRESSES[0]])
        place.settle()
        assert place.states() == ["ACTIVE", "ACTIVE"]
        assert place.told() == ["10.9.0.5", "fd00:9::5"]

    carried_out(lab, KINDS["bind"](lab, tmp_path / "bind", ADDRESSES[0], (ZONE, *REVERSE), 5300), work)


class Resolver(Bind):
    """For anybody."""

    def prepare(self) -> None:
        super().prepare()
        place = self.directory / "named.conf"
        place.write_text(place.read_text().replace("recursion no;", "recursion yes; allow-recursion { any; };"))


@pytest.mark.parametrize("kind, port", [("bind", 53), ("powerdns", 53), ("powerdns", 5300)])
def test_a_server_that_nodes_may_ask_is_tried_at_the_port_at_which_they_ask_and_refused_where_it_does_not_resolve(
    lab: Lab, tmp_path: Path, kind: str, port: int
) -> None:
    def asked(place: Place) -> list[str]:
        with place.bed.change() as change:
            return services.resolvers(change.session)

    def work(place: Place) -> None:
        place.bed.bind("dns-service")
        place.name_all(ADDRESSES[0])
        place.name(resolves=True)
        place.settle()
        said = "answers no question there about names of others" if port == 53 else "gives no answer there"
        assert f"nodes that ask {ADDRESSES[0]} at port 53, and it {said}: let" in place.bed.why("dns-service", PHANTOM)
        assert asked(place) == []
        place.name(resolves=False)
        place.settle()
        assert (place.states(), asked(place)) == (["ACTIVE", "ACTIVE"], [])
        if port == 53:
            return
        resolver = Resolver(lab, tmp_path / "resolver", ADDRESSES[0], ("outside.test",), 53)
        resolver.start()
        try:
            place.name(resolves=True)
            place.settle()
            assert (place.states(), asked(place)) == (["ACTIVE", "ACTIVE"], [ADDRESSES[0]])
        finally:
            resolver.stop()

    carried_out(lab, KINDS[kind](lab, tmp_path / kind, ADDRESSES[0], (ZONE, *REVERSE), port), work)
