"""Making, changing and removing name filters, and trying one before: what it would name, and what would clash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import Change, NotFound, Refused
from crowbar_dns import entries, facts
from crowbar_dns.filters import Filter, check_template, conditions
from crowbar_dns.naming import claims_of, settle
from crowbar_dns.services import FOLLOW
from crowbar_dns.tables import filters


def create(change: Change, values: Mapping[str, Any]) -> int:
    """Returns its id. Raises ``BadInput``, and ``Refused`` where there is one of that name."""
    _check(values)
    _check_name(change.session, values["name"], None)
    made: int = change.session.scalar(insert(filters).values(**values).returning(filters.c.id))
    change.audit("dns.filter.create", f"name filter {values['name']}", **_told(values))
    _changed(change)
    return made


def alter(change: Change, key: int, values: Mapping[str, Any]) -> None:
    """Raises ``BadInput``, ``NotFound``, ``Refused``."""
    known = _row(change.session, key)
    _check(values)
    if "name" in values:
        _check_name(change.session, values["name"], key)
    if values:
        change.session.execute(update(filters).where(filters.c.id == key).values(**values))
        change.audit("dns.filter.change", f"name filter {known.name}", **_told(values))
        _changed(change)


def remove(change: Change, key: int) -> None:
    known = _row(change.session, key)
    change.session.execute(delete(filters).where(filters.c.id == key))
    change.audit("dns.filter.delete", f"name filter {known.name}")
    _changed(change)


def preview(session: Any, proposed: Mapping[str, Any], key: int | None = None) -> list[dict[str, Any]]:
    """What the records of one filter would be beside those of all others; ``key``: which it would take the place of.

    Raises ``BadInput``.
    """
    _check(proposed)
    mine = 0 if key is None else key
    values = {"name": "(this one)", "priority": 50, "ttl": 300, **proposed}
    there = [one for one in facts.filters(session) if one.id != key]
    known = facts.hosts(session)
    names = {one.id: one.name for one in known}
    made = claims_of(known, facts.addresses(known, every=True), [*there, Filter(id=mine, **values)])
    return [
        {
            "name": one.record.name, "rr_type": one.record.type, "value": one.record.value, "node_id": one.node_id,
            "node": names[one.node_id], "problem": one.problem,
        }
        for one in settle(made, names.__getitem__)
        if one.filter_id == mine
    ]  # fmt: skip


def _check(values: Mapping[str, Any]) -> None:
    if "matcher" in values:
        conditions(values["matcher"])
    if "template" in values:
        check_template(values["template"])


def _check_name(session: Any, name: str, key: int | None) -> None:
    found = session.scalar(select(filters.c.id).where(filters.c.name == name))
    if found not in (None, key):
        raise Refused(f"There is a name filter {name} already: change it, or call this one otherwise.")


def _row(session: Any, key: int) -> Any:
    found = session.execute(select(filters).where(filters.c.id == key)).first()
    if found is None:
        raise NotFound(f"There is no name filter {key}.")
    return found


def _changed(change: Change) -> None:
    entries.note(change, [entries.EVERYBODY])
    change.apply(FOLLOW)


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "name"}


def counted(found: Iterable[Mapping[str, Any]]) -> str:
    """A preview in a sentence."""
    listed = list(found)
    clashes = sum(1 for one in listed if one["problem"])
    records = f"{len(listed)} record{'' if len(listed) == 1 else 's'}"
    return f"It makes {records}, of which {clashes} cannot be." if clashes else f"It makes {records}."
