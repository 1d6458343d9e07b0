"""What destroys asks for a machine's name: the field of a form, and whether it was typed there."""

from __future__ import annotations

from flask import request

from crowbar_core import Refused
from crowbar_core.pages import Input, row
from crowbar_provisioner.listings import MACHINES


def its_name(name: str) -> Input:
    return Input(name="name", label="Its name, to be sure", placeholder=name, required=True, size=40)


def confirmed(machine: int) -> None:
    """Raises ``Refused`` unless the form that was sent has the name of this machine."""
    name = str(row(MACHINES, machine)["name"])
    if request.form.get("name", "").strip().casefold() != name.casefold():
        raise Refused(f"Nothing was done: type {name} to go on.")
