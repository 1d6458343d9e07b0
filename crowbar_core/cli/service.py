"""`crowbar service NAME`: carries out one service of a barclamp, in this process."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable

import click

from crowbar_core import logs
from crowbar_core.cli.local import settings_options
from crowbar_core.cli.output import say
from crowbar_core.logs import log
from crowbar_core.services.build import build_parts
from crowbar_core.services.engine.standing import Standing, service_of
from crowbar_core.services.engine.supervisor import PATIENCE, TOLD
from crowbar_core.services.watch.processes import Presence, tell_problems
from crowbar_core.services.watch.workers import worker_name
from crowbar_core.settings import Settings


@click.command("service")
@click.argument("name")
@click.option("--supervised", is_flag=True, hidden=True, help="By `crowbar serve`, which gives the settings.")
@settings_options
def service(settings: Settings, name: str, supervised: bool) -> None:
    """Carry out one service of a barclamp; `crowbar serve` does that by itself, for all that `disabled_services` does
    not name.
    """
    if supervised:
        settings = pickle.load(sys.stdin.buffer)
        logs.configure(settings)
    # Supervised, everything was put in order by whoever supervises.
    parts = build_parts(settings, migrate=not supervised, record=not supervised)
    code = 0
    try:
        barclamp, found = service_of(parts.registry, name)
        holder = worker_name()
        standing = Standing(parts, barclamp, found, holder=holder, give_up=lambda: _end(1))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: standing.stop())
        _spawn(lambda: _end_when_stopped(standing))
        if supervised:
            _spawn(lambda: _stop_with_parent(standing))
        else:
            tell_problems(parts)
        presence = Presence(parts, [f"service {name}"], name=holder)
        presence.start()
        try:
            if not supervised:
                say(f"The service {name} is at work.")
            standing.run()
        except (Exception, SystemExit) as error:
            if not supervised:
                raise
            log.exception("service failed", service=name, error=str(error))
            code = TOLD
        finally:
            presence.stop()
    finally:
        parts.close()
    sys.stdout.flush()
    sys.stderr.flush()
    _end(code)  # whatever threads the service has left


def _spawn(target: Callable[[], None]) -> None:
    threading.Thread(target=target, daemon=True).start()


def _end_when_stopped(standing: Standing) -> None:
    standing.stopped.wait()
    if not standing.ended.wait(PATIENCE):
        log.error("service does not stop, and is ended", service=standing.service.name)
        _end(1)


def _stop_with_parent(standing: Standing) -> None:
    """Nothing is ever said on standard input: that it ends means that whoever supervises has."""
    while os.read(0, 1024):
        pass
    _orphaned.set()
    standing.stop()


_orphaned = threading.Event()
"""Nobody is left who would end what this process has started."""


def _end(code: int) -> None:
    """End this process now, whatever its threads do."""
    if _orphaned.is_set():
        os.killpg(0, signal.SIGKILL)
    os._exit(code)
