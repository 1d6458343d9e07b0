"""Listens to the consoles of machines on which something is under way, and writes down their last lines.

In threads of the boot service, one for each machine: who hears a console has nothing else to do. It is nobody's if none
of the node's hammers knows of one.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, exists, or_, select

from crowbar_core import CrowbarError, cluster
from crowbar_core.tables import nodes
from crowbar_provisioner import installs
from crowbar_provisioner.burning import burn_ins
from crowbar_provisioner.choosing import ACCEPTED
from crowbar_provisioner.consoles.keeping import CONSOLE, keep
from crowbar_provisioner.consoles.tail import Tail
from crowbar_provisioner.erasing import erasures
from crowbar_provisioner.tables import burn_ins as burn_in_rows
from crowbar_provisioner.tables import erasures as erasure_rows
from crowbar_provisioner.tables import installs as install_rows
from crowbar_provisioner.tables import machines

MOST = 64
"""Machines that are listened to at once."""
EVERY = 2.0
AGAIN, NO_CONSOLE = 20.0, 120.0
"""Seconds before a console is asked for again that broke off, or that no hammer knows of."""
log = logging.getLogger("crowbar.provisioner")


class Ear:
    """Listens to one machine, in a thread of its own, until ``stopped``."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.tail = Tail()
        self.stopped = threading.Event()
        here = contextvars.copy_context()  # a thread knows nothing of the cluster
        self.thread = threading.Thread(target=here.run, args=(self._listen,), name=f"console {node}", daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        told = ""
        while not self.stopped.is_set():
            pause = AGAIN
            try:
                pause = AGAIN if cluster().console(self.node, self.tail.add, self.stopped) else NO_CONSOLE
            except CrowbarError as problem:
                if problem.detail != told:
                    told = problem.detail
                    log.info("the console of %s is not heard: %s", self.node, told)
            except Exception:  # whatever it is, the others are listened to
                log.exception("the console of %s is not heard", self.node)
            self.stopped.wait(pause)


class Listening:
    """``look`` again and again: who is to be heard is, and what was heard is written down."""

    def __init__(self) -> None:
        self.ears: dict[int, Ear] = {}

    def look(self) -> None:
        with cluster().read() as session:
            wanted = _wanted(session)
        over = [ref for ref, one in self.ears.items() if wanted.get(ref) != one.node]
        for ref in over:
            self.ears[ref].stopped.set()
        self._write()
        for ref in over:
            del self.ears[ref]
        for ref, node in wanted.items():
            if ref not in self.ears and len(self.ears) < MOST:
                self.ears[ref] = Ear(node)

    def _write(self) -> None:
        if any(one.tail.changed for one in self.ears.values()):
            with cluster().change() as change:
                for ref, one in self.ears.items():
                    if one.tail.changed and (lines := one.tail.lines()):
                        keep(change, ref, CONSOLE, lines)

    def close(self) -> None:
        for one in self.ears.values():
            one.stopped.set()
        for one in self.ears.values():
            one.thread.join(10)


def _wanted(session: Any) -> dict[int, str]:
    """Node id -> name: where something is under way, or a boot is expected."""
    of = machines.c.node_id
    busy = [
        exists().where(rows.c.node_id == of, rows.c.state.in_(open_))
        for rows, open_ in (
            (install_rows, installs.OPEN),
            (erasure_rows, erasures.OPEN),
            (burn_in_rows, burn_ins.OPEN),
        )
    ]
    asked = (
        select(nodes.c.id, nodes.c.name)
        .join(machines, of == nodes.c.id)
        .where(and_(machines.c.state == ACCEPTED, or_(*busy, machines.c.expected_until > datetime.now(UTC))))
        .order_by(machines.c.id)
        .limit(MOST)
    )
    return {one.id: one.name for one in session.execute(asked).all()}


@contextlib.contextmanager
def listening() -> Iterator[Listening]:
    """While the block lasts, in a thread that looks every two seconds."""
    ended = threading.Event()
    made = Listening()

    def go_on() -> None:
        while not ended.wait(EVERY):
            try:
                made.look()
            except CrowbarError as problem:
                log.warning("consoles are not looked at: %s", problem.detail)
            except Exception:
                log.exception("consoles are not looked at")

    here = contextvars.copy_context()
    thread = threading.Thread(target=here.run, args=(go_on,), name="consoles", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        ended.set()
        thread.join()
        made.close()
