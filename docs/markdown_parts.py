"""Pieces of Markdown that the generated parts of the reference are made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterable


def prose(text: str) -> str:
    """A docstring as Markdown: double backquotes become single ones, indented lines are joined."""
    return inspect.cleandoc(text).replace("``", "`")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").strip()


def code(text: str) -> str:
    return f"`{text}`" if text else ""
