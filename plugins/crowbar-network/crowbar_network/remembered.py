"""What a change has read and need not read again, as long as it lasts: where thousands of addresses are given in one.

Everything that writes what is remembered says so (``forget``). What a savepoint undoes takes along what was remembered
in it.
"""

from __future__ import annotations

from typing import Any

_KEY = "crowbar_network"


def remembered(session: Any) -> dict[Any, Any]:
    """What is remembered in the innermost transaction that is open."""
    now = session.get_nested_transaction() or session.get_transaction()
    held = session.info.get(_KEY)
    if held is None or held[0] is not now:
        held = session.info[_KEY] = (now, {})
    found: dict[Any, Any] = held[1]
    return found


def forget(session: Any) -> None:
    """Networks or ranges have changed."""
    session.info.pop(_KEY, None)
