"""Updates of which several wait for their answers, from a server that answers the last one first."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.tsigkeyring
import pytest
from crowbar_dns.comparing import Edit
from crowbar_dns.drivers import Server, ServerDown
from crowbar_dns.drivers.rfc2136 import AT_ONCE, UNDER_WAY, Rfc2136

SECRET = "Y3Jvd2JhciB0ZWxscyBuYW1lcyB0byBzZXJ2ZXJzIQ=="
RING = dns.tsigkeyring.from_text({"crowbar": ("hmac-sha256", SECRET)})
ZONE = "example.test"


def received(connection: socket.socket, *, within: float) -> bytes:
    """The next message; b"" when there is none within so many seconds, or no more."""
    connection.settimeout(within)
    try:
        head = connection.recv(2, socket.MSG_WAITALL)
        return connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if head else b""
    except TimeoutError:
        return b""


def answered(several: Sequence[bytes], *, together: bool = False) -> list[bytes]:
    """REFUSED to each in which a name has the word bad, else NOERROR; ``together``: then SERVFAIL to all others."""
    asked: list[Any] = [dns.message.from_wire(raw, keyring=RING) for raw in several]
    bad = [any("bad" in str(one.name) for one in each.update) for each in asked]
    found = []
    for each, refused in zip(asked, bad, strict=True):
        answer = dns.message.make_response(each)
        if refused or (together and any(bad)):
            answer.set_rcode(dns.rcode.REFUSED if refused else dns.rcode.SERVFAIL)
        found.append(bytes(answer.to_wire()))
    return found


@contextmanager
def server(answer: Callable[[Sequence[bytes]], list[bytes]], most: list[int]) -> Iterator[Rfc2136]:
    """One that takes what comes and answers the last of it first; ``most`` is told how many had come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                while first := received(connection, within=60):
                    several = [first, *iter(lambda: received(connection, within=0.2), b"")]
                    most.append(len(several))
                    for wire in reversed(answer(several)):
                        connection.sendall(len(wire).to_bytes(2, "big") + wire)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Rfc2136(
            Server(addresses=("127.0.0.1",), port=listening.getsockname()[1], key_name="crowbar", key=SECRET,
                   algorithm="hmac-sha256", timeout=60)
        )  # fmt: skip
        thread.join(60)


def edits(count: int, *bad: int) -> list[Edit]:
    return [
        Edit(name=f"{'bad' if at in bad else 'n'}{at}.{ZONE}", type="A", values=frozenset(("10.0.0.1",)))
        for at in range(count)
    ]


def test_answers_in_any_order_are_told_apart() -> None:
    most: list[int] = []
    with server(answered, most) as driver:
        refused = driver.write(ZONE, edits(12 * AT_ONCE, 7, 650, 1199))
    assert refused == {(f"bad{at}.{ZONE}", "A"): "the server refuses it" for at in (7, 650, 1199)}
    assert 1 < max(most) <= UNDER_WAY


def test_what_is_refused_because_of_another_is_asked_again_alone() -> None:
    with server(partial(answered, together=True), []) as driver:
        refused = driver.write(ZONE, edits(4 * AT_ONCE, 250))
    assert refused == {(f"bad250.{ZONE}", "A"): "the server refuses it"}


def test_an_answer_to_what_was_not_asked_is_said() -> None:
    def other(several: Sequence[bytes]) -> list[bytes]:
        return [bytes((wire[0] ^ 1,)) + wire[1:] for wire in answered(several)]

    with server(other, []) as driver, pytest.raises(ServerDown, match="it answers something that was not asked"):
        driver.write(ZONE, edits(3))
