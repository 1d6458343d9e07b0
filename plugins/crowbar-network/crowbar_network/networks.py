"""Making, changing and removing networks with their ranges and routers.

Each function is given the open change of the core; what it writes happens with all else of that change, or not at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import netaddr
from sqlalchemy import delete, func, insert, select, update

from crowbar_core import Attribute, Change, DefineRole, NotFound, Refresh, Refused, RemoveRole, Role
from crowbar_core.tables import nodes
from crowbar_network import pool
from crowbar_network.addressing import Span, key_of, of_key, parse_v6prefix, router, span, ula_prefix, ula_subnet
from crowbar_network.allocating import span_of
from crowbar_network.conduits import parse
from crowbar_network.errors import bad
from crowbar_network.jig import INVENTORY
from crowbar_network.tables import allocations, installation, networks, ranges, routers
from crowbar_network.writers import WRITERS

BASE_ROLE = "network"
"""What the roles of networks are like."""
HOST_V6 = "host-v6"
"""The range that a network with a prefix of IPv6 has by itself: all of it."""
AUTO = "auto"
SUBNETS = 1 << 16
TEAM_MODES = range(7)
NAMED = 5


def role_of(network: str) -> str:
    return f"network-{network}"


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
    made |= _v6(change, prefix)
    check_layers(made)
    key: int = change.session.scalar(insert(networks).values(**made).returning(networks.c.id))
    change.apply(DefineRole(role=_role(made["name"])))
    if made["v6prefix"]:
        _add_v6_range(change.session, key, made["v6prefix"])
    for number, one in enumerate(given_ranges):
        add_range(change, key, one, at=f"ranges/{number}/")
    if given_router is not None:
        add_router(change, key, given_router, at="router/")
    change.audit("network.create", f"network {made['name']}")
    return key


def alter(change: Change, key: int, values: Mapping[str, Any]) -> None:
    """Set these fields. Raises ``NotFound``, ``BadInput``, ``Refused``: its name cannot change, and its prefix only
    while nobody has an address of it.
    """
    session, now = change.session, row(change.session, key)
    new = dict(values)
    if new.get("name", now.name) != now.name:
        raise bad(
            "name", f"The network {now.name} keeps its name, which its role and hints have too; make another one."
        )
    if "v6prefix" in new:
        prefix = new.pop("v6prefix")
        if prefix != now.v6prefix and not (prefix == AUTO and now.v6auto):
            _refuse_used(session, select(ranges.c.id).where(ranges.c.network_id == key, ranges.c.name == HOST_V6),
                         f"The prefix {now.v6prefix} of network {now.name} cannot change")  # fmt: skip
            new |= _v6(change, prefix)
            session.execute(delete(ranges).where(ranges.c.network_id == key, ranges.c.name == HOST_V6))
            if new["v6prefix"]:
                _add_v6_range(session, key, new["v6prefix"])
    check_layers({**now._mapping, **new})
    if new:
        session.execute(update(networks).where(networks.c.id == key).values(**new))
    change.apply(Refresh(role=role_of(now.name)))
    change.audit("network.change", f"network {now.name}", fields=sorted(values))


def remove(change: Change, key: int) -> None:
    """Raises ``NotFound``, and ``Refused`` while a node has an address of it, with which."""
    now = row(change.session, key)
    mine = select(ranges.c.id).where(ranges.c.network_id == key)
    _refuse_used(change.session, mine, f"The network {now.name} cannot go")
    change.apply(RemoveRole(name=role_of(now.name)))
    change.session.execute(delete(networks).where(networks.c.id == key))
    change.audit("network.delete", f"network {now.name}")


def row(session: Any, key: int) -> Any:
    found = session.execute(select(networks).where(networks.c.id == key)).first()
    if found is None:
        raise NotFound(f"There is no network {key}.")
    return found


def check_layers(values: Mapping[str, Any]) -> None:
    """What is said of interfaces, by a network or a range. Raises ``BadInput`` with the field."""
    conduit = parse(values["conduit"]) if values.get("conduit") else None
    if values.get("use_vlan") and values.get("vlan") is None:
        raise bad("vlan", "With use_vlan there must be a vlan, from 1 to 4094.")
    if values.get("vlan") is not None and not 1 <= values["vlan"] <= 4094:
        raise bad("vlan", f"{values['vlan']} is no VLAN; they go from 1 to 4094.")
    if values.get("team_mode") is not None and values["team_mode"] not in TEAM_MODES:
        raise bad("team_mode", f"{values['team_mode']} is no mode of a bond; they go from 0 to 6.")
    if conduit is not None and not conduit.is_bmc:
        if values.get("use_team") and conduit.needs < 2:
            raise bad("conduit", f"{conduit.text} is one card; a team has 2 to 8.")
        if not values.get("use_team") and conduit.needs > 1:
            raise bad("use_team", f"{conduit.text} means {conduit.needs} cards, which only a team (use_team) can have.")
    if values.get("mtu") is not None and not 68 <= values["mtu"] <= 65535:
        raise bad("mtu", f"{values['mtu']} is no MTU; they go from 68 to 65535, and from 1280 with IPv6.")
    if values.get("mtu") is not None and values.get("v6prefix") and values["mtu"] < 1280:
        raise bad("mtu", f"{values['mtu']} is too small for IPv6, which needs 1280.")


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
            attribute("drift", "What is done when the interfaces are found otherwise: shown, or repaired at once.",
                      {"enum": ["show", "repair"]}, writable=True, default="show"),
            attribute("writer", "The tool whose files are written; auto: the one that the node uses.",
                      {"enum": ["auto", *WRITERS]}, writable=True, default="auto"),
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


def _add_v6_range(session: Any, key: int, prefix: str) -> None:
    subnet = netaddr.IPNetwork(prefix)
    whole = Span(first=netaddr.IPAddress(subnet.first + 1, 6), last=netaddr.IPAddress(subnet.last, 6), prefix=64)
    _refuse_overlap(session, key, whole, overlap=False, field="v6prefix")
    _insert_range(session, key, HOST_V6, whole, {})


# ---------------------------------------------------------------- ranges


def add_range(change: Change, key: int, values: Mapping[str, Any], *, at: str = "") -> int:
    """Raises ``BadInput`` (``at`` goes before the field), ``NotFound``, ``Refused``."""
    session, network = change.session, row(change.session, key)
    spanned = span(values["first"], values["last"], fields=(f"{at}first", f"{at}last"))
    overlap = bool(values.get("overlap", False))
    if overlap and network.configure:
        raise bad(f"{at}overlap", f"Only ranges of a network that is not configured may overlap; {network.name} is.")
    _refuse_overlap(session, key, spanned, overlap=overlap, field=f"{at}first")
    more = {name: value for name, value in values.items() if name not in ("first", "last", "name")}
    check_layers({**{name: getattr(network, name) for name in _LAYERS}, **_said(more)})
    made = _insert_range(session, key, values["name"], spanned, more)
    change.audit("network_range.create", f"network {network.name}", range=values["name"])
    return made


def remove_range(change: Change, range_id: int) -> None:
    """Raises ``NotFound``, and ``Refused`` while a node has an address of it."""
    now = range_row(change.session, range_id)
    _refuse_used(change.session, select(ranges.c.id).where(ranges.c.id == range_id), f"The range {now.name} cannot go")
    change.session.execute(delete(ranges).where(ranges.c.id == range_id))
    change.audit("network_range.delete", f"network {row(change.session, now.network_id).name}", range=now.name)


def resize(change: Change, range_id: int, first: str, last: str) -> None:
    """Raises ``Refused`` when an address that is given would be outside."""
    session, now = change.session, range_row(change.session, range_id)
    wanted = span(first, last)
    _refuse_overlap(session, now.network_id, wanted, overlap=now.overlap, field="first", but=range_id)
    taken = session.scalars(select(allocations.c.address).where(allocations.c.range_id == range_id)).all()
    outside = [key for key in sorted(taken) if of_key(key) not in wanted or wanted.prefix != now.prefix]
    if outside:
        raise Refused(f"{of_key(outside[0])}, which is given, would be outside of {wanted}: give it back first.")
    begin, end = key_of(wanted.first), key_of(wanted.last)
    session.execute(update(ranges).where(ranges.c.id == range_id).values(first=begin, last=end, prefix=wanted.prefix))
    pool.fill(session, range_id, begin, end, [*taken, *_router_keys(session, now.network_id)])


def range_row(session: Any, range_id: int) -> Any:
    found = session.execute(select(ranges).where(ranges.c.id == range_id)).first()
    if found is None:
        raise NotFound(f"There is no range {range_id}.")
    return found


_LAYERS = ("conduit", "vlan", "use_vlan", "use_bridge", "use_team", "team_mode")


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _insert_range(session: Any, key: int, name: str, spanned: Span, more: Mapping[str, Any]) -> int:
    first, last = key_of(spanned.first), key_of(spanned.last)
    made: int = session.scalar(
        insert(ranges)
        .values(network_id=key, name=name, first=first, last=last, prefix=spanned.prefix, **{"overlap": False, **more})
        .returning(ranges.c.id)
    )
    pool.fill(session, made, first, last, _router_keys(session, key))
    return made


def _refuse_overlap(session: Any, key: int, wanted: Span, *, overlap: bool, field: str, but: int | None = None) -> None:
    """No two ranges share an address, of whichever network; those that may overlap, not within their network."""
    meets = (
        select(ranges, networks.c.name.label("network"))
        .join(networks, networks.c.id == ranges.c.network_id)
        .where(ranges.c.first <= key_of(wanted.last), ranges.c.last >= key_of(wanted.first))
    )
    for other in session.execute(meets).all():
        if other.id == but or (other.network_id != key and overlap and other.overlap):
            continue
        raise bad(field, f"{wanted} overlaps with range {other.name} of network {other.network}, {span_of(other)}.")


def _refuse_used(session: Any, mine: Any, what: str) -> None:
    used = select(allocations.c.id).where(allocations.c.range_id.in_(mine))
    count = session.scalar(select(func.count()).select_from(used.subquery()))
    if not count:
        return
    names = session.scalars(
        select(func.coalesce(nodes.c.name, allocations.c.reserved_for))
        .outerjoin_from(allocations, nodes, nodes.c.id == allocations.c.node_id)
        .where(allocations.c.range_id.in_(mine))
        .order_by(allocations.c.address)
        .limit(NAMED)
    ).all()
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    raise Refused(f"{what}: it has addresses of {', '.join(map(str, names))}{more}.")


# ---------------------------------------------------------------- routers


def add_router(change: Change, key: int, values: Mapping[str, Any], *, at: str = "") -> int:
    """Raises ``BadInput``; ``Refused`` when a node has its address."""
    session, network = change.session, row(change.session, key)
    there = session.execute(select(ranges).where(ranges.c.network_id == key).order_by(ranges.c.first)).all()
    address, prefix = router(values["address"], [span_of(one) for one in there], field=f"{at}address")
    wanted = key_of(address)
    home = next((one for one in there if address in span_of(one)), None)
    if home is not None and not pool.take(session, home.id, wanted):
        raise Refused(f"{address} is taken in range {home.name}: a router needs an address that nobody has.")
    made: int = session.scalar(
        insert(routers)
        .values(network_id=key, address=wanted, prefix=prefix, pref=values.get("pref", 65536))
        .returning(routers.c.id)
    )
    change.apply(Refresh(role=role_of(network.name)))
    change.audit("network_router.create", f"network {network.name}", address=str(address))
    return made


def remove_router(change: Change, router_id: int) -> None:
    session = change.session
    now = session.execute(select(routers).where(routers.c.id == router_id)).first()
    if now is None:
        raise NotFound(f"There is no router {router_id}.")
    session.execute(delete(routers).where(routers.c.id == router_id))
    inside = select(ranges).where(
        ranges.c.network_id == now.network_id, ranges.c.first <= now.address, ranges.c.last >= now.address
    )
    home = session.execute(inside).first()
    if home is not None:
        pool.give_back(session, home.id, now.address)
    change.audit("network_router.delete", f"network {row(session, now.network_id).name}")


def _router_keys(session: Any, key: int) -> Iterable[str]:
    found: Iterable[str] = session.scalars(select(routers.c.address).where(routers.c.network_id == key)).all()
    return found


def _has(given: Sequence[Mapping[str, Any]], version: int) -> bool:
    return any((":" in str(one.get("first", ""))) == (version == 6) for one in given)
