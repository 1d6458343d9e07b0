"""What the sentences of a check are made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str:
    closest = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {closest[0]}?" if closest else "."


def last_sentence(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "nobody said why."
