"""The kept connections: one per node and process, over Fabric, to servers whose host key is known."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import fabric
import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_REQUEST, cMSG_GLOBAL_REQUEST

from crowbar_core import ConfigError, NodeUnreachable, PermanentError
from crowbar_jig_script.settings import Settings

if TYPE_CHECKING:
    from crowbar_jig_script.standby import Standby

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_KEY_EXCHANGES = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256")
_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_STEP = 5.0
_LOG = "crowbar_jig_script.ssh"
# paramiko's threads write a traceback for every node that does not answer. Whoever asked is told in one sentence.
logging.getLogger(_LOG).setLevel(logging.CRITICAL)


class HostKeyRefused(PermanentError):
    """The server is not the one that is known under the node's name, or nothing is known to compare with."""


def _channel_request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """paramiko passes over the word that a command was killed, and would wait on for its exit status."""
    if paramiko.Message(message.get_remainder()).get_text() == "exit-signal":
        channel.status_event.set()
    channel._handle_request(message)  # type: ignore[attr-defined]


class Session(paramiko.Transport):
    """A connection as paramiko makes it, and some things that it cannot do or does slowly."""

    _channel_handler_table: ClassVar = {
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_REQUEST: _channel_request,
    }

    def __init__(self, sock: Any, **given: Any) -> None:
        given.pop("gss_kex", None), given.pop("gss_deleg_creds", None)
        super().__init__(sock, **given)
        self.set_log_channel(_LOG)
        # paramiko looks up ten times a second, on each connection, whether it was closed; close() wakes it instead.
        sock.settimeout(1.0)
        self._socket: socket.socket = sock
        self._asking = threading.Lock()

    def answers(self, timeout: float) -> bool:
        """Whether the server still replies: one request and its answer. (``global_request`` would wait for ever.)"""
        with self._asking:
            if not self.is_active():
                return False
            self.completion_event = threading.Event()
            request = paramiko.Message()
            request.add_byte(cMSG_GLOBAL_REQUEST)
            request.add_string("keepalive@openssh.com")
            request.add_boolean(True)
            try:
                self._send_user_message(request)  # type: ignore[attr-defined]
            except (OSError, EOFError, paramiko.SSHException):
                return False
            return self.completion_event.wait(timeout) and self.is_active()

    def execute(self, channel: paramiko.Channel, command: str) -> None:
        """Like ``exec_command``, without waiting for the server's word that it began: what it sends tells that."""
        request = paramiko.Message()
        request.add_byte(cMSG_CHANNEL_REQUEST)
        request.add_int(channel.remote_chanid)
        request.add_string("exec")
        request.add_boolean(False)
        request.add_string(command)
        self._send_user_message(request)  # type: ignore[attr-defined]

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster
        super().close()
        if self is not threading.current_thread():
            # The thread may have seen the end first, and then nobody waited for it.
            self.join(_STEP)


@dataclass(kw_only=True)
class Kept:
    """What this process holds of one node."""

    address: str
    node: str
    opening: threading.Lock = field(default_factory=threading.Lock)
    connection: Any = None
    session: Session | None = None
    host_key: str = ""
    """The key that the server showed at the last login."""
    standby: Standby | None = None
    """The shell that waits for the next run, if there is one and no run has it."""
    clock_read: bool = False
    """Whether the node's clock has been compared with ours since the login."""
    users: int = 0
    used: float = 0.0
    heard: float = float("-inf")
    """When (``time.monotonic``) the node last did what it was asked."""

    def live(self) -> Session:
        """The session as it stands; ``EOFError`` when it has just been closed."""
        if self.session is None:
            raise EOFError("the connection was closed")
        return self.session


class Connections:
    """All kept connections. May be used from many threads; after ``close`` it opens new ones when asked."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.logins = 0
        """How many connections were opened, for tests and figures."""
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, int, str], Kept] = {}
        self._process = os.getpid()
        self._look_again = 0.0
        """When it is next looked for what is idle."""
        self._key: tuple[str, int, paramiko.PKey] | None = None

    def kept(self, node: str, address: str) -> Kept:
        key = (address, self.settings.port, node)
        with self._lock:
            if self._process != os.getpid():
                # A fork has the connections' sockets, which are its parent's to use, and not their threads.
                self._kept, self._process = {}, os.getpid()
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = Kept(address=address, node=node, used=time.monotonic())
            return found

    def open(self, node: str, address: str, *, known: Iterable[str], first_contact: bool = False) -> Kept:
        """The kept connection, or a new one. ``first_contact`` takes the key of a node for which none is known."""
        known = tuple(_normal(key) for key in known)
        while True:
            kept = self.kept(node, address)
            with kept.opening:
                if self._kept.get((address, self.settings.port, node)) is not kept:
                    continue  # closed while we waited for it
                if kept.session is not None and (
                    not kept.session.is_active() or (known and kept.host_key not in known)
                ):
                    _close(kept)
                if kept.session is None:
                    self._log_in(kept, known or ((kept.host_key,) if kept.host_key else ()), first_contact)
            self._sweep(keep=kept)
            return kept

    def proven(self, node: str, address: str, *, known: Iterable[str]) -> bool:
        """Whether there is a live connection to the node, with a key that is known, over which it has just answered."""
        with self._lock:
            kept = self._kept.get((address, self.settings.port, node)) if self._process == os.getpid() else None
        if kept is None or kept.session is None or not kept.session.is_active():
            return False
        fresh = time.monotonic() - kept.heard < self.settings.connect_timeout
        return fresh and kept.host_key in map(_normal, known)

    @contextmanager
    def using(self, kept: Kept) -> Iterator[None]:
        """Inside the block the connection is not idle."""
        with self._lock:
            kept.users += 1
        try:
            yield
        finally:
            with self._lock:
                kept.users -= 1
                kept.used = time.monotonic()

    def take_standby(self, kept: Kept) -> Standby | None:
        """The shell that stands by, for the caller alone; None when there is none, or a run has it."""
        with self._lock:
            taken, kept.standby = kept.standby, None
        return taken

    def put_back(self, kept: Kept, standby: Standby) -> None:
        """After a run that ended well. Closed when another has taken its place, or the connection is another one."""
        with self._lock:
            if kept.standby is None and kept.session is standby.session:
                kept.standby, kept.heard = standby, time.monotonic()
                return
        standby.channel.close()

    def drop(self, kept: Kept) -> None:
        with kept.opening:
            _close(kept)

    def close(self) -> None:
        with self._lock:
            kept, self._kept = list(self._kept.values()), {}
        for each in kept:
            _close(each)

    def _sweep(self, *, keep: Kept) -> None:
        """Close what has carried nothing for long. Done when a connection is asked for: no thread, no timer. Looked for
        now and then, for each look is at all that are kept; at once where they are too many.
        """
        now = time.monotonic()
        with self._lock:
            if now < self._look_again and len(self._kept) <= self.settings.keep_at_most:
                return
            self._look_again = now + self.settings.idle_close / 10
            idle = sorted(
                (each for each in self._kept.values() if not each.users and each is not keep),
                key=lambda each: each.used,
            )
            surplus = max(0, len(self._kept) - self.settings.keep_at_most)
            going = [
                each
                for number, each in enumerate(idle)
                if number < surplus or now - each.used > self.settings.idle_close
            ]
            for each in going:
                del self._kept[(each.address, self.settings.port, each.node)]
        for each in going:
            self.drop(each)

    def _log_in(self, kept: Kept, known: tuple[str, ...], first_contact: bool) -> None:
        policy = _KnownKeys(node=kept.node, known=known, first_contact=first_contact)
        timeout = self.settings.connect_timeout
        connection = fabric.Connection(
            kept.address,
            user="root",
            port=self.settings.port,
            # No files are read: what a user has in ~/.ssh/config or fabric.yml is not meant for nodes. Not shared: one
            # is empty for a moment while a thread puts it together.
            config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
            inline_ssh_env=False,
            connect_kwargs={
                "pkey": self._private_key(),
                "sock": _connect(kept, self.settings),
                "timeout": timeout,
                "banner_timeout": timeout,
                "auth_timeout": timeout,
                "channel_timeout": timeout,
                "look_for_keys": False,
                "allow_agent": False,
                "transport_factory": policy.transport,
            },
        )
        connection.client.set_missing_host_key_policy(policy)
        try:
            connection.open()
        except HostKeyRefused:
            connection.client.close()
            raise
        except paramiko.AuthenticationException as problem:
            connection.client.close()
            raise NodeUnreachable(
                f"{kept.node} ({kept.address}) does not let root in with {self.settings.key_path()}: {problem}"
            ) from None
        except paramiko.ssh_exception.IncompatiblePeer as problem:
            connection.client.close()
            if known:
                raise HostKeyRefused(
                    f"host key of node {kept.node} changed (known {_fingerprints(known)}, which it no longer offers:"
                    f" {problem}); {_way_out(kept.node)}"
                ) from None
            raise NodeUnreachable(f"{kept.node} ({kept.address}) speaks no SSH that is still safe: {problem}") from None
        except (OSError, EOFError, paramiko.SSHException) as problem:
            connection.client.close()
            raise NodeUnreachable(
                f"{kept.node} ({kept.address}) does not answer as an SSH server: {_words(problem)}"
            ) from None
        session = connection.transport
        session.set_keepalive(max(1, round(self.settings.lost_after / 3)))
        self.logins += 1
        kept.connection, kept.session, kept.host_key = connection, session, policy.shown
        kept.clock_read = False

    def _private_key(self) -> paramiko.PKey:
        path = self.settings.key_path()
        way_out = "name another with key_file in [plugins.jig-script] or CROWBAR_JIG_SCRIPT_KEY_FILE"
        try:
            changed = path.stat().st_mtime_ns
            if self._key is None or self._key[:2] != (str(path), changed):
                self._key = (str(path), changed, paramiko.PKey.from_path(path))
        except FileNotFoundError:
            raise ConfigError(f"The SSH key {path} does not exist; {way_out}.") from None
        except (TypeError, paramiko.PasswordRequiredException):
            # TypeError is how cryptography says it.
            raise ConfigError(
                f"The SSH key {path} has a passphrase, which nobody could type here; {way_out}."
            ) from None
        except (OSError, ValueError, paramiko.SSHException) as problem:
            raise ConfigError(f"The SSH key {path} cannot be read: {_words(problem)}; {way_out}.") from None
        return self._key[2]


@cache
def connections_for(settings: Settings) -> Connections:
    """One pool per process and settings, so that the hooks and the jig, which the core makes apart, share it."""
    return Connections(settings)


class _KnownKeys(paramiko.MissingHostKeyPolicy):
    """Asked by paramiko about every server, since its own list of known keys is left empty."""

    def __init__(self, *, node: str, known: tuple[str, ...], first_contact: bool) -> None:
        self.node = node
        self.known = known
        self.first_contact = first_contact
        self.shown = ""

    def transport(self, sock: Any, **given: Any) -> Session:
        session = Session(sock, **given)
        options = session.get_security_options()
        options.ciphers = [name for name in _CIPHERS if name in options.ciphers]
        options.kex = [name for name in _KEY_EXCHANGES if name in options.kex]
        options.key_types = list(self._key_types())
        return session

    def _key_types(self) -> tuple[str, ...]:
        """A server may have several keys: ask for one that is known."""
        types = {key.split()[0] for key in self.known}
        return tuple(
            name
            for name in _KEY_TYPES
            if not types or name in types or (name.startswith("rsa-") and "ssh-rsa" in types)
        )

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self.shown = f"{key.get_name()} {key.get_base64()}"
        if self.shown in self.known:
            return
        if self.known:
            raise HostKeyRefused(
                f"host key of node {self.node} changed (known {_fingerprints(self.known)}, shown"
                f" {fingerprint(self.shown)}); {_way_out(self.node)}"
            )
        if not self.first_contact:
            raise HostKeyRefused(
                f"host key of node {self.node} is not known yet (shown {fingerprint(self.shown)}); it is taken when the"
                " node is probed at an address that was given for it, and not only reported by itself"
            )


def _way_out(node: str) -> str:
    return f"if the machine was reinstalled, forget the old key with: crowbar nodes forget-key {node}"


def fingerprint(key: str) -> str:
    """As ``ssh-keygen -l`` prints it."""
    try:
        raw = b64decode(key.split()[1])
    except (IndexError, ValueError):
        return "an unreadable key"
    return "SHA256:" + b64encode(sha256(raw).digest()).decode().rstrip("=")


def _fingerprints(keys: tuple[str, ...]) -> str:
    return ", ".join(map(fingerprint, keys))


def _normal(key: str) -> str:
    """Type and key, without the comment that may follow."""
    return " ".join(key.split()[:2])


def _words(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem) or type(problem).__name__


def _connect(kept: Kept, settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(kept.address).version == 6 else socket.AF_INET
    except ValueError:
        raise NodeUnreachable(f"{kept.address!r} of {kept.node} is no IP address.") from None
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(settings.connect_timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(settings.lost_after * 1000))
        sock.connect((kept.address, settings.port))
    except OSError as problem:
        sock.close()
        raise NodeUnreachable(
            f"{kept.node} ({kept.address}) cannot be reached on port {settings.port}: {_words(problem)}"
        ) from None
    return sock


def _close(kept: Kept) -> None:
    if kept.connection is not None:
        kept.connection.client.close()
    kept.connection = kept.session = kept.standby = None
