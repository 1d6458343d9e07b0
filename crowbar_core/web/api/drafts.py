"""Drafts: values that were set and are not committed, of one object or of all of a deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from crowbar_core.services.values import drafts as service
from crowbar_core.store.listing import Listing
from crowbar_core.web.api.collection import found_id, to_change
from crowbar_core.web.api.nouns import DEPLOYMENT_ROLES, DEPLOYMENTS, NODE_ROLES, NODES
from crowbar_core.web.api.operation import api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts


def _of(listing: Listing, parameter: str, *, commits: bool = True) -> None:
    """The routes of one noun. A deployment has no commit of its drafts alone: its own commit takes them along."""
    key, what = f"{parameter}_id", listing.noun
    base = f"/{listing.plural}/<{parameter}>/drafts"

    def read(**path: str) -> list[dict[str, Any]]:
        return [asdict(one) for one in service.drafts(parts(), **{key: found_id(listing, path[parameter])})]

    def commit(**path: str) -> dict[str, int]:
        chosen: dict[str, Any] = {key: to_change(listing, path[parameter])}
        return {"committed": service.commit_drafts(parts(), current_actor(), **chosen)}

    def discard(**path: str) -> dict[str, int]:
        return {
            "discarded": service.discard_drafts(parts(), current_actor(), **{key: to_change(listing, path[parameter])})
        }

    title = f"Commit the drafts of {what} {{{parameter}}}"
    routes: list[tuple[str, str, str, Callable[..., Any]]] = [
        ("GET", base, "read", api(permission="viewer", summary=f"The drafts of a {what}: old and new values")(read)),
        (
            "PUT",
            f"{base}/discard",
            "discard",
            api(permission="operator", summary=f"Discard the drafts of a {what}")(discard),
        ),
    ]
    if commits:
        done = api(permission="operator", summary=f"Commit the drafts of a {what}, and nothing else", plans=title)(
            commit
        )
        routes.append(("PUT", f"{base}/commit", "commit", done))
    for method, path, verb, view in routes:
        v2.add_url_rule(path, f"{verb}_drafts_{listing.plural}", view, methods=[method])


_of(NODES, "node")
_of(NODE_ROLES, "node_role")
_of(DEPLOYMENT_ROLES, "deployment_role")
_of(DEPLOYMENTS, "deployment", commits=False)
