"""What is left on a node so that its next start finds the same interfaces: the files of its network tool, and a record
of what Crowbar wrote. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from crowbar_core import PermanentError
from crowbar_network.layers import Link
from crowbar_network.state import State
from crowbar_network.writers import MARK, WRITERS

RECORD = "/etc/crowbar-network/kept.json"
INTERFACES = "/etc/network/interfaces"
_SOURCE = "source /etc/network/interfaces.d/*"
_STRUCK = "#crowbar# "


@dataclass(frozen=True, kw_only=True)
class Filing:
    """``files``: path -> text to be there; ``gone``: paths that an earlier configuration left."""

    files: Mapping[str, str]
    gone: tuple[str, ...] = ()

    def done(self, state: State) -> bool:
        """Whether all is so already."""
        return all(state.files.get(path) == text for path, text in self.files.items()) and not any(
            path in state.files for path in self.gone
        )


def choose(wanted: str, state: State) -> str:
    """The writer's name; ``auto`` is the tool that the node uses. Raises ``PermanentError``."""
    if wanted != "auto":
        return wanted
    if "NetworkManager-active" in state.tools:
        raise PermanentError(
            "NetworkManager runs the node's interfaces, for which there is no writer: set network-NAME-writer to"
            " another tool, and stop NetworkManager on the node."
        )
    if "netplan" in state.tools and "systemd" in state.tools:
        return "netplan"
    if "networkd-active" in state.tools:
        return "networkd"
    return "ifupdown" if "ifup" in state.tools else "iproute2"


def known_files(state_kept: Mapping[str, object]) -> list[str]:
    """Paths to look at, so that ``Filing.done`` can tell."""
    named = state_kept.get("files", ())
    return [*(str(path) for path in named)] if isinstance(named, list) else []


def filing(writer: str, links: Sequence[Link], networks: Collection[str], state: State) -> Filing:
    """``networks``: names of those that the links are made for."""
    files = dict(WRITERS[writer](links)) if links else {}
    if writer == "ifupdown" and (before := state.files.get(INTERFACES)) is not None:
        files[INTERFACES] = without(before, {link.name for link in links if link.kind == "nic"})
    record = {
        "about": MARK.strip("# "),
        "writer": writer,
        "networks": sorted(networks),
        "links": [link.name for link in links],
        "files": sorted({*files} - {INTERFACES}),
    }
    files[RECORD] = json.dumps(record, indent=1) + "\n"
    earlier = set(known_files(state.kept))
    return Filing(files=files, gone=tuple(sorted(earlier - {*files})))


def without(text: str, names: Collection[str]) -> str:
    """The text of /etc/network/interfaces in which these interfaces are no longer configured (their lines are struck
    out, and can be read), and that includes the files beside it. Those that were struck and are not named are back.
    """
    lines, striking = [], False
    for line in text.splitlines():
        plain = line.removeprefix(_STRUCK)
        words = plain.split()
        first = words[0] if words else ""
        if first in ("auto", "iface", "mapping", "source", "source-directory") or first.startswith("allow-"):
            if first == "auto" or first.startswith("allow-"):
                lines += _divided(first, words[1:], names)
                striking = False
                continue
            striking = first in ("iface", "mapping") and len(words) > 1 and words[1] in names
        elif not words or first.startswith("#"):
            lines.append(plain)
            continue
        lines.append(_STRUCK + plain if striking else plain)
    if not any(_includes(line) for line in lines):
        lines.append(_SOURCE)
    return "\n".join(lines) + "\n"


def _divided(first: str, names: Iterable[str], struck: Collection[str]) -> list[str]:
    mine = [name for name in names if name in struck]
    others = [name for name in names if name not in struck]
    lines = [f"{first} {' '.join(others)}"] if others else []
    return [*lines, f"{_STRUCK}{first} {' '.join(mine)}"] if mine else lines


def _includes(line: str) -> bool:
    words = line.split()
    return words[:1] in (["source"], ["source-directory"]) and "/etc/network/interfaces.d" in line
