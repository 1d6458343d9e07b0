"""A machine that does not know Crowbar's key yet: programs run on it with a login that an operator gives for once."""

from __future__ import annotations

import io
import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import paramiko

from crowbar_core import BadInput, Refused, cluster
from crowbar_jig_script.connections import Session, fingerprint
from crowbar_jig_script.remote import Answer
from crowbar_jig_script.settings import Settings

_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512")
_MOST = 1 << 20
"""Bytes of an answer."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """With neither password nor private key: by the key with which nodes let root in. Used once, kept nowhere."""

    user: str = "root"
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)


def shown_key(address: str) -> tuple[str, str]:
    """The host key that the SSH server there shows, and its fingerprint as ``ssh-keygen -l`` prints it. Raises
    ``Refused``.
    """
    with _transport(address, _KINDS) as session:
        key = _shown(session)
    return key, fingerprint(key)


class Guest:
    """``user`` is let in; what is run is run as root."""

    def __init__(self, session: Session, login: Login, address: str, *, ours: str) -> None:
        self._session, self._login, self._address = session, login, address
        self.ours = ours
        """Our address, as the way there has it."""
        self._line, self._first = "sh -s", ""
        if login.user != "root":
            self._become()

    def run(self, program: str, *, timeout: float) -> Answer:
        """A program for ``sh``, as root. Raises ``Refused`` without a whole answer."""
        return self._ask(self._line, self._first + program, timeout)

    def _become(self) -> None:
        if self._ask("sudo -n true", "", 20).code == 0:
            self._line = "sudo -n sh -s"
            return
        if not self._login.password:
            raise Refused(
                f"{self._login.user} at {self._address} may not become root with sudo unasked: give that user's "
                "password, or a user who may."
            )
        self._line, self._first = "sudo -S -p '' sh -s", f"{self._login.password}\n"
        if self._ask(self._line, self._first + "exit 0\n", 20).code != 0:
            raise Refused(f"sudo at {self._address} does not let {self._login.user} become root with that password.")

    def _ask(self, line: str, given: str, timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        try:
            channel = self._session.open_session(timeout=timeout)
            channel.settimeout(timeout)
            channel.exec_command(line)
            channel.sendall(given.encode())
            channel.shutdown_write()
            out = _all(channel.recv, deadline)
            err = _all(channel.recv_stderr, deadline)
            code = (
                channel.recv_exit_status() if channel.status_event.wait(max(0.1, deadline - time.monotonic())) else -1
            )
            channel.close()
        except (OSError, EOFError, paramiko.SSHException) as problem:
            said = str(problem) or type(problem).__name__
            raise Refused(f"{self._address} gave no whole answer: {said}") from None
        return Answer(code=code, out=out, err=err)


@contextmanager
def guest(address: str, login: Login, *, host_key: str) -> Iterator[Guest]:
    """Logged in, at the server that shows just this host key. Raises ``Refused``, ``BadInput``."""
    kind = host_key.split()[0]
    with _transport(address, ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)) as session:
        shown = _shown(session)
        if shown != " ".join(host_key.split()[:2]):
            raise Refused(
                f"The SSH server at {address} shows the host key {fingerprint(shown)}, and not {fingerprint(host_key)}:"
                " it is another machine, or somebody stands between."
            )
        _log_in(session, login, address)
        yield Guest(session, login, address, ours=str(session._socket.getsockname()[0]))


def _log_in(session: Session, login: Login, address: str) -> None:
    how = "its password" if login.password else "that key" if login.private_key else "Crowbar's key"
    try:
        if login.password and not login.private_key:
            session.auth_password(login.user, login.password)
        else:
            session.auth_publickey(login.user, _key(login))
    except paramiko.AuthenticationException:
        raise Refused(f"The SSH server at {address} does not let {login.user} in with {how}.") from None
    except (OSError, EOFError, paramiko.SSHException) as problem:
        raise Refused(f"The SSH server at {address} ended the login: {problem}") from None


def _key(login: Login) -> paramiko.PKey:
    try:
        if not login.private_key:
            return paramiko.PKey.from_path(cluster().settings(Settings).key_path())
    except (OSError, ValueError, paramiko.SSHException) as problem:
        raise Refused(f"Crowbar's own key cannot be read: {problem}") from None
    kinds: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)
    for kind in kinds:
        try:
            return kind.from_private_key(io.StringIO(login.private_key))
        except paramiko.PasswordRequiredException:
            raise BadInput("That private key has a passphrase: give one without, or a password.") from None
        except (ValueError, IndexError, paramiko.SSHException):
            continue
    raise BadInput("That is no private key of SSH that is known here: ed25519, ECDSA or RSA.")


@contextmanager
def _transport(address: str, kinds: tuple[str, ...]) -> Iterator[Session]:
    settings = cluster().settings(Settings)
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    except ValueError:
        raise BadInput(f"{address!r} is no IP address.") from None
    sock = socket.socket(family, socket.SOCK_STREAM)
    session: Session | None = None
    try:
        sock.settimeout(settings.connect_timeout)
        sock.connect((address, settings.port))
        session = Session(sock)
        session.banner_timeout = session.auth_timeout = settings.connect_timeout
        options: Any = session.get_security_options()
        options.key_types = [one for one in kinds if one in options.key_types]
        session.start_client(timeout=settings.connect_timeout)
        yield session
    except (OSError, EOFError, paramiko.SSHException) as problem:
        said = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
        raise Refused(f"{address} does not answer as an SSH server at port {settings.port}: {said}") from None
    finally:
        if session is not None:
            session.close()
        sock.close()


def _shown(session: Session) -> str:
    key = session.get_remote_server_key()
    return f"{key.get_name()} {key.get_base64()}"


def _all(read: Any, deadline: float) -> str:
    found = bytearray()
    while piece := read(1 << 16):
        found += piece
        if len(found) > _MOST:
            raise OSError("it is too long")
        if time.monotonic() > deadline:
            raise TimeoutError("it took too long")
    return found.decode(errors="replace")
