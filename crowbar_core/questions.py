"""Questions that barclamps could not answer, remembered in this process until they are written into the database.

Hooks that tell (``on_…``) fail in the outbox, where everybody sees it. Those that ask are called in the middle of other
work, often while only reading, so what they raise is put here; the process's own threads carry it on.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

REMEMBERED: Final = frozenset(
    {
        "node_role_data", "data_of", "node_addresses", "addresses_of", "node_boot", "boots_of", "probe_node",
        "register_panels", "defined_roles",
    }
)  # fmt: skip
"""The others tell of their failure at once: a registration in the barclamp's problems. A check that raises is
remembered, too, whatever it checks."""


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """The last failure of one hook of one plugin, and how many there were. ``subject``: ``"node 3"``."""

    plugin: str
    hook: str
    subject: str
    error: str
    traceback: str
    count: int = 1


class Questions:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unanswered: dict[tuple[str, str], Unanswered] = {}

    def note(self, one: Unanswered) -> None:
        with self._lock:
            before = self._unanswered.get((one.plugin, one.hook))
            self._unanswered[one.plugin, one.hook] = replace(one, count=one.count + (before.count if before else 0))

    def take(self) -> list[Unanswered]:
        """What has been noted since the last call."""
        if not self._unanswered:
            return []
        with self._lock:
            taken, self._unanswered = self._unanswered, {}
        return list(taken.values())


def subject_of(arguments: Mapping[str, Any]) -> str:
    """What a question was about: its first argument that has an id, or the first of many."""
    for name, value in arguments.items():
        if (ref := getattr(value, "id", None)) is not None:
            return f"{name} {ref}"
        if isinstance(value, list | tuple) and value and hasattr(value[0], "id"):
            return f"{name.removesuffix('s')} {value[0].id}" + (f" and {len(value) - 1} more" if value[1:] else "")
    return ""
