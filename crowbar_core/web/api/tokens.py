"""Bearer tokens of users and nodes. The secret of a token is shown once, when it is made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from crowbar_core.errors import BadInput, Forbidden
from crowbar_core.services.people import users as service
from crowbar_core.store import relations
from crowbar_core.store.listing import Where
from crowbar_core.web.api.bodies import Reference, TokenName, resolve
from crowbar_core.web.api.collection import created, found_id, listed, match, sample, single
from crowbar_core.web.api.nouns import NODES, TOKENS, USERS
from crowbar_core.web.api.operation import Answer, Body, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, current_identity, may, parts


class NewToken(Body):
    name: TokenName = ""
    user_id: Reference | None = Field(None, description="One's own when neither user_id nor node_id is given.")
    node_id: Reference | None = None
    role: Literal["admin", "operator", "viewer", "node"] | None = None
    purpose: str = Field(
        "",
        max_length=32,
        description="Of a node's token: what it is for. With one for boot, the node may bring new host keys.",
    )
    expires_at: AwareDatetime | None = None


def _visible() -> Where:
    """Administrators see all tokens, others their own."""
    identity = current_identity()
    assert identity is not None
    if may(identity, "admin"):
        return ()
    return (relations.tokens_of_user(identity.user_id),)


@v2.get("/tokens")
@api(permission="viewer", summary="List the tokens: one's own, or as administrator all", listing=TOKENS, many=True)
def list_tokens() -> Answer:
    return listed(TOKENS, where=_visible())


@v2.get("/tokens/sample")
@api(permission="viewer", summary="What a token looks like", listing=TOKENS)
def sample_token() -> dict[str, Any]:
    return sample(TOKENS)


@v2.post("/tokens/match")
@api(permission="viewer", summary="The tokens with these field values", listing=TOKENS, many=True, takes_match=True)
def match_tokens(body: dict[str, Any]) -> Answer:
    return match(TOKENS, body, where=_visible())


@v2.get("/tokens/<token>")
@api(permission="viewer", summary="Show one token, without its secret", listing=TOKENS)
def show_token(token: str) -> Answer:
    return single(TOKENS, token, where=_visible())


@v2.post("/tokens")
@api(
    permission="viewer",
    summary="Make a token; it is shown only now",
    body=NewToken,
    listing=TOKENS,
    status=201,
    sensitive=True,
)
def create_token(body: NewToken) -> Answer:
    identity = current_identity()
    assert identity is not None
    if body.user_id is not None and body.node_id is not None:
        raise BadInput("A token belongs either to a user or to a node: give one of user_id and node_id.")
    node_id, user_id = None, identity.user_id
    if body.node_id is not None:
        if not may(identity, "operator"):
            raise Forbidden("Making tokens of nodes needs the role operator.")
        node_id, user_id = resolve(NODES, body.node_id, "node_id"), None
    elif body.user_id is not None:
        user_id = _user(body.user_id)
    role = body.role or (None if node_id is not None or user_id != identity.user_id else identity.role)
    made = service.create_token(
        parts(),
        current_actor(),
        user_id=user_id,
        node_id=node_id,
        name=body.name,
        role=role,
        purpose=body.purpose,
        expires_at=body.expires_at,
    )
    return created(TOKENS, service.token_id_of(made), extra={"token": made})


def _user(reference: int | str) -> int:
    identity = current_identity()
    assert identity is not None
    if str(reference).lower() in (identity.name.lower(), str(identity.user_id)) and identity.user_id is not None:
        return identity.user_id
    if not may(identity, "admin"):
        raise Forbidden("Only administrators make tokens for others.")
    return resolve(USERS, reference, "user_id")


@v2.delete("/tokens/<token>")
@api(permission="viewer", summary="Revoke a token", status=204)
def revoke_token(token: str) -> None:
    service.revoke_token(parts(), current_actor(), found_id(TOKENS, token, where=_visible()))
