"""The generated pages of the command line: every command of the core, and of barclamps, with its options."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from markdown_parts import code, prose, table

from crowbar_core.cli.context import shared_options
from crowbar_core.cli.local import settings_options
from crowbar_core.cli.root import COMMANDS, root

_PLUGINS = Path(__file__).parent.parent / "plugins"
_EXAMPLES = "crowbar-example"


def of_core() -> Mapping[str, click.Command]:
    """By noun, in alphabetical order."""
    top = click.Context(root, info_name="crowbar")
    found = {name: root.get_command(top, name) for name in sorted(COMMANDS)}
    return {name: command for name, command in found.items() if command is not None}


def of_barclamps() -> Mapping[str, tuple[str, click.Command]]:
    """By noun, in alphabetical order: the package that brings it, and the command."""
    found = {}
    for project in _PLUGINS.glob("*/pyproject.toml"):
        if not project.parent.name.startswith(_EXAMPLES):
            declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("entry-points", {})
            for noun, place in declared.get("crowbar.commands", {}).items():
                module, _, name = place.partition(":")
                found[noun] = (project.parent.name, getattr(importlib.import_module(module), name))
    return dict(sorted(found.items()))


def _walk(command: click.Command, name: str, parent: click.Context) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command, parent=parent, info_name=name)
    for verb in command.list_commands(context):
        found = command.get_command(context, verb)
        assert found is not None
        yield from _walk(found, f"{name} {verb}", context)


def page() -> str:
    parts = ["## Options of every command\n", _options(_shared_options())]
    parts.append("## Options for the settings\n\nOf the commands that work here, without a server to ask.\n")
    parts.append(_options(_of_settings()))
    for noun, command in of_core().items():
        parts += [f"## crowbar {noun}\n\n{COMMANDS[noun][1]}\n", *_verbs(noun, command)]
    return "\n".join(parts)


def page_of_barclamps() -> str:
    parts: list[str] = []
    for noun, (package, command) in of_barclamps().items():
        told = [prose(command.help)] if isinstance(command, click.Group) and command.help else []
        said = " ".join((*told, f"Of [{package}](../../plugins/{package})."))
        parts += [f"## crowbar {noun}\n\n{said}\n", *_verbs(noun, command)]
    return "\n".join(parts)


def _verbs(noun: str, command: click.Command) -> Iterable[str]:
    everywhere = {option.name for option in _shared_options()}
    local = {option.name for option in _of_settings()}
    for name, one in _walk(command, f"crowbar {noun}", click.Context(root, info_name="crowbar")):
        usage = " ".join(piece for piece in one.collect_usage_pieces(click.Context(one)) if piece != "[OPTIONS]")
        heading = f"### {name}\n\n" if name.count(" ") > 1 else ""
        line = f"{name} [OPTIONS] {usage}".rstrip()
        yield f"{heading}```text\n{line}\n```\n\n{prose(one.help or '')}\n"
        own = [each for each in one.params if isinstance(each, click.Option) and not each.hidden]
        own = [each for each in own if each.name not in everywhere]
        if local <= {each.name for each in own}:
            own = [each for each in own if each.name not in local]
            yield f"{'It takes' if not own else 'Beside its own, it takes'} the options for the settings.\n"
        if own:
            yield _options(own)


def _of_settings() -> list[click.Option]:
    everywhere = {option.name for option in _shared_options()}
    return [option for option in _added_by(settings_options) if option.name not in everywhere]


def _shared_options() -> list[click.Option]:
    return _added_by(shared_options(hidden=False))


def _added_by(decorator: Callable[[Callable[..., Any]], Any]) -> list[click.Option]:
    def bare(**_given: Any) -> None:
        """A command without options of its own."""

    return [one for one in click.command("bare")(decorator(bare)).params if isinstance(one, click.Option)]


def _options(options: list[click.Option]) -> str:
    rows = []
    for option in options:
        names = ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else f" {option.metavar or _choices(option.type)}"
        rows.append((f"{names}{value}", option.help or ""))
    return table(("option", ""), rows)


def _choices(kind: Any) -> str:
    return " / ".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else kind.name.upper()
