"""Finding, loading, checking and calling plugins, with every failure contained to the plugin that made it.

pluggy loses all results when one implementation raises, so hooks are called plugin by plugin, in the dependency order
of the barclamps. A barclamp that cannot be loaded is listed with its traceback, and the rest goes on; two packages that
claim the same name stop the start, because nobody could say which of them is meant.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import io
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from types import ModuleType
from typing import Any

import pluggy
from stevedore.extension import ExtensionManager

from crowbar_core import builtin, hookspecs
from crowbar_core.barclamp import PROJECT, Attribute, Barclamp, Hammer, Jig, Json, NavItem, Problem, Role
from crowbar_core.domain.attributes import check_schema
from crowbar_core.domain.names import plain_name
from crowbar_core.errors import BarclampError, ConfigError, CrowbarError, NotFound
from crowbar_core.questions import REMEMBERED, Questions, Unanswered, subject_of
from crowbar_core.settings import Settings

BARCLAMPS, JIGS, HAMMERS, QUEUES = "crowbar.barclamps", "crowbar.jigs", "crowbar.hammers", "crowbar.queues"
CORE = "crowbar"
CORE_JIGS = ("noop", "python")
MAX_ANSWERS = 10_000
_FLAGS_ON_DELETE = ("on_node_delete", "on_deployment_delete")


@dataclass(frozen=True, kw_only=True)
class LoadedRole:
    role: Role
    barclamp: str
    package: str


@dataclass(frozen=True, kw_only=True)
class LoadedAttribute:
    attribute: Attribute
    role: str | None
    barclamp: str


@dataclass(frozen=True, kw_only=True)
class LoadedBarclamp:
    """One entry point of the group ``crowbar.barclamps``: ``state`` is loaded, failed or disabled."""

    name: str
    help: str = ""
    distribution: str = ""
    version: str = ""
    package: str = ""
    requires: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    state: str = "loaded"
    error: str = ""
    definition: Barclamp | None = None
    plugin: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Implementation:
    """One plugin's implementation of one hook. ``roles`` empty: for all roles."""

    plugin: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    roles: frozenset[str]

    def __call__(self, **arguments: Any) -> Any:
        return self.function(**{name: arguments[name] for name in self.arguments})

    def wants(self, role: str | None) -> bool:
        return not self.roles or role in self.roles


@dataclass(frozen=True)
class Failure:
    """A hook implementation that raised."""

    plugin: str
    hook: str
    error: str
    traceback: str


class _EntryPoint:
    """An entry point whose loading raises nothing but ``Exception``, and prints nothing on standard output."""

    def __init__(self, inner: importlib.metadata.EntryPoint) -> None:
        self.name, self.value, self.group, self.dist = inner.name, inner.value, inner.group, inner.dist
        self._inner = inner

    def load(self) -> Any:
        with contextlib.redirect_stdout(sys.stderr or io.StringIO()):
            try:
                return self._inner.load()
            except SystemExit as error:
                raise ImportError(f"{self.value} called exit({error.code}) while it was imported") from error
            except AssertionError as error:  # stevedore lets these through, and nothing would start
                raise ImportError(f"an assertion of {self.value} failed while it was imported: {error}") from error


class _Extensions(ExtensionManager[Any]):
    """stevedore's manager over the live list of entry points: its own cache in the home directory is not used."""

    def list_entry_points(self) -> list[Any]:
        return [_EntryPoint(found) for found in importlib.metadata.entry_points(group=self.namespace)]


def find(group: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """All entry points of a group: (name -> entry point, name -> loaded object, name -> traceback of a failed load).

    Raises ``ConfigError`` if two distributions claim one name.
    """
    failed: dict[str, str] = {}

    def note(_manager: Any, entry_point: Any, error: BaseException) -> None:
        failed[entry_point.name] = "".join(traceback.format_exception(error))

    manager = _Extensions(group, on_load_failure_callback=note)
    entries: dict[str, Any] = {}
    for entry in manager.list_entry_points():
        if (other := entries.get(entry.name)) is not None and other.value != entry.value:
            raise ConfigError(
                f"Two packages bring {group} named {entry.name!r}: {_dist(other)[0]} and "
                f"{_dist(entry)[0]}. Uninstall one."
            )
        entries[entry.name] = entry
    return entries, {extension.name: extension.plugin for extension in manager.extensions}, failed


def load_one(group: str, name: str) -> Any:
    """The object behind one entry point. Raises ``ConfigError`` when there is none or it cannot be loaded."""
    for entry in importlib.metadata.entry_points(group=group):
        if entry.name == name:
            try:
                return _EntryPoint(entry).load()
            except Exception as error:
                raise ConfigError(f"{group} {name!r} cannot be loaded: {type(error).__name__}: {error}.") from error
    known = sorted({entry.name for entry in importlib.metadata.entry_points(group=group)})
    raise ConfigError(f"There is no {group} named {name!r}; there are: {', '.join(known) or 'none'}.")


class Registry:
    """What is loaded: barclamps, roles, attributes, jigs, and who implements which hook. Read-only once built."""

    def __init__(
        self, settings: Settings, barclamps: Sequence[LoadedBarclamp], specs: Sequence[ModuleType], *,
        jigs: Mapping[str, Jig] | None = None, installed: bool = True,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.barclamps = tuple(barclamps)
        self.roles: Mapping[str, LoadedRole] = _roles(barclamps)
        self.attributes: Mapping[str, LoadedAttribute] = _attributes(barclamps)
        self._hooks = _implementations(barclamps, specs)
        self._unregistered: dict[tuple[str, str], str] = {}
        self.questions = Questions()
        self._hammers, self.failed_hammers = _classes(HAMMERS, Hammer, installed=installed)
        classes, self.failed_jigs = _classes(JIGS, Jig, installed=installed)
        self.jigs: dict[str, Jig] = {}
        for name, make in classes.items():
            try:
                self.jigs[name] = make(_config_of_jig(name, barclamps, settings))
            except Exception:  # noqa: BLE001  a package may do anything when it is loaded or called
                self.failed_jigs[name] = traceback.format_exc()
        self.jigs.update(jigs or {})

    # ------------------------------------------------------------ looking up

    def role(self, name: str) -> LoadedRole:
        try:
            return self.roles[name]
        except KeyError:
            raise NotFound(f"No installed barclamp brings a role {name!r}. See: crowbar roles list.") from None

    def attribute(self, name: str) -> LoadedAttribute:
        try:
            return self.attributes[name]
        except KeyError:
            raise NotFound(f"No installed barclamp brings an attribute {name!r}. See: crowbar attribs list.") from None

    def attributes_of(self, role: str) -> tuple[Attribute, ...]:
        return self.roles[role].role.attributes if role in self.roles else ()

    @property
    def plugins(self) -> tuple[str, ...]:
        """Names of the loaded plugins, in dependency order; the core's own is the first."""
        return tuple(one.name for one in self.barclamps if one.state == "loaded")

    @property
    def hammers(self) -> tuple[str, ...]:
        return tuple(sorted(self._hammers))

    def hammer(self, name: str, config: Mapping[str, Json]) -> Hammer:
        """A hammer for one node. Raises ``NotFound`` when no installed package brings it."""
        if name not in self._hammers:
            raise NotFound(
                f"No installed package brings a hammer {name!r}; there are: {', '.join(self.hammers) or 'none'}."
            )
        made: Hammer = self._hammers[name](config)
        return made

    # ------------------------------------------------------------ calling

    def implementations(self, hook: str, *, role: str | None = None) -> tuple[Implementation, ...]:
        """Who implements ``hook`` (for ``role``), in the order in which they are to be called."""
        found = self._hooks.get(hook, ())
        return tuple(one for one in found if one.wants(role)) if role is not None else found

    def listens(self, hook: str) -> bool:
        return bool(self._hooks.get(hook))

    def ask(self, hook: str, *, of: str | None = None, **arguments: Any) -> Iterator[tuple[str, Any | Failure]]:
        """Call ``hook`` plugin by plugin: (plugin, its answer or its failure). ``of``: the role that the question is
        about.
        """
        for implementation in self.implementations(hook, role=of):
            try:
                answer = _whole(implementation(**arguments))
            except (Exception, SystemExit) as error:  # noqa: BLE001  a package may do anything when it is loaded or called
                answer = Failure(
                    implementation.plugin, hook, f"{type(error).__name__}: {error}", traceback.format_exc()
                )
                self.note_unanswered(answer, **arguments)
            yield implementation.plugin, answer

    def note_unanswered(self, failure: Failure, **arguments: Any) -> None:
        """Remember that a plugin could not answer, or answered nonsense, so that operators are shown it."""
        if failure.hook in REMEMBERED:
            about = subject_of(arguments)
            self.questions.note(
                Unanswered(
                    plugin=failure.plugin, hook=failure.hook, subject=about, error=failure.error,
                    traceback=failure.traceback,
                )
            )  # fmt: skip

    def objections(self, hook: str, *, of: str | None = None, **arguments: Any) -> list[str]:
        """All objections of a ``check_…`` hook. An implementation that raises objects thereby."""
        said: list[str] = []
        for plugin, answer in self.ask(hook, of=of, **arguments):
            if isinstance(answer, Failure):
                said.append(f"{plugin} could not check it ({answer.error}); see its page, or disable it.")
            elif wrong := _not_all(Problem, answer):
                said.append(f"{plugin} could not check it ({hook} returned {wrong}); see its page, or disable it.")
            else:
                said.extend(f"{plugin}: {p.detail}" for p in answer or () if p.severity == "error")
        return said

    def veto(self, hook: str, *, of: str | None = None, **arguments: Any) -> None:
        """Call ``on_node_bind`` or ``on_commit``: what an implementation raises goes through, and undoes the
        transaction.
        """
        for implementation in self.implementations(hook, role=of):
            self.veto_one(implementation, hook, **arguments)

    def veto_one(self, implementation: Implementation, hook: str, **arguments: Any) -> None:
        """The same for one implementation."""
        try:
            implementation(**arguments)
        except CrowbarError:
            raise
        except (Exception, SystemExit) as error:
            raise BarclampError(
                f"Barclamp {implementation.plugin} failed in {hook}: {type(error).__name__}: "
                f"{error}. Nothing was changed."
            ) from error

    # ------------------------------------------------------------ registration

    def registered(self, hook: str, kind: type = object) -> list[tuple[LoadedBarclamp, list[Any]]]:
        """What each plugin registers through a ``register_…`` hook that returns several of ``kind``.

        One that raises, or returns something else, registers nothing: ``problems`` tells of it, and the rest goes on.
        """
        by_name = {one.name: one for one in self.barclamps}
        found: list[tuple[LoadedBarclamp, list[Any]]] = []
        for plugin, answer in self.ask(hook):
            self._unregistered.pop((plugin, hook), None)
            if isinstance(answer, Failure):
                self._unregistered[plugin, hook] = answer.error
            elif wrong := _not_all(kind, answer):
                self._unregistered[plugin, hook] = f"it returned {wrong}"
            else:
                found.append((by_name[plugin], list(answer or ())))
        return found

    def blueprints(self) -> list[tuple[LoadedBarclamp, list[Any]]]:
        return self.registered("register_blueprints")

    def commands(self) -> list[Any]:
        return [command for _, commands in self.registered("register_commands") for command in commands]

    def schemas(self) -> list[tuple[str, str]]:
        """(barclamp, package of its migrations) of those that have tables of their own."""
        return [(i.plugin, str(i().migrations)) for i in self.implementations("register_schema")]

    def nav(self) -> list[NavItem]:
        items = [item for _, found in self.registered("register_nav", NavItem) for item in found]
        return sorted(items, key=lambda item: (item.order, item.label))

    def problems(self) -> list[Problem]:
        """What is wrong with the installed packages themselves."""
        found = [
            Problem(detail=f"Barclamp {one.name} ({one.distribution}) could not be loaded: {_last_line(one.error)}")
            for one in self.barclamps
            if one.state == "failed"
        ]
        found += [Problem(detail=f"Jig {n} could not be loaded: {_last_line(e)}") for n, e in self.failed_jigs.items()]
        found += [
            Problem(detail=f"Barclamp {plugin} failed in {hook}, and what it registers there is missing: {error}")
            for (plugin, hook), error in self._unregistered.items()
        ]
        return found

    def close(self) -> None:
        """Give back what the jigs keep open."""
        for jig in self.jigs.values():
            with contextlib.suppress(Exception):
                jig.close()


def load(
    settings: Settings, *, extra: Iterable[tuple[str, Any]] = (), jigs: Mapping[str, Jig] | None = None,
    installed: bool = True,
) -> Registry:  # fmt: skip
    """Find and load everything that is installed and enabled.

    For tests: ``extra`` are (name, plugin object) beside it, ``jigs`` stand in for those of the same names, and without
    ``installed`` only the core's own is loaded with them.
    Raises ``ConfigError`` for names that two packages claim.
    """
    found = [_load_barclamp(CORE, builtin, "crowbar-core", _version("crowbar-core"), settings)]
    if not settings.safe_mode:
        entries, plugins, failed = find(BARCLAMPS) if installed else ({}, {}, {})
        for name, entry in sorted(entries.items()):
            distribution, version = _dist(entry)
            package = _package_of(entry.value.partition(":")[0])
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
    _refuse_duplicates(found)
    ordered = _in_order(_without_role_cycles(found))
    specs = [hookspecs]
    for place, one in enumerate(ordered):
        if one.state == "loaded" and hasattr(one.plugin, "register_hookspecs"):
            try:
                spec = one.plugin.register_hookspecs()
                pluggy.PluginManager(PROJECT).add_hookspecs(spec)  # raises unless there is a hook in it
                specs.append(spec)
            except (Exception, SystemExit):  # noqa: BLE001  a package may do anything when it is loaded or called
                ordered[place] = replace(
                    one, state="failed", error=traceback.format_exc(), plugin=None, definition=None
                )
    ordered = [_checked(one, specs) for one in ordered]
    return Registry(settings, ordered, specs, jigs=jigs, installed=installed)


# ---------------------------------------------------------------- loading


def _load_barclamp(
    name: str, plugin: Any, distribution: str, version: str, settings: Settings, package: str = ""
) -> LoadedBarclamp:
    package = package or getattr(plugin, "__package__", None) or _package_of(type(plugin).__module__)
    base = LoadedBarclamp(name=name, distribution=distribution, version=version, package=package, plugin=plugin)
    try:
        with contextlib.redirect_stdout(sys.stderr or io.StringIO()):
            if callable(configure := getattr(plugin, "configure", None)):
                configure(settings.plugins.get(name, {}))
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
        for attribute in (*definition.attributes, *(a for role in definition.roles for a in role.attributes)):
            plain_name(attribute.name, what="attribute")
            check_schema(attribute)
        for role in definition.roles:
            plain_name(role.name, what="role")
            if role.jig == "python" and role.run is None:
                raise BarclampError(f"Role {role.name} has the jig 'python' but no function: set run=.")
    except (Exception, SystemExit):  # noqa: BLE001  a package may do anything when it is loaded or called
        return replace(base, state="failed", error=traceback.format_exc(), plugin=None)
    return replace(base, help=definition.help, requires=definition.requires, definition=definition)


def _checked(one: LoadedBarclamp, specs: Sequence[ModuleType]) -> LoadedBarclamp:
    """The barclamp with the names of its hooks; failed, if one of them is no hook."""
    if one.state != "loaded":
        return one
    pm = _plugin_manager(specs)
    try:
        pm.register(one.plugin, one.name)
        pm.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        return replace(one, state="failed", error=_hook_error(str(error), specs), plugin=None)
    return replace(one, hooks=tuple(sorted(caller.name for caller in pm.get_hookcallers(one.plugin) or ())))


def _hook_error(said: str, specs: Sequence[ModuleType]) -> str:
    """pluggy's words in one line, with the hook that was probably meant."""
    known = [name for spec in specs for name in dir(spec) if hasattr(getattr(spec, name), f"{PROJECT}_spec")]
    name = re.match(r"unknown hook '([^']+)'", said)
    if name is None:
        return " ".join(said.split())
    near = difflib.get_close_matches(name[1], known, n=1)
    return f"There is no hook {name[1]}{f'; did you mean {near[0]}?' if near else '.'} The reference lists them all."


def _plugin_manager(specs: Sequence[ModuleType]) -> pluggy.PluginManager:
    pm = pluggy.PluginManager(PROJECT)
    for spec in specs:
        pm.add_hookspecs(spec)
    return pm


def _implementations(
    barclamps: Sequence[LoadedBarclamp], specs: Sequence[ModuleType]
) -> dict[str, tuple[Implementation, ...]]:
    pm = _plugin_manager(specs)
    order: dict[str, int] = {}
    for place, one in enumerate(barclamps):
        if one.state == "loaded":
            pm.register(one.plugin, one.name)
            order[one.name] = place
    order[CORE] = len(order) + len(barclamps)  # the core answers last, so that a plugin may answer before it
    found: dict[str, tuple[Implementation, ...]] = {}
    for name in {hook for one in barclamps if one.state == "loaded" for hook in one.hooks}:
        impls = [
            Implementation(
                impl.plugin_name, impl.function, tuple(impl.argnames),
                getattr(impl.function, "crowbar_roles", frozenset()),
            )
            for impl in getattr(pm.hook, name).get_hookimpls()
        ]  # fmt: skip
        impls.sort(key=lambda impl: order[impl.plugin], reverse=name in _FLAGS_ON_DELETE)
        found[name] = tuple(impls)
    return found


def _roles(barclamps: Sequence[LoadedBarclamp]) -> dict[str, LoadedRole]:
    return {
        role.name: LoadedRole(role=role, barclamp=one.name, package=one.package)
        for one in barclamps
        if one.state == "loaded" and one.definition
        for role in one.definition.roles
    }


def _attributes(barclamps: Sequence[LoadedBarclamp]) -> dict[str, LoadedAttribute]:
    found: dict[str, LoadedAttribute] = {}
    for one in barclamps:
        if one.state == "loaded" and one.definition:
            for attribute in one.definition.attributes:
                found[attribute.name] = LoadedAttribute(attribute=attribute, role=None, barclamp=one.name)
            for role in one.definition.roles:
                for attribute in role.attributes:
                    found[attribute.name] = LoadedAttribute(attribute=attribute, role=role.name, barclamp=one.name)
    return found


def _refuse_duplicates(barclamps: Sequence[LoadedBarclamp]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for one in barclamps:
        definition = one.definition
        if definition is None:
            continue
        names = [("barclamp", one.name), *(("role", role.name) for role in definition.roles)]
        names += [("attribute", a.name) for a in definition.attributes]
        names += [("attribute", a.name) for role in definition.roles for a in role.attributes]
        for kind, name in names:
            if (other := seen.get((kind, name))) is not None:
                raise ConfigError(
                    f"Two packages bring the {kind} {name!r}: {other} and {one.distribution}. "
                    f"Uninstall one, or list its barclamp in disabled_barclamps."
                )
            seen[(kind, name)] = one.distribution


def _without_role_cycles(barclamps: Sequence[LoadedBarclamp]) -> list[LoadedBarclamp]:
    """Fail the barclamps whose roles require each other in a circle, naming the path."""
    kept = list(barclamps)
    while True:
        roles = {role.name: (one, role) for one in kept if one.definition for role in one.definition.roles}
        owners = {a.name: role.name for _, role in roles.values() for a in role.attributes}
        graph = {
            name: {
                parent
                for parent in (*role.requires, *(owners.get(w, "") for w in role.wants))
                if parent in roles and parent != name
            }
            | {other for other, (_, o) in roles.items() if name in (*o.attaches, *o.precedes)}
            for name, (_, role) in roles.items()
        }
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            path = list(reversed(error.args[1]))
            culprits = {roles[name][0].name for name in path}
            message = f"Its roles require each other in a circle: {' -> '.join(path)}."
            kept = [
                replace(one, state="failed", error=message, definition=None, plugin=None)
                if one.name in culprits
                else one
                for one in kept
            ]
            continue
        return kept


def _in_order(barclamps: Sequence[LoadedBarclamp]) -> list[LoadedBarclamp]:
    """Dependency order; barclamps that require what is missing, or each other, fail."""
    by_name = {one.name: one for one in barclamps}
    while True:
        loaded = {name: one for name, one in by_name.items() if one.state == "loaded"}
        missing = {n: [r for r in one.requires if r not in loaded] for n, one in loaded.items()}
        bad = {
            n: f"It requires the barclamp {names[0]!r}, which is not loaded." for n, names in missing.items() if names
        }
        if not bad:
            graph = {name: set(one.requires) for name, one in sorted(loaded.items())}
            try:
                order = [CORE, *(n for n in TopologicalSorter(graph).static_order() if n != CORE)]
                rest = [one for one in by_name.values() if one.state != "loaded"]
                return [by_name[name] for name in order] + rest
            except CycleError as error:
                path = " -> ".join(error.args[1])
                bad = dict.fromkeys(error.args[1], f"Barclamps require each other in a circle: {path}.")
        for name, message in bad.items():
            by_name[name] = replace(by_name[name], state="failed", error=message, plugin=None, definition=None)


def _whole(answer: Any) -> Any:
    """A generator's answers as a list, so that it raises here, where that is contained; anything else as it is."""
    if not isinstance(answer, Iterator):
        return answer
    taken = list(islice(answer, MAX_ANSWERS + 1))
    if len(taken) > MAX_ANSWERS:
        raise ValueError(f"it returned more than {MAX_ANSWERS} answers")
    return taken


def _not_all(kind: type, answer: Any) -> str:
    """What is wrong with an answer that should be several of ``kind``; '' when nothing is."""
    if answer is None:
        return ""
    if isinstance(answer, str | Mapping) or not isinstance(answer, Iterable):
        return f"{type(answer).__name__}, not several things"
    return next((f"a {type(one).__name__}, not {kind.__name__}" for one in answer if not isinstance(one, kind)), "")


def _classes(group: str, base: type, *, installed: bool) -> tuple[dict[str, Any], dict[str, str]]:
    if installed:
        _, classes, failed = find(group)
    else:
        classes, failed = {name: load_one(group, name) for name in CORE_JIGS if group == JIGS}, {}
    good: dict[str, Any] = {}
    for name, found in classes.items():
        if isinstance(found, type) and issubclass(found, base):
            good[name] = found
        else:
            failed[name] = f"{found!r} is no subclass of {base.__name__}."
    return good, failed


def _package_of(module: str) -> str:
    """The package that a loaded module is in: where the scripts of its roles lie."""
    return getattr(sys.modules.get(module), "__package__", None) or module


def _config_of_jig(name: str, barclamps: Sequence[LoadedBarclamp], settings: Settings) -> Mapping[str, Json]:
    """The settings of the barclamp that the same package brings, so that a jig and its barclamp's hooks agree."""
    homes = {_dist(entry)[0] for entry in importlib.metadata.entry_points(group=JIGS) if entry.name == name}
    for one in barclamps:
        if one.distribution in homes and one.name != CORE:
            return settings.plugins.get(one.name, {})
    return settings.plugins.get(name, {})


def _dist(entry: Any) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist is not None else (entry.value, "")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "unknown"
