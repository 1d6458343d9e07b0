"""A core with many nodes on a network, and counting what is asked of it, for ``./dev bench dns-dhcp``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crowbar_network import allocating
from crowbar_network.telling import row_of
from sqlalchemy import event

from benchmarks.cluster import OPERATOR
from crowbar_core import NodeView
from crowbar_core.services.cluster import registering
from crowbar_core.services.cluster.registering import NewNode
from crowbar_core.testing import Testbed


def with_nodes(
    bed: Testbed, count: int, *, zone: str, network: Mapping[str, Any],
    more: Callable[[int], Mapping[str, Any]] = lambda _: {},
) -> list[int]:  # fmt: skip
    """So many nodes, n00000.ZONE and on, each with an address of each of the network's families; their ids. ``more``:
    what the node of a number is registered with."""
    made = bed.web("operator").post("/api/v2/networks", json={"name": "admin", "category": "admin", **network})
    assert made.status_code == 201, made.json
    nodes: list[int] = []
    for start in range(0, count, 1000):
        several = range(start, min(start + 1000, count))
        new = [NewNode(name=f"n{at:05}.{zone}", **more(at)) for at in several]
        nodes += registering.create_nodes(bed.parts, OPERATOR, new)
    for start in range(0, count, 500):
        with bed.change() as change:
            row = row_of(change.session, made.json["id"])
            views = [NodeView(id=ref, name=f"n{start + at:05}.{zone}")
                     for at, ref in enumerate(nodes[start : start + 500])]  # fmt: skip
            allocating.allocate_many(change, row, views)
    return nodes


def rename(bed: Testbed, name: str, new: str) -> None:
    assert bed.web("operator").patch(f"/api/v2/nodes/{name}", json={"name": new}).status_code == 200


class Counted:
    """How many statements there were, and how many messages: calls of ``owner``'s function of that name."""

    def __init__(self, bed: Testbed, owner: Any, name: str) -> None:
        self.statements = self.messages = 0
        self._engine, self._owner, self._name = bed.parts.store.engine, owner, name
        self._send = getattr(owner, name)

    def _note(self, *_: object) -> None:
        self.statements += 1

    def __enter__(self) -> Counted:
        def noting(*given: Any, **named: Any) -> Any:
            self.messages += 1
            return self._send(*given, **named)

        event.listen(self._engine, "before_cursor_execute", self._note)
        setattr(self._owner, self._name, noting)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)
        setattr(self._owner, self._name, self._send)
