"""What barclamps do by themselves, for tests: their services, in a thread, and their periodic jobs, when asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crowbar_core.barclamp import Periodic, serving
from crowbar_core.errors import CrowbarError, NotFound
from crowbar_core.services.engine.seat import LiveCluster, named
from crowbar_core.services.engine.standing import Standing, service_of
from crowbar_core.services.turns.parts import Parts


class NotQuiet(CrowbarError):
    """The cluster did not come to rest; the message says what goes on, and why."""

    code = "not-quiet"


@contextmanager
def service_at_work(parts: Parts, name: str, within: float) -> Iterator[None]:
    barclamp, found = service_of(parts.registry, name)
    standing = Standing(parts, barclamp, found)
    raised: list[BaseException] = []

    def carry_out() -> None:
        try:
            standing.run()
        except BaseException as error:  # noqa: BLE001  raised again where the block ends
            raised.append(error)

    thread = threading.Thread(target=carry_out, name=f"service-{name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        standing.stop()
        thread.join(within)
    if thread.is_alive():
        raise NotQuiet(f"Service {name} did not stop within {within:g} s.")
    if raised:
        raise raised[0]


def call_periodic(parts: Parts, name: str) -> None:
    registered = parts.registry.registered("register_periodic", Periodic)
    known = {job.name: (barclamp.name, job) for barclamp, jobs in registered for job in jobs}
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        raise NotFound(f"No loaded barclamp brings a periodic job {name!r}; there are: {there}.")
    barclamp, job = known[name]
    with serving(LiveCluster(parts, named(barclamp))):
        job.run()
