"""Knowing the roles that are defined at run time: every process looks at their counter when it begins something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crowbar_core.plugins import Registry
from crowbar_core.store import defined_roles
from crowbar_core.store.db import Reader, Store


@contextmanager
def glance_and_look(registry: Registry, store: Store) -> Iterator[Reader]:
    """The reading connection on which it is found out who asks, with which every request begins."""
    with store.glance() as connection:
        look(registry, connection)
        yield connection


def look(registry: Registry, session: Reader) -> None:
    """Have the registry know the roles that this transaction sees."""
    number = defined_roles.generation(session)
    if number > registry.generation:
        registry.define(number, defined_roles.definitions(session))
