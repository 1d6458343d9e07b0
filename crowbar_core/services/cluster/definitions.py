"""Defining and removing roles at run time (``DefineRole``, ``RemoveRole``), each inside a turn; and bringing up
to date, at start-up, what was defined by an earlier version.

The turn itself knows a role at once; everybody else from its commit on, and if it is undone, nobody ever did.
"""

from __future__ import annotations

from collections.abc import Mapping

from crowbar_core.barclamp import Json, Role
from crowbar_core.domain.attributes import check_declared
from crowbar_core.domain.names import plain_name, some
from crowbar_core.errors import CrowbarError, Refused
from crowbar_core.plugins import Failure
from crowbar_core.plugins.defined import given_of
from crowbar_core.plugins.loaded import LoadedRole, names_match
from crowbar_core.plugins.order import role_circle
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.cluster.catalogue import synchronise_roles
from crowbar_core.services.cluster.deployments import drop_deployment_role
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.store import defined_roles

_NAMED = 5
_ASKED = "defined_roles"


def define_role(turn: Turn, role: Role) -> None:
    """Define a role like a declared one, or change it. The same once more does nothing.

    Raises ``Refused`` when ``like`` is no declared role, its barclamp does not define such names, the name is taken, or
    what it has does not fit; ``BadInput`` for a name that none can be.
    """
    name = role.name
    plain_name(name, what="role")
    like = _like(turn, role)
    try:
        given = given_of(role)
    except ValueError as error:
        raise Refused(f"Role {name} cannot be defined: {error}.") from error
    known = {one: (likes, what) for one, likes, what in defined_roles.definitions(turn.session)}
    if known.get(name) == (like.role.name, given):
        return
    if name in known and known[name][0] != like.role.name:
        _refuse_bound(turn, name, f"be like {like.role.name} from now on")
    before = set(turn.registry.attributes) - {one.name for one in turn.registry.attributes_of(name)}
    check_declared(name, role.attributes, role.template)
    for attribute in role.attributes:
        plain_name(attribute.name, what="attribute")
        if attribute.name in before:
            raise Refused(f"Role {name} cannot bring the attribute {attribute.name}: there is one of that name.")
        if twins := [one.name for one in role.attributes if one is not attribute and one.path == attribute.path]:
            place = "/".join(attribute.path)
            raise Refused(f"Role {name} cannot bring {attribute.name} and {twins[0]} at one place, {place}.")
    known[name] = (like.role.name, given)
    _know(turn, known)
    if name in turn.registry.undefined:
        raise Refused(f"Role {name} cannot be defined: {turn.registry.undefined[name]}.")
    if path := role_circle({one: loaded.role for one, loaded in turn.registry.roles.items()}):
        raise Refused(f"With role {name}, roles require each other in a circle: {' -> '.join(path)}.")
    synchronise_roles(turn.session, turn.registry, turn.now)
    turn.audit("define", f"role {name}", like=like.role.name, **given)


def _like(turn: Turn, role: Role) -> LoadedRole:
    """The declared role that it is like."""
    declared = turn.registry.declared_roles
    if not role.like:
        raise Refused(f"Role {role.name} cannot be defined without saying which declared role it is like (like=...).")
    if (like := declared.get(role.like)) is None:
        raise Refused(
            f"Role {role.name} cannot be like {role.like}: no loaded barclamp declares such a role. "
            "See: crowbar roles list."
        )
    if (taken := declared.get(role.name)) is not None:
        raise Refused(f"Role {role.name} cannot be defined: barclamp {taken.barclamp} declares a role of that name.")
    patterns = turn.registry.defines(like.barclamp)
    if role.name not in patterns and not names_match(role.name, patterns):
        which = f"only roles called {', '.join(patterns)}" if patterns else "no roles (Barclamp.defines says which)"
        raise Refused(f"Role {role.name} cannot be defined: barclamp {like.barclamp} defines {which}.")
    return like


def renew_roles(parts: Parts) -> None:
    """At start-up: the roles that barclamps have defined are defined as they would be today. What cannot be is noted as
    a problem of the barclamp, and the role stays as it was.
    """
    registry = parts.registry
    for one in registry.implementations(_ASKED):
        with parts.store.read() as session:
            there = {name for name, _, _ in defined_roles.definitions(session)}
            plugin, answer = registry.ask_one(one, _ASKED, session=session)
        if isinstance(answer, Failure):
            continue
        try:
            with change(parts, Actor(f"barclamp {plugin}")) as turn:
                for role in answer or ():
                    if role.name in there:
                        define_role(turn, role)
        except (CrowbarError, AttributeError, TypeError) as error:
            registry.note_unanswered(Failure(plugin, _ASKED, str(error), ""))


def remove_role(turn: Turn, name: str) -> None:
    """Remove a role that was defined at run time, with its values in deployments. One that is not there is no error.

    Raises ``Refused`` while it is bound or another one requires it, and for a role that a barclamp declares.
    """
    found = defined_roles.of_name(turn.session, name)
    if found is None:
        return
    role_id, like = found
    if not like:
        raise Refused(f"Role {name} cannot be removed: a barclamp declares it. Uninstall or disable that.")
    _refuse_bound(turn, name, "be removed")
    for other, loaded in sorted(turn.registry.roles.items()):
        if name in loaded.role.requires and other != name:
            raise Refused(f"Role {name} cannot be removed: role {other} requires it. Remove that first.")
    for one in defined_roles.deployment_roles_of(turn.session, role_id):
        drop_deployment_role(turn, one)
    defined_roles.remove(turn.session, role_id)
    known = {one: (likes, what) for one, likes, what in defined_roles.definitions(turn.session)}
    _know(turn, known)
    turn.audit("remove", f"role {name}", like=like)


def _know(turn: Turn, known: Mapping[str, tuple[str, Mapping[str, Json]]]) -> None:
    number = defined_roles.advance(turn.session)
    turn.registry.define(number, [(name, like, what) for name, (like, what) in known.items()], draft=True)


def _refuse_bound(turn: Turn, name: str, what: str) -> None:
    found = defined_roles.of_name(turn.session, name)
    count, names = defined_roles.bound_to(turn.session, found[0], _NAMED) if found else (0, [])
    if count:
        where = some(names, _NAMED, count)
        raise Refused(f"Role {name} cannot {what}: it is bound to {where}. Unbind it there first.")
