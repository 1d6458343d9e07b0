"""For whoever writes a driver: one suite that says whether it keeps to what drivers promise, against a real server.

    check_dns_driver("mine", Server(addresses=("127.0.0.1",), port=5353), zones=("example.test",), restart=restart)

A cluster in this process makes random changes, and tells the server by the driver; now and then the process that tells
it is "killed" at any place, or the server is. What others have in the zones is never touched, and at the end nothing
differs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import select

import crowbar_dns
from crowbar_core.testing import Testbed
from crowbar_dns import database, entries, name_filters
from crowbar_dns.comparing import Edit, Key, RecordSet, gather
from crowbar_dns.drivers import TAKEN, Driver, Server, ZoneUnserved, driver_of
from crowbar_dns.names import zone_of
from crowbar_dns.services import Service, register
from crowbar_dns.tables import entries as table
from crowbar_dns.tables import filters, services

REVERSE = ("9.10.in-addr.arpa", "0.0.0.0.0.0.0.0.9.0.0.0.0.0.d.f.ip6.arpa")
"""Zones that the server must have besides those named, for 10.9.0.0/16 and fd00:9::/64."""


def check_dns_driver(
    name: str,
    server: Server,
    *,
    zones: Sequence[str],
    restart: Callable[[], None] | None = None,
    changes: int = 60,
    kills: int = 5,
    seed: int = 1,
    database_url: str = "",
) -> None:
    """Raises ``AssertionError`` with what differs. The forward ``zones`` and those of ``REVERSE`` must be empty but for
    SOA and NS. ``restart`` kills the server and starts it again. ``database_url``: a PostgreSQL for the cluster, which
    else has SQLite.
    """
    driver = driver_of(name, server)
    check_promises(driver, zones[0])
    with Testbed("jig-script", crowbar_dns, database_url=database_url) as bed:
        _Suite(bed, name, server, (*zones, *REVERSE), random.Random(seed), restart).carry_out(changes, kills)


def check_promises(driver: Driver, zone: str) -> None:
    """What ``Driver`` promises, one by one."""
    before = gather(driver.read(zone))
    key: Key = (f"promise.{zone}", "A")
    edit = Edit(name=key[0], type="A", values=frozenset(("10.9.0.1", "10.9.0.2")), ttl=60, new=True)
    assert dict(driver.write(zone, [edit])) == {}, "a new record was refused"
    assert gather(driver.read(zone))[key] == RecordSet(values=edit.values, ttl=60), "what was written is not read"
    other = Edit(name=f"beside.{zone}", type="TXT", values=frozenset(('says "a" \\ b',)), new=True)
    assert dict(driver.write(zone, [edit, other])) == {key: TAKEN}, "what is there already must be refused, alone"
    assert gather(driver.read(zone))[other.key].values == other.values, "the others of a refused message must be there"
    outside = Edit(name="outside.invalid", type="A", values=frozenset(("10.9.0.3",)))
    changed = Edit(name=key[0], type="A", values=frozenset(("10.9.0.3",)), ttl=90)
    assert set(driver.write(zone, [outside, changed])) == {outside.key}, "what is no part of the zone must be refused"
    assert gather(driver.read(zone))[key] == RecordSet(values=changed.values, ttl=90), "values are replaced as a whole"
    gone = [Edit(name=key[0], type="A"), Edit(name=other.name, type="TXT"), Edit(name=f"never.{zone}", type="A")]
    assert dict(driver.write(zone, gone)) == {}, "what is not there can be removed"
    assert gather(driver.read(zone)) == before
    _check_kinds(driver, zone)
    _check_aliases(driver, zone)
    _check_many(driver, zone)
    assert gather(driver.read(zone)) == before
    for what in (lambda: driver.read("not-served.invalid"), lambda: driver.write("not-served.invalid", [edit])):
        try:
            what()
        except ZoneUnserved:
            continue
        raise AssertionError("a zone that the server does not have must be said (ZoneUnserved)")
    driver.check()


def _check_kinds(driver: Driver, zone: str) -> None:
    """Records of nodes by attribute: what is written is read as the same text, and can be replaced and removed."""
    kinds = {
        (f"_ssh._tcp.{zone}", "SRV"): (f"0 5 22 promise.{zone}", "10 0 2222 elsewhere.invalid"),
        (f"www.{zone}", "CNAME"): (f"promise.{zone}",),
        (f"says.{zone}", "TXT"): ("x" * 700, 'a "b" \\ c; d=e', ""),
    }
    edits = [Edit(name=name, type=kind, values=frozenset(values)) for (name, kind), values in kinds.items()]
    for how in (True, False):
        refused = dict(driver.write(zone, [Edit(name=e.name, type=e.type, values=e.values, new=how) for e in edits]))
        assert refused == {}, f"records of these kinds were refused: {refused}"
        there = gather(driver.read(zone))
        for one in edits:
            assert there[one.key].values == one.values, f"{one.type} is read as another text than was written"
    assert dict(driver.write(zone, [Edit(name=name, type=kind) for name, kind in kinds])) == {}


def _check_aliases(driver: Driver, zone: str) -> None:
    """Beside an alias there is nothing else: servers that keep to that without a word must not be believed."""
    alias = Edit(name=f"alias.{zone}", type="CNAME", values=frozenset((f"promise.{zone}",)), new=True)
    host = Edit(name=f"host.{zone}", type="A", values=frozenset(("10.9.0.4",)), new=True)
    assert dict(driver.write(zone, [alias, host])) == {}
    beside = Edit(name=alias.name, type="A", values=host.values, new=True)
    over = Edit(name=host.name, type="CNAME", values=alias.values, new=True)
    other = Edit(name=f"other.{zone}", type="A", values=host.values, new=True)
    refused = driver.write(zone, [beside, over, other])
    assert set(refused) == {beside.key, over.key}, f"these alone must be refused, not {set(refused)}"
    there = gather(driver.read(zone))
    assert {alias.key, host.key, other.key} <= there.keys()
    assert not {beside.key, over.key} & there.keys()
    assert dict(driver.write(zone, [Edit(name=one.name, type=one.type) for one in (alias, host, other)])) == {}


def _check_many(driver: Driver, zone: str) -> None:
    """Of more than fit into a message one is refused, and all others are there."""
    edits = [
        Edit(name=f"many{at}.{zone}", type="A", values=frozenset((f"10.9.1.{at}",)), new=True) for at in range(250)
    ]
    taken = Edit(name=edits[123].name, type="A", values=frozenset(("10.9.255.2",)), new=True)
    assert dict(driver.write(zone, [taken])) == {}
    assert dict(driver.write(zone, edits)) == {taken.key: TAKEN}, "of many that one alone must be refused"
    there = gather(driver.read(zone))
    differing = [one.name for one in edits if there[one.key].values != (taken if one.key == taken.key else one).values]
    assert not differing, f"of many sent at once these are not there: {differing[:5]}"
    assert dict(driver.write(zone, [Edit(name=one.name, type="A") for one in edits])) == {}


class _Killed(BaseException):
    """The process that tells the server ends here."""


class _Dying:
    """A driver in a process that is killed at its n-th act, before it or after it."""

    def __init__(self, driver: Driver, acts: int, *, after: bool) -> None:
        self._driver, self._left, self._after = driver, acts, after

    def read(self, zone: str) -> Any:
        return self._act(lambda: self._driver.read(zone))

    def write(self, zone: str, edits: Sequence[Edit]) -> Mapping[Key, str]:
        found: dict[Key, str] = {}
        for one in edits:
            found |= self._act(partial(self._driver.write, zone, [one]))
        return found

    def check(self) -> None:
        self._driver.check()

    def _act(self, what: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise _Killed
        found = what()
        if self._left == 0:
            raise _Killed
        return found


class _Suite:
    def __init__(
        self, bed: Testbed, driver: str, server: Server, zones: Sequence[str], chance: random.Random,
        restart: Callable[[], None] | None,
    ) -> None:  # fmt: skip
        self.bed, self.server, self.zones, self.chance, self.restart = bed, server, zones, chance, restart
        self.driver = driver_of(driver, server)
        self.web = bed.web("operator")
        self.nodes: dict[str, int] = {}
        self.number = 0
        self.others = {(f"mail.{zones[0]}", "A"): RecordSet(values=frozenset(("10.9.255.1",)), ttl=60)}
        self.before = {key: one for zone in zones for key, one in gather(self.driver.read(zone)).items()}
        bed.bind("dns-service")
        bed.commit()
        with bed.serving() as here, here.change() as change:
            [bound] = [one for one in here.node_roles() if one.role == "dns-service"]
            register(
                change, bound.id, name="checked", driver=driver, addresses=list(server.addresses), port=server.port,
                zones=sorted(zones), shared=[], resolves=False, secret=server.key,
                options={"key_name": server.key_name, "algorithm": server.algorithm, **server.options},
            )  # fmt: skip

    def carry_out(self, changes: int, kills: int) -> None:
        for (name, kind), one in self.others.items():
            assert not self.driver.write(self.zones[0], [Edit(name=name, type=kind, values=one.values, ttl=one.ttl)])
        dying = set(self.chance.sample(range(changes), min(kills, changes)))
        for step in range(changes):
            self._change()
            if step in dying:
                self._die()
            elif self.chance.random() < 0.5:
                self._tell()
        self._tell()
        self._compare()  # of what was told by names alone, unless a kill was the last of all
        self._tell(whole=True)
        self._compare()
        for name in list(self.nodes):
            self.web.delete(f"/api/v2/nodes/{name}")
        self._tell()
        self._compare()

    def _change(self) -> None:
        """One of: create, rename, re-address, delete, a filter made or removed. Others' hooks are not waited for."""
        web, what = self.web, self.chance.random()
        if not self.nodes or what < 0.4:
            self.number += 1
            name = f"n{self.number}.{self.zones[0]}"
            self.bed.add_node(name, hint=self._address(self.number))
            self.nodes[name] = self.number
            return
        name = self.chance.choice(list(self.nodes))
        if what < 0.55:
            self.number += 1
            new = f"r{self.number}.{self.zones[0]}"
            assert web.patch(f"/api/v2/nodes/{name}", json={"name": new}).status_code == 200
            self.nodes[new] = self.nodes.pop(name)
        elif what < 0.75:
            self.number += 1
            assert web.patch(f"/api/v2/nodes/{name}", json={"hint": self._address(self.number)}).status_code == 200
        elif what < 0.9:
            del self.nodes[name]
            assert web.delete(f"/api/v2/nodes/{name}").status_code == 204
        else:
            self._filter()

    def _filter(self) -> None:
        with self.bed.serving() as here, here.change() as change:
            known = change.session.scalar(select(filters.c.id).where(filters.c.name == "more"))
            if known is None:
                template = f"{{{{node.shortname}}}}.more.{self.zones[0]}"
                values = {"name": "more", "matcher": "", "template": template, "priority": 60, "ttl": 120}
                name_filters.create(change, values)
            else:
                name_filters.remove(change, known)

    def _address(self, number: int) -> dict[str, str]:
        four, six = f"10.9.{number >> 8}.{number & 255}/16", f"fd00:9::{number:x}/64"
        return {"hint-admin-v4addr": four, "hint-admin-v6addr": six}

    def _tell(self, *, whole: bool = False, connect: Callable[[Service], Driver] = Service.connect) -> None:
        self.bed.deliver()
        with self.bed.serving():
            database.tell(lambda line: None, whole=whole, connect=connect)

    def _die(self) -> None:
        if self.restart is not None and self.chance.random() < 0.4:
            self.restart()
            return
        acts, after = self.chance.randrange(1, 8), self.chance.random() < 0.5
        try:
            self._tell(connect=lambda service: _Dying(service.connect(), acts, after=after))
        except _Killed:
            pass

    def _compare(self) -> None:
        with self.bed.serving() as here, here.read() as session:
            said = session.execute(select(services.c.problem, services.c.zone_problems)).first()
            asked = select(table.c.name, table.c.type, table.c.value, table.c.ttl).where(table.c.problem == "")
            rows = session.execute(asked).all()
        assert said is not None
        assert (said[0], said[1]) == ("", {}), f"the server was not told: {said[0]} {said[1]}"
        wanted = {**self.before, **self.others}
        wanted |= gather(entries.record_of(one) for one in rows if zone_of(one.name, self.zones))
        there = {key: one for zone in self.zones for key, one in gather(self.driver.read(zone)).items()}
        differing = {
            key: (wanted.get(key), there.get(key)) for key in {*wanted, *there} if wanted.get(key) != there.get(key)
        }
        assert not differing, f"{len(differing)} differ (wanted, there): {dict(list(differing.items())[:5])}"
