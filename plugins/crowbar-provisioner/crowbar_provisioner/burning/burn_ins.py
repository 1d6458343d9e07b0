"""Burn-ins as they are kept: one for each run. They stay when the node goes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from crowbar_core import Change
from crowbar_provisioner import under_way
from crowbar_provisioner.inventory import Burned
from crowbar_provisioner.machines import BURN_ROLE
from crowbar_provisioner.tables import burn_ins

WANTED, RUNNING, PASSED, FAILED = "wanted", "running", "passed", "failed"
OPEN = (WANTED, RUNNING)


@dataclass(frozen=True, kw_only=True)
class BurnIn:
    """``boot_id``: the boot in which it began; None before. ``wish``: what the machine is told."""

    id: int
    run_id: int
    work: str
    node: str
    seconds: int
    wish: Mapping[str, Any]
    boot_id: int | None
    state: str
    percent: int
    detail: str
    begun_at: datetime


def begin(
    change: Change, *, run_id: int, node_id: int, node: str, seconds: int, parts: Sequence[str], disks: Sequence[str]
) -> BurnIn:  # fmt: skip
    """Once for each run; what an earlier run left open is over."""
    give_up(change, node_id, "Another run began.", but=run_id)
    if (known := of_run(change.session, run_id)) is not None:
        return known
    change.session.execute(
        insert(burn_ins).values(
            run_id=run_id, work=secrets.token_urlsafe(16), node_id=node_id, node=node, seconds=seconds,
            wish={"parts": list(parts), "disks": list(disks)}, boot_id=None, state=WANTED, percent=0, detail="",
            parts=[], corrected=0, uncorrected=0, kernel=[], begun_at=change.now,
        )
    )  # fmt: skip
    made = of_run(change.session, run_id)
    assert made is not None
    return made


def of_run(session: Any, run_id: int) -> BurnIn | None:
    row = session.execute(select(burn_ins).where(burn_ins.c.run_id == run_id)).first()
    return None if row is None else BurnIn(**{name: getattr(row, name) for name in BurnIn.__dataclass_fields__})


def open_of(session: Any, node_id: int) -> BurnIn | None:
    """The one that is under way on the node, whose run is."""
    run_id = under_way.open_on(session, burn_ins, OPEN, node_id, role=BURN_ROLE)
    return of_run(session, run_id) if run_id is not None else None


def give_up(change: Change, node_id: int, why: str, *, but: int = 0) -> None:
    """What is open on the node is over, unless it is of this run."""
    under_way.give_up(change, burn_ins, OPEN, node_id, why, but=but)


def keep(change: Change, one: BurnIn, **values: Any) -> None:
    change.session.execute(update(burn_ins).where(burn_ins.c.id == one.id).values(**values))


def end(change: Change, one: BurnIn, said: Burned) -> str:
    """It is over, for good or bad. Returns why it failed; ''."""
    why = verdict(said, one.wish)
    keep(
        change, one, state=FAILED if why else PASSED, percent=100, detail=why[:500], ended_at=change.now,
        parts=[each.model_dump(mode="json") for each in said.parts], corrected=said.corrected,
        uncorrected=said.uncorrected, kernel=list(said.kernel),
    )  # fmt: skip
    return why


def verdict(said: Burned, wish: Mapping[str, Any]) -> str:
    """What went wrong; '' where all that was asked for was tested, and nothing complained."""
    wanted = {one for one in wish["parts"] if one != "disk"}
    wanted |= {f"disk-{name}" for name in wish["disks"]} if "disk" in wish["parts"] else set()
    told = {one.part: one for one in said.parts}
    wrong = [
        f"{one.part} {'is not tested' if one.state == 'untested' else 'failed'}: {one.detail or 'it did not say why'}"
        for one in said.parts
        if one.state != "passed"
    ]
    if missing := sorted(wanted - told.keys()):
        wrong.append(f"nothing was told of {', '.join(missing)}")
    if said.corrected or said.uncorrected:
        wrong.append(f"the memory controllers counted {said.corrected} corrected and {said.uncorrected} other errors")
    if said.kernel:
        wrong.append(f"the kernel complained, first of: {said.kernel[0]}")
    return "; ".join(wrong)
