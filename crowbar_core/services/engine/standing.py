"""A service of a barclamp, in the process that carries it out: told when to stop, and alone by a lease where it leads.

Whoever has lost the lease must not go on: it ends within the time for which the lease was its, whatever it is doing.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta

from crowbar_core.barclamp import Service, serving
from crowbar_core.errors import CrowbarError, NotFound, told
from crowbar_core.logs import log
from crowbar_core.plugins import Registry
from crowbar_core.questions import Unanswered
from crowbar_core.services.engine.seat import LiveCluster, named
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.watch.workers import has_died, worker_name
from crowbar_core.store import events, leases

STEADY_SECONDS = 10.0
"""A service that has run for so long is well again, whatever was before."""


def services(registry: Registry) -> list[tuple[str, Service]]:
    """(barclamp, service) of all; of two that are called alike the first, and that is shown."""
    found: dict[str, tuple[str, Service]] = {}
    for barclamp, brought in registry.registered("register_services", Service):
        for one in brought:
            if one.name in found:
                said = f"there is a service {one.name!r} already, of barclamp {found[one.name][0]}"
                registry.note_unregistered(barclamp.name, "register_services", said)
            else:
                found[one.name] = (barclamp.name, one)
    return list(found.values())


def service_of(registry: Registry, name: str) -> tuple[str, Service]:
    """(its barclamp, the service). Raises ``NotFound``."""
    known = {service.name: (barclamp, service) for barclamp, service in services(registry)}
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        raise NotFound(f"No loaded barclamp brings a service {name!r}; there are: {there}.")
    return known[name]


class Standing:
    """One service, from ``run`` to its end. ``stop`` may be called from any thread; it is what ``run`` is given to
    look at.
    """

    def __init__(
        self, parts: Parts, barclamp: str, service: Service, *, holder: str = "",
        give_up: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """``holder``: by which name it holds the lease. ``give_up`` ends the process: what was asked to stop has not,
        and its lease is about to be somebody else's.
        """
        self.parts = parts
        self.barclamp = barclamp
        self.service = service
        self.stopped = threading.Event()
        self._holder = holder or worker_name()
        self._give_up = give_up
        self.ended = threading.Event()

    def stop(self) -> None:
        self.stopped.set()

    def run(self) -> None:
        """Carry it out until it is told to stop. Raises what it raises, when that is written down; ``CrowbarError``
        when it has ended by itself.
        """
        if self.service.leader and not self._take_lease():
            return
        keeping = threading.Thread(target=self._keep, name=f"crowbar-service-{self.service.name}", daemon=True)
        keeping.start()
        try:
            log.info("service begins", service=self.service.name, barclamp=self.barclamp)
            with serving(LiveCluster(self.parts, named(self.barclamp))):
                self.service.run(self.stopped)
            if not self.stopped.is_set():
                raise CrowbarError("it ended by itself")
        except (Exception, SystemExit) as error:
            note(self.parts, self.barclamp, self.service.name, told_shortly(error), traceback.format_exc())
            raise
        finally:
            self.ended.set()
            keeping.join(timeout=2.0)
            self._leave_lease()

    # ------------------------------------------------------------ the lease

    @property
    def _lease(self) -> str:
        return events.service_name(self.service.name)

    def _take_lease(self) -> bool:
        """Wait until it is ours. False: it was told to stop before."""
        waits = False
        while not self.stopped.is_set():
            try:
                if self._renew():
                    return True
                if not waits:
                    log.info("service stands by: another process leads", service=self.service.name)
                    waits = True
            except CrowbarError as error:
                log.warning("the lease of a service cannot be had", service=self.service.name, error=error.detail)
            self.stopped.wait(min(self.parts.settings.leader_seconds / 3, 1.0))
        return False

    def _renew(self) -> bool:
        store = self.parts.store
        with store.write(graph=False) as session:
            now = store.now(session)
            until = now + timedelta(seconds=self.parts.settings.leader_seconds)
            return leases.take(session, self._lease, self._holder, now, until, is_dead=has_died)

    def _keep(self) -> None:
        """Renew the lease while it runs, and say that it is well when it has run for long enough."""
        begun = renewed = time.monotonic()
        seconds, steady = self.parts.settings.leader_seconds, False
        while not self.ended.wait(min(seconds / 3, 1.0)):
            now = time.monotonic()
            if self.service.leader and now - renewed >= seconds / 3:
                renewed = self._renewed(renewed)
                if time.monotonic() - renewed > seconds * 2 / 3:
                    log.error("a service has lost its lease, and stops", service=self.service.name)
                    self.stopped.set()
                    if not self.ended.wait(max(0.0, renewed + seconds - time.monotonic())):
                        self._give_up()
                    return
            if not steady and now - begun >= STEADY_SECONDS:
                steady = forget(self.parts, self.barclamp, self.service.name)

    def _renewed(self, before: float) -> float:
        """When the lease was last known to be ours."""
        asked = time.monotonic()
        try:
            return asked if self._renew() else float("-inf")
        except CrowbarError as error:
            log.warning("the lease of a service cannot be renewed", service=self.service.name, error=error.detail)
            return before

    def _leave_lease(self) -> None:
        if self.service.leader:
            try:
                with self.parts.store.write(graph=False) as session:
                    leases.give_up(session, self._lease, self._holder)
            except CrowbarError as error:
                log.warning("the lease could not be given up; it will end by itself", error=error.detail)


def told_shortly(error: BaseException) -> str:
    return error.detail if isinstance(error, CrowbarError) else told(error)


def note(parts: Parts, barclamp: str, name: str, error: str, trace: str = "") -> None:
    """Everybody is to see that a service failed, until it has run well for a while."""
    log.error("service failed", service=name, barclamp=barclamp, error=error)
    said = Unanswered(plugin=barclamp, hook=events.service_name(name), subject="", error=error, traceback=trace)
    try:
        with parts.store.write(graph=False) as session:
            events.note_unanswered(session, parts.store.now(session), [said])
    except CrowbarError as problem:
        log.warning("that a service failed could not be written down", service=name, error=problem.detail)


def forget(parts: Parts, barclamp: str, name: str) -> bool:
    """It is well. False: that could not be written down."""
    try:
        with parts.store.write(graph=False) as session:
            events.forget_error(session, barclamp, events.service_name(name))
    except CrowbarError as problem:
        log.warning("that a service is well could not be written down", service=name, error=problem.detail)
        return False
    return True
