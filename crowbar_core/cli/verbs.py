"""The verbs that every noun has (list, show, destroy), and how values and references are read from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.confirm import ask, yes_option
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import Call, Noun, output
from crowbar_core.cli.converge import wait_option
from crowbar_core.cli.errors import ApiError
from crowbar_core.cli.plans import DRY, plan_options, show_plan
from crowbar_core.errors import BadInput, NotFound

Filters = Mapping[str, str]
"""Option name -> help; the option's value goes into the query under the same name."""


def add_list(
    group: Noun,
    path: str,
    columns: Sequence[str],
    *,
    what: str,
    filters: Filters | None = None,
    names: Filters | None = None,
    of_nodes: bool = False,
    extra: str | None = None,
    order: str | None = None,
    has_system: bool = False,
) -> None:
    """`crowbar NOUN list`: all of them, or those that match; an option given several times means any of these.

    ``names``: options that take a name or id there. ``of_nodes``: also by groups and patterns of their nodes.
    ``extra``: fields beside the usual ones. ``order``: what they are sorted by unless said. ``has_system``: the
    system's own are left out unless asked for.
    """
    if of_nodes:
        names = {**(names or {}), "group": "groups"}
        filters = {**(filters or {}), "match": "Only nodes named like this: * is any text, ? one character."}
    keys = tuple(name if name == "group" else f"{name}_id" for name in names or {})
    group.calls.append(
        Call(
            verb="list", method="GET", path=path, of_one=False, filters=(*(filters or {}), *keys),
            fields=(*columns, *(extra.split(",") if extra else ())), sorts=(order.removeprefix("-"),) if order else (),
        )
    )  # fmt: skip

    @group.verb("list", help=f"List {what}.")
    @click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only those with this value; may be repeated.")
    @click.option("--sort", metavar="FIELD", help="Order by this field; -FIELD turns it round.")
    @click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
    def list_(
        where: tuple[str, ...], sort: str | None, limit: int | None, system: bool = False, **chosen: tuple[str, ...]
    ) -> None:
        client = connect()
        query: dict[str, Any] = {"sort": sort or order, "fields": extra and f"*,{extra}"}
        for name, value in (pair(text, "--where") for text in where):
            query.setdefault(name, []).append(value)
        for name, values in chosen.items():
            if name in (names or {}) and values:
                key = name if name == "group" else f"{name}_id"
                query.setdefault(key, []).extend(id_of(client, (names or {})[name], value) for value in values)
            elif values:
                query.setdefault(name, []).extend(values)
        if system:
            query["system"] = ["true", "false"]
        out.rows(client.rows(path, query=query, limit=limit), columns, output())

    if has_system:
        list_.params.append(click.Option(["--system"], is_flag=True, help="Also those that are the system's own."))
    for name, text in (filters or {}).items():
        list_.params.append(
            click.Option(
                [f"--{name.removesuffix('_name').replace('_', '-')}", name], metavar="VALUE", help=text, multiple=True
            )
        )
    for name in names or {}:
        list_.params.append(
            click.Option([f"--{name}", name], metavar="NAME", help=f"Only those of this {name}.", multiple=True)
        )


@dataclass(frozen=True, kw_only=True)
class Given:
    """An option of create and update that becomes a field of the body."""

    name: str
    """The field; the option is called like it, without ``_id`` and with hyphens."""
    help: str
    type: Any = str
    """As click has it (``str``, ``int``, ``click.Choice``); ``bool`` makes --NAME and --no-NAME, ``dict`` JSON."""
    refers: bool = False
    """It is the name or the id of another object; an empty one is sent as null: it refers to nothing (any more)."""
    multiple: bool = False

    def option(self, *, changes: bool = False) -> click.Option:
        """``changes``: of an object that is there, and may have something to take away."""
        word = self.name.removesuffix("_id").replace("_", "-")
        if self.type is bool:
            return click.Option([f"--{word}/--no-{word}", self.name], default=None, help=self.help)
        kind = str if self.type is dict else self.type
        meta = "NAME" if self.refers else "JSON" if self.type is dict else None
        text = f"{self.help} An empty one ('') takes it away." if self.refers and changes else self.help
        return click.Option(
            [f"--{word}", self.name], type=kind, metavar=meta, multiple=self.multiple, help=text, default=None
        )

    def value(self, typed: Any) -> Any:
        if self.multiple:
            return [ref(one) if self.refers else one for one in typed if one or not self.refers]
        if self.refers:
            return ref(typed) if typed else None
        return read_json(typed, f"--{self.name.replace('_', '-')}") if self.type is dict else typed


def _body(options: Sequence[Given], typed: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: one.value(typed[one.name]) for one in options if typed.get(one.name) not in (None, ())}


def add_create(group: Noun, path: str, *, what: str, options: Sequence[Given] = ()) -> None:
    """`crowbar NOUN create NAME`: one POST with the options that were given."""
    sends = ("name", *(one.name for one in options))
    group.calls.append(Call(verb="create", method="POST", path=path, of_one=False, sends=sends))

    @group.verb("create", help=f"Make {what}.")
    @click.argument("name")
    def create(name: str, **typed: Any) -> None:
        out.record(connect().post(path, body={"name": name, **_body(options, typed)}), output())
        out.say(f"{what.split(' ')[-1].capitalize()} {name} is made.")

    create.params.extend(one.option() for one in options)


def add_update(group: Noun, path: str, *, what: str, options: Sequence[Given] = (), plans: bool = False) -> None:
    """`crowbar NOUN update NAME`: one PATCH with the options that were given; ``--name`` is a new name.

    ``plans``: it can be planned.
    """
    group.calls.append(Call(verb="update", method="PATCH", path=path, sends=tuple(one.name for one in options)))

    @group.verb("update", help=f"Change {what}; what is not named stays.")
    @click.argument("name")
    @click.option("--name", "new_name", metavar="NAME", help="A new name.")
    def update(name: str, new_name: str | None, plan: bool = False, every: bool = False, **typed: Any) -> None:
        body = _body(options, typed) | ({"name": new_name} if new_name is not None else {})
        if not body:
            words = ", ".join(f"--{one.name.removesuffix('_id').replace('_', '-')}" for one in options)
            raise click.UsageError(f"Say what to change: --name{words and ', '}{words}.")
        client = connect()
        if plan:
            show_plan(client.patch(path, name, body=body, query=DRY), every=every)
            return
        out.record(client.patch(path, name, body=body), output())

    update.params.extend(one.option(changes=True) for one in options)
    if plans:
        update.params.extend(_plan_parameters())


def add_show(group: Noun, path: str, *, what: str) -> None:
    group.calls.append(Call(verb="show", method="GET", path=path))

    @group.verb("show", help=f"Show {what}.")
    @click.argument("name")
    def show(name: str) -> None:
        out.record(connect().get(path, name), output())


force_option = click.option("--force", is_flag=True, help="Do not tear down on nodes what roles made there.")


def forced(force: bool) -> dict[str, str]:
    return {"force": "true"} if force else {}


def gone(client: Client, path: str, name: str | int) -> str:
    """What has become of a thing that was removed: it may still have to be torn down."""
    try:
        client.get(path, name)
    except ApiError as error:
        if error.answer != 404:
            raise
        return "is gone"
    return "goes when what was made on the node is torn down"


def add_destroy(group: Noun, path: str, *, what: str, plans: bool = False, forces: bool = False) -> None:
    """``plans``: it changes what runs, so it can be planned. ``forces``: it may have to be torn down first."""
    group.calls.append(Call(verb="destroy", method="DELETE", path=path))

    @group.verb("destroy", help=f"Remove {what} for good, after showing what is lost with it.")
    @click.argument("names", metavar="NAME...", nargs=-1, required=True)
    @yes_option
    def destroy(
        names: tuple[str, ...], yes: bool, plan: bool = False, every: bool = False, force: bool = False
    ) -> None:
        client = connect()
        if plan:
            for name in names:
                show_plan(client.delete(path, name, query=DRY | forced(force)), every=every)
            return
        ask(client, path, names, "destroy", yes=yes, force=force)
        for name in names:
            client.delete(path, name, query=forced(force))
            is_gone = gone(client, path, name) if forces else "is gone"
            out.say(f"{what.split(' ')[-1].capitalize()} {name} {is_gone}.")

    if plans:
        destroy.params.extend(_plan_parameters())
    if forces:
        force_option(destroy)


def add_action(
    group: Noun, path: str, action: str, *, help_: str, done: str, after: Callable[[Client, str], None] | None = None,
    asks: bool = False, plans: bool = False,
) -> None:  # fmt: skip
    """A verb that is one PUT on an object and says what it did. ``after`` is what ``--wait`` waits with.

    ``asks``: it may destroy something, and asks first when it does. ``plans``: it can be planned.
    """
    group.calls.append(Call(verb=action, method="PUT", path=path, action=action))

    def act(
        names: tuple[str, ...], wait: bool = False, yes: bool = False, plan: bool = False, every: bool = False
    ) -> None:
        client = connect()
        if plan:
            for name in names:
                show_plan(client.put(path, name, action, query=DRY), every=every)
            return
        if asks:
            ask(client, path, names, action, yes=yes)
        for name in names:
            client.put(path, name, action)
            out.say(done.format(name=name))
        if wait and after is not None:
            for name in names:
                after(client, name)

    if after is not None:
        act = wait_option(act)
    if asks:
        act = yes_option(act)
    if plans:
        act = plan_options(act)
    act = click.argument("names", metavar="NAME...", nargs=-1, required=True)(act)
    group.verb(action, help=help_)(act)


def _plan_parameters() -> list[click.Parameter]:
    made = click.command()(plan_options(lambda: None))
    return made.params


def done(answer: Any, message: str) -> None:
    """After a change: say it, and print what the server returned when somebody wants data."""
    out.say(message)
    if output() != "table" and answer is not None:
        out.data(answer, output())


def pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(f"{option} wants FIELD=VALUE, not {text[:60]!r}.")
    return key, value


def read_json(text: str, what: str) -> Any:
    """Strict JSON: no NaN, no key twice, not nested without end. Raises ``BadInput``."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply.") from error
    except ValueError as error:
        raise BadInput(f"{what} is not JSON: {error}.") from error


def read_value(text: str, *, string: bool = False) -> Any:
    """A value as people type it: JSON when it is JSON, else the text itself."""
    if string:
        return text
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError as error:
        raise BadInput("The value is nested too deeply.") from error
    except _Twice as error:
        raise BadInput(f"The value has {error} twice.") from error
    except ValueError:
        return text


def read_file(name: str) -> str:
    """A file's text; `-` is standard input. Raises ``BadInput``."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"The file {name} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise BadInput(f"The file {name} is not UTF-8 text.") from error


class _Twice(ValueError):
    """A key stands twice in an object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Twice(repr(key))
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def names_of(client: Client, path: str) -> dict[int, str]:
    """Id -> name of all objects of a collection, to show names where the API gives ids."""
    return {int(row["id"]): str(row["name"]) for row in client.rows(path, query={"fields": "id,name"})}


def ref(name: str) -> int | str:
    """A reference in a body: the id if it is a number, else the name."""
    return int(name) if _is_id(name) else name


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 10


def id_of(client: Client, path: str, name: str) -> int:
    """The id behind a name, which the server must know."""
    return int(name) if _is_id(name) else int(client.get(path, name)["id"])


def node_role_id(client: Client, reference: str) -> int:
    """The id behind `ID` or `NODE/ROLE`. Raises ``NotFound``."""
    if _is_id(reference):
        return int(reference)
    node, slash, role = reference.partition("/")
    if not slash or not node or not role:
        raise click.UsageError(f"A noderole is named by its id or as NODE/ROLE, not {reference[:60]!r}.")
    query = {"role_id": id_of(client, "roles", role), "fields": "id"}
    for row in client.rows("nodes", node, "node_roles", query=query):
        return int(row["id"])
    raise NotFound(f"Role {role} is not bound to node {node}. `crowbar nodes bind {node} {role}` binds it.")
