"""Benchmark ``bind``: nodes created and roles bound to them in bulk, by the service and by the API.

100, 1,000 and 10,000 nodes x 10 roles, on SQLite and on PostgreSQL (durable), interleaved, three rounds; each size on
a database of its own, a thousand nodes in a call at most. Printed are the cost of one noderole and of one node at
10,000 nodes in those of 100, the seconds for 1,000 x 10, the statements for each thousand noderoles, and the time of
requests in that of calls of the service. Run it with ``./dev bench bind`` (``--quick`` leaves 10,000 out).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import event

from benchmarks.cluster import OPERATOR, cluster
from crowbar_core.services.cluster import binding, registering
from crowbar_core.services.cluster.registering import NewNode
from crowbar_core.services.people import users
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import bindings
from crowbar_core.web.app import create_app
from tests.services import PostgresServer

ROLES = [f"step-{n:02}" for n in range(10)]
SIZES = (100, 1000, 10_000)
AT_ONCE = 1000
ROUNDS = 3


def _took(act: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    answer = act()
    return time.perf_counter() - begun, answer


def _names(start: int, count: int, kind: str) -> list[str]:
    return [f"n{at:05}.{kind}.test" for at in range(start, start + count)]


def by_service(parts: Parts, count: int) -> tuple[float, float]:
    """Seconds for creating so many nodes, and for binding all roles to them."""
    with parts.store.read() as session:
        ids = bindings.role_ids(session, ROLES)
    creating = bound = 0.0
    for start in range(0, count, AT_ONCE):
        new = [NewNode(name=name, alive=True) for name in _names(start, min(AT_ONCE, count - start), "service")]
        seconds, made = _took(lambda new=new: registering.create_nodes(parts, OPERATOR, new))  # type: ignore[misc]
        creating += seconds
        seconds, result = _took(
            lambda made=made: binding.bind_many(  # type: ignore[misc]
                parts, OPERATOR, node_ids=made, role_ids=[ids[role] for role in ROLES]
            )
        )
        bound += seconds
        if len(result.created) != len(made) * len(ROLES):
            raise SystemExit(f"{len(result.created)} noderoles were made for {len(made)} nodes")
    return creating, bound


def by_api(client: FlaskClient, headers: dict[str, str], count: int) -> float:
    """Seconds for the same in requests, creating and binding."""
    spent = 0.0
    for start in range(0, count, AT_ONCE):
        names = _names(start, min(AT_ONCE, count - start), "api")
        for path, body in (
            ("nodes", {"nodes": [{"name": name, "alive": True} for name in names]}),
            ("node_roles", {"nodes": names, "roles": ROLES}),
        ):
            seconds, answer = _took(
                lambda path=path, body=body: client.post(  # type: ignore[misc]
                    f"/api/v2/{path}/bulk", json=body, headers=headers
                )
            )
            spent += seconds
            if answer.status_code != 201:
                raise SystemExit(answer.get_data(as_text=True))
    return spent


def one_round(url: str, count: int) -> dict[str, float]:
    """What it took with so many nodes, on this database ("": SQLite)."""
    with cluster(url or None, length=len(ROLES), probe_seconds=0.0) as parts:
        asked = [0]

        def note(*_: object) -> None:
            asked[0] += 1

        event.listen(parts.store.engine, "before_cursor_execute", note)
        creating, bound = by_service(parts, count)
        statements = asked[0] * 1000 / (count * len(ROLES))
        admin = users.create_user(parts, OPERATOR, name="bench", password="bench-password", role="admin")
        headers = {"Authorization": f"Bearer {users.create_token(parts, OPERATOR, user_id=admin)}"}
        requests = by_api(create_app(parts.settings, parts=parts).test_client(use_cookies=False), headers, count)
        return {
            "node": creating / count, "noderole": bound / (count * len(ROLES)), "bind": bound,
            "statements": statements, "api / service": requests / (creating + bound),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench bind", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without 10,000 nodes")
    options = parser.parse_args()
    sizes = SIZES[:-1] if options.quick else SIZES
    results: dict[str, Any] = {}
    with PostgresServer(durable=True) as postgres:
        for database in ("sqlite", "postgresql"):
            found: dict[str, list[float]] = defaultdict(list)
            for number in range(ROUNDS):
                rounds: dict[int, dict[str, float]] = {}
                for count in sizes if number % 2 == 0 else sizes[::-1]:
                    url = postgres.create_database() if database == "postgresql" else ""
                    rounds[count] = one_round(url, count)
                    if url:
                        postgres.drop_database(url)
                for count, said in rounds.items():
                    print(
                        f"{database} round {number + 1}: {count} nodes: {said['node'] * 1e3:.2f} ms a node, "
                        f"{said['noderole'] * 1e3:.3f} ms a noderole, {said['statements']:.1f} statements a thousand "
                        f"noderoles, API / service {said['api / service']:.2f}",
                        flush=True,
                    )
                most = sizes[-1]
                for what in ("node", "noderole"):
                    found[f"{what} at {most} / at 100"].append(rounds[most][what] / rounds[100][what])
                found["1000 x 10 bound s"].append(rounds[1000]["bind"])
                found["statements / 1000"].append(rounds[1000]["statements"])
                found["api / service"].append(rounds[1000]["api / service"])
            results |= {f"{database} {name}": round(statistics.median(each), 2) for name, each in found.items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
