"""What is queued, taken on and found again: order, room, leases, and the sweep that comes while others are at work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from crowbar_core.barclamp import Role
from crowbar_core.errors import Refused
from crowbar_core.services.annealing.claiming import take_on
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.services.cluster import steering
from crowbar_core.services.engine.executing import Executor
from crowbar_core.store import noderoles
from crowbar_core.store import runs as store_runs
from tests.integration.cluster import OPERATOR, Cluster
from tests.integration.conftest import NewCluster
from tests.integration.test_many import statements

BASE, TOP = Role(name="base", max_attempts=2), Role(name="top", requires=("base",))


def working(new_cluster: NewCluster, *nodes: str, **settings: Any) -> tuple[Cluster, list[int]]:
    """A run of ``base`` queued on each of these nodes."""
    c = new_cluster(BASE, TOP, Role(name="extra"), **settings)
    for name in nodes:
        c.node(name)
    refs = [c.bind(name, "base") for name in nodes]
    c.commit_all()
    return c, refs


# ---------------------------------------------------------------- order and room


def test_of_several_on_a_node_the_lowest_cohort_runs_first_however_young_it_is(new_cluster: NewCluster) -> None:
    c, _ = working(new_cluster, "a")
    top = c.bind("a", "top")
    c.commit_all()
    c.anneal()
    c.change_node("a", available=False)
    steering.rerun(c.parts, OPERATOR, top)
    extra = c.bind("a", "extra")
    c.commit_all()
    assert top < extra
    assert c.states(top, extra) == ["TODO", "TODO"]
    c.change_node("a", available=True)
    assert c.states(top, extra) == ["TODO", "TRANSITION"]


def test_runs_that_are_made_together_are_queued_in_the_order_of_their_cohorts(new_cluster: NewCluster) -> None:
    c, _ = working(new_cluster, "a")
    c.anneal()
    c.node("b")
    top, base = c.bind("a", "top"), c.bind("b", "base")
    c.commit_all()
    assert [run.node_role_id for run in c.open_runs()] == [base, top]


def test_the_queue_is_worked_off_oldest_first(new_cluster: NewCluster) -> None:
    c, refs = working(new_cluster, "a", "b", "d")
    with c.parts.store.read() as session:
        assert store_runs.queued(session, 2) == [c.open_run(ref).id for ref in refs[:2]]


def test_a_node_with_a_run_is_not_idle_whatever_else_waits_there(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a")
    extra = c.bind("a", "extra")
    c.commit_all()
    assert c.states(base, extra) == ["TRANSITION", "TODO"]
    with c.parts.store.read() as session:
        assert store_runs.idle_nodes_with_work(session, c.clock(), 10) == []
        assert store_runs.first_runnable(session, c.parts.store, c.clock(), [c.nodes["a"]]) == []


def test_a_worker_takes_on_no_more_than_it_has_room_for(new_cluster: NewCluster) -> None:
    c, refs = working(new_cluster, "a", "b", "d")
    runs = [c.open_run(ref).id for ref in refs]
    taken = take_on(c.parts, runs, "w", room=2)
    assert ([one.run.id for one in taken.held], list(taken.left)) == (runs[:2], runs[2:])
    assert [c.run(run).state for run in runs] == ["running", "running", "queued"]


def test_a_run_is_joined_with_what_it_is_about_once_before_it_begins_and_its_node_is_read(
    new_cluster: NewCluster,
) -> None:
    c, refs = working(new_cluster, "a", "b", "d")
    runs = [c.open_run(ref).id for ref in refs]
    executor = Executor(c.parts, "w")
    counts = []
    for some in (runs[:1], runs[1:]):
        with statements(c) as asked:
            jobs = executor.load(take_on(c.parts, some, "w", room=9).held)
        assert [(job.run_id, job.role_name, job.node.name, job.taken) for job in jobs] == [
            (run, "base", f"{name}.test.example", 1) for run, name in zip(runs, "abd", strict=True) if run in some
        ]
        assert sum("JOIN node_roles" in one for one in asked) == 1
        counts.append(len([one for one in asked if one.startswith(("SELECT", "UPDATE", "INSERT", "WITH"))]))
    assert counts[0] - 1 == counts[1] <= 5, "the first also asks which installation this is"


def test_what_somebody_else_has_begun_is_not_claimed_in_the_database_either(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a")
    run = c.claim(base, "first")
    with c.parts.store.write() as session:
        assert store_runs.claim(session, c.parts.store, c.clock(), [run], "second", 60.0) == {}
    assert c.run(run).worker == "first"


def test_a_run_whose_input_has_changed_is_not_among_the_fresh_ones(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a")
    run = c.open_run(base).id
    for rerun, taken in ((True, set()), (False, {run})):
        with c.parts.store.write() as session:
            noderoles.note(session, base, rerun=rerun)
            now = c.clock()
            assert set(store_runs.claim(session, c.parts.store, now, [run], "w", 60.0, fresh=True)) == taken


# ---------------------------------------------------------------- leases


def test_a_run_is_held_for_as_long_as_its_lease_lasts_and_no_longer(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a", lease_seconds=40.0)
    run = c.claim(base)
    assert c.run(run).lease_until == c.clock() + timedelta(seconds=40)
    c.clock.advance(40)
    assert sweep(c.parts).lost == 0
    c.clock.advance(1)
    assert sweep(c.parts).lost == 1
    assert c.run(run).state == "lost"


def test_a_lease_renewed_while_the_sweep_begins_is_kept(
    new_cluster: NewCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    c, (renewed, forgotten) = working(new_cluster, "a", "b")
    runs = [c.claim(ref) for ref in (renewed, forgotten)]
    c.clock.advance(61)
    store = c.parts.store
    write = store.write

    def renewed_first(**options: Any) -> Any:
        """The worker is faster than the sweep, which has read already."""
        monkeypatch.undo()
        with write(graph=False) as session:
            assert store_runs.renew(session, store, c.clock(), runs[:1], "w", 60.0) == {runs[0]}
        return write(**options)

    monkeypatch.setattr(store, "write", renewed_first)
    sweep(c.parts)
    assert [c.run(run).state for run in runs] == ["running", "lost"]


def test_leases_that_nobody_could_renew_are_spared_and_deadlines_are_not(new_cluster: NewCluster) -> None:
    c, (held, pending) = working(new_cluster, "a", "b")
    runs = [c.claim(held), c.end(pending, "pending", deadline=30)]
    c.clock.advance(61)
    sweep(c.parts, spare=True)
    assert [c.run(run).state for run in runs] == ["running", "failed"]
    sweep(c.parts)
    assert c.run(runs[0]).state == "lost"


def test_the_sweep_finds_the_runs_of_a_dead_worker_and_only_those(new_cluster: NewCluster) -> None:
    c, (dead, living) = working(new_cluster, "a", "b")
    runs = [c.claim(dead, "dead"), c.claim(living, "living")]
    assert sweep(c.parts, dead_workers=["dead"]).lost == 1
    assert [c.run(run).state for run in runs] == ["lost", "running"]
    assert c.run(runs[0]).exit_reason == "its worker has died"


# ---------------------------------------------------------------- attempts


def test_a_run_handed_back_is_no_attempt(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a")
    for _ in range(3):
        assert c.run(c.claim(base)).attempt == 1
        c.end(base, "handed back")
    assert c.states(base) == ["TRANSITION"]


def test_a_retry_begins_to_count_anew(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a")
    for _ in range(2):
        c.end(base, "lost", reason="gone")
    assert c.states(base) == ["ERROR"]
    steering.retry(c.parts, OPERATOR, base)
    assert c.run(c.claim(base)).attempt == 1
    c.end(base, "lost", reason="gone")
    assert c.states(base) == ["TRANSITION"], "it has its second attempt again"


def test_success_begins_to_count_anew(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a")
    c.end(base, "lost", reason="gone")
    c.end(base)
    steering.rerun(c.parts, OPERATOR, base)
    assert c.run(c.claim(base)).attempt == 1


def test_a_run_that_a_worker_holds_is_not_ended_from_outside(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a")
    run = c.claim(base)
    for succeeded in (True, False):
        with pytest.raises(Refused, match="does not wait to be reported"):
            steering.finish_pending(c.parts, OPERATOR, run, succeeded=succeeded)
    assert c.run(run).state == "running"


def test_a_pending_run_that_is_cancelled_ends_at_once(new_cluster: NewCluster) -> None:
    c, (base,) = working(new_cluster, "a")
    run = c.end(base, "pending", deadline=600)
    steering.cancel_run(c.parts, OPERATOR, run)
    assert c.run(run).state == "cancelled"
    assert c.run(run).finished_at is not None
    assert c.states(base) == ["TODO"]
