"""What an act that destroys would take away, for those who ask before they do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crowbar_core.barclamp import Permission
from crowbar_core.services.cluster.losses import losses
from crowbar_core.store.listing import Listing
from crowbar_core.web.api.collection import found_id
from crowbar_core.web.api.operation import LossQuery, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.api.verbs import VERBS
from crowbar_core.web.auth import parts


def _asking(listing: Listing, parameter: str, permission: Permission) -> None:
    def view(query: LossQuery, **path: str) -> Any:
        return losses(parts(), listing.plural, found_id(listing, path[parameter]), query.act, force=query.force)

    told: Callable[..., Any] = api(
        permission=permission, summary=f"What an act would take away with a {listing.noun}", query=LossQuery
    )(view)
    v2.add_url_rule(f"/{listing.plural}/<{parameter}>/losses", f"losses_{listing.plural}", told, methods=["GET"])


for _verb in {verb.noun: verb for verb in VERBS if verb.asks}.values():
    _asking(_verb.of, _verb.parameter, "admin" if _verb.permission == "admin" else "viewer")
