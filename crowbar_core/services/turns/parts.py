"""What a running Crowbar consists of: settings, database, plugins, queue, and what wakes its threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cryptography.fernet import Fernet

from crowbar_core.barclamp import Change
from crowbar_core.plugins import Registry
from crowbar_core.services.turns.secrets import load_key
from crowbar_core.settings import Settings
from crowbar_core.store.db import Store

if TYPE_CHECKING:  # a turn is made of the parts, and two of the parts are called with a turn
    from crowbar_core.services.turns.turn import Turn


class Queue(Protocol):
    """A doorbell: carries ids of queued runs to where they are executed. It may lose them; the sweep rings again."""

    def ring(self, run_ids: Sequence[int]) -> None:
        """Never raises, never blocks for long."""

    def close(self) -> None: ...

    def problem(self) -> str | None:
        """Why ringing does not work now, or None."""


@dataclass
class Parts:
    """What ``build_parts`` puts together: settings, database, plugins, queue."""

    settings: Settings
    store: Store
    registry: Registry
    cipher: Fernet
    queue: Queue
    woken: threading.Event = field(default_factory=threading.Event)
    """Set when events wait: wakes those who deliver them in this process."""
    delayed: threading.Event = field(default_factory=threading.Event)
    """Set when something is to be tried again after a delay: wakes who sees to it that it is not tried much later."""
    ordered: threading.Event = field(default_factory=threading.Event)
    """Set when a node's hammers have something to perform: wakes who sees to it in this process."""
    stop_runs: Callable[[Sequence[int]], None] = lambda run_ids: None
    """Tells the runner of this process to stop runs that it may be executing."""
    carry_on: Callable[[Turn], None] = lambda turn: None
    """Goes on, at the end of a turn, with what is being taken off its node."""
    seat: Callable[[Turn, str], Change] = field(init=False)
    """A running turn, as the barclamp of this name takes part in it."""

    def close(self) -> None:
        self.queue.close()
        self.registry.close()
        self.store.close()


def build_cipher(settings: Settings) -> Fernet:
    return Fernet(load_key(settings))
