"""The page of interface maps: which there are, which nodes each fits, and what another would make of their cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, request
from pydantic import Field
from werkzeug.wrappers import Response

from crowbar_core import BadInput, cluster, requires
from crowbar_core.pages import Input, act, act_planned, form_body, page
from crowbar_core.rest import Body
from crowbar_network import interface_maps, resolving
from crowbar_network.conduits import InterfaceMap, in_order, map_of
from crowbar_network.pages import WAYS
from crowbar_network.rest import Bounded, Pattern

pages = Blueprint("network_maps", __name__)
NAMED = 20
URL = "/interface-maps"


class FormOfMap(Body):
    """``buses``: separated by blanks or commas."""

    pattern: Pattern
    buses: Annotated[str, Field(max_length=8000)]
    order: Bounded = 10_000

    @property
    def values(self) -> dict[str, Any]:
        return {"pattern": self.pattern, "buses": self.buses.replace(",", " ").split(), "order": self.order}


@dataclass(frozen=True, kw_only=True)
class Reordered:
    """A node that a map fits, with its cards as they are in order now and as they would be."""

    id: int
    name: str
    product: str
    now: tuple[str, ...]
    then: tuple[str, ...]


@pages.get(URL)
@requires("viewer")
def listed() -> Response:
    """With ``?map=`` the form changes that one."""
    wanted = request.args.get("map", "")
    with cluster().read() as session:
        there = resolving.map_rows(session)
        one = next((row for row in there if str(row.id) == wanted), None)
    values = {"pattern": "", "buses": [], "order": 10_000} if one is None else interface_maps.values_of(one)
    return _page(values, key=None if one is None else one.id)


@pages.post(URL)
@requires("operator")
def create() -> Response:
    return _done(None)


@pages.post(f"{URL}/<int:key>")
@requires("operator")
def change(key: int) -> Response:
    return _done(key)


@pages.post(f"{URL}/<int:key>/remove")
@requires("operator")
def remove(key: int) -> Response:
    def work() -> None:
        with cluster().change() as change:
            interface_maps.remove(change, key)

    said = "The interface map is gone; nodes whose conduits mean other cards follow."
    return act_planned(work, said, URL, title="Remove an interface map")


def _done(key: int | None) -> Response:
    """What the form says: shown with what becomes of cards (``rehearse`` is yes), planned (``plan``), or done."""
    if request.form.get("rehearse") == "yes":
        try:
            values = form_body(FormOfMap).values
            interface_maps.check_buses(values["buses"])
            return _page(values, key=key, previewed=True)
        except BadInput as error:
            return act(_raising(error), "", URL)

    def work() -> None:
        values = form_body(FormOfMap).values
        with cluster().change() as change:
            if key is None:
                interface_maps.create(change, values)
            else:
                interface_maps.alter(change, key, values)

    said = "The interface map is kept; nodes whose conduits mean other cards follow."
    return act_planned(work, said, URL, title=f"{'Make' if key is None else 'Change'} an interface map")


def _raising(error: BadInput) -> Any:
    def work() -> None:
        raise error

    return work


def _page(values: dict[str, Any], *, key: int | None, previewed: bool = False) -> Response:
    with cluster().read() as session:
        there = resolving.map_rows(session)
        machines = [one for one in resolving.machines(session) if one.nics is not None]
    known = resolving.as_maps(there)
    fits = {row.pattern: [one for one in machines if (found := map_of(one.product, known)) is not None
                          and found.pattern == row.pattern] for row in there}  # fmt: skip
    inputs = (
        Input(name="pattern", label="Product", required=True, value=values["pattern"], placeholder="PowerEdge R7*",
              size=24),
        Input(name="buses", label="Buses, the first card's first", required=True, value=" ".join(values["buses"]),
              placeholder="0000:03 0000:01", size=40),
        Input(name="order", label="Order", kind="number", value=str(values["order"]), size=7),
    )  # fmt: skip
    return page(
        "crowbar_network/interface_maps.html", maps=there, fits=fits, named=NAMED, key=key, inputs=inputs, ways=WAYS,
        url=URL if key is None else f"{URL}/{key}", products=sorted({one.product for one in machines if one.product}),
        preview=_preview(values, key, there, machines) if previewed else None,
    )  # fmt: skip


def _preview(
    values: dict[str, Any], key: int | None, there: Sequence[Any], machines: Sequence[resolving.Machine]
) -> list[Reordered]:
    """The nodes that the map of the form would fit, among those that there are."""
    asked = InterfaceMap(pattern=values["pattern"], order=tuple(values["buses"]))
    others = [(row.order, row.pattern, InterfaceMap(pattern=row.pattern, order=tuple(row.buses.split("\n"))))
              for row in there if row.id != key]  # fmt: skip
    several = [
        one for _, _, one in sorted([*others, (values["order"], asked.pattern, asked)], key=lambda each: each[:2])
    ]
    found = []
    for one in machines:
        if map_of(one.product, several) is asked:
            nics = one.nics or ()
            then = in_order(nics, product=one.product, maps=[asked])
            found.append(Reordered(
                id=one.id, name=one.name, product=one.product, now=tuple(nic.name for nic in nics),
                then=tuple(nic.name for nic in then),
            ))  # fmt: skip
    return found
