"""What is printed: data on stdout as table, JSON or YAML; words for people on stderr.

Names, statuses and log lines come from machines that nobody vouches for. Control characters and invisible ones (which
can move a terminal's cursor or turn a line round) are shown escaped, in every format.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Self

import click
from rich.cells import cell_len

from crowbar_core.cli.later import later

yaml = later("yaml")

GLYPHS: Mapping[str, tuple[str, str]] = {
    "ACTIVE": ("✓", "green"),
    "TODO": ("○", "cyan"),
    "TRANSITION": ("◐", "yellow"),
    "BLOCKED": ("⊘", "blue"),
    "PROPOSED": ("◇", "magenta"),
    "COMMITTED": ("◆", "cyan"),
    "ERROR": ("✕", "red"),
    "queued": ("○", "cyan"),
    "running": ("◐", "yellow"),
    "cancelling": ("◑", "yellow"),
    "succeeded": ("✓", "green"),
    "failed": ("✕", "red"),
    "cancelled": ("□", "magenta"),
    "lost": ("⚡", "red"),
    "NEW": ("☆", "cyan"),
    "IDLE": ("–", ""),
    "DEAD": ("✕", "red"),
    "OFF": ("□", ""),
    "alive": ("✓", "green"),
    "dead": ("✕", "red"),
    "off": ("□", ""),
}
"""State -> (glyph, colour). Never colour alone: the glyph stands before the word."""

_FRACTION = re.compile(r"(?<=^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+(?=(Z|[+-]\d\d:\d\d)$)")
"""What a moment has beyond its seconds: for machines."""
_NUMBERS = ("id", "cohort", "run_count", "attempt", "priority", "order", "node_count", "pid", "runs", "concurrency")
_STATE_FIELDS = ("state", "state_name", "run_state")


@dataclass(frozen=True)
class Cell:
    """A field of a table."""

    text: str
    colour: str = ""
    bold: bool = False


class Column(str):
    """A column of a table that shows what ``of`` makes of a row; other columns are the name of the field they show."""

    of: Callable[[Mapping[str, Any]], Any]

    def __new__(cls, name: str, of: Callable[[Mapping[str, Any]], Any]) -> Self:
        made = super().__new__(cls, name)
        made.of = of
        return made


STATE: Final = Column("state", lambda row: row.get("state_name"))
"""Of what has its state as a number: the word for it."""


def visible(text: str, *, keep: str = "") -> str:
    """``text`` with everything escaped that does not show: controls, direction marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep or char == "\u200d" else _escape(char) for char in text)


def _escape(char: str) -> str:
    number = ord(char)
    if unicodedata.category(char) == "Zs":
        return " "
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def say(message: str) -> None:
    """Words for a person, on stderr."""
    click.echo(visible(message, keep="\n"), err=True)


def rows(found: Iterable[Mapping[str, Any]], columns: Sequence[str], output: str) -> None:
    """A list of objects: whole ones as JSON or YAML, the ``columns`` as a table."""
    if output != "table":
        data(list(found), output)
        return
    lines = [[_cell(column, _pick(row, column)) for column in columns] for row in found]
    right = {index for index, column in enumerate(columns) if column in _NUMBERS}
    _table([[Cell(_title(column), bold=True) for column in columns], *lines], right)


def record(found: Any, output: str) -> None:
    """One object: as a table of two columns, in the order the server gave."""
    if output != "table" or not isinstance(found, Mapping):
        data(found, output if output != "table" else "yaml")
        return
    lines: list[list[Cell]] = []
    for key, value in found.items():
        title = Cell(_title(key), bold=True)
        if isinstance(value, Mapping) and value:
            for index, inner in enumerate(_yaml(value).splitlines()):
                lines.append([title if not index else Cell(""), Cell(visible(inner))])
        else:
            lines.append([title, _cell(key, value)])
    _table(lines, set())


def data(value: Any, output: str) -> None:
    """Any value, as JSON or YAML alone."""
    click.echo(_json(value) if output == "json" else _yaml(value).rstrip("\n"))


def line(text: str) -> None:
    """One line of text that is the data itself (a log's line, a token)."""
    click.echo(visible(text, keep="\t"))


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    if text.isprintable():
        return text
    # What does not show is escaped as JSON does it, so the text stays JSON.
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    if all(char.isprintable() or char == "\n" for char in text):
        return text.removesuffix("...\n")
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, default_flow_style=False, width=120)
    return text.removesuffix("...\n")


def _table(lines: Sequence[Sequence[Cell]], right: Set[int]) -> None:
    """One object is one line, however long: nothing is cut, whatever reads it."""
    widths = [max(cell_len(cell.text) for cell in column) for column in zip(*lines, strict=True)]
    last = len(widths) - 1
    for cells in lines:
        printed = []
        for index, cell in enumerate(cells):
            blank = " " * (widths[index] - cell_len(cell.text))
            text = click.style(cell.text, fg=cell.colour or None, bold=cell.bold or None)
            printed.append(blank + text if index in right else text if index == last else text + blank)
        click.echo("  ".join(printed).rstrip())


def _pick(row: Mapping[str, Any], column: str) -> Any:
    return column.of(row) if isinstance(column, Column) else row.get(column)


def _cell(column: str, value: Any) -> Cell:
    if value is None or value == "" or value == []:
        return Cell("-")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if column in _STATE_FIELDS and isinstance(value, str):
        glyph, colour = GLYPHS.get(value, ("", ""))
        return Cell(f"{glyph} {visible(value)}".strip(), colour=colour)
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return Cell(", ".join(visible(str(item)) for item in value))
    if isinstance(value, dict | list):
        return Cell(visible(json.dumps(value, ensure_ascii=False)))
    return Cell(visible(_FRACTION.sub("", value) if isinstance(value, str) else str(value)))


def _title(column: str) -> str:
    return column.replace("_", " ").upper() if column else ""
