"""/wizard: a step at a time, then all of it, then how it anneals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, make_response, redirect, request
from markupsafe import Markup
from werkzeug.wrappers import Response as Answer

from crowbar_core import CrowbarError, Panel, cluster, requires
from crowbar_core.pages import act, fragment, page
from crowbar_wizard import answers
from crowbar_wizard.answers import Wizard
from crowbar_wizard.steps import Step, named

pages = Blueprint("wizard", __name__, template_folder="templates")
URL = "/wizard"
SHOWN_MACHINES = 20


@pages.get(URL)
@requires("viewer")
def show() -> Answer:
    """The step that ``?step=`` names, else the first that is open; without one, all that would be made."""
    with cluster().read() as session:
        wizard = answers.read(session)
    if wizard.end is not None:
        return _ended(wizard)
    wanted = request.args.get("step", "")
    step = named(wizard.steps, wanted) if wanted else wizard.next
    return _all(wizard) if step is None else _step(wizard, step, _shown(step, wizard))


@pages.post(f"{URL}/steps/<step>")
@requires("admin")
def answer(step: str) -> Answer:
    """Keep it and go on; what cannot be is said beside what was typed."""
    given = None if request.form.get("do") == "skip" else _typed()
    try:
        answers.answer(step, given)
    except CrowbarError as error:
        with cluster().read() as session:
            wizard = answers.read(session)
        if wizard.end is not None:
            return act(_raising(error), "", URL)
        there = named(wizard.steps, step)
        return _step(wizard, there, {**_shown(there, wizard), **(given or {})}, error=error)
    return redirect(URL, 303)


@pages.post(f"{URL}/steps/<step>/try")
@requires("admin")
def attempt(step: str) -> Response:
    """What would come of the answers as they are typed now."""
    given = _typed()
    with cluster().read() as session:
        there = named(answers.read(session).steps, step)
    lines: Sequence[str] = ()
    fault: CrowbarError | None = None
    try:
        lines = answers.try_step(step, given)
    except CrowbarError as error:
        fault = error
    return make_response(_tried(there, given, lines, fault))


@pages.post(f"{URL}/carry-out")
@requires("admin")
def carry_out() -> Answer:
    return act(answers.carry_out, lambda lines: f"{len(lines)} things are made, and are being carried out.", URL)


@pages.post(f"{URL}/forget")
@requires("admin")
def forget() -> Answer:
    return act(answers.forget, "The answers are forgotten.", URL)


# ---------------------------------------------------------------- parts


def _typed() -> dict[str, str]:
    return {name: value for name, value in request.form.items() if name not in ("csrf_token", "do", "back")}


def _shown(step: Step, wizard: Wizard) -> dict[str, str]:
    """What the fields of the form hold: secrets are typed anew, or stay."""
    return {name: "" if name in step.secrets else value for name, value in wizard.values(step).items()}


def _step(wizard: Wizard, step: Step, values: Mapping[str, str], *, error: CrowbarError | None = None) -> Response:
    told = _tried(step, values, (), error) if error is not None else ""
    return page(
        "crowbar_wizard/wizard.html", wizard=wizard, step=step, values=values, told=told,
        status=error.status if error is not None else 200,
    )  # fmt: skip


def _tried(step: Step, values: Mapping[str, str], lines: Sequence[str], fault: CrowbarError | None) -> Any:
    errors = [(one.pointer, one.detail) for one in fault.errors] if fault is not None else []
    told = [detail for _, detail in errors] or ([fault.detail] if fault is not None else [])
    picture = None
    if step.picture is not None:
        try:
            shown = step.picture({one.name: values.get(one.name, one.default).strip() for one in step.fields})
            picture = shown if shown is None or hasattr(shown, "__html__") else Markup("<pre>{}</pre>").format(shown)
        except (CrowbarError, ValueError):
            pass  # of answers that cannot be there is none; what is wrong with them is told
    return fragment("crowbar_wizard/_tried.html", told=told, lines=lines, picture=picture)


def _all(wizard: Wizard) -> Response:
    lines: Sequence[str] = ()
    told: Sequence[str] = ()
    try:
        lines = answers.attempt()
    except CrowbarError as error:
        told = [one.detail for one in error.errors] or [error.detail]
    return page("crowbar_wizard/wizard.html", wizard=wizard, step=None, lines=lines, wrong=told)


def _ended(wizard: Wizard) -> Response:
    here = cluster()
    name = wizard.end.machine
    mine = [one for one in here.node_roles(node=name) if not one.node.system] if name else []
    others = [one for one in here.nodes() if not one.system and one.name != name]
    newest = sorted(others, key=lambda one: one.id, reverse=True)[:SHOWN_MACHINES]
    return page(
        "crowbar_wizard/ended.html", live="crowbar_wizard/_ended.html", wizard=wizard, mine=mine, newest=newest,
        count=len(others), ready=bool(mine) and all(one.state == "ACTIVE" for one in mine),
        machine=here.node(name) if mine else None, boots=any(one.role.startswith("provisioner-") for one in mine),
    )  # fmt: skip


def _raising(error: CrowbarError) -> Any:
    def work() -> None:
        raise error

    return work


def _on_dashboard() -> Any:
    with cluster().read() as session:
        wizard = answers.read(session)
    if wizard.end is not None or any(not one.system and not one.admin for one in cluster().nodes()):
        return None
    return fragment("crowbar_wizard/_panel.html", wizard=wizard)


PANEL = Panel(on="dashboard", title="Setup", render=_on_dashboard, order=1)
