"""What is known of names, on both databases: claims, made anew for some nodes or for all; whom to ask for names."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import crowbar_dhcp
import crowbar_dns
import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_dns import entries, services
from crowbar_dns.tables import entries as table
from crowbar_dns.tables import served
from crowbar_dns.tables import services as table_of_services
from sqlalchemy import select, text, update

from crowbar_core.tables import insert_many
from crowbar_core.testing import FakeJig, PostgresServer, Testbed

API = "/api/v2"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def bed(request: pytest.FixtureRequest) -> Iterator[Testbed]:
    made: list[Any] = [crowbar_jig_script, crowbar_network, crowbar_dns, crowbar_dhcp]
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
    """Nodes come, are renamed and go, several want one name; the table is as if it had been made from nothing."""
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


def test_dhcp_names_the_servers_that_machines_may_ask(bed: Testbed) -> None:
    bed.add_node("resolver.d0.test")
    its = bed.bind("dns-client", "resolver.d0.test").id
    said: dict[str, Any] = {"driver": "rfc2136", "zones": [], "shared": [], "secret": "", "options": {}}
    with bed.change() as change:
        services.register(
            change, its, name="own", addresses=["10.60.0.9", "fd00:60::9"], port=53, resolves=True, **said
        )
    assert bed.ask("dhcp_resolvers") == (("dns", ["10.60.0.9", "fd00:60::9"]),)
    with bed.change() as change:
        services.register(change, its, name="own", addresses=["10.60.0.9"], port=53, resolves=False, **said)
    assert bed.ask("dhcp_resolvers") == (("dns", []),)


def test_dhcp_follows_at_once_when_the_servers_that_machines_may_ask_are_others(bed: Testbed) -> None:
    bed.add_node("asking.d0.test")
    its = bed.bind("dns-client", "asking.d0.test").id
    bed.bind("dhcp-database")
    bed.commit()
    bed.anneal_until_quiet()
    said: dict[str, Any] = {"driver": "rfc2136", "zones": [], "shared": [], "secret": "", "options": {}, "port": 53}

    def runs() -> int:
        bed.anneal_until_quiet()
        return len(bed.runs("dhcp-database", "system-phantom.internal.local"))

    before = runs()
    for address, more in (("10.60.0.9", 1), ("10.60.0.9", 1), ("10.60.0.8", 2)):
        with bed.change() as change:
            services.register(change, its, name="asked", addresses=[address], resolves=True, **said)
        assert runs() - before == more, address
    with bed.change() as change:
        services.forget(change, its)
    assert runs() - before == 3


def test_what_a_server_has_taken_is_written_where_it_was_announced(bed: Testbed) -> None:
    """PostgreSQL writes a row anew; beside the old one, no index is touched. SQLite writes it over itself."""
    bed.add_node("taken.d0.test")
    its = bed.bind("dns-client", "taken.d0.test").id
    place = text("(ctid::text::point)[0]" if bed.parts.store.postgresql else "rowid")
    at = select(served.c.id, place).select_from(served).order_by(served.c.id)
    with bed.change() as change:
        said: dict[str, Any] = {"driver": "rfc2136", "zones": [], "shared": [], "secret": "", "options": {}, "port": 53}
        services.register(change, its, name="many", addresses=[], resolves=False, **said)
        known = change.session.scalar(select(table_of_services.c.id).where(table_of_services.c.name == "many"))
        row = {"service_id": known, "type": "A", "value": "10.60.0.1", "ttl": 300, "confirmed": False, "problem": ""}
        insert_many(change.session, served, [{**row, "name": f"n{one}.d0.test"} for one in range(2000)])
        before = change.session.execute(at).all()
    with bed.change() as change:
        change.session.execute(update(served).values(confirmed=True))
        assert change.session.execute(at).all() == before
        services.forget(change, its)
