"""One program on a node and its whole answer: for jigs that talk with a node instead of running a role's scripts."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import paramiko

from crowbar_core import ConfigError, NodeUnreachable, NodeView, cluster
from crowbar_jig_script.connections import Connections, Kept, connections_for
from crowbar_jig_script.settings import Settings

_LOOK = 0.05
_PIECE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``code``: the program's exit status."""

    code: int
    out: str
    err: str


class Remote:
    """The nodes, as the script jig reaches them: as root, with its key, at servers whose host key is known.

    ``connect_timeout`` in seconds for each step of a login; None: as the jig's settings say, and over its kept
    connections. With one, the connections are apart from those.
    """

    def __init__(self, settings: Settings, *, connect_timeout: float | None = None) -> None:
        own = settings if connect_timeout is None else replace(settings, connect_timeout=connect_timeout)
        self._connections = connections_for(own) if connect_timeout is None else Connections(own)

    @classmethod
    def of_cluster(cls, *, connect_timeout: float | None = None) -> Remote:
        """With the settings of the script jig of this process."""
        return cls(cluster().settings(Settings), connect_timeout=connect_timeout)

    def ask(self, node: NodeView, address: str, program: str, *, timeout: float) -> Answer:
        """Run a program for ``sh`` on the node. Raises ``NodeUnreachable``, also when there is no whole answer within
        ``timeout`` seconds; whether the program has run is then unknown.
        """
        kept = self._connections.open(node.name, address, known=node.host_keys)
        with self._connections.using(kept):
            try:
                return _ask(kept, program, time.monotonic() + timeout)
            except (OSError, EOFError, paramiko.SSHException) as problem:
                self._connections.drop(kept)
                said = str(problem) or type(problem).__name__
                raise NodeUnreachable(f"{node.name} ({address}) gave no whole answer: {said}") from None

    def forget(self, node: NodeView, address: str) -> None:
        """Close the kept connection: the next is a new one."""
        self._connections.drop(self._connections.kept(node.name, address))

    def close(self) -> None:
        self._connections.close()


def _ask(kept: Kept, program: str, deadline: float) -> Answer:
    channel = kept.live().open_session(timeout=max(0.1, deadline - time.monotonic()))
    try:
        channel.settimeout(max(0.1, deadline - time.monotonic()))
        channel.exec_command("sh -s")
        channel.sendall(program.encode())
        channel.shutdown_write()
        out, err = bytearray(), bytearray()
        while True:
            idle = True
            while channel.recv_ready():
                out += channel.recv(_PIECE)
                idle = False
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(_PIECE)
                idle = False
            if idle and channel.exit_status_ready() and channel.eof_received:
                return Answer(code=channel.recv_exit_status(), out=_text(out), err=_text(err))
            if idle and (channel.closed or not kept.live().is_active()) and not channel.exit_status_ready():
                raise EOFError("the connection was lost")
            if time.monotonic() > deadline:
                raise TimeoutError("it took too long")
            if idle:
                time.sleep(_LOOK)
    finally:
        channel.close()


def _text(raw: bytearray) -> str:
    return raw.decode(errors="replace")


def public_key() -> str:
    """The key that a machine must let in as root to be reached, as a line of ``authorized_keys``. Raises
    ``CrowbarError`` when there is none here.
    """
    path = cluster().settings(Settings).key_path()
    try:
        key = paramiko.PKey.from_path(path)
    except (OSError, ValueError, paramiko.SSHException) as problem:
        said = getattr(problem, "strerror", None) or str(problem)
        raise ConfigError(f"The key with which nodes let root in, {path}, cannot be read: {said}.") from None
    return f"{key.get_name()} {key.get_base64()} crowbar"
