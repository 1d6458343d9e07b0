"""Pages: burn-ins, each with what came of its parts; and the order to burn a machine in."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as Answer

from crowbar_core import BadInput, requires
from crowbar_core.pages import Column, Form, Input, act, list_page, object_page, row, rows
from crowbar_provisioner import disks, ordering
from crowbar_provisioner.burning.rest import BURN_IN, BURN_INS

pages = Blueprint("provisioner_burning_pages", __name__)
COLUMNS = (
    Column(name="node", label="Node", href="/burn-ins/{id}"),
    Column(name="state", label="State"),
    Column(name="percent", label="%"),
    Column(name="seconds", label="Seconds"),
    Column(name="detail", label="What is wrong"),
    Column(name="begun_at", label="Begun", kind="moment"),
    Column(name="ended_at", label="Ended", kind="moment"),
)
STATES = (("", "any"), ("passed", "passed"), ("failed", "failed"), ("running", "running"), ("wanted", "wanted"))
FILTERS = (Input(name="node", label="Node"), Input(name="state", label="State", choices=STATES))


@pages.get("/burn-ins")
@requires("viewer")
def listed() -> Response:
    return list_page(
        "Burn-ins", rows(BURN_INS, filters=[one.name for one in FILTERS]), COLUMNS, filters=FILTERS,
        sub="Machines that were kept busy for a while, and what went wrong meanwhile.", empty="None is like that.",
    )  # fmt: skip


@pages.get("/burn-ins/<int:burn_in>")
@requires("viewer")
def show(burn_in: int) -> Response:
    one = row(BURN_INS, str(burn_in))
    parts = {f"part_{number}": _told(each) for number, each in enumerate(one["parts"])}
    kernel = {f"kernel_{number}": line for number, line in enumerate(one["kernel"])}
    memory = f"{one['corrected']} corrected, {one['uncorrected']} others" if one["ended_at"] else "not yet"
    shown = {**one, **parts, **kernel, "memory": memory}
    facts = (
        Column(name="state", label="State"), Column(name="percent", label="%"), Column(name="seconds", label="Seconds"),
        Column(name="detail", label="What is wrong"), Column(name="begun_at", label="Begun", kind="moment"),
        Column(name="ended_at", label="Ended", kind="moment"),
        *(Column(name=f"part_{number}", label=each["part"]) for number, each in enumerate(one["parts"])),
        Column(name="memory", label="Errors of memory"),
        *(Column(name=name, label="The kernel said") for name in kernel),
    )  # fmt: skip
    return object_page(f"Burn-in of {one['node']}", shown, facts, above=("Burn-ins", "/burn-ins"))


def _amount(count: float, unit: str) -> str:
    """In words; '' for none."""
    if unit == "bytes/s":
        return f"{disks.sized(round(count))}/s" if count else ""
    return f"{count:.1f} {unit}".replace(".0 ", " ") if count else ""


def _told(part: Any) -> str:
    words = [part["state"], _amount(part["amount"], part["unit"]), f"by {part['tool']}"]
    return ", ".join(word for word in (*words, part["detail"]) if word)


@pages.post("/machines/<int:machine>/burn_in")
@requires("operator")
def burn_in(machine: int) -> Answer:
    def order() -> None:
        text = request.form.get("seconds", "").strip()
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 30 * 86400:
            raise BadInput("The time is a number of seconds, from 1 to 2592000.")
        ordering.order(machine, BURN_IN, {"seconds": int(text)})

    return act(order, "It is burned in.", f"/machines/{machine}")


def form(one: Any) -> Form:
    """For the page of a machine."""
    return Form(
        title="Burn in", url=f"/machines/{one['id']}/burn_in", label="Burn in",
        inputs=(Input(name="seconds", label="For so many seconds", value="3600", required=True),),
        api=f'PUT /api/v2/machines/{one["id"]}/burn_in {{"seconds": 3600}}',
        cli=f"crowbar machines burn-in {one['name']} --seconds 3600",
    )  # fmt: skip
