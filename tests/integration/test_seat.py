"""The seat of barclamps: ``cluster()`` answers wherever a barclamp is called, and a change is one turn of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from crowbar_core import (
    BadInput,
    Barclamp,
    Bind,
    Change,
    Hammer,
    Intent,
    NodeRoleView,
    NodeView,
    NotFound,
    Periodic,
    Problem,
    Refused,
    Role,
    SetAttribute,
    Task,
    Veto,
    cluster,
    hookimpl,
)
from crowbar_core.barclamp import Attribute
from crowbar_core.errors import BarclampError, ConfigError
from crowbar_core.services.engine.engine import Engine
from crowbar_core.testing import Testbed

NOTE = Attribute(name="seated-note", map="seated/note", schema={"type": "string"})


def _run(task: Task) -> None:
    SEEN["run"] = _who()


SEEN: dict[str, Any] = {}


def _who() -> list[str]:
    """The nodes that cluster() tells of, but the core's own."""
    return [one.name for one in cluster().nodes() if not one.system]


class Seated:
    """A barclamp that looks at the cluster wherever it is called, and does what a test tells it to in on_node_bind."""

    def __init__(self) -> None:
        SEEN.clear()
        self.take_part: Callable[[NodeRoleView, Change], None] = lambda node_role, change: None
        self.committed: Callable[[Any, Change], None] = lambda obj, change: None

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="seated", attributes=(NOTE,),
            roles=(Role(name="seated-role", jig="python", run=_run), Role(name="seated-other", jig="noop")),
        )  # fmt: skip

    @hookimpl
    def register_periodic(self) -> list[Periodic]:
        return [Periodic(name="look", seconds=60, run=lambda: SEEN.update(periodic=_who()))]

    @hookimpl
    def check_node(self, node: NodeView, session: Any) -> Iterator[Problem]:
        SEEN["check_node"] = _who()
        SEEN["check_node session"] = session.scalar(
            text("SELECT count(*) FROM nodes WHERE name = :n"), {"n": node.name}
        )
        if node.hint.get("seated", {}).get("note") == "bad":
            yield Problem(detail="not that note")

    @hookimpl
    def check_binding(self, node: NodeView, session: Any) -> Iterator[Problem]:
        SEEN["check_binding"] = _who()
        yield from ()

    @hookimpl
    def check_commit(self, session: Any) -> None:
        SEEN["check_commit"] = _who()

    @hookimpl
    def on_node_bind(self, node_role: NodeRoleView, change: Change) -> None:
        SEEN["on_node_bind"] = _who()
        self.take_part(node_role, change)

    @hookimpl
    def on_commit(self, obj: Any, change: Change) -> None:
        SEEN["on_commit"] = _who()
        self.committed(obj, change)

    @hookimpl
    def node_role_data(self, node_role: NodeRoleView, session: Any) -> dict[str, Any]:
        SEEN["node_role_data"] = _who()
        return {}

    @hookimpl
    def node_boot(self, node: NodeView, session: Any) -> dict[str, Any]:
        return {"kernel": f"for {node.name}", "nodes": session.execute(text("SELECT count(*) FROM nodes")).scalar()}

    @hookimpl
    def on_node_change(self, node: NodeView, changed: frozenset[str]) -> None:
        SEEN["on_node_change"] = (node.name, node.deployment, sorted(changed))

    @hookimpl(roles=("seated-role",))
    def on_active(self, node_role: NodeRoleView) -> Iterator[Intent]:
        SEEN["on_active"] = _who()
        yield SetAttribute(node=node_role.node.name, attribute="seated-note", value="active")
        SEEN["on_active, later"] = _who()


class Broken:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="broken")

    @hookimpl
    def node_boot(self) -> dict[str, Any]:
        raise ValueError("nobody knows")


@pytest.fixture
def seated() -> Seated:
    return Seated()


@pytest.fixture
def bed(ready_database: str, seated: Seated) -> Iterator[Testbed]:
    with Testbed(seated, database_url=ready_database) as made:
        made.add_node("n1")
        yield made


ALL = ["n1.example.test"]


def test_cluster_answers_in_every_hook_and_run(bed: Testbed) -> None:
    bed.bind("seated-role", "n1")
    bed.commit()
    bed.anneal_until_quiet()
    looked = {name: seen for name, seen in SEEN.items() if seen == ALL}
    assert looked == dict.fromkeys(
        ["check_node", "check_binding", "on_node_bind", "check_commit", "on_commit", "node_role_data", "run",
         "on_active", "on_active, later"], ALL,
    )  # fmt: skip
    assert bed.value("seated-note", "n1") == "active"


def test_cluster_answers_in_a_periodic_job(bed: Testbed) -> None:
    engine = Engine(bed.parts)
    engine.leading = True
    ((name, job),) = [one for one in engine._register_jobs() if one[0] == "seated"]
    engine._guarded(job.run, job.name, name)()
    assert SEEN["periodic"] == ALL


def test_nodes_of_some_ids_are_those_of_them_that_there_are(bed: Testbed) -> None:
    two, one = bed.add_node("n2").id, bed.node("n1").id
    with bed.serving() as here:
        assert [node.id for node in here.nodes([two, one, two + 99])] == [one, two]
        assert here.nodes([]) == ()


def test_outside_of_all_that_the_core_calls_there_is_no_cluster() -> None:
    with pytest.raises(LookupError, match="There is no cluster here: cluster\\(\\) answers in hooks, runs"):
        cluster()


def test_a_check_sees_the_change_that_it_checks(bed: Testbed) -> None:
    """``check_node`` is asked in the transaction: its session, and ``cluster()``, show the new node."""
    assert SEEN["check_node session"] == 1
    assert SEEN["check_node"] == ALL


def test_check_node_check_binding_and_check_commit_are_given_the_session_of_the_change(bed: Testbed) -> None:
    bed.bind("seated-role", "n1")
    bed.commit()
    assert {"check_node", "check_binding", "check_commit"} <= set(SEEN)


# ---------------------------------------------------------------- a change


def test_what_a_change_does_is_there_when_it_ends_and_nothing_when_it_raises(bed: Testbed) -> None:
    with bed.change() as change:
        change.apply(Bind(node="n1.example.test", role="seated-role"))
        change.apply(SetAttribute(node="n1.example.test", attribute="seated-note", value="one"))
        assert [one.role for one in cluster().node_roles()] == ["seated-role"]
    assert bed.state("seated-role", "n1") == "PROPOSED"
    with pytest.raises(NotFound), bed.change() as change:
        change.apply(
            SetAttribute(node="n1.example.test", attribute="seated-note", value="two"), Bind(node="n9", role="x")
        )
    assert bed.value("seated-note", "n1") == "one"
    assert bed.problems() == []


def test_a_change_has_the_databases_time_an_audit_trail_and_seals(bed: Testbed) -> None:
    before = bed.clock()
    with bed.change() as change:
        assert timedelta(0) <= change.now - before < timedelta(minutes=1)
        change.audit("thing.made", "thing 7", colour="red")
        sealed = change.seal("swordfish")
        assert "swordfish" not in sealed
        assert change.unseal(sealed) == "swordfish"
        with pytest.raises(ConfigError, match=r"another key than secret\.key"):
            change.unseal("swordfish")
    (row,) = bed.web().get("/api/v2/audits?action=thing.made").get_json()
    assert (row["actor"], row["subject"], row["detail"]) == ("tester", "thing 7", {"colour": "red"})


@pytest.mark.parametrize("way", ["commit", "rollback", "close"])
def test_the_session_of_a_change_is_ended_by_nobody_else(bed: Testbed, way: str) -> None:
    def end_it() -> None:
        with bed.change() as change:
            change.apply(SetAttribute(node="n1.example.test", attribute="seated-note", value="half"))
            getattr(change.session, way)()

    with pytest.raises(BarclampError, match="ended by whoever opened it"):
        end_it()
    assert bed.value("seated-note", "n1") is None
    with bed.change() as change:  # the way is free again
        change.apply(SetAttribute(node="n1.example.test", attribute="seated-note", value="whole"))
    assert bed.value("seated-note", "n1") == "whole"


def test_a_nested_change_is_refused_at_once(bed: Testbed) -> None:
    bind = Bind(node="n1.example.test", role="seated-other")
    with bed.change() as change:
        for again in (lambda: cluster().change().__enter__(), lambda: cluster().apply([bind]),
                      lambda: cluster().power("n1.example.test", "on")):  # fmt: skip
            with pytest.raises(BarclampError, match="There is a change open in this thread"):
                again()
        change.apply(bind)
    assert bed.state("seated-other", "n1") == "PROPOSED"


def test_on_node_bind_and_on_commit_take_part_with_their_change(bed: Testbed, seated: Seated) -> None:
    def take_part(node_role: NodeRoleView, change: Change) -> None:
        if node_role.role == "seated-role":
            change.apply(Bind(node=node_role.node.name, role="seated-other"))
            change.audit("seated.bound", f"node {node_role.node.name}")

    def committed(obj: Any, change: Change) -> None:
        if isinstance(obj, NodeRoleView) and obj.role == "seated-other":
            change.apply(SetAttribute(node=obj.node.name, attribute="seated-note", value="committed"))

    seated.take_part, seated.committed = take_part, committed
    bed.bind("seated-role", "n1")
    assert bed.state("seated-other", "n1") == "PROPOSED"
    (row,) = bed.web().get("/api/v2/audits?action=seated.bound").get_json()
    assert row["actor"] == "barclamp seated"
    bed.commit()
    assert bed.value("seated-note", "n1") == "committed"


def test_a_hook_of_the_transaction_cannot_begin_another_change(bed: Testbed, seated: Seated) -> None:
    seated.take_part = lambda node_role, change: cluster().apply([])
    with pytest.raises(BarclampError, match="There is a change open in this thread"):
        bed.bind("seated-role", "n1")
    assert bed.node_roles() == ()


def test_a_veto_undoes_what_the_change_has_done(bed: Testbed, seated: Seated) -> None:
    def take_part(node_role: NodeRoleView, change: Change) -> None:
        if node_role.role == "seated-role":
            change.apply(Bind(node=node_role.node.name, role="seated-other"))
            raise Veto("on second thoughts, no")

    seated.take_part = take_part
    with pytest.raises(Refused, match="on second thoughts"):
        bed.bind("seated-role", "n1")
    assert bed.node_roles() == ()


# ---------------------------------------------------------------- reading and asking


def test_a_reading_session_keeps_nothing(bed: Testbed) -> None:
    with bed.read() as session:
        session.execute(text("UPDATE nodes SET description = 'changed'"))
    with bed.read() as session:
        assert session.scalar(text("SELECT count(*) FROM nodes WHERE description = 'changed'")) == 0


def test_node_boot_is_asked_by_whoever_serves(ready_database: str, seated: Seated) -> None:
    with Testbed(seated, Broken(), database_url=ready_database) as bed:
        node = bed.add_node("n1")
        assert bed.ask("node_boot", node=node) == (("seated", {"kernel": "for n1.example.test", "nodes": 2}),)
        ((failure),) = bed.hook_failures()
        assert (failure.plugin, failure.hook, failure.error) == ("broken", "node_boot", "ValueError: nobody knows")
        with pytest.raises(NotFound, match="Nobody publishes a question 'on_active'"):
            bed.ask("on_active")
        with pytest.raises(BadInput, match="node_boot is asked with node"):
            bed.ask("node_boot", nodes=[node])


# ---------------------------------------------------------------- power


class Lamp(Hammer):
    def actions(self) -> tuple[str, ...]:
        return ("on", "off")

    def perform(self, action: str) -> str:
        return f"it is {action}"


def test_a_barclamp_has_power_over_a_node_through_its_best_hammer(bed: Testbed) -> None:
    bed.parts.registry._hammers["lamp"] = Lamp
    bed.add_node("n2", hammers=[("lamp", 0, {})])
    with bed.serving():
        assert cluster().power("n2.example.test", "off") == "it is off"
        with pytest.raises(Refused, match="No hammer"):
            cluster().power("n1.example.test", "off")
    assert not bed.node("n2").alive


# ---------------------------------------------------------------- one writer of nodes


def test_a_hint_is_checked_and_told_of_however_it_is_written(bed: Testbed) -> None:
    """As a field, as an attribute, as a draft that is committed, by an intent: ``check_node`` is asked each time."""
    bad: list[Callable[[], object]] = [
        lambda: bed.change_node("n1", hint={"seated": {"note": "bad"}}),
        lambda: bed.set("seated-note", "bad", node="n1"),
        lambda: bed.apply(SetAttribute(node="n1.example.test", attribute="seated-note", value="bad")),
    ]
    for write in bad:
        with pytest.raises(Refused, match="seated: not that note"):
            write()
    bed.set("seated-note", "bad", node="n1", now=False)
    with pytest.raises(Refused, match="seated: not that note"):
        bed.commit()
    assert bed.value("seated-note", "n1") is None


def test_nodes_that_a_deleted_deployment_leaves_behind_are_told_of(bed: Testbed, seated: Seated) -> None:
    bed.add_deployment("d1")
    bed.change_node("n1", deployment="d1")
    bed.deliver()
    bed.delete_deployment("d1")
    bed.deliver()
    assert SEEN["on_node_change"] == ("n1.example.test", "system", ["deployment_id"])


def test_what_is_so_is_not_objected_to(bed: Testbed) -> None:
    """A death is a fact: barclamps hear of it, but are not asked."""
    SEEN.pop("check_node")
    bed.change_node("n1", alive=False)
    assert "check_node" not in SEEN
    bed.deliver()
    assert SEEN["on_node_change"] == ("n1.example.test", "system", ["alive"])
