"""Users and their tokens, and the tokens of nodes."""

from __future__ import annotations

from typing import Final

from crowbar_core.store.listing import Field, Listing
from crowbar_core.store.listings.fields import fields
from crowbar_core.store.models import (
    Node,
    Token,
    User,
    table,
)

_nodes, _users, _tokens = table(Node), table(User), table(Token)

USERS: Final = Listing(
    noun="user",
    plural="users",
    source=_users,
    key=_users.c.id,
    name=_users.c.name,
    fields=fields(
        User,
        "id",
        "name",
        "role",
        "locked",
        "created_at",
        "updated_at",
        filter=("name", "role", "locked"),
        sort=("name",),
    ),
)

TOKENS: Final = Listing(
    noun="token",
    plural="tokens",
    source=_tokens.outerjoin(_users, _users.c.id == _tokens.c.user_id).outerjoin(
        _nodes, _nodes.c.id == _tokens.c.node_id
    ),
    key=_tokens.c.id,
    fields=(
        *fields(
            Token,
            "id",
            "name",
            "role",
            "purpose",
            "user_id",
            "node_id",
            filter=("role", "purpose", "user_id", "node_id"),
        ),
        Field(name="user", column=_users.c.name, type=str, nullable=True, filter=True),
        Field(name="node", column=_nodes.c.name, type=str, nullable=True, filter=True),
        *fields(Token, "created_at", "expires_at", "last_used_at"),
    ),
)
