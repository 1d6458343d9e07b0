"""LLDP in a lab with a kernel of its own: its switch announces itself as real ones do, by lldpd, and nodes can listen.

The rack's kernel runs with the rights of nobody, to whom Debian does not give ``lldpcli``: it is handed in.
"""

from __future__ import annotations

import base64
from pathlib import Path

from crowbar_lab.errors import LabUnavailable
from crowbar_lab.host import find_tool
from crowbar_lab.lab import Lab

_CLI = "/run/lldp/lldpcli"
_PUT = 'mkdir -p "${0%/*}" && base64 -d >"$0" && chmod 755 "$0"'
_BEGIN = """
set -e
mkdir -p /run/lldpd
lldpd -u /run/lldp/socket -L "$0" -I 'n*' -C sw0 -M 1
tell() { "$0" -u /run/lldp/socket "$@"; }
for turn in 1 2 3 4 5 6 7 8 9 10; do ! tell show configuration >/dev/null 2>&1 || break; sleep 0.2; done
tell configure lldp tx-interval "$1" >/dev/null
tell configure lldp portidsubtype ifname >/dev/null
tell configure system hostname "$2" >/dev/null
"""


def announce(lab: Lab, *, name: str = "switch", every: int = 1) -> None:
    """From now on the switch tells at each port, every so many seconds, its ``name``, the port and its VLANs. Raises
    ``LabError`` where lldpd is missing.

    Ask for it when the cards are up: of a port that comes up later, lldpd tells no VLANs until one of them is changed.
    What a port in an LACP group has it does not tell either.
    """
    _hand_in(lab)
    lab.run_in_switch(["sh", "-c", _BEGIN, _CLI, str(every), name], check=True)


def hand_out(lab: Lab, node: str) -> None:
    """The node has ``lldpcli`` from now on, in /usr/local/sbin."""
    lab.console(node, ["sh", "-c", _PUT, "/usr/local/sbin/lldpcli"], given=_program(), check=True)


def _hand_in(lab: Lab) -> None:
    lab.run_in_switch(["sh", "-c", _PUT, _CLI], given=_program(), check=True)


def _program() -> str:
    find_tool("lldpd", "lldpd")
    try:
        return base64.b64encode(Path(find_tool("lldpcli", "lldpd")).read_bytes()).decode()
    except OSError as error:
        raise LabUnavailable(f"lldpcli cannot be read ({error.strerror}): be root.") from error
