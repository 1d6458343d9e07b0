"""Where Kea keeps reservations besides its configuration: its hosts database, told by its host commands or, where it
has none, in PostgreSQL itself. One that is put there is served at the next question of its machine, without a reload.

Crowbar's can be told from everything else: their ``user-context`` says so.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg2
import psycopg2.errors

from crowbar_dhcp.drivers import ServerDown, ServerRefuses
from crowbar_dhcp.kea import OURS, PREFIX
from crowbar_dhcp.serving import Serving

Key = tuple[int, str]
"""The number of a subnet, and a MAC."""
Do = Callable[..., dict[str, Any]]
COMMANDS = frozenset(("reservation-add", "reservation-del", "reservation-get", "reservation-get-page"))
_PAGE = 1000
_CONNECT = 3


@dataclass(frozen=True, slots=True)
class Host:
    """A reservation, apart from where it is."""

    hostname: str = ""
    addresses: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


class Hosts(Protocol):
    def read(self, only: Collection[Key] | None = None) -> Mapping[Key, Host]:
        """All that are Crowbar's, or those of these. Raises ``ServerDown``, ``ServerRefuses``."""

    def write(self, put: Mapping[Key, Host], drop: Collection[Key]) -> None:
        """Those of ``drop`` go, then those of ``put`` come: none of them is there then. Raises ``ServerDown``;
        ``ServerRefuses`` when some are not taken, and names them; the others are there.
        """


def wanted(serving: Serving, family: int) -> dict[Key, Host]:
    """What should be there."""
    mine = {one.id for one in serving.of(family)}
    return {
        (one.subnet, one.mac): Host(
            hostname=one.hostname, addresses=one.addresses, classes=(f"{PREFIX}boot-{one.boot}",) if one.boot else ()
        )
        for one in serving.reservations if one.subnet in mine
    }  # fmt: skip


def host_of(said: Mapping[str, Any]) -> Host:
    """Of what Kea says of it."""
    addresses = said.get("ip-addresses") or ([said["ip-address"]] if said.get("ip-address") else [])
    return Host(
        hostname=said.get("hostname", ""), addresses=tuple(addresses), classes=tuple(said.get("client-classes", ()))
    )  # fmt: skip


def differences(there: Mapping[Key, Host], wanted: Mapping[Key, Host]) -> tuple[dict[Key, Host], list[Key], list[str]]:
    """What is to be put and what is to go, so that all that is wanted is there; and a line that says so."""
    put = {key: one for key, one in wanted.items() if there.get(key) != one}
    drop = [key for key in there if key in put or key not in wanted]
    new = sum(key not in there for key in put)
    counts = ((new, "new"), (len(drop) - (len(put) - new), "gone"), (len(put) - new, "changed"))
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return put, drop, [f"reservations: {told}"] if told else []


class HostCommands:
    """By Kea's hook library ``host_cmds``. ``stored``: Kea has a hosts database; else they are put into its
    configuration, which the caller then has written down.
    """

    def __init__(self, do: Do, family: int, *, stored: bool) -> None:
        self._do, self._family = do, family
        self._target = "alternate" if stored else "primary"

    def read(self, only: Collection[Key] | None = None) -> Mapping[Key, Host]:
        found: dict[Key, Host] = {}
        if only is not None:
            for subnet, mac in only:
                which = {"subnet-id": subnet, "identifier-type": "hw-address", "identifier": mac}
                asked = {**which, "operation-target": self._target}
                one = self._do("reservation-get", self._family, asked).get("arguments") or {}
                if OURS in (one.get("user-context") or {}):
                    found[subnet, mac] = host_of(one)
            return found
        at = {"source-index": 0, "from": 0}
        while True:
            page_at = {"limit": _PAGE, "operation-target": self._target, **at}
            said = self._do("reservation-get-page", self._family, page_at).get("arguments", {})
            page = said.get("hosts", ())
            found |= {
                (one["subnet-id"], one["hw-address"]): host_of(one)
                for one in page
                if OURS in (one.get("user-context") or {}) and "hw-address" in one
            }
            if not page or "next" not in said:
                return found
            at = said["next"]

    def write(self, put: Mapping[Key, Host], drop: Collection[Key]) -> None:
        for subnet, mac in drop:
            gone = {"subnet-id": subnet, "identifier-type": "hw-address", "identifier": mac}
            self._do("reservation-del", self._family, {**gone, "operation-target": self._target})
        refused = []
        for (subnet, mac), one in put.items():
            said: dict[str, Any] = {
                "subnet-id": subnet, "hw-address": mac, "hostname": one.hostname, "client-classes": list(one.classes),
                "user-context": {OURS: True},
            }  # fmt: skip
            if self._family == 6:
                said["ip-addresses"] = list(one.addresses)
            elif one.addresses:
                said["ip-address"] = one.addresses[0]
            try:
                self._do("reservation-add", self._family, {"reservation": said, "operation-target": self._target})
            except ServerRefuses as problem:
                refused.append((mac, problem.detail))
        if refused:
            raise _refused([mac for mac, _ in refused], refused[0][1])


class HostTables:
    """In Kea's tables in PostgreSQL, as its own scripts make them (``kea-admin db-init pgsql``)."""

    def __init__(self, url: str, family: int) -> None:
        self._url, self._family = url, family

    def read(self, only: Collection[Key] | None = None) -> Mapping[Key, Host]:
        asked = (
            f"SELECT h.dhcp{self._family}_subnet_id, encode(h.dhcp_identifier, 'hex'), coalesce(h.hostname, ''), "
            f"h.ipv4_address, coalesce(h.dhcp{self._family}_client_classes, ''), "
            "(SELECT array_agg(r.address::text ORDER BY r.reservation_id) FROM ipv6_reservations r WHERE "
            f"r.host_id = h.host_id) FROM hosts h WHERE h.dhcp_identifier_type = 0 AND "
            f"h.dhcp{self._family}_subnet_id IS NOT NULL AND {_MINE}"
        )
        macs = None if only is None else [_octets(one) for one in sorted({mac for _, mac in only})]
        with _Connected(self._url) as there:
            if macs is None:
                there.execute(asked)
            else:
                there.execute(f"{asked} AND h.dhcp_identifier = ANY (%s::bytea[])", [macs])
            rows = there.fetchall()
        return {
            (subnet, ":".join(mac[at : at + 2] for at in range(0, len(mac), 2))): Host(
                hostname=name, addresses=self._addresses(four, six), classes=tuple(filter(None, classes.split(",")))
            )
            for subnet, mac, name, four, classes, six in rows
        }

    def _addresses(self, four: int | None, six: Sequence[str] | None) -> tuple[str, ...]:
        if self._family == 6:
            return tuple(one.partition("/")[0] for one in six or ())
        return () if four is None else (str(ipaddress.IPv4Address(four)),)

    def write(self, put: Mapping[Key, Host], drop: Collection[Key]) -> None:
        with _Connected(self._url) as there:
            if drop:
                there.execute(
                    "DELETE FROM hosts h USING unnest(%s::bigint[], %s::bytea[]) AS gone(subnet, mac) WHERE "
                    f"h.dhcp{self._family}_subnet_id = gone.subnet AND h.dhcp_identifier = gone.mac AND "
                    f"h.dhcp_identifier_type = 0 AND {_MINE}",
                    [[subnet for subnet, _ in drop], [_octets(mac) for _, mac in drop]],
                )
            if put:
                self._put(there, put)

    def _put(self, there: Any, put: Mapping[Key, Host]) -> None:
        four = self._family == 4
        rows = [
            (subnet, _octets(mac), one.hostname, int(ipaddress.ip_address(one.addresses[0])) if one.addresses and four
             else None, ",".join(one.classes)) for (subnet, mac), one in put.items()
        ]  # fmt: skip
        there.execute(
            f"INSERT INTO hosts (dhcp{self._family}_subnet_id, dhcp_identifier, hostname, ipv4_address, "
            f"dhcp{self._family}_client_classes, dhcp_identifier_type, user_context) SELECT *, 0, %s FROM "
            "unnest(%s::bigint[], %s::bytea[], %s::text[], %s::bigint[], %s::text[]) ON CONFLICT DO NOTHING "
            "RETURNING encode(dhcp_identifier, 'hex')",
            [json.dumps({OURS: True}), *map(list, zip(*rows, strict=True))],
        )
        made = there.fetchall()
        if not four:
            self._put_addresses(there, put)
        if len(made) < len(put):
            taken = {one for (one,) in made}
            left = [mac for _, mac in put if mac.replace(":", "") not in taken]
            there.connection.commit()
            raise _refused(left, "its hosts database has reservations for them that are not Crowbar's")

    def _put_addresses(self, there: Any, put: Mapping[Key, Host]) -> None:
        rows = [(subnet, _octets(mac), each) for (subnet, mac), one in put.items() for each in one.addresses]
        if not rows:
            return
        asked = (
            "SELECT data_type FROM information_schema.columns WHERE table_name = 'ipv6_reservations' AND "
            "column_name = 'address' AND table_schema = ANY (current_schemas(false))"
        )
        there.execute(asked)
        kind = there.fetchone()
        cast = "::inet" if kind and kind[0] == "inet" else ""  # since Kea 2.4
        there.execute(
            f"INSERT INTO ipv6_reservations (address, prefix_len, type, host_id) SELECT new.address{cast}, 128, 0, "
            "h.host_id FROM unnest(%s::bigint[], %s::bytea[], %s::text[]) AS new(subnet, mac, address) JOIN hosts h "
            f"ON h.dhcp6_subnet_id = new.subnet AND h.dhcp_identifier = new.mac AND h.dhcp_identifier_type = 0 AND "
            f"{_MINE}",
            list(map(list, zip(*rows, strict=True))),
        )


_MINE = f"position('\"{OURS}\"' in h.user_context) > 0"


class _Connected:
    """A cursor whose transaction ends with the block; what PostgreSQL says is raised as a driver's errors."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> Any:
        try:
            self._there = psycopg2.connect(self._url, connect_timeout=_CONNECT)
        except psycopg2.ProgrammingError as problem:
            raise ServerRefuses(f"Kea's hosts database cannot be told: {_line(problem)}.") from None
        except psycopg2.OperationalError as problem:
            raise ServerDown(f"Kea's hosts database does not answer: {_line(problem)}.") from None
        return self._there.cursor()

    def __exit__(self, kind: Any, problem: BaseException | None, _: Any) -> None:
        try:
            if problem is None:
                self._there.commit()
        except psycopg2.Error as other:
            problem = other
        finally:
            self._there.close()
        if isinstance(problem, psycopg2.errors.DiskFull):
            raise ServerRefuses(
                f"Kea's hosts database has no room: {_line(problem)}. What it was told before is served; make room."
            ) from None
        if isinstance(problem, psycopg2.OperationalError):
            raise ServerDown(f"Kea's hosts database does not answer: {_line(problem)}.") from None
        if isinstance(problem, psycopg2.Error):
            raise ServerRefuses(f"Kea's hosts database refuses it: {_line(problem)}.") from None


def _line(problem: BaseException) -> str:
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__).rstrip(".")


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _refused(macs: Iterable[str], why: str) -> ServerRefuses:
    several = sorted(set(macs))
    more = f" and {len(several) - 5} more" if len(several) > 5 else ""
    return ServerRefuses(f"Kea does not take {', '.join(several[:5])}{more}: {why.rstrip('.')}. The rest is served.")
