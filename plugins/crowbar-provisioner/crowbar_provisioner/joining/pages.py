"""The page on which a machine joins: by a command that it runs, or over SSH, its host key compared."""

from __future__ import annotations

from typing import TypeVar

from crowbar_jig_script.guest import shown_key
from flask import Blueprint, Response, request
from pydantic import BaseModel, ValidationError
from werkzeug.wrappers import Response as Answer

from crowbar_core import BadInput, CrowbarError, requires
from crowbar_core.pages import Form, Input, act, page
from crowbar_provisioner.joining import rest as api

pages = Blueprint("provisioner_joining_pages", __name__)
B = TypeVar("B", bound=BaseModel)
_FIELDS = ("name", "address", "user", "password", "private_key", "host_key", "url")


@pages.get("/machines/join")
@requires("operator")
def show() -> Response:
    return _page()


@pages.post("/machines/join/command")
@requires("operator")
def command() -> Answer | Response:
    try:
        made = api.command(_body(api.NewCommand))
    except CrowbarError as problem:
        return _refused(problem)
    return _page(made=made)


@pages.post("/machines/join/look")
@requires("operator")
def look() -> Answer | Response:
    try:
        where = _body(api.Where)
        key, fingerprint = shown_key(where.address)
    except CrowbarError as problem:
        return _refused(problem)
    return _page(address=where.address, key=key, fingerprint=fingerprint)


@pages.post("/machines/join")
@requires("operator")
def join() -> Answer:
    return act(lambda: api.order(_body(api.NewJoin)), "The machine has joined: it is a node.", "/machines?joined=true")


def _refused(problem: CrowbarError) -> Answer:
    def again() -> None:
        raise problem

    return act(again, "", "/machines/join")


def _body(kind: type[B]) -> B:
    """Raises ``BadInput``."""
    given = {
        name: text for name in _FIELDS if name in kind.model_fields and (text := request.form.get(name, "").strip())
    }
    if "private_key" in given:
        given["private_key"] += "\n"
    try:
        return kind.model_validate(given)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = str(first["loc"][0]).replace("_", " ")
        raise BadInput(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _page(
    *, made: dict[str, str] | None = None, address: str = "", key: str = "", fingerprint: str = ""
) -> Response:  # fmt: skip
    name = Input(name="name", label="What the node is called", placeholder="as the machine calls itself", size=36)
    by_itself = Form(
        title="By a command that the machine runs", url="/machines/join/command", label="Make a command",
        inputs=(name, Input(name="url", label="The boot service, as it reaches it", placeholder="http://10.0.0.1:8091")),
        api='POST /api/v2/machines/join_command {"minutes": 60}', cli="crowbar machines join-command",
    )  # fmt: skip
    looking = Form(
        title="Over SSH", url="/machines/join/look", label="Look at its host key",
        inputs=(Input(name="address", label="Its address", placeholder="10.0.0.21", required=True),),
        api='POST /api/v2/machines/host_key {"address": "10.0.0.21"}', cli="crowbar machines join 10.0.0.21",
    )  # fmt: skip
    joining = Form(
        title=f"Over SSH, at {address}", url="/machines/join", label="It is the same: join",
        inputs=(
            Input(name="address", label="Its address", value=address, required=True),
            Input(name="host_key", label="Its host key", value=key, required=True, size=70),
            name,
            Input(name="user", label="Who logs in this once", value="root", required=True),
            Input(name="password", label="With the password", kind="password", autocomplete="off",
                  placeholder="empty: with Crowbar's key"),
        ),
        api=f'POST /api/v2/machines/join {{"address": "{address}", "host_key": "{key[:24]}…", "user": "root"}}',
        cli=f"crowbar machines join {address} --host-key {fingerprint}",
    )  # fmt: skip
    return page(
        "crowbar_provisioner/join.html", title="Join a machine", made=made, fingerprint=fingerprint, address=address,
        by_itself=by_itself, over_ssh=joining if key else looking,
    )  # fmt: skip
