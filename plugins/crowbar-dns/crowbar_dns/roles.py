"""The roles and attributes of names."""

from __future__ import annotations

from typing import Any

from crowbar_core import Attribute, Json, Role
from crowbar_dns import database, own
from crowbar_dns.drivers.rfc2136 import ALGORITHMS
from crowbar_dns.naming import ATTRIBUTE
from crowbar_dns.services import CLIENT, DATABASE, SERVER, SERVICE

_TEXTS: dict[str, Json] = {"type": "array", "items": {"type": "string", "maxLength": 253}}


def attributes() -> tuple[Attribute, ...]:
    return (
        Attribute(
            name=ATTRIBUTE,
            description="Further records that go with the node, each with name, type, value and ttl.",
            map=ATTRIBUTE,
            schema={
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "type", "value"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string", "maxLength": 253},
                        "type": {"enum": ["A", "AAAA", "CNAME", "PTR", "SRV", "TXT"]},
                        "value": {"type": "string", "maxLength": 2000},
                        "ttl": {"type": "integer", "minimum": 0, "maximum": 604800},
                    },
                },
            },
        ),
    )


def _server() -> Role:
    return Role(
        name=SERVER,
        description="Makes the node a DNS server (BIND) for the cluster's zones, which may ask others for the rest.",
        jig="dns",
        timeout=900,
        on_change="refresh",
        gather=1.0,
        attributes=(
            _list("dns-domains", "dns/domains", "The domains it serves; none: those of all nodes."),
            _list("dns-forwarders", "dns/forwarders", "The servers it asks for all other names."),
            Attribute(
                name="dns-validation", map="dns/validation", schema={"enum": ["auto", "yes", "no"]}, default="auto",
                description="Whether what others answer must be proved by DNSSEC; auto: where no forwarders are named.",
            ),
            _list("dns-clients", "dns/clients", "The networks that may ask it for all other names; none: its own."),
            _list("dns-zones", "dns/zones", "The zones it serves, forward and reverse.", writable=False),
            Attribute(
                name="dns-key", description="The secret of the key with which it is told.", map="dns/key",
                schema={"type": "string", "minLength": 16}, secret=True, generate="token", per="node",
            ),
            Attribute(
                name="dns-version", description="What serves.", map="dns/version", schema={"type": "string"},
                writable=False,
            ),
        ),
    )  # fmt: skip


def _service() -> Role:
    def one(short: str, description: str, schema: dict[str, Json], default: Json = None, **more: Any) -> Attribute:
        return Attribute(
            name=f"dns-service-{short}", description=description, map=f"dns/service/{short}", schema=schema,
            default=default, **more,
        )  # fmt: skip

    return Role(
        name=SERVICE,
        description="A DNS server of one's own, which Crowbar is allowed to change.",
        jig="python",
        service=True,
        run=own.run,
        timeout=120,
        on_change="refresh",
        attributes=(
            one("driver", "How it is told: rfc2136 (BIND, Knot), powerdns, or another that is installed.",
                {"type": "string", "maxLength": 64}, "rfc2136"),
            one("addresses", "Its addresses, tried in this order.", _TEXTS, []),
            one("port", "Where it is told; 0: 53, of PowerDNS 8081.",
                {"type": "integer", "minimum": 0, "maximum": 65535}, 0),
            one("zones", "The zones that are Crowbar's.", _TEXTS, []),
            one("shared-zones", "Zones in which others have records, too: Crowbar's have a TXT record beside them.",
                _TEXTS, []),
            one("key-name", "The name of the TSIG key; '' without one.", {"type": "string", "maxLength": 253}, ""),
            one("algorithm", "The algorithm of the TSIG key.", {"enum": list(ALGORITHMS)}, "hmac-sha256"),
            one("key", "The secret of the TSIG key, in base64; of PowerDNS the api-key.",
                {"type": "string", "maxLength": 1024}, "", secret=True),
            one("resolves", "Whether nodes may ask it, at port 53, for any name.", {"type": "boolean"}, False),
        ),
    )  # fmt: skip


def _client() -> Role:
    return Role(
        name=CLIENT,
        description="Lets the node ask the cluster's DNS servers, by systemd-resolved or /etc/resolv.conf.",
        jig="dns",
        implicit=True,
        requires=(DATABASE,),
        on_change="refresh",
        gather=1.0,
        attributes=(
            _list("dns-client-servers", "dns/servers", "The servers it asks; none: those that Crowbar has set up."),
            _list("dns-client-search", "dns/search", "The domains in which short names are looked for; none: its own."),
            Attribute(
                name="dns-client-resolver", description="By what the node asks.", map="dns/resolver",
                schema={"type": "string"}, writable=False,
            ),
        ),
    )  # fmt: skip


def _list(name: str, map_: str, description: str, *, writable: bool = True) -> Attribute:
    default: Json = [] if writable else None
    return Attribute(name=name, description=description, map=map_, schema=_TEXTS, default=default, writable=writable)


ROLES = (
    _server(),
    _service(),
    Role(
        name=DATABASE,
        description="Keeps the DNS servers at what the cluster should be called.",
        jig="python",
        service=True,
        sole=True,
        run=database.run,
        timeout=600,
        max_attempts=0,
        gather=0.3,
        on_change="refresh",
    ),
    _client(),
)
