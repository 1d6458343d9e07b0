"""Requests that came through a proxy: from where, and over TLS or not, if the proxy is one that we believe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from crowbar_core.errors import ConfigError

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class BehindProxy:
    """Take ``X-Forwarded-For`` and ``X-Forwarded-Proto`` from trusted neighbours, and from nobody else.

    Only the last entry counts: it is the one that the neighbour itself has written. Host is passed on by the proxy.
    """

    def __init__(self, app: Application, trusted: Sequence[str]) -> None:
        self._app = app
        self._fixed = ProxyFix(app, x_for=1, x_proto=1)
        self._trusted = [_network(text) for text in trusted]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._trusts(environ.get("REMOTE_ADDR", "")):
            return self._fixed(environ, start_response)
        for name in [name for name in environ if name.startswith("HTTP_X_FORWARDED_")]:
            del environ[name]
        return self._app(environ, start_response)

    def _trusts(self, neighbour: str) -> bool:
        if neighbour == "localhost":  # on a Unix socket, which its file's permissions guard
            return True
        try:
            address = ip_address(neighbour)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._trusted)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"trusted_proxies names {text!r}, which is no address or network, like 127.0.0.1 or 10.0.0.0/24."
        ) from error
