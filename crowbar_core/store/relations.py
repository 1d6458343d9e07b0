"""What belongs to what, as the condition of a list: the nodes of a group, the parents of a noderole."""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists, or_, select

from crowbar_core.store.models import (
    AttribRow,
    DeploymentRole,
    Edge,
    Group,
    Node,
    NodeGroup,
    NodeRole,
    RoleRow,
    Token,
    table,
)

nodes, roles, attribs, tokens = table(Node), table(RoleRow), table(AttribRow), table(Token)
node_roles, edges, groups = table(NodeRole), table(Edge), table(Group)
bound, members = node_roles.alias("bound"), table(NodeGroup).alias("members")
added = table(DeploymentRole).alias("added")

Condition = ColumnElement[bool]


def nodes_of_group(group_id: int) -> Condition:
    return nodes.c.id.in_(select(members.c.node_id).where(members.c.group_id == group_id))


def groups_of_node(node_id: int) -> Condition:
    return groups.c.id.in_(select(members.c.group_id).where(members.c.node_id == node_id))


def nodes_of_role(role_id: int) -> Condition:
    return nodes.c.id.in_(select(bound.c.node_id).where(bound.c.role_id == role_id))


def roles_of_node(node_id: int) -> Condition:
    return roles.c.id.in_(select(bound.c.role_id).where(bound.c.node_id == node_id))


def nodes_of_deployment(deployment_id: int) -> Condition:
    """Those that live in it, and those with noderoles in it."""
    here = exists(select(bound.c.id).where(bound.c.node_id == nodes.c.id, bound.c.deployment_id == deployment_id))
    return or_(nodes.c.deployment_id == deployment_id, here)


def roles_of_deployment(deployment_id: int) -> Condition:
    """Those that were added to it."""
    return roles.c.id.in_(select(added.c.role_id).where(added.c.deployment_id == deployment_id))


def attribs_of_deployment(deployment_id: int) -> Condition:
    """Those of the roles that were added to it."""
    return attribs.c.role_id.in_(select(added.c.role_id).where(added.c.deployment_id == deployment_id))


def parents_of(node_role_id: int) -> Condition:
    return node_roles.c.id.in_(select(edges.c.parent_id).where(edges.c.child_id == node_role_id))


def children_of(node_role_id: int) -> Condition:
    return node_roles.c.id.in_(select(edges.c.child_id).where(edges.c.parent_id == node_role_id))


def tokens_of_user(user_id: int | None) -> Condition:
    """None, a node for instance, has no tokens of its own to look after."""
    return tokens.c.user_id == (-1 if user_id is None else user_id)
