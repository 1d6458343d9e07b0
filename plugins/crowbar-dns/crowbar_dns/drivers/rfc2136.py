"""Servers that take dynamic updates (RFC 2136) signed with TSIG: BIND, Knot, and others.

Up to a hundred edits go in one message, which the server takes wholly or not at all. One that it refuses is halved
until the edits are alone that it does not want. Some are under way at once, and their answers come in any order: no two
of them are about the same name and type. The zone is read by AXFR.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.xfr

from crowbar_core import BadInput, CrowbarError
from crowbar_dns.comparing import Edit, Key
from crowbar_dns.drivers import TAKEN, Server, ServerDenies, ServerDown, ZoneUnserved
from crowbar_dns.drivers.messages import update_message
from crowbar_dns.names import Record

AT_ONCE = 100
UNDER_WAY = 8
"""How many messages may wait for answers on a connection (RFC 7766): a server works on one while the next is made."""
ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1", "hmac-md5")
_LEFT_OUT = {"SOA", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "TYPE65534"}
_REASONS = {
    "YXRRSET": TAKEN,
    "YXDOMAIN": TAKEN,
    "REFUSED": "the server refuses it",
    "NOTZONE": "it does not lie in the zone",
    "FORMERR": "the server does not understand it",
    "SERVFAIL": "the server could not do it",
}
_AS_LONG = 12
"""How many times the time for an answer a whole zone may take."""
_KEY_FAULTS = (dns.tsig.PeerError, dns.tsig.BadSignature, dns.tsig.BadKey, dns.message.UnknownTSIGKey)
_BROKEN = (OSError, EOFError, dns.exception.DNSException)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A message that waits for its answer. ``mac``: what signs the answer, too. ``alone``: no other is under way; else
    its refusal may be meant for another, since Knot takes together what has come for a zone.
    """

    edits: Sequence[Edit]
    mac: bytes
    alone: bool


class Rfc2136:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._address = server.addresses[0] if server.addresses else ""
        self._keyring = _keyring(server)
        self._key = next(iter(self._keyring.values())) if self._keyring else None

    def check(self) -> None:
        query = dns.message.make_query(".", "SOA", flags=0)
        problem = ""
        for address in self._ways():
            try:
                dns.query.tcp(query, address, timeout=2.0, port=self._server.port)
                return
            except _BROKEN as error:
                problem = _said(error)
        raise self._down(problem)

    def read(self, zone: str) -> list[Record]:
        with self._connection() as connection:
            self._address = str(connection.getpeername()[0])
        try:
            return self._transfer(zone)
        except dns.xfr.TransferError as error:
            code = dns.rcode.to_text(error.rcode)
            raise ZoneUnserved(
                f"The DNS server at {self._address} does not give the zone {zone} away ({code}): it does not decide on "
                "it, or does not allow the key to transfer it (allow-transfer)."
            ) from None
        except _KEY_FAULTS as error:
            raise self._denies(error) from None
        except _BROKEN as error:
            raise self._down(_said(error)) from None

    def write(self, zone: str, edits: Sequence[Edit]) -> Mapping[Key, str]:
        refused: dict[Key, str] = {}
        waiting = deque(edits[first : first + AT_ONCE] for first in range(0, len(edits), AT_ONCE))
        with self._connection() as connection:
            asked: dict[int, _Asked] = {}
            room = UNDER_WAY
            while waiting or asked:
                while waiting and len(asked) < room:
                    while (number := secrets.randbits(16)) in asked:
                        pass
                    some = waiting.popleft()
                    mac = self._send(connection, zone, some, number)
                    asked[number] = _Asked(edits=some, mac=mac, alone=room == 1 or not (asked or waiting))
                one, code = self._answer(connection, zone, asked)
                these = one.edits
                if code == "NOERROR":
                    continue
                if code == "NOTAUTH":
                    raise ZoneUnserved(
                        f"The DNS server at {self._address} does not decide on the zone {zone} (NOTAUTH)."
                    )
                if not one.alone:
                    room = 1
                    waiting.append(these)
                elif len(these) == 1:
                    refused[these[0].key] = _REASONS.get(code, f"the server says {code}")
                else:
                    half = len(these) // 2
                    waiting.extendleft((these[half:], these[:half]))
        if len(edits) > 1 and len(refused) == len(edits) and set(refused.values()) == {_REASONS["REFUSED"]}:
            raise ZoneUnserved(
                f"The DNS server at {self._address} lets nothing be changed in the zone {zone} (REFUSED): "
                "allow its key to (allow-update), or leave the zone out."
            )
        return refused

    # ------------------------------------------------------------ messages

    def _send(self, connection: socket.socket, zone: str, edits: Sequence[Edit], number: int) -> bytes:
        """What signs the answer, too."""
        message, mac = update_message(zone, edits, self._key, number)
        try:
            connection.setblocking(False)
            dns.query.send_tcp(connection, message, time.time() + self._server.timeout)
        except _BROKEN as error:
            raise self._down(_said(error)) from None
        return mac

    def _answer(self, connection: socket.socket, zone: str, asked: dict[int, _Asked]) -> tuple[_Asked, str]:
        """The next answer: to which of those that were ``asked``, which is taken out of them, and what it says."""
        try:
            raw = _next(connection, time.time() + self._server.timeout)
            one = asked.pop(int.from_bytes(raw[:2], "big"))
            answer = dns.message.from_wire(raw, keyring=self._keyring, request_mac=one.mac)
        except _KEY_FAULTS as error:
            raise self._denies(error) from None
        except KeyError:
            raise self._down("it answers something that was not asked") from None
        except dns.exception.FormError as error:
            # Knot signs no refusal for a zone that it does not have.
            raise ZoneUnserved(
                f"The DNS server at {self._address} gives no signed answer about the zone {zone} "
                f"({_said(error)}): it does not decide on it, or does not know the key."
            ) from None
        except _BROKEN as error:
            raise self._down(_said(error)) from None
        return one, dns.rcode.to_text(answer.rcode())

    def _transfer(self, zone: str) -> list[Record]:
        found: list[Record] = []
        messages = dns.query.xfr(
            self._address, zone, port=self._server.port, keyring=self._keyring, relativize=False,
            keyalgorithm=_algorithm(self._server), timeout=self._server.timeout,
            lifetime=self._server.timeout * _AS_LONG,
        )  # fmt: skip
        for message in messages:
            for rrset in message.answer:
                kind = dns.rdatatype.to_text(rrset.rdtype)
                if kind not in _LEFT_OUT:
                    name = _text(rrset.name)
                    found += [Record(name, kind, _value(kind, rdata), rrset.ttl) for rdata in rrset]
        return found

    # ------------------------------------------------------------ ways and words

    def _ways(self) -> Sequence[str]:
        if not self._server.addresses:
            raise ServerDown("The DNS server has no address.")
        return self._server.addresses

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        """To the first of the addresses that takes one."""
        problem = ""
        for address in self._ways():
            try:
                made = socket.create_connection((address, self._server.port), self._server.timeout)
            except OSError as error:
                problem = problem or _said(error)
                continue
            self._address = address
            with made:
                yield made
            return
        self._address = self._ways()[0]
        raise self._down(problem)

    def _down(self, problem: str) -> ServerDown:
        return ServerDown(f"The DNS server at {self._address} port {self._server.port} does not answer: {problem}.")

    def _denies(self, error: BaseException) -> CrowbarError:
        return ServerDenies(
            f"The DNS server at {self._address} does not take the key {self._server.key_name or '(none)'} "
            f"({type(error).__name__}): name, algorithm and secret must be those that it has, and its clock right."
        )


def _keyring(server: Server) -> Any:
    if not server.key_name:
        return None
    try:
        base64.b64decode(server.key, validate=True)
        return dns.tsigkeyring.from_text({server.key_name: (_algorithm(server), server.key)})
    except (binascii.Error, ValueError):
        raise BadInput(
            f"The secret of the key {server.key_name} is not base64, as servers and tsig-keygen write it."
        ) from None


def _algorithm(server: Server) -> dns.name.Name:
    return dns.name.from_text(server.algorithm if server.algorithm != "hmac-md5" else "hmac-md5.sig-alg.reg.int")


def _value(kind: str, rdata: Any) -> str:
    if kind == "A":
        return str(rdata.address)
    if kind == "AAAA":
        return str(rdata.address)
    if kind in ("PTR", "CNAME"):
        return _text(rdata.target)
    if kind == "SRV":
        return f"{rdata.priority} {rdata.weight} {rdata.port} {_text(rdata.target)}"
    if kind == "TXT":
        return b"".join(rdata.strings).decode("utf-8", "backslashreplace")
    return str(rdata.to_text())


@lru_cache(maxsize=4096)
def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def new_key(raw: bytes) -> str:
    """A secret for TSIG as servers take it."""
    return base64.b64encode(raw).decode()


def _next(connection: socket.socket, until: float) -> bytes:
    """The next message. Raises ``EOFError`` when the connection ends, ``TimeoutError`` when none has come by then, in
    seconds since the epoch.
    """

    def exactly(count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            connection.settimeout(max(until - time.time(), 0.001))
            some = connection.recv(count - len(found))
            if not some:
                raise EOFError
            found += some
        return bytes(found)

    return exactly(int.from_bytes(exactly(2), "big"))


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError | dns.exception.Timeout):
        return "no answer in time"
    if isinstance(error, EOFError):
        return "it closed the connection"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
