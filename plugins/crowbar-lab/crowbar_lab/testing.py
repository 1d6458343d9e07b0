"""For tests with nodes of a lab: a way into its network, and a pytest fixture that holds a rack, one for each module.

    rack = rack_fixture(nodes=3, cards=2)

    def test_a_node_has_its_cards(rack: Lab) -> None: ...

Where User Mode Linux is missing, the tests fail and say what to install.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

import pytest

from crowbar_lab import linux
from crowbar_lab.lab import Lab

T = TypeVar("T")


def inside(lab: Lab, work: Callable[[], T], *, timeout: float = 300.0) -> T:
    """Do it in a thread inside the lab's network, where its nodes can be reached; threads that it starts are there,
    too. ``timeout`` in seconds.
    """
    return begin_inside(lab, work).result(timeout)


def begin_inside(lab: Lab, work: Callable[[], T]) -> Future[T]:
    """The same, without waiting for its end."""
    done: Future[T] = Future()

    def enter() -> None:
        try:
            network = os.open(lab.namespace, os.O_RDONLY)
            try:
                linux.setns(network, linux.CLONE_NEWNET)
            finally:
                os.close(network)
            done.set_result(work())
        except BaseException as problem:  # noqa: BLE001  handed to whoever asks for the result
            done.set_exception(problem)

    threading.Thread(target=enter, daemon=True).start()
    return done


@contextmanager
def saying(lab: Lab, address: str, port: int, said: bytes) -> Iterator[None]:
    """There somebody takes connections, and says these octets to whatever it is told."""
    words = [sys.executable, "-W", "ignore", "-c", _SAYING, address, str(port), said.hex()]
    with lab.popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


_SAYING = """
import socketserver, sys
class Says(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(65536)
        self.request.sendall(bytes.fromhex(sys.argv[3]))
        self.request.shutdown(1)
        while self.request.recv(65536):
            pass
socketserver.ThreadingTCPServer.allow_reuse_address = True
there = socketserver.ThreadingTCPServer((sys.argv[1], int(sys.argv[2])), Says)
there.daemon_threads = True
print("ready", flush=True)
there.serve_forever()
"""


def rack_fixture(*, nodes: int, cards: int) -> Callable[..., Iterator[Lab]]:
    """A fixture to be bound to a name of the module: a lab with a kernel of its own, an admin node and ``nodes - 1``
    more, each with ``cards`` besides eth0. It is made by the first test that asks, and goes with the module."""

    @pytest.fixture(scope="module")
    def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
        with Lab.create(
            "rack", nodes=nodes, cards=cards, kernel="uml", state_dir=tmp_path_factory.mktemp("labs"), owner=os.getpid()
        ) as lab:
            yield lab

    return rack
