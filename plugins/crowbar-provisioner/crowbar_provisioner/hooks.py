"""What this barclamp asks others, and tells them. Whoever answers or listens imports nothing of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crowbar_core import Intent, hookspec


@hookspec
def operating_systems() -> Any:
    """A directory with one file ``NAME.json`` for each operating system that the barclamp brings:
    ``importlib.resources.files("my_barclamp") / "oses"``."""


@hookspec
def on_machine_claim(node: str) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A machine that sleeps was claimed: work was bound to the node of this name, for which it is woken."""
