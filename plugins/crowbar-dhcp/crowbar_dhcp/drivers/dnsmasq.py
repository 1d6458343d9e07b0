"""dnsmasq by its files: on a node that Crowbar reaches, or in a directory here.

Nobody asks dnsmasq what it serves, so its files are compared. Those of new nodes it reads by itself; for all else it is
started anew, which takes it less than a second and keeps its leases: told by SIGHUP to read its files again, version
2.90 crashes once a machine has used a line with a tag. That it has read them is seen in its log, by the name of a file
that is put there last.
"""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import shlex
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from crowbar_jig_script.remote import Remote

from crowbar_core import CrowbarError, cluster
from crowbar_dhcp import dnsmasq
from crowbar_dhcp.drivers import Lease, Part, Server, ServerDown, ServerRefuses
from crowbar_dhcp.serving import Serving

_REFUSED, _DEAF = 9, 8
"""Exit codes of what is run there: dnsmasq does not take a file; it has not read them in time."""
_LOOK = """
cd {place} 2>/dev/null && [ -x restart ] || {{ echo absent; exit 0; }}
pid=$(cat pid 2>/dev/null) && [ "$(cat /proc/$pid/comm 2>/dev/null)" = dnsmasq ] || echo down
[ ! -e pending ] || echo pending
sha256sum dnsmasq.conf 2>/dev/null | cmp -s - started || echo otherwise
{sums} 2>/dev/null || true
"""
_ALL = "find dnsmasq.conf options hosts -type f ! -name 'zz-*' -exec sha256sum {} +"
_BRING = """
set -eu
cd {place}
mkdir -p hosts incoming
rm -rf incoming/*
said=$(base64 -d <<'END' | tar -xz -C incoming 2>&1
{tar}
END
) || {{ printf '%s\\n' "$said" | head -n 1 >&2; exit 9; }}
if [ -e incoming/dnsmasq.conf ]; then
    dnsmasq --test -C incoming/dnsmasq.conf >incoming/said 2>&1 || {{ tail -n 1 incoming/said >&2; exit 9; }}
fi
: >pending
[ ! -e incoming/dnsmasq.conf ] || mv -f incoming/dnsmasq.conf .
[ ! -e incoming/options ] || mv -f incoming/options .
rm -f hosts/zz-*
{remove}
: >log
[ ! -d incoming/hosts ] || find incoming/hosts -type f -exec mv -f -t hosts {{}} +
[ {how} = read ] || ./restart </dev/null >&2
echo '# {mark}' >incoming/zz-{mark}
mv incoming/zz-{mark} hosts/
tries=0
until ! grep -q ^dhcp-range dnsmasq.conf || grep -qs 'read .*hosts/zz-{mark}' log; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || {{ echo 'it has not read its files within ten seconds' >&2; exit 8; }}
    sleep 0.05
done
rm -f pending
"""


@dataclass(frozen=True, kw_only=True)
class There:
    """Which files there are (name -> sum), and what is wrong: ``down``, ``pending`` (it was told, and nobody saw that
    it has read it), ``otherwise`` (it was started with other subnets)."""

    files: Mapping[str, str]
    wrong: frozenset[str]


class Dnsmasq:
    proxies = True

    def __init__(self, server: Server) -> None:
        self._server = server
        at = urlsplit(server.url)
        self._node, self._place = at.hostname if at.scheme == "node" else None, at.path

    def bring(self, wanted: Serving) -> Sequence[str]:
        return self._bring(wanted, self._look())

    def bring_some(self, part: Part) -> Sequence[str]:
        return self._bring(part.serving, self._look([dnsmasq.file_of(one) for one in sorted(part.macs)]))

    def _bring(self, wanted: Serving, there: There) -> Sequence[str]:
        files = dnsmasq.files(wanted, self._place)
        lines = _differences(there, files)
        if not lines:
            return []
        put = {name: text for name, text in files.items() if there.files.get(name) != _sum(text)}
        gone = [name for name in there.files if name not in files]
        new = not gone and all("/" in name and name not in there.files for name in put)
        how = "read" if new and not there.wrong else "restart"
        self._run(_BRING.format(
            place=shlex.quote(self._place), tar=_tar(put), how=how, mark=secrets.token_hex(6),
            remove="\n".join(f"rm -f {shlex.quote(one)}" for one in gone),
        ))  # fmt: skip
        return lines

    def differences(self, wanted: Serving) -> Sequence[str]:
        return _differences(self._look(), dnsmasq.files(wanted, self._place))

    def check(self) -> None:
        self._look()

    def leases(self) -> Sequence[Lease]:
        said = self._run(f"cat {shlex.quote(self._place)}/leases 2>/dev/null || true")
        found = []
        for line in said.splitlines():
            words = line.split()
            if len(words) < 5 or not words[0].isdigit():
                continue
            until, mac, address, name, client = words[:5]
            if ":" in address:
                mac = client[12:] if client.startswith("00:03:00:01:") else ""
            found.append(Lease(address=address, mac=mac, hostname="" if name == "*" else name, until=int(until)))
        return found

    def _look(self, hosts: Sequence[str] | None = None) -> There:
        """``hosts``: which of its files of nodes are looked at; None: all. Raises ``ServerDown`` also when it does not
        run."""
        words, files = set(), {}
        sums = _ALL if hosts is None else shlex.join(["sha256sum", dnsmasq.CONF, dnsmasq.OPTIONS, *hosts])
        for line in self._run(_LOOK.format(place=shlex.quote(self._place), sums=sums)).splitlines():
            said, _, name = line.partition("  ")
            if name:
                files[name] = said
            else:
                words.add(said)
        if "absent" in words:
            raise ServerDown(f"There is no dnsmasq of Crowbar's in {self._server.url}: bind dhcp-server anew.")
        if "down" in words:
            raise ServerDown(f"dnsmasq at {self._server.url} does not run: start it.")
        return There(files=files, wrong=frozenset(words))

    def _run(self, program: str) -> str:
        try:
            if self._node is None:
                done = subprocess.run(
                    ["sh", "-s"],
                    input=program,
                    capture_output=True,
                    text=True,
                    timeout=self._server.timeout,
                    check=False,
                )
                code, out, err = done.returncode, done.stdout, done.stderr
            else:
                node = next(
                    (one.node for one in cluster().node_roles(role="dhcp-server") if str(one.node.id) == self._node),
                    None,
                )
                if node is None or not node.addresses:
                    raise ServerDown(f"dnsmasq at {self._server.url} cannot be reached: its node has no address.")
                answer = Remote.of_cluster().ask(node, node.addresses[0], program, timeout=self._server.timeout)
                code, out, err = answer.code, answer.out, answer.err
        except ServerDown:
            raise
        except (CrowbarError, OSError, subprocess.SubprocessError) as problem:
            raise ServerDown(f"dnsmasq at {self._server.url} cannot be reached: {problem}") from None
        if code == 0:
            return out
        last = (err.strip().splitlines() or [f"exit code {code}"])[-1]
        if code == _DEAF:
            raise ServerDown(f"dnsmasq at {self._server.url} does not answer: {last}.")
        if "No space left on device" in last:
            raise ServerRefuses(
                f"dnsmasq at {self._server.url} has no room for its files: {last}. It serves what it was told before; "
                "make room."
            )
        raise ServerRefuses(f"dnsmasq at {self._server.url} does not take it: {last}.")


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _tar(files: Mapping[str, str]) -> str:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text.encode()), 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
    return base64.encodebytes(made.getvalue()).decode().strip()


def _differences(there: There, files: Mapping[str, str]) -> list[str]:
    said = []
    if there.files.get(dnsmasq.CONF) != _sum(files[dnsmasq.CONF]) or "otherwise" in there.wrong:
        said.append("its subnets")
    if there.files.get(dnsmasq.OPTIONS) != _sum(files[dnsmasq.OPTIONS]):
        said.append("what machines are told")
    hosts = {name: text for name, text in files.items() if "/" in name}
    had = {name: one for name, one in there.files.items() if "/" in name}
    counts = (
        (len(hosts.keys() - had.keys()), "new"),
        (len(had.keys() - hosts.keys()), "gone"),
        (sum(had[name] != _sum(hosts[name]) for name in hosts.keys() & had.keys()), "changed"),
    )
    if told := ", ".join(f"{count} {what}" for count, what in counts if count):
        said.append(f"nodes: {told}")
    if "pending" in there.wrong and not said:
        said.append("it may not have read what it was told")
    return said
