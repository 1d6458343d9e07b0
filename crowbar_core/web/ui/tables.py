"""Tables and forms as data: which fields of a listing a page shows and how, what a form asks for, and the same by API
and command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import Any, Literal
from urllib.parse import quote, urlencode

from flask import Response, render_template, request
from markupsafe import Markup

from crowbar_core.barclamp import Permission
from crowbar_core.errors import BarclampError
from crowbar_core.store import listing as lists
from crowbar_core.store.listing import Listing, Where
from crowbar_core.web import auth
from crowbar_core.web.api.verbs import Action
from crowbar_core.web.ui.shell import page

Kind = Literal["text", "word", "number", "moment", "state", "code", "json"]
TEXT_MAX = 255


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a table shows of each row: its field ``name``, in the way of its ``kind``: text, word (which is never broken
    in two), number, moment, state, code or json.

    ``href`` is where it leads, with fields of the row in braces (``"/nodes/{node_id}"``); an empty value leads nowhere.
    """

    name: str
    label: str
    kind: Kind = "text"
    href: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that it needs of a row."""
        return (self.name, *(name for _, name, _, _ in Formatter().parse(self.href) if name))

    def of(self, row: Any) -> Any:
        return _Fields(row)[self.name]

    def link(self, row: Any) -> str:
        if not self.href or self.of(row) in (None, ""):
            return ""
        return self.href.format_map(_Quoted(row))


class _Fields(dict[str, Any]):
    """The fields of a row, which is a mapping or a dataclass."""

    def __init__(self, row: Any) -> None:
        super().__init__()
        self._row = row

    def __missing__(self, name: str) -> Any:
        try:
            return self._row[name] if isinstance(self._row, Mapping) else getattr(self._row, name)
        except (KeyError, AttributeError):
            has = self._row if isinstance(self._row, Mapping) else getattr(self._row, "__dataclass_fields__", ())
            raise _no_field(name, list(has)) from None


class _Quoted(_Fields):
    """The same, as they may stand in an address."""

    def __missing__(self, name: str) -> str:
        return quote(str(super().__missing__(name)), safe="")


def _no_field(name: str, has: Sequence[str]) -> BarclampError:
    return BarclampError(
        f"A column of this page shows {name!r}, which its rows do not have; they have {', '.join(has)}."
    )


@dataclass(frozen=True, kw_only=True)
class Input:
    """A field of a form. ``choices`` are (value, what is shown); ``kind`` is the type of HTML's ``<input>``."""

    name: str
    label: str
    value: str = ""
    required: bool = False
    kind: str = "text"
    choices: Sequence[tuple[str, str]] = ()
    placeholder: str = ""
    size: int = 0
    autocomplete: str = ""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form that is sent to ``url``, with the API call and the command that do the same."""

    title: str
    url: str
    inputs: Sequence[Input]
    label: str = "Save"
    api: str = ""
    cli: str = ""
    permission: Permission = "operator"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A page of a listing: its rows, what they were filtered by, and the query of the next page ('' on the last)."""

    items: Sequence[Mapping[str, Any]]
    filters: Mapping[str, str] = field(default_factory=dict)
    next: str = ""
    onward: str = "More"
    """What leads to the next page is called."""
    names: tuple[str, ...] = field(default=(), init=False, repr=False)
    """The fields that its rows have, as ``rows`` knows them even when there are none."""


def rows(
    listing: Listing, *, filters: Sequence[str] = (), sort: str = "", limit: int = lists.LIMIT_DEFAULT,
    where: Where = (), fields: Sequence[str] = (),
) -> Rows:  # fmt: skip
    """A page of a listing, as the query parameters ask for it: ``after``, and those in ``filters``. Raises
    ``BadInput`` for a filter or a position that cannot be.
    """
    asked = {name: request.args.get(name, "").strip()[:TEXT_MAX] for name in filters}
    with auth.parts().store.read() as session:
        found = lists.page(
            session,
            listing,
            filters={name: value for name, value in asked.items() if value},
            where=where,
            sort=sort,
            after=request.args.get("after", ""),
            limit=limit,
            fields=fields,
        )
    following = urlencode({**asked, "after": found.after}) if found.after is not None else ""
    onward = "Older" if listing.newest_first and not sort else "More"
    shown = Rows(items=found.rows, filters=asked, next=following, onward=onward)
    object.__setattr__(
        shown, "names", tuple(fields) or tuple(one.name for one in listing.items if not one.only_on_request)
    )
    return shown


def row(listing: Listing, reference: str | int, *, where: Where = ()) -> dict[str, Any]:
    """One object of a listing, by its id or name, with all its fields. Raises ``NotFound``."""
    with auth.parts().store.read() as session:
        return lists.one(session, listing, reference, where=where)


def list_page(
    title: str, shown: Rows, columns: Sequence[Column], *, sub: str = "", filters: Sequence[Input] = (),
    forms: Sequence[Form] = (), empty: str = "Nothing is like that.", **context: Any,
) -> Response:  # fmt: skip
    """A page that lists objects, with a form to filter by (``filters`` are what ``rows`` was asked for), and others
    below. Raises ``BarclampError`` for a column that names no field of the rows, even when there are none.
    """
    for name in (name for column in columns for name in column.names) if shown.names else ():
        if name not in shown.names and "*" not in shown.names:
            raise _no_field(name, shown.names)
    asked = [replace(one, required=False) for one in filters]  # of an input that a form needs, too
    return page(
        "list.html", title=title, rows=shown, columns=columns, sub=sub, filters=asked, forms=forms, empty=empty,
        **context,
    )  # fmt: skip


def object_page(
    title: str, one: Mapping[str, Any], columns: Sequence[Column], *, above: tuple[str, str] = ("", ""),
    actions: Sequence[Action] = (), forms: Sequence[Form] = (), **context: Any,
) -> Response:  # fmt: skip
    """A page that shows one object: its fields as facts, what can be done with it, and forms below. ``above`` is the
    page that leads here: (what it is called, where it is).
    """
    return page(
        "object.html", title=title, object=one, columns=columns, above=above, actions=actions, forms=forms, **context
    )


def fragment(template: str, **context: Any) -> Markup:
    """A part of a page, made from a template, as a ``Panel`` gives it back."""
    return Markup(render_template(template, **context))
