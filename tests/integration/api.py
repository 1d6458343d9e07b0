"""What the tests of the API share: an application over a real database, a small barclamp, and people to call it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert, select, update
from werkzeug.test import TestResponse

from crowbar_core import Attribute, Barclamp, Hint, NodeRoleView, Pending, Role, Task, hookimpl
from crowbar_core.brought import BARCLAMPS
from crowbar_core.plugins.entry_points import entries_of
from crowbar_core.services.build import build_parts
from crowbar_core.services.people import users
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import SYSTEM
from crowbar_core.settings import Settings
from crowbar_core.store.models import Base, Delivery, Event, Run, RunLog, table
from crowbar_core.web.app import create_app

PASSWORDS = {"admin": "admin-password", "operator": "operator-password", "viewer": "viewer-password"}
SECRET = "s3cret-of-the-cluster"
"""The value whose absence from answers is tested."""


def _pending(_task: Task) -> Pending:
    return Pending(deadline=60.0, reason="waits for the installer")


class Trial:
    """A barclamp with a chain of roles, attributes with and without secrets."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="trial",
            help="For the tests.",
            roles=(
                Role(
                    name="base",
                    attributes=(
                        Attribute(name="base-size", schema={"type": "integer", "minimum": 1}, default=3),
                        Attribute(name="base-key", schema={"type": "string"}, secret=True),
                    ),
                ),
                Role(name="web-server", requires=("base",), wants=("base-size",)),
                Role(name="installer", jig="python", run=_pending),
                Role(name="idea", abstract=True),
            ),
            attributes=(Attribute(name="rack-unit", schema={"type": "integer"}, map="rack/unit"),),
            hints=(
                Hint(name="hint-*-v4addr", of="ipv4", network="*"),
                Hint(name="hint-admin-v6addr", of="ipv6"),
                Hint(name="hint-admin-macs", of="macs"),
            ),
        )

    @hookimpl(roles=("idea",))
    def on_active(self, node_role: NodeRoleView) -> None:
        """Heard of no role that can be bound: what `populate` says that it failed in can be tried again."""


@dataclass
class Api:
    """An application and shorthands to call it as somebody."""

    app: Flask
    parts: Parts
    tokens: dict[str, str] = field(default_factory=dict)

    def token(self, who: str) -> str:
        """A token of admin, operator or viewer (users are made on first use), or of ``node:<id>``."""
        if who not in self.tokens:
            kind, _, number = who.partition(":")
            if kind == "node":
                self.tokens[who] = users.create_token(self.parts, SYSTEM, node_id=int(number))
            else:
                user_id = users.create_user(self.parts, SYSTEM, name=who, password=PASSWORDS[who], role=who)
                self.tokens[who] = users.create_token(self.parts, SYSTEM, user_id=user_id)
        return self.tokens[who]

    def call(
        self, method: str, path: str, *, who: str = "admin", headers: Mapping[str, str] | None = None, **kwargs: Any
    ) -> TestResponse:
        sent = dict(headers or {})
        if who:
            sent["Authorization"] = f"Bearer {self.token(who)}"
        full = path if path.startswith("/") else f"/api/v2/{path}"
        return self.client().open(full, method=method, headers=sent, **kwargs)

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        return self.call("POST", path, json={} if json is None else json, **kwargs)

    def put(self, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        return self.call("PUT", path, json={} if json is None else json, **kwargs)

    def patch(self, path: str, json: Any, **kwargs: Any) -> TestResponse:
        return self.call("PATCH", path, json=json, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> TestResponse:
        return self.call("DELETE", path, **kwargs)

    def made(self, path: str, body: Any) -> dict[str, Any]:
        answer = self.post(path, body)
        assert answer.status_code == 201, answer.get_data(as_text=True)
        value: dict[str, Any] = answer.get_json()
        return value

    def client(self) -> FlaskClient:
        return self.app.test_client(use_cookies=False)

    def browser(self) -> FlaskClient:
        return self.app.test_client()

    def dump(self, *, without: tuple[str, ...] = ()) -> dict[str, list[str]]:
        """All rows of all tables as text, except the moments at which tokens were used."""
        found: dict[str, list[str]] = {}
        with self.parts.store.read() as session:
            for name, each in sorted(Base.metadata.tables.items()):
                if name in without:
                    continue
                columns = [column for column in each.c if column.key != "last_used_at"]
                found[name] = sorted(str(tuple(row)) for row in session.execute(select(*columns)))
        return found


def settings(url: str, directory: Path, **more: Any) -> Settings:
    """Settings for a database of its own, without whatever barclamps are installed here."""
    installed = tuple(entry.name for entry in entries_of(BARCLAMPS))
    return Settings(database_url=url, data_dir=str(directory / "data"), disabled_barclamps=installed, **more)


@contextmanager
def serving(url: str, directory: Path, *, plugins: Any = (), **more: Any) -> Iterator[Api]:
    chosen = settings(url, directory, **more)
    parts = build_parts(chosen, extra_plugins=[("trial", Trial()), *plugins])
    try:
        yield Api(create_app(chosen, parts=parts), parts)
    finally:
        parts.close()


@dataclass(frozen=True, kw_only=True)
class Populated:
    """Ids of what ``populate`` has made."""

    deployment: int
    nodes: tuple[int, ...]
    node_role: int
    run: int
    delivery: int
    group: int
    user: int
    token: int


def populate(api: Api) -> Populated:
    """A deployment with two nodes at work, an open run with a log, a group, an event with a failed
    delivery, a secret.
    """
    deployment = api.made("deployments", {"name": "web"})["id"]
    nodes = []
    for number in (1, 2):
        node = api.made(
            "nodes",
            {
                "name": f"web{number}.rack.example.com",
                "deployment_id": deployment,
                "alive": True,
                "available": True,
                "discovery": {"cpus": 4},
                "ip": f"10.0.0.{number}",
            },
        )
        nodes.append(node["id"])
    node_role = 0
    for node_id in nodes:
        node_role = api.made("node_roles", {"node_id": node_id, "role_id": "web-server", "deployment_id": "web"})["id"]
    (added,) = api.get("deployments/web/deployment_roles?role=base").get_json()
    assert api.put(f"deployment_roles/{added['id']}/attribs/base-key", {"value": SECRET}).status_code == 200
    assert api.put("deployments/web/commit").status_code == 200
    group = api.made("groups", {"name": "rack-1", "category": "rack"})["id"]
    assert api.put(f"groups/{group}/nodes/{nodes[0]}").status_code == 200
    (run, *_) = [row["id"] for row in api.get("runs").get_json()]
    add_log(api, run, 3)
    now = datetime.now(UTC)
    with api.parts.store.write() as session:
        event = session.scalar(
            insert(table(Event))
            .values(hook="on_active", subject="node 1", payload={}, created_at=now)
            .returning(Event.id)
        )
        delivery = session.scalar(
            insert(table(Delivery))
            .values(event_id=event, plugin="trial", state="failed", error="it broke", attempts=5)
            .returning(Delivery.id)
        )
    assert delivery is not None
    token = users.token_id_of(api.token("viewer"))
    user = next(row["id"] for row in api.get("users").get_json() if row["name"] == "viewer")
    return Populated(
        deployment=deployment,
        nodes=tuple(nodes),
        node_role=node_role,
        run=run,
        delivery=delivery,
        group=group,
        user=user,
        token=token,
    )


def add_log(api: Api, run: int, lines: int, *, start: int = 1) -> None:
    """What a worker would write."""
    now = datetime.now(UTC)
    with api.parts.store.write(graph=False) as session:
        session.execute(
            insert(table(RunLog)),
            [
                {"run_id": run, "seq": seq, "at": now, "stream": "stdout", "line": f"line {seq}"}
                for seq in range(start, start + lines)
            ],
        )


def set_run(api: Api, run: int, **values: Any) -> None:
    """What a worker would write."""
    with api.parts.store.write(graph=False) as session:
        session.execute(update(table(Run)).where(table(Run).c.id == run).values(**values))
