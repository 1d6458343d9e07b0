"""The hammer ``ssh``: restarts a node, or shuts it down, through its own system. Nothing but the login is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import paramiko

from crowbar_core import Hammer, Json, NodeUnreachable, Refused, cluster
from crowbar_jig_script.connections import Kept, connections_for
from crowbar_jig_script.settings import Settings

COMMANDS = {"off": "poweroff", "soft": "poweroff", "cycle": "reboot", "reset": "reboot"}


class SshHammer(Hammer):
    """A node whose system answers needs no BMC for this: ``cycle`` and ``reset`` restart it, ``off`` and ``soft`` shut
    it down. It cannot power on. Give it a lower priority than a BMC, and it stands in for one that fails.
    """

    schema: ClassVar[Mapping[str, Json]] = {"type": "object", "additionalProperties": False}

    def actions(self) -> tuple[str, ...]:
        return tuple(COMMANDS)

    def perform(self, action: str) -> str:
        """Raises ``NodeUnreachable`` when no address of the node lets us in."""
        program = COMMANDS[action]
        settings = cluster().settings(Settings)
        connections = connections_for(settings)
        reasons = []
        for address in self.node.addresses:
            try:
                kept = connections.open(self.node.name, address, known=self.node.host_keys)
                with connections.using(kept):
                    status = _tell(kept, program, settings.connect_timeout)
            except NodeUnreachable as problem:
                reasons.append(f"{address}: {problem.detail}")
            except (OSError, EOFError, paramiko.SSHException) as problem:
                reasons.append(f"{address}: {problem}")
            else:
                if status:
                    raise Refused(f"{self.node.name} has no program {program!r} that root could call.")
                return f"{program} is under way"
        raise NodeUnreachable("; ".join(reasons) or f"{self.node.name} has no address")


def _tell(kept: Kept, program: str, timeout: float) -> int:
    """Have the node call ``program`` in a second, when we have hung up. Returns 0, or 127 if there is none."""
    channel = kept.live().open_session(timeout=timeout)
    try:
        channel.settimeout(timeout)
        later = f"trap '' HUP; sleep 1; exec {program}"  # a small system may have no nohup
        channel.exec_command(
            f"PATH=$PATH:/usr/sbin:/sbin; command -v {program} >/dev/null || exit 127; "
            f"({later}) </dev/null >/dev/null 2>&1 &"
        )
        return channel.recv_exit_status() if channel.status_event.wait(timeout) else 0
    finally:
        channel.close()
