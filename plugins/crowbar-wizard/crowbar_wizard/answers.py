"""The answers: kept step by step, tried as soon as they are given, and carried out all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import BadInput, Change, CommitNode, CrowbarError, FieldError, Refused, cluster
from crowbar_core.tables import nodes
from crowbar_wizard.steps import MACHINE, Step, gather, named
from crowbar_wizard.tables import answers as table
from crowbar_wizard.tables import end as end_table


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``values`` as they are kept: secrets are sealed."""

    skipped: bool
    answered_at: datetime
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Wizard:
    """How far it is. ``place`` is what steps are told; ``end`` the row of what was carried out, or None."""

    steps: tuple[Step, ...]
    answers: Mapping[str, Answer]
    place: Mapping[str, str]
    end: Any = None

    @property
    def next(self) -> Step | None:
        """The first step that was neither answered nor skipped."""
        return next((one for one in self.steps if one.name not in self.answers), None)

    def state(self, step: Step) -> str:
        """``open``, ``answered`` or ``skipped``."""
        kept = self.answers.get(step.name)
        return "open" if kept is None else "skipped" if kept.skipped else "answered"

    def values(self, step: Step) -> dict[str, str]:
        """What was answered, and for fields that were not there then, the defaults."""
        held = self.answers[step.name].values if step.name in self.answers else {}
        return {one.name: held.get(one.name, one.default) for one in step.fields}


def read(session: Any) -> Wizard:
    """The wizard as it stands."""
    rows = session.execute(select(table)).all()
    held = {
        one.step: Answer(skipped=one.skipped, answered_at=one.answered_at, values=one.answers or {}) for one in rows
    }
    where = _place(session, held[MACHINE].values if MACHINE in held else {})
    ended = session.execute(select(end_table)).first()
    return Wizard(steps=gather(session, where), answers=held, place=where, end=ended)


def _place(session: Any, values: Mapping[str, str]) -> dict[str, str]:
    # The first deployment is the system's.
    system = session.scalar(select(nodes.c.name).where(nodes.c.system).order_by(nodes.c.id).limit(1))
    return {"machine": values.get("name", ""), "address": values.get("address", ""), "system": system or ""}


def answer(name: str, given: Mapping[str, str] | None) -> tuple[str, ...]:
    """Keep the answers of a step (None: it is skipped) after trying them with those of all other steps. Returns what
    would be made. Raises ``NotFound``, ``Refused`` when all has been carried out, ``BadInput`` with the fields.
    """
    kept, lines = _tried(name, given)
    with cluster().change() as change:
        _keep(change, _open(change), name, kept)
    return lines


def answer_all(given: Mapping[str, Mapping[str, str] | None], *, at_once: bool = False) -> tuple[str, ...]:
    """All answers in one go, as from a file; steps that are not named are skipped. With ``at_once`` they are carried
    out, else they are only tried and kept. All of it happens, or nothing. The errors' pointers begin with the step.
    """
    with cluster().change() as change:
        wizard = _open(change)
        for name in given:
            named(wizard.steps, name)
        wizard = _with(change, wizard, given)
        if at_once:
            return _finish(change, wizard)
    lines = attempt({one.name: wizard.answers[one.name] for one in wizard.steps})
    with cluster().change() as change:
        now = _open(change)
        for one in wizard.steps:
            _keep(change, now, one.name, wizard.answers[one.name])
    return lines


def carry_out() -> tuple[str, ...]:
    """Make everything that was answered, in one change. Returns a line for each thing. Raises ``Refused`` while a step
    is neither answered nor skipped, and once it has been done.
    """
    with cluster().change() as change:
        wizard = _open(change)
        if (left := wizard.next) is not None:
            raise Refused(f"The step {left.name} ({left.title}) is neither answered nor skipped: do that first.")
        return _finish(change, wizard)


class _Undone(Exception):
    """Ends a change that was only to be tried."""


def attempt(fresh: Mapping[str, Answer] | None = None) -> tuple[str, ...]:
    """What would be made of the answers, with these instead of those that are kept; nothing is."""
    lines: tuple[str, ...] = ()
    try:
        with cluster().change() as change:
            wizard = _open(change)
            held = {**wizard.answers, **(fresh or {})}
            lines = _make(change, _placed(change, wizard, held))
            raise _Undone
    except _Undone:
        return lines


def try_step(name: str, given: Mapping[str, str]) -> tuple[str, ...]:
    """As ``answer``, but nothing is kept."""
    return _tried(name, given)[1]


def forget() -> None:
    """Take all answers back; what was carried out stays."""
    with cluster().change() as change:
        _open(change)
        change.session.execute(delete(table))
        change.audit("wizard.forget", "wizard")


# ---------------------------------------------------------------- parts


def _tried(name: str, given: Mapping[str, str] | None) -> tuple[Answer, tuple[str, ...]]:
    """What is to be kept of the answers of a step, and what would be made: in a change of its own, which is undone."""
    with cluster().change() as change:
        kept = _kept(change, _open(change), name, given)
    return kept, attempt({name: kept})


def _open(change: Change) -> Wizard:
    wizard = read(change.session)
    if wizard.end is not None:
        raise Refused(
            f"The first questions were answered, and carried out on {wizard.end.ended_at:%Y-%m-%d %H:%M} UTC: change "
            "networks, roles and attributes where they are."
        )
    return wizard


def _with(change: Change, wizard: Wizard, given: Mapping[str, Mapping[str, str] | None]) -> Wizard:
    """The machine's own step comes first, for the defaults of others are made of it."""
    held: dict[str, Answer] = {}
    for name in (MACHINE, *(one.name for one in wizard.steps if one.name != MACHINE)):
        held[name] = _kept(change, _placed(change, wizard, held), name, given.get(name))
    return _placed(change, wizard, held)


def _placed(change: Change, wizard: Wizard, held: Mapping[str, Answer]) -> Wizard:
    """The wizard with these answers."""
    values = held[MACHINE].values if MACHINE in held else {}
    where = _place(change.session, values)
    steps = wizard.steps if where == wizard.place else gather(change.session, where)
    return Wizard(steps=steps, answers=held, place=where)


def _kept(change: Change, wizard: Wizard, name: str, given: Mapping[str, str] | None) -> Answer:
    """What is to be kept of the answers. Raises ``BadInput`` whose pointers begin with the step, ``NotFound``."""
    step = named(wizard.steps, name)
    if given is None:
        return Answer(skipped=True, answered_at=change.now)
    held = wizard.answers[name].values if name in wizard.answers else {}
    # A secret that is not typed again stays.
    before = {name: change.unseal(held[name]) for name in step.secrets if held.get(name)}
    asked = {**{name: value for name, value in before.items() if not given.get(name)}, **{
        name: value for name, value in given.items() if value or name not in before
    }}  # fmt: skip
    with _of_step(step.name):
        values = step.checked(asked)
    sealed = {name: change.seal(value) if name in step.secrets and value else value for name, value in values.items()}
    return Answer(skipped=False, answered_at=change.now, values=sealed)


def _keep(change: Change, wizard: Wizard, name: str, kept: Answer) -> None:
    row = {"skipped": kept.skipped, "answers": dict(kept.values), "answered_at": change.now}
    if name in wizard.answers:
        change.session.execute(update(table).where(table.c.step == name).values(**row))
    else:
        change.session.execute(insert(table).values(step=name, **row))
    change.audit("wizard.skip" if kept.skipped else "wizard.answer", f"step {name}")


def _finish(change: Change, wizard: Wizard) -> tuple[str, ...]:
    lines = _make(change, wizard)
    kept = _open(change)
    for step in wizard.steps:
        if step.name in wizard.answers:
            _keep(change, kept, step.name, _without_secrets(step, wizard.answers[step.name]))
    change.session.execute(
        insert(end_table).values(id=1, lines=list(lines), machine=wizard.place["machine"], ended_at=change.now)
    )
    change.audit("wizard.carry_out", "wizard", made=len(lines))
    told = {
        step.name: {name: value for name, value in wizard.values(step).items() if name not in step.secrets}
        for step in wizard.steps if wizard.state(step) == "answered"
    }  # fmt: skip
    change.publish("on_wizard_end", "wizard", place=wizard.place, answers=told)
    return lines


def _without_secrets(step: Step, answer: Answer) -> Answer:
    """Nobody needs them any more."""
    return replace(answer, values={name: value for name, value in answer.values.items() if name not in step.secrets})


def _make(change: Change, wizard: Wizard) -> tuple[str, ...]:
    """Each step in its order, then all that was bound is committed."""
    lines: list[str] = []
    for step in wizard.steps:
        kept = wizard.answers.get(step.name)
        if kept is None or kept.skipped:
            continue
        values = {
            name: change.unseal(value) if name in step.secrets and value else value
            for name, value in wizard.values(step).items()
        }
        with _of_step(step.name):
            lines += step.carry_out(values, change, wizard.place)
    for node in (wizard.place["machine"], wizard.place["system"]) if lines and wizard.place["machine"] else ():
        change.apply(CommitNode(node=node))
    return tuple(lines)


@contextmanager
def _of_step(name: str) -> Iterator[None]:
    """What is wrong in a step says which it is."""
    try:
        yield
    except BadInput as error:
        several: Sequence[FieldError] = error.errors or (FieldError(pointer="", detail=error.detail),)
        raise BadInput(
            error.detail, errors=[FieldError(pointer=f"/{name}{one.pointer}", detail=one.detail) for one in several]
        ) from error
    except CrowbarError as error:
        raise type(error)(f"Step {name}: {error.detail}") from error
