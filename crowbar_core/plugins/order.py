"""Which barclamps fit together: no name twice, no circle, each after what it requires."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from crowbar_core.barclamp import Role
from crowbar_core.plugins.loaded import CORE, LoadedBarclamp


def without_duplicates(barclamps: Sequence[LoadedBarclamp]) -> list[LoadedBarclamp]:
    """Fail the barclamps that bring a name, or a place in the data of nodes, that one before them brings."""
    seen: dict[tuple[str, str], str] = {}
    kept: list[LoadedBarclamp] = []
    for one in barclamps:
        own: dict[tuple[str, str], str] = {}
        message = ""
        for kind, name in _names(one):
            if (kind, name) in own:
                message = message or f"It brings the {kind} {name!r} twice."
            elif (other := seen.get((kind, name))) is not None:
                message = message or (
                    f"Two packages bring the {kind} {name!r}: {other} and {one.distribution}; the first one's is used. "
                    "Rename it in one of them."
                )
            own[kind, name] = one.distribution
        if message:
            kept.append(replace(one, state="failed", error=message, definition=None, plugin=None))
        else:
            seen |= own
            kept.append(one)
    return kept


def _names(one: LoadedBarclamp) -> list[tuple[str, str]]:
    if one.definition is None:
        return []
    names = [("barclamp", one.name), *(("role", role.name) for role in one.definition.roles)]
    names += [("attribute", a.name) for a in one.definition.attributes]
    names += [("attribute", a.name) for role in one.definition.roles for a in role.attributes]
    names += [("node attribute at the map", "/".join(a.path)) for a in one.definition.attributes]
    for role in one.definition.roles:
        names += [(f"attribute of role {role.name} at the map", "/".join(a.path)) for a in role.attributes]
    return names


def without_role_cycles(barclamps: Sequence[LoadedBarclamp]) -> list[LoadedBarclamp]:
    """Fail the barclamps whose roles require each other in a circle, naming the path."""
    kept = list(barclamps)
    while True:
        roles = {role.name: (one, role) for one in kept if one.definition for role in one.definition.roles}
        if path := role_circle({name: role for name, (_, role) in roles.items()}):
            culprits = {roles[name][0].name for name in path}
            message = f"Its roles require each other in a circle: {' -> '.join(path)}."
            kept = [
                replace(one, state="failed", error=message, definition=None, plugin=None)
                if one.name in culprits
                else one
                for one in kept
            ]
            continue
        return kept


def role_circle(roles: Mapping[str, Role]) -> list[str]:
    """The path on which roles require each other in a circle, if they do."""
    owners = {a.name: role.name for role in roles.values() for a in role.attributes}
    graph = {
        name: {
            parent
            for parent in (*role.requires, *(owners.get(w, "") for w in role.wants))
            if parent in roles and parent != name
        }
        | {other for other, o in roles.items() if name in (*o.attaches, *o.precedes)}
        for name, role in roles.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def in_order(barclamps: Sequence[LoadedBarclamp]) -> list[LoadedBarclamp]:
    """Dependency order; barclamps that require what is missing, or each other, fail."""
    by_name = {one.name: one for one in barclamps}
    while True:
        loaded = {name: one for name, one in by_name.items() if one.state == "loaded"}
        missing = {n: [r for r in one.requires if r not in loaded] for n, one in loaded.items()}
        bad = {
            n: f"It requires the barclamp {names[0]!r}, which is not loaded." for n, names in missing.items() if names
        }
        if not bad:
            graph = {name: {*one.requires, *_after(one, loaded)} for name, one in sorted(loaded.items())}
            try:
                order = [CORE, *(n for n in TopologicalSorter(graph).static_order() if n != CORE)]
                rest = [one for one in by_name.values() if one.state != "loaded"]
                return [by_name[name] for name in order] + rest
            except CycleError as error:
                path = " -> ".join(error.args[1])
                said = f"Barclamps require each other, or come after each other, in a circle: {path}."
                bad = dict.fromkeys(error.args[1], said)
        for name, message in bad.items():
            by_name[name] = replace(by_name[name], state="failed", error=message, plugin=None, definition=None)


def _after(one: LoadedBarclamp, loaded: Container[str]) -> set[str]:
    """Those of ``Barclamp.after`` that are there."""
    return {name for name in (one.definition.after if one.definition else ()) if name in loaded and name != one.name}
