"""Runs: the history of what was carried out, with logs that can be followed; cancelling, and ending pending ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, Final

import orjson
from flask import Response, current_app, request
from pydantic import Field

from crowbar_core.domain.attributes import masked
from crowbar_core.domain.states import OPEN_RUN_STATES
from crowbar_core.errors import Unavailable
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import run_logs
from crowbar_core.store.listing import ID_MAX
from crowbar_core.web.api.collection import found_id, reading
from crowbar_core.web.api.nouns import RUNS
from crowbar_core.web.api.operation import Answer, Query, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.api.waiting import Stream, Waiting
from crowbar_core.web.auth import parts

WAIT_MAX: Final = 20.0
LOOK_EVERY: Final = 0.25
STREAM_SECONDS: Final = 300.0
LINES_AT_ONCE: Final = 1000


class LogQuery(Query):
    after: int = Field(0, ge=0, le=ID_MAX, description="Only lines with a higher seq.")
    limit: int = Field(LINES_AT_ONCE, ge=1, le=LINES_AT_ONCE)
    wait: float = Field(
        0.0, ge=0.0, le=WAIT_MAX, description="Seconds to wait for a new line, or for the end of the run."
    )


class StreamQuery(Query):
    after: int = Field(0, ge=0, le=ID_MAX)


reading(v2, RUNS, parameter="run")


def waiting() -> Waiting:
    found = current_app.extensions["crowbar-waiting"]
    assert isinstance(found, Waiting)
    return found


@v2.get("/runs/<run>/input")
@api(permission="viewer", summary="What a run was given, secrets masked")
def run_input(run: str) -> Any:
    key = found_id(RUNS, run)
    with parts().store.read() as session:
        return masked(run_logs.input_of(session, key))


def _lines(built: Parts, run_id: int, after: int, limit: int) -> tuple[str, list[dict[str, Any]]]:
    """The run's state, and its lines after ``after``. The state is read first: what has ended writes no more."""
    with built.store.read() as session:
        state = run_logs.state_of(session, run_id) or "gone"
        return state, run_logs.lines(session, run_id, after=after, limit=limit)


@v2.get("/runs/<run>/log")
@api(permission="viewer", summary="The log of a run, line by line; wait for more with wait", query=LogQuery)
def run_log(run: str, query: LogQuery) -> Answer:
    built, key = parts(), found_id(RUNS, run)
    state, lines = _lines(built, key, query.after, query.limit)
    headers = {}
    if not lines and query.wait and state in OPEN_RUN_STATES:
        with waiting().place() as got:
            if got:
                deadline = time.monotonic() + query.wait
                pause = waiting().pauses()
                while not lines and state in OPEN_RUN_STATES and (left := deadline - time.monotonic()) > 0:
                    if not pause(min(LOOK_EVERY, left)):
                        break
                    state, lines = _lines(built, key, query.after, query.limit)
            else:  # too many wait already: this one comes back in a second instead of holding a thread
                headers["Retry-After"] = "1"
    headers["Crowbar-Run-State"] = state
    if len(lines) == query.limit:
        headers["Link"] = f'<{request.path}?after={lines[-1]["seq"]}&limit={query.limit}>; rel="next"'
    return Answer(value=lines, headers=headers)


@v2.get("/runs/<run>/log/stream")
@api(permission="viewer", summary="The log of a run as server-sent events, until it ends", query=StreamQuery)
def run_log_stream(run: str, query: StreamQuery) -> Response:
    built, key = parts(), found_id(RUNS, run)
    last = request.headers.get("Last-Event-ID", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) <= 10 else query.after
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream")
    place = waiting().take()
    if place is None:
        answer = Response("retry: 2000\n\n", status=503, mimetype="text/event-stream")
        answer.headers["Retry-After"] = "2"
        return answer
    events = _events(built, key, after, waiting().pauses())
    return Response(Stream(place, events), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _events(built: Parts, key: int, seen: int, pause: Callable[[float], bool]) -> Generator[str, None, None]:
    deadline = time.monotonic() + STREAM_SECONDS
    quiet = 0.0
    yield "retry: 1000\n\n"
    while time.monotonic() < deadline:
        try:
            state, lines = _lines(built, key, seen, LINES_AT_ONCE)
        except Unavailable:
            return  # the client comes again, and goes on after the last line that it has
        for line in lines:
            seen = line["seq"]
            yield f"id: {seen}\nevent: line\ndata: {orjson.dumps(line).decode()}\n\n"
        if not lines and state not in OPEN_RUN_STATES:
            yield f"event: end\ndata: {orjson.dumps({'state': state}).decode()}\n\n"
            return
        if not lines:
            quiet += LOOK_EVERY
            if quiet >= 10.0:  # a sign of life, which also finds out whether the client is still there
                quiet = 0.0
                yield ": waiting\n\n"
            if not pause(LOOK_EVERY):
                return
