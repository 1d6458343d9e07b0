"""Finding and loading barclamps. One that cannot be loaded is listed with its traceback, and the rest goes on.

Of two packages that claim the same barclamp none is loaded, because nobody could say which is meant; of two that bring
a role or attribute of one name, the first.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pluggy

from crowbar_core import builtin, hookspecs
from crowbar_core.barclamp import PROJECT, Barclamp, Hammer, Jig
from crowbar_core.brought import BARCLAMPS
from crowbar_core.domain.attributes import check_declared
from crowbar_core.domain.names import plain_name
from crowbar_core.errors import BarclampError
from crowbar_core.plugins.entry_points import distribution_of, find, package_of, version_of
from crowbar_core.plugins.loaded import CORE, LoadedBarclamp
from crowbar_core.plugins.order import in_order, without_duplicates, without_role_cycles
from crowbar_core.plugins.own_settings import OwnSetting, read
from crowbar_core.plugins.published import Published, published
from crowbar_core.plugins.registry import Registry, plugin_manager
from crowbar_core.settings import Settings


def load(
    settings: Settings, *, extra: Iterable[tuple[str, Any]] = (), jigs: Mapping[str, Jig] | None = None,
    hammers: Mapping[str, type[Hammer]] | None = None, installed: bool = True,
) -> Registry:  # fmt: skip
    """Find and load everything that is installed and enabled.

    For tests: ``extra`` are (name, plugin object) beside it, ``jigs`` and ``hammers`` stand in for those of the same
    names, and without ``installed`` only the core's own is loaded with them.
    Never raises for what is wrong with a barclamp: it is listed as failed.
    """
    found = [_load_barclamp(CORE, builtin, "crowbar-core", version_of("crowbar-core"), settings)]
    if not settings.safe_mode:
        entries, plugins, failed = find(BARCLAMPS) if installed else ({}, {}, {})
        for name, entry in sorted(entries.items()):
            distribution, version = distribution_of(entry)
            package = package_of(entry.value.partition(":")[0])
            if name in settings.disabled_barclamps:
                found.append(
                    LoadedBarclamp(
                        name=name, distribution=distribution, version=version, package=package, state="disabled"
                    )
                )
            elif name in failed:
                found.append(
                    LoadedBarclamp(
                        name=name, distribution=distribution, version=version, package=package, state="failed",
                        error=failed[name],
                    )
                )  # fmt: skip
            else:
                found.append(_load_barclamp(name, plugins[name], distribution, version, settings, package))
        found.extend(_load_barclamp(name, plugin, name, "", settings) for name, plugin in extra)
    ordered = in_order(without_role_cycles(without_duplicates(found)))
    specs, own = [hookspecs], dict[str, Published]()
    for place, one in enumerate(ordered):
        if one.state == "loaded" and hasattr(one.plugin, "register_hookspecs"):
            try:
                spec = one.plugin.register_hookspecs()
                pluggy.PluginManager(PROJECT).add_hookspecs(spec)  # raises unless there is a hook in it
                own |= _without_twins(published(one.name, spec), own)
                specs.append(spec)
            except (Exception, SystemExit):  # noqa: BLE001  a package may do anything when it is loaded or called
                ordered[place] = replace(
                    one, state="failed", error=traceback.format_exc(), plugin=None, definition=None
                )
    ordered = in_order([_checked(one, specs) for one in ordered])
    return Registry(settings, ordered, specs, published=own, jigs=jigs, hammers=hammers, installed=installed)


def _without_twins(brought: Mapping[str, Published], known: Mapping[str, Published]) -> Mapping[str, Published]:
    for name in brought:
        whose = known[name].barclamp if name in known else "the core" if hasattr(hookspecs, name) else ""
        if whose:
            raise BarclampError(f"It publishes the hook {name}, as {whose} does already.")
    return brought


def _load_barclamp(
    name: str, plugin: Any, distribution: str, version: str, settings: Settings, package: str = ""
) -> LoadedBarclamp:
    package = package or getattr(plugin, "__package__", None) or package_of(type(plugin).__module__)
    base = LoadedBarclamp(name=name, distribution=distribution, version=version, package=package, plugin=plugin)
    try:
        with contextlib.redirect_stdout(sys.stderr or io.StringIO()):
            register = getattr(plugin, "register_barclamp", None)
            if register is None:
                raise BarclampError(
                    f"{distribution} has no register_barclamp; it is the one hook every barclamp must have."
                )
            definition = register()
        if not isinstance(definition, Barclamp):
            raise BarclampError(
                f"register_barclamp of {distribution} returned {type(definition).__name__}, not a Barclamp."
            )
        if definition.name != name:
            raise BarclampError(
                f"{distribution} registers the barclamp {definition.name!r} under the entry point {name!r}."
            )
        own: Any = None
        told: tuple[OwnSetting, ...] = ()
        if definition.settings is not None:
            own, told = read(name, definition.settings, settings.plugins.get(name, {}))
        for attribute in (*definition.attributes, *(a for role in definition.roles for a in role.attributes)):
            plain_name(attribute.name, what="attribute")
        check_declared("", definition.attributes, {})
        for role in definition.roles:
            plain_name(role.name, what="role")
            check_declared(role.name, role.attributes, role.template)
            if role.like:
                raise BarclampError(f"Role {role.name} is declared, so it can be like no other: leave out like=.")
            if role.jig == "python" and role.run is None:
                raise BarclampError(f"Role {role.name} has the jig 'python' but no function: set run=.")
    except (Exception, SystemExit):  # noqa: BLE001  a package may do anything when it is loaded or called
        return replace(base, state="failed", error=traceback.format_exc(), plugin=None)
    return replace(
        base, help=definition.help, requires=definition.requires, definition=definition, settings=own, own_settings=told
    )


def _checked(one: LoadedBarclamp, specs: Sequence[ModuleType]) -> LoadedBarclamp:
    """The barclamp with the names of its hooks; failed, if one of them is no hook."""
    if one.state != "loaded":
        return one
    pm = plugin_manager(specs)
    try:
        pm.register(one.plugin, one.name)
        pm.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        return replace(one, state="failed", error=_hook_error(str(error), specs), plugin=None)
    callers = pm.get_hookcallers(one.plugin) or ()
    return replace(one, hooks=tuple(sorted(caller.name for caller in callers if caller.spec is not None)))


def _hook_error(said: str, specs: Sequence[ModuleType]) -> str:
    """pluggy's words in one line, with the hook that was probably meant."""
    known = [name for spec in specs for name in dir(spec) if hasattr(getattr(spec, name), f"{PROJECT}_spec")]
    name = re.match(r"unknown hook '([^']+)'", said)
    if name is None:
        hook = re.search(r"for hook '([^']+)'", said)
        spec = next((getattr(one, hook[1]) for one in specs if hook and hasattr(one, hook[1])), None)
        there = f". Its arguments are: {', '.join(inspect.signature(spec).parameters) or 'none'}." if spec else ""
        return " ".join(said.split()) + there
    near = difflib.get_close_matches(name[1], known, n=1)
    return (
        f"There is no hook {name[1]}{f'; did you mean {near[0]}?' if near else '.'} The reference lists them all; "
        "one of a barclamp that need not be installed is implemented with @hookimpl(optional=True)."
    )
