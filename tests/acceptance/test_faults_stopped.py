"""A process that is stopped, or cut off, in the middle of a change: the others say so, and soon go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.processes import Process, Site, installed
from tests.acceptance.proxy import BadWire
from tests.services import PostgresServer, database_name

QUICK: dict[str, Any] = {"database_lock_seconds": 2, "database_statement_seconds": 4, "database_idle_seconds": 15}
ANSWER_SECONDS = 14.0


def new_node(site: Site, name: str, **where: str) -> requests.Response:
    body = {"name": f"{name}.work.test", "alive": True, "available": True}
    return site.request("POST", "api/v2/nodes", body, seconds=ANSWER_SECONDS, **where)


class Holder:
    """Somebody changes the cluster at the server at ``url``, and does not come to an end."""

    def __init__(self, site: Site, url: str) -> None:
        (self.node,) = site.build(1)
        self.site, self.url = site, url
        self._thread = ThreadPoolExecutor(1)
        self.answer: Future[requests.Response] = self._thread.submit(self._bind)
        site.wait_noted("holding", self.node, "hold")
        self.pid = int(site.journal("holding", self.node, "hold")[0][3])

    def _bind(self) -> requests.Response:
        body = {"node_id": self.node, "role_id": "hold", "deployment_id": "work"}
        return self.site.request("POST", "api/v2/node_roles", body, url=self.url, seconds=120)

    def goes_on(self) -> requests.Response:
        self.site.open("hold")
        answer = self.answer.result(60)
        self._thread.shutdown()
        return answer


def check_shut(site: Site, other: Process, pid: int) -> None:
    refused = new_node(site, "refused")
    assert refused.status_code == 503, refused.text
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert "has been changing the cluster" in refused.json()["detail"]
    ready = site.request("GET", "readyz", seconds=ANSWER_SECONDS)
    assert ready.status_code == 503
    assert "nothing can be changed" in ready.json()["detail"]
    assert site.request("GET", "api/v2/nodes", seconds=ANSWER_SECONDS).status_code == 200
    said = next(line for line in other.log.splitlines() if "the database is held by somebody else" in line)
    assert str(pid) in said, said


def goes(site: Site, name: str, **where: str) -> Callable[[], Any]:
    return lambda: new_node(site, name, **where).status_code in (201, 409)


@pytest.mark.postgres
def test_a_stopped_process_with_the_lock_of_all_changes_is_named_and_its_transaction_ended(
    postgres_url: str, tmp_path: Path
) -> None:
    with installed(tmp_path / "crowbar", database_url=postgres_url, **QUICK) as site:
        site.start("web")
        first = site.url
        second = site.start("web")
        holder = Holder(site, first)
        os.kill(holder.pid, signal.SIGSTOP)
        try:
            check_shut(site, second, holder.pid)
            site.wait(goes(site, "later"), "the database ends the silent transaction")
            assert site.ready().status_code == 200
        finally:
            os.kill(holder.pid, signal.SIGCONT)
        late = holder.goes_on()
        assert late.status_code == 503, late.text
        assert site.all("node_roles", role="hold") == []
        site.wait(goes(site, "last", url=first), "the process that was stopped works again")


@pytest.mark.postgres
def test_a_frozen_wire_to_the_database_holds_up_nobody_for_long(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    wire = BadWire(f"{postgres_server.directory}/.s.PGSQL.{postgres_server.port}")
    name = database_name(postgres_url)
    url = f"postgresql+psycopg2://{postgres_server.owner}:{postgres_server.password}@127.0.0.1:{wire.port}/{name}"
    try:
        with installed(tmp_path / "crowbar", database_url=postgres_url, **QUICK) as site:
            site.start("web", database_url=url)
            first = site.url
            second = site.start("web")
            holder = Holder(site, first)
            wire.freeze()
            check_shut(site, second, holder.pid)
            late = holder.goes_on()
            assert late.status_code == 503, late.text
            cut_off = new_node(site, "cut-off", url=first)
            assert cut_off.status_code == 503, cut_off.text
            assert site.request("GET", "readyz", url=first, seconds=ANSWER_SECONDS).status_code == 503
            site.wait(goes(site, "later"), "the database ends the silent transaction")
            wire.thaw()
            site.wait(goes(site, "last", url=first), "the process that was cut off works again")
            assert site.all("node_roles", role="hold") == []
    finally:
        wire.close()


def test_on_sqlite_a_stopped_process_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    with installed(tmp_path / "crowbar", **QUICK) as site:
        site.start("web")
        first = site.url
        second = site.start("web")
        holder = Holder(site, first)
        os.kill(holder.pid, signal.SIGSTOP)
        try:
            check_shut(site, second, holder.pid)
        finally:
            os.kill(holder.pid, signal.SIGCONT)
        assert holder.goes_on().status_code == 201
        site.wait(goes(site, "later"), "changes are possible again")
        assert site.ready().status_code == 200
        assert [one["role"] for one in site.all("node_roles")] == ["hold"]
