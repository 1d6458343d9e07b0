"""`crowbar init`: the answers of the wizard, from a file."""

from __future__ import annotations

from typing import Any

import click
import yaml

from crowbar_core import BadInput
from crowbar_core.client import ApiError, Client
from crowbar_core.commands import connect, data, line, output, say

_UNAUTHENTICATED = 401
_EXAMPLE = (
    "# Answers for `crowbar init --answers FILE`. A step that is left out is skipped; a field that is left out is as",
    "# proposed, which depends on what is answered before it.",
)


@click.command("init")
@click.option(
    "--answers", "file", metavar="FILE",
    help="A YAML file: step, then field and answer; - reads standard input.",
)  # fmt: skip
@click.option("--plan", is_flag=True, help="Only say what would be made, and keep the answers.")
@click.option("--example", is_flag=True, help="Print a file with all that is asked, and go.")
def init(file: str | None, plan: bool, example: bool) -> None:
    """Answer the first questions from a file, and carry them out; without one, say how far they are."""
    client = connect()
    if example:
        for one in _written(client.get("wizard")):
            line(one)
        return
    if file is None:
        _tell(client.get("wizard"))
        return
    body = {"answers": _answers(file), "carry_out": not plan}
    told = client.post("wizard", "answers", body=body)
    if output() != "table":
        data(told, output())
        return
    for one in told["would_make" if plan else "made"]:
        line(one)
    if plan:
        say("Nothing is made yet; the answers are kept, and can be looked at under /wizard.")
    else:
        say("It is made and committed; `crowbar converge` waits until all of it is ACTIVE.")
        _look_at_machine(client)


def _look_at_machine(client: Client) -> None:
    """Whether Crowbar gets in where it is: at once, for nothing begins before that is known."""
    try:
        name = client.get("wizard")["machine"]
    except ApiError as error:
        if error.answer != _UNAUTHENTICATED:
            raise
        say("Your password is the one that was answered from now on: log in with it, and see whether Crowbar gets in.")
        return
    if name and not (found := client.put("nodes", name, "probe"))["alive"]:
        say(f"Nothing begins yet, for {name} does not answer: {found['reason'] or 'no barclamp could test it'}")


def _answers(file: str) -> dict[str, dict[str, str]]:
    try:
        with click.open_file(file) as opened:
            text = opened.read()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.") from error
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise BadInput(f"{file} is no YAML{f': line {where.line + 1}' if where else ''}.") from error
    if not isinstance(tree, dict):
        raise BadInput(f"{file} must have steps with their answers, as `crowbar init --example` shows.")
    return {str(step): _texts(file, str(step), given) for step, given in tree.items()}


def _texts(file: str, step: str, given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadInput(f"{file}: step {step} must have fields with their answers, or nothing: all is as proposed.")
    return {str(name): _text(file, f"{step}/{name}", value) for name, value in given.items()}


def _text(file: str, where: str, value: Any) -> str:
    """YAML's own values as the text that a form would send."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(file, where, one) for one in value)
    if isinstance(value, dict):
        raise BadInput(f"{file}: {where} is a text, a number, yes, no or a list of them.")
    return "" if value is None else str(value)


def _written(wizard: dict[str, Any]) -> list[str]:
    lines = [*_EXAMPLE]
    for step in wizard["steps"]:
        lines += ["", f"# {step['title']}", f"{step['name']}:"]
        for one in step["fields"]:
            choices = ", ".join(choice for choice, _ in one["choices"])
            told = (f"{one['label']}.", one["help"], choices and f"One of {choices}.")
            lines.append(f"  # {' '.join(part for part in told if part)}")
            value = yaml.safe_dump(one["default"], default_style='"', width=10_000).strip()
            lines.append(f"  {'' if one['required'] else '# '}{one['name']}: {value}")
    return lines


def _tell(wizard: dict[str, Any]) -> None:
    if output() != "table":
        data(wizard, output())
        return
    if wizard["made"] is not None:
        say(f"The first questions were answered, and carried out at {wizard['ended_at']}.")
        return
    for step in wizard["steps"]:
        line(f"{step['state']:<9} {step['name']:<12} {step['title']}")
    say("Answer them at /wizard, or in a file: `crowbar init --example > answers.yaml`.")
