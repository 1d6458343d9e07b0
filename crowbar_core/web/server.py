"""The HTTP server of one process: waitress, with deadlines for clients that are slow, silent or gone.

waitress reads and writes in one loop and gives a thread to a request only when all of it has come; answers are kept (in
a file when they are large) until the client has taken them. So half a request and an answer that nobody reads hold a
connection, and no thread. What it lacks is added here: a limit of time for each of them, and room for a new connection
when all are taken, by closing the one that has kept us waiting longest.

gunicorn's threads were given up because each belongs to a client while that client sends or reads.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from crowbar_core.web import memory, problems

FILES_WANTED: Final = 8192
LOOK_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 5.0
HEADER_MAX: Final = 64 * 1024
LARGE: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a client may take, in seconds, and how many there may be."""

    header: float = 10.0
    """From the first byte of a request to the end of its header; of a new connection, to its first byte."""
    request: float = 60.0
    """From the first byte of a request to its last."""
    idle: float = 30.0
    """Between two requests on one connection."""
    stall: float = 20.0
    """In which a client must take ``stall_bytes`` of its answer, or all of it."""
    stall_bytes: int = 16 * 1024
    connections: int = 1000
    body: int = 2 * 1024 * 1024


class _Task(WSGITask):  # type: ignore[misc]
    def finish(self) -> None:
        if self.request.command == "HEAD":  # waitress would end the body that there is none of
            self.chunked_response = False
        super().finish()


class _Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to what is no HTTP, or too large, in the same form as all others."""

    def execute(self) -> None:
        error = self.request.error
        answer = problems.refusal(error.code)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", answer.mimetype))
        body = answer.get_data()
        self.content_length = len(body)
        self.set_close_on_finish()
        self.channel.has_unread = True
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """One connection. Only the server's loop calls what is here."""

    task_class = _Task
    error_task_class = _Refusal

    def __init__(self, server: _Listener, *args: Any, **kwargs: Any) -> None:
        self.limits: Limits = server.limits
        self.since = time.monotonic()
        """Since when we wait: for the rest of a request, or for the next one."""
        self.has_asked = False
        self.sent = 0
        self.mark: tuple[float, int] | None = None
        """When something waited to be sent, and what had been sent by then."""
        self.has_unread = False
        self.lingers_until: float | None = None
        super().__init__(server, *args, **kwargs)

    def received(self, data: bytes) -> bool:
        before = self.request
        taken: bool = super().received(data)
        if self.request is not None and self.request.body_bytes_received > LARGE:
            self.server.had_large = True
        if self.request is None or self.request is not before:
            self.since = time.monotonic()
            self.has_asked = True
        return taken

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent: int = super().send(data, do_close=do_close)
        self.sent += sent
        return sent

    @property
    def is_waited_for(self) -> bool:
        """Nothing is being done for this client, and nothing waits to be sent to it."""
        return not self.requests and not self.total_outbufs_len

    def is_overdue(self, now: float) -> bool:
        if self.lingers_until is not None:
            return now > self.lingers_until
        if self.total_outbufs_len:
            return self._is_stalled(now)
        self.mark = None
        if self.requests:
            self.since = now  # its time begins when it has its answer
            return False
        waited = now - self.since
        if self.request is None:
            return waited > (self.limits.idle if self.has_asked else self.limits.header)
        return waited > (self.limits.request if self.request.headers_finished else self.limits.header)

    def _is_stalled(self, now: float) -> bool:
        if self.mark is None:
            self.mark = (now, self.sent)
        began, sent = self.mark
        if now - began < self.limits.stall:
            return False
        self.mark = (now, self.sent)
        return self.sent - sent < self.limits.stall_bytes

    # A client that still sends when it has been refused would have its connection reset, and never see the answer.

    def readable(self) -> bool:
        return self.lingers_until is not None or bool(super().readable())

    def writable(self) -> bool:
        return bool(self.will_close if self.lingers_until is not None else super().writable())

    def handle_write(self) -> None:
        if self.has_unread and self.close_when_flushed and not self.requests and not self.will_close:
            self._flush_exception(self._flush_some)
            if not self.total_outbufs_len and not self.will_close:
                self._linger()
            return
        super().handle_write()

    def _linger(self) -> None:
        self.has_unread = self.close_when_flushed = False
        self.lingers_until = time.monotonic() + LINGER_SECONDS
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def handle_read(self) -> None:
        if self.lingers_until is None:
            super().handle_read()
            return
        try:
            self.recv(self.adj.recv_bytes)  # closes the connection when the client has
        except OSError:
            self.handle_close()


class _Listener:
    """What the two kinds of waitress's servers get added."""

    channel_class = _Channel
    limits: Limits
    active_channels: dict[int, _Channel]
    had_large = False
    """A large body has been read since memory was given back."""

    def maintenance(self, now: float) -> None:
        """Nothing here: between two turns of the loop connections are closed, and none while it hands out events."""

    def close_overdue(self) -> None:
        now = time.monotonic()
        for channel in list(self.active_channels.values()):
            if channel.is_overdue(now):
                channel.handle_close()

    def make_room(self) -> None:
        """When all connections are taken, close the one that has kept us waiting longest."""
        if len(self.active_channels) >= self.limits.connections:
            waited_for = [channel for channel in self.active_channels.values() if channel.is_waited_for]
            if waited_for:
                min(waited_for, key=lambda channel: channel.since).handle_close()


class _Tcp(_Listener, TcpWSGIServer):  # type: ignore[misc]
    pass


class _Unix(_Listener, UnixWSGIServer):  # type: ignore[misc]
    pass


class HttpServer:
    """Serves ``app`` on a socket that listens already."""

    def __init__(self, app: Any, sock: socket.socket, *, threads: int, limits: Limits | None = None) -> None:
        limits = _affordable(limits or Limits())
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that requests wait for a thread is no news
        adjustments = Adjustments(
            threads=threads,
            sockets=[sock],
            connection_limit=limits.connections + 100,  # closing one comes before accepting none
            asyncore_use_poll=True,
            asyncore_loop_timeout=1,
            channel_request_lookahead=1,  # so that a client that goes away is noticed at once
            max_request_header_size=HEADER_MAX,
            max_request_body_size=limits.body + 1,
            inbuf_overflow=64 * 1024,
            outbuf_overflow=256 * 1024,
            outbuf_high_watermark=64 * 1024 * 1024,
            log_socket_errors=False,
            ident="",
            clear_untrusted_proxy_headers=False,  # the application knows whom it believes
        )
        self._map: dict[int, Any] = {}
        self._looked = time.monotonic()
        self._threads = ThreadedTaskDispatcher()
        self._threads.set_thread_count(threads)
        kind = _Unix if sock.family == socket.AF_UNIX else _Tcp
        place = (sock.family, sock.type, sock.proto, sock.getsockname())
        kind.limits = limits
        self._server = kind(
            app, self._map, True, sock, dispatcher=self._threads, adj=adjustments, bind_socket=False, sockinfo=place
        )

    def serve(self, goes_on: Callable[[], bool]) -> None:
        """Answer requests while ``goes_on()``, which is asked at least once a second and after ``wake``."""
        while goes_on():
            self._turn(1.0)

    def wake(self) -> None:
        """Have ``goes_on`` asked again. Called from other threads and from signal handlers."""
        self._server.pull_trigger()

    def drain(self, seconds: float) -> None:
        """Take no new connections, finish what is being answered, at most for ``seconds``, and close all."""
        self._server.del_channel()
        self._server.socket.close()
        deadline = time.monotonic() + seconds
        while any(self._busy()) and (left := deadline - time.monotonic()) > 0:
            self._turn(min(left, 0.25))
        self._threads.set_thread_count(0)
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.trigger.close()

    def _busy(self) -> Iterator[bool]:
        for channel in self._server.active_channels.values():
            yield channel.lingers_until is None and (not channel.is_waited_for or channel.request is not None)

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)
        self._server.make_room()
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._server.close_overdue()
            if self._server.had_large and not any(self._busy()):
                self._server.had_large = False
                memory.give_back()


def _affordable(limits: Limits) -> Limits:
    """The limits, with no more connections than there may be open files; more of these are asked for first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    # Each connection may hold a file for what it sent and one for its answer.
    afford = FILES_WANTED if soft == resource.RLIM_INFINITY else max(16, soft // 4)
    return limits if limits.connections <= afford else replace(limits, connections=afford)
