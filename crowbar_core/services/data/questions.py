"""Questions about many nodes or noderoles: each barclamp is asked for all of them at once, or for one after the other,
as it likes; what it answers is told apart by node and noderole here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
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
    asking = _in_order(registry, each, many)
    of_all = iter(_of_all(registry, session, many, "nodes", [(one, nodes) for one, hook in asking if hook == many]))
    for implementation, hook in asking:
        if hook == each:
            for node in nodes:
                _, said = registry.ask_one(implementation, hook, node=node, session=session)
                found[node.id].append(Answer(implementation.plugin, hook, said))
        else:
            for ref, one in next(of_all).items():
                found[ref].append(Answer(implementation.plugin, hook, one))
    return found


def data(registry: Registry, session: Session, those: Sequence[NodeRoleView]) -> Mapping[int, Sequence[Answer]]:
    """Noderole id -> what the barclamps answered, in their order."""
    found: dict[int, list[Answer]] = defaultdict(list)
    asking = [
        (implementation, hook, [one for one in those if implementation.wants(one.role)])
        for implementation, hook in _in_order(registry, "node_role_data", "data_of")
    ]
    many = [(implementation, mine) for implementation, hook, mine in asking if hook == "data_of"]
    of_all = iter(_of_all(registry, session, "data_of", "node_roles", many))
    for implementation, hook, mine in asking:
        if hook == "node_role_data":
            for one in mine:
                _, said = registry.ask_one(implementation, hook, node_role=one, session=session)
                found[one.id].append(Answer(implementation.plugin, hook, said))
        else:
            for ref, answer in next(of_all).items():
                found[ref].append(Answer(implementation.plugin, hook, answer))
    return found


def _of_all(
    registry: Registry, session: Session, hook: str, name: str, asked: Sequence[tuple[Implementation, Sequence[Any]]]
) -> list[Mapping[int, Any | Failure]]:
    """What each says of all that it is asked about, the argument ``name``: each question apart from the transaction.

    All of them together, for that costs less; one after the other where one of them fails, so that it fails alone.
    """
    asking = [(one, {name: things}) for one, things in asked if things]
    several = sum("session" in one.arguments for one, _ in asking) > 1
    said: list[Any] = []
    if several:
        with _apart(session):
            said = [registry.try_one(one, hook, session=session, **about) for one, about in asking]
    if not several or any(isinstance(answer, Failure) for answer in said):
        said = []
        for one, about in asking:
            with _apart(session) if "session" in one.arguments else nullcontext():
                said.append(registry.ask_one(one, hook, session=session, **about)[1])
    answers = iter(said)
    return [_each(registry, one, hook, next(answers), **{name: things}) if things else {} for one, things in asked]


def _in_order(registry: Registry, *hooks: str) -> list[tuple[Implementation, str]]:
    places = {plugin: place for place, plugin in enumerate(registry.plugins)}
    found = [(one, hook) for hook in hooks for one in registry.implementations(hook)]
    return sorted(found, key=lambda pair: places.get(pair[0].plugin, len(places)))


@contextmanager
def _apart(session: Session) -> Iterator[None]:
    """What is asked of the database, and asked wrongly, must not end the transaction of whoever wants to know."""
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
