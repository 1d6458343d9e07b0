"""The generated tables of settings: the core's, and those of the barclamps that are kept in this repository."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from markdown_parts import code, table

from crowbar_core.settings import Settings

_PLUGINS = Path(__file__).parent.parent / "plugins"
_EXAMPLES = "crowbar-example"


def of_core() -> str:
    rows = []
    for item in fields(Settings):
        name = item.name.upper() if item.name != "plugins" else "PLUGINS__NAME__KEY"
        rows.append((*_told(item), code(f"CROWBAR_{name}"), item.metadata["help"]))
    return table(("setting", "default", "in the environment", "what it does"), rows)


def of_barclamps() -> str:
    parts = []
    for name, kind in sorted(_barclamps()):
        parts.append(f"### `[plugins.{name}]`\n")
        rows = [(*_told(item), item.metadata.get("help", "")) for item in fields(kind)]
        parts.append(table(("setting", "default", "what it does"), rows))
    return "\n".join(parts)


def _barclamps() -> Iterator[tuple[str, Any]]:
    """Those that have settings: the barclamp's name, and the dataclass."""
    for project in _PLUGINS.glob("*/pyproject.toml"):
        if project.parent.name.startswith(_EXAMPLES):
            continue
        declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("entry-points", {})
        for module in declared.get("crowbar.barclamps", {}).values():
            found = importlib.import_module(module.partition(":")[0]).register_barclamp()
            if found.settings is not None:
                yield found.name, found.settings


def _told(item: Field[Any]) -> tuple[str, str]:
    return code(item.name), code("" if item.default is MISSING else _toml(item.default))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
