"""What one process remembers of sign-ins: attempts, to bound guessing, and recent successes, to spare the hashing.

An attempt counts before its password is looked at, so that a hundred at once are no more than one after the other. It
is counted for the name from this source, for the name from everywhere, and for the source with any name. A source is
an address; of IPv6 the network of 64 bits, which is one customer's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any, ClassVar, Final

from crowbar_core.errors import CrowbarError
from crowbar_core.services.people.users import Identity

WINDOW_SECONDS: Final = 60.0
OF_NAME_FROM_SOURCE: Final = 10
OF_NAME: Final = 60
OF_SOURCE: Final = 60
REMEMBER_SECONDS: Final = 60.0
AT_HOME_SECONDS: Final = 30 * 24 * 3600.0
TABLE_SIZE: Final = 10_000


class TooManyAttempts(CrowbarError):
    """Wrong passwords came too often from one address or for one name."""

    code: ClassVar[str] = "too-many-attempts"
    status: ClassVar[int] = 429

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"Too many failed attempts to sign in; try again in {int(retry_after) + 1} seconds.")
        self.retry_after = retry_after


@dataclass
class Door:
    """A password hash is slow on purpose; a client that sends Basic with every request would pay it every time. The
    success is remembered under a keyed digest for a minute, and holds only while the user's epoch is the same. Equal
    requests at the same time wait for the first of them.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    attempts: OrderedDict[Hashable, list[float]] = field(default_factory=OrderedDict)
    known: OrderedDict[bytes, tuple[float, int, int]] = field(default_factory=OrderedDict)
    at_home: OrderedDict[Hashable, float] = field(default_factory=OrderedDict)
    """Names that have signed in from a source: there, others' guesses elsewhere keep nobody out."""
    asked: dict[bytes, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    clock: Callable[[], float] = time.monotonic

    def digest(self, name: str, password: str) -> bytes:
        message = name.encode(errors="replace") + b"\0" + password.encode(errors="replace")
        return hmac.new(self.key, message, hashlib.sha256).digest()

    @contextmanager
    def one_at_a_time(self, digest: bytes) -> Iterator[None]:
        """Equal names and passwords are looked at one after the other: the second finds what the first has found."""
        with self.lock:
            mine = self.asked.setdefault(digest, threading.Lock())
        try:
            with mine:
                yield
        finally:
            with self.lock:
                self.asked.pop(digest, None)

    def knock(self, name: str, remote: str) -> Attempt:
        """Count an attempt. Raises ``TooManyAttempts``."""
        name, source = name[:64].lower(), source_of(remote)
        now = self.clock()
        here, everywhere, anybody = ("both", name, source), ("name", name), ("source", source)
        with self.lock:
            limits = [(here, OF_NAME_FROM_SOURCE), (anybody, OF_SOURCE)]
            if self.at_home.get(here, 0.0) < now:
                limits.append((everywhere, OF_NAME))
            for subject, allowed in limits:
                recent = self._recent(subject, now)
                if len(recent) >= allowed:
                    raise TooManyAttempts(WINDOW_SECONDS - (now - recent[0]))
            for subject in (here, everywhere, anybody):
                self.attempts.setdefault(subject, []).append(now)
                self.attempts.move_to_end(subject)
            _bound(self.attempts)
        return Attempt(self, here, (here, everywhere, anybody), now)

    def _recent(self, subject: Hashable, now: float) -> list[float]:
        recent = [at for at in self.attempts.get(subject, ()) if now - at < WINDOW_SECONDS]
        if recent:
            self.attempts[subject] = recent
        else:
            self.attempts.pop(subject, None)
        return recent

    def remember(self, digest: bytes, identity: Identity) -> None:
        with self.lock:
            if identity.user_id is not None:
                self.known[digest] = (self.clock() + REMEMBER_SECONDS, identity.user_id, identity.epoch)
            _bound(self.known)

    def remembered(self, digest: bytes) -> tuple[int, int] | None:
        """The user id and epoch that this name and password proved to be within the last minute."""
        with self.lock:
            found = self.known.get(digest)
            if found is None:
                return None
            until, user_id, epoch = found
            if until < self.clock():
                del self.known[digest]
                return None
            return user_id, epoch


@dataclass(frozen=True)
class Attempt:
    """One that has been counted already."""

    door: Door
    here: Hashable
    subjects: tuple[Hashable, ...]
    at: float

    def take_back(self) -> None:
        """The password was right, or was not looked at. Others' attempts still count."""
        with self.door.lock:
            for subject in self.subjects:
                if self.at in self.door.attempts.get(subject, ()):
                    self.door.attempts[subject].remove(self.at)

    def succeed(self) -> None:
        self.take_back()
        with self.door.lock:
            self.door.attempts.pop(self.here, None)
            self.door.at_home[self.here] = self.at + AT_HOME_SECONDS
            self.door.at_home.move_to_end(self.here)
            _bound(self.door.at_home)


def source_of(remote: str) -> str:
    try:
        address = ip_address(remote)
    except ValueError:
        return remote[:64]
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or int(address) >> 64)
    return str(address)


def _bound(table: OrderedDict[Any, Any]) -> None:
    while len(table) > TABLE_SIZE:
        table.popitem(last=False)
