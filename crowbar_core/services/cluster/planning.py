"""Plans: what a change would do, found out by doing it.

The change itself is made, with its checks, vetoes and hooks, in a transaction that is rolled back; what it leaves is
annealed to rest in memory by the domain's own engine. So a plan cannot differ from its commit, but for what nobody can
know beforehand: whether a run succeeds, what it reports, and what barclamps answer to events afterwards.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import orjson

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain import annealing
from crowbar_core.domain.annealing import Reason
from crowbar_core.domain.attributes import MASK, masked
from crowbar_core.domain.rehearsal import Rehearsal
from crowbar_core.errors import PlanChanged
from crowbar_core.plugins import Failure
from crowbar_core.services.data.changes import refresh_sysdata
from crowbar_core.services.data.questions import knows_data
from crowbar_core.services.data.views import node_role_views
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Called, Notes, Rehearsed, Turn, rehearsing
from crowbar_core.store import bindings, pictures, plans, transitions

Kind = Literal["teardown", "run", "run again", "refresh", "pass over", "wait"]
_HOOKS_IN_THE_TRANSACTION = (
    "check_commit", "on_deployment_commit", "on_deployment_discard", "on_commit", "on_node_bind", "on_nodes_bind",
    "on_node_unbind", "on_node_leave",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PlanStep:
    """One thing that would happen. ``wave`` counts from 1: what has the same may happen at the same time (0: it
    waits). ``anyway``: it happens without this change too. ``note`` says for what it waits; ``seconds`` how long such
    a run took lately (None: there was none).
    """

    node_role_id: int
    node: str
    role: str
    deployment: str
    kind: Kind
    wave: int
    cohort: int
    destructive: bool = False
    reboots: bool = False
    anyway: bool = False
    note: str = ""
    codes: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class PlanValue:
    """A value that would change. ``origin`` is the object that it comes from, ``reaches`` those for which it changes
    (the origin's own noderoles and what lies below it). Secrets are masked.
    """

    origin: str
    attribute: str
    old_set: bool
    old: Json
    new_set: bool
    new: Json
    reaches: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlanLine:
    """What a barclamp has to say of it: addresses or names that it will take, and the like."""

    barclamp: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a change would do. ``id`` changes with anything that it would do differently."""

    id: str
    title: str
    steps: tuple[PlanStep, ...]
    values: tuple[PlanValue, ...] = ()
    removed: tuple[str, ...] = ()
    """What would be gone afterwards: noderoles, nodes, deployments, runs under way."""
    lines: tuple[PlanLine, ...] = ()
    unsteady: tuple[str, ...] = ()
    """Hooks that did not answer alike when they were asked twice: what they say here may not hold."""
    seconds: float = 0.0
    """How long it will take, from earlier runs of the same roles; those in ``unknown`` are not counted."""
    unknown: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[PlanStep, ...]:
        """The steps that are there because of this change."""
        return tuple(step for step in self.steps if not step.anyway)

    @property
    def runs(self) -> tuple[PlanStep, ...]:
        return tuple(step for step in self.own if step.kind in ("teardown", "run", "run again", "refresh"))

    @property
    def waits(self) -> tuple[PlanStep, ...]:
        return tuple(step for step in self.own if step.kind == "wait")

    @property
    def destroys(self) -> tuple[str, ...]:
        """What would destroy data, each as ``role on node``: at once, or when it need wait no longer."""
        return tuple(
            f"{step.role} on {step.node}" for step in self.own if step.destructive and step.kind != "pass over"
        )

    @property
    def reboots(self) -> tuple[str, ...]:
        """The nodes that a run may reboot or power off."""
        return tuple(dict.fromkeys(step.node for step in self.runs if step.reboots))

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Role -> kind -> how many steps."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for step in self.own:
            found[step.role][step.kind] += 1
        return {role: dict(found[role]) for role in sorted(found)}

    @property
    def is_empty(self) -> bool:
        return not (self.own or self.values or self.removed or self.lines)


@dataclass
class _Rehearsing:
    """Takes part in the one turn that is rolled back."""

    answers: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    finish: Callable[[], Plan] | None = None

    def before(self, turn: Turn) -> None:
        turn.notes = Notes(before=_picture(turn))

    def after(self, turn: Turn) -> None:
        assert turn.notes is not None
        self.finish = _rehearsed(turn)
        self.answers = turn.notes.answers


def rehearse(parts: Parts, act: Callable[[], Any], *, title: str = "") -> Plan:
    """What ``act`` would do; it is a call of one of the services, and is rolled back. What it refuses is raised."""
    first, second = _Rehearsing(), _Rehearsing()
    plan = _one_rehearsal(first, act)
    unsteady: list[str] = []
    if first.answers or any(parts.registry.listens(hook) for hook in _HOOKS_IN_THE_TRANSACTION):
        again = _one_rehearsal(second, act)
        unsteady = _unsteady(parts, first, second, alike=plan.id == again.id)
    return replace(plan, title=title, unsteady=tuple(unsteady))


def _one_rehearsal(taking_part: _Rehearsing, act: Callable[[], Any]) -> Plan:
    token = rehearsing.set(taking_part)
    try:
        with suppress(Rehearsed):
            act()
    finally:
        rehearsing.reset(token)
    assert taking_part.finish is not None, "what is planned must make a change"
    return taking_part.finish()


def _unsteady(parts: Parts, first: _Rehearsing, second: _Rehearsing, *, alike: bool) -> list[str]:
    differing = sorted({
        f"{hook} of {plugin} for {subject}"
        for plugin, hook, subject in first.answers.keys() | second.answers.keys()
        if first.answers.get((plugin, hook, subject)) != second.answers.get((plugin, hook, subject))
    })  # fmt: skip
    if differing or alike:
        return differing
    plugins = {
        one.plugin for hook in _HOOKS_IN_THE_TRANSACTION for one in parts.registry.implementations(hook)
    }  # fmt: skip
    return [f"a hook in the transaction of {', '.join(sorted(plugins)) or 'a barclamp'}"]


def insist_on(turn: Turn, plan: str) -> None:
    """Refuse the turn at its end unless it does just what the plan with this id says. To be called as it begins."""
    turn.notes = Notes(before=_picture(turn))

    def check(turn: Turn) -> None:
        now = _rehearsed(turn)().id
        if now != plan:
            raise PlanChanged(f"The plan {plan} no longer holds; it is {now} now. Read the new plan first.")

    turn.checks.append(check)


# ---------------------------------------------------------------- from a turn to a plan


def _picture(turn: Turn) -> annealing.Graph:
    return pictures.load(turn.session, turn.store, missing=turn.registry.lacks)


def _rehearsed(turn: Turn) -> Callable[[], Plan]:
    """All that needs the transaction, now; the rest when the answer is called."""
    notes, registry = turn.notes, turn.registry
    assert notes is not None
    transitions.go_back(turn.moves)
    graph = _picture(turn)
    took = Rehearsal(graph)
    if knows_data(registry):
        _to_rest_with_answers(turn, took)
    elif registry.listens("plan_lines"):
        took.to_rest()
    lines = _lines(turn, took) if registry.listens("plan_lines") else ()
    _name_the_reached(turn, notes)
    names = plans.names(turn.session, turn.store, took.ids())
    seconds = plans.durations(turn.session)

    def finish() -> Plan:
        took.to_rest()
        before = Rehearsal(notes.before)
        before.to_rest()
        return _plan(names, seconds, took, before, turn.now, lines=lines, notes=notes)

    return finish


def _to_rest_with_answers(turn: Turn, took: Rehearsal) -> None:
    """Anneal, asking barclamps before each run as the annealer does, and sending back whom their answers concern."""
    asked_of = {role for role in turn.registry.roles if knows_data(turn.registry, role)}
    while starting := took.next_wave():
        turn.stirred = set()
        mine = [ref for ref in starting if took.role(ref) in asked_of]
        refresh_sysdata(turn, mine, quiet=True)
        stirred, turn.stirred = turn.stirred, None
        unknown = [ref for ref in stirred if not took.knows(ref)]
        if unknown:
            added = pictures.below(turn.session, turn.store, unknown)
            every = {one.id for one in added} | set(took.ids())
            took.extend(added, pictures.edges_among(turn.session, turn.store, every))
        took.finish(took.stale(stirred, starting))


def _name_the_reached(turn: Turn, notes: Notes) -> None:
    of_nodes = {ref for kind, ref, _, _, _ in notes.effects if kind == "node"}
    of_node_roles = {ref for kind, ref, _, _, _ in notes.effects if kind == "node_role"}
    if of_nodes:
        named = bindings.targets(turn.session, turn.store, of_nodes)
        notes.called.update({("node", ref): Called(row.name) for ref, row in named.items()})
    if of_node_roles:
        for row in plans.names(turn.session, turn.store, of_node_roles).values():
            notes.called["node_role", row.id] = Called(f"{row.role} on {row.node}", row.role)


def _lines(turn: Turn, took: Rehearsal) -> tuple[PlanLine, ...]:
    roles_of = {step.node_role_id: took.role(step.node_role_id) for step in took.steps if step.kind != "pass over"}
    found: list[PlanLine] = []
    for one in turn.registry.implementations("plan_lines"):
        refs = [ref for ref, role in roles_of.items() if one.wants(role)]
        if one.roles and not refs:
            continue
        views = tuple(node_role_views(turn.registry, turn.session, turn.store, refs).values())
        plugin, answer = turn.registry.ask_one(one, "plan_lines", node_roles=views, session=turn.session)
        if isinstance(answer, Failure):
            found.append(PlanLine(barclamp=plugin, text=f"It could not say what it will do: {answer.error}"))
            continue
        said = [PlanLine(barclamp=plugin, text=str(line)[:500]) for line in answer or ()]
        found.extend(said)
        if turn.notes is not None:
            turn.notes.answer(plugin, "plan_lines", "the plan", [one.text for one in said])
    return tuple(found)


def _plan(
    names: Mapping[int, Any], seconds: Mapping[str, float], took: Rehearsal, before: Rehearsal, now: datetime, *,
    lines: tuple[PlanLine, ...], notes: Notes,
) -> Plan:  # fmt: skip
    def step(ref: int, kind: Kind, **more: Any) -> PlanStep:
        one = names[ref]
        return PlanStep(
            node_role_id=ref, node=one.node, role=one.role, deployment=one.deployment, kind=kind, cohort=one.cohort,
            destructive=one.destructive, reboots=one.reboots, **more,
        )  # fmt: skip

    anyway = Counter((one.node_role_id, one.kind) for one in before.steps)
    steps = [
        PlanStep(
            node_role_id=one.node_role_id, node=one.node, role=one.role, deployment=one.deployment, kind="teardown",
            wave=place, cohort=one.cohort, destructive=one.destructive,
        )
        for place, one in enumerate(notes.torn_down, 1)
    ]  # fmt: skip
    later = len(steps)
    for one in took.steps:
        key = (one.node_role_id, one.kind)
        is_anyway = anyway[key] > 0
        anyway[key] -= is_anyway
        took_lately = seconds.get(names[one.node_role_id].role)
        steps.append(step(*key, wave=one.wave + later, anyway=is_anyway, seconds=took_lately))
    waited = before.waits(now)
    for ref, reasons in sorted(took.waits(now).items()):
        is_anyway = ref in waited and _codes(waited[ref]) == _codes(reasons)
        note = " ".join(reason.detail for reason in reasons)
        steps.append(step(ref, "wait", wave=0, anyway=is_anyway, note=note, codes=_codes(reasons)))
    removed = tuple(notes.gone)
    own = [one for one in steps if not one.anyway and one.kind not in ("wait", "pass over")]
    return Plan(
        id=_id(steps, notes, removed, lines), title="", steps=tuple(steps), values=_values(notes), removed=removed,
        lines=lines, seconds=_estimate(own), unknown=tuple(sorted({one.role for one in own if one.seconds is None})),
    )  # fmt: skip


def _codes(reasons: Sequence[Reason]) -> tuple[str, ...]:
    return tuple(f"{reason.code} {reason.subject}" for reason in reasons)


def _id(steps: Collection[PlanStep], notes: Notes, removed: Sequence[str], lines: Sequence[PlanLine]) -> str:
    """Of all that the change does itself. What happens anyway, and estimates, change by themselves and are left out."""
    said: list[Any] = sorted(
        [step.node_role_id, step.kind, step.destructive, *step.codes] for step in steps if not step.anyway
    )
    said.append(sorted([one.subject, one.subject_id, one.path, str(one.old), str(one.new)] for one in notes.values))
    said.append(sorted([kind, ref, name, str(old), str(new)] for kind, ref, name, old, new in notes.effects))
    said.append(sorted(removed))
    said.append([[line.barclamp, line.text] for line in lines])
    return hashlib.sha256(orjson.dumps(said)).hexdigest()[:16]


def _estimate(own: Sequence[PlanStep]) -> float:
    """Seconds along the longest way through the waves, each wave as long as its longest run."""
    longest: dict[int, float] = defaultdict(float)
    for step in own:
        longest[step.wave] = max(longest[step.wave], step.seconds or 0.0)
    return sum(longest.values())


# ---------------------------------------------------------------- values


def _values(notes: Notes) -> tuple[PlanValue, ...]:
    """What was committed, object by object, with whom it reaches; then what changed without that (of barclamps)."""
    told = {change.attribute.name for change in notes.values if change.attribute is not None}
    # Whom a value reaches: of a deployment role, its role's noderoles; of a noderole, itself; of a node, all.
    reached: dict[tuple[str, ...], list[str]] = defaultdict(list)
    others: dict[tuple[str, str, str], list[tuple[str, Any, Any]]] = defaultdict(list)
    for kind, ref, name, old, new in notes.effects:
        one = notes.called.get((kind, ref), Called(f"{kind} {ref}"))
        if name not in told:
            others[name, str(old), str(new)].append((one.name, old, new))
            continue
        for of in (("node", name), ("node_role", name, one.name), ("deployment_role", name, one.role)):
            reached[of].append(one.name)
    found = [
        _value(
            change.name, change.attribute, change.path, change.old, change.new,
            reached.get((change.subject, change.attribute.name if change.attribute else change.path, *change.of), ()),
        )
        for change in notes.values
    ]  # fmt: skip
    for (name, _, _), group in others.items():
        _, old, new = group[0]
        called = [one for one, _, _ in group]
        found.append(_value("what barclamps know", notes.attributes.get(name), name, old, new, called))
    return tuple(found)


def _value(
    origin: str, attribute: Attribute | None, path: str, old: tuple[bool, Json], new: tuple[bool, Json],
    reaches: Sequence[str],
) -> PlanValue:  # fmt: skip
    secret = attribute is not None and attribute.secret
    return PlanValue(
        origin=origin, attribute=attribute.name if attribute is not None else path,
        old_set=old[0], old=MASK if secret and old[0] else masked(old[1]),
        new_set=new[0], new=MASK if secret and new[0] else masked(new[1]), reaches=tuple(sorted(reaches)),
    )  # fmt: skip
