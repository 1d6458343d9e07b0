"""The cluster as a barclamp's own pages and jobs read it: frozen views, and intents."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from crowbar_core.barclamp import Intent, NodeRoleView, NodeView
from crowbar_core.errors import NotFound
from crowbar_core.services.parts import Actor, Parts
from crowbar_core.services.reactions import apply_intents, node_id_of
from crowbar_core.services.views import node_role_views, node_views
from crowbar_core.store.models import Node, NodeRole, RoleRow, table

nodes, node_roles, roles = table(Node), table(NodeRole), table(RoleRow)


class LiveCluster:
    """Answers from the database, each call in a transaction of its own."""

    def __init__(self, parts: Parts, actor: Actor | None = None) -> None:
        self._parts = parts
        self._actor = actor or Actor("barclamp")

    def nodes(self) -> tuple[NodeView, ...]:
        with self._parts.store.read() as session:
            return tuple(node_views(self._parts.registry, session, self._parts.store).values())

    def node(self, name: str) -> NodeView:
        with self._parts.store.read() as session:
            ref = node_id_of(session, name)
            found = node_views(self._parts.registry, session, self._parts.store, [ref]).get(ref)
        if found is None:
            raise NotFound(f"There is no node {name!r}.")
        return found

    def node_roles(self, *, role: str | None = None, node: str | None = None) -> tuple[NodeRoleView, ...]:
        statement = (
            select(node_roles.c.id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .join(nodes, nodes.c.id == node_roles.c.node_id)
        )
        if role is not None:
            statement = statement.where(roles.c.name == role)
        if node is not None:
            statement = statement.where(nodes.c.name == node.lower())
        with self._parts.store.read() as session:
            ids = session.scalars(statement).all()
            return tuple(node_role_views(self._parts.registry, session, self._parts.store, ids).values())

    def apply(self, intents: Sequence[Intent]) -> None:
        apply_intents(self._parts, self._actor, intents)
