"""Events that plugins react to, their deliveries, and the failed ones that can be tried again."""

from __future__ import annotations

from crowbar_core.errors import Refused
from crowbar_core.services.cluster import failed_hooks
from crowbar_core.web.api.collection import found_id, reading, single
from crowbar_core.web.api.nouns import DELIVERIES, EVENTS
from crowbar_core.web.api.operation import Answer, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts

reading(v2, EVENTS, parameter="event")
reading(v2, DELIVERIES, parameter="delivery")


@v2.post("/events/deliveries/<delivery>/retry")
@api(permission="operator", summary="Call a plugin's failed hook again", listing=DELIVERIES)
def retry_delivery(delivery: str) -> Answer:
    key = found_id(DELIVERIES, delivery)
    if not failed_hooks.retry(parts(), current_actor(), key):
        raise Refused(f"Delivery {key} has not failed: only a failed one can be tried again.")
    return single(DELIVERIES, key)


@v2.post("/events/deliveries/<delivery>/dismiss")
@api(permission="operator", summary="Give up a plugin's failed hook: it is shown no longer")
def dismiss_delivery(delivery: str) -> dict[str, int]:
    key = found_id(DELIVERIES, delivery)
    if not failed_hooks.dismiss(parts(), current_actor(), key):
        raise Refused(f"Delivery {key} has not failed: only a failed one can be dismissed.")
    return {"dismissed": 1}
