"""Keeps a guest book for each party of the example, of which it imports nothing, and without which it works.

Where the example's members meet, there is a role ``guest-DEPLOYMENT``, defined at run time; whoever gets it is in the
book. A service reads it out to whoever connects, if the settings say where.
"""

from __future__ import annotations

import socketserver
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crowbar_core import (
    Attribute,
    Barclamp,
    CancelFlag,
    DefineRole,
    Done,
    Intent,
    NodeRoleView,
    RemoveRole,
    Role,
    Service,
    SetAttribute,
    Task,
    cluster,
    hookimpl,
    setting,
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    port: int = setting(0, "The port of this machine where the book is read out to whoever connects. 0: it is not.")


ENTRY = Attribute(name="guestbook-entry", map="guestbook/entry", schema={"type": "string"}, writable=False)


def welcome(task: Task) -> Done:
    task.log(f"Welcome to {task.role.template['party']}, {task.node.name}.")
    return Done()


GUEST = Role(name="guest", description="In the guest book.", jig="python", run=welcome, abstract=True)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="guestbook", help="Keeps a guest book for each party of the example.", after=("example",), roles=(GUEST,),
        attributes=(ENTRY,), defines=("guest-*",), settings=Settings,
    )  # fmt: skip


@hookimpl(optional=True)
def on_example_party(party: Any) -> Iterable[Intent]:
    name = f"guest-{party.deployment}"
    return [DefineRole(role=Role(name=name, like="guest", template={"party": party.deployment}))]


@hookimpl(optional=True)
def on_example_party_delete(party: Any) -> Iterable[Intent]:
    """As long as anybody is in the book, it stays."""
    name = f"guest-{party.deployment}"
    return [] if cluster().node_roles(role=name) else [RemoveRole(name=name)]


@hookimpl(roles=("guest-*",))
def on_active(node_role: NodeRoleView) -> Iterable[Intent]:
    return [SetAttribute(node=node_role.node.name, attribute=ENTRY.name, value=f"was at {node_role.deployment}")]


@hookimpl
def register_services() -> Iterable[Service]:
    return [Service(name="guestbook", run=read_out, leader=True)] if cluster().settings(Settings).port else []


def read_out(stopped: CancelFlag) -> None:
    """Say who is in the book to everybody who connects, one after another."""
    where = ("127.0.0.1", cluster().settings(Settings).port)
    with socketserver.TCPServer(where, Reader, bind_and_activate=False) as server:
        server.allow_reuse_address = True
        server.server_bind()
        server.server_activate()
        server.timeout = 0.2
        while not stopped.is_set():
            server.handle_request()


class Reader(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        for node in cluster().nodes():
            if entry := node.hint.get("guestbook", {}).get("entry"):
                self.wfile.write(f"{node.name} {entry}\n".encode())
