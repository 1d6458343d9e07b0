"""Taking over cards from what had them before: clients of DHCP that run on them, and files in which others configure
them. Pure functions of what the node tells.

Files of others are copied aside on the node before they are changed or go, and brought back when Crowbar gives their
cards back.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

ASIDE = "/etc/crowbar-network/aside/"
_CLIENTS = ("dhclient", "dhcpcd", "udhcpc")
_CLOUD = "/etc/cloud/cloud.cfg"
_KINDS = ("ethernets", "bonds", "bridges", "vlans")


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client of DHCP that runs on these cards; ``nics`` empty: on all that there are. ``argv``: how it was begun."""

    pid: int
    name: str
    nics: tuple[str, ...]
    argv: tuple[str, ...]


def clients(told: str, links: Collection[str]) -> tuple[Client, ...]:
    """From what ``node/look.sh`` told: a line each, its number and its command line, with \\037 between the words."""
    found = []
    for line in told.splitlines():
        pid, _, rest = line.partition(" ")
        argv = _begun(tuple(rest.rstrip("\037").split("\037")))
        name = next((word for word in map(_program, argv[:2]) if word in _CLIENTS), "")
        if pid.isdecimal() and name:
            on = [link for link in links for word in argv[1:] if word in (link, f"-i{link}", f"--interface={link}")]
            found.append(Client(pid=int(pid), name=name, nics=tuple(dict.fromkeys(on)), argv=argv))
    return tuple(found)


def _begun(argv: tuple[str, ...]) -> tuple[str, ...]:
    """How a client was begun. dhcpcd writes over its command line: ``dhcpcd: eth1 [ip4]``, or ``dhcpcd: [manager] …``
    of one for all cards; what helps it is ``dhcpcd: [privileged proxy] …``, and ends with it.
    """
    name, divided, title = argv[0].partition(": ")
    if not divided or name != "dhcpcd":
        return argv
    words = title.split()
    if title.startswith("[") and words[0] not in ("[manager]", "[master]"):
        return ("",)
    families = [word for word in words if word in ("[ip4]", "[ip6]")]
    only = [f"-{families[0][3]}"] if len(families) == 1 else []
    return (name, *only, *(word for word in words if not word.startswith("[")))


def _program(word: str) -> str:
    return word.rpartition("/")[2].rstrip(":")


def to_stop(known: Sequence[Client], nics: Collection[str]) -> tuple[Client, ...]:
    """Those that run on these cards and on no other."""
    return tuple(one for one in known if one.nics and set(one.nics) <= set(nics))


def left_over(known: Sequence[Client], nics: Collection[str]) -> tuple[Client, ...]:
    """Those that may run on these cards, and on others too."""
    return tuple(one for one in known if not one.nics or (set(one.nics) & set(nics) and not set(one.nics) <= set(nics)))


def stop(known: Sequence[Client]) -> str:
    """For sh: ends them, with what they have begun (dhcpcd divides itself). By SIGKILL: asked to end, some would take
    the node's address away before it has another.
    """
    lines = [f'[ "$(cat /proc/{one.pid}/comm)" != {_comm(one)} ] || end {one.pid}\n' for one in known]
    return _END + "".join(lines) if lines else ""


_END = """end() {
    family=" $1 "
    for turn in 1 2 3; do
        for one in /proc/[0-9]*/stat; do
            read -r line 2>/dev/null <"$one" || continue
            pid=${line%% *} parent=${line##*) ? }
            case $family in *" $pid "*) ;; *" ${parent%% *} "*) family="$family$pid " ;; esac
        done
    done
    kill -9 $family
}
"""


def begin_again(known: Sequence[Client]) -> str:
    """For sh: begins those that do not run, each in a session of its own."""
    lines = [
        f"[ -e /proc/{one.pid}/cmdline ] ||"
        f" again {' '.join(map(shlex.quote, one.argv))} </dev/null >/dev/null 2>&1 9>&- &"
        for one in known
    ]
    if not lines:
        return ""
    return (
        "again() {\n"
        "    if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then\n"
        '        systemd-run --quiet --collect --scope "$@"\n'
        '    else\n        setsid "$@"\n    fi\n}\n' + "\n".join(lines) + "\n"
    )


def _comm(client: Client) -> str:
    """The kernel's name for it: of an applet of busybox called by its name, that of busybox."""
    return shlex.quote(_program(client.argv[0])[:15])


# ---------------------------------------------------------------- files


@dataclass(frozen=True, kw_only=True)
class Files:
    """``texts``: path -> what is to be there. ``copies``: to -> from, on the node, before anything else is written.
    ``gone``: paths that go. ``aside``: paths whose originals are kept.
    """

    texts: Mapping[str, str]
    copies: Mapping[str, str]
    gone: tuple[str, ...]
    aside: tuple[str, ...]


def aside_of(path: str) -> str:
    return ASIDE + path.strip("/").replace("/", "%")


def files(there: Mapping[str, str], aside: Collection[str], macs: Mapping[str, str]) -> Files:
    """``there``: the files of the node's network tools by path. ``aside``: paths of those that were put aside earlier.
    ``macs``: the cards that networks have now, by name.
    """
    texts, copies, gone, kept = {}, {}, [], []
    known = {path: text for path, text in there.items() if _of_others(path)}
    known |= {path: there[aside_of(path)] for path in aside if aside_of(path) in there}
    for path, text in sorted(known.items()):
        rest = _without(path, text, macs)
        if rest != text:
            kept.append(path)
            if path not in aside:
                copies[aside_of(path)] = path
            if rest is not None:
                texts[path] = rest
            elif path in there:
                gone.append(path)
        elif path in aside:
            copies[path] = aside_of(path)
            gone.append(aside_of(path))
    if macs and _CLOUD in there:  # else it would write its own again at the next start
        texts[f"{_CLOUD}.d/99-crowbar-network.cfg"] = "network: {config: disabled}\n"
    return Files(texts=texts, copies=copies, gone=tuple(gone), aside=tuple(kept))


def _of_others(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if folder == "/etc/netplan":
        return name.endswith(".yaml") and name != "90-crowbar.yaml"
    return folder == "/etc/systemd/network" and name.endswith(".network") and not name.startswith("10-crowbar-")


def _without(path: str, text: str, macs: Mapping[str, str]) -> str | None:
    """The text without these cards; None when nothing else was in it."""
    return _netplan(text, macs) if path.endswith(".yaml") else _networkd(text, macs)


def _networkd(text: str, macs: Mapping[str, str]) -> str | None:
    lines, section, names, addresses = [], "", list[str](), list[str]()
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        section = key if key.startswith("[") else section
        if section == "[Match]" and key == "Name":
            names += value.split()
            lines.append(f"Name={' '.join(one for one in value.split() if one not in macs)}")
        else:
            lines.append(line)
        if section == "[Match]" and key in ("MACAddress", "PermanentMACAddress"):
            addresses += value.lower().split()
    ours = {mac.lower() for mac in macs.values()}
    if (names and set(names) <= set(macs)) or (addresses and set(addresses) <= ours):
        return None
    return "\n".join(lines) + "\n" if set(names) & set(macs) else text


def _netplan(text: str, macs: Mapping[str, str]) -> str | None:
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    network = said.get("network") if isinstance(said, dict) else None
    if not isinstance(network, dict):
        return text
    struck: set[str] = set()
    while more := {name for name, one in _interfaces(network) if _is_ours(name, one, macs, struck)} - struck:
        struck |= more
    if not struck:
        return text
    for kind in _KINDS:
        if isinstance(network.get(kind), dict):
            network[kind] = {name: one for name, one in network[kind].items() if name not in struck}
            if not network[kind]:
                del network[kind]
    if not any(isinstance(one, dict) and one for one in network.values()):
        return None
    return str(yaml.safe_dump(said, sort_keys=False))


def _interfaces(network: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    kinds = [network[kind] for kind in _KINDS if isinstance(network.get(kind), dict)]
    return [(str(name), one if isinstance(one, dict) else {}) for kind in kinds for name, one in kind.items()]


def _is_ours(name: str, one: Mapping[str, Any], macs: Mapping[str, str], struck: Collection[str]) -> bool:
    """Whether it is one of our cards, or stands on one."""
    match = one.get("match")
    if isinstance(match, dict):
        mac = str(match.get("macaddress", "")).lower()
        return match.get("name") in macs or mac in {mine.lower() for mine in macs.values()}
    below = [*(one.get("interfaces") or []), *([one["link"]] if "link" in one else [])]
    return name in macs or bool({str(part) for part in below} & {*macs, *struck})
