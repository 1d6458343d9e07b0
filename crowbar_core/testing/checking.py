"""What can be said of a barclamp without a cluster: all that would otherwise be found out on somebody's nodes."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import inspect
import io
import re
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from flask import Blueprint, Flask
from jinja2 import TemplateError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from crowbar_core import brought, hookspecs, plugins
from crowbar_core.barclamp import Barclamp, NavItem, Panel, Periodic, Problem, Role, Service
from crowbar_core.errors import BadInput, BarclampError, CrowbarError
from crowbar_core.plugins import LoadedBarclamp, Registry
from crowbar_core.plugins.loaded import names_match
from crowbar_core.services.build import build_parts
from crowbar_core.services.turns.parts import Parts
from crowbar_core.settings import Settings, load_settings
from crowbar_core.store import published
from crowbar_core.testing.clashes import beside_others, blueprint_of_another, commands_of_others, names_of_others
from crowbar_core.testing.columns import wrong_bodies, wrong_columns
from crowbar_core.testing.fitting import wrong_answers, wrong_commands, wrong_tables
from crowbar_core.testing.scripts import wrong_scripts
from crowbar_core.testing.wording import last_sentence, near
from crowbar_core.web.app import add_blueprint, create_app, permissions

_HOOKS = frozenset(name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name[0] != "_")


def check_barclamp(what: ModuleType | object | str, *, taken_commands: Collection[str] = ()) -> list[Problem]:
    """All that is wrong with a barclamp, errors first; nothing is when the list is empty.

    ``what`` is a module or plugin object, the name of an installed entry point, or that of an importable module. What
    its roles require is looked for in all installed barclamps. ``taken_commands``: what its commands may not be called.
    """
    checker = _Checker(taken_commands)
    checker.check(what)
    return sorted(checker.problems, key=lambda problem: problem.severity)


def check_package(directory: Path, *, taken_commands: Collection[str] = ()) -> dict[str, list[Problem]]:
    """The same for each barclamp of a package that need not be installed: entry-point name -> what is wrong.

    ``directory`` is where its pyproject.toml is; it stays importable in this process. Raises ``BadInput`` when there is
    no barclamp in it.
    """
    try:
        project = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        entries: dict[str, str] = project["entry-points"][plugins.BARCLAMPS]
        brings: dict[str, str] = project["entry-points"].get(brought.COMMANDS, {})
        commands = [EntryPoint(name, target, brought.COMMANDS) for name, target in brings.items()]
    except OSError as error:
        raise BadInput(f"There is no package in {directory}: its pyproject.toml cannot be read.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{directory}/pyproject.toml is not TOML: {error}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f'{directory}/pyproject.toml names no barclamp: it has no [project.entry-points."{plugins.BARCLAMPS}"].'
        ) from error
    for place in (directory / "src", directory):
        if place.is_dir() and str(place.resolve()) not in sys.path:
            sys.path.insert(0, str(place.resolve()))
    importlib.invalidate_caches()
    found: dict[str, list[Problem]] = {}
    for name, target in entries.items():
        entry = EntryPoint(name, target, plugins.BARCLAMPS)
        checker = _Checker(
            taken_commands, entry=entry, commands=commands, needs=project.get("dependencies", ()),
            package=str(project.get("name", "")),
        )  # fmt: skip
        checker.check(name)
        found[name] = sorted(checker.problems, key=lambda problem: problem.severity)
    return found


class _Checker:
    def __init__(
        self, taken_commands: Collection[str], *, entry: EntryPoint | None = None,
        commands: Iterable[EntryPoint] = (), needs: Iterable[str] = (), package: str = "",
    ) -> None:  # fmt: skip
        self.problems: list[Problem] = []
        self.taken_commands = frozenset(taken_commands)
        self.entry = entry
        self.commands = tuple(commands)
        self.needs = tuple(needs)
        self.package = package

    def error(self, detail: str) -> None:
        self.problems.append(Problem(detail=detail))

    def warn(self, detail: str) -> None:
        self.problems.append(Problem(detail=detail, severity="warning"))

    # ------------------------------------------------------------ one after another, as far as it leads

    def check(self, what: ModuleType | object | str) -> None:
        plugin = self._import(what) if isinstance(what, str) else what
        if plugin is None:
            return
        definition = self._definition(plugin)
        if definition is None:
            return
        self._hooks(plugin, definition)
        self._roles(definition)
        with tempfile.TemporaryDirectory(prefix="crowbar-check-") as directory:
            settings = load_settings(environ={}, data_dir=directory, disabled_barclamps=(definition.name,))
            loaded = self._load(plugin, definition, settings)
            if loaded is None:
                return
            one, registry = loaded
            self._entry_point(plugin, definition)
            self._relations(definition, registry)
            self._jigs(definition, registry)
            self.problems.extend(wrong_scripts(definition, one.package, _told(definition, registry)))
            commands = self._commands()
            self._on_a_core(plugin, definition, settings, commands)

    def _import(self, name: str) -> Any:
        """The plugin behind the name of an entry point, else of a module."""
        known = importlib.metadata.entry_points(group=plugins.BARCLAMPS)
        entries = [entry for entry in known if entry.name == name] if self.entry is None else [self.entry]
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                plugin = entries[0].load() if entries else importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  an import may raise anything
            if not entries and isinstance(error, ModuleNotFoundError) and _is_part(error.name, name):
                self.error(
                    f"There is neither an installed barclamp nor a module {name!r}. "
                    f"Installed are: {', '.join(sorted(one.name for one in known)) or 'none'}."
                )
            else:
                where = entries[0].value if entries else name
                self.error(f"{where} cannot be imported: {_where(error)}{type(error).__name__}: {error}.")
            return None
        if entries:
            self.entry = entries[0]
            self.commands = self.commands or tuple(brought.commands_beside(self.entry))
        if said.getvalue():
            self.warn(f"{name} prints while it is imported: {said.getvalue().strip().splitlines()[0][:80]!r}.")
        return plugin

    def _definition(self, plugin: Any) -> Barclamp | None:
        register = getattr(plugin, "register_barclamp", None)
        if register is None:
            self.error("It has no register_barclamp, the one hook that every barclamp must have.")
            return None
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                definition = register()
        except (Exception, SystemExit) as error:  # noqa: BLE001  a hook may raise anything
            self.error(f"register_barclamp raises: {_where(error)}{type(error).__name__}: {error}.")
            return None
        if not isinstance(definition, Barclamp):
            self.error(f"register_barclamp returns {type(definition).__name__}, not a Barclamp.")
            return None
        if self.entry is not None and self.entry.name != definition.name:
            self.error(f"It is called {definition.name!r}, but its entry point {self.entry.name!r}.")
            return None
        return definition

    def _load(self, plugin: Any, definition: Barclamp, settings: Settings) -> tuple[LoadedBarclamp, Registry] | None:
        """As the core loads it, beside all that is installed. Schemas, defaults, cycles and hooks are checked there."""
        try:
            registry = plugins.load(settings, extra=[(definition.name, plugin)])
        except CrowbarError as error:
            self.error(error.detail)
            return None
        one = next(one for one in registry.barclamps if one.name == definition.name and one.state != "disabled")
        if one.state != "loaded":
            self.error(f"It cannot be loaded: {last_sentence(one.error)}")
            return None
        return one, registry

    # ------------------------------------------------------------ names and hooks

    def _hooks(self, plugin: Any, definition: Barclamp) -> None:
        own = {role.name for role in definition.roles}
        for name in dir(plugin):
            function = getattr(plugin, name, None)
            marked = inspect.isroutine(function) and hasattr(function, "crowbar_impl")
            if name in _HOOKS and callable(function) and not marked and name != "register_barclamp":
                self.error(f"{name} is not marked with @hookimpl, so that nobody calls it.")
            limits: frozenset[str] = getattr(function, "crowbar_roles", frozenset()) if marked else frozenset()
            if marked and getattr(function, "crowbar_impl", {}).get("optionalhook"):
                continue  # another one's hook or roles
            known = own | set(definition.defines)
            for role in sorted(one for one in limits - known if not any(names_match(name, [one]) for name in own)):
                self.warn(f"{name} is limited to the role {role!r}, which is not its own{near(role, own)}")

    def _entry_point(self, plugin: Any, definition: Barclamp) -> None:
        if self.entry is not None or not isinstance(plugin, ModuleType):
            return
        entries = importlib.metadata.entry_points(group=plugins.BARCLAMPS)
        if not any(entry.module.partition(":")[0] == plugin.__name__ for entry in entries):
            line = f'{definition.name} = "{plugin.__name__}"'
            self.warn(
                f"No installed package has an entry point for {plugin.__name__}: put {line} into "
                f'[project.entry-points."{plugins.BARCLAMPS}"], and install it with pip.'
            )

    # ------------------------------------------------------------ roles

    def _roles(self, definition: Barclamp) -> None:
        for role in definition.roles:
            for name, times in _repeated((*role.requires, *role.wants)):
                self.warn(f"Role {role.name} names {name} {times} times.")
            if role.name in (*role.requires, *role.attaches, *role.precedes, *role.conflicts):
                self.error(f"Role {role.name} names itself among its relations.")
            if role.timeout is not None and not role.timeout > 0:
                self.error(f"Role {role.name} has a timeout of {role.timeout!r} seconds; it must be more than 0.")
            if role.max_attempts < 0:
                self.error(f"Role {role.name} may be tried {role.max_attempts!r} times; 0 means for ever.")
            if role.max_attempts == 0 and role.destructive:
                self.error(f"Role {role.name} is destructive, and so cannot be tried for ever (max_attempts=0).")
            if not role.gather >= 0:
                self.error(f"Role {role.name} gathers changes for {role.gather!r} seconds; it must be 0 at least.")
            elif role.gather and role.on_change == "rerun":
                self.warn(f"Role {role.name} gathers changes, but what changes makes it run again at once (on_change).")
            if role.run is not None and role.jig != "python":
                self.error(f"Role {role.name} has a function (run=), which its jig {role.jig!r} does not call.")

    def _relations(self, definition: Barclamp, registry: Registry) -> None:
        answering = {name for one in registry.roles.values() for name in (one.role.name, *one.role.provides)}
        homes = {name: one.barclamp for name, one in registry.roles.items()}
        dependencies = self._dependencies(registry, definition)
        for role in definition.roles:
            for name in role.requires:
                if name not in answering:
                    self.error(
                        f"Role {role.name} requires {name!r}, which no installed barclamp brings{near(name, answering)}"
                    )
                elif not _providers(registry, name):
                    self.error(f"Role {role.name} requires {name}, which is abstract, and nothing provides it.")
                else:
                    self._foreign(role, "requires", name, homes.get(name), dependencies, registry)
            self._places(role, registry)
            for name in role.wants:
                if name not in registry.attributes:
                    self.error(
                        f"Role {role.name} wants the attribute {name!r}, which no installed barclamp brings"
                        f"{near(name, registry.attributes)}"
                    )
                else:
                    home = registry.attributes[name].barclamp
                    self._foreign(role, "wants", name, home, dependencies, registry)
            for relation in ("attaches", "precedes", "conflicts"):
                for name in getattr(role, relation):
                    if name not in answering:
                        self.warn(
                            f"Role {role.name} {relation} {name!r}, which no installed barclamp brings"
                            f"{near(name, answering)}"
                        )

    def _places(self, role: Role, registry: Registry) -> None:
        """Do two of the values that its runs get lie at one place?"""
        wanted = [registry.attributes[name].attribute for name in role.wants if name in registry.attributes]
        seen: dict[tuple[str, ...], str] = {}
        for attribute in (*role.attributes, *wanted):
            if seen.setdefault(attribute.path, attribute.name) != attribute.name:
                self.error(
                    f"Role {role.name} gets {seen[attribute.path]} and {attribute.name} at one place, "
                    f"{'/'.join(attribute.path)}: give one of them another map."
                )

    def _foreign(
        self, role: Role, relation: str, name: str, home: str | None, dependencies: frozenset[str], registry: Registry
    ) -> None:
        """Something of another barclamp is needed: does the package say so?"""
        if home is None or home in (plugins.CORE, *dependencies):
            return
        distribution = next(one.distribution for one in registry.barclamps if one.name == home)
        if brought.plain(distribution) not in dependencies:
            self.warn(
                f"Role {role.name} {relation} {name} of the barclamp {home}: "
                f"name {distribution} among the dependencies of the package."
            )

    def _dependencies(self, registry: Registry, definition: Barclamp) -> frozenset[str]:
        """Barclamps that it needs by name, and distributions that its own depends on."""
        found = {definition.name, *definition.requires}
        found |= {brought.plain(re.split(r"[^A-Za-z0-9._-]", need)[0]) for need in self.needs}
        for entry in importlib.metadata.entry_points(group=plugins.BARCLAMPS):
            if entry.name == definition.name and entry.dist is not None:
                found |= {brought.plain(re.split(r"[^A-Za-z0-9._-]", need)[0]) for need in entry.dist.requires or ()}
        return frozenset(found)

    def _jigs(self, definition: Barclamp, registry: Registry) -> None:
        for role in definition.roles:
            if role.jig in registry.failed_jigs:
                said = last_sentence(registry.failed_jigs[role.jig])
                self.error(f"Role {role.name} names the jig {role.jig!r}, which cannot be loaded: {said}")
            elif role.jig not in registry.jigs and not role.abstract:
                self.error(
                    f"Role {role.name} names the jig {role.jig!r}, which no installed package brings"
                    f"{near(role.jig, registry.jigs)}"
                )

    # ------------------------------------------------------------ what it registers

    def _answers(self, registry: Registry, hook: str, barclamp: str) -> list[Any]:
        found = [answer for plugin, answer in registry.ask(hook) if plugin == barclamp]
        for answer in found:
            if isinstance(answer, plugins.Failure):
                self.error(f"{hook} raises: {answer.error}.")
            elif answer is not None and (isinstance(answer, str) or not isinstance(answer, Iterable)):
                self.error(f"{hook} returns {type(answer).__name__}, not several things.")
            else:
                return list(answer or ())
        return []

    def _commands(self) -> list[click.Command]:
        found = []
        package = self.entry.dist.name if self.entry is not None and self.entry.dist is not None else "The package"
        for entry in self.commands:
            try:
                found.append(brought.Command(name=entry.name, package=package, entry=entry).load())
            except BarclampError as error:
                self.error(error.detail)
            if entry.name in self.taken_commands:
                self.error(f"It brings a command {entry.name!r}, which crowbar has already.")
        for said in commands_of_others(self.commands, self.package or package):
            self.error(said)
        return found

    def _periodic(self, registry: Registry, barclamp: str) -> None:
        for job in self._answers(registry, "register_periodic", barclamp):
            if not isinstance(job, Periodic):
                self.error(f"register_periodic returns {job!r}, which is no Periodic.")
            elif not job.seconds > 0:
                self.error(f"The periodic job {job.name} is called every {job.seconds!r} seconds.")

    def _services(self, registry: Registry, barclamp: str) -> None:
        for one in self._answers(registry, "register_services", barclamp):
            if not isinstance(one, Service):
                self.error(f"register_services returns {one!r}, which is no Service.")
            elif not one.name or len(one.name) > 48:
                self.error(f"The name of the service {one.name!r} must have 1 to 48 characters.")

    def _on_a_core(
        self, plugin: Any, definition: Barclamp, settings: Settings, commands: Sequence[click.Command]
    ) -> None:
        """Its tables and its pages, on a core of its own: migrations are run, routes are added, lists are asked for."""
        try:
            parts = build_parts(settings, extra_plugins=[(definition.name, plugin)])
        except (Exception, SystemExit) as error:  # noqa: BLE001  a migration may raise anything
            self.error(f"Its tables cannot be made: {getattr(error, 'detail', f'{type(error).__name__}: {error}')}")
            return
        try:
            if (said := parts.registry.given_up.get(definition.name)) is not None:
                self.error(f"Its tables cannot be made: {said}")
            else:
                for said in published.wrong_references(parts.store):
                    self.error(
                        f"Its foreign key {said} keeps what it refers to from being deleted: make it ON DELETE CASCADE "
                        "or SET NULL."
                    )
                app, endpoints = self._pages(parts, definition.name)
                self._periodic(parts.registry, definition.name)
                self._services(parts.registry, definition.name)
                for said in names_of_others(parts.registry, definition.name):
                    self.error(said)
                self._fits(app, parts, plugin, definition.name, endpoints, commands)
        finally:
            parts.close()

    def _fits(
        self, app: Flask, parts: Parts, plugin: Any, barclamp: str, endpoints: Iterable[str],
        commands: Sequence[click.Command],
    ) -> None:  # fmt: skip
        """As far as nothing else is wrong: a table that is not there would be told again by each page that reads it."""
        package = (plugin.__package__ or plugin.__name__) if isinstance(plugin, ModuleType) else None
        wrong = list(wrong_tables(package, barclamp, parts.store)) if package else []
        if package:
            self.problems.extend(wrong_columns(package, parts.registry.plugins, parts.store))
        if not any(one.severity == "error" for one in self.problems):
            self.problems.extend(wrong_bodies(app, endpoints))
            wrong += wrong_commands(commands, app, cache(lambda: create_app(parts.settings, parts=parts)))
            wrong += wrong_answers(app, parts, endpoints) if not wrong else ()
        for detail in wrong:
            self.error(detail)

    def _pages(self, parts: Parts, barclamp: str) -> tuple[Flask, list[str]]:
        """Returns the application, and the endpoints of its own."""
        blueprints = self._answers(parts.registry, "register_blueprints", barclamp)
        app = create_app(parts.settings, parts=parts, barclamps=False)
        known = {rule.endpoint for rule in app.url_map.iter_rules()}
        taken, names = beside_others(parts.registry, barclamp, app)
        for blueprint in blueprints:
            if isinstance(blueprint, Blueprint) and (said := blueprint_of_another(blueprint, barclamp, names)):
                self.error(said)
                continue
            try:
                add_blueprint(app, barclamp, blueprint, taken)
            except CrowbarError as error:
                self.error(error.detail)
                continue
            if isinstance(blueprint, Blueprint) and blueprint.jinja_loader is not None:
                for name in blueprint.jinja_loader.list_templates():
                    try:
                        app.jinja_env.get_template(name)
                    except TemplateError as error:
                        self.error(f"The template {name} cannot be read: {error}.")
        own = list(dict.fromkeys(rule.endpoint for rule in app.url_map.iter_rules() if rule.endpoint not in known))
        for endpoint in own:
            try:
                permissions(app, only=endpoint)
            except CrowbarError as error:
                self.error(error.detail)
        for item in self._answers(parts.registry, "register_nav", barclamp):
            if not isinstance(item, NavItem):
                self.error(f"register_nav returns {item!r}, which is no NavItem.")
            elif not item.url.startswith("/") or not _answers_get(app, item.url):
                self.error(f"The navigation's entry {item.label!r} leads to {item.url}, where there is no page.")
        for panel in self._answers(parts.registry, "register_panels", barclamp):
            if not isinstance(panel, Panel):
                self.error(f"register_panels returns {panel!r}, which is no Panel.")
            elif panel.on not in ("node", "deployment", "dashboard"):
                self.error(f"The panel {panel.title!r} is on {panel.on!r}; it can be on node, deployment or dashboard.")
        return app, own


# ---------------------------------------------------------------- parts of the above


def _told(definition: Barclamp, registry: Registry) -> dict[str, list[tuple[str, ...]]]:
    """Role -> where in its data something can be; also what a hook answers is taken at declared paths alone."""
    return {
        role.name: [
            *(one.path for one in role.attributes),
            *(registry.attributes[name].attribute.path for name in role.wants if name in registry.attributes),
        ]
        for role in definition.roles
    }


def _answers_get(app: Any, url: str) -> bool:
    try:
        app.url_map.bind("crowbar.invalid").match(url.partition("?")[0], method="GET")
    except RequestRedirect:
        return True
    except HTTPException:
        return False
    return True


def _providers(registry: Registry, name: str) -> bool:
    own = registry.roles.get(name)
    if own is not None and not own.role.abstract:
        return True
    return any(name in one.role.provides and not one.role.abstract for one in registry.roles.values())


def _repeated(names: Iterable[str]) -> list[tuple[str, int]]:
    listed = list(names)
    return [(name, listed.count(name)) for name in sorted(set(listed)) if listed.count(name) > 1]


def _is_part(missing: str | None, name: str) -> bool:
    return missing is not None and (name == missing or name.startswith(f"{missing}."))


def _where(error: BaseException) -> str:
    """The file and line of a barclamp's own code in which an error arose."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "importlib" not in one.filename]
    own = [one for one in frames if one.filename != __file__ and one.filename not in _own_files()]
    return f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""


def _own_files() -> frozenset[str]:
    return frozenset(filter(None, (getattr(module, "__file__", "") for module in (plugins, sys.modules[__name__]))))
