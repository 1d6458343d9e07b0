"""Clients that are slow, silent or gone: they hold a connection for a while, and keep nobody else waiting."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from crowbar_core.web.api.waiting import Waiting
from crowbar_core.web.server import HttpServer, Limits
from tests.integration.api import Api, add_log, populate, serving, set_run
from tests.services import NginxServer, wait_until

THREADS = 8
MANY = 70
SECONDS = 30.0
"""Tells a server that does not answer from one that is busy."""


@contextlib.contextmanager
def served(app: Any, *, threads: int = THREADS, limits: Limits | None = None) -> Iterator[tuple[str, int]]:
    """The address at which ``app`` is served inside the block."""
    sock = socket.create_server(("127.0.0.1", 0))
    address: tuple[str, int] = sock.getsockname()
    server = HttpServer(app, sock, threads=threads, limits=limits)
    stopped = threading.Event()

    def run() -> None:
        server.serve(lambda: not stopped.is_set())
        server.drain(5.0)

    thread = threading.Thread(target=run, name="http")
    thread.start()
    try:
        yield address
    finally:
        stopped.set()
        server.wake()
        thread.join()


@pytest.fixture
def api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path, http_threads=THREADS) as made:
        yield made


@pytest.fixture(params=["direct", "behind nginx"])
def address(request: pytest.FixtureRequest, api: Api) -> Iterator[tuple[str, int]]:
    with served(api.app) as direct:
        if request.param == "direct":
            yield direct
        else:
            with NginxServer(f"{direct[0]}:{direct[1]}") as nginx:
                yield nginx.address


@pytest.fixture
def clients() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


def connect(clients: contextlib.ExitStack, address: tuple[str, int], sends: bytes, *, reads: bool = True) -> Any:
    made = clients.enter_context(contextlib.closing(socket.socket()))
    if not reads:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(SECONDS)
    made.connect(address)
    made.sendall(sends)
    return made


def url(address: tuple[str, int], path: str) -> str:
    return f"http://{address[0]}:{address[1]}{path}"


def head(api: Api, method: str, path: str, *more: str) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: crowbar", f"Authorization: Bearer {api.token('admin')}", *more]
    return "\r\n".join(lines) + "\r\n"


def works(api: Api, address: tuple[str, int]) -> None:
    headers = {"Authorization": f"Bearer {api.token('admin')}"}
    assert requests.get(url(address, "/api/v2/nodes"), headers=headers, timeout=SECONDS).status_code == 200
    made = requests.post(url(address, "/api/v2/groups"), headers=headers, json={"name": "made"}, timeout=SECONDS)
    assert made.status_code == 201


# ---------------------------------------------------------------- they keep nobody waiting


def test_half_sent_headers_keep_nobody_waiting(
    api: Api, address: tuple[str, int], clients: contextlib.ExitStack
) -> None:
    for _ in range(MANY):
        connect(clients, address, head(api, "GET", "/api/v2/nodes").encode())
    works(api, address)


def test_half_sent_bodies_keep_nobody_waiting(
    api: Api, address: tuple[str, int], clients: contextlib.ExitStack
) -> None:
    sent = head(api, "POST", "/api/v2/nodes", "Content-Type: application/json", "Content-Length: 1000") + "\r\n{"
    for _ in range(MANY):
        connect(clients, address, sent.encode())
    works(api, address)


def test_readers_that_do_not_read_keep_nobody_waiting(
    api: Api, address: tuple[str, int], clients: contextlib.ExitStack
) -> None:
    sent = (head(api, "GET", "/api/v2/openapi.json") + "\r\n") * 40
    for _ in range(MANY):
        connect(clients, address, sent.encode(), reads=False)
    works(api, address)


def test_connections_that_say_nothing_keep_nobody_waiting(
    api: Api, address: tuple[str, int], clients: contextlib.ExitStack
) -> None:
    for _ in range(MANY):
        connect(clients, address, b"")
    works(api, address)


def test_streams_that_nobody_reads_leave_room_for_requests(
    api: Api, address: tuple[str, int], clients: contextlib.ExitStack
) -> None:
    made = populate(api)
    for _ in range(MANY):
        connect(clients, address, (head(api, "GET", f"/api/v2/runs/{made.run}/log/stream") + "\r\n").encode())
    works(api, address)


# ---------------------------------------------------------------- and they do not stay for ever


QUICK = Limits(header=0.5, request=1.0, idle=0.5, stall=0.5, connections=1000)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na=",
        b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /hea",
    ],
    ids=["nothing", "half a line", "half a header", "half a body", "half a chunk", "idle", "half a second request"],
)
def test_a_client_that_keeps_us_waiting_is_cut_off(api: Api, clients: contextlib.ExitStack, sent: bytes) -> None:
    with served(api.app, limits=QUICK) as address:
        client = connect(clients, address, sent)
        while client.recv(65536):  # ends when the server closes; a time-out here is the fault
            pass


def test_a_byte_now_and_then_buys_no_time(api: Api, clients: contextlib.ExitStack) -> None:
    with served(api.app, limits=QUICK) as address:
        client = connect(clients, address, b"GET /healthz HTTP/1.1\r\n")
        client.settimeout(0.1)

        def is_closed() -> bool:
            try:
                client.sendall(b"x")
                return not client.recv(1)
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_closed, seconds=SECONDS, what="the server closes")


def test_a_reader_that_does_not_read_is_cut_off(api: Api, clients: contextlib.ExitStack) -> None:
    sent = (head(api, "GET", "/api/v2/openapi.json") + "\r\n") * 40
    with served(api.app, limits=QUICK) as address:
        client = connect(clients, address, sent.encode(), reads=False)

        def is_closed() -> bool:
            try:
                client.send(b"GET ")
                return False
            except TimeoutError:
                return False
            except OSError:  # reset
                return True

        client.settimeout(0.1)
        wait_until(is_closed, seconds=SECONDS, what="the server closes")


def test_a_new_client_gets_the_place_of_the_one_that_has_waited_longest(
    api: Api, clients: contextlib.ExitStack
) -> None:
    with served(api.app, limits=Limits(connections=20)) as address:
        first = connect(clients, address, b"GET /healthz HTTP/1.1\r\n")
        for _ in range(60):
            connect(clients, address, b"GET /healthz HTTP/1.1\r\n")
        works(api, address)
        assert first.recv(1) == b""


# ---------------------------------------------------------------- what is refused is told


def test_what_is_too_large_is_told_while_it_is_still_being_sent(api: Api) -> None:
    with served(api.app) as address:
        answer = requests.post(
            url(address, "/api/v2/groups"),
            data=b"x" * 8_000_000,
            headers={"Authorization": f"Bearer {api.token('admin')}", "Content-Type": "application/json"},
            timeout=SECONDS,
        )
        assert answer.status_code == 413
        assert answer.json()["code"] == "too-large"


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
)
def test_what_is_no_http_gets_a_problem(api: Api, clients: contextlib.ExitStack, sent: bytes, status: int) -> None:
    with served(api.app) as address:
        client = connect(clients, address, sent)
        said = b""
        while part := client.recv(65536):
            said += part
        header, _, body = said.partition(b"\r\n\r\n")
        assert header.startswith((f"HTTP/1.0 {status} ".encode(), f"HTTP/1.1 {status} ".encode()))
        assert b"application/problem+json" in header
        assert json.loads(body)["status"] == status


# ---------------------------------------------------------------- streams


def test_a_log_is_streamed_as_it_is_written(api: Api, address: tuple[str, int]) -> None:
    made = populate(api)
    path = url(address, f"/api/v2/runs/{made.run}/log/stream?after=2")
    headers = {"Authorization": f"Bearer {api.token('admin')}"}
    with requests.get(path, headers=headers, stream=True, timeout=SECONDS) as answer:
        lines = (line for line in answer.iter_lines(chunk_size=1) if line.startswith(b"data: "))
        assert json.loads(next(lines)[6:])["line"] == "line 3"
        add_log(api, made.run, 1, start=4)  # the first line was seen before this one was written
        assert json.loads(next(lines)[6:])["line"] == "line 4"
        set_run(api, made.run, state="succeeded", finished_at=datetime.now(UTC))
        assert json.loads(next(lines)[6:]) == {"state": "succeeded"}


def is_free(places: Waiting) -> bool:
    return places.take() is not None


def one_place(api: Api) -> Waiting:
    places = Waiting(places=1)
    api.app.extensions["crowbar-waiting"] = places
    return places


def test_a_stream_whose_client_goes_gives_its_place_back(
    api: Api, address: tuple[str, int], clients: contextlib.ExitStack
) -> None:
    made, places = populate(api), one_place(api)
    sent = (head(api, "GET", f"/api/v2/runs/{made.run}/log/stream") + "\r\n").encode()
    client = connect(clients, address, sent)
    assert b"200 OK" in client.recv(65536)
    assert not is_free(places)
    client.close()
    wait_until(lambda: is_free(places), seconds=SECONDS, what="the place is free")


def test_a_stream_whose_client_goes_before_the_first_byte_gives_its_place_back(
    api: Api, address: tuple[str, int], clients: contextlib.ExitStack
) -> None:
    made, places = populate(api), one_place(api)
    sent = (head(api, "GET", f"/api/v2/runs/{made.run}/log/stream") + "\r\n").encode()
    for _ in range(20):
        connect(clients, address, sent).close()
    wait_until(lambda: is_free(places), seconds=SECONDS, what="the place is free")
    works(api, address)


def test_a_long_wait_whose_client_goes_gives_its_place_back(
    api: Api, address: tuple[str, int], clients: contextlib.ExitStack
) -> None:
    made, places = populate(api), one_place(api)
    client = connect(
        clients, address, (head(api, "GET", f"/api/v2/runs/{made.run}/log?after=3&wait=20") + "\r\n").encode()
    )
    wait_until(lambda: not is_free(places), seconds=SECONDS, what="somebody waits")
    client.close()
    wait_until(lambda: is_free(places), seconds=15, what="the place is free before the wait is over")


def test_many_head_requests_on_a_stream_leave_all_places(api: Api, address: tuple[str, int]) -> None:
    made, places = populate(api), one_place(api)
    headers = {"Authorization": f"Bearer {api.token('admin')}"}
    for path in (f"/api/v2/runs/{made.run}/log/stream", f"/api/v2/runs/{made.run}/log?after=3&wait=20"):
        for _ in range(40):
            answer = requests.head(url(address, path), headers=headers, timeout=SECONDS)
            assert answer.status_code == 200
            assert is_free(places)


def test_a_stream_that_breaks_gives_its_place_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made, places = populate(api), one_place(api)

    def broken(*_args: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr("crowbar_core.web.api.runs._lines", broken)
    with served(api.app) as address:
        headers = {"Authorization": f"Bearer {api.token('admin')}"}
        with contextlib.suppress(requests.RequestException):
            _ = requests.get(
                url(address, f"/api/v2/runs/{made.run}/log/stream"), headers=headers, timeout=SECONDS
            ).content
        wait_until(lambda: is_free(places), seconds=SECONDS, what="the place is free")


def test_an_answer_that_is_replaced_gives_its_place_back(api: Api) -> None:
    made, places = populate(api), one_place(api)

    def broken(_answer: Any) -> Any:
        raise RuntimeError("broken")  # and what is raised holds on to all that was there

    api.app.after_request_funcs.setdefault(None, []).append(broken)
    assert api.get(f"runs/{made.run}/log/stream").status_code == 500
    assert is_free(places)


def test_streams_end_when_the_server_stops(api: Api, clients: contextlib.ExitStack) -> None:
    made, places = populate(api), one_place(api)
    with served(api.app) as address:
        client = connect(clients, address, (head(api, "GET", f"/api/v2/runs/{made.run}/log/stream") + "\r\n").encode())
        assert b"200 OK" in client.recv(65536)
        places.stop()
        while client.recv(65536):
            pass
