"""A noderole's life, edge by edge, and what each edge means for parents, children, runs and nodes."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from crowbar_core.barclamp import Attribute, NodeRoleView, Role
from crowbar_core.domain.states import TRANSITIONS, State
from crowbar_core.errors import InvalidTransition, NotFound, Refused, StaleState
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.annealing.claiming import claim
from crowbar_core.services.annealing.outcomes import Outcome, finish
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.services.cluster import binding, deployments, nodes, steering
from crowbar_core.services.values import attributes
from crowbar_core.store import runs as store_runs
from crowbar_core.store import transitions
from crowbar_core.store.models import Event, table
from crowbar_core.store.moves import Standing
from tests.integration.cluster import (
    OPERATOR,
    Cluster,
    check_invariants,
    check_nothing_startable,
    check_rest,
    edge_rows,
    node_role_rows,
    node_rows,
    run_rows,
)
from tests.integration.conftest import NewCluster

events = table(Event)

CHAIN = (Role(name="os"), Role(name="net", requires=("os",)), Role(name="app", requires=("net",)))
VALUE = Attribute(name="domain", map="dns/domain", default="example")


def chain(new_cluster: NewCluster, *roles: Role, commit: bool = True) -> tuple[Cluster, list[int]]:
    """One node with a chain of roles, os <- net <- app; the noderoles in that order."""
    c = new_cluster(*(roles or CHAIN))
    c.node("a")
    c.bind("a", (roles or CHAIN)[-1].name)
    if commit:
        c.commit_all()
    rows = c.rows(select(node_role_rows.c.id).order_by(node_role_rows.c.cohort, node_role_rows.c.id))
    return c, [row.id for row in rows]


def settle(c: Cluster) -> None:
    """After every step of these tests the invariants hold and nothing is left lying."""
    check_nothing_startable(c.parts, check_invariants(c.parts))


# ---------------------------------------------------------------- committing and running


def test_what_is_bound_is_only_proposed(new_cluster: NewCluster) -> None:
    c, refs = chain(new_cluster, commit=False)
    assert c.states(*refs) == ["PROPOSED"] * 3
    assert [c.row(ref).blockers for ref in refs] == [0, 0, 0], "what was never committed does not count"
    assert [c.row(ref).cohort for ref in refs] == [1, 2, 3]
    assert c.open_runs() == []


def test_committing_gives_work_to_what_waits_for_nothing_and_blocks_the_rest(new_cluster: NewCluster) -> None:
    c, refs = chain(new_cluster)
    assert c.states(*refs) == ["TRANSITION", "BLOCKED", "BLOCKED"]
    assert [run.node_role_id for run in c.open_runs()] == [refs[0]]
    settle(c)


def test_success_frees_the_children_and_starts_them_in_the_same_transaction(new_cluster: NewCluster) -> None:
    c, (os, net, app) = chain(new_cluster)
    c.end(os)
    assert c.states(os, net, app) == ["ACTIVE", "TRANSITION", "BLOCKED"]
    assert c.anneal() == [net, app]
    assert c.states(os, net, app) == ["ACTIVE"] * 3
    assert [c.row(ref).run_count for ref in (os, net, app)] == [1, 1, 1]
    check_rest(c.parts)


def test_failure_is_an_error_that_holds_the_descendants_and_nothing_else_on_the_node(new_cluster: NewCluster) -> None:
    c, (os, net, app) = chain(new_cluster, *CHAIN[:2], Role(name="app", requires=("net",)))
    c.end(os, "failed", reason="no disk")
    assert c.states(os, net, app) == ["ERROR", "BLOCKED", "BLOCKED"]
    assert c.row(os).status == "no disk"
    why = steering.why_node_role(c.parts, app)
    assert [(one.code, one.subject) for one in why.reasons] == [("parent ERROR", f"node_role {os}")]
    assert "no disk" in why.summary
    other = c.bind("a", "crowbar-managed-node")
    steering.commit(c.parts, OPERATOR, other)
    assert c.anneal() == [other]
    check_rest(c.parts)


def test_retry_takes_an_error_back_to_work(new_cluster: NewCluster) -> None:
    c, (os, net, app) = chain(new_cluster)
    c.end(os, "failed")
    steering.retry(c.parts, OPERATOR, os)
    assert c.states(os, net) == ["TRANSITION", "BLOCKED"]
    c.end(os)
    c.end(net, "failed")
    steering.rerun(c.parts, OPERATOR, os)
    steering.retry(c.parts, OPERATOR, net)
    assert c.states(os, net, app) == ["TRANSITION", "BLOCKED", "BLOCKED"], "retried while its parent is not ACTIVE"
    settle(c)
    c.anneal()
    assert c.states(os, net, app) == ["ACTIVE"] * 3


def test_retry_is_refused_for_what_did_not_fail(new_cluster: NewCluster) -> None:
    c, (os, *_) = chain(new_cluster)
    with pytest.raises(InvalidTransition, match="rerun"):
        steering.retry(c.parts, OPERATOR, os)
    with pytest.raises(NotFound):
        steering.retry(c.parts, OPERATOR, 999)


# ---------------------------------------------------------------- leaving ACTIVE


def test_a_rerun_blocks_the_descendants_until_it_is_done(new_cluster: NewCluster) -> None:
    c, (os, net, app) = chain(new_cluster)
    c.anneal()
    steering.rerun(c.parts, OPERATOR, os)
    assert c.states(os, net, app) == ["TRANSITION", "BLOCKED", "BLOCKED"]
    settle(c)
    assert c.anneal() == [os, net, app]


def test_a_parent_that_leaves_active_cancels_the_childs_run(new_cluster: NewCluster) -> None:
    c, (os, net, app) = chain(new_cluster)
    c.end(os)
    run = c.claim(net)
    steering.force_error(c.parts, OPERATOR, os, reason="disk is smoking")
    assert c.states(os, net, app) == ["ERROR", "BLOCKED", "BLOCKED"]
    assert c.run(run).state == "cancelling"
    settle(c)
    steering.retry(c.parts, OPERATOR, os)
    assert c.open_run(os) is None, "what the cancelled run started may still be on the node"
    assert [one.code for one in steering.why_node_role(c.parts, os).reasons] == ["node busy"]
    assert finish(c.parts, [Outcome(run_id=run, kind="succeeded", worker="w")]) == {run}
    assert c.states(os, net) == ["TRANSITION", "BLOCKED"], "a cancelled run's success means nothing any more"
    settle(c)


def test_a_todo_child_is_blocked_when_its_parent_leaves_active(new_cluster: NewCluster) -> None:
    c, (os, net, _) = chain(new_cluster)
    c.end(os)
    steering.hold(c.parts, OPERATOR, net)
    assert c.states(net) == ["TODO"]
    steering.rerun(c.parts, OPERATOR, os)
    assert c.states(net) == ["BLOCKED"]
    settle(c)


@pytest.mark.parametrize("state", ["TODO", "TRANSITION", "ACTIVE"])
def test_the_operator_may_force_an_error(new_cluster: NewCluster, state: str) -> None:
    c, (os, net, _) = chain(
        new_cluster, Role(name="os"), Role(name="net", requires=("os",)), Role(name="x", requires=("net",))
    )
    if state == "TODO":
        steering.hold(c.parts, OPERATOR, os)
    elif state == "ACTIVE":
        c.end(os)
    assert c.states(os) == [state]
    steering.force_error(c.parts, OPERATOR, os)
    assert c.states(os, net) == ["ERROR", "BLOCKED"]
    settle(c)


def test_forcing_an_error_on_what_does_nothing_is_refused(new_cluster: NewCluster) -> None:
    c, (_, net, _) = chain(new_cluster)
    with pytest.raises(InvalidTransition):
        steering.force_error(c.parts, OPERATOR, net)


@pytest.mark.parametrize("state", ["TODO", "BLOCKED", "ACTIVE", "ERROR"])
def test_anything_but_a_running_noderole_is_proposed_again(new_cluster: NewCluster, state: str) -> None:
    c, (os, net, app) = chain(new_cluster)
    ref = os
    if state == "TODO":
        steering.hold(c.parts, OPERATOR, os)
    elif state == "BLOCKED":
        ref = net
    else:
        c.end(os, "failed" if state == "ERROR" else "succeeded")
    assert c.states(ref) == [state]
    steering.propose(c.parts, OPERATOR, ref)
    assert c.states(ref) == ["PROPOSED"]
    settle(c)
    assert [one.code for one in steering.why_node_role(c.parts, app).reasons] in (
        ["parent PROPOSED"],
        ["parent TRANSITION"],
    )


def test_proposing_what_a_worker_has_begun_is_refused_and_what_nobody_has_begun_goes_back(
    new_cluster: NewCluster,
) -> None:
    c, (os, *_) = chain(new_cluster)
    c.claim(os)
    with pytest.raises(InvalidTransition, match="cancel"):
        steering.propose(c.parts, OPERATOR, os)
    assert c.states(os) == ["TRANSITION"]
    c.end(os, "handed back")
    steering.propose(c.parts, OPERATOR, os)
    assert c.states(os) == ["PROPOSED"]
    assert c.open_runs() == []


def test_no_other_edge_can_be_written(new_cluster: NewCluster) -> None:
    c, (os, *_) = chain(new_cluster)
    node = c.row(os).node_id
    for start in State:
        for end in State:
            if (start, end) not in TRANSITIONS:
                with pytest.raises(InvalidTransition), change(c.parts, OPERATOR) as turn:
                    transitions.move(turn.moves, [Standing(os, node, c.row(os).role_id, start)], end)
    with pytest.raises(StaleState), change(c.parts, OPERATOR) as turn:
        transitions.move(turn.moves, [Standing(os, node, c.row(os).role_id, State.ACTIVE)], State.ERROR)
    assert c.states(os) == ["TRANSITION"]


# ---------------------------------------------------------------- nodes that die, return, are taken away


def two_nodes(new_cluster: NewCluster) -> tuple[Cluster, int, int, int]:
    """``net`` on a; ``app`` on b, which depends on it; ``log`` on b, which depends on ``app``."""
    c = new_cluster(Role(name="net"), Role(name="app", requires=("net",)), Role(name="log", requires=("app",)))
    c.node("a")
    c.node("b")
    net, log = c.bind("a", "net"), c.bind("b", "log")
    c.commit_all()
    (app,) = [ref for ref, name in c.named().items() if name == "app@b"]
    return c, net, app, log


def test_a_dead_node_takes_its_descendants_on_other_nodes_back(new_cluster: NewCluster) -> None:
    c, net, app, log = two_nodes(new_cluster)
    c.anneal()
    c.change_node("a", alive=False)
    assert c.states(net, app, log) == ["TODO", "BLOCKED", "BLOCKED"]
    settle(c)
    assert c.open_runs() == []
    assert [one.code for one in steering.why_node_role(c.parts, net).reasons] == ["node not alive"]
    c.change_node("a", alive=True)
    assert c.anneal() == [net, app, log]


def test_a_dying_node_ends_its_run_at_once_and_the_worker_is_told(new_cluster: NewCluster) -> None:
    c, net, app, _ = two_nodes(new_cluster)
    run = c.claim(net)
    told: list[int] = []
    c.parts.stop_runs = told.extend
    c.change_node("a", alive=False)
    assert c.run(run).state == "cancelled"
    assert told == [run]
    assert c.states(net, app) == ["TODO", "BLOCKED"]
    assert finish(c.parts, [Outcome(run_id=run, kind="succeeded", worker="w")]) == set()
    assert c.states(net) == ["TODO"]
    settle(c)


def test_an_error_on_a_node_that_dies_is_tried_again_when_it_returns(new_cluster: NewCluster) -> None:
    c, net, _, _ = two_nodes(new_cluster)
    c.end(net, "failed")
    c.change_node("a", alive=False)
    assert c.states(net) == ["TODO"]
    c.change_node("a", alive=True)
    assert c.states(net) == ["TRANSITION"]


def test_an_unavailable_node_keeps_its_states_and_starts_nothing(new_cluster: NewCluster) -> None:
    c, net, app, log = two_nodes(new_cluster)
    c.end(net)
    assert c.states(net, app, log) == ["ACTIVE", "TRANSITION", "BLOCKED"]
    c.claim(app)
    c.change_node("b", available=False)
    assert c.states(net, app, log) == ["ACTIVE", "TRANSITION", "BLOCKED"], "what runs finishes"
    c.end(app)
    assert c.states(app, log) == ["ACTIVE", "TODO"]
    assert c.open_runs() == []
    assert [one.code for one in steering.why_node_role(c.parts, log).reasons] == ["node not available"]
    c.change_node("b", available=True)
    assert c.anneal() == [log]


def test_a_queued_run_goes_back_when_its_node_becomes_unavailable(new_cluster: NewCluster) -> None:
    c, net, _, _ = two_nodes(new_cluster)
    c.change_node("a", available=False)
    assert c.states(net) == ["TODO"]
    assert c.open_runs() == []
    assert c.row(net).attempts == 0


def test_a_system_node_neither_dies_nor_becomes_unavailable(new_cluster: NewCluster) -> None:
    c = new_cluster()
    with pytest.raises(Refused, match="system node"):
        nodes.change_node(c.parts, OPERATOR, c.system_node(c.system), {"alive": False})


def test_deleting_a_node_waits_for_its_run_and_frees_what_waited_for_it(new_cluster: NewCluster) -> None:
    c, net, app, _ = two_nodes(new_cluster)
    c.claim(net)
    with pytest.raises(Refused, match="still has run"):
        nodes.delete_node(c.parts, OPERATOR, c.nodes["a"], wait=0)
    c.end(net, "cancelled")
    nodes.delete_node(c.parts, OPERATOR, c.nodes["a"], wait=0)
    assert c.states(app) == ["TRANSITION"]
    settle(c)


def test_deleting_a_node_on_which_others_stand_is_refused(new_cluster: NewCluster) -> None:
    c, _, app, _ = two_nodes(new_cluster)
    c.anneal()
    with pytest.raises(Refused, match=r"app on b\.test\.example"):
        nodes.delete_node(c.parts, OPERATOR, c.nodes["a"], wait=0)
    assert c.states(app) == ["ACTIVE"]


# ---------------------------------------------------------------- runs


def test_a_lost_run_is_tried_again_up_to_the_limit(new_cluster: NewCluster) -> None:
    c, (os,) = chain(new_cluster, Role(name="os", max_attempts=2))
    for attempt in (1, 2):
        run = c.claim(os)
        assert c.run(run).attempt == attempt
        c.clock.advance(61)
        assert sweep(c.parts).lost == 1
        assert c.run(run).state == "lost"
    assert c.states(os) == ["ERROR"]
    assert "gave up after 2 attempts" in c.row(os).status


def test_a_lost_destructive_run_is_an_error_whose_fate_is_unknown(new_cluster: NewCluster) -> None:
    c, (os,) = chain(new_cluster, Role(name="os", destructive=True, max_attempts=5))
    c.claim(os)
    sweep(c.parts, dead_workers=["w"])
    assert c.states(os) == ["ERROR"]
    assert "fate unknown" in c.row(os).status


def test_a_renewed_lease_is_not_lost(new_cluster: NewCluster) -> None:
    c, (os,) = chain(new_cluster, Role(name="os"))
    run = c.claim(os)
    c.clock.advance(50)
    with c.parts.store.write(graph=False) as session:
        assert store_runs.renew(session, c.parts.store, c.clock(), [run], "w", 60.0) == {run}
        assert store_runs.renew(session, c.parts.store, c.clock(), [run], "other", 60.0) == set()
    c.clock.advance(50)
    sweep(c.parts)
    assert c.run(run).state == "running"


def test_a_temporary_failure_is_tried_again_after_its_delay(new_cluster: NewCluster) -> None:
    c, (os,) = chain(new_cluster, Role(name="os", max_attempts=3))
    c.end(os, "retry", reason="mirror is busy", delay=30)
    assert c.states(os) == ["TODO"]
    assert [one.code for one in steering.why_node_role(c.parts, os).reasons] == ["delayed"]
    assert sweep(c.parts).woken == 0
    c.clock.advance(30)
    assert sweep(c.parts).woken == 1
    assert c.states(os) == ["TRANSITION"]
    c.end(os, "retry", delay=1000)
    steering.retry(c.parts, OPERATOR, os)
    assert c.states(os) == ["TRANSITION"], "the operator need not wait"
    c.end(os)
    assert c.row(os).attempts == 0


def test_a_pending_run_holds_its_node_and_ends_through_the_api(new_cluster: NewCluster) -> None:
    c, (os, net, _) = chain(new_cluster)
    run = c.end(os, "pending", reason="installing", deadline=600)
    assert c.states(os) == ["TRANSITION"]
    c.clock.advance(300)
    sweep(c.parts)
    assert c.run(run).state == "running", "no worker holds it, so it needs no lease"
    steering.finish_pending(c.parts, OPERATOR, run, succeeded=True)
    assert c.states(os, net) == ["ACTIVE", "TRANSITION"]
    with pytest.raises(Refused):
        steering.finish_pending(c.parts, OPERATOR, run, succeeded=False)
    assert c.states(os) == ["ACTIVE"]


def test_a_pending_run_that_nobody_reports_fails_at_its_deadline(new_cluster: NewCluster) -> None:
    c, (os, *_) = chain(new_cluster)
    c.end(os, "pending", deadline=600)
    c.clock.advance(601)
    sweep(c.parts)
    assert c.states(os) == ["ERROR"]
    assert "deadline" in c.row(os).status


def test_a_run_that_is_being_cancelled_cannot_become_pending(new_cluster: NewCluster) -> None:
    c, (os, *_) = chain(new_cluster)
    run = c.claim(os)
    steering.cancel_run(c.parts, OPERATOR, run)
    c.end(os, "pending", deadline=600)
    assert c.run(run).state == "cancelled"
    assert c.states(os) == ["TODO"]
    settle(c)


@pytest.mark.parametrize("hold", [True, False])
def test_cancelling_a_run_holds_the_noderole_when_asked(new_cluster: NewCluster, hold: bool) -> None:
    c, (os, *_) = chain(new_cluster)
    run = c.claim(os)
    steering.cancel_run(c.parts, OPERATOR, run, hold=hold)
    steering.cancel_run(c.parts, OPERATOR, run, hold=hold)
    assert c.states(os) == ["TODO"]
    assert c.open_run(os).state == "cancelling"
    c.end(os, "cancelled")
    assert c.states(os) == ["TODO" if hold else "TRANSITION"]
    assert c.run(run).exit_reason == "cancelled by operator"
    with pytest.raises(Refused, match="ended"):
        steering.cancel_run(c.parts, OPERATOR, run)
    settle(c)


def test_an_outcome_counts_once_and_only_from_who_holds_the_run(new_cluster: NewCluster) -> None:
    c, (os, *_) = chain(new_cluster)
    run = c.claim(os)
    assert claim(c.parts, [run], "another") == []
    assert finish(c.parts, [Outcome(run_id=run, kind="failed", worker="another")]) == set()
    assert c.states(os) == ["TRANSITION"]
    assert finish(c.parts, [Outcome(run_id=run, kind="succeeded", worker="w")]) == {run}
    assert finish(c.parts, [Outcome(run_id=run, kind="failed", worker="w")]) == set()
    assert c.states(os) == ["ACTIVE"]
    assert c.run(run).state == "succeeded"
    assert finish(c.parts, [Outcome(run_id=12345, kind="succeeded")]) == set()


def test_a_dead_workers_run_that_became_pending_is_not_lost(new_cluster: NewCluster) -> None:
    c, (os, *_) = chain(new_cluster)
    run = c.end(os, "pending", deadline=600)
    assert finish(c.parts, [Outcome(run_id=run, kind="lost", worker="w")]) == set()
    assert sweep(c.parts, dead_workers=["w"]).lost == 0
    assert c.run(run).state == "running"


def test_a_queued_run_that_nobody_took_is_rung_again(new_cluster: NewCluster) -> None:
    c, (os, *_) = chain(new_cluster)
    rung: list[int] = []
    c.parts.queue.ring = rung.extend  # type: ignore[method-assign, assignment]
    assert sweep(c.parts).rung == 0
    c.clock.advance(c.parts.settings.ring_seconds + 1)
    assert sweep(c.parts).rung == 1
    assert rung == [c.open_run(os).id]
    assert sweep(c.parts).rung == 0


def test_a_held_noderole_does_not_start_and_its_queued_run_goes_back(new_cluster: NewCluster) -> None:
    c, (os, *_) = chain(new_cluster)
    steering.hold(c.parts, OPERATOR, os)
    assert c.states(os) == ["TODO"]
    assert c.open_runs() == []
    assert [one.code for one in steering.why_node_role(c.parts, os).reasons] == ["held"]
    steering.release(c.parts, OPERATOR, os)
    assert c.states(os) == ["TRANSITION"]


def test_the_schema_itself_allows_one_open_run_per_node(new_cluster: NewCluster) -> None:
    c, (os, net, _) = chain(new_cluster)
    run = {
        "node_role_id": net,
        "node_id": c.row(os).node_id,
        "state": "queued",
        "queued_at": c.clock(),
        "rung_at": c.clock(),
    }
    with pytest.raises(IntegrityError), c.parts.store.write() as session:
        session.execute(insert(run_rows).values(run))


@pytest.mark.parametrize("values", [{"state": 1}, {"blockers": -1}, {"state": 9}, {"blockers": 0}, {"cohort": 0}])
def test_the_schema_itself_refuses_states_that_the_parents_forbid(
    new_cluster: NewCluster, values: dict[str, int]
) -> None:
    c, (_, net, _) = chain(new_cluster)
    with pytest.raises(IntegrityError), c.parts.store.write() as session:
        session.execute(update(node_role_rows).where(node_role_rows.c.id == net).values(**values))


def test_nothing_starts_in_a_deployment_that_is_proposed_again_but_what_runs_finishes(new_cluster: NewCluster) -> None:
    c = new_cluster(*CHAIN)
    c.node("a")
    web = c.deployment("web")
    c.bind("a", "app", web)
    deployments.commit(c.parts, OPERATOR, web)
    (os,) = [ref for ref, name in c.named().items() if name == "os@a"]
    c.claim(os)
    deployments.propose(c.parts, OPERATOR, web)
    c.end(os)
    assert c.open_runs() == []
    assert sorted(c.states(*c.named())) == ["ACTIVE", "BLOCKED", "TODO"]
    check_rest(c.parts)
    deployments.commit(c.parts, OPERATOR, web)
    c.anneal()
    assert set(c.states(*c.named())) == {"ACTIVE"}


# ---------------------------------------------------------------- destructive


def test_a_destructive_role_runs_once_and_is_passed_over_until_the_node_is_redeployed(new_cluster: NewCluster) -> None:
    def on_active(node_role: NodeRoleView) -> None:
        """Only listening makes the core write the events."""

    roles = Role(name="os", destructive=True), Role(name="app", requires=("os",))
    c = new_cluster(*roles, hooks={"on_active": on_active})
    c.node("a")
    app = c.bind("a", "app")
    (os,) = [ref for ref, name in c.named().items() if name == "os@a"]
    c.commit_all()
    assert c.anneal() == [os, app]
    c.change_node("a", alive=False)
    assert c.states(os, app) == ["TODO", "BLOCKED"]
    c.change_node("a", alive=True)
    assert c.states(os, app) == ["ACTIVE", "TRANSITION"]
    assert c.anneal() == [app]
    told = c.rows(select(events.c.subject).where(events.c.hook == "on_active").order_by(events.c.id))
    assert [row.subject for row in told] == [f"node_role {ref}" for ref in (os, app, app)], "passed over in silence"
    nodes.redeploy_node(c.parts, OPERATOR, c.nodes["a"])
    assert c.anneal() == [os, app]


# ---------------------------------------------------------------- refresh


REFRESHED = (Role(name="db", on_change="refresh"), Role(name="app", requires=("db",)))


def test_a_refresh_leaves_the_noderole_active_and_its_children_undisturbed(new_cluster: NewCluster) -> None:
    c, (db, app) = chain(new_cluster, *REFRESHED)
    c.anneal()
    for _ in range(3):
        steering.refresh(c.parts, OPERATOR, db)
    (run,) = c.open_runs()
    assert run.refresh
    assert c.states(db, app) == ["ACTIVE", "ACTIVE"]
    c.end(db)
    assert c.open_runs() == [], "however often it was asked for, one run"
    assert c.row(db).run_count == 2
    check_rest(c.parts)


def test_a_refresh_asked_for_while_one_runs_is_made_once_afterwards(new_cluster: NewCluster) -> None:
    c, (db, _) = chain(new_cluster, *REFRESHED)
    c.anneal()
    steering.refresh(c.parts, OPERATOR, db)
    c.claim(db)
    for _ in range(3):
        steering.refresh(c.parts, OPERATOR, db)
    c.end(db)
    assert c.anneal() == [db]


def test_a_refresh_that_fails_is_an_error_and_blocks_the_children(new_cluster: NewCluster) -> None:
    c, (db, app) = chain(new_cluster, *REFRESHED)
    c.anneal()
    steering.refresh(c.parts, OPERATOR, db)
    c.end(db, "failed", reason="full")
    assert c.states(db, app) == ["ERROR", "BLOCKED"]
    check_rest(c.parts)


def test_a_refresh_that_is_lost_is_made_again(new_cluster: NewCluster) -> None:
    c, (db, app) = chain(new_cluster, *REFRESHED)
    c.anneal()
    steering.refresh(c.parts, OPERATOR, db)
    c.claim(db)
    sweep(c.parts, dead_workers=["w"])
    assert c.states(db, app) == ["ACTIVE", "ACTIVE"]
    assert c.open_run(db).refresh
    assert c.open_run(db).attempt == 2


def test_a_noderole_that_is_to_run_again_waits_for_the_end_of_its_refresh(new_cluster: NewCluster) -> None:
    c, (db, _) = chain(new_cluster, *REFRESHED)
    c.anneal()
    steering.refresh(c.parts, OPERATOR, db)
    run = c.claim(db)
    steering.rerun(c.parts, OPERATOR, db)
    assert c.run(run).state == "running"
    assert c.states(db) == ["ACTIVE"]
    settle(c)
    c.end(db)
    assert c.run(run).state == "succeeded"
    assert c.states(db) == ["TRANSITION"]
    assert not c.open_run(db).refresh


def test_a_noderole_that_is_to_run_again_takes_back_a_refresh_that_nobody_has_begun(new_cluster: NewCluster) -> None:
    c, (db, _) = chain(new_cluster, *REFRESHED)
    c.anneal()
    steering.refresh(c.parts, OPERATOR, db)
    steering.rerun(c.parts, OPERATOR, db)
    assert c.states(db) == ["TRANSITION"]
    assert c.anneal()[0] == db
    check_rest(c.parts)


# ---------------------------------------------------------------- many outcomes in one transaction


def across(new_cluster: NewCluster) -> tuple[Cluster, int, int, int]:
    """db on a refreshes; app and log on b depend on it (app on c's side of the same transaction)."""
    c = new_cluster(
        Role(name="db", on_change="refresh", attributes=(VALUE,)),
        Role(name="app", requires=("db",), wants=("domain",)),
        Role(name="log", requires=("db",), on_change="refresh"),
    )
    for name in ("a", "b", "c"):
        c.node(name)
    db, app, log = c.bind("a", "db"), c.bind("b", "app"), c.bind("c", "log")
    c.commit_all()
    return c, db, app, log


@pytest.mark.parametrize("kind", ["failed", "retry", "lost", "succeeded"])
def test_a_failing_refresh_and_its_childs_own_end_fit_into_one_transaction(new_cluster: NewCluster, kind: str) -> None:
    c, db, app, log = across(new_cluster)
    c.end(db)
    c.end(log)
    steering.refresh(c.parts, OPERATOR, db)
    steering.refresh(c.parts, OPERATOR, log)
    ids = [c.claim(ref) for ref in (db, app, log)]
    said = [
        Outcome(run_id=ids[0], kind="failed", reason="same", worker="w"),
        Outcome(run_id=ids[1], kind=kind, reason="same", worker="w"),  # type: ignore[arg-type]
        Outcome(run_id=ids[2], kind="failed", reason="same", worker="w"),
    ]
    assert finish(c.parts, said) == set(ids)
    assert c.states(db) == ["ERROR"]
    assert c.states(app) == ["ERROR" if kind == "failed" else "BLOCKED"]
    check_rest(c.parts)


@pytest.mark.parametrize("kind", ["failed", "succeeded"])
def test_a_report_that_sends_another_back_whose_run_ends_too_is_taken_in(new_cluster: NewCluster, kind: str) -> None:
    c, db, app, _ = across(new_cluster)
    c.anneal()
    steering.refresh(c.parts, OPERATOR, db)
    steering.refresh(c.parts, OPERATOR, app)
    ids = [c.claim(ref) for ref in (db, app)]
    said = [
        Outcome(run_id=ids[0], kind="succeeded", worker="w", wall={"dns": {"domain": "new"}}),
        Outcome(run_id=ids[1], kind=kind, worker="w"),  # type: ignore[arg-type]
    ]
    assert finish(c.parts, said) == set(ids)
    assert c.states(app) == ["TRANSITION"], "it wants what changed"
    settle(c)
    c.anneal()
    check_rest(c.parts)


def test_a_run_whose_input_changed_while_it_ended_runs_once_more(new_cluster: NewCluster) -> None:
    c, db, app, _ = across(new_cluster)
    c.end(db)
    steering.refresh(c.parts, OPERATOR, db)
    ids = [c.claim(ref) for ref in (db, app)]
    said = [
        Outcome(run_id=ids[0], kind="succeeded", worker="w", wall={"dns": {"domain": "new"}}),
        Outcome(run_id=ids[1], kind="succeeded", worker="w"),
    ]
    assert finish(c.parts, said) == set(ids)
    assert c.states(app) == ["TRANSITION"]
    assert c.open_run(app).input == {"dns": {"domain": "new"}}
    assert not c.open_run(app).refresh
    settle(c)


# ---------------------------------------------------------------- what barclamps know


KNOWN = Attribute(name="known", map="known", schema={"type": "integer"})


def test_what_a_barclamp_knows_at_the_start_of_a_run_wakes_those_who_want_it(new_cluster: NewCluster) -> None:
    """The refresh of ``log`` becomes possible while runs are being made for another node: it must not be forgotten."""
    answers = {"n": 1}
    c = new_cluster(
        Role(name="db", attributes=(KNOWN,), on_change="refresh"),
        Role(name="log", requires=("db",), wants=("known",), on_change="refresh"),
        hooks={"node_role_data": lambda node_role: {"known": answers["n"]} if node_role.role == "db" else {}},
    )
    c.node("a")
    c.node("b")
    db, log = c.bind("a", "db"), c.bind("b", "log")
    c.commit_all()
    c.anneal()
    answers["n"] = 2
    steering.refresh(c.parts, OPERATOR, db)
    settle(c)
    assert c.open_run(log).input == {"known": 2}


def test_what_a_barclamp_knows_may_send_back_what_was_about_to_refresh(new_cluster: NewCluster) -> None:
    answers = {"n": 1}
    c = new_cluster(
        Role(name="db", attributes=(KNOWN,), on_change="refresh"),
        Role(name="app", requires=("db",), wants=("known",)),
        hooks={"node_role_data": lambda node_role: {"known": answers["n"]} if node_role.role == "db" else {}},
    )
    c.node("a")
    c.node("b")
    db, app = c.bind("a", "db"), c.bind("b", "app")
    c.commit_all()
    c.anneal()
    for name in ("a", "b"):
        c.change_node(name, available=False)
    steering.refresh(c.parts, OPERATOR, db)
    steering.refresh(c.parts, OPERATOR, app)
    answers["n"] = 2
    with change(c.parts, OPERATOR) as turn:
        turn.session.execute(update(node_rows).values(available=True))
        turn.moves.woken.update(c.nodes.values())
    settle(c)
    assert c.states(db, app) == ["ACTIVE", "TRANSITION"]


# ---------------------------------------------------------------- invariants in the graph


def test_a_new_edge_pushes_the_cohorts_down(new_cluster: NewCluster) -> None:
    c = new_cluster(
        *CHAIN,
        Role(name="mon", requires=("app",), precedes=("late",)),
        Role(name="late"),
        Role(name="last", requires=("late",)),
    )
    c.node("a")
    last = c.bind("a", "last")
    assert c.row(last).cohort == 2
    c.bind("a", "mon")
    named = {name: c.row(ref).cohort for ref, name in c.named().items()}
    assert named == {"os@a": 1, "net@a": 2, "app@a": 3, "mon@a": 4, "late@a": 5, "last@a": 6}
    settle(c)


def test_unbinding_a_parent_frees_the_children_that_stay(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="first", precedes=("app",)), Role(name="app"))
    c.node("a")
    first, app = c.bind("a", "first"), c.bind("a", "app")
    c.commit_all()
    assert c.states(first, app) == ["TRANSITION", "BLOCKED"]
    assert binding.unbind(c.parts, OPERATOR, first) == (first,)
    assert c.states(app) == ["TRANSITION"]
    settle(c)


def test_mending_the_value_that_was_wrong_tries_again_with_the_new_one(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="dns", attributes=(VALUE,)))
    c.node("a")
    dns = c.bind("a", "dns")
    c.commit_all()
    c.end(dns, "failed")
    attributes.set_value(c.parts, OPERATOR, attribute="domain", value="right", node_role_id=dns, now=True)
    assert c.states(dns) == ["TRANSITION"]
    assert c.open_run(dns).input == {"dns": {"domain": "right"}}


def test_the_counters_survive_a_diamond(new_cluster: NewCluster) -> None:
    c, refs = chain(
        new_cluster, Role(name="top"), Role(name="left", requires=("top",)),
        Role(name="right", requires=("top", "left")),
        Role(name="low", requires=("left", "right", "top")),
    )  # fmt: skip
    c.anneal()
    steering.rerun(c.parts, OPERATOR, refs[0])
    assert [c.row(ref).blockers for ref in refs] == [0, 1, 2, 3]
    settle(c)
    c.anneal()
    assert [c.row(ref).blockers for ref in refs] == [0, 0, 0, 0]


def test_the_schema_itself_refuses_an_edge_to_itself(new_cluster: NewCluster) -> None:
    c, refs = chain(new_cluster)
    with pytest.raises(IntegrityError), c.parts.store.write() as session:
        session.execute(insert(edge_rows).values(parent_id=refs[0], child_id=refs[0]))


def test_an_order_edge_becomes_a_data_edge_when_both_are_meant_and_never_the_other_way_round(
    new_cluster: NewCluster,
) -> None:
    c = new_cluster(Role(name="fw"), Role(name="app"))
    c.node("a")
    fw, app = c.bind("a", "fw"), c.bind("a", "app")
    steering.commit(c.parts, OPERATOR, fw)
    for kind, then in (("order", "order"), ("data", "data"), ("order", "data")):
        with change(c.parts, OPERATOR) as turn:
            transitions.connect(turn.moves, [(fw, app, kind)])
        assert c.edges() == {("fw@a", "app@a", then)}
        assert c.row(app).blockers == 1
