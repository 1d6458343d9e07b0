"""Plans on a terminal: the summary first, rows folded, the same for everything that can be planned.

`--plan` asks the server to rehearse the change (`?dry_run=true`); nothing is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.context import output
from crowbar_core.domain.names import some

_F = TypeVar("_F", bound=Callable[..., Any])

KINDS = ("teardown", "run", "run again", "refresh", "pass over", "wait")
SAID = {
    "teardown": "tear down",
    "run": "run", "run again": "run again", "refresh": "refresh", "pass over": "pass over (succeeded before)",
    "wait": "wait",
}  # fmt: skip
NAMED = 3
"""So many nodes are named in a folded row."""
DRY = {"dry_run": "true"}


def all_option(function: _F) -> _F:
    return click.option("--all", "every", is_flag=True, help="Of a plan: a line for each step, none folded.")(function)


def plan_options(function: _F) -> _F:
    """`--plan`, and `--all` for its rows."""
    function = all_option(function)
    return click.option("--plan", is_flag=True, help="Do nothing: show what would happen.")(function)


def show_plan(plan: Mapping[str, Any], *, every: bool = False, title: str = "", hint: str = "") -> None:
    """Print a plan as the server answered it. ``hint`` is the command that does it."""
    if output() != "table":
        out.data(plan, output())
        return
    out.line(f"Plan {plan['id']}: {title or plan['title']}")
    if plan["empty"]:
        out.line("  Nothing would change.")
    own = [step for step in plan["steps"] if not step["anyway"]]
    _summary(plan, own)
    _values(plan["values"])
    waves = sorted({step["wave"] for step in own if step["wave"]})
    for wave in waves:
        out.line(f"Wave {wave}")
        _steps([step for step in own if step["wave"] == wave], every=every)
    waiting = [step for step in own if not step["wave"]]
    if waiting:
        out.line("Waits")
        _steps(waiting, every=every)
    if plan["lines"]:
        out.line("Barclamps say")
        for line in plan["lines"]:
            out.line(f"  {line['barclamp']}: {line['text']}")
    anyway = [step for step in plan["steps"] if step["anyway"]]
    if anyway:
        out.line(f"Happens without this too: {_counts(anyway)}.")
        if every:
            _steps(anyway, every=True)
    if hint:
        out.say(f"{hint} does just this.")


def _summary(plan: Mapping[str, Any], own: Sequence[Mapping[str, Any]]) -> None:
    if own:
        out.line(f"  {_counts(own)}.{_time(plan)}")
    for key, said in (
        ("destroys", "DESTROYS what is on the disks"), ("removed", "REMOVES"), ("reboots", "Reboots"),
    ):  # fmt: skip
        if plan[key]:
            out.line(f"  {said}: {some(plan[key], 10)}")
    for one in plan["unsteady"]:
        out.line(f"  NOT STEADY: {one} answered otherwise when it was asked again, so the plan may not hold.")


def _counts(steps: Sequence[Mapping[str, Any]]) -> str:
    found = [(kind, sum(step["kind"] == kind for step in steps)) for kind in KINDS]
    return ", ".join(f"{count:,} {SAID[kind]}" for kind, count in found if count)


def _time(plan: Mapping[str, Any]) -> str:
    unknown = f"not known for {some(plan['unknown'], 5)}" if plan["unknown"] else ""
    if not plan["seconds"]:
        return f" Its time is {unknown}." if unknown else ""
    return f" About {lasting(plan['seconds'])}{f' ({unknown})' if unknown else ''}."


def lasting(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _values(values: Sequence[Mapping[str, Any]]) -> None:
    if values:
        out.line("Values")
    for one in values:
        reach = f"  (for {some(one['reaches'], NAMED)})" if one["reaches"] else ""
        out.line(f"  {one['attribute']} of {one['origin']}: {change_of(one)}{reach}")


def change_of(one: Mapping[str, Any]) -> str:
    """`old -> new`, for values of plans and drafts."""
    return f"{_value(one['old_set'], one['old'])} -> {_value(one['new_set'], one['new'])}"


def _value(is_set: bool, value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if is_set else "(not set)"


def _steps(steps: Sequence[Mapping[str, Any]], *, every: bool) -> None:
    """Folded: what is of one role and kind, and waits for the same, is one row."""
    if every:
        groups = {(index,): [step] for index, step in enumerate(steps)}
    else:
        groups = {}
        for step in steps:
            reasons = tuple(_reason(code) for code in step["codes"])
            groups.setdefault((step["role"], step["kind"], step["destructive"], step["reboots"], *reasons), []).append(
                step
            )
    rows = []
    for group in groups.values():
        first = group[0]
        nodes = [step["node"] for step in group]
        where = nodes[0] if len(nodes) == 1 else f"{len(nodes):,} nodes: {some(nodes, NAMED)}"
        mind = ["DESTROYS"] if first["destructive"] and first["kind"] != "pass over" else []
        mind += ["reboots"] if first["reboots"] else []
        mind += [_note(group)] if first["note"] else []
        rows.append((SAID[first["kind"]], first["role"], where, "; ".join(mind)))
    widths = [max(len(row[index]) for row in rows) for index in range(3)] if rows else [0, 0, 0]
    for row in rows:
        cells = [row[index].ljust(widths[index]) for index in range(3)]
        out.line(f"  {'  '.join((*cells, row[3]))}".rstrip())


def _note(group: Sequence[Mapping[str, Any]]) -> str:
    """Why these wait: in full if it is the same for all, else in short."""
    if len({step["note"] for step in group}) == 1:
        return str(group[0]["note"])
    return ", ".join(dict.fromkeys(_reason(code) for code in group[0]["codes"]))


def _reason(code: str) -> str:
    """`node dead node 5` -> `node dead`."""
    return code.rsplit(" ", 2)[0]
