"""The options that every command shares: server, identity, format. Light, because every start of `crowbar` loads it.

The options are understood before and after the noun (`crowbar --format json nodes list`, `crowbar nodes list --format
json`); the later one wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass
class Shared:
    """The options of one command line as they are read; lives in click's context, once per call."""

    output: str = "table"
    debug: bool = False
    flags: dict[str, Any] = field(default_factory=dict)


def shared(ctx: click.Context | None = None) -> Shared:
    context = ctx or click.get_current_context()
    return context.find_root().ensure_object(Shared)


def output() -> str:
    return shared().output


def _note(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def note(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value not in (None, False):
            state = shared(ctx)
            if name in ("output", "debug"):
                setattr(state, name, value)
            else:
                state.flags[name] = value
        return value

    return note


def _options(*, hidden: bool) -> list[Callable[[_F], _F]]:
    def option(*names: str, note: str, **extra: Any) -> Callable[[_F], _F]:
        return click.option(*names, expose_value=False, callback=_note(note), **extra)

    return [
        option("--format", "format_", note="output", type=click.Choice(("table", "json", "yaml")),
               help="How data is printed; table unless said otherwise."),
        option("--url", note="url", metavar="URL", hidden=hidden,
               help="The server (CROWBAR_URL, the profile's, http://127.0.0.1:3000)."),
        option("--token", note="token", metavar="TOKEN", hidden=hidden, help="A token to ask with (CROWBAR_TOKEN)."),
        option("--user", note="user", metavar="NAME", hidden=hidden, help="A user to ask as (CROWBAR_USER)."),
        option("--password", note="password", metavar="PASSWORD", hidden=hidden,
               help="The user's password; better CROWBAR_PASSWORD, or being asked."),
        option("--profile", note="profile", metavar="NAME", hidden=hidden,
               help="A profile of ~/.config/crowbar/config.toml (CROWBAR_PROFILE)."),
        option("--ca-file", note="ca_file", metavar="FILE", hidden=hidden,
               help="Trust the authorities in this file (CROWBAR_CA_FILE)."),
        option("--insecure", note="insecure", is_flag=True, hidden=hidden,
               help="Do not check the server's certificate."),
        option("--debug", note="debug", is_flag=True, hidden=hidden, help="Show the traceback of an unexpected error."),
    ]  # fmt: skip


def shared_options(*, hidden: bool = True) -> Callable[[_F], _F]:
    """The shared options for one command; hidden in the help of all but `crowbar` itself, but for ``--format``."""

    def add(function: _F) -> _F:
        for option in reversed(_options(hidden=hidden)):
            function = option(function)
        return function

    return add


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a verb made by the kit asks of the API, for whoever checks a barclamp: ``path`` follows /api/v2, ``fields``
    are shown, ``sends`` are fields of the body.
    """

    verb: str
    method: str
    path: str
    of_one: bool = True
    action: str = ""
    fields: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    sorts: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()


class Noun(click.Group):
    """A group whose commands (``verb``) all take the shared options."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.calls: list[Call] = []

    def verb(self, name: str, **extra: Any) -> Callable[[Callable[..., Any]], click.Command]:
        """A command of this group, with the shared options."""

        def add(function: Callable[..., Any]) -> click.Command:
            make: Callable[[Callable[..., Any]], click.Command] = click.command(name, **extra)
            made = make(shared_options()(function))
            self.add_command(made)
            return made

        return add


def noun(name: str, help_: str) -> Noun:
    return Noun(name, help=help_, no_args_is_help=True)


def verb(name: str, **extra: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that stands alone (`crowbar ping`), with the shared options."""

    def make(function: Callable[..., Any]) -> click.Command:
        build: Callable[[Callable[..., Any]], click.Command] = click.command(name, **extra)
        return build(shared_options()(function))

    return make
