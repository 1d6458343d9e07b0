"""The table of claims, made anew for some nodes or for all: the same on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import crowbar_dns
import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_dns import entries, serving
from crowbar_dns.drivers import TAKEN
from crowbar_dns.names import Record, zone_of
from crowbar_dns.services import all_services, owner, register
from crowbar_dns.tables import entries as table
from sqlalchemy import select

from crowbar_core.testing import FakeJig, PostgresServer, Testbed

API = "/api/v2"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def bed(request: pytest.FixtureRequest) -> Iterator[Testbed]:
    made: list[Any] = [crowbar_jig_script, crowbar_network, crowbar_dns]
    if request.param == "sqlite":
        with Testbed(*made, jigs={"network": FakeJig()}) as bed:
            yield bed
        return
    with (
        PostgresServer() as server,
        Testbed(*made, jigs={"network": FakeJig()}, database_url=server.create_database()) as bed,
    ):
        yield bed


def claims(bed: Testbed) -> list[tuple[Any, ...]]:
    columns = (table.c.node_id, table.c.filter_id, table.c.name, table.c.type, table.c.value, table.c.problem)
    with bed.read() as session:
        return sorted(map(tuple, session.execute(select(*columns)).all()), key=str)


def test_what_is_made_anew_for_some_is_what_is_made_for_all(bed: Testbed) -> None:
    """Nodes come, are renamed and go, several want one name; each time the table is as if it had been made from nothing."""
    web, chance = bed.web("operator"), random.Random(7)
    ranges = [{"name": "host", "first": "10.60.0.1/24", "last": "10.60.0.200/24"}]
    body = {"name": "admin", "category": "admin", "ranges": ranges, "v6prefix": "fd00:60::/64"}
    assert web.post(f"{API}/networks", json=body).status_code == 201
    for name, template in (("pair", "{{node.shortname}}.pair.test"), ("role", "the-web.test")):
        matcher = 'node.role == "network-admin"' if name == "role" else ""
        body = {"name": name, "template": template, "matcher": matcher}
        assert web.post(f"{API}/dns_name_filters", json=body).status_code == 201
    bed.bind("dns-database")
    bed.commit()
    there: list[str] = []
    for step in range(14):
        if not there or chance.random() < 0.45:
            there.append(f"n{step}.d{step % 3}.test")
            bed.add_node(there[-1])
            bed.bind("network-admin", there[-1])
            bed.commit()
        elif chance.random() < 0.5:
            new = f"n{chance.randrange(3)}.e{step}.test"
            assert web.patch(f"{API}/nodes/{there.pop(0)}", json={"name": new}).status_code == 200
            there.append(new)
        else:
            assert web.delete(f"{API}/nodes/{there.pop(chance.randrange(len(there)))}").status_code == 204
        bed.anneal_until_quiet()
        with bed.change() as change:
            entries.renew(change)
        some = claims(bed)
        with bed.change() as change:
            entries.note(change, [entries.EVERYBODY])
            entries.renew(change)
        assert some == claims(bed), step
    assert any(one[-1] for one in claims(bed))


class Memory:
    """A driver of a server in memory, which dies when it is told to."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], set[str]] = {}
        self.dies_after: int | None = None

    def read(self, zone: str) -> list[Record]:
        return [Record(*key, value) for key, values in self.records.items() for value in values]

    def check(self) -> None:
        pass

    def write(self, zone: str, edits: Any) -> Any:
        refused = {}
        for one in edits:
            if self.dies_after == 0:
                raise KeyboardInterrupt
            if self.dies_after is not None:
                self.dies_after -= 1
            if one.new and one.key in self.records:
                refused[one.key] = TAKEN
            elif one.values:
                self.records[one.key] = set(one.values)
            else:
                self.records.pop(one.key, None)
        return refused


def test_whoever_dies_while_it_tells_a_server_loses_nothing_and_takes_nothing_of_others(bed: Testbed) -> None:
    server, chance = Memory(), random.Random(11)
    foreign = {("mail.e1.test", "A"): {"10.9.9.9"}, ("n1.pair.test", "TXT"): {"not ours"}}
    server.records |= foreign
    with bed.read() as session:
        names = {one.name for one in session.execute(select(table.c.name)).all()}
    zones = sorted(
        {name.partition(".")[2] for name in names if not name.endswith("arpa")} | {"in-addr.arpa", "ip6.arpa", "test"}
    )
    bed.bind("dns-service")
    bed.commit()
    [one] = [one for one in bed.node_roles() if one.role == "dns-service"]
    with bed.change() as change:
        register(
            change, one.id, name="mine", driver="rfc2136", addresses=["127.0.0.1"], port=53, zones=zones, shared=[],
            resolves=False, secret="", options={},
        )  # fmt: skip
    for step in range(12):
        with bed.change() as change:
            entries.note(change, [entries.EVERYBODY])
            if step % 3 == 2:
                change.session.execute(table.delete().where(table.c.id % 5 == step % 5))
                entries._note_names(change.session, names)
            else:
                entries.renew(change)
            order = serving.begin(change, all_services(change.session)[0], owner(change), whole=False)
        server.dies_after = None if step % 4 == 3 else chance.randrange(6)
        try:
            result = serving.carry_out(order, server)  # type: ignore[arg-type]
        except KeyboardInterrupt:
            continue
        with bed.change() as change:
            serving.finish(change, order, result)  # type: ignore[arg-type]
    with bed.change() as change:
        entries.note(change, [entries.EVERYBODY])
        entries.renew(change)
        order = serving.begin(change, all_services(change.session)[0], owner(change), whole=True)
    server.dies_after = None
    result = serving.carry_out(order, server)  # type: ignore[arg-type]
    with bed.change() as change:
        serving.finish(change, order, result)  # type: ignore[arg-type]
        wanted = change.session.execute(
            select(table.c.name, table.c.type, table.c.value).where(table.c.problem == "")
        ).all()
    assert {tuple(one) for one in wanted if zone_of(one[0], zones)} | {
        (*key, value) for key, values in foreign.items() for value in values
    } == {(*key, value) for key, values in server.records.items() for value in values}
