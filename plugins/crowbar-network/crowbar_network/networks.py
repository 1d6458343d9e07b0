"""Making, changing and removing networks.

Each function is given the open change of the core; what it writes happens with all else of that change, or not at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import netaddr
from sqlalchemy import delete, func, insert, select, update

from crowbar_core import Attribute, Change, DefineRole, Refused, RemoveRole, Role, differences
from crowbar_core.tables import deployments, node_roles, nodes
from crowbar_core.tables import roles as role_rows
from crowbar_network import drafts, holders
from crowbar_network.addressing import parse_v6prefix, ula_prefix, ula_subnet
from crowbar_network.checks import V6_MTU, check_layers
from crowbar_network.errors import bad, refused
from crowbar_network.jig import INVENTORY
from crowbar_network.ranges import HOST_V6, add_range, add_router, add_v6_range, refuse_stray_routers
from crowbar_network.remembered import forget, remembered
from crowbar_network.tables import allocations, installation, networks, ranges
from crowbar_network.telling import OWN_ROLES, role_of, row_of, tell_changed, tell_network, view_of
from crowbar_network.writers import WRITERS

BASE_ROLE = "network"
"""What the roles of networks are like."""
AUTO = "auto"
SUBNETS = 1 << 16


# ---------------------------------------------------------------- networks


def create(
    change: Change,
    values: Mapping[str, Any],
    *,
    given_ranges: Sequence[Mapping[str, Any]] = (),
    given_router: Mapping[str, Any] | None = None,
) -> int:
    """Make a network with its ranges and its router; returns its id. Its role is there afterwards. Raises ``BadInput``
    with the field, ``Refused``.
    """
    made = dict(values)
    prefix = made.pop("v6prefix", None)
    if prefix is None and made["category"] == "admin" and not _has(given_ranges, 6):
        prefix = AUTO
    _refuse_name(change.session, made["name"])
    made |= _v6(change, prefix)
    check_layers(made)
    key: int = change.session.scalar(insert(networks).values(**made).returning(networks.c.id))
    forget(change.session)
    if made["v6prefix"]:
        add_v6_range(change.session, key, made["v6prefix"])
    for number, one in enumerate(given_ranges):
        add_range(change, key, one, at=f"ranges/{number}/", tell=False)
    if given_router is not None:
        add_router(change, key, given_router, at="router/", tell=False)
    _check_dhcp(change.session, key, made)
    change.apply(DefineRole(role=_role(made["name"])))
    change.audit("network.create", f"network {made['name']}")
    tell_network(change, "on_network_create", view_of(change.session, row_of(change.session, key)))
    return key


def alter(change: Change, key: int, values: Mapping[str, Any], *, at_once: bool = False) -> None:
    """Set these fields: those of which nodes have something (``drafts.WAIT``) as drafts as soon as one has the network,
    unless they are to count ``at_once``. Raises ``NotFound``, ``BadInput``, ``Refused``: its name cannot change, and
    its prefix only while nobody has an address of it.
    """
    session, now = change.session, row_of(change.session, key)
    new = dict(values)
    if new.get("name", now.name) != now.name:
        raise bad(
            "name", f"The network {now.name} keeps its name, which its role and hints have too; make another one."
        )
    if "v6prefix" in new:
        _alter_v6(change, now, new)
    _check_dhcp(session, key, new)
    _check_home(session, now, new)
    _check_mtu(session, key, new)
    if new.get("configure") and not now.configure:
        _refuse_overlapping(session, now)
    later = {name: new.pop(name) for name in drafts.WAIT if name in new}
    if at_once or not later or not drafts.waits(session, now):
        new |= later
        check_layers({**now._mapping, **new})
        if new:
            session.execute(update(networks).where(networks.c.id == key).values(**drafts.settled(now, new)))
            forget(session)
        change.audit("network.change", f"network {now.name}", changed=differences(now._mapping, new))
        tell_changed(change, key, run=bool(later))
        return
    check_layers({**drafts.proposed(now), **later})
    drafts.put_off(session, networks, now, later)
    change.audit("network.draft", f"network {now.name}", changed=differences(drafts.proposed(now), later))
    if new:
        session.execute(update(networks).where(networks.c.id == key).values(**new))
        forget(session)
        change.audit("network.change", f"network {now.name}", changed=differences(now._mapping, new))
        tell_changed(change, key)


def remove(change: Change, key: int) -> None:
    """Raises ``NotFound``, and ``Refused`` while somebody has an address of it or its role is bound, with which."""
    session, now = change.session, row_of(change.session, key)
    if who := holders.who(session, allocations.c.network_id == key):
        raise Refused(
            f"The network {now.name} cannot go: it has addresses of {who}. Unbind {role_of(now.name)} from nodes, and "
            "give back what is reserved, first."
        )
    last = view_of(session, now)
    change.apply(RemoveRole(name=role_of(now.name)))
    session.execute(delete(networks).where(networks.c.id == key))
    forget(session)
    change.audit("network.delete", f"network {now.name}")
    tell_network(change, "on_network_delete", last)


def names_in(session: Any, deployment_id: int) -> list[str]:
    """The networks of a deployment, by name."""
    mine = select(networks.c.name).where(networks.c.deployment_id == deployment_id)
    return list(session.scalars(mine.order_by(networks.c.name)).all())


def is_usable(session: Any, network: Any, deployment: str) -> bool:
    """Whether a network can be used in the deployment of this name: it is its own, or that lies below it."""
    known = remembered(session)
    if ("usable", network.id, deployment) not in known:
        rows = session.execute(select(deployments.c.id, deployments.c.parent_id, deployments.c.name)).all()
        above = {one.id: one.parent_id for one in rows}
        here = next((one.id for one in rows if one.name == deployment), None)
        while here is not None and here != network.deployment_id:
            here = above[here]
        known["usable", network.id, deployment] = here is not None
    found: bool = known["usable", network.id, deployment]
    return found


def _refuse_name(session: Any, name: str) -> None:
    if role_of(name) in OWN_ROLES:
        raise bad("name", f"The role of a network {name} would be {role_of(name)}, which Crowbar keeps for itself: "
                  "choose another name.")  # fmt: skip
    if session.scalar(select(networks.c.id).where(networks.c.name == name)) is not None:
        raise Refused(f"There is a network {name} already: choose another name, or change that one.")


def _check_mtu(session: Any, key: int, values: Mapping[str, Any]) -> None:
    six = select(ranges.c.name).where(ranges.c.network_id == key, ranges.c.first.startswith("6")).limit(1)
    if (values.get("mtu") or V6_MTU) < V6_MTU and (name := session.scalar(six)) is not None:
        raise bad(
            "mtu", f"{values['mtu']} is too small for IPv6, which needs {V6_MTU}: the network has the range {name}."
        )


def _check_home(session: Any, now: Any, values: Mapping[str, Any]) -> None:
    """In another deployment it must still be usable by all who have its role."""
    there = values.get("deployment_id")
    if there is None or there == now.deployment_id:
        return
    asked = (
        select(nodes.c.name, deployments.c.name.label("deployment"))
        .select_from(node_roles)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .join(role_rows, role_rows.c.id == node_roles.c.role_id)
        .join(deployments, deployments.c.id == node_roles.c.deployment_id)
        .where(role_rows.c.name == role_of(now.name))
        .order_by(nodes.c.name_key)
    )
    moved = SimpleNamespace(id=f"{now.id} in {there}", deployment_id=there)
    out = [one for one in session.execute(asked).all() if not is_usable(session, moved, one.deployment)]
    if out:
        more = f" and {len(out) - 1:,} more" if len(out) > 1 else ""
        raise refused(
            "deployment_id",
            f"Network {now.name} cannot go there: node {out[0].name} in {out[0].deployment}{more} has it, which is"
            f" neither that deployment nor below it. Unbind {role_of(now.name)} there first.",
        )


def _check_dhcp(session: Any, key: int, values: Mapping[str, Any]) -> None:
    four = select(ranges.c.id).where(ranges.c.network_id == key, ranges.c.first.startswith("4")).limit(1)
    if values.get("dhcp") == "proxy" and session.scalar(four) is None:
        raise bad(
            "dhcp",
            "Beside another server only DHCP of IPv4 can tell what to boot (proxy), and the network has no range of "
            "IPv4: add one first, or choose own or none.",
        )


def _refuse_overlapping(session: Any, now: Any) -> None:
    loose = select(ranges.c.name).where(ranges.c.network_id == now.id, ranges.c.overlap)
    if names := session.scalars(loose.order_by(ranges.c.name)).all():
        raise bad(
            "configure",
            f"Ranges of network {now.name} may overlap with others ({', '.join(names)}), so it cannot be configured: "
            "take away their overlap first.",
        )


def roles(session: Any) -> list[Role]:
    """Those of all networks, by name."""
    return [_role(name) for name in session.scalars(select(networks.c.name).order_by(networks.c.name)).all()]


def _role(network: str) -> Role:
    name = role_of(network)

    def attribute(short: str, description: str, schema: Mapping[str, Any], **more: Any) -> Attribute:
        return Attribute(
            name=f"{name}-{short}", map=f"network/{short}", description=description, schema=schema,
            **{"writable": False, **more},
        )  # fmt: skip

    listed = {"type": "array", "items": {"type": "object"}}
    return Role(
        name=name, like=BASE_ROLE, description=f"Has its addresses and interfaces of network {network}.",
        requires=(INVENTORY,), implicit=True, milestone=True,
        attributes=(
            attribute("addresses", "The node's addresses on the network, with prefix lengths.",
                      {"type": "array", "items": {"type": "string"}}),
            attribute("wanted-config", "What the node's networks want of its interfaces.", listed),
            attribute("current-config", "The node's interfaces as they were found at the end of the last run.", listed),
            attribute("maps", "The interface maps, first match first.", listed),
            attribute("drift", "What is done when the interfaces are found otherwise: it is shown, a repair is "
                      "proposed, or it is repaired at once.",
                      {"enum": ["show", "propose", "repair"]}, writable=True, default="show"),
            attribute("writer", "The tool whose files are written; auto: the one that the node uses.",
                      {"enum": ["auto", *WRITERS.names()]}, writable=True, default="auto"),
        ),
    )  # fmt: skip


# ---------------------------------------------------------------- IPv6 prefixes


def _v6(change: Change, wanted: str | None) -> dict[str, Any]:
    if not wanted:
        return {"v6prefix": None, "v6auto": False, "subnet": None}
    if wanted != AUTO:
        return {"v6prefix": str(parse_v6prefix(wanted)), "v6auto": False, "subnet": None}
    number = _free_subnet(change.session)
    prefix = ula_subnet(installation_prefix(change), number)
    return {"v6prefix": str(prefix), "v6auto": True, "subnet": number}


def _alter_v6(change: Change, now: Any, new: dict[str, Any]) -> None:
    """A changed prefix, in the values that are to be written: only while nobody has an address of it."""
    session, prefix = change.session, new.pop("v6prefix")
    if prefix == now.v6prefix or (prefix == AUTO and now.v6auto):
        return
    mine = select(ranges.c.id).where(ranges.c.network_id == now.id, ranges.c.name == HOST_V6)
    if (whole := session.scalar(mine)) is not None:
        refuse_stray_routers(session, now, whole, None)
    if who := holders.who(session, allocations.c.range_id.in_(mine)):
        raise Refused(
            f"The prefix {now.v6prefix} of network {now.name} cannot change: it has addresses of {who}. Give those "
            "back first."
        )
    new |= _v6(change, prefix)
    session.execute(delete(ranges).where(ranges.c.network_id == now.id, ranges.c.name == HOST_V6))
    forget(session)
    if new["v6prefix"]:
        add_v6_range(session, now.id, new["v6prefix"])


def installation_prefix(change: Change) -> netaddr.IPNetwork:
    """The /48 that was drawn for this installation, once (RFC 4193)."""
    found = change.session.scalar(select(installation.c.ula))
    if found is None:
        found = str(ula_prefix(secrets.randbits(40)))
        change.session.execute(insert(installation).values(id=1, ula=found, secret=change.seal(secrets.token_hex(16))))
    return netaddr.IPNetwork(found)


def _free_subnet(session: Any) -> int:
    """The number after the highest; only when that is over, the lowest that is free."""
    highest = session.scalar(select(func.max(networks.c.subnet)))
    if highest is None:
        return 0
    if highest + 1 < SUBNETS:
        return int(highest) + 1
    taken = set(session.scalars(select(networks.c.subnet).where(networks.c.subnet.is_not(None))).all())
    free = next((number for number in range(SUBNETS) if number not in taken), None)
    if free is None:
        raise Refused("All 65,536 subnets of the installation's prefix are taken: give the network a v6prefix.")
    return free


def _has(given: Sequence[Mapping[str, Any]], version: int) -> bool:
    return any((":" in str(one.get("first", ""))) == (version == 6) for one in given)
