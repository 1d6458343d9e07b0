"""Users and tokens."""

from __future__ import annotations

from flask import Response, flash, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.errors import Forbidden, Unauthenticated
from crowbar_core.services.people import users as service
from crowbar_core.store import catalogue
from crowbar_core.web import auth
from crowbar_core.web.api.nouns import USERS
from crowbar_core.web.api.verbs import buttons
from crowbar_core.web.ui.shell import act, actor, field, number, page, ui
from crowbar_core.web.ui.tables import Form, Input

ROLES = ("viewer", "operator", "admin")


@ui.get("/users")
@requires("viewer")
def users() -> Response:
    """Administrators see everyone; others themselves and their own tokens."""
    identity = auth.current_identity()
    assert identity is not None  # the route's permission says so
    is_admin = auth.may(identity, "admin")
    with auth.parts().store.read() as session:
        everyone = catalogue.users(session)
        tokens = catalogue.tokens(session, user_name="" if is_admin else identity.name)
    listed = everyone if is_admin else [one for one in everyone if one.id == identity.user_id]
    roles = ROLES[: auth.RANKS[identity.role]]
    create = Form(
        title="Add a user",
        url="/users",
        inputs=(
            Input(name="name", label="Name", required=True, autocomplete="off"),
            Input(name="password", label="Password", kind="password", required=True, autocomplete="new-password"),
            Input(name="role", label="Role", choices=[(role, role) for role in roles]),
        ),
        label="Add",
        api='POST /api/v2/users {"name": "NAME", "role": "viewer", "password": "..."}',
        cli="crowbar users create NAME --role viewer",
        permission="admin",
    )
    verbs = {
        one.id: [*buttons(USERS, one, one.name), *buttons(USERS, one, one.name, danger=True)]
        for one in listed
        if one.id != identity.user_id
    }
    return page(
        "users.html",
        verbs=verbs,
        create=create,
        users=listed,
        tokens=tokens,
        is_admin=is_admin,
        roles=roles,
        me=identity,
    )


@ui.post("/users")
@requires("admin")
def create_user() -> BaseResponse:
    def work() -> int:
        name, password = field("name"), request.form.get("password", "")
        return service.create_user(
            auth.parts(), actor(), name=name, password=password, role=request.form.get("role", "viewer")
        )

    return act(work, "The user is made.", "/users")


@ui.post("/users/<int:user_id>/role")
@requires("admin")
def change_role(user_id: int) -> BaseResponse:
    return act(
        lambda: service.change_user(auth.parts(), actor(), user_id, {"role": request.form.get("role", "")}),
        "The role is changed.",
        "/users",
    )


@ui.post("/users/<int:user_id>/password")
@requires("viewer")
def set_password(user_id: int) -> BaseResponse:
    identity = auth.current_identity()

    def work() -> str:
        assert identity is not None  # the route's permission says so
        own = identity.user_id == user_id
        if not own and not auth.may(identity, "admin"):
            raise Forbidden("Only an administrator sets the password of someone else.")
        if own:  # an open session alone must not be enough to take the account over
            try:
                auth.check_password(identity.name, request.form.get("old_password", ""))
            except Unauthenticated:
                raise Forbidden("Nothing was changed: the present password is not right.") from None
        revoke, password = request.form.get("tokens") == "revoke", request.form.get("password", "")
        tokens = service.set_password(auth.parts(), actor(), user_id, password, revoke_tokens=revoke)
        if own:
            auth.sign_in(identity.name, password)
        return _password_said(tokens, revoke)

    return act(work, lambda said: said, "/users")


def _password_said(tokens: int, revoked: bool) -> str:
    said = "The password is changed. Sessions that were open with the old one have ended."
    if not tokens:
        return said
    them = "1 token" if tokens == 1 else f"{tokens} tokens"
    if revoked:
        return f"{said} {them} revoked."
    return f"{said} {them} of this user still {'works' if tokens == 1 else 'work'}: revoke below what others may know."


@ui.post("/tokens")
@requires("viewer")
def create_token() -> BaseResponse:
    identity = auth.current_identity()

    def work() -> None:
        if identity is None or identity.user_id is None:
            raise Forbidden("Only people make tokens here.")
        role = request.form.get("role") or identity.role
        if auth.RANKS.get(role, 99) > auth.RANKS[identity.role]:
            raise Forbidden(f"A token of yours may be at most {identity.role}, as you are.")
        token = service.create_token(auth.parts(), actor(), user_id=identity.user_id, name=field("name"), role=role)
        flash(token, "secret")

    return act(work, "The token is made.", "/users")


@ui.post("/tokens/revoke")
@requires("viewer")
def revoke_token() -> BaseResponse:
    identity = auth.current_identity()

    def work() -> None:
        token_id = number("token_id", "the token")
        if identity is None or not auth.may(identity, "admin"):
            with auth.parts().store.read() as session:
                mine = {one.id for one in catalogue.tokens(session, user_name=identity.name if identity else "\0")}
            if token_id not in mine:
                raise Forbidden("Only an administrator revokes the token of someone else.")
        service.revoke_token(auth.parts(), actor(), token_id)

    return act(work, "The token is revoked.", "/users")
