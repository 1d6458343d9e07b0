"""What the database does not allow, in words for people: whose row, which rule, who refers to what. Never SQL, and no
values, which may be secrets.

A barclamp that writes its own tables in a change may break their rules; and something that it still refers to may be
destroyed. PostgreSQL says which table that is; SQLite only says that there is one, so there it is looked for.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from crowbar_core.errors import Refused
from crowbar_core.plugins import Registry
from crowbar_core.store.db import Store

_DELETES = re.compile(r"DELETE FROM (\w+)\b(.*)", re.DOTALL)
_SQLITE = re.compile(r"(UNIQUE|NOT NULL|CHECK|FOREIGN KEY) constraint failed(?:: (.*))?", re.DOTALL)

_LACKING = [
    re.compile(pattern)
    for pattern in (
        r"no such column: (?:(?P<table>\w+)\.)?(?P<column>\w+)",
        r"table (?P<table>\w+) has no column named (?P<column>\w+)",
        r"no such table: (?P<table>\w+)",
        r'column "?(?P<column>\w+)"? of relation "(?P<table>\w+)" does not exist',
        r'column "?(?:(?P<table>\w+)\.)?(?P<column>\w+)"? does not exist',
        r'relation "(?P<table>\w+)" does not exist',
    )
]


def refusal(store: Store, registry: Registry, error: IntegrityError) -> Refused:
    """The refusal for a change that broke a rule of a table, and has been rolled back."""
    said = _postgresql(registry, error.orig) if store.postgresql else _sqlite(store, registry, error)
    by = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    return Refused(f"{by}{said} Nothing was changed.")


def _postgresql(registry: Registry, said: Any) -> str:
    named, detail = said.diag, said.diag.message_detail or ""
    table = named.table_name or "a table"
    if said.pgcode == "23505":
        columns = re.match(r"Key \((.+?)\)=", detail)
        return _unique(registry, table, columns[1] if columns else named.constraint_name or "value")
    if said.pgcode == "23502":
        return _needed(registry, table, named.column_name or "a column")
    if said.pgcode == "23503":
        missing = re.search(r'is not present in table "(\w+)"', detail)
        return _absent(registry, table, missing[1]) if missing else _still(registry, [table])
    return _rule(registry, table, named.constraint_name or "a rule")


def _sqlite(store: Store, registry: Registry, error: IntegrityError) -> str:
    found = _SQLITE.match(str(error.orig))
    kind, rest = (found[1], found[2] or "") if found else ("CHECK", "")
    if kind == "FOREIGN KEY":
        deleting = _DELETES.match(str(error.statement or ""))
        if deleting:
            return _still(registry, _who_refers(store, deleting[1], deleting[2], error.params))
        into = re.match(r"(?:INSERT INTO|UPDATE) (\w+)", str(error.statement or ""))
        return _absent(registry, into[1] if into else "a table", "another table")
    table, _, column = rest.partition(",")[0].partition(".")
    columns = ", ".join(one.strip().partition(".")[2] for one in rest.split(","))
    if kind == "UNIQUE":
        return _unique(registry, table, columns)
    if kind == "NOT NULL":
        return _needed(registry, table, column)
    changed = re.match(r"(?:INSERT INTO|UPDATE) (\w+)", str(error.statement or ""))
    return _rule(registry, changed[1] if changed else "a table", rest or "a rule")


def lacking(registry: Registry, error: DBAPIError) -> str:
    """That the database lacks a table or a column which the code has; '' when the error says something else."""
    said = next(iter(str(error.orig).splitlines()), "")
    found = next((one for pattern in _LACKING if (one := pattern.search(said))), None)
    if found is None:
        return ""
    named = found.groupdict()
    table, column = named.get("table") or _table_of(error), named.get("column")
    if column is None:
        return f"The database has no table {_whose(registry, table)}: no migration of its owner's has made it."
    return (
        f"The database has no column {column} in {_whose(registry, table)}: no migration of its owner's has made it. "
        "Add one that does."
    )


def unfitting(registry: Registry, error: DBAPIError) -> str:
    """What a value of the request is, if its column cannot hold it."""
    into = f"its column in {_whose(registry, _table_of(error))}"
    code = getattr(error.orig, "pgcode", "")
    if code in ("22P02", "42804"):
        kind = re.search(r"type (\w+(?: \w+)*)", str(error.orig))
        return f"A value in the request is of the wrong type for {into}{f', which takes {kind[1]}' if kind else ''}."
    if code == "22001":
        return f"A value in the request is longer than {into} can hold."
    if code == "22003":
        return f"A value in the request is larger than {into} can hold."
    return f"A value in the request does not fit {into}."


def _table_of(error: DBAPIError) -> str:
    into = re.match(
        r"\s*(?:INSERT INTO|UPDATE|DELETE FROM|SELECT\b.*?\bFROM) (\w+)", str(error.statement or ""), re.DOTALL
    )
    return into[1] if into else "a table"


def _who_refers(store: Store, table: str, where: str, params: Any) -> list[str]:
    """The tables with rows that refer to what a DELETE was about to delete; all that could, if it cannot be told."""
    able: dict[str, str] = {}
    found = []
    with store.read() as session:
        connection = session.connection()
        looking = inspect(connection)
        for child in looking.get_table_names():
            for key in looking.get_foreign_keys(child):
                if key["referred_table"] == table and len(key["constrained_columns"]) == 1:
                    action = (key["options"].get("ondelete") or "").upper()
                    if action not in ("CASCADE", "SET NULL", "SET DEFAULT"):
                        able[child] = f"{key['constrained_columns'][0]} IN (SELECT {key['referred_columns'][0]}"
        for child, condition in able.items():
            try:
                asked = f"SELECT 1 FROM {child} WHERE {condition} FROM {table}{where}) LIMIT 1"
                if connection.exec_driver_sql(asked, params).first() is not None:
                    found.append(child)
            except SQLAlchemyError:
                return sorted(able)
    return found or sorted(able)


def _whose(registry: Registry, table: str) -> str:
    prefixes = {one.name.replace("-", "_") + "_": one.name for one in registry.barclamps}
    best = max((prefix for prefix in prefixes if table.startswith(prefix)), key=len, default="")
    return f"{table} (of barclamp {prefixes[best]})" if best else table


def _unique(registry: Registry, table: str, columns: str) -> str:
    return f"There is a row of {_whose(registry, table)} with the same {columns} already."


def _needed(registry: Registry, table: str, column: str) -> str:
    return f"A row of {_whose(registry, table)} needs its {column}."


def _rule(registry: Registry, table: str, rule: str) -> str:
    return f"{_whose(registry, table)} does not allow it, by its rule {rule}."


def _absent(registry: Registry, table: str, parent: str) -> str:
    return f"{_whose(registry, table)} would refer to something in {parent} that is not there, or not any more."


def _still(registry: Registry, tables: list[str]) -> str:
    named = ", ".join(_whose(registry, table) for table in tables) or "Another table"
    return f"{named} still refers to it. Remove that first."
