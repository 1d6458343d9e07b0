"""A thousand nodes bound to a network in one call take their addresses together: few statements, the same addresses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_network import pool
from crowbar_network.tables import allocations, gaps
from crowbar_network.tables import networks as table
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import Session

from crowbar_core.tables import nodes, roles
from crowbar_core.testing import FakeJig, PostgresServer, Testbed

API = "/api/v2"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def bed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    url = f"sqlite:///{tmp_path_factory.mktemp('crowbar')}/crowbar.db"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("crowbar_postgres")
        url = server.create_database()
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": FakeJig()}, database_url=url) as made:
        yield made
    if request.param == "postgresql":
        server.drop_database(url)


@contextmanager
def statements(bed: Testbed) -> Iterator[list[str]]:
    """What the database is asked inside the block."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    event.listen(bed.parts.store.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(bed.parts.store.engine, "before_cursor_execute", note)


def make(bed: Testbed, start: int, count: int, **hint: str) -> list[int]:
    names = [f"n{at}.rack.example.com" for at in range(start, start + count)]
    body = {"nodes": [{"name": name, "hint": hint} for name in names]}
    made = bed.web("operator").post(f"{API}/nodes/bulk", json=body)
    assert made.status_code == 201, made.json
    with bed.read() as session:
        return list(session.scalars(select(nodes.c.id).where(nodes.c.name.in_(names)).order_by(nodes.c.id)))


def role(bed: Testbed, network: str) -> int:
    with bed.read() as session:
        return int(session.scalar(select(roles.c.id).where(roles.c.name == f"network-{network}")))


def test_a_thousand_nodes_are_bound_to_networks_in_one_call_with_as_many_statements_as_a_few(bed: Testbed) -> None:
    web = bed.web("operator")
    networks = {"admin": ("admin", "10.60.0.10/20"), "storage": ("storage", "10.61.0.10/20")}
    for name, (category, first) in networks.items():
        host = {"name": "host", "first": first, "last": first.replace("0.10/", "15.250/")}
        body = {"name": name, "category": category, "v6prefix": "auto", "ranges": [host]}
        if name == "storage":
            body["v6id"] = "stable"
        assert web.post(f"{API}/networks", json=body).status_code == 201
    wanted = [role(bed, "storage"), role(bed, "admin")]
    took = {}
    many = 1000 if bed.parts.store.postgresql is False else 200
    for start, count in ((0, 20), (20, many)):
        ids = make(bed, start, count)
        with statements(bed) as asked:
            answer = web.post(f"{API}/node_roles/bulk", json={"nodes": ids, "roles": wanted})
        assert answer.status_code == 201, answer.json
        took[count] = len(asked)
    assert took[many] <= min(took[20] + 20, 150), took
    held: dict[int, dict[str, list[str]]] = {}
    mine = select(allocations.c.node_id, allocations.c.address, table.c.name)
    with bed.read() as session:
        for one in session.execute(mine.join(table, table.c.id == allocations.c.network_id)).all():
            held.setdefault(one.node_id, {}).setdefault(one.name, []).append(one.address)
    assert len(held) == 20 + many
    assert all(len(of[name]) == 2 for of in held.values() for name in networks)
    every = [key for of in held.values() for keys in of.values() for key in keys]
    assert len(set(every)) == len(every) == 4 * (20 + many)
    for of in held.values():  # the host part is the same, though storage was asked for first
        assert min(of["storage"])[-4:] == min(of["admin"])[-4:]


def test_of_many_whose_hints_name_one_address_nobody_is_bound_and_both_are_named(bed: Testbed) -> None:
    web = bed.web("operator")
    host = {"name": "host", "first": "10.62.0.1/24", "last": "10.62.0.250/24"}
    web.post(f"{API}/networks", json={"name": "hints", "category": "x", "ranges": [host]})
    ids = make(bed, 5000, 10, **{"hint-hints-v4addr": "10.62.0.9"})
    refused = web.post(f"{API}/node_roles/bulk", json={"nodes": ids, "roles": [role(bed, "hints")]})
    assert refused.status_code == 409
    assert (
        "The hint hint-hints-v4addr of node n5001.rack.example.com cannot be: node n5000.rack.example.com has a hint "
        "of 10.62.0.9, too."
    ) in refused.json["detail"]
    assert web.get(f"{API}/networks/hints/allocations").json == []


@pytest.mark.parametrize("seed", range(40))
def test_addresses_that_are_taken_together_leave_the_gaps_that_they_leave_one_by_one(seed: int) -> None:
    dice = random.Random(seed)
    engine = create_engine("sqlite://")
    gaps.create(engine)

    def key(number: int) -> str:
        return f"4{number:032x}"

    with Session(engine) as session:
        for mine in (1, 2):
            pool.fill(session, mine, key(10), key(90), [key(dice.randrange(10, 90)) for _ in range(dice.randrange(20))])
            dice = random.Random(seed)
        wanted = [key(dice.randrange(5, 95)) for _ in range(dice.randrange(pool.MANY, 60))]
        one_by_one = {one for one in dict.fromkeys(wanted) if pool.take(session, 1, one)}
        assert pool.take_these(session, 2, wanted) == one_by_one
        left = [
            session.execute(select(gaps.c.first, gaps.c.last).where(gaps.c.range_id == mine).order_by(gaps.c.first))
            for mine in (1, 2)
        ]
        assert left[0].all() == left[1].all()
