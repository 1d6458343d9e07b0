"""What a change changed, as the audit trail keeps it: each value before and after, secrets masked, long ones cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from crowbar_core.barclamp import Json
from crowbar_core.domain.attributes import SECRET, leaves, masked

LONGEST: Final = 1000
"""Characters of a value's JSON."""
MOST: Final = 50


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, Json]]:
    """Field -> ``{"old": ..., "new": ...}`` for the fields of ``new`` that differ; of trees, path by path.

    At most ``MOST`` of them, then ``"..."``. What was not there, or is no more, is null.
    """
    found: dict[str, dict[str, Json]] = {}
    for name, value in new.items():
        before = old.get(name)
        if _is_tree(before) or _is_tree(value):
            was, now = (dict(leaves(tree, (name,)) if tree else ()) for tree in (before, value))
        else:
            was, now = {name: before}, {name: value}
        for path in [*was, *(path for path in now if path not in was)]:
            if was.get(path) == now.get(path):
                continue
            if len(found) == MOST:
                return {**found, "...": {"old": "...", "new": "..."}}
            found[path] = {"old": _shown(was.get(path)), "new": _shown(now.get(path))}
    return found


def _is_tree(value: Any) -> bool:
    return isinstance(value, Mapping) and SECRET not in value


def _shown(value: Any) -> Json:
    safe: Json = masked(value)
    text = json.dumps(safe, ensure_ascii=False, default=str)
    if len(text) > LONGEST:
        return f"{text[:LONGEST]}... ({len(text):,} characters)"
    known: Json = json.loads(text)  # a day, or whatever else JSON does not know, is a text
    return known
