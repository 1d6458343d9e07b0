"""A plan as JSON: the summary first, then what changes, then each step."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from crowbar_core.services.cluster.planning import Plan


def shown(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "title": plan.title,
        "empty": plan.is_empty,
        "counts": plan.counts,
        "seconds": plan.seconds,
        "unknown": list(plan.unknown),
        "destroys": list(plan.destroys),
        "removed": list(plan.removed),
        "reboots": list(plan.reboots),
        "unsteady": list(plan.unsteady),
        "lines": [asdict(line) for line in plan.lines],
        "values": [asdict(value) for value in plan.values],
        "steps": [asdict(step) for step in plan.steps],
    }
