"""The pages' questions to the database: right answers, and as many statements for many rows as for few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations, product
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, event, func, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Barclamp, Role, hookimpl
from crowbar_core.domain.states import NodeState, State, deployment_state, node_state
from crowbar_core.services.build import build_parts
from crowbar_core.services.cluster import binding, deployments, nodes
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.settings import load_settings
from crowbar_core.store import boards, catalogue, deployment_pages, listing, node_pages, run_pages
from crowbar_core.store.listings.history import AUDITS
from crowbar_core.store.listings.nodes import NODES
from crowbar_core.store.models import Deployment, Node, NodeRole, RoleRow, Run, RunLog, table

ROLES = ("base", "middle", "top")
ADMIN = Actor("admin")
FLAGS = (False, True)


class Shelf:
    """Three roles, each on the one before."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="shelf",
            roles=tuple(Role(name=name, requires=ROLES[max(at - 1, 0) : at]) for at, name in enumerate(ROLES)),
        )


@pytest.fixture
def parts(database_url: str, tmp_path: Path) -> Iterator[Parts]:
    made = build_parts(
        load_settings(data_dir=str(tmp_path), database_url=database_url), extra_plugins=[("shelf", Shelf())]
    )
    yield made
    made.close()


@contextmanager
def counted(parts: Parts) -> Iterator[tuple[Session, list[str]]]:
    """A reading session, and what it sends to the database."""
    said: list[str] = []

    def note(_connection: Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(statement)

    event.listen(parts.store.engine, "before_cursor_execute", note)
    try:
        with parts.store.read() as session:
            session.connection()
            said.clear()
            yield session, said
    finally:
        event.remove(parts.store.engine, "before_cursor_execute", note)


def fill(parts: Parts, count: int, first: int = 0) -> int:
    """A deployment with ``count`` nodes, all roles bound to each, in a mix of states; returns its id."""
    deployment_id = deployments.create_deployment(parts, ADMIN, name=f"d{first}")
    with parts.store.read() as session:
        ids = dict(session.execute(select(RoleRow.name, RoleRow.id)).all())
    for number in range(first, first + count):
        node_id = nodes.create_node(
            parts, ADMIN, name=f"n{number:03}.shelf.example", deployment_id=deployment_id, alive=number % 2 == 0
        )
        for role in ROLES:
            binding.bind(parts, ADMIN, node_id=node_id, role_id=ids[role])
    with parts.store.write() as session:
        # The states are set by hand, as no annealer runs here: what is asked is whether they are counted rightly.
        rows = session.execute(
            select(NodeRole.id, NodeRole.node_id).where(NodeRole.deployment_id == deployment_id).order_by(NodeRole.id)
        ).all()
        for at, (id_, node_id) in enumerate(rows):
            state = (State.ERROR, State.BLOCKED, State.BLOCKED, State.ACTIVE, State.TODO, State.PROPOSED, State.ACTIVE)[
                at % 7
            ]
            session.execute(
                update(NodeRole)
                .where(NodeRole.id == id_)
                .values(state=int(state), blockers=1 if state is State.BLOCKED else 0, status=f"because {at}")
            )
            if state is State.ERROR:
                run_id = session.execute(
                    insert(table(Run))
                    .values(
                        node_role_id=id_, node_id=node_id, state="failed", queued_at=parts.store.now(session),
                        rung_at=parts.store.now(session), finished_at=parts.store.now(session),
                    )
                    .returning(table(Run).c.id)
                ).scalar_one()  # fmt: skip
                for seq, stream, line in ((1, "stdout", "before"), (2, "stderr", "it broke"), (3, "stdout", "after")):
                    session.execute(
                        insert(table(RunLog)).values(
                            run_id=run_id, seq=seq, at=parts.store.now(session), stream=stream, line=line
                        )
                    )
    return deployment_id


def states(parts: Parts) -> dict[str, list[State]]:
    """The noderoles' states by node, read in the plainest way: what the answers are compared with."""
    with parts.store.read() as session:
        found: dict[str, list[State]] = {
            name: [] for name in session.scalars(select(Node.name).where(Node.system.is_(False)))
        }
        for name, state in session.execute(
            select(Node.name, NodeRole.state).join(NodeRole, NodeRole.node_id == Node.id)
        ):
            found[name].append(State(state))
    return found


def test_nodes_without_work_are_new_dead_or_idle_and_never_active(parts: Parts) -> None:
    for name, alive in (("new", False), ("dead", True), ("idle", True)):
        nodes.create_node(parts, ADMIN, name=f"{name}.shelf.example", alive=alive, available=True)
    with parts.store.read() as session:
        (dead,) = session.scalars(select(Node.id).where(Node.name == "dead.shelf.example"))
    nodes.change_node(parts, ADMIN, dead, {"alive": False})
    with parts.store.read() as session:
        assert boards.node_counts(session).states == {NodeState.NEW: 1, NodeState.DEAD: 1, NodeState.IDLE: 1}
        assert {one.name.partition(".")[0]: one.state.name for one in node_pages.nodes_page(session)} == {
            "new": "NEW",
            "dead": "DEAD",
            "idle": "IDLE",
        }
        for wanted in (NodeState.NEW, NodeState.DEAD, NodeState.IDLE):
            (found,) = node_pages.nodes_page(session, state=wanted)
            assert found.name.startswith(wanted.name.lower())
        assert node_pages.nodes_page(session, state=NodeState.ACTIVE) == []


def test_counts_agree_with_the_states_of_each_node(parts: Parts) -> None:
    fill(parts, 9)
    truth = states(parts)
    with parts.store.read() as session:
        counts = boards.node_counts(session)
        assert counts.states == Counter(node_state(each) for each in truth.values())
        assert counts.total == 9
        assert counts.dead == 4
        assert boards.node_role_counts(session) == Counter(state for each in truth.values() for state in each)
        for wanted in NodeState:
            found = node_pages.nodes_page(session, state=wanted)
            assert [one.name for one in found] == sorted(n for n, each in truth.items() if node_state(each) == wanted)
            assert {one.state for one in found} <= {wanted}


def test_the_database_works_out_every_state_of_a_node_as_it_is_defined(parts: Parts) -> None:
    """Every set of states that its noderoles can have, alive or not, seen alive before or not, powered off or not."""
    sets = [those for count in range(len(State) + 1) for those in combinations(State, count)]
    expected: dict[str, NodeState] = {}
    with parts.store.write() as session:
        root = session.scalars(select(Deployment.id).where(Deployment.system)).one()
        roles = session.scalars(select(RoleRow.id).order_by(RoleRow.id).limit(len(State))).all()
        now = parts.store.now(session)
        for those, alive, was_alive, off in product(sets, FLAGS, FLAGS, FLAGS):
            name = f"n{len(expected):03}.shelf.example"
            expected[name] = node_state(those, alive=alive, was_alive=was_alive, switched_off=off)
            life = {"alive": alive, "alive_at": now if was_alive else None, "switched_off": off}
            made = insert(table(Node)).values(name=name, deployment_id=root, **life).returning(table(Node).c.id)
            node_id = session.execute(made).scalar_one()
            bound = [
                {"node_id": node_id, "role_id": role, "deployment_id": root, "state": int(state),
                 "blockers": int(state is State.BLOCKED)}
                for role, state in zip(roles, those, strict=False)
            ]  # fmt: skip
            if bound:
                session.execute(insert(table(NodeRole)), bound)
    assert len(expected) == 2**6 * 2**3
    assert set(expected.values()) == set(NodeState)
    with parts.store.read() as session:
        asked: dict[str, Any] = {"filters": {"system": "false"}, "fields": ("name", "state"), "limit": len(expected)}
        rows = listing.page(session, NODES, **asked).rows
        assert {row["name"]: row["state"] for row in rows} == expected
        assert orjson.loads(listing.page(session, NODES, dumps=orjson.dumps, **asked).text) == rows
        assert boards.node_counts(session).states == Counter(expected.values())


def test_a_deployment_says_of_its_state_what_follows_from_its_noderoles(parts: Parts) -> None:
    fill(parts, 1, 1)
    fill(parts, 1, 2)
    deployments.create_deployment(parts, ADMIN, name="empty")
    seen = set()
    for committed in (False, True):
        for state in (State.ACTIVE, State.TODO, State.PROPOSED, State.ERROR):
            with parts.store.write() as session:
                session.execute(update(Deployment).where(~Deployment.system).values(committed=committed))
                session.execute(update(NodeRole).values(state=int(State.ACTIVE), blockers=0))
                first = select(func.min(NodeRole.id)).scalar_subquery()
                session.execute(update(NodeRole).where(NodeRole.id == first).values(state=int(state)))
            with parts.store.read() as session:
                lines = deployment_pages.deployment_lines(session)
            assert {one.name: one.committed for one in lines if not one.system} == dict.fromkeys(
                ("d1", "d2", "empty"), committed
            )
            for one in lines:
                assert one.state is deployment_state(one.committed, one.states), one
                seen.add(one.state.name)
    assert seen == {"PROPOSED", "ERROR", "COMMITTED", "ACTIVE"}


def test_pages_of_nodes_join_without_gap_or_repeat(parts: Parts) -> None:
    fill(parts, 7)
    seen: list[str] = []
    with parts.store.read() as session:
        while page := node_pages.nodes_page(session, after=seen[-1] if seen else "", limit=3):
            seen += [one.name for one in page]
    assert seen == sorted(states(parts))


def test_a_search_takes_percent_and_underscore_literally(parts: Parts) -> None:
    nodes.create_node(parts, ADMIN, name="one.shelf.example", description="100% full")
    nodes.create_node(parts, ADMIN, name="two.shelf.example", description="1000 full")
    with parts.store.read() as session:
        assert [one.name for one in node_pages.nodes_page(session, search="100%")] == ["one.shelf.example"]
        assert node_pages.nodes_page(session, search="_") == []


def test_a_failure_comes_with_its_last_line_on_stderr(parts: Parts) -> None:
    fill(parts, 3)
    with parts.store.read() as session:
        found = run_pages.failures(session)
    assert found
    assert {(one.seq, one.line) for one in found} == {(2, "it broke")}
    assert all(one.status.startswith("because") for one in found)


def test_what_a_noderole_blocks_is_found_through_others(parts: Parts) -> None:
    fill(parts, 1)
    with parts.store.read() as session:
        base, middle, top = (one.id for one in node_pages.node_roles_page(session))
        assert [one.id for one in node_pages.blocked_by(session, base)] == [middle, top]
        assert [one.id for one in node_pages.parents(session, top)] == [middle]
        assert [one.id for one in node_pages.children(session, base)] == [middle]


def test_a_board_shows_every_cell_once_in_the_order_of_the_work(parts: Parts) -> None:
    deployment_id = fill(parts, 5)
    with parts.store.read() as session:
        first = boards.board(session, deployment_id, limit=3)
        second = boards.board(session, deployment_id, after=first.more_after, limit=3)
    assert [column.role for column in first.columns] == list(ROLES)
    assert [node.name for node in (*first.nodes, *second.nodes)] == sorted(states(parts))
    assert len(first.cells) + len(second.cells) == 15
    assert second.more_after == ""


def test_deployments_to_choose_from_are_read_by_name_alone(parts: Parts) -> None:
    fill(parts, 1, first=2)
    with counted(parts) as (session, said):
        found = deployment_pages.deployment_names(session)
        lines = deployment_pages.deployment_lines(session)
    assert [(one.id, one.name) for one in found] == [(one.id, one.name) for one in lines]
    assert "d2" in {one.name for one in found}
    assert "node" not in said[0]


QUESTIONS: tuple[tuple[str, Callable[[Session, int], object]], ...] = (
    ("node_counts", lambda session, _: boards.node_counts(session)),
    ("nodes_page", lambda session, _: node_pages.nodes_page(session)),
    ("failures", lambda session, _: run_pages.failures(session)),
    ("deployment_lines", lambda session, _: deployment_pages.deployment_lines(session)),
    ("board", boards.board),
    ("grid", lambda session, _: boards.grid(session)),
    ("runs_page", lambda session, _: run_pages.runs_page(session)),
    ("recent_runs", lambda session, _: run_pages.recent_runs(session)),
    ("roles", lambda session, _: catalogue.roles(session)),
    ("barclamps", lambda session, _: catalogue.barclamps(session)),
    ("events_page", lambda session, _: catalogue.events_page(session)),
    ("hook_failures", lambda session, _: catalogue.hook_failures(session)),
    ("audits", lambda session, _: listing.page(session, AUDITS).rows),
    ("tokens", lambda session, _: catalogue.tokens(session)),
)


def test_more_rows_need_no_more_statements(parts: Parts) -> None:
    def ask(deployment_id: int) -> dict[str, int]:
        told = {}
        for name, question in QUESTIONS:
            with counted(parts) as (session, said):
                question(session, deployment_id)
                told[name] = len(said)
        return told

    few = ask(fill(parts, 2))
    many = ask(fill(parts, 12, first=100))
    assert many == few
    assert max(many.values()) <= 6
