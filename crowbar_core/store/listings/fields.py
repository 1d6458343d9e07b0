"""Making the fields of a listing: those that are columns of a table, and those that a statement works out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import JSON, ColumnElement, FromClause

from crowbar_core.domain.attributes import masked
from crowbar_core.store.listing import Choice, Field
from crowbar_core.store.models import Base, UtcDateTime, table
from crowbar_core.store.selections import in_group, named_like


def _type_of(column: ColumnElement[Any]) -> type:
    """The Python type of a column's values."""
    if isinstance(column.type, UtcDateTime):
        return datetime
    if isinstance(column.type, JSON):  # JSONB is one, too
        default = getattr(column, "server_default", None)
        return list if default is not None and "[" in str(default.arg) else dict
    return column.type.python_type


def field(
    column: ColumnElement[Any],
    name: str = "",
    *,
    filter: bool = False,
    sort: bool = False,
    example: Any = None,
    help: str = "",
    only_on_request: bool = False,
    read: Callable[[str], Any] | None = None,
    nullable: bool | None = None,
) -> Field:
    """A field that is a column of a table; a tree of values is shown with its secrets masked, and a name is sorted as
    people count: node-2 before node-10. ``nullable``: as the column says, unless it comes by an outer join.
    """
    kind = _type_of(column)
    nullable = bool(getattr(column, "nullable", False)) if nullable is None else nullable
    return Field(
        name=name or str(column.key),
        column=column,
        type=kind,
        show=masked if kind is dict else None,
        read=read,
        filter=filter,
        sort=sort and not nullable,
        nullable=nullable,
        order=column.table.c.name_key if column.key == "name" and "name_key" in column.table.c else None,
        example=example,
        help=help,
        only_on_request=only_on_request,
    )


def fields(
    source: type[Base] | FromClause, *names: str, filter: Sequence[str] = (), sort: Sequence[str] = ()
) -> tuple[Field, ...]:
    """Columns of a table (or of a model's), by their names; those in ``filter`` and ``sort`` can be asked for so."""
    columns = source.c if isinstance(source, FromClause) else table(source).c
    return tuple(field(columns[name], filter=name in filter, sort=name in sort) for name in names)


def derived(
    name: str,
    column: ColumnElement[Any],
    type_: type,
    *,
    show: Callable[[Any], Any] | None = None,
    words: Mapping[int, str] | None = None,
    read: Callable[[str], Any] | None = None,
    filter: bool = False,
    nullable: bool = False,
    only_on_request: bool = False,
    example: Any = None,
    help: str = "",
) -> Field:
    """A field that the statement works out: ``column`` is an expression whose values are of ``type_``, or numbers for
    which the API has ``words``. ``show`` and ``read`` make the API's values of the database's, and the other way round.
    """
    return Field(
        name=name,
        column=column,
        type=type_,
        show=show,
        words=words,
        read=read,
        filter=filter,
        nullable=nullable,
        only_on_request=only_on_request,
        example=example,
        help=help,
    )


def of_node(node_id: ColumnElement[int], name: ColumnElement[str]) -> tuple[Choice, ...]:
    """Filters by the node that a row is about: ``group`` and ``match``."""
    return (
        Choice(name="group", where=partial(in_group, node_id), help="A group of the node, by name or id."),
        Choice(
            name="match",
            where=partial(named_like, name),
            help="A pattern of the node's name, or of its part before a dot: * is any text, ? one character.",
        ),
    )
