"""The step that gives the installation an administrator of one's own, instead of a password that a terminal showed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crowbar_core import Change


def step() -> dict[str, Any]:
    return {
        "name": "account",
        "title": "Who administers",
        "order": 5,
        "text": "The password that was printed at the first start goes on as long as none is chosen here. Whoever is "
        "logged in under this name logs in with the new one once all is carried out.",
        "fields": (
            {"name": "name", "label": "Name", "required": True, "default": "admin"},
            {"name": "password", "label": "New password", "secret": True, "help": "At least 8 characters."},
        ),
        "carry_out": carry_out,
    }  # fmt: skip


def carry_out(values: Mapping[str, str], change: Change, place: Mapping[str, str]) -> Iterable[str]:
    """The user, or a new password for one who is there; nothing without a password."""
    if not values["password"]:
        return []
    made = change.put_user(values["name"], password=values["password"])
    return [f"The administrator {values['name']}." if made else f"A new password for the user {values['name']}."]
