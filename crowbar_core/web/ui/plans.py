"""Plans as pages: whatever form can be planned has a button for it, and the page that comes then does just that form.

A form that carries ``rehearse`` is not carried out: what it would do is found by doing it and rolling it back, and
shown with the button that does it. Summary first, rows folded: ten thousand steps are as quickly read as ten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from flask import redirect, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.errors import CrowbarError
from crowbar_core.services.cluster.losses import Loss
from crowbar_core.services.cluster.planning import Plan, PlanStep, rehearse
from crowbar_core.services.values import drafts
from crowbar_core.web import auth
from crowbar_core.web.ui.shell import act, actor, is_local, page, refuse

T = TypeVar("T")

NAMED = 200
"""So many nodes of a folded row are named; the command line shows all with ``--all``."""
KINDS = ("teardown", "run", "run again", "refresh", "pass over", "wait")
NOT_CARRIED = ("csrf_token", "rehearse", "typed")


@dataclass
class Row:
    """Steps of one role that do the same, in one wave."""

    kind: str
    role: str
    destructive: bool
    reboots: bool
    steps: list[PlanStep] = field(default_factory=list)

    @property
    def shown(self) -> list[PlanStep]:
        return self.steps[:NAMED]

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(step.note for step in self.steps if step.note))[:NAMED]


@dataclass(frozen=True)
class Wave:
    number: int
    rows: tuple[Row, ...]

    @property
    def count(self) -> int:
        return sum(len(row.steps) for row in self.rows)


def waves(steps: Sequence[PlanStep]) -> list[Wave]:
    """The steps folded, in order; what waits has the wave 0."""
    found: dict[int, dict[tuple[Any, ...], Row]] = {}
    for step in steps:
        rows = found.setdefault(step.wave, {})
        key = (step.kind, step.role, step.destructive, step.reboots)
        rows.setdefault(key, Row(step.kind, step.role, step.destructive, step.reboots)).steps.append(step)
    return [Wave(number, tuple(rows.values())) for number, rows in sorted(found.items())]


def plan_page(
    plan: Plan, *, url: str, fields: Mapping[str, str], leave: str, loss: Loss | None = None,
    same: Sequence[Mapping[str, str]] = (), label: str = "",
) -> BaseResponse:  # fmt: skip
    """The page of a plan. ``url`` and ``fields`` are the form that does it."""
    folded = waves(plan.own)
    return page(
        "plan.html",
        plan=plan,
        kinds=[(kind, sum(step.kind == kind for step in plan.own)) for kind in KINDS],
        waves=[one for one in folded if one.number],
        waiting=[one for one in folded if not one.number],
        anyway=len(plan.steps) - len(plan.own),
        url=url,
        fields=fields,
        leave=leave,
        loss=loss,
        same=same,
        label=label or plan.title.partition(" ")[0],
    )


def act_planned(
    work: Callable[[], T], done: str | Callable[[T], str], to: str, *, title: str, loss: Loss | None = None,
    insist: bool = False, label: str = "", also: Mapping[str, str] | None = None,
) -> BaseResponse:  # fmt: skip
    """As ``act``; but a form with ``rehearse`` is answered with the plan of it. ``insist``: the work reads ``plan``
    from the form and does nothing else than that. ``also`` are further fields of the form that does it.
    """
    if not request.form.get("rehearse"):
        return act(work, done, to)
    try:
        plan = rehearse(auth.parts(), work, title=title)
    except CrowbarError as error:
        if error.status >= 500:
            raise
        refuse(error)
        return redirect(_leave(to), code=HTTPStatus.SEE_OTHER)
    fields = {name: value for name, value in request.form.items() if name not in NOT_CARRIED}
    fields |= also or {}
    if insist:
        fields["plan"] = plan.id
    return plan_page(plan, url=request.path, fields=fields, leave=_leave(to), loss=loss, label=label)


def act_drafts(whose: str, to: str, **of: int) -> BaseResponse:
    """Plan, commit or discard the drafts of an object, as the form says. ``of`` names it by its id."""
    parts, who = auth.parts(), actor()
    if request.form.get("do") == "discard":
        return act(lambda: drafts.discard_drafts(parts, who, **of), "The drafts are discarded.", to)
    return act_planned(
        lambda: drafts.commit_drafts(parts, who, **of),
        lambda count: f"{count} value{'s are' if count != 1 else ' is'} committed.",
        to,
        title=f"Commit the drafts of {whose}",
    )


def _leave(to: str) -> str:
    back = request.form.get("back", "")
    return back if is_local(back) else to
