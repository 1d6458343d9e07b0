"""Runs in steps: woken from outside, remembered, overdue, lost and gone on with; and nodes that a run takes away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from crowbar_core import Done, Outcome, Pending, PermanentError, Role, Task, TemporaryError, Wake
from crowbar_core.domain.states import RunState, State
from crowbar_core.errors import Refused
from crowbar_core.services.annealing.claiming import claim
from crowbar_core.services.annealing.outcomes import Kind, finish
from crowbar_core.services.annealing.outcomes import Outcome as Said
from crowbar_core.services.annealing.sweeping import sweep, try_delayed
from crowbar_core.services.cluster import steering
from crowbar_core.services.engine.intents import apply_intents
from crowbar_core.services.engine.runner import Runner
from crowbar_core.store import steps
from crowbar_core.store.models import RunLog, table
from tests.integration.cluster import OPERATOR, Cluster, check_invariants
from tests.integration.conftest import NewCluster

log_rows = table(RunLog)
NAME = "n.test.example"


class Installing:
    """The function of a role: answers what is laid down for it, one answer a call, and keeps its tasks."""

    def __init__(self, *answers: Outcome | Exception | Callable[[Task], Outcome]) -> None:
        self.answers = list(answers)
        self.tasks: list[Task] = []

    def __call__(self, task: Task) -> Outcome:
        self.tasks.append(task)
        task.log(f"call {len(self.tasks)}")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(task) if callable(answer) else answer

    @property
    def steps(self) -> list[Any]:
        return [task.step for task in self.tasks]


def in_step(step: Any, *, reason: str = "", deadline: float = 100.0) -> Pending:
    return Pending(deadline=deadline, reason=reason, step=step)


def install(work: Installing, **flags: Any) -> Role:
    return Role(name="install", jig="python", run=work, destructive=True, **flags)


def begun(c: Cluster, role: str = "install") -> int:
    """A noderole of the role on the node ``n``, committed."""
    c.node("n")
    ref = c.bind("n", role)
    c.commit_all()
    return ref


def carry_out(c: Cluster, ref: int) -> None:
    """A worker takes on the noderole's run, if it may be taken on, and carries it out."""
    run = c.open_run(ref)
    assert run is not None
    runner = Runner(c.parts)
    runner.execute_here([run.id])


def wake(c: Cluster) -> None:
    apply_intents(c.parts, OPERATOR, [Wake(node=NAME, role="install")])


def timeline(c: Cluster, run_id: int) -> list[tuple[str, str]]:
    with c.parts.store.read() as session:
        return [(one.name, one.reason) for one in steps.timeline(session, run_id)]


# ---------------------------------------------------------------- waking


def test_a_run_that_is_woken_is_called_again_and_finds_the_step_that_it_was_in(new_cluster: NewCluster) -> None:
    work = Installing(in_step("boot"), in_step({"name": "copy", "disk": "sda"}), Done())
    c = new_cluster(install(work))
    ref = begun(c)
    run = c.open_run(ref)
    for _ in range(3):
        carry_out(c, ref)
        carry_out(c, ref) if c.open_run(ref) else None  # nobody woke it: it is not taken on
        wake(c)
    assert work.steps == [None, "boot", {"name": "copy", "disk": "sda"}]
    assert {task.run_id for task in work.tasks} == {run.id}
    assert c.state(ref) is State.ACTIVE
    assert c.run(run.id).state == "succeeded"


def test_a_wake_that_comes_while_the_run_executes_is_remembered(new_cluster: NewCluster) -> None:
    def answer(task: Task) -> Outcome:
        wake(c)
        return in_step("boot")

    work = Installing(answer, Done())
    c = new_cluster(install(work))
    ref = begun(c)
    carry_out(c, ref)
    assert c.state(ref) is State.TRANSITION
    carry_out(c, ref)
    assert c.state(ref) is State.ACTIVE
    assert work.steps == [None, "boot"]


def test_doubled_and_spurious_wakes_do_no_harm(new_cluster: NewCluster) -> None:
    work = Installing(in_step("boot"), in_step("boot"), Done())
    c = new_cluster(install(work), Role(name="other"))
    c.node("n")
    wake(c)  # the role is not bound
    ref = c.bind("n", "install")
    wake(c)  # it has no run
    c.commit_all()
    wake(c)  # nobody has begun it
    carry_out(c, ref)
    run = c.open_run(ref)
    for _ in range(3):
        wake(c)
    carry_out(c, ref)
    assert c.run(run.id).woken is False
    assert timeline(c, run.id) == [("boot", "")]
    wake(c)
    carry_out(c, ref)
    wake(c)  # it has ended
    assert work.steps == [None, "boot", "boot"]
    assert c.state(ref) is State.ACTIVE


def test_what_waits_to_be_reported_is_not_woken(new_cluster: NewCluster) -> None:
    work = Installing(Pending(deadline=100.0, reason="for the burn-in"))
    c = new_cluster(install(work))
    ref = begun(c)
    carry_out(c, ref)
    run = c.open_run(ref)
    wake(c)
    with pytest.raises(Refused, match="finish it instead"):
        steering.wake_run(c.parts, OPERATOR, run.id)
    assert claim(c.parts, [run.id], "w") == []
    steering.finish_pending(c.parts, OPERATOR, run.id, succeeded=True)
    with pytest.raises(Refused, match="has ended"):
        steering.wake_run(c.parts, OPERATOR, run.id)


def test_a_run_in_steps_can_be_reported_through_the_api_all_the_same(new_cluster: NewCluster) -> None:
    c = new_cluster(install(Installing(in_step("boot"))))
    ref = begun(c)
    carry_out(c, ref)
    steering.finish_pending(c.parts, OPERATOR, c.open_run(ref).id, succeeded=True)
    assert c.state(ref) is State.ACTIVE


def test_a_pending_without_a_step_stays_in_the_one_it_is_in(new_cluster: NewCluster) -> None:
    work = Installing(in_step("boot"), Pending(deadline=5.0, reason="still"), Done())
    c = new_cluster(install(work))
    ref = begun(c)
    for _ in range(3):
        carry_out(c, ref)
        wake(c)
    assert work.steps == [None, "boot", "boot"]


# ---------------------------------------------------------------- deadlines


def test_at_the_deadline_of_a_step_the_function_is_called_once_and_told_so(new_cluster: NewCluster) -> None:
    def give_up(task: Task) -> Outcome:
        raise PermanentError(f"nothing was heard of it in step {task.step}")

    work = Installing(in_step("boot"), give_up)
    c = new_cluster(install(work))
    ref = begun(c)
    carry_out(c, ref)
    run = c.open_run(ref)
    sweep(c.parts)
    assert claim(c.parts, [run.id], "w") == []
    c.clock.advance(101.0)
    sweep(c.parts)
    sweep(c.parts)
    carry_out(c, ref)
    assert [task.overdue for task in work.tasks] == [False, True]
    assert c.state(ref) is State.ERROR
    assert c.row(ref).status == "nothing was heard of it in step boot"


def test_who_is_overdue_may_wait_on_with_another_deadline(new_cluster: NewCluster) -> None:
    work = Installing(in_step("boot"), in_step("boot", reason="it is slow"), Done())
    c = new_cluster(install(work))
    ref = begun(c)
    carry_out(c, ref)
    c.clock.advance(101.0)
    sweep(c.parts)
    carry_out(c, ref)
    wake(c)
    carry_out(c, ref)
    assert [task.overdue for task in work.tasks] == [False, True, False]


# ---------------------------------------------------------------- lost, handed back, tried again


@pytest.mark.parametrize("kind", ["lost", "handed back", "retry"])
def test_destructive_work_in_steps_goes_on_at_its_last_step(new_cluster: NewCluster, kind: Kind) -> None:
    work = Installing(in_step("copy"), Done())
    c = new_cluster(install(work))
    ref = begun(c)
    carry_out(c, ref)
    run = c.open_run(ref)
    wake(c)
    assert claim(c.parts, [run.id], "w") == [run.id]
    assert finish(c.parts, [Said(run_id=run.id, kind=kind, worker="w", reason="it went away", unsure=True)]) == {run.id}
    check_invariants(c.parts)
    assert c.state(ref) is State.TRANSITION
    carry_out(c, ref)
    assert work.steps == [None, "copy"]
    assert c.state(ref) is State.ACTIVE
    assert c.run(run.id).state == "succeeded"


def test_destructive_work_that_is_lost_before_its_first_step_is_not_begun_again(new_cluster: NewCluster) -> None:
    c = new_cluster(install(Installing()))
    ref = begun(c)
    run_id = c.claim(ref)
    finish(c.parts, [Said(run_id=run_id, kind="lost", worker="w", reason="it went away")])
    assert c.state(ref) is State.ERROR
    assert c.row(ref).status == "fate unknown: it went away"


def test_destructive_work_whose_first_step_has_a_name_goes_on_at_it_whenever_it_is_lost(
    new_cluster: NewCluster,
) -> None:
    work = Installing(in_step("boot"))
    c = new_cluster(install(work, first_step="preparing"))
    ref = begun(c)
    run = c.open_run(ref)
    claim(c.parts, [run.id], "worker")
    finish(c.parts, [Said(run_id=run.id, kind="lost", reason="it went away", worker="worker")])
    check_invariants(c.parts)
    assert c.state(ref) is State.TRANSITION
    carry_out(c, ref)
    assert work.steps == [{"name": "preparing"}]
    assert timeline(c, run.id) == [("boot", "")]


def test_a_first_step_that_has_a_name_is_nothing_that_the_first_call_finds(new_cluster: NewCluster) -> None:
    work = Installing(Done())
    c = new_cluster(install(work, first_step="preparing"))
    ref = begun(c)
    carry_out(c, ref)
    assert (work.steps, c.state(ref)) == ([None], State.ACTIVE)


def test_a_step_that_fails_for_the_moment_is_tried_again_after_its_delay(new_cluster: NewCluster) -> None:
    work = Installing(in_step("copy"), TemporaryError("the controller is busy", delay=30.0), Done())
    c = new_cluster(install(work))
    ref = begun(c)
    carry_out(c, ref)
    wake(c)
    carry_out(c, ref)
    assert c.open_run(ref).exit_reason == "step copy once more: the controller is busy"
    left = try_delayed(c.parts)
    assert left is not None
    assert 29.0 < left <= 30.0
    carry_out(c, ref)  # not yet
    c.clock.advance(31.0)
    try_delayed(c.parts)
    carry_out(c, ref)
    assert work.steps == [None, "copy", "copy"]
    assert c.state(ref) is State.ACTIVE


def test_a_step_is_tried_as_often_as_its_role_says_and_each_step_anew(new_cluster: NewCluster) -> None:
    busy = TemporaryError("busy", delay=0.0)
    work = Installing(in_step("copy"), busy, in_step("boot"), busy, busy)
    c = new_cluster(install(work, max_attempts=2))
    ref = begun(c)
    carry_out(c, ref)
    wake(c)
    carry_out(c, ref)
    carry_out(c, ref)
    wake(c)
    carry_out(c, ref)
    assert c.state(ref) is State.TRANSITION
    carry_out(c, ref)
    assert work.steps == [None, "copy", "copy", "boot", "boot"]
    assert c.state(ref) is State.ERROR
    assert c.row(ref).halfway


def test_the_late_word_of_who_took_it_on_before_is_not_taken(new_cluster: NewCluster) -> None:
    c = new_cluster(install(Installing(in_step("copy"))))
    ref = begun(c)
    carry_out(c, ref)
    run = c.open_run(ref)
    wake(c)
    claim(c.parts, [run.id], "w")
    before = c.run(run.id).taken
    c.clock.advance(1000.0)
    sweep(c.parts)
    assert claim(c.parts, [run.id], "w") == [run.id]
    late = Said(run_id=run.id, kind="cancelled", worker="w", taken=before, unsure=True)
    assert finish(c.parts, [late]) == set()
    assert c.state(ref) is State.TRANSITION
    assert finish(c.parts, [Said(run_id=run.id, kind="succeeded", worker="w", taken=before + 1)]) == {run.id}


def test_destructive_work_in_steps_that_is_cancelled_is_of_unknown_fate(new_cluster: NewCluster) -> None:
    c = new_cluster(install(Installing(in_step("copy"))))
    ref = begun(c)
    carry_out(c, ref)
    wake(c)
    steering.cancel_run(c.parts, OPERATOR, c.open_run(ref).id, hold=False)
    assert c.open_run(ref) is None
    assert c.state(ref) is State.ERROR
    assert c.row(ref).halfway


# ---------------------------------------------------------------- the timeline


def test_the_timeline_names_each_step_since_when_and_what_it_waits_for(new_cluster: NewCluster) -> None:
    work = Installing(
        in_step("boot", reason="for the installer"), in_step("boot", reason="for the disk"),
        in_step({"name": "copy", "disk": "sda"}), in_step({"disk": 1}, deadline=7.0), Done(),
    )  # fmt: skip
    c = new_cluster(install(work))
    ref = begun(c)
    run = c.open_run(ref)
    begins = []
    for _ in range(5):
        with c.parts.store.read() as session:
            begins.append(c.parts.store.now(session))
        carry_out(c, ref)
        c.clock.advance(10.0)
        wake(c)
    with c.parts.store.read() as session:
        line = steps.timeline(session, run.id)
    assert [(one.seq, one.name, one.reason) for one in line] == [
        (1, "boot", "for the disk"), (2, "copy", ""), (3, '{"disk": 1}', ""),
    ]  # fmt: skip
    assert [(one.at - begins[0]).total_seconds() for one in line] == pytest.approx([0, 20, 30], abs=0.9)
    assert line[0].ended_at == line[1].at
    assert line[2].ended_at == c.run(run.id).finished_at
    assert (line[2].until - line[2].at).total_seconds() == pytest.approx(7.0)


def test_a_step_says_what_it_waits_for_where_the_noderole_is_asked_why(new_cluster: NewCluster) -> None:
    c = new_cluster(install(Installing(in_step("boot", reason="for the installer"))))
    ref = begun(c)
    carry_out(c, ref)
    run = c.open_run(ref)
    assert steering.why_node_role(c.parts, ref).summary == (
        f"It is not waiting: run {run.id} waits in step boot: for the installer."
    )


def test_the_log_of_a_run_in_steps_goes_on_where_it_was(new_cluster: NewCluster) -> None:
    work = Installing(in_step("boot"), in_step("copy"), Done())
    c = new_cluster(install(work))
    ref = begun(c)
    run = c.open_run(ref)
    for _ in range(3):
        carry_out(c, ref)
        wake(c)
    lines = [row.line for row in c.rows(select(log_rows.c.line).where(log_rows.c.run_id == run.id).order_by("seq"))]
    assert lines == ["call 1", "call 2", "call 3"]


@pytest.mark.parametrize("step", [object(), "x" * 70_000, {1: {2}}, "a\x00b"])
def test_a_step_that_the_database_cannot_hold_fails_the_run(new_cluster: NewCluster, step: Any) -> None:
    c = new_cluster(install(Installing(in_step(step))))
    ref = begun(c)
    carry_out(c, ref)
    assert c.state(ref) is State.ERROR
    assert "waits in a step" in c.row(ref).status


def test_a_run_that_never_comes_to_an_end_of_its_steps_is_seen_to_fail(
    new_cluster: NewCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowbar_core.services.annealing.outcomes.MAX_STEPS", 2)
    work = Installing(*(in_step(f"step {n}") for n in range(3)))
    c = new_cluster(install(work))
    ref = begun(c)
    for _ in range(3):
        carry_out(c, ref)
        wake(c)
    assert c.state(ref) is State.ERROR
    assert c.row(ref).status == "it has gone through 2 steps"


# ---------------------------------------------------------------- nodes that a run takes away


def away(new_cluster: NewCluster, **flags: Any) -> tuple[Cluster, dict[str, int]]:
    """On node ``n`` burn-in and install rest upon discover, and agent upon install; watch is on another node, ``o``.
    Everything is done but install, which waits in its first step, and agent.
    """
    work = Installing(in_step("boot"), Done())
    c = new_cluster(
        Role(name="discover"), Role(name="burn-in", requires=("discover",)), Role(name="watch"),
        Role(
            name="install", jig="python", run=work, requires=("discover", "watch"), **{"reboots": True, **flags}
        ), Role(name="agent", requires=("install",)), Role(name="apart"),
    )  # fmt: skip
    c.node("n")
    c.node("o")
    refs = {"watch": c.bind("o", "watch"), "apart": c.bind("o", "apart")}
    refs |= {role: c.bind("n", role) for role in ("discover", "burn-in", "install", "agent")}
    c.commit_all()
    for _ in range(20):
        run = next((one for one in c.open_runs() if one.node_role_id != refs["install"]), None)
        if run is None:
            break
        c.end(run.node_role_id)
    carry_out(c, refs["install"])
    assert c.open_run(refs["install"]).pending
    return c, refs


def states(c: Cluster, refs: dict[str, int]) -> dict[str, str]:
    return {role: c.state(ref).name for role, ref in refs.items()}


@pytest.mark.parametrize("destructive", [True, False])
def test_a_node_that_dies_during_a_run_that_reboots_it_leaves_what_that_rests_upon(
    new_cluster: NewCluster, destructive: bool
) -> None:
    c, refs = away(new_cluster, destructive=destructive)
    runs = {one.node_role_id: c.row(one.node_role_id).run_count for one in c.open_runs()}
    c.change_node("n", alive=False)
    check_invariants(c.parts)
    assert states(c, refs) == {
        "watch": "ACTIVE", "apart": "ACTIVE", "discover": "ACTIVE", "burn-in": "TODO", "install": "TRANSITION",
        "agent": "BLOCKED",
    }  # fmt: skip
    assert set(runs) == {refs["install"]}
    c.change_node("n", alive=True)
    assert c.open_run(refs["install"]).state == RunState.RUNNING
    wake(c)
    carry_out(c, refs["install"])
    check_invariants(c.parts)
    assert states(c, refs) | {"discover": ""} == {
        "watch": "ACTIVE", "apart": "ACTIVE", "discover": "", "burn-in": "BLOCKED", "install": "BLOCKED",
        "agent": "BLOCKED",
    }  # fmt: skip
    before = c.row(refs["install"]).run_count
    done = c.anneal()
    assert done[0] == refs["discover"]
    assert (refs["install"] in done) is not destructive
    assert c.row(refs["install"]).run_count == before + (not destructive)
    assert set(states(c, refs).values()) == {"ACTIVE"}
    assert c.row(refs["watch"]).run_count == c.row(refs["apart"]).run_count == 1


@pytest.mark.parametrize("end", ["failed", "cancelled by an operator"])
def test_however_a_run_ends_that_took_its_node_away_what_it_rests_upon_goes_back(
    new_cluster: NewCluster, end: str
) -> None:
    c, refs = away(new_cluster, destructive=True)
    c.change_node("n", alive=False)
    run = c.open_run(refs["install"])
    if end == "failed":
        steering.finish_pending(c.parts, OPERATOR, run.id, succeeded=False)
    else:
        steering.cancel_run(c.parts, OPERATOR, run.id)
    check_invariants(c.parts)
    assert c.state(refs["discover"]) is State.TODO
    c.change_node("n", alive=True)
    steering.release(c.parts, OPERATOR, refs["install"])
    assert c.anneal(limit=20)[0] == refs["discover"]
    assert c.state(refs["install"]) is State.ERROR
    assert c.row(refs["install"]).halfway
    assert not c.row(refs["install"]).away


def test_a_run_that_left_its_node_alive_disturbs_nobody_at_its_end(new_cluster: NewCluster) -> None:
    c, refs = away(new_cluster, destructive=True)
    wake(c)
    carry_out(c, refs["install"])
    assert c.state(refs["discover"]) is State.ACTIVE
    assert c.state(refs["install"]) is State.ACTIVE


def test_a_node_that_dies_before_anybody_has_begun_is_dead_for_a_role_that_reboots_too(new_cluster: NewCluster) -> None:
    c = new_cluster(Role(name="install", reboots=True, destructive=True))
    ref = begun(c)
    c.change_node("n", alive=False)
    assert c.open_run(ref) is None
    assert c.state(ref) is State.TODO
