"""Finding, loading, checking and calling plugins, with every failure contained to the plugin that made it."""

from __future__ import annotations

from crowbar_core.brought import BARCLAMPS, HAMMERS, JIGS, QUEUES
from crowbar_core.plugins.entry_points import CORE_JIGS, find, load_one
from crowbar_core.plugins.loaded import CORE, Failure, Implementation, LoadedAttribute, LoadedBarclamp, LoadedRole
from crowbar_core.plugins.loading import load
from crowbar_core.plugins.registry import Registry

__all__ = [
    "BARCLAMPS",
    "CORE",
    "CORE_JIGS",
    "HAMMERS",
    "JIGS",
    "QUEUES",
    "Failure",
    "Implementation",
    "LoadedAttribute",
    "LoadedBarclamp",
    "LoadedRole",
    "Registry",
    "find",
    "load",
    "load_one",
]
