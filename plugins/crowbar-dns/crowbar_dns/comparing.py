"""What must be sent to a server: a pure function of what is wanted, what is Crowbar's, and what is there.

The unit is all values of one name and type (an RRset), which is Crowbar's or is not. It is Crowbar's when the server
has confirmed it before, or when what is there is just what was about to be sent as a process was cut off; in a zone
that is shared, when a TXT record beside it says so. What was Crowbar's once and comes back (a server was restored from
a backup) goes again. Anything else is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from crowbar_dns.names import Record

Key = tuple[str, str]
"""Name and type."""


class RecordSet(NamedTuple):
    values: frozenset[str]
    ttl: int = 300


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What is Crowbar's under a name and type: values that the server has confirmed, that were about to be sent, and
    that went.
    """

    confirmed: frozenset[str] = frozenset()
    sent: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    ttl: int = 300


class Edit(NamedTuple):
    """Make the values of a name and type just these; none: it goes. ``new``: only if there is nothing yet."""

    name: str
    type: str
    values: frozenset[str] = frozenset()
    ttl: int = 300
    new: bool = False

    @property
    def key(self) -> Key:
        return self.name, self.type


@dataclass(kw_only=True)
class Difference:
    """``foreign``: what is wanted and is there already, but somebody else's."""

    edits: list[Edit] = field(default_factory=list)
    foreign: dict[Key, RecordSet] = field(default_factory=dict)
    fine: list[Key] = field(default_factory=list)


def gather(records: Iterable[Record]) -> dict[Key, RecordSet]:
    """Records by name and type; the shortest of their lives counts for all."""
    found: dict[Key, list[Record]] = {}
    for one in records:
        found.setdefault((one.name, one.type), []).append(one)
    return {
        key: RecordSet(frozenset([several[0].value]), several[0].ttl)
        if len(several) == 1
        else RecordSet(frozenset([one.value for one in several]), min([one.ttl for one in several]))
        for key, several in found.items()
    }


def sign(wanted: Mapping[Key, RecordSet], owner: str) -> dict[Key, RecordSet]:
    """The same with a TXT record for each that says whose it is."""
    found = dict(wanted)
    for name, kind in wanted:
        found[signature(name, kind)] = RecordSet(values=frozenset((owner,)))
    return found


def signature(name: str, kind: str) -> Key:
    return f"_crowbar-{kind.lower()}.{name}", "TXT"


def compare(
    wanted: Mapping[Key, RecordSet], owned: Mapping[Key, Owned], there: Mapping[Key, RecordSet], *, owner: str = ""
) -> Difference:
    """``owner``: the zone is shared, and what is Crowbar's is signed so."""
    found = Difference()
    keys = [*wanted, *(key for key in owned if key not in wanted)]
    if owner:
        keys += _orphans(wanted, owned, there, owner)
    for key in keys:
        name, kind = key
        have, want = there.get(key), wanted.get(key)
        if have is None:
            if want is not None:
                found.edits.append(Edit(name=name, type=kind, values=want.values, ttl=want.ttl, new=True))
            continue
        known = owned.get(key, Owned())
        ours = _is_ours(key, known, have, there, owner)
        if want is not None and have == want and (ours or not owner):
            found.fine.append(key)
        elif want is not None and ours:
            found.edits.append(Edit(name=name, type=kind, values=want.values, ttl=want.ttl))
        elif want is not None:
            found.foreign[key] = have
        elif ours:
            left = frozenset() if owner else have.values - known.confirmed - known.sent - known.gone
            if left != have.values:
                found.edits.append(Edit(name=name, type=kind, values=left, ttl=have.ttl))
    if owner:  # what somebody else has is not signed as ours: it would be taken for that the next time
        not_ours = {signature(*key) for key in found.foreign}
        found.edits = [one for one in found.edits if one.key not in not_ours]
    return found


def _is_ours(key: Key, known: Owned, have: RecordSet, there: Mapping[Key, RecordSet], owner: str) -> bool:
    if owner:
        mark = there.get(key if key[0].startswith("_crowbar-") else signature(*key))
        return mark is not None and owner in mark.values
    if known.confirmed:
        return True
    return have.values <= known.sent | known.gone


def _orphans(
    wanted: Mapping[Key, RecordSet], owned: Mapping[Key, Owned], there: Mapping[Key, RecordSet], owner: str
) -> list[Key]:
    """What is signed as ours, and of which nothing is known here (any more)."""
    found: list[Key] = []
    for (name, kind), have in there.items():
        if kind != "TXT" or not name.startswith("_crowbar-") or owner not in have.values:
            continue
        of, _, rest = name.removeprefix("_crowbar-").partition(".")
        found += [key for key in ((rest, of.upper()), (name, kind)) if key not in wanted and key not in owned]
    return found
