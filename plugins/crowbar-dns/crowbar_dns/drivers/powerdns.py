"""PowerDNS, over its HTTP API: a name and type are read and replaced as a whole.

The API has no way to say "only if there is nothing yet", so it is looked right before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import requests

from crowbar_dns.comparing import Edit, Key
from crowbar_dns.drivers import TAKEN, Server, ServerDenies, ServerDown, ZoneUnserved
from crowbar_dns.names import Record

AT_ONCE = 100
_LEFT_OUT = {"SOA"}
_FAILED, _IN_A_ROW = 500, 20
"""What it says when its backend fails, of one record or because it has no room; and of how many records in a row it
says so before no more are tried."""


class PowerDns:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._address = server.addresses[0] if server.addresses else ""
        self._id = str(server.options.get("server_id", "localhost"))

    def check(self) -> None:
        self._ask("GET", "", timeout=2.0)

    def read(self, zone: str) -> list[Record]:
        answer = self._ask("GET", f"/zones/{_in_path(zone)}.")
        self._served(answer, zone)
        try:
            return [
                Record(_name(rrset["name"]), rrset["type"], _read(rrset["type"], one["content"]), int(rrset["ttl"]))
                for rrset in answer.json()["rrsets"] if rrset["type"] not in _LEFT_OUT
                for one in rrset["records"] if not one.get("disabled")
            ]  # fmt: skip
        except (ValueError, TypeError, LookupError, AttributeError):
            raise ServerDown(
                f"What answers at {self._address} port {self._server.port} is no API of PowerDNS: it names no records "
                f"of {zone}."
            ) from None

    def write(self, zone: str, edits: Sequence[Edit]) -> Mapping[Key, str]:
        taken = self._taken(zone, [one for one in edits if one.new])
        refused = dict.fromkeys(taken, TAKEN)
        left = [one for one in edits if one.key not in refused]
        waiting = [left[first : first + AT_ONCE] for first in range(0, len(left), AT_ONCE)][::-1]
        failed = 0
        while waiting:
            these = waiting.pop()
            rrsets = [_change(one) for one in these]
            answer = self._ask("PATCH", f"/zones/{_in_path(zone)}.", json={"rrsets": rrsets}, fine=(_FAILED,))
            self._served(answer, zone, (400, 422, _FAILED))
            if answer.status_code < 300:
                failed = 0
            elif len(these) == 1:
                failed += answer.status_code == _FAILED
                if failed >= _IN_A_ROW:
                    raise self._cannot(answer)
                refused[these[0].key] = _reason(answer)
            else:
                half = len(these) // 2
                waiting += [these[half:], these[:half]]
        return refused

    def _taken(self, zone: str, edits: Sequence[Edit]) -> set[Key]:
        """Which of these there is something of already."""
        if not edits:
            return set()
        there = {(one.name, one.type) for one in self.read(zone)}
        return {one.key for one in edits if one.key in there}

    def _ask(
        self, method: str, path: str, *, timeout: float | None = None, fine: Collection[int] = (), **options: Any
    ) -> requests.Response:  # fmt: skip
        problem = "it has no address"
        for address in self._server.addresses:
            self._address = address
            host = f"[{address}]" if ":" in address else address
            url = f"http://{host}:{self._server.port}/api/v1/servers/{quote(self._id, safe='')}{path}"
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    session.headers["X-API-Key"] = self._server.key
                    answer = session.request(
                        method, url, timeout=timeout or self._server.timeout, allow_redirects=False, **options
                    )
            except requests.RequestException as error:
                problem = _said(error)
                continue
            if answer.status_code in (401, 403):
                raise ServerDenies(f"The API of PowerDNS at {address} does not take the key: it must be its api-key.")
            if answer.status_code >= 500 and answer.status_code not in (501, *fine):
                raise self._cannot(answer)
            return answer
        raise ServerDown(f"The API of PowerDNS at {self._address} port {self._server.port} does not answer: {problem}.")

    def _cannot(self, answer: requests.Response) -> ServerDown:
        return ServerDown(f"The API of PowerDNS at {self._address} cannot answer now: {_reason(answer)}.")

    def _served(self, answer: requests.Response, zone: str, fine: tuple[int, ...] = ()) -> None:
        if answer.status_code == 404:
            raise ZoneUnserved(f"PowerDNS at {self._address} has no zone {zone}: make it there, or leave it out.")
        if answer.status_code >= 300 and answer.status_code not in fine:
            raise ZoneUnserved(
                f"PowerDNS at {self._address} refuses what is asked of the zone {zone}: {_reason(answer)}."
            )


def _change(one: Edit) -> dict[str, Any]:
    named = {"name": f"{one.name}.", "type": one.type}
    if not one.values:
        return {**named, "changetype": "DELETE"}
    contents = [{"content": _write(one.type, value), "disabled": False} for value in sorted(one.values)]
    return {**named, "changetype": "REPLACE", "ttl": one.ttl, "records": contents}


def _write(kind: str, value: str) -> str:
    if kind == "TXT":
        pieces = [value[at : at + 250] for at in range(0, len(value), 250)] or [""]
        return " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)
    return f"{value}." if kind in ("CNAME", "PTR", "SRV") else value


def _read(kind: str, content: str) -> str:
    if kind == "TXT":
        return _unquoted(content)
    return _name(content) if kind in ("CNAME", "PTR", "SRV", "NS") else content


def _unquoted(content: str) -> str:
    found, inside, escaped = [], False, False
    for letter in content:
        if escaped:
            found.append(letter)
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            inside = not inside
        elif inside:
            found.append(letter)
    return "".join(found)


def _name(name: str) -> str:
    return str(name).removesuffix(".").lower()


def _in_path(zone: str) -> str:
    return quote(zone, safe=".-_")


def _reason(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return "PowerDNS could not do it, its log says why" if answer.status_code == _FAILED else (
            f"HTTP status {answer.status_code}"
        )  # fmt: skip


def _said(error: BaseException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__
