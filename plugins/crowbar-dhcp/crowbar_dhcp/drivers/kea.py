"""Kea over its control channel: HTTP, to its control agent or, from Kea 3 on, to the servers themselves.

Reservations are put where it can take one by one: by its host commands, or into its hosts database (``kea_hosts``).
Where it has neither, they are in its configuration with all the rest that is Crowbar's, and that is replaced: Kea tests
the new one first, takes it as a whole or not at all, and writes it down for its next start.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from crowbar_dhcp import kea
from crowbar_dhcp.drivers import Lease, Part, Server, ServerDiffers, ServerDown, ServerRefuses, kea_hosts
from crowbar_dhcp.serving import Serving

_CONNECT, _QUICK = 3.0, 5.0
_EMPTY = 3
"""Kea's result for: done, and there was nothing."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """``ours``: what of Crowbar's is in the configuration; ``wanted`` reservations apart from that, in ``hosts``."""

    ours: Mapping[str, Any]
    hosts: kea_hosts.Hosts | None = None
    wanted: Mapping[kea_hosts.Key, kea_hosts.Host] = field(default_factory=dict)
    stored: bool = False
    """Whether Kea has a database for them, and they are no matter of its configuration."""


class Unheard(ServerDown):
    """It is not there at all, for whichever family."""


class Kea:
    proxies = False

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session = requests.Session()
        self._session.trust_env = False
        if server.user:
            self._session.auth = (server.user, server.password)

    def bring(self, wanted: Serving) -> Sequence[str]:
        said: list[str] = []
        for family in (4, 6):
            said += self._bring(wanted, family, None)
        return said

    def bring_some(self, part: Part) -> Sequence[str]:
        said: list[str] = []
        for family in (4, 6):
            said += self._bring(part.serving, family, part.macs)
        return said

    def _bring(self, wanted: Serving, family: int, macs: Collection[str] | None) -> list[str]:
        """``macs``: those to be told of; None: all is."""
        there = self._configuration(family, needed=bool(wanted.of(family)))
        if there is None:
            return []
        name = f"Dhcp{family}"
        kept = self._kept(there[name], wanted, family)
        found = kea.differences(
            there[name] if macs is None else kea.of_macs(there[name], macs, family), kept.ours, family
        )
        if found:
            new = {name: kea.merged(there[name], self._all(there[name], kept, macs, family), family)}
            self._do("config-test", family, new)
            self._do("config-set", family, new)
        only = None if macs is None else [(one.id, mac) for one in wanted.of(family) for mac in macs]
        put, drop, lines = kea_hosts.differences(kept.hosts.read(only), kept.wanted) if kept.hosts else ({}, [], [])
        try:
            if kept.hosts and (put or drop):
                kept.hosts.write(put, drop)
        finally:
            # Also when nothing differs: who was killed after it had told it has not had it written down.
            if found or (lines and not kept.stored) or (macs is None and wanted.of(family)):
                self._write(family)
        return [f"DHCPv{family}: {one}" for one in (*found, *lines)]

    def _all(
        self, there: Mapping[str, Any], kept: Kept, macs: Collection[str] | None, family: int
    ) -> Mapping[str, Any]:
        """What is to be Crowbar's in the configuration, with the reservations of all other MACs that it has."""
        if macs is None or kept.hosts:
            return kept.ours
        try:
            return kea.among(there, kept.ours, macs, family)
        except LookupError:
            raise ServerDiffers(f"Kea at {self._server.url} has subnets less than it was told.") from None

    def _write(self, family: int) -> None:
        """Kea says that it has written it also when its disk is full; then what it has written has no size."""
        try:
            size = int(self._do("config-write", family).get("arguments", {}).get("size", 0))
            why = f"Kea at {self._server.url} has no room for its configuration of DHCPv{family}."
        except ServerRefuses as problem:
            size, why = -1, problem.detail
        if size < 0:
            raise ServerRefuses(
                f"{why} It serves what it was told, until it is started anew: let it write its configuration."
            )

    def differences(self, wanted: Serving) -> Sequence[str]:
        said: list[str] = []
        for family in (4, 6):
            there = self._configuration(family, needed=bool(wanted.of(family)))
            if there is None:
                continue
            kept = self._kept(there[f"Dhcp{family}"], wanted, family)
            found = kea.differences(there[f"Dhcp{family}"], kept.ours, family)
            if kept.hosts:
                found += kea_hosts.differences(kept.hosts.read(), kept.wanted)[2]
            said += [f"DHCPv{family}: {one}" for one in found]
        return said

    def _kept(self, there: Mapping[str, Any], wanted: Serving, family: int) -> Kept:
        """Where this server keeps what, by what it can do."""
        stored = bool(there.get("hosts-database") or there.get("hosts-databases"))
        commands = set(self._do("list-commands", family).get("arguments", ()))
        hosts: kea_hosts.Hosts
        if commands >= kea_hosts.COMMANDS:
            hosts = kea_hosts.HostCommands(self._do, family, stored=stored)
        elif stored and self._server.database:
            hosts = kea_hosts.HostTables(self._server.database, family)
        else:
            return Kept(ours=kea.parts(wanted, family, self._server.interfaces))
        rest = kea.parts(wanted, family, self._server.interfaces, reservations=False)
        return Kept(ours=rest, hosts=hosts, wanted=kea_hosts.wanted(wanted, family), stored=stored)

    def _configuration(self, family: int, *, needed: bool) -> dict[str, Any] | None:
        """What it has now; None when it does not run, and nothing is to be served by it."""
        try:
            got = self._do("config-get", family).get("arguments")
        except ServerDown:
            if needed or not self._answers():
                raise
            return None
        if not isinstance(got, dict) or not isinstance(got.get(f"Dhcp{family}"), dict):
            raise ServerDown(f"What answers at {self._server.url} is no Kea: it has no configuration of DHCPv{family}.")
        got.pop("hash", None)  # of Kea 2.4 and later, which does not take it back
        return got

    def _answers(self) -> bool:
        try:
            self.check()
        except ServerDown:
            return False
        return True

    def leases(self) -> Sequence[Lease]:
        found = []
        for family in (4, 6):
            try:
                got = self._do(f"lease{family}-get-all", family, timeout=_QUICK)
            except ServerRefuses:
                continue  # without the hook library lease_cmds
            except ServerDown:
                if self._answers():
                    continue
                raise
            found += [
                Lease(
                    address=one["ip-address"], mac=one.get("hw-address", ""), hostname=one.get("hostname", ""),
                    until=one["cltt"] + one["valid-lft"],
                )
                for one in got.get("arguments", {}).get("leases", ()) if one.get("state", 0) == 0
            ]  # fmt: skip
        return found

    def check(self) -> None:
        """One of the two servers answers."""
        problems = []
        for family in (4, 6):
            try:
                self._do("version-get", family, timeout=_QUICK)
                return
            except Unheard:
                raise
            except ServerDown as problem:
                problems.append(problem)
        raise problems[0]

    def _do(
        self, command: str, family: int, arguments: Any = None, *, timeout: float | None = None
    ) -> dict[str, Any]:  # fmt: skip
        asked: dict[str, Any] = {"command": command, "service": [f"dhcp{family}"]}
        if arguments is not None:
            asked["arguments"] = arguments
        where = f"Kea at {self._server.url}"
        try:
            answer = self._session.post(
                self._server.url, json=asked, timeout=(_CONNECT, timeout or self._server.timeout)
            )
        except requests.RequestException as problem:
            kind = Unheard if isinstance(problem, requests.ConnectionError) else ServerDown
            raise kind(f"{where} does not answer: {_reason(problem)}.") from None
        if answer.status_code in (401, 403):
            raise ServerRefuses(f"{where} does not take this user and password.")
        try:
            said = answer.json()
            one = said[0] if isinstance(said, list) else said
            result, text = int(one["result"]), str(one.get("text", ""))
        except (ValueError, TypeError, LookupError):
            raise ServerDown(
                f"What answers at {self._server.url} is no Kea (HTTP status {answer.status_code})."
            ) from None
        if result in (0, _EMPTY):
            return dict(one)
        if "likely to be offline" in text or "unable to forward" in text:
            raise ServerDown(f"{where}: its server for DHCPv{family} does not run.")
        raise ServerRefuses(f"{where} refuses {command} for DHCPv{family}: {text}.")


def _reason(problem: requests.RequestException) -> str:
    if isinstance(problem, requests.Timeout):
        return "no answer in time"
    inner: BaseException = problem
    while within := next((one for one in inner.args if isinstance(one, BaseException)), None):
        inner = within
    found = getattr(inner, "reason", None) or inner
    return str(found).rpartition("] ")[2] or type(problem).__name__
