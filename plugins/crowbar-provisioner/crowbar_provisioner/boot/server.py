"""The service itself: a fixed table of addresses, behind a server that gives no thread to a machine that is slow.

Requests are read and answers sent in one loop; a thread has a request only while it is answered. Files are read as they
are taken, never into memory.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from waitress import wasyncore
from waitress.server import create_server
from waitress.trigger import trigger
from werkzeug.wrappers import Request, Response

from crowbar_core import BadInput, CancelFlag, ConfigError, CrowbarError, NotFound, Refused, cluster
from crowbar_provisioner.boot import (
    alive,
    answer_file,
    burned,
    erased,
    image,
    join,
    last_lines,
    loader,
    os_image,
    register,
    source,
    steps,
    tree,
    work,
)
from crowbar_provisioner.boot.answers import NotHere, Unauthorized, answer
from crowbar_provisioner.boot.loading import LOADERS, prepare
from crowbar_provisioner.boot.script import Scripts
from crowbar_provisioner.consoles import listening as consoles
from crowbar_provisioner.inventory import LARGEST
from crowbar_provisioner.settings import Settings

NAME = "provisioner-boot"
THREADS = 8
log = logging.getLogger("crowbar.provisioner")
_STATUS = ((Unauthorized, 401), (NotHere, 404), (NotFound, 404), (BadInput, 422), (Refused, 409))
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")

IMAGE = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

Endpoint = Callable[..., Response]


class Application:
    def __init__(self) -> None:
        self.routes: Sequence[tuple[str, re.Pattern[str], Endpoint]] = (
            ("GET", re.compile(r"/boot\.ipxe"), loader.first),
            ("GET", re.compile(f"/({'|'.join(map(re.escape, LOADERS))})"), loader.loader),
            ("GET", re.compile(r"/ipxe"), Scripts().give),
            ("GET", re.compile(r"/b/([A-Za-z0-9_-]{43})/([a-z.]{1,32})"), image.give),
            ("GET", re.compile(r"/b/([A-Za-z0-9_-]{43})/answers/([a-z.-]{1,32})"), answer_file.give),
            ("GET", re.compile(r"/b/([A-Za-z0-9_-]{43})/tree/([A-Za-z0-9._+~^=,@%:/-]{1,500})"), tree.give),
            ("POST", re.compile(r"/v1/register"), register.hear),
            ("POST", re.compile(r"/v1/alive"), alive.hear),
            ("POST", re.compile(r"/v1/steps"), steps.hear),
            ("POST", re.compile(r"/v1/log"), last_lines.hear),
            ("GET", re.compile(r"/v1/work"), work.give),
            ("POST", re.compile(r"/v1/source"), source.give),
            ("POST", re.compile(r"/v1/erased"), erased.hear),
            ("POST", re.compile(r"/v1/burned"), burned.hear),
            ("GET", re.compile(r"/join/([A-Za-z0-9_-]{43})"), join.give),
            ("POST", re.compile(r"/v1/join"), join.hear),
            ("POST", re.compile(r"/v1/join/alive"), join.alive),
            ("GET", re.compile(f"/v1/images/({IMAGE})"), os_image.give),
            ("GET", re.compile(f"/v1/images/({IMAGE})/sums"), os_image.Summed().give),
        )

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = LARGEST
        try:
            found = self._answer(request)
        except CrowbarError as error:
            status = next((code for kind, code in _STATUS if isinstance(error, kind)), 503)
            found = answer({"error": error.detail}, status)
            if status == 503:
                found.headers["Retry-After"] = "2"
        except Exception:
            log.exception("a boot request failed: %s %s", request.method, request.path)
            found = answer({"error": "This could not be answered."}, 500)
        return found(environ, start)

    def _answer(self, request: Request) -> Response:
        here = [(method, hit, to) for method, form, to in self.routes if (hit := form.fullmatch(request.path))]
        if not here:
            raise NotHere("Nothing is here.")
        for method, hit, endpoint in here:
            if request.method in (method, "HEAD" if method == "GET" else method):
                return endpoint(request, *hit.groups())
        return answer({"error": f"This takes {here[0][0]} alone."}, 405)


def run(stopped: CancelFlag) -> None:
    """Serve until told to stop. Raises ``ConfigError`` where it cannot listen."""
    settings = cluster().settings(Settings)
    for line in prepare(settings.root):
        log.warning("a boot loader is not served: %s", line)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(listening(one)) for one in settings.listen]
        with serving(sockets, connections=settings.downloads), consoles.listening():
            while not stopped.is_set():
                stopped.wait(1.0)


def listening(where: str) -> socket.socket:
    """Raises ``ConfigError``."""
    hit = _LISTEN.fullmatch(where)
    if hit is None or int(hit[3]) > 65535:
        raise ConfigError(f"The boot service cannot listen at {where!r}: say it as 10.0.0.1:8091 or [fd00::1]:8091.")
    family = socket.AF_INET6 if hit[1] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hit[1]:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((hit[1] or hit[2], int(hit[3])))
    except OSError as problem:
        made.close()
        raise ConfigError(f"The boot service cannot listen at {where}: {problem.strerror}.") from None
    return made


@contextlib.contextmanager
def serving(sockets: Sequence[socket.socket], *, connections: int) -> Iterator[None]:
    """Serve in a thread while the block lasts."""
    here = contextvars.copy_context()
    application = Application()

    def inside(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        # Threads of the server know nothing of the cluster that the service belongs to.
        found: Iterable[bytes] = here.copy().run(application, environ, start)
        return found

    channels: dict[int, Any] = {}
    server = create_server(
        inside, map=channels, sockets=list(sockets), threads=THREADS, connection_limit=connections,
        channel_timeout=60, max_request_body_size=LARGEST, max_request_header_size=16384, ident="",
        expose_tracebacks=False, clear_untrusted_proxy_headers=True,
    )  # fmt: skip
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            wasyncore.loop(timeout=1, use_poll=True, map=channels, count=1)

    thread = threading.Thread(target=loop, name=NAME, daemon=True)
    thread.start()
    log.info("boot files are served at %s", ", ".join(str(one.getsockname()[:2]) for one in sockets))
    try:
        yield
    finally:
        # Nothing is closed while the loop may still wait for it, or a thread still wants to wake the loop.
        ended.set()
        for one in list(channels.values()):
            if isinstance(one, trigger):
                one.pull_trigger()
        thread.join()
        server.task_dispatcher.shutdown()
        wasyncore.close_all(channels, ignore_all=True)
