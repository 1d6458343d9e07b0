"""The files of dnsmasq for what should be served: pure.

Subnets are in ``dnsmasq.conf``, what machines are told in ``options``, and each node's MACs in a file of their own in
``hosts``, which is read when it appears.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from crowbar_dhcp.serving import FIRMWARES, Boot, Options, Reservation, Serving, Subnet

CONF, OPTIONS, HOSTS = "dnsmasq.conf", "options", "hosts"
_ARCHS = {"bios": (0,), "uefi": (7, 9), "uefi-http": (16,)}


_PATHS = ("bios", "uefi")
"""Firmware that knows no URLs: it is told the server's address, and the path there."""


def files(serving: Serving, place: str) -> dict[str, str]:
    """Name below ``place``, the server's directory -> text."""
    found = {CONF: _conf(serving, place), OPTIONS: _options(serving)}
    by_node: dict[str, list[Reservation]] = {}
    for one in serving.reservations:
        by_node.setdefault(one.node, []).append(one)
    for several in by_node.values():
        found[file_of(min(one.mac for one in several))] = "".join(f"{line}\n" for line in _hosts(several))
    return found


def file_of(mac: str) -> str:
    """That of the node whose first MAC it is."""
    return f"{HOSTS}/{mac.replace(':', '')}"


def _conf(serving: Serving, place: str) -> str:
    lines = [
        "# Written by Crowbar: it is overwritten.", "port=0", "no-resolv", "no-hosts", "no-ping",
        "dhcp-authoritative", "dhcp-ignore-clid", "bind-dynamic",
        "except-interface=lo", "user=root", f"pid-file={place}/pid", f"log-facility={place}/log",
        f"dhcp-leasefile={place}/leases", f"dhcp-hostsdir={place}/{HOSTS}", f"dhcp-optsfile={place}/{OPTIONS}",
        "dhcp-lease-max=100000",
        "dhcp-match=set:ipxe,175", "dhcp-userclass=set:ipxe,iPXE",
        "dhcp-option-force=tag:uefi-http,tag:!ipxe,option:vendor-class,HTTPClient",
    ]  # fmt: skip
    if serving.options.domain:
        lines.append(f"domain={serving.options.domain}")
    for firmware, archs in _ARCHS.items():
        for arch in archs:
            lines += [
                f"dhcp-match=set:{firmware},option:client-arch,{arch}",
                f"dhcp-match=set:{firmware},option6:61,{arch >> 8:02x}:{arch & 255:02x}",
            ]
    lines += [_range(one, serving.options) for one in serving.subnets]
    lines += _proxying(serving)
    return "".join(f"{line}\n" for line in lines)


def _range(one: Subnet, options: Options) -> str:
    span = ipaddress.ip_network(one.subnet)
    if one.proxied:
        return f"dhcp-range=set:net{one.id},{span.network_address},proxy,{span.netmask}"
    first, last = one.pool or (str(span.network_address), "static")
    end = f"{span.prefixlen}" if one.family == 6 else f"{span.netmask},{span.broadcast_address}"
    return f"dhcp-range=set:net{one.id},{first},{last},{end},{options.lifetime}"


def _proxying(serving: Serving) -> Iterable[str]:
    """Where others give addresses dnsmasq answers only firmware, and does not look into the file of options. A service
    that fits nobody is what has it do so; which files there are is said by ``dhcp-boot``."""
    mine = [one for one in serving.subnets if one.proxied]
    if not mine:
        return
    yield "dhcp-pxe-vendor=PXEClient,HTTPClient"
    yield "pxe-service=tag:nobody,X86PC,nothing"
    yield from (f"tag-if=set:proxied,tag:net{one.id}" for one in mine)
    boots = [*((f"tag:boot-{key}", boot) for key, boot in serving.boots.items()), ("tag:!known", serving.strangers)]
    for tag, boot in boots:
        for firmware, url in sorted(boot.dhcp4.items()):
            at = urlsplit(url)
            which = f"tag:proxied,{_which(tag, firmware)}"
            if at.scheme == "tftp" and firmware in _PATHS:
                yield f'dhcp-boot={which},"{at.path.lstrip("/")}",,{at.hostname}'
            else:
                yield f'dhcp-boot={which},"{url}"'


def _options(serving: Serving) -> str:
    lines: list[str] = []
    for one in serving.subnets:
        if one.proxied:
            continue
        lines += [f"tag:net{one.id},{said}" for said in _of_subnet(one, serving.options)]
    for key, boot in serving.boots.items():
        lines += _boot(f"tag:boot-{key}", boot)
    lines += _boot("tag:!known", serving.strangers)
    return "".join(f"{line}\n" for line in lines)


def _of_subnet(one: Subnet, options: Options) -> Iterable[str]:
    dns, ntp = _of_family(options.dns_servers, one.family), _of_family(options.ntp_servers, one.family)
    if one.family == 6:
        said: Mapping[str, str] = {
            "option6:dns-server": dns, "option6:domain-search": options.domain, "option6:sntp-server": ntp,
        }  # fmt: skip
    else:
        said = {
            "option:router": ",".join(one.routers), "option:dns-server": dns, "option:domain-name": options.domain,
            "option:ntp-server": ntp, "option:mtu": str(one.mtu or ""),
        }  # fmt: skip
    # Without a value, dnsmasq says none of its own.
    silent = {"option:router", "option:dns-server", "option6:dns-server"}
    return [f"{name},{value}" if value else name for name, value in said.items() if value or name in silent]


def _of_family(several: Sequence[str], family: int) -> str:
    return ",".join(f"[{one}]" if family == 6 else one for one in several if (":" in one) == (family == 6))


def _boot(tag: str, boot: Boot) -> Iterable[str]:
    for firmware in FIRMWARES:
        which = _which(tag, firmware)
        if url := boot.dhcp4.get(firmware):
            yield from (f"{which},{one}" for one in _told4(firmware, url))
        if url := boot.dhcp6.get(firmware):
            yield f"{which},option6:bootfile-url,{url}"


def _which(tag: str, firmware: str) -> str:
    return f"{tag},tag:{firmware}" if firmware == "ipxe" else f"{tag},tag:{firmware},tag:!ipxe"


def _told4(firmware: str, url: str) -> Iterable[str]:
    at = urlsplit(url)
    if at.scheme == "tftp" and firmware in _PATHS:
        yield f"option:tftp-server,{at.hostname}"
        yield f"option:server-ip-address,{at.hostname}"
        yield f"option:bootfile-name,{at.path.lstrip('/')}"
        return
    yield f"option:bootfile-name,{url}"


def _hosts(several: Sequence[Reservation]) -> Iterable[str]:
    """A line for each address of IPv4, each with all MACs of the node and all addresses of IPv6: dnsmasq takes the
    last line that fits a subnet, and one without an address, which is the first, fits any.
    """
    addresses = list(dict.fromkeys(address for one in several for address in one.addresses))
    six = [f"[{one}]" for one in addresses if ":" in one]
    first = several[0]
    fours = [one for one in addresses if ":" not in one]
    bare = not fours or any(not one.addresses for one in several)
    for four in ["", *fours] if bare else fours:
        words = [*sorted({one.mac for one in several}), f"set:boot-{first.boot}" if first.boot else "", four, *six]
        yield ",".join(one for one in (*words, first.hostname) if one)
