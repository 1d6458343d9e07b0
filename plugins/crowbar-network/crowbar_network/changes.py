"""From what is to what should be: the commands for ``ip -batch`` that lead there, and those that lead back. Pure.

Only the cards of the networks' conduits, what stands over them, and what Crowbar made before is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from crowbar_network.layers import RULE, Link, Route, made_with
from crowbar_network.state import MADE, Address, Known, KnownRoute, KnownRule, State


@dataclass(frozen=True, kw_only=True)
class Way:
    """``forward`` and ``backward``: lines for ``ip -batch``, the second for ``ip -force``; those that begin with ``-6``
    are for ``ip -6``, after the others (``by_family``). ``touched``: the links.
    """

    forward: tuple[str, ...] = ()
    backward: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()


def way(state: State, wanted: Sequence[Link], *, ours: Collection[str] = ()) -> Way:
    """``wanted``: each after what it stands on. ``ours``: names of the links that an earlier configuration of Crowbar
    had, which go when they are no longer wanted; a card among them is left without addresses. Links that have nothing
    to do with what differs are not touched.
    """
    links = with_left(state, wanted, ours)
    named = {link.name for link in links}
    obsolete = [link for link in _top_first(state) if link.name in ours and link.name not in named]
    changed = [link for link in links if link.kind != "nic" and _is_other(state.links.get(link.name), link)]
    going = [link.name for link in obsolete] + [link.name for link in changed if link.name in state.links]
    made = _top_first(state)
    for link in reversed(made):  # with a link goes every VLAN on it, wanted or not
        if link.over in going and link.name not in going:
            going.append(link.name)
    going = [link.name for link in made if link.name in going]
    strange = _strange_rules(state, links)
    differing = {*going, *(link.name for link in links if strange or _differs(state, link, links))}
    if not differing and not strange:
        return Way()
    together = _together(state, links, differing)
    links = tuple(link for link in links if link.name in together)
    touched = tuple(dict.fromkeys([*going, *(link.name for link in links)]))
    return Way(
        forward=tuple(_forward(state, links, going, strange)),
        backward=tuple(_backward(state, links, touched)),
        touched=touched,
    )


def by_family(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """The lines for ``ip``, and those for ``ip -6``."""
    all_lines = list(lines)
    return (
        [line for line in all_lines if not line.startswith("-6 ")],
        [line.removeprefix("-6 ") for line in all_lines if line.startswith("-6 ")],
    )


def is_removal(line: str) -> bool:
    """Whether the line takes something away. Of a way, these come first, and it is no fault when it is gone already."""
    return " del " in line or line.endswith(" nomaster")


def fresh(links: Sequence[Link]) -> tuple[str, ...]:
    """From bare cards to these links."""
    return tuple(_forward(State(links={}), links, [], []))


def with_left(state: State, wanted: Sequence[Link], ours: Collection[str]) -> tuple[Link, ...]:
    """The wanted links, and the cards that were Crowbar's and are no longer wanted, as they are to be left: alone. Of
    whichever no MTU is wanted any more, it is again what it was before Crowbar set one.
    """
    named = {link.name for link in wanted}
    left = [
        Link(name=name, kind="nic")
        for name in ours
        if name not in named and name in state.links and state.links[name].kind not in MADE
    ]
    sized: dict[str, Link] = {}
    for link in (*left, *wanted):
        was = 0 if link.mtu else state.mtus.get(link.name, 0)
        below = [sized[name].mtu for name in link.over if name in sized and sized[name].mtu]
        sized[link.name] = replace(link, mtu=min([was, *below])) if was else link
    return tuple(sized.values())


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is not as it is wanted. ``link``: the interface, '' where it is of none that is wanted.
    ``mends``: whether commands for ``ip`` mend it; none puts a cable in.
    """

    said: str
    link: str = ""
    mends: bool = True


def missing(state: State, wanted: Sequence[Link], *, gone: Collection[str] = ()) -> list[str]:
    """The sentences of ``faults``."""
    return [one.said for one in faults(state, wanted, gone=gone)]


def faults(state: State, wanted: Sequence[Link], *, gone: Collection[str] = ()) -> list[Fault]:
    """What is not as it is wanted, from below: what the files say, what is there besides, and what lives (carrier,
    partner of LACP, an address that another machine has). ``gone``: links that should be no more.
    """
    found = [
        Fault(said=f"{name} is still there, and is no longer wanted") for name in sorted(gone) if name in state.links
    ]
    for link in wanted:
        found += [Fault(said=said, link=link.name, mends=mends) for said, mends in _faults_of(state, link, wanted)]
    for link, source in _rules_of(wanted):
        if not _has_rule(state, link, source):
            found.append(Fault(said=f"there is no rule for {source}", link=link.name))
    tables = {link.table: link.name for link in wanted if link.table}
    for rule in _strange_rules(state, wanted):
        said = f"there is a rule for {rule.source} and table {rule.table}, which is not wanted"
        found.append(Fault(said=said, link=tables.get(rule.table, "")))
    return found


def _faults_of(state: State, link: Link, wanted: Sequence[Link]) -> Iterator[tuple[str, bool]]:
    known = state.links.get(link.name)
    if known is None:
        yield f"there is no interface {link.name}", link.kind != "nic"
        return
    for said in _unlike(link, known) if link.kind == "nic" or not _is_other(known, link) else [_what_else(link, known)]:
        yield said, True
    for name in _strange_members(state, link, wanted):
        yield f"{name} is part of {link.name}, and should not be", True
    if not known.up:
        yield f"{link.name} is down", True
    elif not known.carrier:
        yield f"{link.name} has no carrier", False
    if link.kind == "bond" and link.mode == "802.3ad" and not known.partner:
        yield f"{link.name} has found no partner that speaks LACP", False
    for address in _lacking(link, known):
        yield f"{link.name} has no address {address}", True
    for one in known.addresses:
        if one.failed:
            yield f"another machine has {one.text}, which {link.name} should have", False
    for text in _surplus(link, known):
        yield f"{link.name} has {text}, which is not wanted", True
    for route in link.routes:
        if not _has_route(state, link, route):
            yield f"there is no route to {_to(route)} by {link.name}{_via(route)}", True
    for other in _strange_routes(state, link):
        yield f"there is a route to {_to(other)} by {link.name}{_via(other)}, which is not wanted", True


def _to(route: Route | KnownRoute) -> str:
    return f"{route.to} in table {route.table}" if route.table else route.to


def _via(route: Route | KnownRoute) -> str:
    return f" via {route.via}" if route.via else ""


def settling(state: State, wanted: Sequence[Link]) -> bool:
    """Whether an address is still being looked at (duplicate address detection)."""
    return any(
        address.tentative for link in wanted if (known := state.links.get(link.name)) for address in known.addresses
    )


# ---------------------------------------------------------------- what differs


def _differs(state: State, link: Link, links: Sequence[Link]) -> bool:
    known = state.links.get(link.name)
    if known is None or not known.up or _unlike(link, known) or _lacking(link, known) or _surplus(link, known):
        return True
    if any(not _has_route(state, link, route) for route in link.routes) or _strange_routes(state, link):
        return True
    return bool(_strange_members(state, link, links)) or any(
        not _has_rule(state, one, source) for one, source in _rules_of([link])
    )


def _together(state: State, links: Sequence[Link], names: Collection[str]) -> set[str]:
    """These, with all that is over or below any of them, now or as it is wanted."""
    pairs = [(link.name, other) for link in links for other in (*link.over, link.master) if other]
    pairs += [(known.name, other) for known in state.links.values() for other in (known.over, known.master) if other]
    found, more = set[str](), {*names}
    while more:
        found |= more
        more = {end for pair in pairs if found & {*pair} for end in pair} - found
    return found


def _is_other(known: Known | None, link: Link) -> bool:
    """Whether the link must be made anew."""
    if known is None:
        return True
    if known.kind != link.kind or (link.kind == "vlan" and known.over != link.over[0]):
        return True
    return bool(known.params) and not _params_hold(known.params, made_with(link))


def _params_hold(has: Sequence[str], wants: Sequence[str]) -> bool:
    return (
        dict(zip(wants[::2], wants[1::2], strict=True)).items() <= dict(zip(has[::2], has[1::2], strict=True)).items()
    )


def _what_else(link: Link, known: Known) -> str:
    has, wants = " ".join((known.kind or "card", *known.params)), " ".join((link.kind, *made_with(link)))
    return f"{link.name} is a {has} and not a {wants}"


def _unlike(link: Link, known: Known) -> list[str]:
    said = []
    if known.master != link.master:
        said.append(f"{link.name} is " + (f"part of {known.master}" if known.master else "part of nothing")
                    + (f" and not of {link.master}" if link.master else ", and should be part of nothing"))  # fmt: skip
    if link.mtu and known.mtu != link.mtu:
        said.append(f"{link.name} has the MTU {known.mtu} and not {link.mtu}")
    return said


def _lacking(link: Link, known: Known) -> list[str]:
    lasting = {one.text for one in known.addresses if one.lifetime is None}
    return [address for address in link.addresses if address not in lasting]


def _surplus(link: Link, known: Known) -> list[str]:
    return [one.text for one in known.addresses if one.text not in link.addresses]


def _has_route(state: State, link: Link, route: Route) -> bool:
    return any(
        known.dev == link.name and known.to == route.to and known.via == route.via and known.table == route.table
        for known in state.routes
    )


def _strange_routes(state: State, link: Link) -> list[KnownRoute]:
    wanted = {(route.to, route.via, route.table) for route in link.routes}
    return [
        one
        for one in state.routes
        if one.dev == link.name and not one.others and (one.to, one.via, one.table) not in wanted
    ]


def _strange_members(state: State, link: Link, links: Sequence[Link]) -> list[str]:
    """What is part of a bond, and should not be; a bridge may have machines on it that are none of Crowbar's."""
    named = {one.name for one in links}
    if link.kind != "bond":
        return []
    return sorted(name for name, known in state.links.items() if known.master == link.name and name not in named)


def _bare(known: Known) -> list[Address]:
    """Addresses of DHCP (IPv4) without a route of their own to their subnet."""
    return [one for one in known.addresses if one.bare and one.lifetime is not None and ":" not in one.text]


def _rules_of(links: Iterable[Link]) -> list[tuple[Link, str]]:
    return [(link, source) for link in links for source in link.sources]


def _has_rule(state: State, link: Link, source: str) -> bool:
    return any(rule.source == source and rule.table == link.table and rule.priority == RULE for rule in state.rules)


def _strange_rules(state: State, links: Sequence[Link]) -> list[KnownRule]:
    """Of those that have the priority of Crowbar's."""
    wanted = {(source, link.table) for link, source in _rules_of(links)}
    return [rule for rule in state.rules if rule.priority == RULE and (rule.source, rule.table) not in wanted]


def _top_first(state: State) -> list[Known]:
    """The links that were made, each before what it stands on."""

    def depth(known: Known, seen: int = 0) -> int:
        below = [one for one in state.links.values() if one.master == known.name]
        if known.over in state.links:
            below.append(state.links[known.over])
        return 1 + max((depth(one, seen + 1) for one in below), default=0) if seen < len(state.links) else 0

    return sorted((one for one in state.links.values() if one.kind in MADE), key=lambda one: (-depth(one), one.name))


# ---------------------------------------------------------------- forward


def _forward(state: State, links: Sequence[Link], going: Sequence[str], strange: Sequence[KnownRule]) -> list[str]:
    lines = [f"link del {name}" for name in going]
    there = {
        name: replace(known, master="") if known.master in going else known
        for name, known in state.links.items()
        if name not in going
    }
    standing = [(link, there[link.name]) for link in links if link.name in there]
    for link, _ in standing:  # before the addresses, with which some would go
        lines += [f"route del {one.words}" for one in _strange_routes(state, link)]
    for link, has in standing:
        lines += [f"addr del {text} dev {link.name}" for text in _surplus(link, has)]
        # One that stays is given anew: the kernel would not make its route.
        lines += [f"addr del {one.text} dev {link.name}" for one in _bare(has) if one.text in link.addresses]
    for rule in strange:
        lines.append(f"{_v6(rule.source)}rule del from {rule.source} lookup {rule.table} priority {RULE}")
    for link, has in standing:
        if has.master in there and has.master != link.master:
            lines.append(f"link set {link.name} nomaster")
        members = [name for name in _strange_members(state, link, links) if name not in going]
        lines += [f"link set {name} nomaster" for name in members]
    # Each is made when what it stands on is whole: a bond lends its VLANs the address of its first card.
    for link in links:
        if link.name not in there and link.kind != "nic":
            lines.append(add(link))
        for part in links:
            if part.master == link.name:
                known = there.get(part.name)
                if known is None or known.master != link.name:
                    lines += [f"link set {part.name} down"] if link.kind == "bond" else []
                    lines.append(f"link set {part.name} master {link.name}")
    sized = [link for link in links if link.mtu]
    lines += [f"link set {link.name} mtu {link.mtu}" for link in reversed(sized)
              if link.name in there and _mtu(there, link) > link.mtu]  # fmt: skip
    lines += [f"link set {link.name} mtu {link.mtu}" for link in sized
              if link.name not in there or _mtu(there, link) < link.mtu]  # fmt: skip
    lines += [f"link set {link.name} up" for link in links]
    lines += [f"addr replace {address} dev {link.name}{brd(address)}" for link in links for address in link.addresses]
    for link in links:
        lines += [route_line(link.name, route) for route in link.routes]
    for link, source in _rules_of(links):
        if not _has_rule(state, link, source):
            lines.append(rule_line(source, link.table))
    return lines


def _mtu(there: Mapping[str, Known], link: Link) -> int:
    known = there.get(link.name)
    return 1500 if known is None else known.mtu


def add(link: Link) -> str:
    on = f"link {link.over[0]} " if link.kind == "vlan" else ""
    return f"link add {on}name {link.name} type {link.kind} {' '.join(made_with(link))}"


def route_line(dev: str, route: Route) -> str:
    via = f" via {route.via}" if route.via else ""
    table = f" table {route.table}" if route.table else ""
    return f"route replace {route.to}{via} dev {dev}{table}"


def rule_line(source: str, table: int) -> str:
    return f"{_v6(source)}rule add from {source} lookup {table} priority {RULE}"


def brd(address: str) -> str:
    return "" if ":" in address else " brd +"


def _v6(text: str) -> str:
    """What goes before a rule: of those, ``ip`` does not see by themselves which family they are of."""
    return "-6 " if ":" in text else ""


# ---------------------------------------------------------------- back


def _backward(state: State, links: Sequence[Link], touched: Sequence[str]) -> list[str]:
    """All that is touched, as it was. Run with ``-force``: what is so already may be said again."""
    before = [state.links[name] for name in touched if name in state.links]
    made = {link.name: link for link in links if link.kind != "nic"}
    lines = [f"link del {name}" for name in reversed(list(made))]
    for link, source in _rules_of(links):
        if not _has_rule(state, link, source):
            lines.append(f"{_v6(source)}rule del from {source} lookup {link.table} priority {RULE}")
    lines += [f"link set {known.name} nomaster" for known in before if known.kind not in MADE]
    for known in reversed(_top_first(state)):
        if known.name in touched:
            on = f"link {known.over} " if known.kind == "vlan" else ""
            lines.append(f"link add {on}name {known.name} type {known.kind} {' '.join(known.params)}".rstrip())
        for part in state.links.values():
            if part.master == known.name and (known.name in touched or part.name in touched):
                lines += [f"link set {part.name} down"] if known.kind == "bond" else []
                lines.append(f"link set {part.name} master {known.name}")
    ordered = [known for known in before if known.kind not in MADE]
    ordered += [known for known in reversed(_top_first(state)) if known.name in touched]
    lines += [f"link set {known.name} mtu {known.mtu}" for known in ordered]
    lines += [f"link set {known.name} mtu {known.mtu}" for known in reversed(ordered)]
    lines += [f"link set {known.name} {'up' if known.up else 'down'}" for known in ordered]
    for known in ordered:
        wanted = {address for link in links if link.name == known.name for address in link.addresses}
        has = {one.text for one in known.addresses}
        lines += [f"addr del {address} dev {known.name}" for address in sorted(wanted - has)]
        lines += [f"addr del {one.text} dev {known.name}" for one in _bare(known)]
        lines += [f"addr replace {_as_was(one)} dev {known.name}" for one in known.addresses]
    lines += [
        route_line(link.name, route).replace(" replace ", " del ", 1)
        for link in links
        if link.name in state.links
        for route in link.routes
        if not _has_route(state, link, route)
    ]
    # What is reached directly first: the others may go by it.
    known_routes = sorted((one for one in state.routes if one.dev in touched), key=lambda one: bool(one.via))
    lines += [f"route replace {one.words}" for one in known_routes]
    for rule in state.rules:
        if rule.priority == RULE:
            lines.append(rule_line(rule.source, rule.table))
    return lines


def _as_was(address: Address) -> str:
    words = [address.text]
    if ":" in address.text:
        words.append("nodad")  # it was ours a moment ago
    elif address.label:
        words += ["brd", "+"]
    if address.bare:
        words.append("noprefixroute")
    if address.lifetime is not None:
        words += ["valid_lft", str(address.lifetime), "preferred_lft", str(address.lifetime)]
    return " ".join(words)
