"""Values that nobody sets: generated before the first run that would be without them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain.attributes import GENERATED, lookup, place
from crowbar_core.services.data.changes import follow_values, record_many
from crowbar_core.services.data.layers import NodeRoleLayers, node_role_layers
from crowbar_core.services.turns.secrets import seal
from crowbar_core.services.turns.turn import Turn
from crowbar_core.store import refreshing
from crowbar_core.store.bulk import set_json
from crowbar_core.store.models import DeploymentRole, NodeRole, table

node_roles, deployment_roles = table(NodeRole), table(DeploymentRole)


def make_values(turn: Turn, wanted: Sequence[tuple[int, int, str]]) -> None:
    """Generate what these (noderole id, node id, role) are to have and nobody has set, in the wall of the noderole or
    of the role in its deployment. Other noderoles there, and whoever wants it of them, go back to work.

    Costs nothing where no role has such attributes, and two statements where all values are there.
    """
    having = {role for _, _, role in wanted if any(one.generate for one in turn.registry.attributes_of(role))}
    ids = [ref for ref, _, role in wanted if role in having]
    walls: dict[str, dict[int, dict[str, Json]]] = {"node_role": {}, "deployment_role": {}}
    made: dict[tuple[str, int, str], Attribute] = {}
    others: set[int] = set()
    for found in node_role_layers(turn.registry, turn.session, turn.store, ids).values():
        for attribute in turn.registry.attributes_of(found.role):
            if not attribute.generate or _is_there(found, attribute):
                continue
            kind, ref, wall = "node_role", found.id, found.wall.data
            if attribute.per == "deployment":
                kind, ref, wall = "deployment_role", found.deployment_role, found.home_wall.data
                others.update(refreshing.bound_in(turn.session, found.role, found.deployment_id))
            if (kind, ref, attribute.name) not in made:
                made[kind, ref, attribute.name] = attribute
                walls[kind][ref] = place(walls[kind].get(ref, wall), attribute.path, _generated(turn, attribute))
    if not made:
        return
    watched = node_role_layers(turn.registry, turn.session, turn.store, others.difference(ids))
    set_json(turn.session, turn.store, node_roles, "wall", walls["node_role"])
    set_json(turn.session, turn.store, deployment_roles, "wall", walls["deployment_role"])
    said = walls["deployment_role"].items()
    follow_values(turn, watched, {("deployment wall", f"deployment_role {ref}"): wall for ref, wall in said})
    record_many(turn, [(kind, ref, "wall", ["/".join(one.path)]) for (kind, ref, _), one in made.items()])
    turn.audit_many("attribute.generate", [(f"{kind} {ref}", {"attribute": name}) for kind, ref, name in made])


def _is_there(found: NodeRoleLayers, attribute: Attribute) -> bool:
    """Whether somebody has set it, or it was generated here. What was generated for a deployment above is only that
    one's.
    """
    return any(
        lookup(layer.data, attribute.path)[0]
        for layer in found.layers
        if layer.source != "deployment wall" or layer is found.home_wall
    )


def _generated(turn: Turn, attribute: Attribute) -> Json:
    length = GENERATED[attribute.generate]
    return seal(turn.parts.cipher, secrets.token_urlsafe(length)[:length])
