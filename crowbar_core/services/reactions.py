"""Reactions: delivering events to the plugins that listen, and applying the intents that they return.

Done by the one process that sweeps, so that each plugin hears of each subject in order. Each plugin has a thread of its
own:
one that hangs holds up nobody but itself.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.barclamp import (
    Bind,
    DeploymentRoleView,
    Intent,
    MarkAlive,
    NodeView,
    Power,
    Refresh,
    Rerun,
    SetAttribute,
    SetBootEnv,
    Unbind,
)
from crowbar_core.errors import CrowbarError, NotFound
from crowbar_core.plugins import Implementation
from crowbar_core.services import attributes, binding, nodes, steering
from crowbar_core.services.annealer import change
from crowbar_core.services.hammers import power
from crowbar_core.services.parts import Actor, Parts, Turn, log
from crowbar_core.services.views import deployment_role_view, node_role_views, node_views, run_views
from crowbar_core.store import events
from crowbar_core.store.events import Waiting
from crowbar_core.store.models import Deployment, Node, NodeRole, RoleRow, table

node_rows, node_roles, roles, deployments = table(Node), table(NodeRole), table(RoleRow), table(Deployment)

BATCH = 200
MAX_INTENTS = 1000
QUARANTINE_AFTER = 3
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 300.0


@dataclass
class _Lane:
    """One plugin's thread, and how often it overran."""

    executor: ThreadPoolExecutor
    running: Future[Any] | None = None
    overruns: int = 0


@dataclass
class Reactions:
    """Delivers what is due. ``go_on`` returns False to stop between two of them."""

    parts: Parts
    go_on: Callable[[], bool] = lambda: True
    _lanes: dict[str, _Lane] = field(default_factory=dict)

    def deliver_due(self) -> int:
        """Deliver all that is due now. Returns how many deliveries were settled or put off."""
        count = 0
        while self.go_on():
            busy = [name for name, lane in self._lanes.items() if lane.running is not None and not lane.running.done()]
            with self.parts.store.read() as session:
                now = self.parts.store.now(session)
                due = events.due(session, now, BATCH, busy=busy)
            if not due:
                return count
            blocked: set[str] = set()
            for one in due:
                if one.plugin in blocked or not self.go_on():
                    continue
                if not self._deliver(one):
                    blocked.add(one.plugin)
                count += 1
        return count

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.executor.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, one: Waiting) -> bool:
        """Deliver one. False when the plugin is busy or gone, so that its others must wait."""
        impls = [i for i in self.parts.registry.implementations(one.hook) if i.plugin == one.plugin]
        if not impls:
            self._put_off(one, "the plugin is not loaded", "", last=True)
            return True
        if one.retried:
            self.forgive([one.plugin])
        lane = self._lanes.setdefault(one.plugin, _Lane(self._executor(one.plugin)))
        if lane.overruns >= QUARANTINE_AFTER:
            self._put_off(
                one,
                f"quarantined: it overran {self.parts.settings.hook_seconds:g} s {lane.overruns} times",
                "",
                last=True,
            )
            return True
        try:
            arguments = self._arguments(one)
        except _Gone:
            self._settle(one)
            return True
        lane.running = lane.executor.submit(_call, impls[0], arguments)
        try:
            intents = lane.running.result(timeout=self.parts.settings.hook_seconds)
        except FutureTimeout:
            lane.overruns += 1
            self._put_off(one, f"it took longer than {self.parts.settings.hook_seconds:g} s", "")
            return False
        except (Exception, SystemExit) as error:  # noqa: BLE001  the caller of hooks is an edge: a plugin may raise anything
            self._put_off(one, f"{type(error).__name__}: {error}", traceback.format_exc())
            return True
        lane.overruns = 0
        self._apply(one, intents)
        return True

    def _executor(self, plugin: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"crowbar-hooks-{plugin}")

    def forgive(self, plugins: Sequence[str]) -> None:
        """Let quarantined plugins be called again: an operator has let their failed deliveries be retried."""
        for name in plugins:
            if (lane := self._lanes.get(name)) is not None and lane.overruns >= QUARANTINE_AFTER:
                lane.executor.shutdown(wait=False, cancel_futures=True)
                del self._lanes[name]

    def _arguments(self, one: Waiting) -> dict[str, Any]:
        registry, store = self.parts.registry, self.parts.store
        kind, ref, payload = one.hook, int(one.payload["id"]), one.payload
        with store.read() as session:
            if kind == "on_node_delete":
                return {"node": _node_from(payload["view"])}
            if kind == "on_deployment_delete":
                return {"deployment_role": DeploymentRoleView(**payload["view"])}
            if kind == "on_deployment_create":
                return {"deployment_role": _or_gone(deployment_role_view(session, ref))}
            if kind in ("on_node_create", "on_node_change"):
                view = _or_gone(node_views(registry, session, store, [ref]).get(ref))
                return {"node": view, "changed": frozenset(payload.get("changed", ()))}
            if kind == "on_run_finished":
                return {"run": _or_gone(run_views(session, store, [ref]).get(ref))}
            return {"node_role": _or_gone(node_role_views(registry, session, store, [ref]).get(ref))}

    def _apply(self, one: Waiting, intents: Sequence[Intent]) -> None:
        actor = Actor(f"barclamp {one.plugin}")
        try:
            for intent in intents:
                if isinstance(intent, Power):
                    power(self.parts, actor, self._node_id(intent.node), intent.action)
            with change(self.parts, actor) as turn:
                if events.settle(turn.session, turn.now, one.id):
                    for intent in intents:
                        apply_intent(turn, intent)
        except CrowbarError as error:
            self._put_off(one, f"its intents were refused: {error.detail}", "")
        except Exception as error:  # noqa: BLE001  the caller of hooks is an edge: a plugin may raise anything
            self._put_off(one, f"its intents failed: {type(error).__name__}: {error}", traceback.format_exc())

    def _node_id(self, name: str) -> int:
        with self.parts.store.read() as session:
            return node_id_of(session, name)

    def _settle(self, one: Waiting) -> None:
        with self.parts.store.write(graph=False) as session:
            events.settle(session, self.parts.store.now(session), one.id)

    def _put_off(self, one: Waiting, error: str, trace: str, *, last: bool = False) -> None:
        attempts = one.attempts + 1
        last = last or attempts >= self.parts.settings.hook_attempts
        delay = min(_FIRST_DELAY * 2 ** (attempts - 1), _LONGEST_DELAY)
        with self.parts.store.write(graph=False) as session:
            now = self.parts.store.now(session)
            events.put_off(
                session, one.id, attempts=attempts, next_try_at=None if last else now + timedelta(seconds=delay),
                error=error[:2000], traceback=trace[-8000:], now=now,
            )  # fmt: skip
        log.error("hook failed", hook=one.hook, plugin=one.plugin, subject=one.subject, error=error, given_up=last)


class _Gone(Exception):
    """The subject of an event no longer exists."""


def _or_gone(view: Any) -> Any:
    if view is None:
        raise _Gone
    return view


def _node_from(payload: Mapping[str, Any]) -> NodeView:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in payload.items()}
    return NodeView(**values)


def _call(implementation: Implementation, arguments: Mapping[str, Any]) -> list[Intent]:
    answer = implementation(**arguments)
    if answer is None:
        return []
    intents: list[Intent] = []
    for intent in answer:
        if not isinstance(intent, Intent):
            raise TypeError(f"{implementation.plugin} returned {type(intent).__name__}, which is no intent")
        intents.append(intent)
        if len(intents) > MAX_INTENTS:
            raise ValueError(f"{implementation.plugin} returned more than {MAX_INTENTS} intents")
    return intents


def apply_intents(parts: Parts, actor: Actor, intents: Sequence[Intent]) -> None:
    """Apply intents in one transaction: all or none. ``Power`` is performed first, outside of it."""
    for intent in intents:
        if isinstance(intent, Power):
            with parts.store.read() as session:
                node_id = node_id_of(session, intent.node)
            power(parts, actor, node_id, intent.action)
    with change(parts, actor) as turn:
        for intent in intents:
            apply_intent(turn, intent)


def apply_intent(turn: Turn, intent: Intent) -> None:
    """Apply one intent inside a turn. Doing it twice does no more than doing it once."""
    if isinstance(intent, Power):
        return
    node_id = node_id_of(turn.session, intent.node)
    if isinstance(intent, Bind):
        deployment_id = _deployment_id(turn.session, intent.deployment) if intent.deployment else None
        binding.bind_in_turn(turn, node_id=node_id, role=intent.role, deployment_id=deployment_id)
    elif isinstance(intent, Unbind):
        if (ref := _node_role_id(turn.session, node_id, intent.role)) is not None:
            binding.unbind_in_turn(turn, ref)
    elif isinstance(intent, SetAttribute):
        attributes.set_in_turn(turn, attribute=intent.attribute, value=intent.value, node_id=node_id, role=intent.role)
    elif isinstance(intent, SetBootEnv):
        nodes.change_in_turn(turn, node_id, {"bootenv": intent.bootenv})
    elif isinstance(intent, MarkAlive):
        nodes.change_in_turn(turn, node_id, {"alive": intent.alive})
    elif isinstance(intent, Rerun | Refresh):
        ref = _node_role_id(turn.session, node_id, intent.role)
        if ref is None:
            raise NotFound(f"Role {intent.role} is not bound to {intent.node}.")
        if isinstance(intent, Rerun):
            steering.rerun_in_turn(turn, ref)
        else:
            steering.refresh_in_turn(turn, ref)


def node_id_of(session: Session, name: str) -> int:
    found = session.scalar(select(node_rows.c.id).where(node_rows.c.name == name.lower()))
    if found is None:
        raise NotFound(f"There is no node {name!r}.")
    return int(found)


def _deployment_id(session: Session, name: str) -> int:
    found = session.scalar(select(deployments.c.id).where(deployments.c.name == name))
    if found is None:
        raise NotFound(f"There is no deployment {name!r}.")
    return int(found)


def _node_role_id(session: Session, node_id: int, role: str) -> int | None:
    return session.scalar(
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.node_id == node_id, roles.c.name == role)
    )
