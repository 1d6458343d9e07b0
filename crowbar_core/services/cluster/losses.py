"""What an act that destroys would take away: told, in the same words by command line and pages, before it is done.

Destroying asks first. What is asked, and whether it is, is decided here alone; the faces show it and want the name of
the thing typed. A group without nodes, a noderole that was never committed or a commit that destroys nothing goes
without a question: nothing would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from crowbar_core.domain.names import some
from crowbar_core.errors import BadInput, or_missing
from crowbar_core.services.cluster import binding, hammers, steering
from crowbar_core.services.cluster import deployments as deployment_service
from crowbar_core.services.cluster import nodes as node_service
from crowbar_core.services.cluster.leaving import tearing_in
from crowbar_core.services.cluster.planning import rehearse
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import SYSTEM
from crowbar_core.store import deployments as stored_deployments
from crowbar_core.store import losses as found
from crowbar_core.store import noderoles
from crowbar_core.store.db import Store

Titled = tuple[str, Iterable[str] | Mapping[str, list[str]]]
"""The title of a section, and what is in it: names, or role -> nodes."""

NAMED: Final = 5
"""So many nodes are named in one line; the others are counted."""

GO: Final = "Noderoles that go"
WAIT: Final = "What depends on it elsewhere and has to wait"
LEAN: Final = "What depends on it elsewhere"
TORN_DOWN: Final = "Torn down on their nodes before they go"
FIRST: Final = "What those made there that are named below is torn down first; all else stays as it is."
UNDER_WAY: Final = "Runs under way"
DESTRUCTIVE: Final = "Destructive roles that will run: what is on the disks is lost"
AGAIN: Final = "Noderoles that run again"


@dataclass(frozen=True, kw_only=True)
class Section:
    """Things of one kind, folded into lines."""

    title: str
    count: int
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What an act takes away. ``name`` is what is typed to go on; it is asked for only if ``asks``. ``tears_down``:
    what roles made on nodes goes first, and ``force`` does without.
    """

    act: str
    subject: str
    name: str
    summary: str
    asks: bool
    sections: tuple[Section, ...]
    tears_down: bool = False


def losses(parts: Parts, kind: str, key: int, act: str, *, force: bool = False) -> Loss:
    """What ``act`` would take away from the object ``key`` of ``kind`` (nodes, deployments, node_roles, groups, users,
    hammers). ``force``: without tearing down what roles made on nodes.

    Raises ``BadInput`` for an act of which nothing is known, ``NotFound``, and ``Refused`` where the act itself would
    be refused for what depends on the object.
    """
    known = ACTS.get(kind, {})
    work = known.get(act)
    if work is None:
        if kind in _POWERED:
            return _power(parts, kind, key, act)
        raise BadInput(f"Nothing is known of what {act!r} would destroy; known here: {', '.join(sorted(known))}.")
    return work(parts, key, force)


def confirm(parts: Parts, kind: str, key: int, act: str, typed: str) -> Loss | None:
    """The loss if it must be asked for and ``typed`` is not the name; None if the act may go on."""
    loss = losses(parts, kind, key, act)
    return None if not loss.asks or typed.strip().casefold() == loss.name.casefold() else loss


# ---------------------------------------------------------------- nodes


def _destroy_node(parts: Parts, node_id: int, force: bool) -> Loss:
    with parts.store.read() as session:
        node = found.row(session, "node", node_id)
        ids = found.on_node(session, node_id)
        torn = _torn_down(parts, session, ids, force=force or not node.alive)
        return Loss(
            act="destroy",
            subject=f"node {node.name}",
            name=node.name,
            summary=f"Node {node.name} goes with its values, noderoles, runs and hammers. "
            f"What runs on it is cancelled.{f' {FIRST}' if torn else ''}",
            asks=True,
            tears_down=bool(torn),
            sections=_sections(
                *_going(parts.store, session, ids, torn),
                (UNDER_WAY, _open_runs(session, parts.store, node_id=node_id)),
            ),
        )


def _redeploy_node(parts: Parts, node_id: int, _: bool) -> Loss:
    with parts.store.read() as session:
        node = found.row(session, "node", node_id)
        ids = found.on_node(session, node_id, committed=True)
        destructive = found.destructive(session, parts.store, ids)
        return Loss(
            act="redeploy",
            subject=f"node {node.name}",
            name=node.name,
            summary=f"All of node {node.name} runs again from the start, also what has destroyed data before.",
            asks=True,
            sections=_sections(
                (DESTRUCTIVE, found.by_role(session, parts.store, destructive)),
                (AGAIN, found.by_role(session, parts.store, set(ids) - destructive)),
                (WAIT, found.by_role(session, parts.store, found.below(session, parts.store, ids))),
                (UNDER_WAY, _open_runs(session, parts.store, node_id=node_id)),
            ),
        )


def _commit_node(parts: Parts, node_id: int, _: bool) -> Loss:
    with parts.store.read() as session:
        name = found.row(session, "node", node_id).name
    return _commit(parts, f"node {name}", name, lambda: node_service.commit_node(parts, SYSTEM, node_id))


def _power(parts: Parts, kind: str, key: int, action: str) -> Loss:
    with parts.store.read() as session:
        node_id = found.row(session, "hammer", key).node_id if kind == "hammers" else key
        node = found.row(session, "node", node_id)
        hammers.refuse_unable(parts, node_id, action)
        ids = found.on_node(session, node_id, committed=True)
        return Loss(
            act=action,
            subject=f"node {node.name}",
            name=node.name,
            summary=f"Power {action}: node {node.name} stops at once, whatever it is doing.",
            asks=hammers.stops(action),
            sections=_sections(
                (UNDER_WAY, _open_runs(session, parts.store, node_id=node_id)),
                (
                    AGAIN,
                    found.by_role(
                        session, parts.store, set(ids) - found.destructive(session, parts.store, ids, done=True)
                    ),
                ),
                (WAIT, found.by_role(session, parts.store, found.below(session, parts.store, ids))),
            ),
        )


# ---------------------------------------------------------------- deployments, noderoles


def _destroy_deployment(parts: Parts, deployment_id: int, force: bool) -> Loss:
    with parts.store.read() as session:
        row = found.row(session, "deployment", deployment_id)
        ids = stored_deployments.node_roles_of(session, deployment_id)
        torn = _torn_down(parts, session, ids, force=force)
        stays = (
            "It cannot go as long as there is something to tear down on the nodes: unbind what is named below first, "
            "or force it, and that stays there."
            if torn
            else "What they did on the nodes stays as it is."
        )
        parent = found.row(session, "deployment", row.parent_id).name if row.parent_id is not None else ""
        handed = found.nodes_handed_on(session, deployment_id)
        valued = found.roles_with_values(session, deployment_id)
        return Loss(
            act="destroy",
            subject=f"deployment {row.name}",
            name=row.name,
            summary=f"Deployment {row.name} goes with its noderoles, their runs and its values for roles. {stays}",
            asks=True,
            tears_down=bool(torn),
            sections=_sections(
                *_going(parts.store, session, ids, torn),
                (UNDER_WAY, _open_runs(session, parts.store, deployment_id=deployment_id)),
                (f"Nodes that go to deployment {parent}", handed),
                ("Roles whose values for this deployment go", valued),
            ),
        )


def _commit_deployment(parts: Parts, deployment_id: int, _: bool) -> Loss:
    with parts.store.read() as session:
        name = found.row(session, "deployment", deployment_id).name
    return _commit(parts, f"deployment {name}", name, lambda: deployment_service.commit(parts, SYSTEM, deployment_id))


def _commit_node_role(parts: Parts, node_role_id: int, _: bool) -> Loss:
    with parts.store.read() as session:
        name, subject = _node_role_names(session, node_role_id)
    return _commit(parts, subject, name, lambda: steering.commit(parts, SYSTEM, node_role_id))


def _commit(parts: Parts, subject: str, name: str, act: Callable[[], object]) -> Loss:
    """What its plan destroys, which may be what waited for it elsewhere. Where no destructive role is left to run
    nothing is planned.
    """
    with parts.store.read() as session:
        left = found.any_destructive_left(session)
    pairs: dict[str, list[str]] = {}
    if left:
        for step in rehearse(parts, act).own:
            if step.destructive and step.kind != "pass over":
                pairs.setdefault(step.role, []).append(step.node)
    return Loss(
        act="commit",
        subject=subject,
        name=name,
        summary=f"Committing {subject} destroys data." if pairs else f"Committing {subject} destroys nothing.",
        asks=bool(pairs),
        sections=_sections((DESTRUCTIVE, pairs)),
    )


def _unbind(parts: Parts, node_role_id: int, force: bool) -> Loss:
    going = binding.unbind(parts, SYSTEM, node_role_id, dry_run=True)
    with parts.store.read() as session:
        name, subject = _node_role_names(session, node_role_id)
        torn = _torn_down(parts, session, going, force=force)
        return Loss(
            act="unbind",
            subject=subject,
            name=name,
            summary=f"{subject[0].upper()}{subject[1:]} goes with its values and runs, and so does what needs it on "
            f"the same node. {FIRST if torn else 'What they did there stays as it is.'}",
            tears_down=bool(torn),
            asks=not found.all_new(session, parts.store, going),
            sections=_sections(
                *_going(parts.store, session, going, torn),
                (UNDER_WAY, _open_runs(session, parts.store, ids=going)),
            ),
        )


# ---------------------------------------------------------------- groups, users, hammers


def _destroy_group(parts: Parts, group_id: int, _: bool) -> Loss:
    with parts.store.read() as session:
        row = found.row(session, "group", group_id)
        inside = found.members_of(session, group_id)
        return Loss(
            act="destroy",
            subject=f"group {row.name}",
            name=row.name,
            summary=f"Group {row.name} goes, and who was in it is forgotten. Its nodes stay.",
            asks=bool(inside),
            sections=_sections(("Nodes in it", inside)),
        )


def _destroy_user(parts: Parts, user_id: int, _: bool) -> Loss:
    with parts.store.read() as session:
        row = found.row(session, "user", user_id)
        held = found.tokens_of(session, user_id)
        return Loss(
            act="destroy",
            subject=f"user {row.name}",
            name=row.name,
            summary=f"User {row.name} can no longer sign in. The audit trail keeps the name.",
            asks=True,
            sections=_sections(("Tokens that end at once", [name or "(no name)" for name in held])),
        )


def _destroy_hammer(parts: Parts, hammer_id: int, _: bool) -> Loss:
    with parts.store.read() as session:
        row = found.row(session, "hammer", hammer_id)
        node = found.row(session, "node", row.node_id)
        return Loss(
            act="destroy",
            subject=f"hammer {row.name} of {node.name}",
            name=row.name,
            summary=f"Node {node.name} loses its hammer {row.name} with its settings; credentials among them are "
            "shown nowhere and must be given anew.",
            asks=True,
            sections=(),
        )


ACTS: Mapping[str, Mapping[str, Callable[[Parts, int, bool], Loss]]] = {
    "nodes": {"destroy": _destroy_node, "redeploy": _redeploy_node, "commit": _commit_node},
    "deployments": {"destroy": _destroy_deployment, "commit": _commit_deployment},
    "node_roles": {"unbind": _unbind, "commit": _commit_node_role},
    "groups": {"destroy": _destroy_group},
    "users": {"destroy": _destroy_user},
    "hammers": {"destroy": _destroy_hammer},
}
_POWERED: Final = ("nodes", "hammers")
"""Kinds for which every other act is an action of a hammer."""


# ---------------------------------------------------------------- parts of the above


def _sections(*titled: Titled) -> tuple[Section, ...]:
    """The sections that have anything in them. A mapping is role -> nodes."""
    made = []
    for title, things in titled:
        if isinstance(things, Mapping):
            count = sum(len(names) for names in things.values())
            lines = [f"{role} on {some(names, NAMED)}" for role, names in things.items()]
        else:
            names = list(things)
            count, lines = len(names), [some(names, NAMED)] if names else []
        if count:
            made.append(Section(title=title, count=count, lines=tuple(lines)))
    return tuple(made)


def _torn_down(parts: Parts, session: Session, ids: Collection[int], *, force: bool) -> list[int]:
    return [] if force else [row.id for row in tearing_in(parts, session, ids)]


def _going(store: Store, session: Session, ids: Collection[int], torn: Collection[int]) -> tuple[Titled, ...]:
    """What goes, what of it is torn down first, and what elsewhere depends on it."""
    return (
        (GO, found.by_role(session, store, ids)),
        (TORN_DOWN, found.by_role(session, store, torn)),
        (LEAN, found.by_role(session, store, found.below(session, store, ids))),
    )


def _node_role_names(session: Session, node_role_id: int) -> tuple[str, str]:
    """`NODE/ROLE`, which is typed, and how it is spoken of."""
    row = or_missing(noderoles.row_of(session, node_role_id), "noderole", node_role_id)
    name = f"{row.node}/{row.role}"
    return name, f"noderole {name}"


def _open_runs(session: Session, store: Store, **of: Any) -> list[str]:
    return [f"run {row.id}: {row.role} on {row.node}" for row in found.open_runs(session, store, **of)]
