"""Modules that are imported when something of theirs is first used: most commands never print YAML or draw a bar."""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """Stands for a module until then."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


def later(module: str) -> Any:
    """The module of that name, with all its attributes. Importing it may raise as late as they are used."""
    return Later(module)
