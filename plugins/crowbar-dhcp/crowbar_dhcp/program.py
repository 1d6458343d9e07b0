"""What is done on a node that serves: the programs that install Kea and radvd, and put back what was there. Pure.

Kea keeps its configuration by itself, and writes it down when it was told something: it is written here only once.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
from collections.abc import Sequence
from functools import cache
from importlib import resources
from urllib.parse import quote

from crowbar_dhcp import dnsmasq, kea
from crowbar_dhcp.serving import NOTHING, Subnet

LOOK = "ip -o addr show\n"
PLACE = "/var/lib/crowbar-dnsmasq"


def interfaces(said: str, *, lasting: bool = False) -> list[tuple[str, str]]:
    """Of what ``LOOK`` says: names with addresses, without the loopback's and those of the link alone; of ``lasting``
    ones, without those that were given for a time, too."""
    found = []
    for line in said.splitlines():
        words = line.split()
        if len(words) < 4 or words[2] not in ("inet", "inet6") or words[1] == "lo":
            continue
        if lasting and {"dynamic", "temporary"} & set(words):
            continue
        if not words[3].lower().startswith("fe80:"):
            found.append((words[1].partition("@")[0], words[3]))
    return found


def install(
    *, address: str, port: int, password: str, subnets: Sequence[Subnet], there: kea.Interfaces,
    lasting: kea.Interfaces = (), hosts: bool = False, room: int = 0,
) -> str:  # fmt: skip
    """A program for sh: Kea runs and lets itself be told at ``address``; so does radvd where there is something to
    advertise; dnsmasq goes. Each socket has ``room`` for so many bytes, or what the machine gives it, if that is more.
    With ``hosts`` reservations are in a PostgreSQL on the node, of which a line says the port
    (see ``hosts_url``). Again, it changes nothing. It ends with a line ``serving VERSION``.
    """
    spans = [ipaddress.ip_network(one.subnet) for one in subnets if one.family == 6]
    mine = [one for one in lasting if any(ipaddress.ip_interface(one[1]).ip in span for span in spans)]
    bases = {family: kea.base(family, mine, hosts=password if hosts else "") for family in (4, 6)}
    given = {
        **{f"base{family}": json.dumps(one, indent=1) for family, one in bases.items()},
        **{
            f"mark{family}": f'"crowbar-base": {json.dumps(one[f"Dhcp{family}"]["user-context"]["crowbar-base"])}'
            for family, one in bases.items()
        },
        "agent": json.dumps(kea.agent(address, port, password), indent=1),
        "password": password,
    }
    kept = "hosts" if hosts else "hosts-goes"
    return _program("dnsmasq-goes", "room", kept, "kea", "radvd", radvd=kea.radvd(subnets, there), room=room, **given)


def hosts_url(said: str, address: str, password: str) -> str:
    """Where the PostgreSQL is that the program of ``install`` has set up, by what it said; '' when it said none."""
    found = re.search(r"^reservations in PostgreSQL at port (\d+)$", said, re.MULTILINE)
    user = f"{kea.HOSTS}:{quote(password, safe='')}"
    return f"postgresql://{user}@{in_url(address)}:{found[1]}/{kea.HOSTS}" if found else ""


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def install_dnsmasq(*, subnets: Sequence[Subnet], there: kea.Interfaces, room: int = 0) -> str:
    """The same for dnsmasq, whose files are below ``PLACE``; Kea goes."""
    conf = dnsmasq.files(NOTHING, PLACE)[dnsmasq.CONF]
    return _program(
        "kea-goes", "hosts-goes", "room", "dnsmasq", "radvd", radvd=kea.radvd(subnets, there), room=room, conf=conf
    )


def remove() -> str:
    """A program for sh: what was there before is there again, or runs no more."""
    return _program("kea-goes", "hosts-goes", "dnsmasq-goes", "room", "radvd-goes", room=0)


def _program(*names: str, **given: str | int) -> str:
    values = [
        f"{name}={shlex.quote(str(value))}" for name, value in {"place": PLACE, "database": kea.HOSTS, **given}.items()
    ]
    return _whole([*values, *map(_text, (f"{one}.sh" for one in names))])


def _whole(parts: Sequence[str]) -> str:
    """Read to its end before anything of it is done."""
    body = "\n".join([_text("kit.sh"), *parts])
    return f"crowbar_main() {{\n{body}\n}}\ncrowbar_main </dev/null\n"


@cache
def _text(name: str) -> str:
    return resources.files("crowbar_dhcp").joinpath("node", name).read_text(encoding="utf-8")
