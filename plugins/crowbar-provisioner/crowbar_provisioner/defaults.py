"""What an installation is given where nothing else is said: which operating system, and whom root lets in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from crowbar_core import BadInput, Change, differences
from crowbar_provisioner.answers.facts import check_key
from crowbar_provisioner.tables import defaults

FIRST_OS = "debian-12"
MOST_KEYS = 100


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """``keys``: public keys of SSH, besides Crowbar's own."""

    os: str = FIRST_OS
    keys: Sequence[str] = ()


def get(session: Any) -> Defaults:
    row = session.execute(select(defaults.c.os, defaults.c["keys"])).first()
    return Defaults() if row is None else Defaults(os=row[0], keys=tuple(row[1]))


def put(change: Change, *, os: str | None = None, keys: Sequence[str] | None = None) -> Defaults:
    """What is None stays. That there is such an operating system is for the caller to see to. Raises ``BadInput``."""
    known = get(change.session)
    values: Mapping[str, Any] = {
        "os": known.os if os is None else os,
        "keys": list(known.keys if keys is None else dict.fromkeys(check_key(one) for one in keys)),
    }
    if len(values["keys"]) > MOST_KEYS:
        raise BadInput(f"There may be {MOST_KEYS} keys.")
    there = change.session.execute(select(defaults.c.id)).first()
    change.session.execute(
        insert(defaults).values(id=1, **values) if there is None else update(defaults).values(**values)
    )
    was = {"os": known.os, "keys": list(known.keys)}
    change.audit("os_defaults.change", "defaults of installations", changed=differences(was, values))
    return get(change.session)
