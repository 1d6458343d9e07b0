"""What this barclamp asks others. Whoever answers imports nothing of it."""

from __future__ import annotations

from typing import Any

from crowbar_core import hookspec


@hookspec
def operating_systems() -> Any:
    """A directory with one file ``NAME.json`` for each operating system that the barclamp brings:
    ``importlib.resources.files("my_barclamp") / "oses"``."""
