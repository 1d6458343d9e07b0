"""Whether the parts of a barclamp fit each other: tables the migrations, commands and pages the resources.

Only what is certain is said. What the page of one object shows, and whether the fields of a body are columns, is not
looked at: for that there would have to be an object, and nobody but the author can make one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import click
from flask import Flask, Response
from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.sql import visitors
from sqlalchemy.sql.expression import TableClause
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from crowbar_core.cli.context import Call, Noun
from crowbar_core.errors import CrowbarError, Unavailable
from crowbar_core.services.people import users
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.store.db import Store
from crowbar_core.store.listing import Listing
from crowbar_core.store.own_tables import Database
from crowbar_core.testing.wording import near
from crowbar_core.web.api.operation import Operation
from crowbar_core.web.app import permissions

FOR_PEOPLE = ("viewer", "operator", "admin")


# ---------------------------------------------------------------- tables


def wrong_tables(package: str, barclamp: str, store: Store) -> Iterator[str]:
    """Tables and columns that the modules of a package describe and no migration has made. ``store`` is one in which
    the migrations have run.
    """
    with store.read() as session:
        looking = inspect(session.connection())
        there = set(looking.get_table_names()) | set(looking.get_view_names())
        columns = {name: {one["name"] for one in looking.get_columns(name)} for name in there}
    mine = barclamp.replace("-", "_")
    said: dict[tuple[str, str], str] = {}  # once, however many modules have it
    for module, table, listed in described(package):
        name = table.name
        if table.schema is not None or vars(table).get("_prefixes"):
            continue  # somebody else's, or one that is made for the moment
        if name not in there:
            if listed or name == mine or name.startswith(f"{mine}_"):
                hint = near(name, there)
                said.setdefault((name, ""), f"{module} describes the table {name}, which no migration makes{hint}")
            continue
        for column in table.columns:
            if column.name not in columns[name]:
                hint = near(column.name, columns[name])
                said.setdefault(
                    (name, column.name),
                    f"{module} describes a column {column.name} of the table {name}, which no migration makes{hint}",
                )
    yield from said.values()


def described(package: str) -> Iterator[tuple[str, TableClause, bool]]:
    """(module, table, whether a listing reads it) of what stands in the modules of a package that are loaded."""
    for name, module in sorted(sys.modules.items()):
        if isinstance(module, ModuleType) and (name == package or name.startswith(f"{package}.")):
            for value in list(vars(module).values()):
                kind = type(value)  # asked of proxies, which are nothing just now, isinstance and getattr may raise
                if issubclass(kind, Listing):
                    yield from ((name, one, True) for one in _tables_in(value.source))
                elif issubclass(kind, MetaData | Database):
                    described = value if issubclass(kind, MetaData) else value.metadata
                    yield from ((name, one, False) for one in described.tables.values())
                else:
                    table = vars(value).get("__table__") if issubclass(kind, type) else value
                    if issubclass(type(table), Table):
                        yield name, table, False


def _tables_in(source: Any) -> Iterator[TableClause]:
    for part in visitors.iterate(source):
        if isinstance(part, TableClause):
            yield part


# ---------------------------------------------------------------- what can be asked for without knowing an object


def wrong_answers(app: Flask, parts: Parts, endpoints: Iterable[str]) -> Iterator[str]:
    """Lists and pages among these endpoints that end in an error where there is nothing to show yet."""
    own = set(endpoints)
    asked = sorted(
        (rule.rule, rule.endpoint)
        for rule in app.url_map.iter_rules()
        if rule.endpoint in own and not rule.arguments and "GET" in (rule.methods or ())
        and getattr(app.view_functions[rule.endpoint], "crowbar_permission", "") in FOR_PEOPLE
    )  # fmt: skip
    if not asked:
        return
    raised: list[Exception] = []
    for _, endpoint in asked:
        app.view_functions[endpoint] = _watched(app.view_functions[endpoint], raised)
    app.extensions["crowbar-permissions"] = permissions(app)
    actor = Actor("check")
    who = users.create_user(parts, actor, name="check", password="as long as it has to be", role="admin")
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {users.create_token(parts, actor, user_id=who, name='check')}"
    for path, _ in asked:
        raised.clear()
        client.get(path).close()
        if raised and not _is_meant(raised[0]):
            yield f"GET {path} ends in an error: {_in_a_line(raised[0])}"


def _watched(view: Callable[..., Any], raised: list[Exception]) -> Callable[..., Any]:
    def watched(**path: Any) -> Any:
        try:
            return view(**path)
        except Exception as error:  # noqa: BLE001  a view may raise anything
            raised.append(error)
            return Response(status=500)  # nobody is to log what is told here

    vars(watched).update(vars(view))
    return watched


def _is_meant(error: Exception) -> bool:
    """An answer rather than a mistake."""
    if isinstance(error, HTTPException | Unavailable):
        return True
    return isinstance(error, CrowbarError) and error.status < 500


def _in_a_line(error: Exception) -> str:
    if isinstance(error, CrowbarError):
        return error.detail
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0] if said else ''}".rstrip(": ").rstrip(".") + "."


# ---------------------------------------------------------------- commands


def wrong_commands(commands: Iterable[click.Command], app: Flask, everything: Callable[[], Flask]) -> Iterator[str]:
    """What the kit's verbs of these commands ask for, and nobody gives: the barclamp's own ``app``, or that which has
    the resources of all that are installed.
    """
    for command in commands:
        for call in command.calls if isinstance(command, Noun) else ():
            yield from _wrong_call(f"crowbar {command.name} {call.verb}", call, app, everything)


def _wrong_call(command: str, call: Call, app: Flask, everything: Callable[[], Flask]) -> Iterator[str]:
    path = "/".join(("/api/v2", call.path, *(["7"] if call.of_one else []), *([call.action] if call.action else [])))
    shown = path.replace("/7", "/NAME")
    operation = _answering(app, call.method, path) or _answering(app := everything(), call.method, path)
    if operation is None:
        collections = {
            rule.rule.removeprefix("/api/v2/")
            for rule in app.url_map.iter_rules()
            if rule.rule.startswith("/api/v2/") and not rule.arguments
        }
        hint = near(call.path, collections) if call.path not in collections else "."
        yield f"`{command}` asks for {call.method} {shown}, which nobody answers{hint}"
        return
    listing = getattr(operation, "listing", None)
    if listing is not None and call.verb == "list":
        shows = {"fields": call.fields, "filters": call.filters, "sorts": call.sorts}
        known = {
            "fields": (listing.names, "shows a column"),
            "filters": (listing.filters, "filters by"),
            "sorts": ((*listing.sorts, "id"), "sorts by"),
        }
        for kind, names in shows.items():
            having, does = known[kind]
            for name in names:
                if name not in having:
                    yield (
                        f"`{command}` {does} {name!r}, which is none of the {kind} of {listing.plural}"
                        f"{near(name, having)}"
                    )
    body = getattr(operation, "body", None)
    if body is not None and body.model_config.get("extra") == "forbid":
        taken = {word for name, one in body.model_fields.items() for word in (name, one.alias) if word}
        for name in call.sends:
            if name not in taken:
                yield f"`{command}` sends {name!r}, which {call.method} {shown} does not take{near(name, taken)}"


def _answering(app: Flask, method: str, path: str) -> Operation | object | None:
    """What is known of the view that would answer; None where there is none."""
    try:
        endpoint, _ = app.url_map.bind("crowbar.invalid").match(path, method=method)
    except RequestRedirect:
        return object()
    except HTTPException:
        return None
    return getattr(app.view_functions[endpoint], "crowbar_operation", object())
