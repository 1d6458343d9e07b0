"""Making, changing and removing the ranges and routers of networks.

Each function is given the open change of the core; what it writes happens with all else of that change, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import netaddr
from sqlalchemy import delete, insert, select, update

from crowbar_core import Change, NotFound, Refused, differences
from crowbar_network import drafts, holders, pool
from crowbar_network.addressing import Span, key_of, of_key, router, span
from crowbar_network.checks import LAYERS, V6_MTU, check_layers
from crowbar_network.errors import bad
from crowbar_network.remembered import forget
from crowbar_network.tables import allocations, networks, ranges, routers
from crowbar_network.telling import ranges_of, routers_of, row_of, span_of, tell_changed

HOST_V6 = "host-v6"
"""The range that a network with a prefix of IPv6 has by itself: all of it."""


def add_range(change: Change, key: int, values: Mapping[str, Any], *, at: str = "", tell: bool = True) -> int:
    """Raises ``BadInput`` (``at`` goes before the field), ``NotFound``, ``Refused``."""
    session, network = change.session, row_of(change.session, key)
    spanned = span(values["first"], values["last"], fields=(f"{at}first", f"{at}last"))
    more = {name: values.get(name) for name in LAYERS} | {"overlap": bool(values.get("overlap", False))}
    _check(session, network, values["name"], spanned, more, at=at)
    if spanned.first.version == 6 and (network.mtu or V6_MTU) < V6_MTU:
        raise bad(
            f"{at}first",
            f"The MTU {network.mtu} of network {network.name} is too small for IPv6, which needs {V6_MTU}.",
        )
    made = _insert(session, key, values["name"], spanned, more)
    change.audit("network_range.create", f"network {network.name}", range=values["name"])
    if tell:
        tell_changed(change, key)
    return made


def add_v6_range(session: Any, key: int, prefix: str) -> None:
    """The range of all of a prefix."""
    subnet = netaddr.IPNetwork(prefix)
    whole = Span(first=netaddr.IPAddress(subnet.first + 1, 6), last=netaddr.IPAddress(subnet.last, 6), prefix=64)
    _refuse_overlap(session, key, whole, overlap=False, field="v6prefix")
    _insert(session, key, HOST_V6, whole, {"overlap": False})


def alter_range(change: Change, range_id: int, values: Mapping[str, Any], *, at_once: bool = False) -> None:
    """Set these fields of a range; what it says of interfaces as drafts as soon as a node has the network, unless it is
    to count ``at_once``. Raises ``NotFound``, ``BadInput``, and ``Refused`` when an address that is given, or a router,
    would be outside.
    """
    session, now = change.session, range_row(change.session, range_id)
    network = row_of(session, now.network_id)
    old = span_of(now)
    wanted = span(values.get("first", old.cidr(old.first)), values.get("last", old.cidr(old.last)))
    new = {name: values[name] for name in ("name", "overlap", *LAYERS) if name in values}
    layers = {name: new[name] for name in LAYERS if name in new}
    put_off = bool(layers) and not at_once and drafts.waits(session, network)
    known = drafts.proposed(now) if put_off else now._mapping
    more = {name: known[name] for name in (*LAYERS, "overlap")} | new
    _check(session, network, new.get("name", now.name), wanted, more, but=range_id)
    if bool(more["overlap"]) != now.overlap and (who := holders.who(session, allocations.c.range_id == range_id)):
        raise Refused(f"Whether range {now.name} may overlap cannot change: it has addresses of {who}.")
    if wanted != old:
        _resize(session, network, now, wanted)
        new |= {"first": key_of(wanted.first), "last": key_of(wanted.last), "prefix": wanted.prefix}
    if put_off:
        drafts.put_off(session, ranges, now, layers)
        new = {name: value for name, value in new.items() if name not in layers}
        changed = differences(drafts.proposed(now), layers)
        change.audit("network_range.draft", f"network {network.name}", range=now.name, changed=changed)
    if new:
        written = new if put_off else drafts.settled(now, new)
        session.execute(update(ranges).where(ranges.c.id == range_id).values(**written))
        forget(session)
    if new or not put_off:
        was, will = ({"first": one.cidr(one.first), "last": one.cidr(one.last)} for one in (old, wanted))
        changed = differences({**now._mapping, **was}, new | (will if wanted != old else {}))
        change.audit("network_range.change", f"network {network.name}", range=now.name, changed=changed)
        tell_changed(change, now.network_id, run=bool(layers) and not put_off)


def _resize(session: Any, network: Any, now: Any, wanted: Span) -> None:
    taken = session.scalars(select(allocations.c.address).where(allocations.c.range_id == now.id)).all()
    outside = [key for key in sorted(taken) if of_key(key) not in wanted or wanted.prefix != now.prefix]
    if outside:
        by = holders.who(session, allocations.c.range_id == now.id, allocations.c.address.in_(outside[:1]))
        raise Refused(
            f"{of_key(outside[0])} of {by} would be outside of {wanted}: give it back first, or leave the range as it "
            "is."
        )
    refuse_stray_routers(session, network, now.id, wanted)
    begin, end = key_of(wanted.first), key_of(wanted.last)
    pool.fill(session, now.id, begin, end, [*taken, *_router_keys(session, now.network_id)])


def remove_range(change: Change, range_id: int) -> None:
    """Raises ``NotFound``, and ``Refused`` while somebody has an address of it, with who."""
    session, now = change.session, range_row(change.session, range_id)
    network = row_of(session, now.network_id)
    if who := holders.who(session, allocations.c.range_id == range_id):
        raise Refused(f"The range {now.name} cannot go: it has addresses of {who}. Give those back first.")
    if now.name == HOST_V6 and network.v6prefix:
        raise Refused(
            f"The range {HOST_V6} is there as long as network {network.name} has the prefix {network.v6prefix}: take "
            "away its v6prefix."
        )
    refuse_stray_routers(session, network, range_id, None)
    session.execute(delete(ranges).where(ranges.c.id == range_id))
    forget(session)
    change.audit("network_range.delete", f"network {network.name}", range=now.name)
    tell_changed(change, now.network_id)


def range_row(session: Any, range_id: int) -> Any:
    found = session.execute(select(ranges).where(ranges.c.id == range_id)).first()
    if found is None:
        raise NotFound(f"There is no range {range_id}.")
    return found


def _check(
    session: Any,
    network: Any,
    name: str,
    wanted: Span,
    more: Mapping[str, Any],
    *,
    at: str = "",
    but: int | None = None,
) -> None:
    overlap = bool(more.get("overlap"))
    if overlap and drafts.proposed(network)["configure"]:
        raise bad(f"{at}overlap", f"Only ranges of a network that is not configured may overlap; {network.name} is.")
    there = ranges_of(session, network.id)
    if any(one.name == name and one.id != but for one in there):
        raise bad(f"{at}name", f"Network {network.name} has a range {name} already: choose another name.")
    _refuse_overlap(session, network.id, wanted, overlap=overlap, field=f"{at}first", but=but)
    said = {name: value for name, value in more.items() if value is not None}
    likely = drafts.proposed(network)
    check_layers({**{name: likely[name] for name in LAYERS}, **said}, at=at)


def _insert(session: Any, key: int, name: str, spanned: Span, more: Mapping[str, Any]) -> int:
    first, last = key_of(spanned.first), key_of(spanned.last)
    made: int = session.scalar(
        insert(ranges)
        .values(network_id=key, name=name, first=first, last=last, prefix=spanned.prefix, **more)
        .returning(ranges.c.id)
    )
    forget(session)
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
        raise bad(
            field,
            f"{wanted} overlaps with range {other.name} of network {other.network}, {span_of(other)}: choose addresses "
            "that are in no other range.",
        )


# ---------------------------------------------------------------- routers


def add_router(
    change: Change, key: int, values: Mapping[str, Any], *, at: str = "", tell: bool = True, at_once: bool = False
) -> int:
    """As a draft as soon as a node has the network, unless it is to count ``at_once``; its address is taken all the
    same. One that was to go stays. Raises ``BadInput``; ``Refused`` when somebody has its address.
    """
    session, network = change.session, row_of(change.session, key)
    there = ranges_of(session, key)
    address, prefix = router(values["address"], [span_of(one) for one in there], field=f"{at}address")
    wanted, pref = key_of(address), values.get("pref", 65536)
    known = next((one for one in routers_of(session, key) if one.address == wanted), None)
    if known is not None and known.standing != drafts.GOING:
        raise Refused(f"Network {network.name} has the router {address} already.")
    if known is not None:
        session.execute(update(routers).where(routers.c.id == known.id).values(standing=""))
        alter_router(change, known.id, pref, at_once=at_once)
        return int(known.id)
    home = next((one for one in there if address in span_of(one)), None)
    if home is not None and not pool.take(session, home.id, wanted):
        by = holders.who(session, allocations.c.range_id == home.id, allocations.c.address == wanted)
        raise Refused(f"{address} of range {home.name} is taken by {by}: a router needs an address that nobody has.")
    put_off = not at_once and drafts.waits(session, network)
    made: int = session.scalar(
        insert(routers)
        .values(
            network_id=key, address=wanted, prefix=prefix, pref=pref, standing=drafts.NEW if put_off else ""
        )
        .returning(routers.c.id)
    )  # fmt: skip
    _told(change, network, address, "draft" if put_off else "create", pref=pref)
    if tell and not put_off:
        tell_changed(change, key, run=True)
    return made


def alter_router(change: Change, router_id: int, pref: int, *, at_once: bool = False) -> None:
    """Set its preference, as ``add_router`` does. Raises ``NotFound``."""
    session, now = change.session, _router_row(change.session, router_id)
    network = row_of(session, now.network_id)
    if now.standing != drafts.NEW and not at_once and drafts.waits(session, network):
        drafts.put_off(session, routers, now, {"pref": pref})
        _told(change, network, of_key(now.address), "draft", pref=pref)
        return
    standing = "" if at_once else now.standing
    session.execute(update(routers).where(routers.c.id == router_id).values(pref=pref, draft={}, standing=standing))
    _told(change, network, of_key(now.address), "change", pref=pref)
    if standing != drafts.NEW:
        tell_changed(change, now.network_id, run=True)


def remove_router(change: Change, router_id: int, *, at_once: bool = False) -> int:
    """As ``add_router`` does; returns the network's id. When it is gone, what it had of a range is free again. Raises
    ``NotFound``.
    """
    session, now = change.session, _router_row(change.session, router_id)
    network = row_of(session, now.network_id)
    if now.standing != drafts.NEW and not at_once and drafts.waits(session, network):
        session.execute(update(routers).where(routers.c.id == router_id).values(standing=drafts.GOING))
        _told(change, network, of_key(now.address), "draft")
        return int(network.id)
    drafts.take_away(session, ranges_of(session, now.network_id), [now])
    _told(change, network, of_key(now.address), "delete")
    if now.standing != drafts.NEW:
        tell_changed(change, now.network_id, run=True)
    return int(network.id)


def _told(change: Change, network: Any, address: Any, what: str, **more: Any) -> None:
    change.audit(f"network_router.{what}", f"network {network.name}", address=str(address), **more)


def _router_row(session: Any, router_id: int) -> Any:
    found = session.execute(select(routers).where(routers.c.id == router_id)).first()
    if found is None:
        raise NotFound(f"There is no router {router_id}.")
    return found


def _router_keys(session: Any, key: int) -> Iterable[str]:
    return [one.address for one in routers_of(session, key)]


def refuse_stray_routers(session: Any, network: Any, range_id: int, becomes: Span | None) -> None:
    """A router must stay in the subnet of some range, of which this one becomes another, or none."""
    spans: Sequence[Span] = [span_of(one) for one in ranges_of(session, network.id) if one.id != range_id]
    subnets = {one.subnet for one in (*spans, *([becomes] if becomes else []))}
    for one in routers_of(session, network.id):
        if not any(of_key(one.address) in subnet for subnet in subnets):
            raise Refused(
                f"The router {of_key(one.address)} of network {network.name} would be in no subnet of it: remove the "
                "router first."
            )
