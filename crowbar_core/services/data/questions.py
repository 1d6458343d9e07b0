"""Questions about many nodes or noderoles: each barclamp is asked for all of them at once, or for one after the other,
as it likes; what it answers is told apart by node and noderole here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import NodeRoleView, NodeView
from crowbar_core.plugins import Failure, Implementation, Registry


@dataclass(frozen=True, slots=True)
class Answer:
    """What a barclamp said of one thing, by which of its hooks; None where it said nothing."""

    plugin: str
    hook: str
    said: Any | Failure


def tells_addresses(registry: Registry) -> bool:
    """Whether any barclamp knows addresses of nodes."""
    return registry.listens("node_addresses") or registry.listens("addresses_of")


def knows_data(registry: Registry, role: str | None = None) -> bool:
    """Whether any barclamp knows data of noderoles (of this role)."""
    return any(registry.implementations(hook, role=role) for hook in ("node_role_data", "data_of"))


def addresses(registry: Registry, session: Session, nodes: Sequence[NodeView]) -> Mapping[int, Sequence[Answer]]:
    """Node id -> what the barclamps answered, in their order."""
    return _of_nodes(registry, session, nodes, "node_addresses", "addresses_of")


def boots(registry: Registry, session: Session, nodes: Sequence[NodeView]) -> Mapping[int, Sequence[Answer]]:
    """Node id -> what the barclamps said that it boots, in their order."""
    return _of_nodes(registry, session, nodes, "node_boot", "boots_of")


def _of_nodes(
    registry: Registry, session: Session, nodes: Sequence[NodeView], each: str, many: str
) -> Mapping[int, Sequence[Answer]]:
    """What the hook ``each`` says of one after the other, and ``many`` of all of them."""
    found: dict[int, list[Answer]] = defaultdict(list)
    for implementation, hook in _in_order(registry, each, many):
        if hook == each:
            for node in nodes:
                _, said = registry.ask_one(implementation, hook, node=node, session=session)
                found[node.id].append(Answer(implementation.plugin, hook, said))
        elif nodes:
            with _apart(session, implementation):
                _, said = registry.ask_one(implementation, hook, nodes=nodes, session=session)
            for ref, one in _each(registry, implementation, hook, said, nodes=nodes).items():
                found[ref].append(Answer(implementation.plugin, hook, one))
    return found


def data(registry: Registry, session: Session, those: Sequence[NodeRoleView]) -> Mapping[int, Sequence[Answer]]:
    """Noderole id -> what the barclamps answered, in their order."""
    found: dict[int, list[Answer]] = defaultdict(list)
    for implementation, hook in _in_order(registry, "node_role_data", "data_of"):
        mine = [one for one in those if implementation.wants(one.role)]
        if hook == "node_role_data":
            for one in mine:
                _, said = registry.ask_one(implementation, hook, node_role=one, session=session)
                found[one.id].append(Answer(implementation.plugin, hook, said))
        elif mine:
            with _apart(session, implementation):
                _, said = registry.ask_one(implementation, hook, node_roles=mine, session=session)
            for ref, answer in _each(registry, implementation, hook, said, node_roles=mine).items():
                found[ref].append(Answer(implementation.plugin, hook, answer))
    return found


def _in_order(registry: Registry, *hooks: str) -> list[tuple[Implementation, str]]:
    places = {plugin: place for place, plugin in enumerate(registry.plugins)}
    found = [(one, hook) for hook in hooks for one in registry.implementations(hook)]
    return sorted(found, key=lambda pair: places.get(pair[0].plugin, len(places)))


@contextmanager
def _apart(session: Session, implementation: Implementation) -> Iterator[None]:
    """What it asks the database, and asks wrongly, must not end the transaction of whoever wants to know."""
    if "session" not in implementation.arguments:
        yield
        return
    nested = session.begin_nested()
    try:
        yield
    finally:
        nested.rollback()


def _each(
    registry: Registry, implementation: Implementation, hook: str, said: Any | Failure, **asked: Sequence[Any]
) -> dict[int, Any | Failure]:
    """The answer for each of those that were asked about."""
    ((_, things),) = asked.items()
    if not isinstance(said, Failure) and not isinstance(said, Mapping):
        wrong = f"it answered {type(said).__name__}, which is no mapping of ids to answers"
        said = Failure(implementation.plugin, hook, wrong, "")
        registry.note_unanswered(said, **asked)
    if isinstance(said, Failure):
        return dict.fromkeys((one.id for one in things), said)
    return {one.id: said.get(one.id) for one in things}
