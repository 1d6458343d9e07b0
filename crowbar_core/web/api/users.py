"""Users: who may come in, and what they may do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crowbar_core.errors import Forbidden, Unauthenticated
from crowbar_core.services.people import users as service
from crowbar_core.web.api.bodies import UserName, given
from crowbar_core.web.api.collection import changing, creating, reading, to_change
from crowbar_core.web.api.nouns import USERS
from crowbar_core.web.api.operation import Body, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import check_password, current_actor, current_identity, current_via, may, parts

Role = Literal["admin", "operator", "viewer"]


class NewUser(Body):
    name: UserName
    password: str = Field(min_length=service.PASSWORD_MIN, max_length=service.PASSWORD_MAX)
    role: Role = "viewer"


class ChangedUser(Body):
    name: UserName = ""
    role: Role = "viewer"


class NewPassword(Body):
    password: str = Field(min_length=service.PASSWORD_MIN, max_length=service.PASSWORD_MAX)
    old_password: str = Field(
        "", description="Needed for one's own, unless one is an administrator who signs in anew with each request."
    )
    revoke_tokens: bool = Field(False, description="End the user's tokens, too. They go on working otherwise.")


reading(v2, USERS, parameter="user", permission="admin")


@v2.get("/whoami")
@api(permission="viewer", summary="Who the credentials of this request belong to")
def whoami() -> dict[str, str | int | None]:
    identity = current_identity()
    assert identity is not None
    return {"name": identity.name, "role": identity.role, "user_id": identity.user_id}


@creating(v2, USERS, permission="admin", summary="Make a user", body=NewUser)
def create_user(body: NewUser) -> int:
    return service.create_user(parts(), current_actor(), name=body.name, password=body.password, role=body.role)


@changing(v2, USERS, parameter="user", permission="admin", summary="Change a user's name or role", body=ChangedUser)
def change_user(key: int, body: ChangedUser) -> None:
    service.change_user(parts(), current_actor(), key, given(body))


@v2.put("/users/<user>/reset_password")
@api(
    permission="viewer",
    summary="Give a user a new password (one's own, or as administrator anybody's); says how many tokens are left",
    body=NewPassword,
)
def reset_password(user: str, body: NewPassword) -> dict[str, int]:
    identity = current_identity()
    assert identity is not None
    is_own = user.lower() in (identity.name.lower(), str(identity.user_id))
    if not is_own and not may(identity, "admin"):
        raise Forbidden("Only administrators change the passwords of others.")
    if is_own and (not may(identity, "admin") or current_via() == "session"):
        try:  # a token or an open session alone must not be enough to take the account over
            check_password(identity.name, body.old_password)
        except Unauthenticated:
            raise Forbidden("old_password is not your present password.") from None
    key = to_change(USERS, user)
    tokens = service.set_password(parts(), current_actor(), key, body.password, revoke_tokens=body.revoke_tokens)
    return {"tokens_left": 0 if body.revoke_tokens else tokens, "tokens_revoked": tokens if body.revoke_tokens else 0}
