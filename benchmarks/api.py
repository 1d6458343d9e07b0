"""Benchmark ``api``: what a list costs.

10,000 nodes listed through the REST API, in pages as `crowbar` asks for them, against their bare rows through orjson,
in processor time; the last page of very many noderoles against the first; and an idle sweep over as many.

The API is asked without a server, as one client after another: routing, permissions, the transaction and the answer's
bytes all count. Bare rows are all columns of the nodes' table, read with sqlite3 and written with orjson. Run it with
``./dev bench api`` (``--quick``: 40,000 noderoles instead of a million).
"""

from __future__ import annotations

import argparse
import json
import secrets
import sqlite3
import statistics
import time
from collections.abc import Callable
from functools import partial

import orjson
from flask.testing import FlaskClient

from benchmarks.cluster import OPERATOR, cluster, load
from crowbar_core.cli.client import PAGE
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.services.build import spare_the_collector
from crowbar_core.services.people import users
from crowbar_core.services.turns.parts import Parts
from crowbar_core.web.app import create_app

LISTED, LENGTH = 10_000, 20
SMALL_PAGE = 100
NODE_ROLES = 1_000_000
ROUNDS, PAGES = 7, 20


def client_of(parts: Parts) -> FlaskClient:
    """A client of the API with a token of an operator's."""
    app = create_app(parts.settings, parts=parts)
    user_id = users.create_user(parts, OPERATOR, name="bench", password=secrets.token_urlsafe(16), role="operator")
    client = app.test_client()
    spare_the_collector()  # as crowbar serve does
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {users.create_token(parts, OPERATOR, user_id=user_id)}"
    return client


def listed(client: FlaskClient) -> int:
    """All nodes, page by page."""
    found, url = 0, f"/api/v2/nodes?limit={PAGE}"
    while url:
        answer = client.get(url)
        if answer.status_code != 200:
            raise SystemExit(f"{url} was answered with {answer.status_code}: {answer.text[:500]}")
        found += len(orjson.loads(answer.data))
        link = answer.headers.get("Link", "")
        url = link.partition("<")[2].partition(">")[0] if 'rel="next"' in link else ""
    return found


def bare(connection: sqlite3.Connection) -> int:
    """The same rows, as little as can be done with them. Read back, as the client of the API does."""
    cursor = connection.execute("SELECT * FROM nodes ORDER BY id")
    names = [column[0] for column in cursor.description]
    found = 0
    while rows := cursor.fetchmany(PAGE):
        found += len(orjson.loads(orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])))
    return found


def spent(work: Callable[[], object]) -> float:
    """Seconds of this process's processor time."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def page(client: FlaskClient, query: str) -> float:
    """Seconds of processor time for a page of noderoles, the best of some."""

    def ask() -> None:
        answer = client.get(f"/api/v2/node_roles?limit={SMALL_PAGE}{query}")
        if answer.status_code != 200 or len(orjson.loads(answer.data)) != SMALL_PAGE:
            raise SystemExit(f"{query} was answered with {answer.status_code}: {answer.text[:500]}")

    return min(spent(ask) for _ in range(PAGES))


def compare_lists() -> dict[str, float]:
    ratios = []
    with cluster(None, length=2, probe_seconds=0.0) as parts:
        load(parts, nodes=LISTED, length=2)
        client = client_of(parts)
        with sqlite3.connect(parts.settings.url.removeprefix("sqlite:///")) as connection:
            listed(client)
            for number in range(ROUNDS):
                mine, others = partial(listed, client), partial(bare, connection)
                if number % 2 == 0:
                    ours, raw = spent(mine), spent(others)
                else:
                    raw, ours = spent(others), spent(mine)
                ratios.append(ours / raw)
                print(
                    f"round {number + 1}: listed {1000 * ours:.0f} ms, bare rows {1000 * raw:.0f} ms of CPU", flush=True
                )
    return {"10,000 nodes listed/bare rows, CPU": round(statistics.median(ratios), 2)}


def compare_pages(node_roles: int) -> dict[str, float]:
    ratios, sweeps = [], []
    print(f"loading {node_roles:,} noderoles", flush=True)
    with cluster(None, length=LENGTH, probe_seconds=0.0) as parts:
        load(parts, nodes=node_roles // LENGTH, length=LENGTH)
        client = client_of(parts)
        sweep(parts)
        for number in range(ROUNDS):
            first, last = page(client, ""), page(client, f"&after={_cursor(client, node_roles)}")
            sweeps.append(1000 * spent(lambda: sweep(parts)))
            ratios.append(last / first)
            print(
                f"round {number + 1}: first page {1000 * first:.2f} ms, last {1000 * last:.2f} ms, idle sweep"
                f" {sweeps[-1]:.2f} ms of CPU",
                flush=True,
            )
    return {
        f"last page/first of {node_roles:,}": round(statistics.median(ratios), 2),
        f"idle sweep ms at {node_roles:,}": round(statistics.median(sweeps), 2),
    }


def _cursor(client: FlaskClient, node_roles: int) -> str:
    """What the API calls the place before the last page: by key, so that a page like it tells the form."""
    return str(node_roles - SMALL_PAGE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench api", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40,000 noderoles")
    options = parser.parse_args()
    results = compare_lists()
    results |= compare_pages(40_000 if options.quick else NODE_ROLES)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
