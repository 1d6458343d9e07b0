"""Destructive means once: what happens to work whose end nobody saw, and how its success is found out."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select

from crowbar_core.barclamp import Attribute, Done, NodeRoleView, Role, Task
from crowbar_core.errors import CrowbarError, Interrupted, NodeUnreachable, PermanentError, Refused, TemporaryError
from crowbar_core.services.annealing.annealer import cancel, change
from crowbar_core.services.annealing.outcomes import Kind, Outcome, finish
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.services.cluster import nodes, steering
from crowbar_core.services.engine.executing import MOMENT
from crowbar_core.services.engine.marks import look_for_marks
from crowbar_core.store import runs as store_runs
from crowbar_core.store.models import Event, table
from crowbar_core.testing import FakeClock, FakeJig, Testbed
from tests.integration.cluster import OPERATOR, Cluster, Plugin, check_rest, node_role_rows, run_rows
from tests.integration.conftest import NewCluster

events = table(Event)
SIZE = Attribute(name="os-size", map="os/size", schema={"type": "integer"})
ROLES = (
    Role(name="net"),
    Role(name="os", requires=("net",), destructive=True, max_attempts=5, attributes=(SIZE,)),
    Role(name="app", requires=("os",)),
)


def on_active(node_role: NodeRoleView) -> None:
    """Only listening makes the core write the events."""


def installing(new_cluster: NewCluster, roles: tuple[Role, ...] = ROLES) -> tuple[Cluster, int, int, int]:
    """net, os and app on one node; the run of os is under way."""
    c = new_cluster(*roles, hooks={"on_active": on_active})
    c.node("a")
    app = c.bind("a", "app")
    c.commit_all()
    named = {name: ref for ref, name in c.named().items()}
    net, os = named["net@a"], named["os@a"]
    assert c.end(net)
    c.claim(os)
    return c, net, os, app


def token(c: Cluster, ref: int) -> str:
    return str(c.row(ref).once)


def told_active(c: Cluster, ref: int) -> int:
    subject = f"node_role {ref}"
    return len(c.rows(select(events.c.id).where(events.c.hook == "on_active", events.c.subject == subject)))


def finds_out(c: Cluster, run_id: int, once: str, **said: object) -> None:
    """The worker tells of a success that nobody waits for any more."""
    late = Outcome(run_id=run_id, kind="succeeded", worker="w", once=once, **said)  # type: ignore[arg-type]
    assert finish(c.parts, [late]) == set()


# ---------------------------------------------------------------- the fate of a run that was cut off


def test_every_binding_has_a_token_of_its_own_and_redeploying_makes_a_new_one(new_cluster: NewCluster) -> None:
    c, net, os, app = installing(new_cluster)
    tokens = {token(c, ref) for ref in (net, os, app)}
    assert len(tokens) == 3
    assert all(len(one) == 32 for one in tokens)
    c.end(os)
    nodes.redeploy_node(c.parts, OPERATOR, c.nodes["a"])
    assert token(c, os) not in tokens


def test_work_under_way_on_a_node_that_dies_is_in_error_through_its_death_and_return(new_cluster: NewCluster) -> None:
    c, net, os, app = installing(new_cluster)
    c.change_node("a", alive=False)
    assert c.states(net, os, app) == ["TODO", "ERROR", "BLOCKED"]
    assert c.row(os).status.startswith("fate unknown: the node died")
    c.change_node("a", alive=True)
    for _ in range(2):
        c.anneal()
        assert c.states(net, os, app) == ["ACTIVE", "ERROR", "BLOCKED"]
        c.change_node("a", alive=False)
        c.change_node("a", alive=True)
    c.anneal()
    check_rest(c.parts)
    steering.retry(c.parts, OPERATOR, os)
    assert c.anneal() == [os, app], "an operator's word begins it again"


def test_a_run_that_nobody_has_begun_when_its_node_dies_is_made_again(new_cluster: NewCluster) -> None:
    c = new_cluster(*ROLES)
    c.node("a")
    app = c.bind("a", "app")
    c.commit_all()
    c.end(next(ref for ref, name in c.named().items() if name == "net@a"))
    c.change_node("a", alive=False)
    c.change_node("a", alive=True)
    assert len(c.anneal()) == 3
    assert c.states(app) == ["ACTIVE"]


def test_a_cancelled_run_that_is_then_lost_is_of_unknown_fate(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    with change(c.parts, OPERATOR) as turn:
        cancel(turn, [os], "changed my mind")
    assert c.states(os) == ["TODO"]
    sweep(c.parts, dead_workers=["w"])
    assert c.states(os, app) == ["ERROR", "BLOCKED"]
    assert "fate unknown" in c.row(os).status
    assert c.open_runs() == []


def test_a_cancelled_run_on_a_node_that_then_dies_is_of_unknown_fate(new_cluster: NewCluster) -> None:
    c, _, os, _ = installing(new_cluster)
    with change(c.parts, OPERATOR) as turn:
        cancel(turn, [os], "changed my mind")
    c.change_node("a", alive=False)
    c.change_node("a", alive=True)
    c.anneal()
    assert c.states(os) == ["ERROR"]


def test_what_was_cut_off_while_a_parent_had_gone_back_is_an_error_when_its_turn_comes(new_cluster: NewCluster) -> None:
    roles = (Role(name="dns"), Role(name="os", requires=("dns",), destructive=True))
    c = new_cluster(*roles)
    c.node("a"), c.node("b")
    dns = c.bind("a", "dns")
    os = c.bind("b", "os")
    c.commit_all()
    c.end(dns)
    c.claim(os)
    c.change_node("a", alive=False)  # the parent's node
    if c.states(os) == ["BLOCKED"]:
        c.end(os, "cancelled", unsure=True)
        assert c.row(os).status.startswith("fate unknown")
    else:
        sweep(c.parts, dead_workers=["w"])
    c.change_node("a", alive=True)
    c.anneal()
    assert c.states(dns, os) == ["ACTIVE", "ERROR"]
    check_rest(c.parts)


@pytest.mark.parametrize("kind", ["retry", "cancelled", "handed back"])
def test_work_that_had_begun_and_was_cut_off_is_not_begun_again(new_cluster: NewCluster, kind: Kind) -> None:
    c, _, os, _ = installing(new_cluster)
    c.end(os, kind, unsure=True, reason="the connection was lost")
    assert c.states(os) == ["ERROR"]
    assert c.row(os).status == "fate unknown: the connection was lost"
    assert c.open_runs() == []


@pytest.mark.parametrize("kind", ["retry", "cancelled", "handed back"])
def test_work_that_had_not_begun_is_tried_again(new_cluster: NewCluster, kind: Kind) -> None:
    c, _, os, app = installing(new_cluster)
    c.end(os, kind, reason="no room for a session")
    assert c.states(os) == ["TRANSITION"]
    assert c.anneal() == [os, app]


def test_work_that_failed_in_the_middle_is_not_begun_again_by_its_nodes_return(new_cluster: NewCluster) -> None:
    c, _, os, _ = installing(new_cluster)
    c.end(os, "failed", unsure=True, reason="it exited with 1")
    assert c.row(os).status == "it exited with 1"
    c.change_node("a", alive=False)
    c.change_node("a", alive=True)
    c.anneal()
    assert c.states(os) == ["ERROR"]


def test_work_that_waits_to_be_reported_and_is_cancelled_is_of_unknown_fate(new_cluster: NewCluster) -> None:
    c, _, os, _ = installing(new_cluster)
    c.end(os, "pending", deadline=60.0, reason="the machine installs itself")
    with change(c.parts, OPERATOR) as turn:
        cancel(turn, [os], "changed my mind")
    assert c.states(os) == ["ERROR"]
    assert c.open_runs() == []
    check_rest(c.parts)


def test_to_propose_and_to_commit_it_again_is_an_operators_word(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    sweep(c.parts, dead_workers=["w"])
    steering.propose(c.parts, OPERATOR, os)
    steering.commit(c.parts, OPERATOR, os)
    assert c.anneal() == [os, app]


def test_to_redeploy_the_node_is_an_operators_word(new_cluster: NewCluster) -> None:
    c, net, os, app = installing(new_cluster)
    sweep(c.parts, dead_workers=["w"])
    nodes.redeploy_node(c.parts, OPERATOR, c.nodes["a"])
    assert c.anneal() == [net, os, app]


# ---------------------------------------------------------------- success found out later


def test_success_while_the_run_was_being_cancelled_is_not_forgotten(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    with change(c.parts, OPERATOR) as turn:
        cancel(turn, [os], "changed my mind")
    c.end(os, "succeeded", once=token(c, os))
    assert c.states(os, app) == ["ACTIVE", "TRANSITION"]
    assert told_active(c, os) == 1
    assert c.anneal() == [app]


def test_success_told_after_the_run_was_lost_counts_and_is_told_once(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    run = c.open_run(os)
    assert run is not None
    sweep(c.parts, dead_workers=["w"])
    finds_out(c, run.id, token(c, os), wall={"os": {"size": 7}})
    assert c.states(os, app) == ["ACTIVE", "TRANSITION"]
    assert c.row(os).wall == {"os": {"size": 7}}
    assert told_active(c, os) == 1
    finds_out(c, run.id, token(c, os))
    assert c.anneal() == [app]
    assert told_active(c, os) == 1
    check_rest(c.parts)


def test_success_told_while_the_node_is_dead_counts_when_it_returns(new_cluster: NewCluster) -> None:
    c, net, os, app = installing(new_cluster)
    run = c.open_run(os)
    assert run is not None
    c.change_node("a", alive=False)
    finds_out(c, run.id, token(c, os))
    assert c.states(os) == ["BLOCKED"]
    c.change_node("a", alive=True)
    assert c.anneal() == [net, app]
    assert c.states(os) == ["ACTIVE"]
    assert told_active(c, os) == 1


def test_success_from_before_a_redeploy_does_not_count(new_cluster: NewCluster) -> None:
    c, net, os, app = installing(new_cluster)
    run = c.open_run(os)
    assert run is not None
    before = token(c, os)
    sweep(c.parts, dead_workers=["w"])
    nodes.redeploy_node(c.parts, OPERATOR, c.nodes["a"])
    finds_out(c, run.id, before)
    assert c.anneal() == [net, os, app]


def test_a_run_that_was_only_queued_for_it_is_not_begun(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    run = c.open_run(os)
    assert run is not None
    sweep(c.parts, dead_workers=["w"])
    steering.retry(c.parts, OPERATOR, os)
    again = c.open_run(os)
    assert again is not None
    finds_out(c, run.id, token(c, os))
    assert c.run(again.id).state == "cancelled"
    assert c.states(os) == ["ACTIVE"]
    assert c.anneal() == [app]


def test_a_report_that_is_refused_does_not_make_it_undone(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    c.end(os, "succeeded", wall={"os": {"size": "big"}})
    assert c.states(os) == ["ERROR"]
    steering.retry(c.parts, OPERATOR, os)
    assert c.states(os) == ["ACTIVE"]
    assert c.anneal() == [app]


def test_an_operator_can_say_that_what_is_of_unknown_fate_had_succeeded(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    run = c.open_run(os)
    assert run is not None
    with pytest.raises(Refused, match="does not wait to be reported"):
        steering.finish_pending(c.parts, OPERATOR, run.id, succeeded=True)
    sweep(c.parts, dead_workers=["w"])
    with pytest.raises(Refused, match="does not wait to be reported"):
        steering.finish_pending(c.parts, OPERATOR, run.id, succeeded=False)
    steering.finish_pending(c.parts, OPERATOR, run.id, succeeded=True, wall={"os": {"size": 9}})
    assert c.states(os, app) == ["ACTIVE", "TRANSITION"]
    assert c.row(os).wall == {"os": {"size": 9}}
    with pytest.raises(Refused, match="does not wait to be reported"):
        steering.finish_pending(c.parts, OPERATOR, run.id, succeeded=True)


def test_a_report_from_outside_counts_although_the_node_was_taken_for_dead(new_cluster: NewCluster) -> None:
    """An installer takes its node down; what it reports in the end is not lost by that."""
    c, net, os, app = installing(new_cluster)
    run = c.end(os, "pending", deadline=3600.0, reason="the machine installs itself")
    c.change_node("a", alive=False)
    assert c.states(os) == ["ERROR"]
    c.change_node("a", alive=True)
    c.end(net)
    steering.finish_pending(c.parts, OPERATOR, run, succeeded=True)
    assert c.states(os, app) == ["ACTIVE", "TRANSITION"]


def test_a_refresh_does_not_do_destructive_work_again(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    c.end(os)
    c.end(app)
    steering.refresh(c.parts, OPERATOR, os)
    assert c.open_runs() == []
    assert c.states(os, app) == ["ACTIVE", "ACTIVE"]


# ---------------------------------------------------------------- what jigs say


def bed(jig: FakeJig) -> Testbed:
    from_jig = Role(name="os", jig="fake", destructive=True)
    made = Testbed(_barclamp(from_jig), jigs={"fake": jig})
    made.add_node("a")
    made.bind("os", "a")
    made.commit()
    return made


def _barclamp(*roles: Role) -> object:
    return Plugin(roles, name="destroyer")


@pytest.mark.parametrize("error", [Interrupted("cut off"), NodeUnreachable("gone")])
def test_a_jig_that_was_cut_off_leaves_a_destructive_role_in_error(error: TemporaryError) -> None:
    jig = FakeJig()
    jig.will(error)
    with bed(jig) as made:
        made.anneal_until_quiet()
        assert made.state("os", "a") == "ERROR"
        assert f"fate unknown: {error.detail}" in made.why("os", "a")
        assert len(jig.ran()) == 1
        made.retry("os", "a")
        made.anneal_until_quiet()
        assert made.state("os", "a") == "ACTIVE"


def test_a_jig_that_says_not_now_is_asked_again() -> None:
    jig = FakeJig()
    jig.will(TemporaryError("not now"), TemporaryError("not now"))
    with bed(jig) as made:
        made.anneal_until_quiet()
        assert made.state("os", "a") == "ACTIVE"
        assert len(jig.ran()) == 3


def test_a_destructive_task_has_the_bindings_token_and_others_have_none() -> None:
    jig = FakeJig()
    with Testbed(_barclamp(Role(name="os", jig="fake", destructive=True), Role(name="net", jig="fake")),
                 jigs={"fake": jig}) as made:  # fmt: skip
        made.add_node("a")
        made.bind("os", "a")
        made.bind("net", "a")
        made.commit()
        made.anneal_until_quiet()
    (os,), (net,) = jig.ran("os"), jig.ran("net")
    assert len(os.once) == 32
    assert net.once == ""
    assert os.installation == net.installation != ""


def test_a_role_that_had_ended_well_before_says_so_in_the_log() -> None:
    jig = FakeJig()
    jig.will(Done(before=True))
    with bed(jig) as made:
        made.anneal_until_quiet()
        assert made.state("os", "a") == "ACTIVE"
        assert "it has succeeded before: nothing was done" in made.log("os", "a")


def test_a_jig_that_begins_by_itself_may_be_cut_off_before_that() -> None:
    class Late(FakeJig):
        begins = True

        def run(self, task):  # type: ignore[no-untyped-def]
            if task.attempt > 1:
                task.begin()
            return super().run(task)

    jig = Late()
    jig.will(NodeUnreachable("no login"), NodeUnreachable("gone"))
    with bed(jig) as made:
        made.anneal_until_quiet()
        assert made.state("os", "a") == "ERROR"
        assert len(jig.ran()) == 2, "the first was tried again, for nothing had been touched"


def test_a_jig_that_gives_up_for_good_is_in_error_with_its_own_words() -> None:
    jig = FakeJig()
    jig.will(PermanentError("no disk"))
    with bed(jig) as made:
        made.anneal_until_quiet()
        assert made.node_role("os", "a").status == "no disk"


# ---------------------------------------------------------------- marks


class MarkingJig(FakeJig):
    """What it is to find is said beforehand, look by look."""

    def __init__(self, *finds: Done | CrowbarError | None) -> None:
        super().__init__()
        self.finds = list(finds)
        self.looked: list[Task] = []

    def look(self, task: Task) -> Done | None:
        self.looked.append(task)
        found = self.finds.pop(0)
        if isinstance(found, CrowbarError):
            raise found
        return found


def jig_of(c: Cluster, jig: FakeJig) -> None:
    c.parts.registry.jigs["noop"] = jig


def test_a_mark_that_is_found_makes_the_noderole_active_with_what_it_had_reported(new_cluster: NewCluster) -> None:
    c, _, os, app = installing(new_cluster)
    run = c.open_run(os)
    assert run is not None
    jig_of(c, jig := MarkingJig(Done(wall={"os": {"size": 7}}, before=True)))
    sweep(c.parts, dead_workers=["w"])
    assert c.states(os) == ["ERROR"]
    assert look_for_marks(c.parts) == 1
    assert c.states(os, app) == ["ACTIVE", "TRANSITION"]
    assert c.row(os).wall == {"os": {"size": 7}}
    assert told_active(c, os) == 1
    assert [(task.run_id, task.once, task.role.name) for task in jig.looked] == [(run.id, token(c, os), "os")]
    assert jig.ran() == [], "to look carries nothing out"
    assert look_for_marks(c.parts) == 0
    check_rest(c.parts) if not c.open_runs() else c.anneal()


def test_without_a_mark_it_stays_in_error_and_is_looked_for_again_when_the_node_returns(
    new_cluster: NewCluster,
) -> None:
    c, net, os, _ = installing(new_cluster)
    jig_of(c, jig := MarkingJig(None, Done(before=True)))
    sweep(c.parts, dead_workers=["w"])
    for _ in range(3):
        assert look_for_marks(c.parts) == 0
    assert len(jig.looked) == 1
    assert c.states(os) == ["ERROR"]
    c.change_node("a", alive=False)
    assert look_for_marks(c.parts) == 0
    c.change_node("a", alive=True)
    c.end(net)
    assert look_for_marks(c.parts) == 1
    assert c.states(os) == ["ACTIVE"]


@pytest.mark.parametrize("problem", [TemporaryError("still at work", delay=2.0), PermanentError("no key")])
def test_what_cannot_be_told_yet_is_asked_again_later(new_cluster: NewCluster, problem: CrowbarError) -> None:
    c, _, os, _ = installing(new_cluster)
    jig_of(c, jig := MarkingJig(problem, Done(before=True)))
    sweep(c.parts, dead_workers=["w"])
    assert look_for_marks(c.parts) == 0
    assert look_for_marks(c.parts) == 0
    assert len(jig.looked) == 1
    c.clock.advance(61)
    assert look_for_marks(c.parts) == 1
    assert c.states(os) == ["ACTIVE"]


def test_a_mark_of_before_a_redeploy_does_not_count_even_when_it_is_found_afterwards(new_cluster: NewCluster) -> None:
    c, net, os, app = installing(new_cluster)

    class Late(MarkingJig):
        def look(self, task: Task) -> Done | None:
            nodes.redeploy_node(c.parts, OPERATOR, c.nodes["a"])
            return super().look(task)

    jig_of(c, Late(Done(before=True)))
    sweep(c.parts, dead_workers=["w"])
    assert look_for_marks(c.parts) == 0
    assert c.anneal() == [net, os, app]


def test_nobody_looks_on_nodes_that_are_not_available_or_for_what_was_retried(new_cluster: NewCluster) -> None:
    c, _, os, _ = installing(new_cluster)
    jig_of(c, jig := MarkingJig())
    sweep(c.parts, dead_workers=["w"])
    c.change_node("a", available=False)
    assert look_for_marks(c.parts) == 0
    steering.retry(c.parts, OPERATOR, os)
    c.change_node("a", available=True)
    assert look_for_marks(c.parts) == 0
    assert jig.looked == []


# ---------------------------------------------------------------- the last look at the lease


@pytest.mark.parametrize("destructive", [False, True])
@pytest.mark.parametrize("event", ["lost", "cancelled", "lease ended"])
def test_a_worker_whose_run_is_no_longer_its_own_begins_nothing(event: str, destructive: bool) -> None:
    """It was stopped after it had taken the run, and goes on when the run is somebody else's, or nobody's. Of
    destructive work that is asked even a moment after it was taken on.
    """

    class Stopped(FakeJig):
        begins = True

        def __init__(self) -> None:
            super().__init__()
            self.touched: list[int] = []

        def run(self, task):  # type: ignore[no-untyped-def]
            if not self.tasks:
                self.tasks.append(task)
                parts = made.parts
                if event == "lost":
                    finish(parts, [Outcome(run_id=task.run_id, kind="lost")])
                elif event == "cancelled":
                    steering.cancel_run(parts, OPERATOR, task.run_id, hold=False)
                else:
                    assert isinstance(made.clock, FakeClock)
                    made.clock.advance(parts.settings.lease_seconds + 1)
                if not destructive:
                    time.sleep(MOMENT)
            task.begin()
            self.touched.append(task.run_id)
            return Done()

    jig = Stopped()
    made = Testbed(_barclamp(Role(name="net", jig="fake", destructive=destructive)), jigs={"fake": jig})
    with made:
        made.add_node("a")
        made.bind("net", "a")
        made.commit()
        made.anneal_until_quiet()
        assert jig.tasks[0].run_id not in jig.touched
        if not (destructive and event == "lost"):  # nobody knows then what became of it
            assert made.state("net", "a") == "ACTIVE"
            assert len(jig.touched) == 1, "by the run that came after it"
            assert len(made.runs("net", "a")) == 2


def test_node_role_rows_keep_no_doubt_after_success(new_cluster: NewCluster) -> None:
    c, _, os, _ = installing(new_cluster)
    sweep(c.parts, dead_workers=["w"])
    steering.retry(c.parts, OPERATOR, os)
    c.end(os)
    (row,) = c.rows(
        select(node_role_rows.c.done, node_role_rows.c.halfway, node_role_rows.c.look_at).where(
            node_role_rows.c.id == os
        )
    )
    assert tuple(row) == (True, False, None)


@pytest.mark.parametrize("made", [False, True])
def test_the_numbers_of_runs_go_on_far_beyond_when_the_database_was_restored(
    new_cluster: NewCluster, made: bool
) -> None:
    c, _, os, app = installing(new_cluster) if made else (new_cluster(*ROLES), 0, 0, 0)
    before = max((run.id for run in c.rows(select(run_rows.c.id))), default=0)
    with c.parts.store.write() as session:
        following = store_runs.skip_numbers(session, c.parts.store, 1000)
    assert before + 1000 < following <= before + 1002
    if made:
        c.end(os)
        run = c.open_run(app)
        assert run is not None
        assert run.id == following
