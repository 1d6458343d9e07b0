"""A wire to PostgreSQL that breaks at the worst moment, when a COMMIT has reached the server and its answer has not; or
that freezes.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator

EVERY = 4
"""Which of the COMMITs are hit while the wire is bad."""


class BadWire:
    def __init__(self, server: str) -> None:
        self.server = server
        self.cuts_left = 0
        self._goes = threading.Event()
        self._goes.set()
        self._lock = threading.Lock()
        self._commits = itertools.count(1)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._sockets = [self._door]
        self._threads: list[threading.Thread] = []
        self._spawn(self._welcome)

    def freeze(self) -> None:
        """From now on nothing arrives, in either direction, and nobody is told."""
        self._goes.clear()

    def thaw(self) -> None:
        self._goes.set()

    def close(self) -> None:
        self.thaw()
        _end(self._door)
        self._threads[0].join(5)  # from now on there are no more
        for one in self._sockets:
            _end(one)
        for thread in self._threads:
            thread.join(5)
        for one in self._sockets:
            one.close()

    def _spawn(self, target: Callable[..., None], *sockets: socket.socket) -> None:
        thread = threading.Thread(target=target, args=sockets, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _welcome(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            self._sockets += [client, server]
            server.connect(self.server)
            self._spawn(self._up, client, server)
            self._spawn(self._down, server, client)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        for data in _pieces(client):
            self._goes.wait()
            if b"Q\x00\x00\x00\x0bCOMMIT\x00" in data and self._hits():
                # Nobody hears the answer; the server has got the whole command, and carries it out.
                _end(client)
                server.sendall(data)
                server.shutdown(socket.SHUT_WR)
                return
            with contextlib.suppress(OSError):
                server.sendall(data)
        _end(server)

    def _hits(self) -> bool:
        with self._lock:
            hit = self.cuts_left > 0 and next(self._commits) % EVERY == 0
            self.cuts_left -= hit
            return hit

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        for data in _pieces(server):
            self._goes.wait()
            with contextlib.suppress(OSError):
                client.sendall(data)
        _end(client)


def _pieces(source: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            yield data


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
