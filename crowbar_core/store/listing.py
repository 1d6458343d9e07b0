"""Lists and single objects as the API shows them: Core rows with named fields, filters, sorting, paging by key.

A ``Listing`` says once which fields a noun has and where they come from; every list, object, sample and match is made
from that. A list costs one statement, plus one for each ``Later`` field that was asked for and that any row has,
however long it is.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import orjson
from sqlalchemy import JSON, ColumnElement, FromClause, Select, case, false, func, or_, select, tuple_
from sqlalchemy.orm import Session

from crowbar_core.domain.attributes import masked
from crowbar_core.errors import BadInput, FieldError, NotFound, Refused
from crowbar_core.store.bulk import portions
from crowbar_core.store.quoted import always, can_be_quoted, fetched, members, veiled, worded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
ID_MAX: Final = 2**31 - 1

Where = Sequence[ColumnElement[bool]]
"""Conditions, all of which have to hold."""
Filters = Mapping[str, str | Sequence[str]] | None

_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a noun. ``show`` makes the API's value from the database's, ``read`` the other way round (filters).

    ``only_on_request`` fields are left out of lists unless asked for by name (they are long or dear).
    """

    name: str
    column: ColumnElement[Any]
    type: type
    filter: bool = False
    sort: bool = False
    nullable: bool = False
    only_on_request: bool = False
    show: Callable[[Any], Any] | None = None
    read: Callable[[str], Any] | None = None
    words: Mapping[int, str] | None = None
    """What the API says instead of the numbers that the column has: a word for each of them."""
    order: ColumnElement[Any] | None = None
    """What it is sorted by, of the same type; the column itself unless said."""
    example: Any = None
    help: str = ""

    @property
    def by(self) -> ColumnElement[Any]:
        return self.column if self.order is None else self.order

    @property
    def said(self) -> ColumnElement[Any]:
        if self.words is None:
            return self.column
        plain = not self.nullable and all(word.isidentifier() for word in self.words.values())
        return worded(self.column, self.words) if plain else case(dict(self.words), value=self.column)

    @property
    def is_quoted(self) -> bool:
        return self.show in (None, masked) and can_be_quoted(self.said)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A filter that is no field: ``where`` makes the condition of the text that was given. Raises ``BadInput``."""

    name: str
    where: Callable[[str], ColumnElement[bool]]
    help: str


@dataclass(frozen=True, kw_only=True)
class Later:
    """A field that is filled in by one more statement for all rows of a page: ids to values."""

    name: str
    type: type
    fetch: Callable[[Session, Sequence[int]], Mapping[int, Any]]
    missing: Any = None
    only_on_request: bool = True
    only: ColumnElement[bool] | None = None
    """For which rows it is fetched; the others have what is ``missing``. All of them unless said."""
    example: Any = None
    help: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """What the objects of one noun look like. ``name`` is the column by which they are found besides their id.

    ``unless_asked``: what a list is filtered by where nothing is said of that field.
    """

    noun: str
    plural: str
    source: FromClause
    key: ColumnElement[int]
    fields: tuple[Field, ...]
    later: tuple[Later, ...] = ()
    name: ColumnElement[str] | None = None
    newest_first: bool = False
    choices: tuple[Choice, ...] = ()
    unless_asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def items(self) -> tuple[Field | Later, ...]:
        return (*self.fields, *self.later)

    def field(self, name: str) -> Field | Later | None:
        return next((item for item in self.items if item.name == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.items)

    @property
    def filters(self) -> tuple[str, ...]:
        return (*(item.name for item in self.fields if item.filter), *(item.name for item in self.choices))

    @property
    def sorts(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.fields if item.sort)


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a list: its rows, or all of them as JSON ``text``. ``after`` asks for the next one; None on the last.
    ``total`` only when it was asked for.
    """

    rows: list[dict[str, Any]]
    text: str = ""
    after: str | None = None
    total: int | None = None


def page(
    session: Session, listing: Listing, *, filters: Filters = None, where: Where = (), sort: str = "", after: str = "",
    limit: int = LIMIT_DEFAULT, fields: Sequence[str] = (), count: bool = False,
    dumps: Callable[[Any], bytes] | None = None,
) -> Page:  # fmt: skip
    """A page of a list; of several values for one filter any will do. With ``dumps`` it comes as text: the database
    writes what it can, ``dumps`` the rest.

    Raises ``BadInput`` for filters, columns, fields or a position that cannot be.
    """
    wanted, statement = _asked(listing, tuple(fields), dumps is not None)
    conditions = _conditions(listing, filters, where)
    column, descending, by = _order(listing, sort)
    total = None
    if count:
        total = session.scalar(select(func.count()).select_from(listing.source).where(*conditions))
    statement = statement.where(*conditions)
    if column is None:
        if after:
            last_id = _id(after, "after")
            statement = statement.where(listing.key < last_id if descending else listing.key > last_id)
        statement = statement.order_by(listing.key.desc() if descending else listing.key)
    else:
        statement = statement.add_columns(column.by.label("_sort"))
        if after:
            position = _position(after, column)
            here = tuple_(column.by, listing.key)
            statement = statement.where(here < position if descending else here > position)
        ends = (column.by, listing.key)
        statement = statement.order_by(*(end.desc() if descending else end for end in ends))
    # Past the ORM, which would look at each row once more.
    result = session.connection().execute(statement.limit(limit + 1))
    is_written = column is None and not any(type(item) is Field for item in wanted)
    found = fetched(result) if is_written else result.all()
    more, found = len(found) > limit, found[:limit]
    following = None
    if more:
        last = found[-1]
        following = str(last[0]) if column is None else _cursor(by, last[-1], last[0])
    if dumps is not None:
        return Page(rows=[], text=_written(session, wanted, found, dumps), after=following, total=total)
    return Page(rows=_render(session, wanted, found), after=following, total=total)


def one(
    session: Session, listing: Listing, ref: str | int, *, where: Where = (), fields: Sequence[str] = ()
) -> dict[str, Any]:
    """One object by its id or name, with all its fields. Raises ``NotFound``, which names what was looked for."""
    wanted = _wanted(listing, fields, whole=True)
    statement = _select(listing, wanted)
    found = session.execute(statement.where(_is(listing, ref), *where).limit(2)).all()
    return _render(session, wanted, [_only(listing, ref, found)])[0]


def lines(
    session: Session, listing: Listing, kind: type[T], *, filters: Filters = None, where: Where = (),
    order: Sequence[ColumnElement[Any]] = (), limit: int | None = None,
) -> list[T]:  # fmt: skip
    """Objects of a listing for pages: ``kind`` is a dataclass whose fields are fields of the listing (enumerations are
    made of what it shows), but for those that have a default and that the listing does not know. Filtered as the API's
    lists are; by key, unless ``order`` says otherwise.
    """
    made = {name: hint for name, hint in _hints(kind).items() if isinstance(hint, type) and issubclass(hint, Enum)}
    asked = [one.name for one in dataclasses.fields(kind) if not _own(one) or listing.field(one.name) is not None]
    wanted = _wanted(listing, asked, whole=True)
    statement = _select(listing, wanted).where(*_conditions(listing, filters, where))
    statement = statement.order_by(*(order or (listing.key.desc() if listing.newest_first else listing.key,)))
    rows = _render(session, wanted, session.execute(statement.limit(limit)).all())
    for name, enumeration in made.items():
        for row in rows:
            row[name] = enumeration(row[name])
    return [kind(**row) for row in rows]


_hints = lru_cache(get_type_hints)


def _own(one: dataclasses.Field[Any]) -> bool:
    return one.default is not dataclasses.MISSING or one.default_factory is not dataclasses.MISSING


def find_id(session: Session, listing: Listing, ref: str | int, *, where: Where = ()) -> int:
    """The id of the object with this id or name."""
    statement = select(listing.key).select_from(listing.source).where(_is(listing, ref), *where).limit(2)
    key: int = _only(listing, ref, session.scalars(statement).all())
    return key


def lock(session: Session, listing: Listing, key: int) -> None:
    """Have others who lock the object of this id wait until this transaction ends."""
    held = listing.key.table
    session.execute(select(held.c.id).where(held.c.id == key).with_for_update())


def find_ids(session: Session, listing: Listing, refs: Sequence[str | int]) -> list[int]:
    """The ids of the objects with these ids or names, in the same order, in one statement for some thousand. Raises
    ``NotFound``, which names the first that is not there.
    """
    numbers = {int(str(ref)) for ref in refs if _is_id(str(ref))}
    names = {str(ref).lower() for ref in refs if not _is_id(str(ref))}
    found: dict[str | int, list[int]] = {}
    for portion in portions(sorted(numbers)):
        rows = session.scalars(select(listing.key).select_from(listing.source).where(listing.key.in_(portion)))
        found.update({ref: [ref] for ref in rows})
    named = func.lower(listing.name)
    for asked in portions(sorted(names) if listing.name is not None else []):
        for name, key in session.execute(
            select(named, listing.key).select_from(listing.source).where(named.in_(asked))
        ):
            found.setdefault(name, []).append(key)
    return [_only(listing, ref, found.get(int(str(ref)) if _is_id(str(ref)) else str(ref).lower(), [])) for ref in refs]


def _only(listing: Listing, ref: str | int, found: Sequence[Any]) -> Any:
    if not found:
        raise _missing(listing, ref)
    if len(found) > 1:
        raise Refused(
            f"More than one {listing.noun} has that name; give the id of one that is listed at {listing.plural}."
        )
    return found[0]


def _is(listing: Listing, ref: str | int) -> ColumnElement[bool]:
    text = str(ref)
    if _is_id(text):
        return listing.key == int(text)
    if listing.name is None or "\x00" in text or len(text) > 255:
        raise _missing(listing, ref)
    return func.lower(listing.name) == text.lower()


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= ID_MAX


def _missing(listing: Listing, ref: str | int) -> NotFound:
    text = str(ref)
    plain = text if len(text) <= 80 and text.isprintable() else f"with that {len(text)}-character name"
    way = "id or name" if listing.name is not None else "id (a number)"
    return NotFound(f"There is no {listing.noun} {plain}; give the {way} of one that is listed at {listing.plural}.")


@lru_cache(maxsize=256)
def _asked(listing: Listing, fields: tuple[str, ...], as_text: bool) -> tuple[Sequence[Field | Later], Select[Any]]:
    """What a list is asked for, and the statement: to put one together costs as much as many rows."""
    wanted: Sequence[Field | Later] = _wanted(listing, fields, whole=False)
    wanted = _stretches(wanted) if as_text else wanted
    return wanted, _select(listing, wanted)


def _select(listing: Listing, wanted: Sequence[Field | Later]) -> Select[Any]:
    """The key, what is wanted of fields, and of what comes later for which rows it does."""
    columns = [item.said.label(item.name) for item in wanted if isinstance(item, Field)]
    asked = [item.only.label(f"_{item.name}") for item in wanted if isinstance(item, Later) and item.only is not None]
    return select(listing.key.label("_key"), *columns, *asked).select_from(listing.source)


@dataclass(frozen=True, kw_only=True)
class _Stretch(Field):
    """Fields that follow each other, as the database writes them: what stands between the braces. ``trees`` are those
    that may hold secrets.
    """

    trees: tuple[str, ...]


def _stretches(wanted: Sequence[Field | Later]) -> list[Field | Later]:
    found: list[Field | Later] = []
    for alike, items in groupby(wanted, lambda item: isinstance(item, Field) and item.is_quoted):
        if alike:
            those = [item for item in items if isinstance(item, Field)]
            columns = [(item.name, item.said if item.nullable else always(item.said)) for item in those]
            trees = tuple(name for name, column in columns if isinstance(column.type, JSON))
            found.append(_Stretch(name=columns[0][0], column=members(columns), type=str, trees=trees))
        else:
            found += items
    return found


def _wanted(listing: Listing, names: Sequence[str], *, whole: bool) -> list[Field | Later]:
    if not names:
        return [item for item in listing.items if whole or not item.only_on_request]
    wanted = []
    usual = [item.name for item in listing.items if whole or not item.only_on_request] if "*" in names else []
    for name in dict.fromkeys([*usual, *(name for name in names if name != "*")]):
        item = listing.field(name)
        if item is None:
            raise _refused("fields", f"A {listing.noun} has no such field; it has {', '.join(listing.names)}.")
        wanted.append(item)
    return wanted


def _render(session: Session, wanted: Sequence[Field | Later], found: Sequence[Any]) -> list[dict[str, Any]]:
    names = [item.name for item in wanted]
    return [dict(zip(names, row, strict=True)) for row in zip(*_values(session, wanted, found), strict=True)]


def _written(
    session: Session, wanted: Sequence[Field | Later], found: Sequence[Any], dumps: Callable[[Any], bytes]
) -> str:
    """All rows as a JSON array."""
    columns: list[Sequence[str]] = []
    for item, values in zip(wanted, _values(session, wanted, found), strict=True):
        if isinstance(item, _Stretch):
            columns.append(values)
        else:
            name, usual = item.name, item.missing if isinstance(item, Later) else None
            text = f'"{name}":{dumps(usual).decode()}'
            columns.append([text if one is usual else f'"{name}":{dumps(one).decode()}' for one in values])
    rows = columns[0] if len(columns) == 1 else map(",".join, zip(*columns, strict=True))
    return "[{" + "},{".join(rows) + "}]" if found else "[]"


def _values(session: Session, wanted: Sequence[Field | Later], found: Sequence[Any]) -> list[Sequence[Any]]:
    """The values of each item for all rows at once: most of what a long list costs is done here."""
    if not found:
        return [() for _ in wanted]
    keys, *columns = zip(*found, strict=True)
    of_fields = iter(columns)
    of_later = iter(columns[sum(isinstance(item, Field) for item in wanted) :])
    values: list[Sequence[Any]] = []
    for item in wanted:
        if isinstance(item, Later):
            mine = keys if item.only is None else [key for key, has in zip(keys, next(of_later), strict=True) if has]
            fetched = item.fetch(session, mine) if mine else {}
            values.append([fetched.get(key, item.missing) for key in keys] if fetched else [item.missing] * len(keys))
        else:
            column: Sequence[Any] = next(of_fields)
            if isinstance(item, _Stretch):
                column = veiled(column, item.trees)
            values.append(column if item.show is None else [item.show(value) for value in column])
    return values


# ---------------------------------------------------------------- filters, order, position


def _refused(parameter: str, detail: str) -> BadInput:
    return BadInput(detail, errors=(FieldError(pointer=f"?{parameter}", detail=detail),))


def _conditions(listing: Listing, filters: Filters, where: Where) -> list[ColumnElement[bool]]:
    return [*where, *(_condition(listing, name, value) for name, value in (filters or {}).items())]


def _condition(listing: Listing, name: str, value: str | Sequence[str]) -> ColumnElement[bool]:
    if not isinstance(value, str):
        return or_(false(), *(_condition(listing, name, one) for one in value))
    for choice in listing.choices:
        if choice.name == name:
            return choice.where(value)
    item = listing.field(name)
    if not isinstance(item, Field) or not item.filter:
        possible = ", ".join(listing.filters) or "nothing"
        raise _refused(name, f"A list of {listing.plural} cannot be filtered by that; it can by {possible}.")
    if item.nullable and value in ("null", ""):
        return item.column.is_(None)
    parsed = _parse(item, value)
    if item.type is bool:
        return item.column.is_(parsed)
    same: ColumnElement[bool] = item.column == parsed
    return same


def _parse(item: Field, value: str) -> Any:
    if item.read is not None:
        try:
            return item.read(value)
        except (ValueError, KeyError):
            possible = ", ".join(item.words.values()) if item.words else item.help.rstrip(".")
            known = f"; it can be {possible}" if possible else ""
            raise _refused(item.name, f"{item.name} cannot have that value{known}.") from None
    if item.type is bool:
        if value.lower() not in _TRUTH:
            raise _refused(item.name, f"{item.name} is true or false.")
        return _TRUTH[value.lower()]
    if item.type is int:
        return _integer(value, item.name)
    if item.type is date:
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise _refused(item.name, f"{item.name} is a day, written as 2026-01-31.") from None
    if "\x00" in value:
        raise _refused(item.name, f"{item.name} may not hold a NUL character.")
    return value


def _integer(value: str, parameter: str) -> int:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or abs(int(value)) > ID_MAX:
        raise _refused(parameter, f"{parameter} is a whole number between {-ID_MAX} and {ID_MAX}.")
    return int(value)


def _id(value: str, parameter: str) -> int:
    number = _integer(value, parameter)
    if number < 0:
        raise _refused(parameter, f"{parameter} is an id: a number from 0, as the Link header gives it.")
    return number


def _order(listing: Listing, sort: str) -> tuple[Field | None, bool, str]:
    """The column to sort by (None: the key), whether downwards, and its name."""
    if not sort:
        return None, listing.newest_first, "id"
    descending, name = sort.startswith("-"), sort.removeprefix("-")
    if name == "id":
        return None, descending, "id"
    item = listing.field(name)
    if not isinstance(item, Field) or not item.sort:
        possible = ", ".join(dict.fromkeys(("id", *listing.sorts)))
        raise _refused(
            "sort", f"A list of {listing.plural} is sorted by one of {possible}, with a - before it downwards."
        )
    return item, descending, name


def _cursor(by: str, value: Any, key: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([by, value, key])).decode().rstrip("=")


def _position(after: str, column: Field) -> tuple[Any, int]:
    refusal = _refused("after", "after is a position in a list sorted by this column; take it from the Link header.")
    try:
        held = orjson.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        by, value, key = held
        value = column.type.fromisoformat(value) if column.type in (date, datetime) else value
    except (ValueError, TypeError, binascii.Error):
        raise refusal from None
    right = by == column.name and type(value) is column.type and type(key) is int and 0 <= key <= ID_MAX
    if not right or (isinstance(value, str) and "\x00" in value):
        raise refusal
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > ID_MAX:
        raise refusal
    if isinstance(value, datetime) and value.tzinfo is None:
        raise refusal
    return value, key
