"""All values that are set on a noderole at once, as a file of declared state says them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain.attributes import check_size, check_value, leaves, lookup, place, undeclared
from crowbar_core.domain.differences import differences
from crowbar_core.errors import BadInput, Refused, or_missing
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.data.changes import record
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.secrets import keep_seals, seal
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.services.values.drafts import PROPOSED_LAYER
from crowbar_core.store import noderoles


def set_data(parts: Parts, actor: Actor, node_role_id: int, data: Mapping[str, Json]) -> None:
    """Replace what is set on a noderole, but for secrets that the data do not name, as drafts. Raises ``BadInput`` for
    what the role has no attribute for or a schema forbids, ``Refused`` for what is not writable, ``NotFound``.
    """
    with change(parts, actor) as turn:
        set_data_in_turn(turn, node_role_id, data)


def set_data_in_turn(turn: Turn, node_role_id: int, data: Mapping[str, Json]) -> None:
    row = or_missing(noderoles.values_of(turn.session, node_role_id), "noderole", node_role_id)
    mine = [one.attribute for one in turn.registry.attributes.values() if one.role == row.role]
    kept = keep_seals(turn.parts.cipher, row.committed_data, _checked(turn, row.role, mine, row.proposed_data, data))
    noderoles.note(turn.session, node_role_id, proposed_data=kept, updated_at=turn.now)
    record(turn, "node_role", node_role_id, PROPOSED_LAYER, [path for path, _ in leaves(dict(data))])
    changed = differences({"data": row.proposed_data}, {"data": kept})
    turn.audit("node_role.data", f"node_role {row.role} on {row.node}", changed=changed)


def _checked(
    turn: Turn, role: str, mine: Sequence[Attribute], before: Mapping[str, Json], data: Mapping[str, Json]
) -> dict[str, Json]:
    check_size(f"the data of {role}", dict(data))
    if unknown := undeclared(mine, data):
        known = ", ".join("/".join(one.path) for one in mine) or "none"
        raise BadInput(f"Role {role} has no attribute at {unknown[0]}; it has {known}.")
    tree = dict(data)
    for attribute in mine:
        found, value = lookup(tree, attribute.path)
        there, old = lookup(before, attribute.path)
        if found and not attribute.writable and (not there or old != value):
            raise Refused(f"Attribute {attribute.name} is not writable: it is reported by {role}.")
        if found:
            check_value(attribute, value)
        if attribute.secret and (found or there):
            tree = place(tree, attribute.path, seal(turn.parts.cipher, value) if found else old)
    return tree
