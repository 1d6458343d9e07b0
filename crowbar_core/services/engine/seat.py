"""The seat of barclamps: where they read the cluster from, and take part in changing it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from crowbar_core.barclamp import CancelFlag, Change, Intent, NodeRoleView, NodeView
from crowbar_core.errors import BadInput, NotFound
from crowbar_core.plugins import Failure
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.cluster.hammers import console, power, power_actions
from crowbar_core.services.cluster.registering import NewNode, register_in_turn
from crowbar_core.services.data import questions
from crowbar_core.services.data.views import node_role_views, node_view, node_views
from crowbar_core.services.engine.intents import apply_intent, apply_intents
from crowbar_core.services.people import users
from crowbar_core.services.turns.looking import look
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.publishing import publish
from crowbar_core.services.turns.secrets import seal_text, unseal_text
from crowbar_core.services.turns.turn import Actor, Turn, open_now, refuse_inside
from crowbar_core.store import named as store_named
from crowbar_core.store import views as rows_of

S = TypeVar("S")


def take_seats(parts: Parts) -> None:
    """Let every barclamp find the cluster in its hooks, and take part in turns. Called once, by whoever builds."""
    parts.registry.seats.cluster = lambda plugin: LiveCluster(parts, named(plugin))
    parts.seat = lambda turn, plugin: LiveChange(turn, named(plugin))


def named(name: str) -> Actor:
    """A barclamp, as the audit trail names it."""
    return Actor(f"barclamp {name}")


class LiveChange:
    """A running turn, as a barclamp takes part in it."""

    def __init__(self, turn: Turn, actor: Actor) -> None:
        self._turn = turn
        self._actor = actor
        self.session = turn.session
        self.now = turn.now

    def apply(self, *intents: Intent) -> None:
        with self._turn.acting(self._actor):
            for intent in intents:
                apply_intent(self._turn, intent)

    def publish(self, hook: str, subject: str, **arguments: Any) -> None:
        publish(self._turn, hook, subject, **arguments)

    def audit(self, action: str, subject: str, /, **detail: Any) -> None:
        with self._turn.acting(self._actor):
            self._turn.audit(action, subject, **detail)

    def create_node(self, name: str, *, deployment: str | None = None, **values: Any) -> NodeView:
        turn = self._turn
        home = None if deployment is None else store_named.deployment_id(turn.session, deployment)
        given = {key: value for key, value in values.items() if value is not None}
        with turn.acting(self._actor):
            made = register_in_turn(turn, NewNode(name=name, deployment_id=home, **given))
        return node_views(turn.registry, turn.session, turn.store, [made])[made]

    def node_token(self, node: str, *, purpose: str, seconds: float) -> str:
        node_id = store_named.node_id(self.session, node)
        until = self.now + timedelta(seconds=seconds)
        return users.node_token(self.session, self._actor, node_id, purpose=purpose, expires_at=until)

    def put_user(self, name: str, *, password: str, role: str = "admin") -> bool:
        return users.put_user(self.session, self.now, self._actor, name=name, password=password, role=role)

    def seal(self, text: str) -> str:
        return seal_text(self._turn.parts.cipher, text)

    def unseal(self, sealed: str) -> str:
        return unseal_text(self._turn.parts.cipher, sealed)


class LiveCluster:
    """Answers from the database: in a transaction for each call, or in the change that is open in this thread."""

    def __init__(self, parts: Parts, actor: Actor | None = None) -> None:
        self._parts = parts
        self._actor = actor or Actor("barclamp")

    @contextmanager
    def read(self) -> Iterator[Session]:
        turn = open_now(self._parts)
        if turn is not None:
            yield turn.session
            return
        with self._parts.store.read() as session:
            look(self._parts.registry, session)
            yield session

    @contextmanager
    def change(self) -> Iterator[Change]:
        with change(self._parts, self._actor) as turn:
            yield LiveChange(turn, self._actor)

    def nodes(self, ids: Collection[int] | None = None) -> tuple[NodeView, ...]:
        with self.read() as session:
            return tuple(node_views(self._parts.registry, session, self._parts.store, ids).values())

    def settings(self, kind: type[S]) -> S:
        return self._parts.registry.settings_as(kind)

    def node(self, name: str) -> NodeView:
        with self.read() as session:
            return node_view(self._parts.registry, session, self._parts.store, store_named.node_id(session, name))

    def node_roles(self, *, role: str | None = None, node: str | None = None) -> tuple[NodeRoleView, ...]:
        with self.read() as session:
            ids = rows_of.node_role_ids(session, role=role, node=node)
            return tuple(node_role_views(self._parts.registry, session, self._parts.store, ids).values())

    def apply(self, intents: Sequence[Intent]) -> None:
        apply_intents(self._parts, self._actor, intents)

    def ask(self, hook: str, **arguments: Any) -> tuple[tuple[str, Any], ...]:
        registry = self._parts.registry
        takes = registry.question(hook)
        if takes is None:
            raise NotFound(f"Nobody publishes a question {hook!r} that could be asked.")
        if set(arguments) | {"session"} != set(takes) | {"session"}:
            raise BadInput(f"{hook} is asked with {', '.join(one for one in takes if one != 'session') or 'nothing'}.")
        if hook == "node_boot":
            return self.boots([arguments["node"]])[arguments["node"].id]
        with self.read() as session:
            of = getattr(arguments.get("node_role"), "role", None)
            said = registry.ask(hook, of=of, **{"session": session, **arguments})
            told = ((plugin, answer) for plugin, answer in said if answer is not None)
            answers = ((plugin, answer) for plugin, answer in told if not isinstance(answer, Failure))
            return tuple(islice(answers, 1 if hook in registry.published and registry.published[hook].first else None))

    def boots(self, nodes: Sequence[NodeView]) -> Mapping[int, tuple[tuple[str, Any], ...]]:
        with self.read() as session:
            found = questions.boots(self._parts.registry, session, nodes)
        return {
            one.id: tuple(
                (answer.plugin, answer.said)
                for answer in found.get(one.id, ())
                if answer.said is not None and not isinstance(answer.said, Failure)
            )
            for one in nodes
        }

    def power(self, node: str, action: str) -> str:
        refuse_inside()
        return power(self._parts, self._actor, self._node_id(node), action)

    def power_actions(self, node: str) -> tuple[str, ...]:
        return power_actions(self._parts, self._node_id(node))

    def console(self, node: str, heard: Callable[[bytes], None], stopped: CancelFlag) -> bool:
        refuse_inside()
        return console(self._parts, self._node_id(node), heard, stopped)

    def _node_id(self, node: str) -> int:
        with self.read() as session:
            return store_named.node_id(session, node)
