"""Telling a hook that a barclamp publishes, in the transaction of the change that it tells of."""

from __future__ import annotations

from typing import Any

from crowbar_core.errors import BarclampError
from crowbar_core.plugins.published import NAME_LENGTH
from crowbar_core.services.turns.turn import Turn


def publish(turn: Turn, hook: str, subject: str, **arguments: Any) -> None:
    """Write a published hook into the outbox: whoever implements it is told after the commit, at least once, and of one
    ``subject`` in order.

    An argument ``node_role`` decides who listens, where implementations are for some roles only. Raises
    ``BarclampError`` for a hook that no loaded barclamp publishes, and for arguments that do not fit.
    """
    spec = turn.registry.published_hook(hook)
    if not spec.told:
        raise BarclampError(f"{hook} is a question of barclamp {spec.barclamp}: ask it with cluster().ask.")
    if not subject or len(subject) > NAME_LENGTH:
        raise BarclampError(
            f"{hook} cannot be told of the subject {subject[:NAME_LENGTH]!r}: it must have 1 to {NAME_LENGTH} "
            "characters. Things of one subject are told in order; 'network 3' would do."
        )
    payload = spec.payload(arguments)
    role = getattr(arguments.get("node_role"), "role", None)
    turn.tell(hook, subject, role=role, arguments=payload)
