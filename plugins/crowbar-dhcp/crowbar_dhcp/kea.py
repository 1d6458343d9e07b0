"""The configuration of Kea and of radvd for what should be served: pure.

What Crowbar puts into Kea's configuration can be told from everything else: its subnets have a ``user-context`` that
says so, and the names of its client classes begin with ``crowbar-``. Everything is written as Kea itself would, so that
what it has can be compared.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from crowbar_dhcp.serving import FIRMWARES, Boot, Options, Reservation, Serving, Subnet

OURS = "crowbar"
PREFIX = "crowbar-"
Interfaces = Sequence[tuple[str, str]]
"""Names of interfaces of the server, each with an address and its prefix: ("eth0", "10.0.0.2/24")."""

_IPXE4 = "option[175].exists or substring(option[77].hex,0,4) == 'iPXE' or substring(option[77].hex,1,4) == 'iPXE'"
_IPXE6 = "option[15].exists and substring(option[15].hex,2,4) == 'iPXE'"
_FIRMWARE4 = {
    "ipxe": _IPXE4,
    "bios": "not member('crowbar-ipxe') and option[93].hex == 0x0000",
    "uefi": "not member('crowbar-ipxe') and (option[93].hex == 0x0007 or option[93].hex == 0x0009)",
    "uefi-http": "not member('crowbar-ipxe') and option[93].hex == 0x0010",
}
_ARCH6 = "not member('crowbar-ipxe') and option[61].exists and "
_FIRMWARE6 = {
    "ipxe": _IPXE6,
    "bios": f"{_ARCH6}substring(option[61].hex,0,2) == 0x0000",
    "uefi": f"{_ARCH6}(substring(option[61].hex,0,2) == 0x0007 or substring(option[61].hex,0,2) == 0x0009)",
    "uefi-http": f"{_ARCH6}substring(option[61].hex,0,2) == 0x0010",
}
_HTTP_CLIENT = "00000157000A48545450436C69656E74"
"""Option 16 of DHCPv6: enterprise 343, ten octets, HTTPClient."""


def parts(serving: Serving, family: int, interfaces: Interfaces = (), *, reservations: bool = True) -> dict[str, Any]:
    """What Crowbar has in Kea's configuration: key -> value; without ``reservations`` these are kept elsewhere."""
    by_subnet: dict[int, list[Reservation]] = {}
    for one in serving.reservations if reservations else ():
        by_subnet.setdefault(one.subnet, []).append(one)
    subnets = [_subnet(one, by_subnet.get(one.id, ()), serving.options, interfaces) for one in serving.of(family)]
    known: dict[str, Any] = {
        "client-classes": _classes(serving, family), f"subnet{family}": subnets, "ip-reservations-unique": False,
    }  # fmt: skip
    if family == 6:
        known |= {"mac-sources": ["duid"], "host-reservation-identifiers": ["hw-address", "duid"]}
    return known


def merged(there: Mapping[str, Any], ours: Mapping[str, Any], family: int) -> dict[str, Any]:
    """The configuration that Kea has, with Crowbar's parts in place of those that it had before."""
    subnets, classes = f"subnet{family}", "client-classes"
    others = [one for one in there.get(subnets, ()) if not is_ours(one)]
    foreign = [one for one in there.get(classes, ()) if not str(one.get("name", "")).startswith(PREFIX)]
    return {**there, **ours, subnets: others + list(ours[subnets]), classes: foreign + list(ours[classes])}


def of_macs(there: Mapping[str, Any], macs: Collection[str], family: int) -> dict[str, Any]:
    """The configuration that Kea has, without reservations of other MACs in Crowbar's subnets."""
    subnets = f"subnet{family}"
    several = [
        {**one, "reservations": [each for each in one.get("reservations", ()) if each.get("hw-address") in macs]}
        if is_ours(one) else one for one in there.get(subnets, ())
    ]  # fmt: skip
    return {**there, subnets: several}


def among(there: Mapping[str, Any], ours: Mapping[str, Any], macs: Collection[str], family: int) -> dict[str, Any]:
    """``ours``, which has reservations of these MACs alone, with those of others that Kea has: by their MACs, as
    ``parts`` has them. Raises ``LookupError`` when Kea does not have one of the subnets."""
    subnets = f"subnet{family}"
    had = {one["id"]: one.get("reservations", ()) for one in there.get(subnets, ()) if is_ours(one)}
    several = []
    for one in ours[subnets]:
        kept = [each for each in had[one["id"]] if each.get("hw-address") not in macs]
        all_of_it = sorted([*kept, *one["reservations"]], key=lambda each: str(each.get("hw-address")))
        several.append({**one, "reservations": all_of_it})
    return {**ours, subnets: several}


def is_ours(subnet: Mapping[str, Any]) -> bool:
    return OURS in (subnet.get("user-context") or {})


def differences(there: Mapping[str, Any], ours: Mapping[str, Any], family: int) -> list[str]:
    """In what the configuration that Kea has is not as it should be, a line each; none: it is."""
    said = []
    subnets = f"subnet{family}"
    mine = {one["id"]: one for one in there.get(subnets, ()) if is_ours(one)}
    for one in ours[subnets]:
        had = mine.pop(one["id"], None)
        if had is None:
            said.append(f"subnet {one['subnet']} is new")
        elif not covers(had, one):
            said.append(f"subnet {one['subnet']}: {_changed(had, one)}")
    said += [f"subnet {one['subnet']} goes" for one in mine.values()]
    classes = [one for one in there.get("client-classes", ()) if str(one.get("name", "")).startswith(PREFIX)]
    if not covers(classes, ours["client-classes"]):
        said.append("what machines boot")
    rest = {name: value for name, value in ours.items() if name not in (subnets, "client-classes")}
    said += [f"{name}" for name, value in rest.items() if not covers(there.get(name), value)]
    return said


def _changed(had: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    def of(one: Mapping[str, Any]) -> dict[str, Any]:
        return {str(each.get("hw-address")): each for each in one.get("reservations", ())}

    before, now = of(had), of(wanted)
    counts = (
        (len(now.keys() - before.keys()), "new"),
        (len(before.keys() - now.keys()), "gone"),
        (sum(not covers(before[mac], now[mac]) for mac in before.keys() & now.keys()), "changed"),
    )
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"reservations: {told}" if told else "its pool or its options"


def covers(there: Any, wanted: Any) -> bool:
    """Whether what is there says all that is wanted; where nothing is wanted, it may have defaults."""
    if isinstance(wanted, Mapping):
        if not isinstance(there, Mapping):
            return False
        if any(there.get(name) for name in ("hw-address", "boot-file-name", "test", "hostname") if name not in wanted):
            return False
        return all(name in there and covers(there[name], value) for name, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return (
            isinstance(there, list)
            and len(there) == len(wanted)
            and all(covers(*pair) for pair in zip(there, wanted, strict=True))
        )
    return bool(there == wanted)


# ---------------------------------------------------------------- subnets


def _subnet(
    one: Subnet, reservations: Sequence[Reservation], options: Options, interfaces: Interfaces
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": one.id, "subnet": one.subnet, "user-context": {OURS: one.network},
        "pools": [{"pool": _pool(*one.pool)}] if one.pool else [],
        "option-data": _options(one, options), "valid-lifetime": options.lifetime,
        "reservations": [_reservation(each, one.family) for each in reservations],
    }  # fmt: skip
    if one.family == 4:
        made["match-client-id"] = False
    elif name := interface_in(one.subnet, interfaces):
        made["interface"] = name
    return made


def _pool(first: str, last: str) -> str:
    """As Kea itself writes it: as a prefix where it is one."""
    begin, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
    whole = list(ipaddress.summarize_address_range(begin, end))
    return str(whole[0]) if len(whole) == 1 else f"{begin}-{end}"


def _options(one: Subnet, options: Options) -> list[dict[str, Any]]:
    dns = _of_family(options.dns_servers, one.family)
    ntp = _of_family(options.ntp_servers, one.family)
    if one.family == 6:
        found = [("dns-servers", dns), ("domain-search", options.domain), ("sntp-servers", ntp)]
    else:
        found = [
            ("routers", ", ".join(one.routers)), ("domain-name-servers", dns), ("domain-name", options.domain),
            ("ntp-servers", ntp), ("interface-mtu", str(one.mtu or "")),
        ]  # fmt: skip
    return [{"name": name, "data": data} for name, data in found if data]


def _of_family(several: Sequence[str], family: int) -> str:
    return ", ".join(one for one in several if (":" in one) == (family == 6))


def _reservation(one: Reservation, family: int) -> dict[str, Any]:
    made: dict[str, Any] = {"hw-address": one.mac}
    if one.hostname:
        made["hostname"] = one.hostname
    if family == 6:
        made["ip-addresses"] = list(one.addresses)
    elif one.addresses:
        made["ip-address"] = one.addresses[0]
    made["client-classes"] = [f"{PREFIX}boot-{one.boot}"] if one.boot else []
    return made


def interface_in(subnet: str, interfaces: Interfaces) -> str:
    """The server's interface with an address in that subnet; ''."""
    span = ipaddress.ip_network(subnet)
    for name, address in interfaces:
        if ipaddress.ip_interface(address).ip in span:
            return name
    return ""


# ---------------------------------------------------------------- what is booted


def _classes(serving: Serving, family: int) -> list[dict[str, Any]]:
    """A class for each firmware, one for each thing that nodes boot (their reservations put them into it), and one for
    each of both. What depends on the reservation says so by ``KNOWN``: Kea then looks at it after that.
    """
    tests = _FIRMWARE6 if family == 6 else _FIRMWARE4
    made: list[dict[str, Any]] = [{"name": PREFIX + name, "test": test} for name, test in tests.items()]
    for key, boot in serving.boots.items():
        made.append({"name": f"{PREFIX}boot-{key}"})
        made += _boot(f"boot-{key}", f"member('KNOWN') and member('{PREFIX}boot-{key}')", boot, family)
    return made + _boot("stranger", "member('UNKNOWN')", serving.strangers, family)


def _boot(name: str, test: str, boot: Boot, family: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{PREFIX}{name}-{firmware}", "test": f"{test} and member('{PREFIX}{firmware}')",
            **(_told6 if family == 6 else _told4)(firmware, boot.of(family)[firmware]),
        }
        for firmware in FIRMWARES if firmware in boot.of(family)
    ]  # fmt: skip


def _told4(firmware: str, url: str) -> dict[str, Any]:
    at = urlsplit(url)
    made: dict[str, Any] = {}
    name = url
    options: list[dict[str, Any]] = []
    if at.scheme == "tftp" and firmware in ("bios", "uefi"):
        # Firmware without URLs: the server's address, and the path there.
        name = at.path.lstrip("/")
        options = [{"name": "tftp-server-name", "data": at.hostname or ""}]
        made["next-server"] = at.hostname or ""
    options.append({"name": "boot-file-name", "data": name})
    if firmware == "uefi-http":
        options.append({"name": "vendor-class-identifier", "data": "HTTPClient", "always-send": True})
    return {**made, "boot-file-name": name, "option-data": options}


def _told6(firmware: str, url: str) -> dict[str, Any]:
    options: list[dict[str, Any]] = [{"name": "bootfile-url", "data": url}]
    if firmware == "uefi-http":
        options.append({
            "name": "vendor-class", "code": 16, "space": "dhcp6", "csv-format": False, "data": _HTTP_CLIENT,
            "always-send": True,
        })  # fmt: skip
    return {"option-data": options}


# ---------------------------------------------------------------- a server that Crowbar sets up


HOSTS = "crowbar_kea"
"""The hosts database on the server's node, and who logs in there."""
BASE = 3
"""Changes with what ``base`` says, so that it is written again."""


def base(family: int, lasting: Interfaces = (), *, hosts: str = "") -> dict[str, Any]:
    """What the server starts with the first time. It listens everywhere, and has nothing to say: subnets come later.

    ``lasting``: its interfaces with the addresses of IPv6 that it will have at each start (else Kea does not start):
    relays send there, and Kea listens by itself only on the link. ``hosts``: the password of its hosts database, where
    it has one on its node.
    """
    name = f"kea-dhcp{family}"
    relayed = [f"{card}/{address.partition('/')[0]}" for card, address in lasting if family == 6 and ":" in address]
    said: dict[str, Any] = {
        "user-context": {"crowbar-base": mark([*relayed, *([f"hosts {hosts}"] if hosts else [])])},
        "interfaces-config": {"interfaces": ["*", *relayed], **({"dhcp-socket-type": "raw"} if family == 4 else {})},
        "control-socket": {"socket-type": "unix", "socket-name": f"/run/kea/kea{family}-ctrl-socket"},
        "lease-database": {"type": "memfile", "persist": True, "name": f"/var/lib/kea/kea-leases{family}.csv"},
        "hooks-libraries": "@LEASE_CMDS@",  # the node puts in where it is
        # A rack that is switched on asks at once: what the socket has no room for waits here. With several threads,
        # which later releases have by themselves, Kea would do without.
        "multi-threading": {"enable-multi-threading": False},
        "dhcp-queue-control": {"enable-queue": True, "queue-type": f"kea-ring{family}", "capacity": 4096},
        "loggers": [
            {"name": name, "severity": "INFO", "output_options": [{"output": f"/var/log/kea/{name}.log"}]},
        ],
    }  # fmt: skip
    if hosts:
        said["hosts-database"] = {
            "type": "postgresql", "host": "127.0.0.1", "port": "@HOSTS_PORT@", "name": HOSTS, "user": HOSTS,
            "password": hosts, "max-reconnect-tries": 1000000, "reconnect-wait-time": 1000,
            "on-fail": "serve-retry-continue",
        }  # fmt: skip
    return {f"Dhcp{family}": said}


def mark(varies: Sequence[str]) -> int | str:
    return f"{BASE}-{hashlib.sha256(json.dumps(varies).encode()).hexdigest()[:10]}" if varies else BASE


def agent(address: str, port: int, password: str) -> dict[str, Any]:
    """The configuration of Kea's control agent, which listens at ``address``."""
    sockets = {
        f"dhcp{family}": {"socket-type": "unix", "socket-name": f"/run/kea/kea{family}-ctrl-socket"}
        for family in (4, 6)
    }
    log = {"output": "/var/log/kea/kea-ctrl-agent.log"}
    return {
        "Control-agent": {
            "http-host": address, "http-port": port,
            "authentication": {"type": "basic", "realm": "crowbar", "clients": [{"user": OURS, "password": password}]},
            "control-sockets": sockets,
            "loggers": [{"name": "kea-ctrl-agent", "severity": "INFO", "output_options": [log]}],
        }
    }  # fmt: skip


def radvd(subnets: Sequence[Subnet], interfaces: Interfaces) -> str:
    """The whole of radvd.conf: machines are told to ask DHCPv6, and their prefix. '' without a subnet here.

    The server offers itself as a router only where it is one of the network's.
    """
    found: dict[str, list[str]] = {}
    for one in subnets:
        name = interface_in(one.subnet, interfaces) if one.family == 6 else ""
        if not name:
            continue
        mine = {str(ipaddress.ip_interface(address).ip) for there, address in interfaces if there == name}
        if name not in found:
            found[name] = [
                f"interface {name} {{", "    AdvSendAdvert on;", "    MinRtrAdvInterval 3;",
                "    MaxRtrAdvInterval 10;", "    AdvManagedFlag on;", "    AdvOtherConfigFlag on;",
                *([] if mine & set(one.routers) else ["    AdvDefaultLifetime 0;"]),
                *([f"    AdvLinkMTU {one.mtu};"] if one.mtu else []),
            ]  # fmt: skip
        found[name].append(f"    prefix {one.subnet} {{ AdvOnLink on; AdvAutonomous on; }};")
    return "".join("\n".join([*lines, "};"]) + "\n" for _, lines in sorted(found.items()))
