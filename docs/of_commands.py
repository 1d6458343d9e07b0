"""The generated page of the command line: every command of the core, with its options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click
from markdown_parts import code, prose, table

from crowbar_core.cli.context import shared_options
from crowbar_core.cli.local import settings_options
from crowbar_core.cli.root import COMMANDS, root


def _commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of the core with its full name, in alphabetical order; those of barclamps are not among them."""
    top = click.Context(root, info_name="crowbar")
    for name in sorted(COMMANDS):
        command = root.get_command(top, name)
        assert command is not None
        yield from _walk(command, f"crowbar {name}", top)


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
    everywhere = {option.name for option in _shared_options()}
    settings = [option for option in _added_by(settings_options) if option.name not in everywhere]
    local = {option.name for option in settings}
    parts = ["## Options of every command\n", _options(_shared_options())]
    parts.append("## Options for the settings\n\nOf the commands that work here, without a server to ask.\n")
    parts.append(_options(settings))
    noun = ""
    for name, command in _commands():
        if (first := name.split()[1]) != noun:
            noun = first
            parts.append(f"## crowbar {noun}\n\n{COMMANDS[noun][1]}\n")
        usage = " ".join(
            piece for piece in command.collect_usage_pieces(click.Context(command)) if piece != "[OPTIONS]"
        )
        heading = f"### {name}\n\n" if name.count(" ") > 1 else ""
        line = f"{name} [OPTIONS] {usage}".rstrip()
        parts.append(f"{heading}```text\n{line}\n```\n\n{prose(command.help or '')}\n")
        own = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
        own = [one for one in own if one.name not in everywhere]
        if local <= {one.name for one in own}:
            own = [one for one in own if one.name not in local]
            parts.append(f"{'It takes' if not own else 'Beside its own, it takes'} the options for the settings.\n")
        if own:
            parts.append(_options(own))
    return "\n".join(parts)


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
