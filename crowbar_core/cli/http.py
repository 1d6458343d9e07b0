"""One kept connection to a server, by the standard library: to import requests would take longer than most commands.

The environment says through which proxy (``http_proxy``, ``https_proxy``, ``all_proxy``, ``no_proxy``); the system says
whom TLS trusts.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import re
import select
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from crowbar_core.cli.later import later

environment = later("urllib.request")  # most servers are too near for a proxy

_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next\b')


class Late(TimeoutError):
    """The server has the request and does not answer in time. What it does with it nobody knows."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a server answered, whole."""

    url: str
    status_code: int
    reason: str
    headers: http.client.HTTPMessage
    content: bytes

    def json(self) -> Any:
        """Raises ``ValueError``."""
        return json.loads(self.content)

    @property
    def following(self) -> str | None:
        """Where the list goes on, as the server says it."""
        found = _NEXT.search(", ".join(self.headers.get_all("Link", ())))
        return found[1] if found else None


class Connection:
    """To the server of ``url``. ``verify``: whether its certificate is checked, or a file of authorities to trust."""

    def __init__(self, url: str, *, verify: bool | str, direct: bool, connect_seconds: float, seconds: float) -> None:
        self._server = urlsplit(url)
        self._verify = verify
        self._direct = direct
        self._connect_seconds = connect_seconds
        self._seconds = seconds
        self._kept: http.client.HTTPConnection | None = None
        self._proxied: dict[str, str] | None = None
        """What a proxy wants with each request that it passes on; None where there is none, or it only tunnels."""

    def request(self, method: str, url: str, *, body: bytes | None, headers: Mapping[str, str]) -> Response:
        """Ask this server for ``url``, and follow it nowhere. Raises ``ValueError`` for what cannot be sent, ``Late``,
        and ``OSError`` or ``HTTPException`` when there is no answer.
        """
        if self._kept is None or _has_ended(self._kept.sock):
            self.close()
            self._open()
        asked = urlsplit(url)
        path = quote(asked.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{asked.query}" if asked.query else "")
        place = path if self._proxied is None else f"{asked.scheme}://{asked.netloc}{path}"
        assert self._kept is not None
        try:
            self._kept.request(method, place, body=body, headers={**(self._proxied or {}), **headers})
            answer = self._kept.getresponse()
            content = answer.read()
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise Late from error
            raise
        return Response(
            url=url, status_code=answer.status, reason=answer.reason, headers=answer.headers, content=content
        )

    def close(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _open(self) -> None:
        host, port, secure = str(self._server.hostname), self._server.port, self._server.scheme == "https"
        proxy, asks = ("", {}) if self._direct else _proxy_for(self._server.scheme, host)
        at = urlsplit(proxy)
        if proxy and (at.scheme != "http" or not at.hostname):
            raise ValueError(f"the proxy {at.scheme}://{at.hostname} of the environment is none for HTTP")
        where = (str(at.hostname), at.port or 80) if proxy else (host, port)
        made: http.client.HTTPConnection
        if secure:
            made = http.client.HTTPSConnection(*where, timeout=self._connect_seconds, context=self._trust())
            if proxy:
                made.set_tunnel(host, port, headers=asks)
        else:
            made = http.client.HTTPConnection(*where, timeout=self._connect_seconds)
        self._proxied = asks if proxy and not secure else None
        try:
            made.connect()
        except BaseException:
            made.close()
            raise
        made.sock.settimeout(self._seconds)
        self._kept = made

    def _trust(self) -> ssl.SSLContext:
        if isinstance(self._verify, str):
            try:
                return ssl.create_default_context(cafile=self._verify)
            except OSError as error:
                raise ValueError(f"the authorities in {self._verify} cannot be read") from error
        made = ssl.create_default_context()
        if not self._verify:
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        return made


def _has_ended(sock: socket.socket | None) -> bool:
    """Whether the server has closed the connection since its last answer, after which it has nothing to say."""
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _proxy_for(scheme: str, host: str) -> tuple[str, dict[str, str]]:
    """The proxy's URL and the headers that it wants; an empty one where the environment has none for this host."""
    known = environment.getproxies()
    proxy: str = known.get(scheme) or known.get("all") or ""
    if not proxy or environment.proxy_bypass(host) or _is_within(host, known.get("no", "")):
        return "", {}
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    at = urlsplit(proxy)
    if at.username is None:
        return proxy, {}
    who = f"{unquote(at.username)}:{unquote(at.password or '')}".encode()
    return proxy, {"Proxy-Authorization": f"Basic {base64.b64encode(who).decode()}"}


def _is_within(host: str, networks: str) -> bool:
    """Whether the address is in one of the networks among the names of ``no_proxy``."""
    for network in networks.split(","):
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(network.strip(), strict=False):
                return True
        except ValueError:
            pass  # a name
    return False
