"""A range as a bar: what nodes have, what is reserved, what is a router's, and what is free, from first to last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from crowbar_network.addressing import of_key
from crowbar_network.telling import span_of

STEPS = 500
"""Into how many pieces a long range is divided; one in which anything is taken is shown as taken."""
WIDTH = 1000
_SHOWN_IN_DIGITS = 10**9


@dataclass(frozen=True, kw_only=True)
class Piece:
    """``kind``: used, reserved or router. ``x`` and ``width`` are of ``WIDTH``."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Bar:
    id: int
    name: str
    text: str
    used: int
    reserved: int
    routers: int
    free: str
    pieces: tuple[Piece, ...]


def bar(row: Any, used: Sequence[str], reserved: Sequence[str], routers: Iterable[str]) -> Bar:
    """Of a range's row and the keys of what is taken."""
    span = span_of(row)
    inside = [key for key in routers if of_key(key) in span]
    begin, steps = int(span.first), min(span.size, STEPS)
    kinds: dict[int, str] = {}
    for kind, keys in (("used", used), ("router", inside), ("reserved", reserved)):
        for key in keys:
            kinds[(int(of_key(key)) - begin) * steps // span.size] = kind
    free = span.size - len(used) - len(reserved) - len(inside)
    return Bar(
        id=row.id, name=row.name, text=str(span), used=len(used), reserved=len(reserved), routers=len(inside),
        free=counted(free), pieces=tuple(_pieces(kinds, steps)),
    )  # fmt: skip


def counted(number: int) -> str:
    """``18,446,744,073,709,551,614`` says nothing to anybody: about 2^64 does."""
    return f"{number:,}" if number < _SHOWN_IN_DIGITS else f"about 2^{number.bit_length()}"


def _pieces(kinds: dict[int, str], steps: int) -> Iterable[Piece]:
    begun: int | None = None
    for at in sorted(kinds):
        if begun is None or kinds[at] != kinds[begun] or at - 1 not in kinds or kinds[at - 1] != kinds[at]:
            begun = at
        if at + 1 not in kinds or kinds[at + 1] != kinds[at]:
            yield Piece(
                kind=kinds[at], x=round(begun * WIDTH / steps, 2), width=round((at + 1 - begun) * WIDTH / steps, 2)
            )
