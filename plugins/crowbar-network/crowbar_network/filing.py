"""What is left on a node so that its next start finds the same interfaces: the files of its network tool, and a record
of what Crowbar wrote. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crowbar_core import PermanentError
from crowbar_network import takeover
from crowbar_network.layers import Link
from crowbar_network.state import State
from crowbar_network.writers import MARK, WRITERS

RECORD = "/etc/crowbar-network/kept.json"
INTERFACES = "/etc/network/interfaces"
_USUAL_MTU = 1500
_BESIDE = "/etc/network/interfaces.d/"
_SOURCE = "source /etc/network/interfaces.d/*"
_STRUCK = "#crowbar# "


@dataclass(frozen=True, kw_only=True)
class Filing:
    """``files``: path -> text to be there; ``copies``: to -> from, on the node; ``gone``: paths that an earlier
    configuration left, or that others left for cards that networks have now.
    """

    files: Mapping[str, str]
    copies: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()

    def done(self, state: State) -> bool:
        """Whether all is so already."""
        return (
            not self.copies
            and all(state.files.get(path) == text for path, text in self.files.items())
            and not any(path in state.files for path in self.gone)
        )


def choose(wanted: str, state: State, *, leaving: bool = False) -> str:
    """The writer's name; ``auto`` is the tool that the node uses. ``leaving``: a network leaves the node, which no lack
    of a tool keeps it from. Raises ``PermanentError``.
    """
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
    if "ifup" in state.tools:
        return "ifupdown"
    if {"systemd", "disk"} <= state.tools and not leaving:
        raise PermanentError(
            "The node runs from its disk, and nothing there would set up its interfaces at its next start: neither"
            " systemd-networkd (which does not run), nor netplan, nor ifupdown. Begin one there, as with `systemctl"
            " enable --now systemd-networkd`, or name a writer (network-NAME-writer)."
        )
    return "iproute2"


def _known_files(state_kept: Mapping[str, object], key: str = "files") -> list[str]:
    named = state_kept.get(key, ())
    return [*(str(path) for path in named)] if isinstance(named, list) else []


def filing(writer: str, links: Sequence[Link], networks: Collection[str], state: State) -> Filing:
    """``networks``: names of those that the links are made for."""
    files = dict(WRITERS.find(writer)(links)) if links else {}
    nics = {link.name for link in links if link.kind == "nic"}
    macs = {name: state.links[name].mac for name in nics if name in state.links}
    others = takeover.files(state.files, _known_files(state.kept, "aside"), macs or dict.fromkeys(nics, ""))
    ours = {*files} | {path for path in others.texts if path not in state.files or path in _known_files(state.kept)}
    files |= others.texts
    own = {*ours, *_known_files(state.kept)}
    for path, before in state.files.items():
        if path == INTERFACES or (path.startswith(_BESIDE) and path not in own):
            includes = path == INTERFACES and writer == "ifupdown"
            after = without(before, nics, includes=includes)
            if includes or after.split() != before.split():
                files[path] = after
    record = {
        "about": MARK.strip("# "),
        "writer": writer,
        "networks": sorted(networks),
        "links": [link.name for link in links],
        "mtus": {link.name: _mtu_before(link, state) for link in links if link.mtu},
        "files": sorted(ours),
        "aside": list(others.aside),
    }
    files[RECORD] = json.dumps(record, indent=1) + "\n"
    gone = ({*_known_files(state.kept)} - {*files}) | {*others.gone}
    return Filing(files=files, copies=others.copies, gone=tuple(sorted(gone)))


def _mtu_before(link: Link, state: State) -> int:
    """What the link's MTU was before Crowbar set one. An earlier version has left no word of that."""
    known = state.links.get(link.name)
    if link.name in state.mtus:
        return state.mtus[link.name]
    unsaid = link.name in state.ours and "mtus" not in state.kept
    return _USUAL_MTU if link.kind != "nic" or known is None or unsaid else known.mtu


def without(text: str, names: Collection[str], *, includes: bool = True) -> str:
    """The text of /etc/network/interfaces in which these interfaces are no longer configured (their lines are struck
    out, and can be read), and with ``includes``, that includes the files beside it. Those that were struck and are not
    named are back.
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
    if includes and not any(_includes(line) for line in lines):
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
