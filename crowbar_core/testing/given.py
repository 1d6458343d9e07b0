"""The barclamps that a testbed is given: what they are called, and which jigs they need."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from crowbar_core import plugins


def named(barclamp: ModuleType | object | str) -> tuple[str, Any]:
    """(name, plugin object), as the registry wants it."""
    plugin: Any = plugins.load_one(plugins.BARCLAMPS, barclamp) if isinstance(barclamp, str) else barclamp
    if isinstance(barclamp, str):
        return barclamp, plugin
    try:
        return plugin.register_barclamp().name, plugin
    except Exception:  # noqa: BLE001  what is wrong with it is said by the loader
        return getattr(plugin, "__name__", type(plugin).__name__), plugin


def jigs_of(loaded: Sequence[tuple[str, Any]]) -> set[str]:
    """The jigs that the barclamps' roles name and the core does not bring."""
    named: set[str] = set()
    for _, plugin in loaded:
        try:
            named |= {role.jig for role in plugin.register_barclamp().roles}
        except Exception:  # noqa: BLE001  the same
            continue
    return named - set(plugins.CORE_JIGS)
