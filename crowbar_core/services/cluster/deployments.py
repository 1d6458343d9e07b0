"""Deployments: a tree of named work, proposed, planned, committed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import Json
from crowbar_core.domain import names
from crowbar_core.domain.attributes import check_size, check_value, leaves, lookup, place
from crowbar_core.domain.differences import differences
from crowbar_core.errors import PlanChanged, Refused, or_missing
from crowbar_core.services.annealing.annealer import cancel, change
from crowbar_core.services.cluster.catalogue import SYSTEM_NODE_SUFFIX, add_system_node
from crowbar_core.services.cluster.commits import commit_hooks, commit_in_turn
from crowbar_core.services.cluster.leaving import to_tear_down
from crowbar_core.services.cluster.planning import Plan, insist_on, rehearse
from crowbar_core.services.cluster.removing import remove_in_turn
from crowbar_core.services.data.changes import record
from crowbar_core.services.data.layers import has_or_wants
from crowbar_core.services.data.views import deployment_role_view, deployment_view
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.secrets import keep_seals, seal
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.services.values.drafts import (
    PROPOSED_LAYER,
    commit_of_deployment_roles,
    commit_of_node_roles,
    commit_of_nodes,
    discard_in_turn,
)
from crowbar_core.services.values.nodes import write_nodes
from crowbar_core.store import bindings, deployment_roles, deployments, node_fields, trees

PLANNER = Actor("plan")


def create_deployment(
    parts: Parts, actor: Actor, *, name: str, description: str = "", parent_id: int | None = None
) -> int:
    """A new deployment, PROPOSED, below ``parent_id`` (``system`` when None), with its system node. Returns its id."""
    name = names.plain_name(name, what="deployment")
    names.description(description)
    with change(parts, actor) as turn:
        parent = deployments.system_id(turn.session) if parent_id is None else parent_id
        assert parent is not None
        _deployment(turn.session, parent)
        _refuse_taken(turn.session, name)
        label = name.lower().replace("_", "-").replace(".", "-")
        if node_fields.who_is_called(turn.session, f"{label}{SYSTEM_NODE_SUFFIX}"):
            raise Refused(
                f"Deployment {name} cannot be made: its system node's name, {label}{SYSTEM_NODE_SUFFIX}, is taken. "
                "Choose another name."
            )
        values = {"description": description, "parent_id": parent, "created_at": turn.now, "updated_at": turn.now}
        made = deployments.add(turn.session, name=name, **values)
        add_system_node(turn.session, made, label)
        turn.audit("deployment.create", f"deployment {name}")
        return made


def change_deployment(parts: Parts, actor: Actor, deployment_id: int, changes: Mapping[str, Any]) -> None:
    """Change a deployment's name, description or parent."""
    values = dict(changes)
    with change(parts, actor) as turn:
        row = _deployment(turn.session, deployment_id)
        if "description" in values:
            names.description(values["description"])
        if "name" in values and values["name"] != row.name:
            values["name"] = names.plain_name(values["name"], what="deployment")
            if row.system:
                raise Refused("The deployment system keeps its name.")
            _refuse_taken(turn.session, values["name"], but=deployment_id)
        if "parent_id" in values and values["parent_id"] != row.parent_id:
            _refuse_bad_parent(turn.session, row, values["parent_id"])
        deployments.change(turn.session, turn.now, deployment_id, **values)
        turn.audit("deployment.change", f"deployment {row.name}", changed=differences(row._mapping, changes))


def delete_deployment(parts: Parts, actor: Actor, deployment_id: int, *, force: bool = False) -> None:
    """Unbind a deployment's noderoles, highest cohort first, hand its nodes to its parent, and remove it.

    Refused while it has children, while one of its noderoles runs, while one has something to tear down on its node
    (``force``: that stays there), and for ``system``.
    """
    with change(parts, actor) as turn:
        row = _not_system(turn.session, deployment_id, "deleted")
        if children := deployments.children(turn.session, deployment_id):
            raise Refused(f"Deployment {row.name} has children: {', '.join(children)}. Delete those first.")
        if outside := deployments.dependants_outside(turn.session, deployment_id):
            listed = ", ".join(f"{one.role} on {one.node}" for one in outside)
            raise Refused(
                f"Deployment {row.name} cannot be deleted: {listed} in other deployments depend "
                "on it. Unbind those first."
            )
        if turn.registry.listens("check_delete"):
            view = deployment_view(turn.registry, turn.session, turn.store, deployment_id)
            if said := turn.registry.objections("check_delete", subject=view, session=turn.session):
                raise Refused(" ".join(said))
        ids = deployments.node_roles_of(turn.session, deployment_id)
        if not force and (tearing := to_tear_down(turn, ids)):
            raise Refused(
                f"Deployment {row.name} has noderoles that tear down what they made on their nodes before they go, "
                f"{len(tearing)} of them, such as {tearing[0].role} on {tearing[0].node}. Unbind them first, or delete "
                "it with force."
            )
        if turn.notes is not None:
            turn.notes.gone.append(f"deployment {row.name}")
        remove_in_turn(turn, ids)
        for ref in deployment_roles.of_deployment(turn.session, deployment_id):
            drop_deployment_role(turn, ref)
        here = deployments.nodes_of(turn.session, deployment_id)
        write_nodes(turn, {ref: {"deployment_id": row.parent_id} for ref in here})
        deployments.remove(turn.session, deployment_id)
        turn.audit("deployment.delete", f"deployment {row.name}")


def propose(parts: Parts, actor: Actor, deployment_id: int) -> None:
    """Take a deployment back to PROPOSED: nothing new is scheduled in it, what runs finishes."""
    _withdraw(parts, actor, deployment_id, "propose")


def recall(parts: Parts, actor: Actor, deployment_id: int) -> None:
    """Take back a proposal or a commit: as ``propose``, and the deployment's drafts are discarded."""
    _withdraw(parts, actor, deployment_id, "recall")


def _withdraw(parts: Parts, actor: Actor, deployment_id: int, action: str) -> None:
    with change(parts, actor) as turn:
        row = _not_system(turn.session, deployment_id, "proposed")
        deployments.change(turn.session, turn.now, deployment_id, committed=False)
        queued = deployments.queued(turn.session, deployment_id)
        cancel(turn, queued, f"deployment {row.name} was proposed again", queued_only=True)
        if action == "recall":
            discard_in_turn(turn, deployment_id=deployment_id)
        turn.audit(f"deployment.{action}", f"deployment {row.name}")


def commit(parts: Parts, actor: Actor, deployment_id: int, *, plan: str | None = None) -> None:
    """Commit a deployment: its drafts and all its PROPOSED noderoles. ``plan``: refuse unless that plan still holds.

    Committing what is committed commits what was proposed since, and is otherwise without effect.
    """
    try:
        with change(parts, actor) as turn:
            if plan is not None:
                insist_on(turn, plan)
            commit_deployment_in_turn(turn, deployment_id)
    except PlanChanged as error:
        # Had it changed by itself, or is there a hook that never answers twice alike?
        now = rehearse(parts, lambda: commit(parts, actor, deployment_id))
        if now.unsteady:
            raise PlanChanged(f"{error.detail} This was not steady: {'; '.join(now.unsteady)}.") from error
        raise


def plan(parts: Parts, deployment_id: int) -> Plan:
    """What committing the deployment would do."""
    with parts.store.read() as session:
        name = _deployment(session, deployment_id).name
    return rehearse(parts, lambda: commit(parts, PLANNER, deployment_id), title=f"Commit deployment {name}")


def commit_deployment_in_turn(turn: Turn, deployment_id: int) -> None:
    """The same inside a running turn."""
    row = _deployment(turn.session, deployment_id)
    deployments.change(turn.session, turn.now, deployment_id, committed=True)
    commit_of_deployment_roles(turn, deployment_roles.drafted(turn.session, deployment_id))
    drafted = deployments.drafted_node_roles(turn.session, deployment_id)
    commit_of_node_roles(turn, drafted)
    commit_of_nodes(turn, deployments.drafted_nodes(turn.session, deployment_id))
    committed = commit_in_turn(turn, deployments.proposed(turn.session, deployment_id))
    commit_hooks(turn, [*committed, *drafted], deployment_id=deployment_id)
    turn.moves.woken.update(deployments.busy_nodes(turn.session, deployment_id))
    turn.audit("deployment.commit", f"deployment {row.name}", committed=len(committed))


# ---------------------------------------------------------------- deployment roles


def add_role(
    parts: Parts, actor: Actor, *, deployment_id: int, role_id: int, data: Mapping[str, Json] | None = None
) -> int:
    """Add a role to a deployment, with proposed values for it. Returns the deployment role's id. Refused if it is
    there.
    """
    with change(parts, actor) as turn:
        row = _deployment(turn.session, deployment_id)
        role = or_missing(bindings.role_names(turn.session, [role_id]).get(role_id), "role", role_id)
        there = deployment_roles.find(turn.session, deployment_id, role_id)
        if there is not None:
            raise Refused(f"Role {role} is in deployment {row.name} already (deployment role {there}).")
        checked = _checked(parts, role, data or {})
        made = deployment_roles.add(
            turn.session, turn.now, deployment_id=deployment_id, role_id=role_id, proposed_data=checked
        )
        record(turn, "deployment_role", made, PROPOSED_LAYER, [path for path, _ in leaves(dict(data or {}))])
        turn.tell("on_deployment_create", f"deployment_role {made}", id=made)
        turn.audit("deployment.add_role", f"deployment {row.name}", role=role)
        return made


def remove_role(parts: Parts, actor: Actor, deployment_role_id: int) -> None:
    """Take a role out of a deployment. Refused while noderoles of it are bound there."""
    with change(parts, actor) as turn:
        row = _deployment_role(turn.session, deployment_role_id)
        if bound := deployments.bound(turn.session, row.deployment_id, row.role_id):
            raise Refused(
                f"Role {row.role} is bound to {bound} nodes in deployment {row.deployment}. Unbind those first."
            )
        drop_deployment_role(turn, deployment_role_id)
        turn.audit("deployment.remove_role", f"deployment {row.deployment}", role=row.role)


def drop_deployment_role(turn: Turn, deployment_role_id: int) -> None:
    """Take a role out of a deployment, whose noderoles are gone, and tell of it."""
    view = deployment_role_view(turn.session, deployment_role_id)
    assert view is not None
    deployment_roles.remove(turn.session, deployment_role_id)
    payload = {"id": view.id, "deployment": view.deployment, "role": view.role, "data": dict(view.data)}
    turn.tell("on_deployment_delete", f"deployment_role {view.id}", id=view.id, view=payload)


def set_role_data(parts: Parts, actor: Actor, deployment_role_id: int, data: Mapping[str, Json]) -> None:
    """Replace a deployment role's proposed data. It takes effect when it is committed."""
    with change(parts, actor) as turn:
        row = _deployment_role(turn.session, deployment_role_id)
        kept = keep_seals(parts.cipher, row.committed_data, _checked(parts, row.role, data))
        deployment_roles.propose(turn.session, turn.now, deployment_role_id, kept)
        record(turn, "deployment_role", deployment_role_id, PROPOSED_LAYER, [path for path, _ in leaves(dict(data))])
        changed = differences({"data": row.proposed_data}, {"data": kept})
        turn.audit("deployment_role.data", f"deployment_role {deployment_role_id}", changed=changed)


def commit_role(parts: Parts, actor: Actor, deployment_role_id: int) -> None:
    """Commit a deployment role's drafts; noderoles that have or want a changed value go back to work."""
    with change(parts, actor) as turn:
        _deployment_role(turn.session, deployment_role_id)
        commit_of_deployment_roles(turn, [deployment_role_id])
        turn.audit("deployment_role.commit", f"deployment_role {deployment_role_id}")


def propose_role(parts: Parts, actor: Actor, deployment_role_id: int) -> None:
    """Take a deployment role's proposed data back to what was committed last, for editing afresh."""
    with change(parts, actor) as turn:
        _deployment_role(turn.session, deployment_role_id)
        discard_in_turn(turn, deployment_role=deployment_role_id)
        turn.audit("deployment_role.propose", f"deployment_role {deployment_role_id}")


def _checked(parts: Parts, role: str, data: Mapping[str, Json]) -> dict[str, Json]:
    """The data checked against the attributes that the role has or wants, with secrets sealed."""
    check_size(f"the data of {role}", dict(data))
    tree = dict(data)
    known = parts.registry.attributes
    for attribute in [one.attribute for name, one in known.items() if has_or_wants(parts.registry, role, name)]:
        found, value = lookup(tree, attribute.path)
        if found:
            check_value(attribute, value)
            if attribute.secret:
                tree = place(tree, attribute.path, seal(parts.cipher, value))
    return tree


# ---------------------------------------------------------------- parts of the above


def _deployment(session: Session, deployment_id: int) -> Any:
    return or_missing(deployments.row_of(session, deployment_id), "deployment", deployment_id)


def _not_system(session: Session, deployment_id: int, what: str) -> Any:
    row = _deployment(session, deployment_id)
    if row.system:
        raise Refused(f"The deployment system cannot be {what}: everything stands on it.")
    return row


def _deployment_role(session: Session, deployment_role_id: int) -> Any:
    return or_missing(deployment_roles.row_of(session, deployment_role_id), "deployment role", deployment_role_id)


def _refuse_taken(session: Session, name: str, *, but: int | None = None) -> None:
    taken = deployments.who_is_called(session, name, but=but)
    if taken is not None:
        raise Refused(f"There is a deployment {name} already (deployment {taken}).")


def _refuse_bad_parent(session: Session, row: Any, parent_id: int) -> None:
    if row.system:
        raise Refused("The deployment system is the root of the tree and has no parent.")
    parent = _deployment(session, parent_id)
    if parent_id in trees.subtree(session, row.id):
        raise Refused(f"Deployment {parent.name} is {row.name} itself or below it, and cannot be its parent.")
    if deployments.is_used(session, row.id):
        raise Refused(
            f"Deployment {row.name} has noderoles, whose parents may be in its ancestors. Unbind them before moving it."
        )
