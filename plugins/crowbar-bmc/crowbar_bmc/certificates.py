"""Which certificate a BMC may show: one signed by whom this system trusts, one known by its fingerprint, or any."""

from __future__ import annotations

import hashlib
import socket
import ssl
from typing import Any

from requests.adapters import HTTPAdapter
from sushy.connector import Connector


class PinnedAdapter(HTTPAdapter):
    """Takes the certificate with this SHA-256 alone, whoever signed it."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, assert_fingerprint=self._fingerprint)


class PinnedConnector(Connector):  # type: ignore[misc]  # sushy has no types
    def __init__(self, url: str, fingerprint: str, **more: Any) -> None:
        super().__init__(url, verify=False, **more)
        self._session.mount("https://", PinnedAdapter(fingerprint))


def plain(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()


def shown(fingerprint: str) -> str:
    """As openssl prints it."""
    text = plain(fingerprint).upper()
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


def fingerprint_of(host: str, port: int, *, timeout: float) -> str:
    """That of the certificate which is there now; '' when none can be had."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=timeout) as door,
            context.wrap_socket(door, server_hostname=host) as talk,
        ):
            return shown(hashlib.sha256(talk.getpeercert(binary_form=True) or b"").hexdigest())
    except (OSError, ValueError):
        return ""
