"""Hammers: what powers a node. Their configuration rests encrypted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy.orm import Session

from crowbar_core.barclamp import POWER_ACTIONS, Attribute, CancelFlag, Hammer, Json
from crowbar_core.domain.attributes import MASK, SECRET, check_value
from crowbar_core.domain.differences import differences
from crowbar_core.errors import CrowbarError, NotFound, Refused, TemporaryError, Unavailable, or_missing, told
from crowbar_core.logs import log
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.data.views import node_row, node_views
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.services.values.nodes import write_nodes
from crowbar_core.store import hammers

GENTLE = frozenset(("on", "status", "identify", *(one for one in POWER_ACTIONS if one.startswith("boot-"))))
"""Actions that stop nothing. Every other is asked about, since a hammer may call its actions as it likes."""
SWITCHED_OFF = "it was powered off"
_ON = frozenset(("on", "cycle", "reset"))


def add_hammer(
    parts: Parts, actor: Actor, node_id: int, *, name: str, priority: int = 0, config: Mapping[str, Json] | None = None
) -> int:
    """Give a node a hammer; ``config`` is encrypted. Returns its id."""
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        made = insert_hammer(turn, node_id, name, priority, config or {})
        turn.audit("hammer.add", f"node {row.name}", hammer=name)
        return made


def insert_hammer(turn: Turn, node_id: int, name: str, priority: int, config: Mapping[str, Json]) -> int:
    _check(turn.parts, name, config)
    taken = hammers.of_name(turn.session, node_id, name)
    if taken is not None:
        raise Refused(f"Node {node_id} has a hammer {name!r} already (hammer {taken.id}). Change that one.")
    return hammers.add(turn.session, node_id, name, priority, _encrypted(turn.parts, config))


def set_hammer(turn: Turn, node_id: int, name: str, priority: int, config: Mapping[str, Json]) -> None:
    """Give a node a hammer, or give the one of that name this priority and configuration. The same again does
    nothing.
    """
    there = hammers.of_name(turn.session, node_id, name)
    was: dict[str, Any] = {}
    if there is None:
        insert_hammer(turn, node_id, name, priority, config)
    else:
        was = {"priority": there.priority, "config": _decrypted(turn.parts, there.config)}
        if was == {"priority": priority, "config": dict(config)}:
            return
        _check(turn.parts, name, config)
        hammers.change(turn.session, there.id, priority=priority, config=_encrypted(turn.parts, config))
    changed = _changed(turn.parts, name, was, {"priority": priority, "config": dict(config)})
    turn.audit("hammer.set", f"node {node_row(turn.session, node_id).name}", hammer=name, changed=changed)


def change_hammer(
    parts: Parts, actor: Actor, hammer_id: int, *, priority: int | None = None,
    config: Mapping[str, Json] | None = None,
) -> None:  # fmt: skip
    """Change a hammer. Of ``config``, the keys given are changed, and those that are null are removed. A secret that is
    given as it is shown, masked, stays what it is.
    """
    with change(parts, actor) as turn:
        row = or_missing(hammers.of_id(turn.session, hammer_id), "hammer", hammer_id)
        values: dict[str, Any] = {} if priority is None else {"priority": priority}
        changed = _changed(parts, row.name, {"priority": row.priority}, values)
        if config:
            old = _decrypted(parts, row.config)
            given = {key: value for key, value in config.items() if not (value == MASK and key in old)}
            new = {key: value for key, value in {**old, **given}.items() if value is not None}
            _check(parts, row.name, new)
            values["config"] = _encrypted(parts, new)
            changed |= _changed(parts, row.name, {"config": old}, {"config": new})
        if values:
            hammers.change(turn.session, hammer_id, **values)
        node = node_row(turn.session, row.node_id).name
        turn.audit("hammer.change", f"node {node}", hammer=row.name, changed=changed)


def _changed(parts: Parts, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, Json]]:
    """What the audit trail says of a change: of what may be secret in a configuration only that it changed."""
    open_ = _open_keys(parts, name)

    def told_of(values: Mapping[str, Any]) -> Mapping[str, Any]:
        config = values.get("config", {})
        sealed = {key: value if key in open_ else {SECRET: value} for key, value in config.items()}
        return {**values, "config": sealed} if config else values

    return differences(told_of(old), told_of(new))


def _check(parts: Parts, name: str, config: Mapping[str, Json]) -> None:
    """Refuse a configuration that breaks the hammer's schema, or that the hammer itself does not take. Where it has
    secrets, what is wrong is said without the values.
    """
    schema = parts.registry.hammer_schema(name)
    if schema:
        rules = schema.get("properties", {}).values()
        secret = any(isinstance(rule, Mapping) and rule.get("writeOnly") for rule in rules)
        check_value(Attribute(name=f"config of the hammer {name}", schema=schema, secret=secret), dict(config))
    parts.registry.hammer(name, config)


def shown_configs(parts: Parts, session: Session, hammer_ids: Collection[int]) -> dict[int, dict[str, Json]]:
    """Hammer id -> its configuration, with its secrets masked; all of it where nothing says what is secret."""
    found: dict[int, dict[str, Json]] = {}
    for row in hammers.configs(session, parts.store, hammer_ids):
        open_ = _open_keys(parts, row.name)
        config = _decrypted(parts, row.config)
        found[row.id] = {key: value if key in open_ else MASK for key, value in config.items()}
    return found


def _open_keys(parts: Parts, name: str) -> set[str]:
    """Those of a hammer's configuration that its schema says are no secret."""
    known = parts.registry.hammer_schema(name).get("properties", {})
    return {key for key, rule in known.items() if isinstance(rule, Mapping) and not rule.get("writeOnly")}


def _decrypted(parts: Parts, config: str) -> dict[str, Json]:
    found: dict[str, Json] = orjson.loads(parts.cipher.decrypt(config.encode())) if config else {}
    return found


def _encrypted(parts: Parts, config: Mapping[str, Json]) -> str:
    return parts.cipher.encrypt(orjson.dumps(dict(config))).decode()


def remove_hammer(parts: Parts, actor: Actor, hammer_id: int) -> None:
    with change(parts, actor) as turn:
        if not hammers.remove(turn.session, hammer_id):
            raise NotFound(f"There is no hammer {hammer_id}.")
        turn.audit("hammer.remove", f"hammer {hammer_id}")


def _hammers(parts: Parts, node_id: int, *, hammer_id: int | None = None) -> list[tuple[str, Hammer]]:
    """The node's hammers with their names, highest priority first. One that cannot be made here is left out, unless it
    is the one that is asked for.
    """
    with parts.store.read() as session:
        node_row(session, node_id)
        view = node_views(parts.registry, session, parts.store, [node_id])[node_id]
        rows = hammers.of_node(session, node_id, only=hammer_id)
    found: list[tuple[str, Hammer]] = []
    for row in rows:
        try:
            made = parts.registry.hammer(row.name, _decrypted(parts, row.config))
        except CrowbarError as error:
            if hammer_id is not None:
                raise
            log.warning("a hammer is left out", node=view.name, hammer=row.name, error=error.detail)
            continue
        made.node = view
        found.append((row.name, made))
    return found


def stops(action: str) -> bool:
    """Whether an action may stop what the node is doing: all but those that are known not to."""
    return action not in GENTLE


def power_actions(parts: Parts, node_id: int) -> tuple[str, ...]:
    """What the node's hammers can do."""
    return tuple(sorted({action for _, hammer in _hammers(parts, node_id) for action in hammer.actions()}))


def power(parts: Parts, actor: Actor, node_id: int, action: str) -> str:
    """Perform an action through the node's best hammer that can; one that fails for the moment lets the next one try.
    Returns its line. Raises ``Refused`` when none can.
    """
    able = [(name, hammer) for name, hammer in _hammers(parts, node_id) if action in hammer.actions()]
    if not able:
        refuse_unable(parts, node_id, action)
    failures: list[str] = []
    for name, hammer in able:
        try:
            return _perform(parts, actor, node_id, name, hammer, action)
        except (TemporaryError, Unavailable) as error:
            log.warning("a hammer failed for the moment", node=hammer.node.name, hammer=name, error=error.detail)
            failures.append(f"{name}: {error.detail}")
    raise TemporaryError("; ".join(failures))


def refuse_unable(parts: Parts, node_id: int, action: str) -> None:
    """Raise ``Refused`` when none of the node's hammers can perform ``action``."""
    able = power_actions(parts, node_id)
    if action not in able:
        with parts.store.read() as session:
            node = node_row(session, node_id).name
            has = bool(hammers.of_node(session, node_id))
        if able:
            known = f"they can: {', '.join(able)}."
        elif has:
            known = "none of those it has can be used here, and the server's log says why."
        else:
            known = f"it has none. `crowbar hammers create {node} KIND` makes one."
        raise Refused(f"No hammer of node {node} can {action!r}; {known}")


def console(parts: Parts, node_id: int, heard: Callable[[bytes], None], stopped: CancelFlag) -> bool:
    """Pass on what the node's console shows, through its first hammer that can; of one that fails the next is asked.
    False where none knows of a console; raises what the last one that failed did.
    """
    failure: CrowbarError | None = None
    for name, hammer in _hammers(parts, node_id):
        try:
            with _at_work(parts, name, hammer, "hear its console"):
                if hammer.console(heard, stopped):
                    return True
        except CrowbarError as error:
            failure = error
    if failure is not None:
        raise failure
    return False


def perform(parts: Parts, actor: Actor, hammer_id: int, action: str) -> str:
    """Perform an action through one particular hammer."""
    with parts.store.read() as session:
        row = or_missing(hammers.of_id(session, hammer_id), "hammer", hammer_id)
    ((name, hammer),) = _hammers(parts, row.node_id, hammer_id=hammer_id)
    if action not in hammer.actions():
        raise Refused(f"Hammer {hammer_id} cannot {action!r}; it can: {', '.join(hammer.actions())}.")
    return _perform(parts, actor, row.node_id, name, hammer, action)


@contextmanager
def _at_work(parts: Parts, name: str, hammer: Hammer, action: str) -> Iterator[None]:
    """A hammer is a barclamp's: what it raises is an answer, not the end of a thread."""
    try:
        with parts.registry.seats(name):
            yield
    except CrowbarError:
        raise
    except Exception as error:
        log.exception("a hammer failed", node=hammer.node.name, hammer=name, action=action)
        raise Refused(f"The hammer {name} of {hammer.node.name} could not {action}: {told(error)}") from error


def _perform(parts: Parts, actor: Actor, node_id: int, name: str, hammer: Hammer, action: str) -> str:
    with _at_work(parts, name, hammer, action):
        said = hammer.perform(action)
    if action != "status":
        with change(parts, actor) as turn:
            turn.audit(
                "node.power", f"node {node_row(turn.session, node_id).name}", action=action, hammer=name, result=said
            )
            if action == "off":
                write_nodes(turn, {node_id: {"alive": False, "switched_off": True}}, reason=SWITCHED_OFF)
            elif action in _ON:
                write_nodes(turn, {node_id: {"switched_off": False}})
    return said
