"""Steps: what a run that waits for something outside is doing."""

from __future__ import annotations

import json

from crowbar_core.barclamp import Json

LONGEST_NAME = 120


def step_name(step: Json) -> str:
    """What people call a step: itself if it is a text, its ``name`` if it is an object with one, else its JSON."""
    if isinstance(step, dict) and isinstance(step.get("name"), str):
        step = step["name"]
    said = step if isinstance(step, str) else json.dumps(step, sort_keys=True)
    said = " ".join(said.replace("\x00", "\ufffd").split()) or "?"
    return said if len(said) <= LONGEST_NAME else said[: LONGEST_NAME - 1] + "…"
