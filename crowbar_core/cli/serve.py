"""The processes: `serve` (all in one), `web` (pages and API), `annealer`.

gunicorn's master only watches; everything is built in its worker, after the fork, so that no connection and no thread
is shared between processes. The worker speaks HTTP through waitress (``web.server`` says why). The socket is opened
here and handed over as a file descriptor: an address that cannot be had is one sentence, and a socket inherited from
another process (`fd://N`) goes the same way.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import click
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from crowbar_core.cli.errors import FAILED
from crowbar_core.cli.local import settings_options
from crowbar_core.cli.output import say
from crowbar_core.errors import ConfigError, CrowbarError
from crowbar_core.services.build import build_parts, spare_the_collector
from crowbar_core.services.engine.engine import Engine
from crowbar_core.services.engine.supervisor import Supervisor
from crowbar_core.services.people import users
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.watch.processes import Presence, tell_problems
from crowbar_core.settings import Settings
from crowbar_core.web.app import create_app
from crowbar_core.web.memory import few_arenas
from crowbar_core.web.server import HttpServer

STOP_SECONDS = 25.0
"""How long the engine may take to stop; what runs after two thirds of it is handed back."""
WIZARD = "/wizard"
"""Where a barclamp asks what is needed first."""
DRAIN_SECONDS = 5
"""How long open requests (event streams among them) may go on after the order to stop."""


@click.command("serve")
@click.option("--wizard", is_flag=True, help="Say where the first questions are answered (crowbar-wizard).")
@settings_options
def serve(settings: Settings, wizard: bool) -> None:
    """Run everything in one process: pages, API, annealer and, with the queue `threads`, the execution of runs."""
    _run(settings, workers=1, engine=True, wizard=wizard)


@click.command("web")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that answer requests."
)
@settings_options
def web(settings: Settings, workers: int) -> None:
    """Run the pages and the API without an annealer; any number of them, on PostgreSQL."""
    _run(settings, workers=workers, engine=False)


@click.command("annealer")
@settings_options
def annealer(settings: Settings) -> None:
    """Run an annealer without pages; any number of them, on PostgreSQL.

    With the queue `threads` it executes runs, too.
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopped.set())
    parts = build_parts(settings)
    try:
        spare_the_collector()
        engine = Engine(parts)
        engine.start(executor=settings.queue == "threads", sweeper=True)
        presence = _presence(parts, engine)
        try:
            presence.start()
            tell_problems(parts)
            say(f"The annealer is at work (queue {settings.queue}, concurrency {settings.concurrency}).")
            stopped.wait()
            say("The annealer stops: it takes nothing new, and what runs finishes or is handed back.")
        finally:
            engine.stop(STOP_SECONDS)
            presence.stop()
    finally:
        parts.close()


def _presence(parts: Parts, engine: Engine | None, *, web: bool = False) -> Presence:
    """What this process is among the others."""
    kinds = ["web"] if web else []
    executes = engine is not None and parts.settings.queue == "threads"
    kinds += ["annealer"] if engine is not None else []
    kinds += ["worker"] if executes else []
    concurrency = engine.runner.concurrency if engine is not None and executes else 0
    return Presence(parts, kinds, name=engine.name if engine is not None else "", concurrency=concurrency)


def listening(where: str) -> socket.socket:
    """The socket for `HOST:PORT`, `[IPv6]:PORT` or `fd://N`. Raises ``ConfigError``."""
    if where.startswith("fd://"):
        return _inherited(where)
    host, colon, port = where.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"listen is {where!r}; it must be HOST:PORT, like 127.0.0.1:3000 or [::1]:3000, or fd://N.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(1024)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen at {where}: {error.strerror}. Choose another address with --listen."
        ) from error
    return made


def _inherited(where: str) -> socket.socket:
    number = where.removeprefix("fd://")
    try:
        handle = int(number)
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            raise ConfigError(f"listen is {where!r}, but file descriptor {handle} is no socket.")
    except (ValueError, OSError, OverflowError) as error:
        raise ConfigError(f"listen is {where!r}, but there is no such file descriptor in this process.") from error
    return socket.socket(fileno=handle)


def url_of(sock: socket.socket) -> str:
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name!s}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


class _Log(Logger):  # type: ignore[misc,unused-ignore]
    """gunicorn's log without its farewell after a failed start: the worker has said in one sentence what is wrong."""

    def error(self, msg: Any, *args: Any, **extra: Any) -> None:
        if Arbiter.APP_LOAD_ERROR in args or str(msg).startswith(("Shutting down", "Reason: ")):
            return
        super().error(msg, *args, **extra)


class _Worker(Worker):  # type: ignore[misc,unused-ignore]  # gunicorn has no types
    """One process that answers requests. It stops the engine as soon as it is told to end; Ctrl-C is like SIGTERM."""

    app: _Service
    server: HttpServer | None = None

    def run(self) -> None:
        listener: Any = self.sockets[0]  # gunicorn's own kind of socket, whatever its types say
        server = self.server = HttpServer(self.wsgi, listener.sock, threads=self.app.settings.http_threads)
        server.serve(self._goes_on)
        self.app.begin_stop()
        server.drain(DRAIN_SECONDS)

    def _goes_on(self) -> bool:
        self.notify()
        return self.alive and self.ppid == os.getppid()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.alive = False
        self.app.begin_stop()
        if self.server is not None:
            self.server.wake()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        self.handle_exit(sig, frame)


class _Service(BaseApplication):  # type: ignore[misc,unused-ignore]
    """What gunicorn runs. Only ``load`` and what follows it happen in the worker process."""

    def __init__(
        self, settings: Settings, sock: socket.socket, *, workers: int, engine: bool, wizard: bool = False
    ) -> None:
        self.settings = settings
        self.wizard = wizard
        self.address = url_of(sock)
        self.handle = sock.detach()
        self.workers = workers
        self.with_engine = engine
        self.parts: Parts | None = None
        self.engine: Engine | None = None
        self.supervisor: Supervisor | None = None
        self.presence: Presence | None = None
        self.stopping: threading.Thread | None = None
        self.stop_waiting: Callable[[], None] = lambda: None
        super().__init__()

    def load_config(self) -> None:
        for name, value in {
            "bind": f"fd://{self.handle}",
            "workers": self.workers,
            "worker_class": _Worker,
            "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,
            # A migration may take minutes. A worker whose parent is gone ends by itself within a second.
            "timeout": 0,
            # The worker's own patience is DRAIN_SECONDS; the master waits for the engine, too.
            "graceful_timeout": int(STOP_SECONDS + 2 * DRAIN_SECONDS),
            "loglevel": "warning",
            "logger_class": _Log,
            "control_socket_disable": True,
            "proc_name": "crowbar",
            "post_worker_init": _ready,
            "worker_exit": _left,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        few_arenas()
        try:
            app = create_app(self.settings)
            self.parts = app.extensions["crowbar"]
            self.stop_waiting = app.extensions["crowbar-waiting"].stop
            assert isinstance(self.parts, Parts)
            password = users.ensure_admin(self.parts)
            if self.with_engine:
                spare_the_collector()
                self.engine = Engine(self.parts)
                self.engine.start(executor=self.settings.queue == "threads", sweeper=True)
                self.supervisor = Supervisor(self.parts)
                self.supervisor.start()
            self.presence = _presence(self.parts, self.engine, web=True)
            self.presence.start()
            tell_problems(self.parts)
        except CrowbarError as error:
            say(f"Error: {error.detail}")
            sys.exit(Arbiter.APP_LOAD_ERROR)
        if password is not None:
            say(f"The user admin was made, with the password {password} (it is not shown again).")
        if self.wizard or password is not None:
            self._tell_of_questions(app)
        return app

    def _tell_of_questions(self, app: Any) -> None:
        """Where this installation can be set up in the browser, if a barclamp brings the page."""
        if any(rule.rule == WIZARD for rule in app.url_map.iter_rules()):
            say(f"Set this server up at {self.address}{WIZARD}.")
        elif self.wizard:
            say("There are no first questions to be answered: crowbar-wizard is not installed.")

    def begin_stop(self) -> None:
        """Stop the engine and the services beside the requests that are still being answered, of which those that wait
        end now. A second call does nothing.
        """
        self.stop_waiting()
        if self.supervisor is not None:
            self.supervisor.begin_stop()
        if self.stopping is None and self.engine is not None:
            self.stopping = threading.Thread(target=self.engine.stop, args=(STOP_SECONDS,), name="stop", daemon=True)
            self.stopping.start()

    def finish(self) -> None:
        """Wait until the engine has stopped, and close everything."""
        self.begin_stop()
        if self.stopping is not None:
            self.stopping.join(STOP_SECONDS + DRAIN_SECONDS)
        if self.supervisor is not None:
            self.supervisor.stop()
        if self.presence is not None:
            self.presence.stop()
        if self.parts is not None:
            self.parts.close()


def _ready(worker: Any) -> None:
    if worker.age == 1:  # the first of several, and not one that replaces another
        say(f"Crowbar is at {worker.app.address}")


def _left(_server: Any, worker: Any) -> None:
    if not worker.booted:
        return  # it could not start; its exit code says so to the master
    try:
        worker.app.finish()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads that hold an open event stream would keep the interpreter from ending.
        os._exit(0)


def _run(settings: Settings, *, workers: int, engine: bool, wizard: bool = False) -> None:
    service = _Service(settings, listening(settings.listen), workers=workers, engine=engine, wizard=wizard)
    master = os.getpid()
    try:
        service.run()
    except SystemExit as ending:
        if os.getpid() != master:
            raise  # a worker, which was forked below us: its exit code is for the master
        if ending.code in (Arbiter.APP_LOAD_ERROR, Arbiter.WORKER_BOOT_ERROR):
            raise click.exceptions.Exit(FAILED) from None
        raise click.exceptions.Exit(
            ending.code if isinstance(ending.code, int) and ending.code >= 0 else FAILED
        ) from None
