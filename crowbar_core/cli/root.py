"""`crowbar` itself: finds the command that is asked for, loads no other, and turns every error into one sentence.

A command's module is imported when the command is called, by name from a table: `crowbar nodes list` must not wait
for Flask, SQLAlchemy and all barclamps. What barclamps bring is looked for only when the core has no command of that
name, and for `--help`; even then nothing of theirs is imported but the one command that is called.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

import click

from crowbar_core.cli.context import Shared, shared, shared_options
from crowbar_core.cli.errors import FAILED, INTERRUPTED, NOBODY_READS, UNREACHABLE, USAGE, NobodyToAsk, Unreachable
from crowbar_core.errors import CrowbarError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from crowbar_core.brought import Command

COMMANDS: Mapping[str, tuple[str, str]] = {
    "admin": ("crowbar_core.cli.admin", "Help yourself without a server: reset a password."),
    "annealer": ("crowbar_core.cli.serve", "Run an annealer: it decides what runs next, and runs it."),
    "apply": ("crowbar_core.cli.declared", "Make true what a file declares."),
    "attribs": ("crowbar_core.cli.attribs", "Attributes: what is known, wished and reported."),
    "audits": ("crowbar_core.cli.history", "The audit trail: who did what."),
    "barclamps": ("crowbar_core.cli.barclamps", "Barclamps: the installed packages and what they bring."),
    "completion": ("crowbar_core.cli.completion", "Print the shell's completion script."),
    "converge": ("crowbar_core.cli.converge", "Wait until everything is settled."),
    "db": ("crowbar_core.cli.db", "The database: upgrade, check, purge."),
    "deployments": ("crowbar_core.cli.deployments", "Deployments: named sets of work."),
    "events": ("crowbar_core.cli.history", "What happened, and who was told."),
    "export": ("crowbar_core.cli.declared", "Print the declared state of the cluster."),
    "groups": ("crowbar_core.cli.groups", "Groups: tags on nodes."),
    "hammers": ("crowbar_core.cli.hammers", "Hammers: ways to power a node."),
    "hooks": ("crowbar_core.cli.hooks", "Hooks: what barclamps were told, what failed, and trying it again."),
    "inventory": ("crowbar_core.cli.cluster", "Print an Ansible inventory."),
    "jigs": ("crowbar_core.cli.history", "Jigs: what carries roles out."),
    "login": ("crowbar_core.cli.login", "Get a token and keep it in a profile."),
    "noderoles": ("crowbar_core.cli.noderoles", "Noderoles: roles bound to nodes, the units of work."),
    "nodes": ("crowbar_core.cli.nodes", "Nodes: the machines."),
    "ping": ("crowbar_core.cli.cluster", "Ask the server whether it is well."),
    "processes": ("crowbar_core.cli.cluster", "Which processes live, and how busy they are."),
    "roles": ("crowbar_core.cli.roles", "Roles: what can be bound to a node."),
    "runs": ("crowbar_core.cli.runs", "Runs: each execution, with its log."),
    "serve": ("crowbar_core.cli.serve", "Run everything in one: pages, API and annealer."),
    "service": ("crowbar_core.cli.service", "Carry out a service of a barclamp."),
    "settings": ("crowbar_core.cli.settings", "Settings of the server and of barclamps."),
    "tokens": ("crowbar_core.cli.users", "Tokens of users and nodes."),
    "users": ("crowbar_core.cli.users", "Users and their roles."),
    "web": ("crowbar_core.cli.serve", "Run the pages and the API, without an annealer."),
    "worker": ("crowbar_core.cli.worker", "Run a worker of the Celery queue."),
}
"""Name -> (module, one line of help). The module has a command of that name."""

BROUGHT = "crowbar_core.cli.brought"


class Root(click.Group):
    """Imports a command when it is asked for; its ``main`` is where every error ends."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *self._brought(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = importlib.import_module(COMMANDS[cmd_name][0])
            command = getattr(module, cmd_name)
            assert isinstance(command, click.Command)
            return command
        found = self._brought(ctx).get(cmd_name)
        if found is None:
            return None
        with _noise_on_stderr():
            return found.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = args[0] in COMMANDS or args[0] in self._brought(ctx)
        if not known and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise click.UsageError(f"There is no command {_short(args[0])}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        brought = self._brought(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(COMMANDS.items())])
        if brought:
            with formatter.section("Commands of barclamps"):
                in_order = sorted(brought.values(), key=attrgetter("package", "name"))
                for package, its in groupby(in_order, key=attrgetter("package")):
                    commands = list(its)
                    formatter.write_text(f"{package}: {commands[0].summary}".removesuffix(": "))
                    with formatter.indentation():
                        formatter.write_text(", ".join(one.name for one in commands))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names by themselves: no command is imported to be offered."""
        listed = {name: text for name, (_, text) in COMMANDS.items()}
        listed |= {name: _of(command) for name, command in self._brought(ctx).items()}
        item = importlib.import_module("click.shell_completion").CompletionItem
        found = [item(name, help=text) for name, text in sorted(listed.items()) if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def main(  # type: ignore[override]  # standalone_mode would mean nothing here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run the command line and exit. Nothing but ``--debug`` ever shows a traceback."""
        extra.pop("standalone_mode", None)
        state = extra.pop("obj", None) or Shared()
        sys.exit(self._outcome(list(sys.argv[1:] if args is None else args), prog_name or "crowbar", state, extra))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            # The reader went away (`| head`): say nothing, and keep the interpreter from trying once more at its end.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(NOBODY_READS) from None
        return result

    def _outcome(self, args: list[str], prog_name: str, state: Shared, extra: MutableMapping[str, Any]) -> int:
        try:
            result = super().main(args, prog_name, standalone_mode=False, obj=state, **extra)
            return result if isinstance(result, int) else 0
        except click.exceptions.Exit as ending:
            return ending.exit_code
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return USAGE
        except click.UsageError as error:
            hint = f" Try `{error.ctx.command_path} --help`." if error.ctx is not None else ""
            return self._complain(USAGE, error.format_message() + hint, error, state)
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except Unreachable as error:
            return self._complain(UNREACHABLE, error.detail, error, state)
        except NobodyToAsk as error:
            return self._complain(USAGE, error.detail, error, state)
        except CrowbarError as error:
            return self._complain(FAILED, _whole(error), error, state)
        except click.ClickException as error:
            return self._complain(FAILED, error.format_message(), error, state)
        except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, the operator gets a sentence
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            at_fault = "Crowbar's, or of the package that brings the command"
            hint = "" if state.debug else f" This is a fault of {at_fault}: please report it with what --debug shows."
            return self._complain(FAILED, f"Something unexpected happened ({what.rstrip('.')}).{hint}", error, state)

    def _complain(self, code: int, text: str, error: BaseException, state: Shared) -> int:
        if state.debug and code != USAGE:
            with contextlib.suppress(OSError, ValueError):
                traceback.print_exception(error, file=sys.stderr)
        with contextlib.suppress(OSError, ValueError):
            click.echo(f"Error: {_printable(text)}", err=True)
        return code

    def _brought(self, ctx: click.Context) -> Mapping[str, Command]:
        found: Mapping[str, Command] | None = ctx.meta.get(BROUGHT)
        if found is None:
            # By name: a command of the core's needs neither the packages' metadata nor the server's settings.
            found = ctx.meta[BROUGHT] = importlib.import_module(BROUGHT).brought(COMMANDS)
        return found


@contextlib.contextmanager
def _noise_on_stderr() -> Iterator[None]:
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _of(command: Command) -> str:
    return f"{command.summary} ({command.package})" if command.summary else f"Of {command.package}."


def _whole(error: CrowbarError) -> str:
    """The sentence, and each thing that is wrong in the input with the place where it stands: that alone, where the
    sentence says the rest, and nothing where it names the place, too.
    """
    lines = []
    for item in error.errors:
        place = item.pointer.lstrip("/?")
        if item.detail not in error.detail:
            lines.append(f"{item.pointer}: {item.detail}" if place else item.detail)
        elif place and place not in error.detail:
            lines.append(f"(at {item.pointer})")
    return "\n".join([error.detail, *(f"  {line}" for line in lines)])


def _printable(text: str) -> str:
    text = text if len(text) <= 2000 else f"{text[:2000]}…"
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape", "replace").decode()
        for char in text
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        metadata = importlib.import_module("importlib.metadata")  # by name: no other call needs it
        click.echo(f"crowbar {metadata.version('crowbar-core')}")
        ctx.exit()


@click.group(
    "crowbar",
    cls=Root,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@shared_options(hidden=False)
@click.pass_context
def root(ctx: click.Context) -> None:
    """Turns bare machines into running services: a graph of roles, annealed node by node until all of it is true."""
    shared(ctx)


def main() -> NoReturn:
    """The script `crowbar`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character gets its number
            stream.reconfigure(errors="backslashreplace")
    root.main(prog_name="crowbar")
    raise AssertionError("root.main exits")
