"""Erasures as they are kept: one for each disk and run. They stay when the node goes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from crowbar_core import Change
from crowbar_provisioner import under_way
from crowbar_provisioner.erasing import choosing, signing
from crowbar_provisioner.machines import ERASE_ROLE
from crowbar_provisioner.tables import erasures

WANTED, ERASING, ERASED, FAILED = "wanted", "erasing", "erased", "failed"
OPEN = (WANTED, ERASING)


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """``pieces``: the MiB that are read back; None for all of them."""

    id: int
    run_id: int
    work: str
    node: str
    disk: str
    serial: str
    wwn: str
    model: str
    size: int
    wanted_method: str
    pieces: Sequence[int] | None
    state: str
    method: str
    percent: int
    detail: str
    begun_at: datetime


def begin(
    change: Change, *, run_id: int, node_id: int, node: str, disks: Sequence[Mapping[str, Any]], method: str,
    sample: int,
) -> None:  # fmt: skip
    """One for each disk, once for each run; what an earlier run left open is over."""
    session = change.session
    give_up(change, node_id, "Another run began.", but=run_id)
    if of_run(session, run_id):
        return
    work = secrets.token_urlsafe(16)
    for one in disks:
        parts = choosing.pieces(one["size"], sample, secrets.randbelow)
        session.execute(
            insert(erasures).values(
                run_id=run_id, work=work, node_id=node_id, node=node, disk=one["name"], serial=one["serial"],
                wwn=one["wwn"], model=one["model"], size=one["size"], wanted_method=method, pieces=parts, state=WANTED,
                method="", percent=0, detail="", begun_at=change.now, report={}, signature="", public_key="",
            )
        )  # fmt: skip


def give_up(change: Change, node_id: int, why: str, *, but: int = 0) -> None:
    """What is open on the node is over, unless it is of this run; a machine that is at it is told so when it asks, or
    tells. Without a report: nothing is known of the disk.
    """
    under_way.give_up(change, erasures, OPEN, node_id, why, but=but)


def of_run(session: Any, run_id: int) -> list[Erasure]:
    return _all(session, erasures.c.run_id == run_id)


def open_of(session: Any, node_id: int) -> list[Erasure]:
    """All of the run that is under way on the node, those that have ended too; empty where none is."""
    run_id = under_way.open_on(session, erasures, OPEN, node_id, role=ERASE_ROLE)
    return of_run(session, run_id) if run_id is not None else []


def _all(session: Any, where: Any) -> list[Erasure]:
    rows = session.execute(select(erasures).where(where).order_by(erasures.c.id)).all()
    return [Erasure(**{name: getattr(one, name) for name in Erasure.__dataclass_fields__}) for one in rows]


def keep(change: Change, one: Erasure, **values: Any) -> None:
    change.session.execute(update(erasures).where(erasures.c.id == one.id).values(**values))


def end(change: Change, one: Erasure, *, method: str, read: int, not_blank: int, detail: str) -> str:
    """It is over, for good or bad: its report is written and signed. ``detail`` is why it failed, or ''. Returns the
    state.
    """
    wanted = choosing.to_read(one.size, one.pieces)
    why = detail or choosing.verdict(wanted=wanted, read=read, not_blank=not_blank)
    state = FAILED if why else ERASED
    report = {
        "node": one.node, "run": one.run_id, "disk": one.disk, "serial": one.serial, "wwn": one.wwn, "model": one.model,
        "size": one.size, "method": method, "begun_at": one.begun_at.isoformat(), "ended_at": change.now.isoformat(),
        "verification": {
            "kind": "whole" if one.pieces is None else "sample", "bytes_wanted": wanted, "bytes_read": read,
            "bytes_not_blank": not_blank,
        },
        "result": state, "detail": why,
    }  # fmt: skip
    signature, key = signing.sign(change, report)
    keep(
        change, one, state=state, method=method, percent=100 if state == ERASED else one.percent, detail=why[:500],
        ended_at=change.now, report=report, signature=signature, public_key=key,
    )  # fmt: skip
    return state
