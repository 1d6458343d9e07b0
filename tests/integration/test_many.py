"""Very many nodes and noderoles in one call: one transaction, few statements, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, func, select

from crowbar_core.barclamp import NodeRoleView, Role
from crowbar_core.errors import BadInput, NotFound, Refused, Veto
from crowbar_core.services.cluster import binding, nodes, registering, steering
from crowbar_core.services.cluster.registering import NewNode
from tests.integration.api import Api, serving
from tests.integration.cluster import OPERATOR, Cluster, audit_rows, check_invariants, node_role_rows, node_rows
from tests.integration.conftest import NewCluster

CHAIN = tuple(Role(name=f"step-{at}", requires=(f"step-{at - 1}",) if at else ()) for at in range(10))


@contextmanager
def statements(c: Cluster) -> Iterator[list[str]]:
    """What the database is asked inside the block."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    event.listen(c.parts.store.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(c.parts.store.engine, "before_cursor_execute", note)


def new_nodes(count: int, *, start: int = 0) -> list[NewNode]:
    return [
        NewNode(
            name=f"n{at}.test.example", alive=True, available=True, discovery={"cpus": at},
            hint={"hint-admin-v4addr": f"10.0.{at // 250}.{at % 250 + 1}/16"},
        )
        for at in range(start, start + count)
    ]  # fmt: skip


def test_a_thousand_nodes_are_created_in_a_hundred_statements(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="found", discovery=True), *CHAIN)
    with statements(c) as asked:
        ids = registering.create_nodes(c.parts, OPERATOR, new_nodes(1000))
    assert len(asked) <= 100, len(asked)
    rows = c.rows(select(node_rows.c.id, node_rows.c.name).where(~node_rows.c.system).order_by(node_rows.c.id))
    assert [(row.id, row.name) for row in rows] == [(ref, f"n{at}.test.example") for at, ref in enumerate(ids)]
    assert c.rows(select(func.count()).select_from(node_role_rows))[0][0] == 1000, "discovery roles are bound"
    assert len([row for row in c.audited() if row[0] == "node.create"]) == 1000


def test_a_thousand_noderoles_are_bound_in_a_hundred_statements_however_many_there_are(
    new_cluster: NewCluster,
) -> None:
    c = new_cluster(*CHAIN)
    ids = registering.create_nodes(c.parts, OPERATOR, new_nodes(220))
    roles = [c.role_ids[role.name] for role in CHAIN]
    counts = []
    for some in (ids[:20], ids[20:120], ids[120:]):
        with statements(c) as asked:
            bound = binding.bind_many(c.parts, OPERATOR, node_ids=some, role_ids=roles)
        assert len(bound.created) == len(bound.node_role_ids) == len(some) * 10
        counts.append(len(asked))
    assert counts[1] <= 100, counts
    assert counts[2] <= counts[1] <= counts[0] + 5, f"ten noderoles more or less cost nothing: {counts}"
    check_invariants(c.parts)
    with statements(c) as asked:
        gone = binding.unbind_many(c.parts, OPERATOR, bound.created[:1000:10])
    assert set(gone) == set(bound.created)
    assert len(asked) <= 100, len(asked)
    check_invariants(c.parts)


def test_of_many_bindings_one_that_is_refused_undoes_all(new_cluster: NewCluster) -> None:
    def bind(node_role: NodeRoleView) -> None:
        if node_role.node.name.startswith("n3."):
            raise Veto("The switch of n3 has no free port.")

    c = new_cluster(*CHAIN, Role(name="idea", abstract=True), hooks={"on_node_bind": bind})
    ids = registering.create_nodes(c.parts, OPERATOR, new_nodes(4))
    first, idea = c.role_ids["step-1"], c.role_ids["idea"]
    before = c.audited()
    with pytest.raises(Veto, match="no free port"):
        binding.bind_many(c.parts, OPERATOR, node_ids=ids, role_ids=[first])
    with pytest.raises(Refused, match="idea is abstract"):
        binding.bind_many(c.parts, OPERATOR, node_ids=ids[:3], role_ids=[first, idea])
    with pytest.raises(NotFound, match="no node 999"):
        binding.bind_many(c.parts, OPERATOR, node_ids=[ids[0], 999], role_ids=[first])
    assert not c.rows(select(node_role_rows.c.id))
    assert c.audited() == before
    assert len(binding.bind_many(c.parts, OPERATOR, node_ids=ids[:3], role_ids=[first]).created) == 4
    subjects = c.rows(select(audit_rows.c.subject, audit_rows.c.detail).where(audit_rows.c.action == "bind"))
    assert [row.subject for row in subjects] == [f"node n{at}.test.example" for at in range(3)]
    assert [row.detail["role"] for row in subjects] == ["step-1"] * 3
    assert [len(row.detail["created"]) for row in subjects] == [2, 1, 1], "the first brought step-0 for all"


def test_of_many_new_nodes_one_that_cannot_be_undoes_all(new_cluster: NewCluster) -> None:
    c = new_cluster()
    c.node("n2")
    for wrong, raised, words in (
        (new_nodes(4), Refused, "a node n2.test.example already"),
        ([*new_nodes(1), *new_nodes(1)], Refused, "Two of these nodes are called n0.test.example"),
        ([*new_nodes(1), NewNode(name="n5.test.example", deployment_id=99)], NotFound, "no deployment 99"),
        ([*new_nodes(1), NewNode(name="n 5")], BadInput, "name"),
    ):
        with pytest.raises(raised, match=words):
            registering.create_nodes(c.parts, OPERATOR, wrong)
    assert [row.name for row in c.rows(select(node_rows.c.name).where(~node_rows.c.system))] == ["n2.test.example"]


def test_a_thousand_noderoles_are_committed_and_their_nodes_changed_and_deleted_in_a_hundred_statements(
    new_cluster: NewCluster,
) -> None:
    c = new_cluster(*CHAIN, Role(name="other"))
    ids = registering.create_nodes(c.parts, OPERATOR, new_nodes(101))
    binding.bind_many(c.parts, OPERATOR, node_ids=ids[:100], role_ids=[c.role_ids[role.name] for role in CHAIN])
    other = binding.bind(c.parts, OPERATOR, node_id=ids[100], role_id=c.role_ids["other"]).node_role_id
    web = c.deployment("web")
    acts: tuple[Callable[[], None], ...] = (
        lambda: nodes.change_nodes(c.parts, OPERATOR, ids[:100], {"deployment_id": web, "hint": {"rack": 5}}),
        lambda: nodes.commit_nodes(c.parts, OPERATOR, ids[:100]),
        lambda: nodes.change_nodes(c.parts, OPERATOR, ids[:100], {"available": False, "description": "moved"}),
        lambda: nodes.redeploy_nodes(c.parts, OPERATOR, ids[:100]),
    )
    for act in acts:
        with statements(c) as asked:
            act()
        assert len(asked) <= 100, len(asked)
        check_invariants(c.parts)
    rows = c.rows(select(node_rows.c.deployment_id, node_rows.c.description).where(node_rows.c.id.in_(ids[:100])))
    assert {tuple(row) for row in rows} == {(web, "moved")}
    states = c.rows(
        select(node_role_rows.c.deployment_id, node_role_rows.c.committed).where(node_role_rows.c.id != other)
    )
    assert {tuple(row) for row in states} == {(web, True)}, "what was only proposed went along, and was committed there"
    with statements(c) as asked:
        nodes.delete_nodes(c.parts, OPERATOR, ids[:100])
    assert len(asked) <= 100, len(asked)
    assert [row.id for row in c.rows(select(node_role_rows.c.id))] == [other]
    assert c.rows(select(node_rows.c.id).where(~node_rows.c.system)) == [(ids[100],)]
    check_invariants(c.parts)


def test_nodes_on_which_others_stand_are_deleted_together_with_them(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="base"), Role(name="app", requires=("base",)))
    for name in "abc":
        c.node(name)
    c.bind("a", "base")
    c.bind("b", "app")
    c.commit_all()
    c.anneal()
    a, b, other = (c.nodes[name] for name in "abc")
    with pytest.raises(Refused, match=r"Node a\.test\.example cannot be deleted: app on b\.test\.example"):
        nodes.delete_nodes(c.parts, OPERATOR, [a, other])
    nodes.delete_nodes(c.parts, OPERATOR, [a, b])
    assert [row.id for row in c.rows(select(node_rows.c.id).where(~node_rows.c.system))] == [other]


def test_what_cannot_be_changed_of_one_node_is_changed_of_none(new_cluster: NewCluster) -> None:
    c = new_cluster()
    first, second = c.node("a"), c.node("b")
    system = c.system_node(c.system)
    with pytest.raises(Refused, match="system node"):
        nodes.change_nodes(c.parts, OPERATOR, [first, system], {"order": 5})
    with pytest.raises(BadInput, match="names are unique"):
        nodes.change_nodes(c.parts, OPERATOR, [first, second], {"name": "c.test.example"})
    with pytest.raises(NotFound, match="no node 999"):
        nodes.change_nodes(c.parts, OPERATOR, [first, 999], {"order": 5})
    assert {row.order for row in c.rows(select(node_rows.c.order).where(~node_rows.c.system))} == {1000}


def test_many_noderoles_are_held_and_released(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="base"))
    refs = []
    for name in "abc":
        c.node(name)
        refs.append(c.bind(name, "base"))
    steering.hold_many(c.parts, OPERATOR, refs[:2], reason="the rack is being moved")
    c.commit_all()
    assert [run.node_role_id for run in c.open_runs()] == [refs[2]]
    with pytest.raises(NotFound, match="no noderole 999"):
        steering.release_many(c.parts, OPERATOR, [refs[0], 999])
    steering.release_many(c.parts, OPERATOR, refs)
    assert {run.node_role_id for run in c.open_runs()} == set(refs)


# ---------------------------------------------------------------- through the API


@pytest.fixture
def api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path) as made:
        yield made


def test_many_nodes_are_created_and_bound_by_two_requests(api: Api) -> None:
    names = [f"n{at}.rack.example.com" for at in range(5)]
    answer = api.post(
        "nodes/bulk", {"nodes": [{"name": name, "ip": f"10.0.0.{at + 1}"} for at, name in enumerate(names)]}
    )
    assert answer.status_code == 201
    made = answer.get_json()
    assert [one["name"] for one in made] == names
    planned = api.post("node_roles/bulk?dry_run=true", {"nodes": names, "roles": ["web-server"]})
    assert planned.status_code == 200
    assert len(planned.get_json()["steps"]) == 6
    some = [names[0], *(one["id"] for one in made[1:])]
    bound = api.made("node_roles/bulk", {"nodes": some, "roles": ["web-server"]})
    assert (len(bound["node_roles"]), len(bound["created"])) == (5, 6)
    again = api.made("node_roles/bulk", {"nodes": names, "roles": ["web-server"]})
    assert (again["node_roles"], again["created"]) == (bound["node_roles"], [])
    gone = api.post("node_roles/bulk/unbind", {"node_roles": bound["node_roles"][1:4]})
    assert gone.get_json()["node_roles"] == bound["node_roles"][1:4]


def test_what_is_wrong_with_one_of_many_is_said_with_its_place(api: Api) -> None:
    answer = api.post("nodes/bulk", {"nodes": [{"name": "n1.rack.example.com"}, {"name": "n 2"}]})
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.get_json()["errors"]] == ["/nodes/1/name"]
    answer = api.post("node_roles/bulk", {"nodes": ["ghost.rack.example.com"], "roles": ["base"]})
    assert answer.status_code == 422
    assert "ghost.rack.example.com" in answer.get_json()["detail"]
    assert api.post("nodes/bulk", {"nodes": []}).status_code == 422
    assert api.get("nodes?system=false").get_json() == []


def test_many_nodes_are_changed_committed_held_and_deleted_by_one_request_each(api: Api) -> None:
    names = [f"n{at}.rack.example.com" for at in range(3)]
    assert api.post("nodes/bulk", {"nodes": [{"name": name} for name in names]}).status_code == 201
    bound = api.made("node_roles/bulk", {"nodes": names, "roles": ["base"]})["node_roles"]
    answer = api.patch("nodes/bulk", {"nodes": names, "changes": {"order": 5, "hint": {"rack": {"unit": 4}}}})
    assert answer.status_code == 200
    assert {(row["order"], row["hint"]["rack"]["unit"]) for row in api.get("nodes?fields=order,hint").get_json()} == {
        (5, 4)
    }
    assert api.post("node_roles/bulk/hold", {"node_roles": bound, "reason": "not yet"}).get_json() == {
        "node_roles": bound
    }
    assert api.post("nodes/bulk/commit", {"nodes": names}).status_code == 200
    assert {row["state_name"] for row in api.get("node_roles").get_json()} == {"TODO"}
    assert {row["held_reason"] for row in api.get("node_roles").get_json()} == {"not yet"}
    assert api.post("node_roles/bulk/release", {"node_roles": bound}).status_code == 200
    assert api.post("nodes/bulk/redeploy", {"nodes": names}).status_code == 200
    planned = api.post("nodes/bulk/delete?dry_run=true", {"nodes": names})
    assert len(planned.get_json()["removed"]) == 6
    assert api.post("nodes/bulk/delete", {"nodes": names}).status_code == 200
    assert api.get("nodes").get_json() == []
    assert api.call("POST", "nodes/bulk/delete", who="viewer", json={"nodes": names}).status_code == 403
