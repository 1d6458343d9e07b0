"""What the scripts of the discovery image tell is sent until it is heard, or refused: by the shell of that image."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_provisioner.sledgehammer import build

from .light import served

SBIN = Path(build.__file__).parent / "root/sbin"
BUSYBOX = shutil.which("busybox") or "/bin/busybox"


class Service(http.server.ThreadingHTTPServer):
    """Answers as ``statuses`` say, one each time, and 200 once they are empty."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.statuses: list[int] = []
        self.heard: list[tuple[str, str, str]] = []


class _Asked(http.server.BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.heard.append((self.path, self.headers["Authorization"], body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"answer")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with served(Service()) as made:
        yield made


def run(service: Service, home: Path, what: str) -> list[str]:
    """The lines that it prints; ``sleep`` passes at once, and says for how long it was to be."""
    (home / "bin").mkdir()
    for name in ("wget", "timeout", "cat", "dmesg", "tail"):
        (home / "bin" / name).symlink_to(BUSYBOX)
    (home / "bin" / "jq").symlink_to(shutil.which("jq") or "/usr/bin/jq")
    (home / "told").write_text('{"is": "told"}')
    url = f"http://127.0.0.1:{service.server_address[1]}"
    program = f'url={url} token=t told={home}/told\nsleep() {{ echo "$1"; }}\n. {SBIN}/tell.sh\n{what}\n'
    done = subprocess.run(
        [BUSYBOX, "sh", "-c", program], env={"PATH": str(home / "bin")}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("most, pauses", [("", ["1", "2", "4", "8", "16", "32", "32"]), ("1", ["1"] * 7)])
def test_what_is_not_heard_is_sent_again_after_pauses(
    service: Service, tmp_path: Path, most: str, pauses: list[str]
) -> None:  # fmt: skip
    service.statuses = [503, 500, 404, 429, 503, 503, 503]
    assert run(service, tmp_path, f'send /v1/steps "$told" {most}; echo "ended with $?"') == [*pauses, "ended with 0"]
    assert service.heard == [("/v1/steps", "Bearer t", '{"is": "told"}')] * 8


@pytest.mark.parametrize("status", [401, 409, 422])
def test_what_is_refused_is_not_sent_again_and_why_is_known(service: Service, tmp_path: Path, status: int) -> None:
    service.statuses = [status]
    ended, said = run(service, tmp_path, 'send /v1/steps "$told"; echo "ended with $?"; echo "$said"')
    assert (ended, f" {status} " in said, len(service.heard)) == ("ended with 1", True, 1)


def test_an_answer_is_kept_where_it_is_wanted(service: Service, tmp_path: Path) -> None:
    kept = tmp_path / "answer"
    assert run(service, tmp_path, f'limit=20 answer={kept}; talk /v1/alive "$told" && cat {kept}') == ["answer"]


@pytest.mark.parametrize("status", [200, 503, 409])
def test_last_lines_are_sent_once_whatever_is_in_them(service: Service, tmp_path: Path, status: int) -> None:
    (tmp_path / "odd.log").write_bytes(b'"quoted" \\ \x1b[31mred\xff\n' + b"x" * 3000 + b"\nlast\n")
    service.statuses = [status]
    what = f"own={tmp_path}; last_words {tmp_path}/odd.log {tmp_path}/none.log; echo ended"
    assert run(service, tmp_path, what) == ["ended"]
    ((path, _, body),) = service.heard
    lines = json.loads(body)["lines"]
    assert path == "/v1/log"
    assert lines[-5:] == [f"{tmp_path}/odd.log:", '"quoted" \\ \x1b[31mred\ufffd', "x" * 500, "last", ""]
    assert len(lines) <= 100
