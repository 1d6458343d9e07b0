"""Knowing the roles that are defined at run time: every process looks at their counter when it begins something."""

from __future__ import annotations

from sqlalchemy.orm import Session

from crowbar_core.plugins import Registry
from crowbar_core.store import defined_roles


def look(registry: Registry, session: Session) -> None:
    """Have the registry know the roles that this transaction sees."""
    number = defined_roles.generation(session)
    if number > registry.generation:
        registry.define(number, defined_roles.definitions(session))
