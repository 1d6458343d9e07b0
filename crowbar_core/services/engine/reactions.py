"""Reactions: delivering events to the plugins that listen, and having the intents done that they return.

Done by the one process that sweeps, so that each plugin hears of each subject in order. Each plugin has a lane of its
own; of one event, the plugins are told in their order, as long as none of them takes its time.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from crowbar_core.barclamp import DeploymentRoleView, Intent, NodeView
from crowbar_core.errors import CrowbarError, told
from crowbar_core.logs import log
from crowbar_core.plugins import Implementation
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.data.views import deployment_role_view, node_role_views, node_views, run_views
from crowbar_core.services.engine.intents import apply_intent
from crowbar_core.services.engine.lanes import Call, Lane
from crowbar_core.services.engine.seat import LiveCluster, named
from crowbar_core.services.turns.looking import look
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.store import events, quarantine
from crowbar_core.store.events import Waiting

BATCH = 200
MAX_INTENTS = 1000
QUARANTINE_AFTER = 3
SLOW = 1.0
"""Seconds after which a call holds up nobody but its own plugin."""
LOOK_AGAIN = 0.5
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 300.0


@dataclass
class Reactions:
    """Delivers what is due. ``go_on`` returns False to stop between two of them."""

    parts: Parts
    go_on: Callable[[], bool] = lambda: True
    _lanes: dict[str, Lane] = field(default_factory=dict)
    _quarantined: dict[str, str] = field(default_factory=dict)
    _left_behind: dict[str, int] | None = None

    def deliver_due(self) -> int:
        """Deliver all that is due now, and wait for the answers. Returns how many deliveries were settled or put off.

        While a plugin takes its time, the others go on, also with what becomes due meanwhile.
        """
        count, due = 0, list[Waiting]()
        while True:
            count += self._collect()
            slow = {name for name, lane in self._lanes.items() if lane.call is not None and lane.call.seconds > SLOW}
            due = [one for one in due if one.plugin not in slow]
            if not due and self.go_on():
                due = self._due()
            due, settled = self._begin(due, slow)
            count += settled
            calls = [lane.call for lane in self._lanes.values() if lane.call is not None]
            if calls:
                left = min(self._patience - call.seconds for call in calls)
                self.parts.woken.wait(min(max(left, 0.0) + 0.01, LOOK_AGAIN))
                self.parts.woken.clear()
                if not any(call.done for call in calls) and not self.go_on():
                    break
            elif not settled:
                break
        self._note_left_behind()
        return count

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.close()

    @property
    def _patience(self) -> float:
        return self.parts.settings.hook_seconds

    def _due(self) -> list[Waiting]:
        busy = [name for name, lane in self._lanes.items() if lane.call is not None]
        with self.parts.store.read() as session:
            look(self.parts.registry, session)
            self._quarantined = quarantine.quarantined(session)
            return events.due(session, self.parts.store.now(session), BATCH, busy=busy)

    def _begin(self, due: Sequence[Waiting], slow: Collection[str]) -> tuple[list[Waiting], int]:
        """Call whoever is free. Returns what must wait, and how many were settled without a call."""
        kept: list[Waiting] = []
        settled = 0
        # Of one event a plugin is told when those before it have been, unless one of them takes its time.
        told = {lane.call.one.event_id for name, lane in self._lanes.items() if lane.call and name not in slow}
        for place, one in enumerate(due):
            lane = self._lanes.get(one.plugin)
            if one.event_id in told or (lane is not None and lane.call is not None):
                kept.append(one)
            elif not self.go_on():
                return [*kept, *due[place:]], settled
            elif not self._call(one):
                settled += 1
                continue
            told.add(one.event_id)
        return kept, settled

    def _call(self, one: Waiting) -> bool:
        """Begin one. False when it was settled without a call."""
        impls = [i for i in self.parts.registry.implementations(one.hook) if i.plugin == one.plugin]
        if not impls:
            said = "the plugin is not loaded"
            if one.plugin in self.parts.registry.plugins:
                said = f"it is loaded, and has no {one.hook} any more; crowbar hooks dismiss {one.id} takes this away"
            self._put_off(one, said, "", last=True)
            return False
        if (reason := self._quarantined.get(one.plugin)) is not None:
            self._put_off(one, f"in quarantine: {reason}", "", last=True)
            return False
        if (own := self.parts.registry.published.get(one.hook)) is not None:
            told = one.payload.get("arguments", {})
            run = lambda: _call(impls[0], own.arguments(told))  # noqa: E731  what does not fit fails as the hook does
        else:
            try:
                arguments = self._arguments(one)
            except _Gone:
                self._settle(one)
                return False
            run = lambda: _call(impls[0], arguments)  # noqa: E731
        if (lane := self._lanes.get(one.plugin)) is None:
            lane = self._lanes[one.plugin] = Lane(one.plugin)
        lane.begin(Call(one, run, self.parts.woken.set))
        return True

    def _collect(self) -> int:
        """Take in what was answered, and give up what is overdue."""
        count = 0
        for lane in self._lanes.values():
            if (call := lane.take()) is not None:
                count += 1
                lane.overruns = 0
                if call.error is not None:
                    self._put_off(call.one, told(call.error), call.trace)
                else:
                    self._apply(call.one, call.intents)
            elif lane.call is not None and lane.call.seconds > self._patience:
                count += 1
                self._give_up(lane, lane.call.one)
        return count

    def _give_up(self, lane: Lane, one: Waiting) -> None:
        lane.leave()
        lane.overruns += 1
        said = f"it took longer than {self._patience:g} s, and was given up"
        if lane.overruns < QUARANTINE_AFTER:
            self._put_off(one, said, "")
            return
        reason = f"{lane.overruns} calls in a row took longer than {self._patience:g} s, the last one {one.hook}"
        lane.overruns = 0
        self._quarantined[lane.plugin] = reason
        with self.parts.store.write(graph=False) as session:
            quarantine.quarantine(session, lane.plugin, reason)
        log.error("barclamp in quarantine: its hooks are not called until an operator says so", plugin=lane.plugin,
                  reason=reason)  # fmt: skip
        self._put_off(one, f"{said}; in quarantine: {reason}", "", last=True)

    def _note_left_behind(self) -> None:
        found = {name: count for name, lane in self._lanes.items() if (count := lane.left_behind)}
        if found != self._left_behind:
            with self.parts.store.write(graph=False) as session:
                quarantine.note_left_behind(session, found)
            self._left_behind = found

    def _arguments(self, one: Waiting) -> dict[str, Any]:
        registry, store = self.parts.registry, self.parts.store
        kind, ref, payload = one.hook, int(one.payload["id"]), one.payload
        if kind == "on_install":
            return {"cluster": LiveCluster(self.parts, named(one.plugin))}
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
            view = _or_gone(node_role_views(registry, session, store, [ref]).get(ref))
            return {"node_role": view} | ({"refresh": payload.get("refresh", False)} if kind == "on_active" else {})

    def _apply(self, one: Waiting, intents: Sequence[Intent]) -> None:
        if not intents:  # most often: then nothing of the cluster changes
            self._settle(one)
            return
        actor = Actor(f"barclamp {one.plugin}")
        try:
            with change(self.parts, actor) as turn:
                if events.settle(turn.session, turn.now, one):
                    for intent in intents:
                        apply_intent(turn, intent)
        except CrowbarError as error:
            self._put_off(one, f"its intents were refused: {error.detail}", "")
        except Exception as error:  # noqa: BLE001  the caller of hooks is an edge: a plugin may raise anything
            self._put_off(one, f"its intents failed: {told(error)}", traceback.format_exc())

    def _settle(self, one: Waiting) -> None:
        with self.parts.store.write() as session:  # whoever adds to a waiting event holds the lock as well
            events.settle(session, self.parts.store.now(session), one)

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
        log.error("hook failed", hook=one.hook, plugin=one.plugin, subject=one.subject, error=error, given_up=last,
                  **({"exception": trace.rstrip()} if trace else {}))  # fmt: skip


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
