"""/api/v2/machines, accept_rules, installations, oses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from flask import Blueprint
from pydantic import AfterValidator, Field
from sqlalchemy import delete, insert, select, update

from crowbar_core import Change, NotFound, Refused, cluster, differences
from crowbar_core.rest import (
    NODES,
    Answer,
    Body,
    Name,
    api,
    changing,
    creating,
    deleting,
    found_id,
    given,
    reading,
    single,
)
from crowbar_provisioner import accepting, catalogue, defaults, rescue
from crowbar_provisioner.installed import INSTALL
from crowbar_provisioner.joining.join import release
from crowbar_provisioner.listings import INSTALLS, MACHINES, RULES
from crowbar_provisioner.machines import Machine, get
from crowbar_provisioner.ordering import ordered
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.sleeping import sleep
from crowbar_provisioner.tables import machines, rules

rest = Blueprint("provisioner_rest", __name__, url_prefix="/api/v2")
_PREFIX = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){0,5}")


def _subnet(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text)) if text else ""
    except ValueError:
        raise ValueError("A subnet is an address with the length of its prefix: 10.0.0.0/24 or fd00::/64.") from None


def _mac_prefix(text: str) -> str:
    plain = text.lower().replace("-", ":")
    if plain and not _PREFIX.fullmatch(plain):
        raise ValueError("A prefix of MACs is one to six pairs of hexadecimal digits: 52:54:00.")
    return plain


class NewRule(Body):
    name: Name
    subnet: Annotated[str, Field(max_length=43), AfterValidator(_subnet)] = ""
    mac_prefix: Annotated[str, Field(max_length=17), AfterValidator(_mac_prefix)] = ""
    serials: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=1000)] = Field(
        default_factory=list
    )


class ChangedRule(NewRule):
    name: Name = ""


reading(rest, MACHINES, parameter="machine")
reading(rest, RULES, parameter="accept_rule")
reading(rest, INSTALLS, parameter="installation")


DECISIONS: Mapping[str, Callable[[Change, Machine], None]] = {
    "accept": lambda change, machine: accepting.accept(change, machine, by="an operator"),
    "refuse": lambda change, machine: accepting.refuse(change, machine, by="an operator"),
    "expect": lambda change, machine: accepting.expect(change, machine, why="announced by an operator"),
    "debug": rescue.begin,
    "undebug": rescue.end,
    "release": partial(release, released=True),
    "protect": partial(release, released=False),
    "sleep": sleep.order_sleep,
    "wake": sleep.order_wake,
}


def decide(key: int, verb: str) -> None:
    if verb == "sleep":
        with cluster().read() as session:
            name = get(session, key).node
        sleep.check_returns(name)
    with cluster().change() as change:
        DECISIONS[verb](change, get(change.session, key))


def decided(machine: str, verb: str) -> Answer:
    key = found_id(MACHINES, machine)
    decide(key, verb)
    return single(MACHINES, key)


@rest.put("/machines/<machine>/accept")
@api(
    permission="operator", listing=MACHINES,
    summary="Accept a machine: it is a node with the roles of a discovered one; an unexpected boot of it is its own",
)  # fmt: skip
def accept_machine(machine: str) -> Answer:
    return decided(machine, "accept")


@rest.put("/machines/<machine>/refuse")
@api(permission="operator", summary="Refuse a machine: it is not heard, and boots from its own disk", listing=MACHINES)
def refuse_machine(machine: str) -> Answer:
    return decided(machine, "refuse")


@rest.put("/machines/<machine>/expect")
@api(permission="operator", summary="Announce a machine's next boot: it is taken for its own", listing=MACHINES)
def expect_machine(machine: str) -> Answer:
    return decided(machine, "expect")


@rest.put("/machines/<machine>/debug")
@api(
    permission="operator", listing=MACHINES,
    summary="Rescue a machine: from its next boot on it runs the discovery image, and nothing is run on it",
)  # fmt: skip
def debug_machine(machine: str) -> Answer:
    return decided(machine, "debug")


@rest.put("/machines/<machine>/undebug")
@api(permission="operator", summary="End a machine's rescue: it goes back to its disk", listing=MACHINES)
def undebug_machine(machine: str) -> Answer:
    return decided(machine, "undebug")


@rest.put("/nodes/<node>/debug")
@api(permission="operator", listing=MACHINES, summary="Rescue a node's machine, as its `debug` does")
def debug_node(node: str) -> Answer:
    return decided(_machine_of(node), "debug")


@rest.put("/nodes/<node>/undebug")
@api(permission="operator", listing=MACHINES, summary="End the rescue of a node's machine")
def undebug_node(node: str) -> Answer:
    return decided(_machine_of(node), "undebug")


def _machine_of(node: str) -> str:
    key = found_id(NODES, node)
    with cluster().read() as session:
        found = session.scalar(select(machines.c.id).where(machines.c.node_id == key))
    if found is None:
        raise NotFound(f"Node {node} is no machine that was discovered, or has joined.")
    return str(found)


@rest.put("/machines/<machine>/sleep")
@api(
    permission="operator", listing=MACHINES,
    summary="Switch a machine off on which nothing is to be done: it is woken when something is",
)  # fmt: skip
def put_machine_to_sleep(machine: str) -> Answer:
    return decided(machine, "sleep")


@rest.put("/machines/<machine>/wake")
@api(permission="operator", summary="Switch a machine on that is asleep: its boot is expected", listing=MACHINES)
def wake_machine(machine: str) -> Answer:
    return decided(machine, "wake")


Named = Annotated[str, Field(min_length=1, max_length=255)]


class Wish(Body):
    """What is not said is as the role's attributes have it."""

    os: Annotated[str, Field(min_length=1, max_length=64)] = ""
    disk: Named = ""
    second_disk: Named = ""
    layout: Literal["flat", "lvm", "raid1"] = "flat"
    keys: Annotated[list[Annotated[str, Field(max_length=4300)]], Field(max_length=defaults.MOST_KEYS)] = Field(
        default_factory=list
    )
    reset: bool = False
    kexec: bool = False


@rest.put("/machines/<machine>/install")
@api(
    permission="operator", listing=MACHINES, body=Wish, plans="install {machine}",
    summary="Install an operating system on a machine: bind the roles for it, set what is given, commit them",
)  # fmt: skip
def install_machine(machine: str, body: Wish) -> Answer:
    return ordered(machine, INSTALL, body)


@rest.get("/oses")
@api(permission="viewer", summary="The operating systems that can be installed", returns=list[Any])
def oses() -> Answer:
    return Answer(value=[shown(one) for one in catalogue.all_of(cluster().settings(Settings).root)])


@rest.get("/oses/<os>")
@api(permission="viewer", summary="An operating system, with what its file says", returns=dict[str, Any])
def one_os(os: str) -> Answer:
    found = catalogue.get(cluster().settings(Settings).root, os)
    said = found.said.model_dump(exclude_defaults=True) if found.said is not None else {}
    return Answer(value={**shown(found), "description": said})


def shown(one: catalogue.Os) -> dict[str, Any]:
    """``size``: of the image, or of all files of the tree, in bytes."""
    image, tree = one.image, one.tree
    of = image or tree
    return {
        "name": one.name, "title": one.title, "method": one.method, "problem": one.problem,
        "image": image.file if image else "", "sha256": of.sha256 if of else "", "size": of.size if of else 0,
        "disk_size": one.disk_size, "layouts": list(one.layouts), "described_by": one.by,
        "made_at": one.made.isoformat() if one.made else None, "mirror": (tree.mirror or "") if tree else "",
        "files": {name: file.model_dump() for name, file in tree.files.items()}
        if tree
        else {each.file: {"sha256": each.sha256, "size": each.size} for each in one.images},
    }  # fmt: skip


class ChangedDefaults(Body):
    os: Annotated[str, Field(min_length=1, max_length=64)] = ""
    keys: Annotated[list[Annotated[str, Field(max_length=4300)]], Field(max_length=defaults.MOST_KEYS)] = Field(
        default_factory=list
    )


@rest.get("/os_defaults")
@api(
    permission="viewer", summary="What is installed, and whom root lets in, where nothing else is said",
    returns=dict[str, Any],
)  # fmt: skip
def os_defaults() -> Answer:
    with cluster().read() as session:
        return Answer(value=asdict(defaults.get(session)))


@rest.patch("/os_defaults")
@api(
    permission="operator", summary="Change what is installed, and whom root lets in, where nothing else is said",
    body=ChangedDefaults, returns=dict[str, Any],
)  # fmt: skip
def change_os_defaults(body: ChangedDefaults) -> Answer:
    return Answer(value=put_defaults(**given(body)))


def put_defaults(**values: Any) -> dict[str, Any]:
    """Raises ``BadInput``, ``NotFound``."""
    if "os" in values:
        catalogue.get(cluster().settings(Settings).root, values["os"])
    with cluster().change() as change:
        return asdict(defaults.put(change, **values))


# ---------------------------------------------------------------- rules


@creating(rest, RULES, summary="Make a rule by which machines are accepted", body=NewRule)
def create_rule(body: NewRule) -> int:
    return make_rule(body.model_dump())


def make_rule(values: dict[str, Any]) -> int:
    with cluster().change() as change:
        _says_something(values)
        made: int = change.session.scalar(insert(rules).values(**values).returning(rules.c.id))
        change.audit("accept_rule.create", f"accept rule {values['name']}")
    return made


@changing(rest, RULES, parameter="accept_rule", summary="Change a rule of acceptance", body=ChangedRule)
def change_rule(key: int, body: ChangedRule) -> None:
    with cluster().change() as change:
        row = change.session.execute(select(rules).where(rules.c.id == key)).first()
        if row is None:
            raise NotFound(f"There is no accept rule {key}.")
        values = given(body)
        _says_something({**row._mapping, **values})
        change.session.execute(update(rules).where(rules.c.id == key).values(**values))
        change.audit("accept_rule.change", f"accept rule {row.name}", changed=differences(row._mapping, values))


@deleting(
    rest, RULES, parameter="accept_rule", summary="Remove a rule of acceptance",
    asks="Machines that it would have accepted wait for an operator from now on.",
)  # fmt: skip
def delete_rule(key: int) -> None:
    remove_rule(key)


def remove_rule(key: int) -> None:
    """Raises ``NotFound``."""
    with cluster().change() as change:
        name = change.session.scalar(delete(rules).where(rules.c.id == key).returning(rules.c.name))
        if name is None:
            raise NotFound(f"There is no accept rule {key}.")
        change.audit("accept_rule.delete", f"accept rule {name}")


def _says_something(values: dict[str, Any]) -> None:
    if not (values["subnet"] or values["mac_prefix"] or values["serials"]):
        raise Refused("A rule names a subnet, a prefix of MACs or serial numbers; this one would fit nothing.")
