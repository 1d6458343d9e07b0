"""The roles and attributes of DHCP."""

from __future__ import annotations

from typing import Any

from crowbar_core import Attribute, Json, Role
from crowbar_dhcp import database, own
from crowbar_dhcp.facts import MACS
from crowbar_dhcp.services import DATABASE, SERVER, SERVICE

_ADDRESSES: dict[str, Json] = {
    "type": "array",
    "items": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    "maxItems": 8,
}


def _one(name: str, description: str, schema: dict[str, Json], default: Json = None, **more: Any) -> Attribute:
    path = name.removeprefix("dhcp-")
    if path.startswith("service-"):
        path = f"service/{path.removeprefix('service-')}"
    return Attribute(name=name, description=description, map=f"dhcp/{path}", schema=schema, default=default, **more)


_SERVER = Role(
    name=SERVER,
    description="Makes the node a DHCP server (Kea or dnsmasq, and radvd) for networks of the category admin.",
    jig="dhcp",
    timeout=900,
    on_change="refresh",
    gather=1.0,
    attributes=(
        _one("dhcp-program", "What serves: kea (reservations are told over HTTP), or dnsmasq (files, over SSH).",
             {"enum": ["kea", "dnsmasq"]}, "kea"),
        _one("dhcp-reservations", "Where Kea has its reservations: in its configuration, which is set as a whole at "
             "each change, or in a database of its own (PostgreSQL) on the node, for thousands of nodes.",
             {"enum": ["configuration", "database"]}, "configuration"),
        _one("dhcp-port", "Where Kea's control agent listens, at the node's admin address.",
             {"type": "integer", "minimum": 1, "maximum": 65535}, 8000),
        _one("dhcp-receive-buffer", "So many bytes of what machines ask wait for the server when many ask at once: "
             "what the node's kernel gives each socket at least (net.core.rmem_default); 0: what it gives by itself.",
             {"type": "integer", "minimum": 0, "maximum": 1 << 30}, 4 << 20),
        _one("dhcp-prefixes", "The subnets of IPv6 that it advertises: subnet, routers, mtu.",
             {"type": "array", "items": {"type": "object"}}, writable=False),
        _one("dhcp-password", "With what it is told.", {"type": "string", "minLength": 16}, secret=True,
             generate="token", per="node"),
        _one("dhcp-version", "What serves.", {"type": "string"}, writable=False),
    ),
)  # fmt: skip
_SERVICE = Role(
    name=SERVICE,
    description="A DHCP server of one's own, which Crowbar is allowed to change.",
    jig="python",
    service=True,
    run=own.run,
    timeout=120,
    max_attempts=0,
    on_change="refresh",
    attributes=(
        _one("dhcp-service-driver", "How it is told: kea, or another that is installed.",
             {"type": "string", "maxLength": 64}, "kea"),
        _one("dhcp-service-url", "Where it is told: http://10.0.0.5:8000/", {"type": "string", "maxLength": 255}, ""),
        _one("dhcp-service-user", "As whom it is told; '' without.", {"type": "string", "maxLength": 64}, ""),
        _one("dhcp-service-password", "That user's password.", {"type": "string", "maxLength": 1024}, "", secret=True),
        _one("dhcp-service-database", "Its hosts database, if it has one in PostgreSQL: postgresql://USER:PASSWORD@"
             "HOST/NAME; '': reservations are put into its configuration.", {"type": "string", "maxLength": 1024}, "",
             secret=True),
        _one("dhcp-service-interfaces", "Its interfaces in networks of IPv6, as \"eth0 fd00::5/64\"; none: it hears "
             "machines through relays alone.", {"type": "array", "items": {"type": "string", "maxLength": 100}}, []),
    ),
)  # fmt: skip
_DATABASE = Role(
    name=DATABASE,
    description="Keeps the DHCP servers at what the cluster's machines should be told.",
    jig="python",
    service=True,
    sole=True,
    run=database.run,
    timeout=600,
    max_attempts=0,
    gather=0.3,
    on_change="refresh",
    attributes=(
        _one("dhcp-mode", "Who gives addresses in networks whose field dhcp does not say it. own: Crowbar's servers; "
             "proxy: others, and Crowbar's tell machines what to boot; none: others alone.",
             {"enum": ["own", "proxy", "none"]}, "own"),
        _one("dhcp-dns-servers", "The DNS servers that machines are told; none: those that a barclamp names.",
             _ADDRESSES, []),
        _one("dhcp-ntp-servers", "The NTP servers that machines are told.", _ADDRESSES, []),
        _one("dhcp-domain", "The domain that machines are told; '': that of all nodes, where they have one in common.",
             {"type": "string", "maxLength": 253}, ""),
        _one("dhcp-lease", "For how many seconds a machine has its address.",
             {"type": "integer", "minimum": 60, "maximum": 2592000}, 3600),
    ),
)  # fmt: skip
ROLES = (_SERVER, _SERVICE, _DATABASE)
_CARD: dict[str, Json] = {
    "type": "string", "pattern": "^[0-9A-Fa-f][02468ACEace]([:-][0-9A-Fa-f]{2}){5}$", "maxLength": 17,
}  # fmt: skip
CARDS = Attribute(
    name=MACS,
    description="The hardware addresses of the node's cards on the admin network, by which DHCP servers know it before "
    "it has reported any.",
    schema={"type": "array", "items": _CARD, "maxItems": 64},
    map=MACS,
)
