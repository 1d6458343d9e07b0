"""Putting the parts together: settings, database, plugins, queue."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from crowbar_core import plugins
from crowbar_core.barclamp import Hammer, Jig
from crowbar_core.errors import BarclampError
from crowbar_core.services.cluster.catalogue import synchronise
from crowbar_core.services.cluster.definitions import renew_roles
from crowbar_core.services.cluster.leaving import carry_on
from crowbar_core.services.engine.seat import take_seats
from crowbar_core.services.turns.parts import Parts, build_cipher
from crowbar_core.settings import Settings
from crowbar_core.store.db import Store
from crowbar_core.store.migrate import upgrade
from crowbar_core.store.patience import Patience


def build_parts(
    settings: Settings,
    *,
    extra_plugins: Iterable[tuple[str, Any]] = (),
    clock: Callable[[], datetime] | None = None,
    migrate: bool = True,
    record: bool = True,
    jigs: Mapping[str, Jig] | None = None,
    hammers: Mapping[str, type[Hammer]] | None = None,
    installed: bool = True,
    revisions: Mapping[str, str] | None = None,
) -> Parts:
    """Open the database (bringing its schema up to date), load the plugins, and make the queue that the settings name.

    Without ``migrate`` and ``record``, what is installed has been put into the database by another process. Raises
    ``ConfigError`` for settings or installations that cannot work. The other arguments are for tests: see
    ``plugins.load``, and ``migrate.upgrade`` for ``revisions``.
    """
    registry = plugins.load(settings, extra=extra_plugins, jigs=jigs, hammers=hammers, installed=installed)
    store = open_store(settings, clock=clock)
    if migrate:
        _upgrade(store, registry, revisions)
    queue = plugins.load_one(plugins.QUEUES, settings.queue)
    parts = Parts(settings, store, registry, build_cipher(settings), queue(settings))
    take_seats(parts)
    parts.carry_on = carry_on
    if record:
        synchronise(parts)
        renew_roles(parts)
    return parts


def _upgrade(store: Store, registry: plugins.Registry, revisions: Mapping[str, str] | None) -> None:
    """The core's tables must be there. A barclamp whose tables cannot be made is given up, and the rest goes on."""
    upgrade(store, [])
    errors: dict[str, str] = {}
    for name, package in registry.schemas():
        try:
            upgrade(store, [(name, package)], stops=revisions)
        except BarclampError as error:
            errors[name] = error.detail
    errors |= {name: f"It could not say where its migrations are: {said}" for name, said in
               registry.without_schema().items()}  # fmt: skip
    if errors:
        registry.give_up(errors)


def open_store(settings: Settings, *, clock: Callable[[], datetime] | None = None) -> Store:
    patience = Patience(
        lock=settings.database_lock_seconds,
        statement=settings.database_statement_seconds,
        idle=settings.database_idle_seconds,
    )
    return Store(settings.url, clock=clock, pool_size=max(20, settings.concurrency // 2), patience=patience)


def spare_the_collector() -> None:
    """Called when a process has been put together: what is there now stays, so the garbage collector need not walk
    through it each time. A full collection would stop all threads for some 50 ms.
    """
    gc.collect()
    gc.freeze()
