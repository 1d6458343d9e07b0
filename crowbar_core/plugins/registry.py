"""What is loaded, and calling it: plugin by plugin, each failure contained.

pluggy loses all results when one implementation raises, so hooks are called one by one, in the dependency order of the
barclamps.
"""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from crowbar_core.barclamp import PROJECT, Attribute, Declared, Hammer, Jig, Json, NavItem, Panel, Problem, Schema
from crowbar_core.brought import HAMMERS, JIGS
from crowbar_core.domain.addresses import Hints
from crowbar_core.errors import BarclampError, CrowbarError, NotFound, told
from crowbar_core.logs import log
from crowbar_core.plugins.defined import Pictures, picture
from crowbar_core.plugins.entry_points import classes, distribution_of, entries_of
from crowbar_core.plugins.loaded import (
    CORE,
    Failure,
    Implementation,
    LoadedAttribute,
    LoadedBarclamp,
    LoadedRole,
    Seats,
)
from crowbar_core.plugins.order import in_order
from crowbar_core.plugins.published import Published
from crowbar_core.questions import REMEMBERED, Questions, Unanswered, subject_of
from crowbar_core.settings import Settings

S = TypeVar("S")
_WAY_OUT = "Mend or uninstall it, or list it in disabled_barclamps."
MAX_ANSWERS = 10_000
_ON_DELETE = ("_delete", "_unbind", "_leave")
"""What the names of hooks end with whose implementations are called in reverse order."""


class Registry:
    """What is loaded: barclamps, roles, attributes, jigs, and who implements which hook. Read-only once built, but for
    the roles that are defined at run time.
    """

    def __init__(
        self, settings: Settings, barclamps: Sequence[LoadedBarclamp], specs: Sequence[ModuleType], *,
        published: Mapping[str, Published] | None = None, jigs: Mapping[str, Jig] | None = None,
        hammers: Mapping[str, type[Hammer]] | None = None, installed: bool = True,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.published: Mapping[str, Published] = published or {}
        """The hooks of barclamps' own."""
        self.barclamps = tuple(barclamps)
        self._specs = tuple(specs)
        self.seats = Seats()
        self.given_up: dict[str, str] = {}
        """Barclamp -> why its tables are not there."""
        self._declare()
        self._hooks = _implementations(barclamps, specs, self.seats)
        self._unregistered: dict[tuple[str, str], str] = {}
        self.questions = Questions()
        self._hammers, self.failed_hammers = classes(HAMMERS, Hammer, installed=installed)
        self._hammers.update(hammers or {})
        jig_classes, self.failed_jigs = classes(JIGS, Jig, installed=installed)
        self.jigs: dict[str, Jig] = {}
        for name, make in jig_classes.items():
            try:
                self.jigs[name] = make(_config_of_jig(name, barclamps, settings))
            except Exception:  # noqa: BLE001  a package may do anything when it is loaded or called
                self.failed_jigs[name] = traceback.format_exc()
        self.jigs.update(jigs or {})

    # ------------------------------------------------------------ roles, declared and defined

    def _declare(self) -> None:
        self.declared_roles: Mapping[str, LoadedRole] = _roles(self.barclamps)
        self._declared_attributes = _attributes(self.barclamps)
        definitions = (one.definition for one in self.barclamps if one.state == "loaded")
        self.hints = Hints(hint for one in definitions if one is not None for hint in one.hints)
        self.pictures = Pictures(picture(-1, self.declared_roles, self._declared_attributes, ()))

    @property
    def roles(self) -> Mapping[str, LoadedRole]:
        return self.pictures.now.roles

    @property
    def attributes(self) -> Mapping[str, LoadedAttribute]:
        return self.pictures.now.attributes

    @property
    def undefined(self) -> Mapping[str, str]:
        """Role defined at run time -> why it cannot be (any more)."""
        return self.pictures.now.undefined

    @property
    def generation(self) -> int:
        """Up to which definition of a role this is known; -1: to none."""
        return self.pictures.now.generation

    def define(
        self, generation: int, definitions: Iterable[tuple[str, str, Mapping[str, Json]]], *, draft: bool = False
    ) -> None:
        """Know the roles that are defined at run time: (name, the role it is like, what it has that differs).
        ``draft``: only this thread does, until the end of ``pictures.drafting``.
        """
        new = picture(generation, self.declared_roles, self._declared_attributes, definitions)
        if draft:
            self.pictures.draft(new)
        else:
            self.pictures.show(new)

    def defines(self, barclamp: str) -> tuple[str, ...]:
        """Which names of roles a barclamp may define: patterns."""
        found = (one.definition for one in self.barclamps if one.name == barclamp)
        return next((one.defines for one in found if one is not None), ())

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

    def lacks(self, role: str, jig: str) -> str:
        """What a role that is not ready (its name, its jig's) lacks in order to run here."""
        if role in self.roles:
            return f"the jig {jig!r} is not installed"
        return "the barclamp that brings it is not loaded"

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

    def hammer_schema(self, name: str) -> Mapping[str, Json]:
        """The JSON Schema of a hammer's configuration; empty when it has none, or is not installed."""
        found = self._hammers.get(name)
        return {} if found is None else found.schema

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
            yield self.ask_one(implementation, hook, **arguments)

    def ask_one(self, implementation: Implementation, hook: str, **arguments: Any) -> tuple[str, Any | Failure]:
        """The same for one implementation."""
        answer = self.try_one(implementation, hook, **arguments)
        if isinstance(answer, Failure):
            self.note_unanswered(answer, **arguments)
        return implementation.plugin, answer

    def try_one(self, implementation: Implementation, hook: str, **arguments: Any) -> Any | Failure:
        """The answer of one implementation, or its failure, which nobody is shown: for those who ask again then."""
        try:
            return _whole(implementation(**arguments))
        except (Exception, SystemExit) as error:  # noqa: BLE001  a package may do anything when it is loaded or called
            return Failure(implementation.plugin, hook, told(error), traceback.format_exc())

    def question(self, hook: str) -> tuple[str, ...] | None:
        """The arguments of a question that barclamps may ask of each other. None: nobody publishes such a one."""
        if hook.startswith(("on_", "register_", "check_")) or hook == "jig_run":
            return None
        for spec in self._specs:
            function = getattr(spec, hook, None)
            if function is not None and hasattr(function, f"{PROJECT}_spec"):
                return tuple(inspect.signature(function).parameters)
        return None

    def note_unanswered(self, failure: Failure, **arguments: Any) -> None:
        """Remember that a plugin could not answer, or answered nonsense, so that operators are shown it."""
        if failure.hook in REMEMBERED or not hasattr(self._specs[0], failure.hook):
            self._note(failure, arguments)

    def _note(self, failure: Failure, arguments: Mapping[str, Any]) -> None:
        self.questions.note(
            Unanswered(
                plugin=failure.plugin, hook=failure.hook, subject=subject_of(arguments), error=failure.error,
                traceback=failure.traceback,
            )
        )  # fmt: skip

    def objections(self, hook: str, *, of: str | None = None, **arguments: Any) -> list[str]:
        """All objections of a ``check_…`` hook. An implementation that raises objects thereby."""
        said: list[str] = []
        for plugin, answer in self.ask(hook, of=of, **arguments):
            if isinstance(answer, Failure):
                self._note(answer, arguments)
                log.error("a check failed", hook=hook, plugin=plugin, error=answer.error, exception=answer.traceback)
                said.append(f"{plugin} could not check it ({answer.error}); see its page, or disable it.")
            elif wrong := _not_all(Problem, answer):
                said.append(f"{plugin} could not check it ({hook} returned {wrong}); see its page, or disable it.")
            else:
                said.extend(f"{plugin}: {p.detail}" for p in answer or () if p.severity == "error")
        return said

    def veto(self, implementation: Implementation, hook: str, **arguments: Any) -> None:
        """Call a hook that takes part in a transaction: what an implementation raises goes through, and undoes that."""
        try:
            _whole(implementation(**arguments))
        except CrowbarError:
            raise
        except (Exception, SystemExit) as error:
            if _breaks_a_rule(error):  # whoever opened the transaction knows the tables
                error.add_note(f"Barclamp {implementation.plugin}, in {hook}")
                raise
            raise BarclampError(
                f"Barclamp {implementation.plugin} failed in {hook}: {told(error)}. Nothing was changed."
            ) from error

    # ------------------------------------------------------------ barclamps' own hooks

    def published_hook(self, hook: str) -> Published:
        """A hook that a barclamp publishes. Raises ``BarclampError`` when none does."""
        if (found := self.published.get(hook)) is None:
            raise BarclampError(
                f"No loaded barclamp publishes a hook {hook}; there are: {', '.join(sorted(self.published)) or 'none'}."
            )
        return found

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

    def schemas(self) -> list[tuple[str, str]]:
        """(barclamp, package of its migrations) of those that have tables of their own."""
        found: list[tuple[str, str]] = []
        for plugin, answer in self.ask("register_schema"):
            self._unregistered.pop((plugin, "register_schema"), None)
            if isinstance(answer, Schema):
                found.append((plugin, str(answer.migrations)))
            else:
                said = answer.error if isinstance(answer, Failure) else f"it returned {type(answer).__name__}"
                self._unregistered[plugin, "register_schema"] = said
        return found

    def without_schema(self) -> dict[str, str]:
        """Barclamp -> why it could not say where its migrations are."""
        return {plugin: said for (plugin, hook), said in self._unregistered.items() if hook == "register_schema"}

    def give_up(self, errors: Mapping[str, str]) -> None:
        """Count these barclamps as failed after all, with those that require them: their tables are not there. Called
        before anything else uses what was loaded.
        """
        self.given_up |= errors
        marked = [
            replace(one, state="failed", error=errors[one.name], plugin=None, definition=None)
            if one.name in errors
            else one
            for one in self.barclamps
        ]
        self.barclamps = tuple(in_order(marked))
        self._declare()
        self._hooks = _implementations(self.barclamps, self._specs, self.seats)
        for name in errors:
            self._unregistered = {key: said for key, said in self._unregistered.items() if key[0] != name}

    def note_unregistered(self, barclamp: str, hook: str, error: str) -> None:
        """What it registers there could not be used."""
        self._unregistered[barclamp, hook] = error

    def nav(self) -> list[NavItem]:
        items = [item for _, found in self.registered("register_nav", NavItem) for item in found]
        return sorted(items, key=lambda item: (item.order, item.label))

    def settings_as(self, kind: type[S]) -> S:
        """What a barclamp declared as this dataclass. Raises ``LookupError`` for one that no loaded barclamp did."""
        for one in self.barclamps:
            if type(one.settings) is kind:
                return one.settings
        raise LookupError(
            f"No loaded barclamp declares {kind.__name__} as its settings: give it to Barclamp(settings=)."
        )

    def panels(self) -> list[tuple[str, Panel]]:
        """(barclamp, panel), in the order in which they are shown."""
        found = [(one.name, panel) for one, panels in self.registered("register_panels", Panel) for panel in panels]
        return sorted(found, key=lambda pair: (pair[1].order, pair[1].title))

    def declared(self) -> list[Declared]:
        """What is carried by `crowbar export` and `apply`, in the order in which it is applied. Of two that declare one
        collection, the core counts, else the first.
        """
        found: dict[str, Declared] = {}
        registered = self.registered("register_declared", Declared)
        for _, listed in sorted(registered, key=lambda pair: pair[0].name != CORE):
            for one in listed:
                found.setdefault(one.noun, one)
        return sorted(found.values(), key=lambda one: (one.order, one.noun))

    def problems(self) -> list[Problem]:
        """What is wrong with the installed packages themselves."""
        found = [
            Problem(
                detail=f"Barclamp {one.name} ({one.distribution}) could not be loaded: "
                f"{_sentence(_last_line(one.error))} {_WAY_OUT}"
            )
            for one in self.barclamps
            if one.state == "failed"
        ]
        found += [
            Problem(detail=f"Role {name}, defined at run time, cannot be any more: {_sentence(why)}")
            for name, why in self.undefined.items()
        ]
        found += [Problem(detail=f"Jig {n} could not be loaded: {_last_line(e)}") for n, e in self.failed_jigs.items()]
        found += [
            Problem(
                detail=f"Barclamp {plugin} failed in {hook}, and what it registers there is missing: "
                f"{_sentence(error)} {_WAY_OUT}"
            )
            for (plugin, hook), error in self._unregistered.items()
        ]
        return found

    def close(self) -> None:
        """Give back what the jigs keep open."""
        for jig in self.jigs.values():
            with contextlib.suppress(Exception):
                jig.close()


def _breaks_a_rule(error: BaseException) -> bool:
    """Whether it is the database's refusal of a row. Told by its name, as no plugin must know the store."""
    return type(error).__name__ == "IntegrityError" and hasattr(error, "orig")


def plugin_manager(specs: Sequence[ModuleType]) -> pluggy.PluginManager:
    pm = pluggy.PluginManager(PROJECT)
    for spec in specs:
        pm.add_hookspecs(spec)
    return pm


def _implementations(
    barclamps: Sequence[LoadedBarclamp], specs: Sequence[ModuleType], seats: Seats
) -> dict[str, tuple[Implementation, ...]]:
    pm = plugin_manager(specs)
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
                getattr(impl.function, "crowbar_roles", frozenset()), seats,
            )
            for impl in getattr(pm.hook, name).get_hookimpls()
        ]  # fmt: skip
        impls.sort(key=lambda impl: order[impl.plugin], reverse=name.endswith(_ON_DELETE))
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


def _config_of_jig(name: str, barclamps: Sequence[LoadedBarclamp], settings: Settings) -> Mapping[str, Json]:
    """The settings of the barclamp that the same package brings, so that a jig and its barclamp's hooks agree."""
    homes = {distribution_of(entry)[0] for entry in entries_of(JIGS) if entry.name == name}
    mates = [one for one in barclamps if one.distribution in homes and one.name != CORE]
    for one in mates:
        if one.settings is not None:
            own: Mapping[str, Json] = vars(one.settings)
            return own
    return settings.plugins.get(mates[0].name if mates else name, {})


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "unknown"
