"""What is written on a node that serves: BIND's configuration, and the programs that put it there. Pure functions.

Zone files belong to BIND, which keeps them and their journals by itself: one is written only where there is none yet.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from crowbar_dns.names import domain_fault

CONFIG = "/etc/bind/crowbar.conf"
MAIN = "/etc/bind/named.conf"
ZONES = "/var/lib/bind/crowbar"
KEY_NAME = "crowbar"
MARK = "// Written by Crowbar (dns-server): it is overwritten. What was here before is in named.conf.before-crowbar."


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a server is to be. ``clients`` may ask it for names of others, which it asks ``forwarders`` for, or, where
    there are none, the servers of the whole internet. ``validates``: what they answer must be proved by DNSSEC.
    """

    host: str
    addresses: Sequence[str]
    zones: Sequence[str]
    key: str
    forwarders: Sequence[str] = ()
    clients: Sequence[str] = ("localnets", "localhost")
    validates: bool = True


def configuration(said: Serving) -> str:
    """The whole of ``crowbar.conf``."""
    clients = " ".join(f"{one};" for one in said.clients) or "none;"
    lines = [
        f'key "{KEY_NAME}" {{', "    algorithm hmac-sha256;", f"    secret {_quoted(said.key)};", "};", "",
        "options {", '    directory "/var/cache/bind";', "    listen-on { any; };", "    listen-on-v6 { any; };",
        "    allow-query { any; };", f"    allow-recursion {{ {clients} }};", "    allow-transfer { none; };",
        "    notify no;", f"    dnssec-validation {'auto' if said.validates else 'no'};",
    ]  # fmt: skip
    if said.forwarders:
        lines += [f"    forwarders {{ {' '.join(f'{one};' for one in said.forwarders)} }};", "    forward only;"]
    lines += ["};", ""]
    for zone in sorted(said.zones):
        lines += [
            f"zone {_quoted(zone)} {{", "    type primary;", f"    file {_quoted(f'{ZONES}/{_checked(zone)}.zone')};",
            f'    allow-transfer {{ key "{KEY_NAME}"; }};', f'    allow-update {{ key "{KEY_NAME}"; }};', "};",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def zone_file(zone: str, said: Serving) -> str:
    """A zone that has nothing yet but who serves it."""
    inside = name_server(_checked(zone))
    host = inside or f"{said.host}"
    lines = ["$TTL 300", f"@ IN SOA {host}. hostmaster.{zone}. ( 1 3600 600 604800 60 )", f"@ IN NS {host}."]
    if inside:
        lines += [f"{inside}. IN {'AAAA' if ':' in one else 'A'} {one}" for one in said.addresses]
    return "\n".join(lines) + "\n"


def name_server(zone: str) -> str:
    """What the server is called in a forward zone, where it needs an address of its own; '' in a reverse one."""
    return "" if zone.endswith(".arpa") else f"crowbar-dns.{zone}"


def install(said: Serving) -> str:
    """A program for sh: BIND is there, runs, and serves just these zones. Again, it changes nothing.

    It ends with a line ``serving VERSION``.
    """
    files = [(f"{ZONES}/{_checked(zone)}.zone", zone_file(zone, said)) for zone in sorted(said.zones)]
    put = "\n".join(f"zone {shlex.quote(path)} {shlex.quote(text)}" for path, text in files)
    return _WHOLE.format(
        body=_INSTALL.format(
            config=CONFIG, main=MAIN, zones=ZONES, text=shlex.quote(configuration(said)), put=put or ":",
            main_text=shlex.quote(f'{MARK}\ninclude "{CONFIG}";\n'),
        ),
    )  # fmt: skip


def remove() -> str:
    """A program for sh: BIND is as it was before, or runs no more."""
    return _WHOLE.format(body=_REMOVE.format(config=CONFIG, main=MAIN, zones=ZONES))


def _quoted(text: str) -> str:
    if any(one in text for one in '"\\\n'):
        raise ValueError(f"{text!r} cannot stand in a configuration")
    return f'"{text}"'


def _checked(zone: str) -> str:
    if fault := domain_fault(zone):
        raise ValueError(f"{zone!r} cannot be a zone: {fault}")
    return zone


_WHOLE = """crowbar_main() {{
{body}
}}
crowbar_main </dev/null
"""
_INSTALL = """set -eu
export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
if ! command -v named >/dev/null; then
    command -v apt-get >/dev/null ||
        {{ echo 'BIND (named) is not there, and this is no Debian: install it' >&2; exit 3; }}
    apt-get -q -y install --no-install-recommends bind9 >&2 ||
        {{ apt-get -q update >&2 && apt-get -q -y install --no-install-recommends bind9 >&2; }} ||
        {{ echo 'the package bind9 could not be installed' >&2; exit 3; }}
fi
group=$(id -gn bind 2>/dev/null || id -gn named 2>/dev/null || echo root)
user=$(id -un bind 2>/dev/null || id -un named 2>/dev/null || echo root)
mkdir -p {zones} /var/cache/bind /run/named
chown "$user:$group" {zones} /var/cache/bind /run/named
zone() {{
    [ -s "$1" ] && return 0
    printf '%s' "$2" >"$1.new"
    chown "$user:$group" "$1.new"
    mv -f "$1.new" "$1"
}}
{put}
umask 027
printf '%s' {text} >{config}.new
chgrp "$group" {config}.new
named-checkconf {config}.new >&2 || {{ echo 'BIND does not take its configuration' >&2; exit 3; }}
same=yes
cmp -s {config}.new {config} || same=no
mv -f {config}.new {config}
if ! grep -qs 'Written by Crowbar' {main}; then
    [ ! -e {main} ] || mv {main} {main}.before-crowbar
    printf '%s' {main_text} >{main}
    chmod 644 {main}
    same=no
fi
[ -s /etc/bind/rndc.key ] || rndc-confgen -a -u "$user" >&2
if [ -d /run/systemd/system ]; then
    systemctl -q enable named >&2
    systemctl -q is-active named && [ $same = yes ] || systemctl restart named >&2
elif rndc status >/dev/null 2>&1; then
    [ $same = yes ] || rndc reconfig >&2
else
    named -u "$user" -c {main} >&2
fi
tries=0
until rndc status >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || {{ echo 'BIND does not run: its own log says why' >&2; exit 3; }}
    sleep 0.1
done
[ $same = yes ] || rndc reconfig >&2
echo "serving $(named -v | head -n 1)"
"""
_REMOVE = """set -eu
export PATH="$PATH:/usr/sbin:/sbin"
if [ -e {main}.before-crowbar ]; then
    mv -f {main}.before-crowbar {main}
elif grep -qs 'Written by Crowbar' {main}; then
    rm -f {main}
fi
rm -rf {config} {zones}
if [ -d /run/systemd/system ]; then
    if [ -e {main} ]; then systemctl restart named || true; else systemctl disable --now named || true; fi
elif command -v rndc >/dev/null; then
    rndc stop >/dev/null 2>&1 || true
fi
echo removed
"""
