"""/api/v2/wizard: the steps, their answers, and carrying them out."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint
from pydantic import Field

from crowbar_core import BadInput, FieldError, cluster
from crowbar_core.rest import Body, api
from crowbar_wizard import answers

rest = Blueprint("wizard_rest", __name__, url_prefix="/api/v2")

Word = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=4000)]


class StepAnswers(Body):
    answers: dict[Word, Text] = Field(default_factory=dict, max_length=100)
    skip: bool = False


class AllAnswers(Body):
    answers: dict[Word, dict[Word, Text] | None] = Field(max_length=100)
    carry_out: bool = False


@rest.get("/wizard")
@api(permission="viewer", summary="The wizard: its steps, what was answered, and what was carried out", returns=Any)
def show() -> dict[str, Any]:
    with cluster().read() as session:
        return shown(answers.read(session))


@rest.put("/wizard/steps/<step>")
@api(permission="admin", summary="Answer a step of the wizard, or skip it", body=StepAnswers, returns=Any)
def answer(step: str, body: StepAnswers) -> dict[str, Any]:
    if body.skip and body.answers:
        detail = "A step that is skipped has no answers: send one of both."
        raise BadInput(detail, errors=[FieldError(pointer="/skip", detail=detail)])
    return {"would_make": list(answers.answer(step, None if body.skip else body.answers))}


@rest.put("/wizard/try")
@api(permission="admin", summary="Find out what would be made of all answers", returns=Any)
def attempt() -> dict[str, Any]:
    return {"would_make": list(answers.attempt())}


@rest.put("/wizard/carry_out")
@api(permission="admin", summary="Make all that was answered, and commit it", returns=Any)
def carry_out() -> dict[str, Any]:
    return {"made": list(answers.carry_out())}


@rest.post("/wizard/answers")
@api(permission="admin", summary="Answer all steps; those that are not named are skipped", body=AllAnswers, returns=Any)
def answer_all(body: AllAnswers) -> dict[str, Any]:
    lines = list(answers.answer_all(body.answers, at_once=body.carry_out))
    return {"made" if body.carry_out else "would_make": lines}


def shown(wizard: answers.Wizard) -> dict[str, Any]:
    """The wizard for anybody: secrets masked."""
    return {
        "steps": [
            {
                "name": step.name, "title": step.title, "text": step.text, "barclamp": step.barclamp,
                "state": wizard.state(step), "answers": step.shown(wizard.values(step)),
                "fields": [
                    {
                        "name": one.name, "label": one.label, "help": one.help, "default": one.default,
                        "choices": [list(choice) for choice in one.choices], "required": one.required,
                        "secret": one.secret,
                    }
                    for one in step.fields
                ],
            }
            for step in wizard.steps
        ],
        "next": wizard.next.name if wizard.next is not None and wizard.end is None else None,
        "machine": wizard.end.machine or None if wizard.end is not None else None,
        "made": wizard.end.lines if wizard.end is not None else None,
        "ended_at": wizard.end.ended_at.isoformat() if wizard.end is not None else None,
    }  # fmt: skip
