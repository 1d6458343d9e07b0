"""How a node asks for names: systemd-resolved where it runs, else /etc/resolv.conf. Pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

RESOLVED = "/etc/systemd/resolved.conf.d/crowbar.conf"
RESOLV_CONF = "/etc/resolv.conf"
MARK = "# Written by Crowbar (dns-client): it is overwritten."
MOST = 3
"""As many servers as the C library asks."""


def resolv_conf(servers: Sequence[str], domains: Sequence[str]) -> str:
    lines = [MARK, *([f"search {' '.join(domains)}"] if domains else [])]
    return "\n".join([*lines, *(f"nameserver {one}" for one in servers[:MOST])]) + "\n"


def resolved_conf(servers: Sequence[str], domains: Sequence[str]) -> str:
    lines = [MARK, "[Resolve]", f"DNS={' '.join(servers)}", f"Domains={' '.join([*domains, '~.'])}"]
    return "\n".join(lines) + "\n"


def set_up(servers: Sequence[str], domains: Sequence[str]) -> str:
    """A program for sh. It ends with a line that says what the node asks with."""
    return _SET_UP.format(
        resolved=RESOLVED, conf=RESOLV_CONF, resolved_text=shlex.quote(resolved_conf(servers, domains)),
        text=shlex.quote(resolv_conf(servers, domains)),
    )  # fmt: skip


def remove() -> str:
    return _REMOVE.format(resolved=RESOLVED, conf=RESOLV_CONF)


_SET_UP = """crowbar_main() {{
set -eu
changed=
put() {{
    printf '%s' "$2" | cmp -s - "$1" && return 0
    printf '%s' "$2" >"$1.crowbar"
    chmod 644 "$1.crowbar"
    sync "$1.crowbar" 2>/dev/null || sync
    mv -fT "$1.crowbar" "$1"
    sync "${{1%/*}}" 2>/dev/null || sync
    changed=yes
}}
if [ -d /run/systemd/system ] && systemctl -q is-active systemd-resolved; then
    mkdir -p {resolved_dir}
    put {resolved} {resolved_text}
    [ -z "$changed" ] || systemctl restart systemd-resolved
    echo resolved
    return 0
fi
if ! grep -qs 'Written by Crowbar' {conf} && [ ! -e {conf}.before-crowbar ]; then
    if [ -e {conf} ] || [ -L {conf} ]; then mv {conf} {conf}.before-crowbar; fi
fi
put {conf} {text}
echo resolv.conf
}}
crowbar_main </dev/null
""".replace("{resolved_dir}", RESOLVED.rpartition("/")[0])
_REMOVE = """crowbar_main() {{
set -eu
if [ -e {resolved} ]; then
    rm -f {resolved}
    systemctl restart systemd-resolved || true
fi
if grep -qs 'Written by Crowbar' {conf}; then
    rm -f {conf}
    if [ -e {conf}.before-crowbar ] || [ -L {conf}.before-crowbar ]; then mv -f {conf}.before-crowbar {conf}; fi
fi
echo removed
}}
crowbar_main </dev/null
"""
