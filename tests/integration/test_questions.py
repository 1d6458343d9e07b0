"""Questions that barclamps answer for many nodes or noderoles at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError

from crowbar_core.barclamp import Attribute, NodeRoleView, NodeView, Role
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.cluster import binding, registering
from crowbar_core.services.cluster.nodes import commit_nodes
from crowbar_core.services.data.views import node_views
from crowbar_core.services.engine.seat import LiveCluster
from crowbar_core.services.turns.parts import Parts
from tests.integration.cluster import OPERATOR, Cluster, Plugin, node_role_rows, open_parts
from tests.integration.conftest import NewCluster
from tests.integration.test_many import new_nodes, statements

PEER = Role(name="peer", attributes=(Attribute(name="peer-number", schema={"type": "integer"}),))


def views(c: Cluster) -> dict[str, NodeView]:
    with c.parts.store.read() as session:
        found = node_views(c.parts.registry, session, c.parts.store).values()
        return {one.name.partition(".")[0]: one for one in found if not one.system}


@contextmanager
def savepoints_in(parts: Parts) -> Iterator[list[str]]:
    made: list[str] = []

    def note(_connection: object, name: str) -> None:
        made.append(name)

    event.listen(parts.store.engine, "savepoint", note)
    try:
        yield made
    finally:
        event.remove(parts.store.engine, "savepoint", note)


def test_addresses_of_many_nodes_are_asked_for_once(new_cluster: NewCluster) -> None:
    asked: list[list[str]] = []

    def addresses_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Sequence[str]]:
        asked.append([one.name for one in nodes])
        rows = session.execute(text("SELECT id FROM nodes WHERE name <> 'n1.test.example'"))
        known = {row.id for row in rows}
        return {one.id: [f"10.9.0.{one.id}", "10.9.9.9"] for one in nodes if one.id in known}

    c = new_cluster(hooks={"addresses_of": addresses_of, "node_addresses": lambda node: [f"10.8.0.{node.id}"]})
    ids = registering.create_nodes(c.parts, OPERATOR, new_nodes(3))
    asked.clear()
    found = views(c)
    assert asked == [["n0.test.example", "n1.test.example", "n2.test.example"]]
    assert found["n0"].addresses == (f"10.8.0.{ids[0]}", f"10.9.0.{ids[0]}", "10.9.9.9")
    assert found["n1"].addresses == (f"10.8.0.{ids[1]}",), "of one that is left out nothing is known"


def test_boots_of_many_nodes_is_asked_once_and_joined_with_what_others_say_of_each(
    new_cluster: NewCluster,
) -> None:
    asked: list[int] = []

    def boots_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Mapping[str, Any]]:
        asked.append(len(nodes))
        rows = session.execute(text("SELECT id FROM nodes WHERE name <> 'n1.test.example'"))
        known = {row.id for row in rows}
        return {one.id: {"kernel": f"for {one.name}"} for one in nodes if one.id in known}

    def node_boot(node: NodeView) -> Mapping[str, Any]:
        if node.name == "n2.test.example":
            raise ValueError("nobody knows")
        return {"disk": node.id}

    c = new_cluster(hooks={"boots_of": boots_of, "node_boot": node_boot})
    registering.create_nodes(c.parts, OPERATOR, new_nodes(3))
    nodes = list(views(c).values())
    there = LiveCluster(c.parts)
    found = there.boots(nodes)
    assert asked == [3]
    said = [[answer for _, answer in found[one.id]] for one in nodes]
    assert said == [
        [{"disk": nodes[0].id}, {"kernel": "for n0.test.example"}],
        [{"disk": nodes[1].id}],
        [{"kernel": "for n2.test.example"}],
    ]
    assert there.ask("node_boot", node=nodes[0]) == found[nodes[0].id]
    [failure] = c.parts.registry.questions.take()
    assert (failure.hook, failure.subject) == ("node_boot", f"node {nodes[2].id}")


def test_one_that_asks_the_database_wrongly_leaves_the_transaction_as_it_was(new_cluster: NewCluster) -> None:
    def addresses_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Sequence[str]]:
        session.execute(text("SELECT missing FROM nowhere"))
        return {}

    def data_of(node_roles: Sequence[NodeRoleView], session: Any) -> Any:
        return [len(node_roles), session is None]

    c = new_cluster(PEER, hooks={"addresses_of": addresses_of, "data_of": data_of})
    for name in "ab":
        c.node(name)
        c.bind(name, "peer")
    assert views(c)["a"].addresses == ()
    commit_nodes(c.parts, OPERATOR, list(c.nodes.values()))
    assert c.anneal()
    noted = {one.hook: one for one in c.parts.registry.questions.take()}
    assert "nowhere" in noted["addresses_of"].error
    assert "no mapping of ids to answers" in noted["data_of"].error
    assert noted["addresses_of"].subject.startswith("node ")


def test_several_are_asked_in_one_savepoint_and_one_that_fails_fails_alone(ready_database: str, tmp_path: Path) -> None:
    """Whatever they ask, and though one of them writes, the transaction of whoever wants to know is as it was."""
    wrong: list[str] = []

    def asking(last: int) -> Callable[..., Mapping[int, Sequence[str]]]:
        def addresses_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Sequence[str]]:
            session.execute(text("UPDATE nodes SET name = 'x' || name"))
            if last == 2 and wrong:
                with suppress(DBAPIError):
                    session.execute(text(wrong[0]))
            return {one.id: [f"10.{last}.0.{one.id}"] for one in nodes if session.scalar(text("SELECT 1"))}

        return addresses_of

    plugins = [
        (name, Plugin((), name=name, hooks={"addresses_of": asking(last)}))
        for last, name in enumerate(("asks-1", "asks-2", "asks-3"), start=1)
    ]
    parts = open_parts(tmp_path, ready_database, plugins)
    try:
        (node,) = registering.create_nodes(parts, OPERATOR, new_nodes(1))

        def said() -> tuple[str, tuple[str, ...], list[str]]:
            with savepoints_in(parts) as asked, change(parts, OPERATOR) as turn:
                view = node_views(parts.registry, turn.session, parts.store, [node])[node]
                kept = turn.session.scalar(text("SELECT name FROM nodes WHERE name LIKE '%n0%'"))
            return str(kept), view.addresses, asked

        name, addresses, savepoints = said()
        assert (name, addresses) == ("n0.test.example", tuple(f"10.{last}.0.{node}" for last in (1, 2, 3)))
        assert len(savepoints) == 1
        assert parts.registry.questions.take() == []

        wrong.append("SELECT missing FROM nowhere")
        name, addresses, savepoints = said()
        assert name == "n0.test.example"
        noted = [(one.plugin, one.hook) for one in parts.registry.questions.take()]
        if parts.store.postgresql:  # where a statement that fails is the end of the transaction, or of the savepoint
            assert addresses == (f"10.1.0.{node}", f"10.3.0.{node}")
            assert noted == [("asks-2", "addresses_of")]
            assert len(savepoints) == 4
        else:
            assert len(addresses) == 3
            assert noted == []
    finally:
        parts.close()


def test_data_of_many_noderoles_is_asked_for_once_and_written_in_few_statements(new_cluster: NewCluster) -> None:
    asked: list[int] = []

    def data_of(node_roles: Sequence[NodeRoleView]) -> Mapping[int, Mapping[str, Any]]:
        asked.append(len(node_roles))
        return {one.id: {"peer-number": one.id} for one in node_roles}

    c = new_cluster(PEER, Role(name="other"), hooks={"data_of": data_of})
    ids = registering.create_nodes(c.parts, OPERATOR, new_nodes(300))
    refs = binding.bind_many(c.parts, OPERATOR, node_ids=ids, role_ids=[c.role_ids["peer"]]).created
    with statements(c) as said:
        commit_nodes(c.parts, OPERATOR, ids)
    assert len(said) <= 100, len(said)
    assert asked == [300, 300], "once at the commit, once before the runs"
    rows = c.rows(select(node_role_rows.c.id, node_role_rows.c.sysdata).where(node_role_rows.c.id.in_(refs)))
    assert {row.id: row.sysdata for row in rows} == {ref: {"peer-number": ref} for ref in refs}
    asked.clear()
    with statements(c) as said:
        commit_nodes(c.parts, OPERATOR, ids)
    assert asked == []
    assert not [one for one in said if "UPDATE node_roles SET sysdata" in one]
