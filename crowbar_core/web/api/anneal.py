"""Is all of it ACTIVE? The question that scripts wait on."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Final

from pydantic import Field

from crowbar_core.services.watch import settling
from crowbar_core.web.api.operation import Answer, Query, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.api.runs import LOOK_EVERY, waiting
from crowbar_core.web.auth import parts

WAIT_MAX: Final = 20.0
STATUS: Final = {"settled": 200, "working": 202, "waiting": 409, "failed": 409}


class AnnealQuery(Query):
    sync: bool = Field(False, description="Wait until nothing works any more, or the time is over.")
    timeout: float = Field(WAIT_MAX, ge=0.0, le=WAIT_MAX, description="Seconds to wait at most.")


@v2.get("/anneal")
@api(
    permission="viewer",
    summary="200 when all is ACTIVE, 202 while something works, 409 when something has failed or waits",
    query=AnnealQuery,
    statuses=(202, 409),
)
def anneal(query: AnnealQuery) -> Answer:
    built = parts()
    found = settling.settled(built)
    if query.sync and found.state == "working":
        with waiting().place() as got:
            deadline, pause = time.monotonic() + query.timeout, waiting().pauses()
            while got and found.state == "working" and (left := deadline - time.monotonic()) > 0:
                if not pause(min(LOOK_EVERY, left)):
                    break
                found = settling.settled(built)
    headers = {"Retry-After": "1"} if found.state == "working" else {}
    idle = found.state != "settled" and not found.working
    value: dict[str, Any] = {
        "state": found.state,
        "working": found.working,
        "errors": found.errors,
        "waiting": found.waiting,
        "active": found.active,
        "undelivered": found.undelivered,
        "unheard": found.unheard,
        "retries": found.retries,
        "retry_at": found.retry_at,
        "waits": [asdict(one) for one in settling.waits(built)] if idle else [],
        "hindrances": list(settling.hindrances(built)) if found.state == "working" or found.unheard else [],
    }
    return Answer(value=value, status=STATUS[found.state], headers=headers)
