"""Knowing the roles that are defined at run time: every process looks at their counter when it begins something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from crowbar_core.plugins import Registry
from crowbar_core.store import defined_roles
from crowbar_core.store.db import Store


@contextmanager
def read_and_look(registry: Registry, store: Store) -> Iterator[Session]:
    """The reading transaction in which it is found out who asks, with which every request begins."""
    with store.read() as session:
        look(registry, session)
        yield session


def look(registry: Registry, session: Session) -> None:
    """Have the registry know the roles that this transaction sees."""
    number = defined_roles.generation(session)
    if number > registry.generation:
        registry.define(number, defined_roles.definitions(session))
