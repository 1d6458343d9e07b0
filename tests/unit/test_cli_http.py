"""How the command line's client reaches a server: one connection kept, TLS, proxies, and what cannot be sent."""

from __future__ import annotations

import json
import select
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crowbar_core.cli.client import Client
from crowbar_core.cli.errors import Unreachable
from crowbar_core.cli.profiles import Target
from crowbar_core.testing.clock import START

Proxy = Callable[[str], None]


class Asked:
    """What a server was asked: the first lines and the headers, and over how many connections."""

    def __init__(self) -> None:
        self.url = ""
        self.lines: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[Any] = set()
        self.ends = False
        """Whether it closes the connection after each answer, without saying so in it."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Asked]:
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.lines.append(f"{self.command} {self.path}")
            asked.headers.append(dict(self.headers))
            asked.connections.add(self.client_address)
            body = json.dumps({"name": "n1"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = asked.ends

        do_GET = do_PUT = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing: stderr is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    asked.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server() -> Iterator[Asked]:
    with serving() as asked:
        yield asked


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of a server at 127.0.0.1, which has signed itself; its key is in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "crowbar.test")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(START - timedelta(days=3650)).not_valid_after(START + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path / "server.pem"
    form = serialization.Encoding.PEM
    private = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(form) + private)
    return path


def client(url: str, **more: Any) -> closing[Client]:
    return closing(Client(Target(url=url, **more)))


def test_requests_go_over_one_connection_and_over_a_new_one_when_the_server_has_closed_it(server: Asked) -> None:
    with client(server.url) as api:
        api.get("nodes", "n1")
        api.put("nodes", "n1", "commit")
        assert len(server.connections) == 1
        server.ends = True
        api.put("nodes", "n1", "commit")
        # What changes something is never sent twice, so it must not be lost with a connection that has ended.
        _hear_the_end(api)
        assert api.put("nodes", "n1", "commit") == {"name": "n1"}
    assert server.lines == ["GET /api/v2/nodes/n1", *["PUT /api/v2/nodes/n1/commit"] * 3]
    assert len(server.connections) == 2


def _hear_the_end(api: Client) -> None:
    kept = api._connection._kept
    assert kept is not None
    assert kept.sock is not None
    poll = select.poll()
    poll.register(kept.sock, select.POLLIN)
    assert poll.poll(30_000)


def test_only_a_server_with_a_certificate_that_is_trusted_is_asked(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as server:
        with client(server.url) as api, pytest.raises(Unreachable, match=r"cannot be trusted \(self-signed cert.*--ca"):
            api.get("nodes", "n1")
        assert server.lines == []
        with client(server.url, verify=str(certificate)) as api:
            assert api.get("nodes", "n1") == {"name": "n1"}
        with client(server.url, verify=False) as api:
            assert api.get("nodes", "n1") == {"name": "n1"}
        with (
            client(server.url, verify="/nowhere") as api,
            pytest.raises(Unreachable, match="in /nowhere cannot be read"),
        ):
            api.get("nodes", "n1")


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """Sets the proxy of the environment, which is not asked for what lies near."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def to(url: str) -> None:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "near.test,192.0.2.0/24")

    return to


def test_a_server_far_away_is_asked_through_the_proxy_of_the_environment(server: Asked, proxies: Proxy) -> None:
    proxies(server.url.replace("//", "//eve:p%40w@"))
    with client("http://far.test:3000", token="t") as api:
        assert api.get("nodes", "n1") == {"name": "n1"}
    assert server.lines == ["GET http://far.test:3000/api/v2/nodes/n1"]
    assert server.headers[0]["Host"] == "far.test:3000"
    assert server.headers[0]["Proxy-Authorization"] == "Basic ZXZlOnBAdw=="
    assert server.headers[0]["Authorization"] == "Bearer t"


def test_a_server_near_by_is_asked_past_the_proxy(server: Asked, proxies: Proxy) -> None:
    with serving() as proxy:
        proxies(proxy.url)
        with client(server.url) as api:
            api.get("nodes", "n1")
        assert proxy.lines == []
        for near in ("http://near.test:1", "http://192.0.2.7:1"):
            connection = Client(Target(url=near))._connection
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("http.client.HTTPConnection.connect", _refuse)
                with pytest.raises(ConnectionRefusedError, match=near.partition("//")[2].partition(":")[0]):
                    connection.request("GET", f"{near}/", body=None, headers={})
        assert proxy.lines == []


def _refuse(connection: Any) -> None:
    raise ConnectionRefusedError(f"asked {connection.host}")


def test_a_token_that_no_header_can_carry_is_not_shown(server: Asked) -> None:
    for token in ("cb_1_secret\nX: y", "cb_1_secret☃"):
        with (
            client(server.url, token=token) as api,
            pytest.raises(Unreachable, match="cannot be made: the token") as no,
        ):
            api.get("nodes", "n1")
        assert "secret" not in no.value.detail
    assert server.lines == []
