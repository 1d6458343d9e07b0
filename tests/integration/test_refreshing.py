"""Refreshing: of a role wherever it is, gathered over a while, tried for ever, and what a change does to an ERROR."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from crowbar_core import Barclamp, Refresh, TemporaryError, hookimpl
from crowbar_core.barclamp import Attribute, Role
from crowbar_core.errors import NotFound
from crowbar_core.services.annealing.sweeping import try_delayed
from crowbar_core.services.cluster import steering
from crowbar_core.services.engine.intents import apply_intents
from crowbar_core.services.values import attributes
from crowbar_core.services.watch import health
from crowbar_core.testing import FakeJig, Testbed
from tests.integration.cluster import OPERATOR, Cluster, check_invariants, check_rest, run_rows
from tests.integration.conftest import NewCluster

PORT = Attribute(name="port", schema={"type": "integer"}, default=1)
DB = Role(name="db", on_change="refresh", gather=5.0, attributes=(PORT,))
EVER = Role(name="ever", on_change="refresh", max_attempts=0, attributes=(PORT,))
BELOW = Role(name="below", requires=("ever",))


def refreshes(c: Cluster, ref: int) -> int:
    found = c.rows(select(run_rows.c.id).where(run_rows.c.node_role_id == ref, run_rows.c.refresh))
    return len(found)


def active(c: Cluster, role: str, *names: str) -> list[int]:
    for name in names:
        c.node(name)
    refs = [c.bind(name, role) for name in names]
    c.commit_all()
    c.anneal()
    return refs


def set_port(c: Cluster, ref: int, port: int) -> None:
    attributes.set_value(c.parts, OPERATOR, attribute="port", value=port, node_role_id=ref, now=True)


def test_a_role_is_refreshed_wherever_it_is_bound(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="db", on_change="refresh"), Role(name="other"), Role(name="nowhere"))
    refs = active(c, "db", "a", "b")
    others = [c.bind(name, "other") for name in "ab"]
    c.node("c")
    proposed = c.bind("c", "db")
    apply_intents(c.parts, OPERATOR, [Refresh(role="db"), Refresh(role="nowhere")])
    c.anneal()
    assert [refreshes(c, ref) for ref in (*refs, *others, proposed)] == [1, 1, 0, 0, 0]
    with pytest.raises(NotFound, match="There is no role 'dbb'"):
        apply_intents(c.parts, OPERATOR, [Refresh(role="dbb")])
    apply_intents(c.parts, OPERATOR, [Refresh(role="db", node="a.test.example")])
    c.anneal()
    assert [refreshes(c, ref) for ref in refs] == [2, 1]
    check_invariants(c.parts)


def test_where_a_role_is_only_proposed_or_not_bound_there_is_nothing_to_refresh(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="db", on_change="refresh"), Role(name="other"))
    (ref,) = active(c, "db", "a")
    c.node("b"), c.node("c")
    proposed = c.bind("b", "db")
    everywhere = [Refresh(role="db", node=f"{name}.test.example") for name in "bca"]
    apply_intents(c.parts, OPERATOR, everywhere)
    assert c.states(ref, proposed) == ["ACTIVE", "PROPOSED"]
    c.anneal()
    assert [refreshes(c, ref), refreshes(c, proposed)] == [1, 0], "what is there to be refreshed is refreshed"
    with pytest.raises(NotFound, match=r"There is no node 'd\.test\.example'"):
        apply_intents(c.parts, OPERATOR, [Refresh(role="db", node="d.test.example")])
    with pytest.raises(NotFound, match="There is no role 'dbb'"):
        apply_intents(c.parts, OPERATOR, [Refresh(role="dbb", node="a.test.example")])
    check_invariants(c.parts)


def test_changes_are_gathered_into_one_refresh_that_reads_the_last(new_cluster: NewCluster) -> None:
    c = new_cluster(DB)
    (ref,) = active(c, "db", "a")
    for port in (2, 3):
        set_port(c, ref, port)
        c.clock.advance(2.0)
    assert c.open_run(ref) is None
    assert "for what else changes, to be refreshed once" in steering.why_node_role(c.parts, ref).summary
    c.clock.advance(1.0)
    try_delayed(c.parts)
    assert c.run(c.claim(ref)).input == {"port": 3}, "five seconds after the first change, not after the last"
    set_port(c, ref, 4)
    c.end(ref)
    assert c.open_run(ref) is None, "what changed meanwhile begins a new time of gathering"
    c.clock.advance(5.0)
    try_delayed(c.parts)
    assert c.run(c.claim(ref)).input == {"port": 4}
    c.end(ref)
    assert refreshes(c, ref) == 2
    check_rest(c.parts)


def test_what_is_tried_for_ever_waits_longer_each_time(new_cluster: NewCluster) -> None:
    c = new_cluster(EVER)
    c.node("a")
    ref = c.bind("a", "ever")
    c.commit_all()
    waited = []
    for kind in ("failed", "retry", "lost", *["failed"] * 8):
        c.end(ref, kind, reason="no answer")  # type: ignore[arg-type]
        assert c.states(ref) == ["TODO"]
        waited.append((c.row(ref).not_before - c.clock()).total_seconds())
        c.clock.advance(waited[-1])
        try_delayed(c.parts)
    assert waited == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    c.end(ref)
    assert (c.states(ref), c.row(ref).attempts) == (["ACTIVE"], 0)


def test_a_change_does_not_wait_for_the_delay_after_failures_where_changes_are_gathered(
    new_cluster: NewCluster,
) -> None:
    c = new_cluster(replace(DB, max_attempts=0))
    (ref,) = active(c, "db", "a")
    set_port(c, ref, 2)
    for _ in range(6):
        c.clock.advance(60.0)
        try_delayed(c.parts)
        c.end(ref, "failed", reason="no answer")
    assert c.row(ref).not_before == c.clock() + timedelta(seconds=32)
    for port in (3, 4):
        set_port(c, ref, port)
        c.clock.advance(2.0)
    assert c.row(ref).not_before == c.clock() + timedelta(seconds=1), "five after the first of these changes"
    c.clock.advance(1.0)
    try_delayed(c.parts)
    assert c.run(c.claim(ref)).input == {"port": 4}


@pytest.mark.parametrize("change", ["a value", "an intent"])
@pytest.mark.parametrize("gather", [0.0, 5.0])
def test_what_waits_for_its_next_try_for_ever_is_tried_by_the_next_change_and_keeps_nobody_waiting(
    new_cluster: NewCluster, change: str, gather: float
) -> None:
    c = new_cluster(replace(EVER, gather=gather), Role(name="other"))
    c.node("a")
    ref = c.bind("a", "ever")
    c.commit_all()
    for _ in range(7):
        c.end(ref, "retry", reason="no server")
        c.clock.advance((c.row(ref).not_before - c.clock()).total_seconds())
        try_delayed(c.parts)
    c.end(ref, "retry", reason="no server")
    assert c.row(ref).not_before == c.clock() + timedelta(seconds=128)
    other = c.bind("a", "other")
    c.commit_all()
    c.end(other)
    assert c.states(ref, other) == ["TODO", "ACTIVE"]
    for port in (2, 3):
        if change == "a value":
            set_port(c, ref, port)
        else:
            apply_intents(c.parts, OPERATOR, [Refresh(role="ever")])
    c.clock.advance(gather)
    try_delayed(c.parts)
    assert c.run(c.claim(ref)).input == {"port": 3 if change == "a value" else 1}
    c.end(ref)
    assert (c.states(ref), c.row(ref).attempts, c.open_run(ref)) == (["ACTIVE"], 0, None), "it has run once, not twice"
    check_rest(c.parts)


def test_what_changes_while_it_is_tried_for_ever_is_not_put_off_ever_longer(new_cluster: NewCluster) -> None:
    c = new_cluster(EVER)
    c.node("a")
    ref = c.bind("a", "ever")
    c.commit_all()
    for _ in range(5):
        c.end(ref, "retry", reason="no server")
        c.clock.advance(16.0)
        try_delayed(c.parts)
    c.claim(ref)
    apply_intents(c.parts, OPERATOR, [Refresh(role="ever")])
    c.end(ref, "retry", reason="no server")
    assert c.row(ref).not_before == c.clock() + timedelta(seconds=1)
    c.clock.advance(1.0)
    try_delayed(c.parts)
    c.end(ref, "retry", reason="no server")
    assert c.row(ref).not_before == c.clock() + timedelta(seconds=64), "of the change it is known no longer"


def test_a_refresh_that_fails_and_is_tried_for_ever_blocks_nobody_and_shows(new_cluster: NewCluster) -> None:
    c = new_cluster(EVER, BELOW)
    (ref,) = active(c, "ever", "a")
    below = c.bind("a", "below")
    c.commit_all()
    c.anneal()
    set_port(c, ref, 2)
    c.end(ref, "failed", reason="the server refuses the zone")
    assert c.states(ref, below) == ["ACTIVE", "ACTIVE"]
    (found,) = [one for one in health.gather(c.parts).findings if one.check == "runs"]
    assert found.detail == "1 noderole fails, and is tried again and again"
    assert found.names == ["ever on a.test.example: the server refuses the zone"]
    c.clock.advance(1.0)
    try_delayed(c.parts)
    c.end(ref)
    assert not [one for one in health.gather(c.parts).findings if one.check == "runs"]
    check_invariants(c.parts)


@pytest.mark.parametrize("change", ["a value", "an intent"])
def test_an_error_is_tried_again_by_the_next_change(new_cluster: NewCluster, change: str) -> None:
    c = new_cluster(Role(name="web", attributes=(PORT,)), Role(name="once", destructive=True, attributes=()))
    c.node("a")
    ref = c.bind("a", "web")
    c.commit_all()
    c.anneal(fail=[ref])
    assert c.states(ref) == ["ERROR"]
    if change == "a value":
        set_port(c, ref, 2)
    else:
        apply_intents(c.parts, OPERATOR, [Refresh(role="web", node="a.test.example")])
    assert c.states(ref) == ["TRANSITION"]
    assert c.row(ref).attempts == 1
    c.anneal()
    check_rest(c.parts)


def test_what_was_put_in_error_by_hand_or_may_destroy_something_stays_in_error(new_cluster: NewCluster) -> None:
    disk = Attribute(name="disk", schema={"type": "integer"})
    c = new_cluster(Role(name="web", attributes=(PORT,)), Role(name="os", destructive=True, attributes=(disk,)))
    (web,) = active(c, "web", "a")
    steering.force_error(c.parts, OPERATOR, web)
    set_port(c, web, 2)
    apply_intents(c.parts, OPERATOR, [Refresh(role="web")])
    assert c.states(web) == ["ERROR"]
    c.node("b")
    once = c.bind("b", "os")
    c.commit_all()
    c.anneal(fail=[once])
    attributes.set_value(c.parts, OPERATOR, attribute="disk", value=2, node_role_id=once, now=True)
    assert c.states(once) == ["ERROR"]


def test_a_run_that_waited_while_it_was_asked_for_again_begins_with_what_barclamps_know_then(
    ready_database: str,
) -> None:
    known = {"port": 1}

    class Knowing:
        @hookimpl
        def register_barclamp(self) -> Barclamp:
            return Barclamp(name="knowing", roles=(Role(name="db", jig="fake", attributes=(PORT,), gather=1.0),))

        @hookimpl(roles=("db",))
        def node_role_data(self) -> dict[str, int]:
            return known

    with Testbed(Knowing(), jig=(jig := FakeJig()), database_url=ready_database) as crowbar:
        crowbar.add_node("n1")
        crowbar.bind("db", "n1")
        crowbar.commit()
        known["port"] = 2
        crowbar.apply(Refresh(role="db"))
        crowbar.anneal_until_quiet()
        assert [task.data for task in jig.ran("db")] == [{"port": 2}]


def test_in_a_testbed_what_fails_for_ever_is_left_to_itself(ready_database: str) -> None:
    class Ever:
        @hookimpl
        def register_barclamp(self) -> Barclamp:
            return Barclamp(name="ever", roles=(Role(name="ever", jig="fake", max_attempts=0),))

    jig = FakeJig()
    jig.always(TemporaryError("not yet"), role="ever")
    with Testbed(Ever(), jig=jig, database_url=ready_database) as crowbar:
        crowbar.add_node("n1")
        crowbar.bind("ever", "n1")
        crowbar.commit()
        crowbar.anneal_until_quiet()
        assert len(jig.ran("ever")) == 3
        assert "not yet" in crowbar.why("ever", "n1")
