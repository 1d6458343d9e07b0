"""Pages: machines and the quarantine, one machine with its timeline, operating systems, rules of acceptance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

from flask import Blueprint, Response, request
from pydantic import ValidationError
from sqlalchemy import select
from werkzeug.wrappers import Response as Answer

from crowbar_core import BadInput, NodeView, Panel, cluster, requires
from crowbar_core.pages import Action, Column, Form, Input, act, fragment, page, row, rows
from crowbar_provisioner import catalogue, defaults, disks, hardware, installs, ordering, powers, standing
from crowbar_provisioner import rest as api
from crowbar_provisioner.burning import pages as burning
from crowbar_provisioner.choosing import ACCEPTED, DISCOVERY, QUARANTINED, REFUSED
from crowbar_provisioner.confirming import confirmed, its_name
from crowbar_provisioner.consoles import keeping
from crowbar_provisioner.describing import LAYOUTS
from crowbar_provisioner.erasing import pages as erasing
from crowbar_provisioner.installed import INSTALL
from crowbar_provisioner.inventory import Inventory
from crowbar_provisioner.listings import MACHINES, RULES
from crowbar_provisioner.machines import INSTALL_ROLE, of_node
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.tables import happenings

pages = Blueprint("provisioner_pages", __name__, template_folder="templates")

STATES = (("", "any"), (QUARANTINED, "quarantined"), (ACCEPTED, "accepted"), (REFUSED, "refused"))
COLUMNS = (
    Column(name="name", label="Machine", href="/machines/{id}"),
    Column(name="shown_state", label="State"),
    Column(name="shown_macs", label="MACs", kind="code"),
    Column(name="source", label="Registered from", kind="code"),
    Column(name="bootenv", label="Is to boot"),
    Column(name="booted", label="Booted last"),
    Column(name="last_seen", label="Heard of", kind="moment"),
)
FILTERS = (
    Input(name="name", label="Machine"),
    Input(name="state", label="State", choices=STATES),
    Input(name="claimed", label="Booted unexpectedly", choices=(("", "any"), ("true", "yes"), ("false", "no"))),
    Input(name="asleep", label="Asleep", choices=(("", "any"), ("true", "yes"), ("false", "no"))),
    Input(name="joined", label="Joined", choices=(("", "any"), ("true", "yes"), ("false", "no"))),
)
OSES = (
    Column(name="name", label="Name", href="/oses/{name}"),
    Column(name="title", label="Operating system"),
    Column(name="method", label="Method"),
    Column(name="layouts", label="Layouts"),
    Column(name="shown_size", label="Image or tree"),
    Column(name="shown_problem", label="What is in the way"),
)
RULE_COLUMNS = (
    Column(name="name", label="Rule"),
    Column(name="subnet", label="Subnet", kind="code"),
    Column(name="mac_prefix", label="MACs begin with", kind="code"),
    Column(name="shown_serials", label="Serial numbers"),
)
WAYS = (
    ("/machines", "Machines"),
    ("/machines/join", "Join"),
    ("/accept-rules", "Rules"),
    ("/oses", "Operating systems"),
    ("/erasures", "Erased disks"),
    ("/burn-ins", "Burn-ins"),
)


@pages.get("/machines")
@requires("viewer")
def listed() -> Response:
    shown = rows(MACHINES, filters=[one.name for one in FILTERS], sort="name")
    items = [_shown(one) for one in shown.items]
    waiting = [one for one in items if one["claimed"] or one["state"] == QUARANTINED]
    for one in waiting:
        if not one["claimed"]:  # what one that was claimed has told is not known to be true
            one["hardware"] = hardware.in_short(_inventory(one))
    return page(
        "crowbar_provisioner/machines.html", title="Machines", rows=shown, items=items, columns=COLUMNS,
        filters=FILTERS, waiting=[(one, [_accept(one), _refuse(one)]) for one in waiting], ways=WAYS,
        listens=bool(cluster().settings(Settings).listen),
    )  # fmt: skip


@pages.get("/machines/<machine>")
@requires("viewer")
def show(machine: str) -> Response:
    one = _shown(row(MACHINES, machine))
    with cluster().read() as session:
        asked = select(happenings).where(happenings.c.machine_id == one["id"]).order_by(happenings.c.id.desc())
        lines = session.execute(asked).all()
        install = installs.last_of(session, one["node_id"])
        power = powers.of_node(session, one["node_id"])
        consoles = keeping.of_node(session, one["node_id"])
        lost = standing.problem(session, one["id"], datetime.now(UTC)) if one["by_kexec"] else ""
    actions = [_expect(one)] if one["state"] != REFUSED else []
    if one["claimed"] or one["state"] == QUARANTINED:
        actions = [_accept(one), *actions]
    if one["rescue"] in ("wanted", "in"):
        actions.append(_action(one, "undebug", "End the rescue"))
    elif one["state"] == ACCEPTED and one["bootenv"] != DISCOVERY:
        actions.append(_action(one, "debug", "Rescue from its next boot on"))
    if one["state"] == ACCEPTED and (one["asleep"] or one["alive"]):
        actions.append(_action(one, "wake", "Wake") if one["asleep"] else _action(one, "sleep", "Put to sleep"))
    if one["joined"]:
        verb = "protect" if one["released"] else "release"
        actions.append(_action(one, verb, verb.capitalize(), kind="" if one["released"] else "danger"))
    if one["state"] != REFUSED:
        actions.append(_refuse(one))
    found = _inventory(one)
    return page(
        "crowbar_provisioner/machine.html", live="crowbar_provisioner/_machine.html", title=one["name"], machine=one,
        power=power, lines=_spaced(lines), consoles=consoles, lost=lost, hardware=hardware.facts(found),
        actions=actions, ways=WAYS, forms=_forms(one, found),
        install=install, disk=disks.described(install.disk) if install else "", inventory=found,
        disks=[(disks.described(each), disks.against(each, 0) or "suitable") for each in found.get("disks") or ()],
    )  # fmt: skip


def _inventory(one: Mapping[str, Any]) -> dict[str, Any]:
    """Of its node, to which others may have reported anything: what is none is empty."""
    found: Any = cluster().node(one["name"]).discovery
    try:
        return Inventory.model_validate({**found["inventory"], "macs": found["macs"]}).model_dump(mode="json")
    except (KeyError, TypeError, ValidationError):
        return {}


def _spaced(lines: Sequence[Any]) -> list[tuple[Any, str]]:
    """Each with the time since the one before it, which is the next: the newest one is the first."""
    return [
        (one, "" if before is None else span((one.at - before.at).total_seconds()))
        for one, before in zip_longest(lines, lines[1:])
    ]


def span(seconds: float) -> str:
    """In words: 3.5 s, 2 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@pages.post("/machines/<int:machine>/<any(accept, refuse, expect, debug, undebug, release, protect, sleep, wake):verb>")
@requires("operator")
def decide(machine: int, verb: str) -> Answer:
    done = {
        "accept": "The machine is accepted.",
        "refuse": "The machine is refused.",
        "expect": "Its next boot is expected.",
        "debug": "It boots the discovery image the next time: restart it.",
        "undebug": "It goes back to its disk.",
        "release": "What is on its disks may be destroyed.",
        "protect": "What is on its disks is kept.",
        "sleep": "It is switched off, until something is to be done on it.",
        "wake": "It is switched on.",
    }
    return act(lambda: api.decide(machine, verb), done[verb], f"/machines/{machine}")


@pages.post("/machines/<int:machine>/install")
@requires("operator")
def install(machine: int) -> Answer:
    said = {name: request.form.get(name, "") for name in ("os", "disk", "layout", "second_disk")}
    wish: dict[str, Any] = {name: value for name, value in said.items() if value}
    if request.form.get("then") == "kexec":
        wish["kexec"] = True

    def order() -> None:
        confirmed(machine)
        if ("second_disk" in wish) != (said["layout"] == "raid1"):
            raise BadInput("The layout raid1, and no other, takes a second disk, which is erased too: say which.")
        ordering.order(machine, INSTALL, wish)

    return act(order, "It is being installed.", f"/machines/{machine}")


def _forms(one: Mapping[str, Any], found: Mapping[str, Any]) -> list[Form]:
    made = [_installing(one, found), erasing.form(one, found), burning.form(one)] if one["state"] == ACCEPTED else []
    return [each for each in made if each is not None]


def _installing(one: Mapping[str, Any], found: Mapping[str, Any]) -> Form | None:
    """None where the role is committed: its noderole says what is done."""
    if any(each.state != "PROPOSED" for each in cluster().node_roles(role=INSTALL_ROLE, node=one["name"])):
        return None
    oses = [each for each in catalogue.all_of(cluster().settings(Settings).root) if not each.problem]
    suitable = [each for each in found.get("disks") or () if not disks.against(each, 0)]
    if not oses or not suitable:
        return None
    with cluster().read() as session:
        usual = defaults.get(session)
    return Form(
        title="Install an operating system", url=f"/machines/{one['id']}/install", label="Erase and install",
        inputs=(
            Input(
                name="os", label="Operating system", value=usual.os,
                choices=tuple((each.name, each.title) for each in oses),
            ),
            Input(
                name="disk", label="Disk, which is erased",
                choices=tuple((str(each["name"]), disks.described(each)) for each in suitable),
            ),
            Input(name="layout", label="Layout", value="flat", choices=tuple((each, each) for each in LAYOUTS)),
            Input(
                name="second_disk", label="With raid1 the second disk, which is erased", value="",
                choices=(("", "none"), *((str(each["name"]), disks.described(each)) for each in suitable)),
            ),
            Input(
                name="then", label="Then it is started", value="",
                choices=(("", "by its firmware"), ("kexec", "by kexec, without the firmware's self-test")),
            ),
            its_name(one["name"]),
        ),
        api=f'PUT /api/v2/machines/{one["id"]}/install {{"os": "{usual.os}", "disk": "{suitable[0]["name"]}"}}',
        cli=f"crowbar machines install {one['name']} --os {usual.os} --disk {suitable[0]['name']}",
    )  # fmt: skip


@pages.get("/oses")
@requires("viewer")
def oses() -> Response:
    items = [_shown_os(one) for one in catalogue.all_of(cluster().settings(Settings).root)]
    with cluster().read() as session:
        usual = defaults.get(session)
    form = Form(
        title="Where nothing else is said", url="/oses/defaults", label="Change",
        inputs=(
            Input(
                name="os", label="Installed where nothing else is said", value=usual.os,
                choices=tuple((one["name"], one["title"]) for one in items),
            ),
            Input(
                name="keys", label="Whom root lets in besides Crowbar", value=", ".join(usual.keys), size=60,
                placeholder="SSH keys, with commas between",
            ),
        ),
        api='PATCH /api/v2/os_defaults {"os": "debian-12", "keys": ["ssh-ed25519 AAAA… ada@example.com"]}',
        cli="crowbar oses defaults --os debian-12 --key 'ssh-ed25519 AAAA… ada@example.com'",
    )  # fmt: skip
    return page(
        "crowbar_provisioner/oses.html", title="Operating systems", items=items, columns=OSES, ways=WAYS, form=form
    )  # fmt: skip


@pages.post("/oses/defaults")
@requires("operator")
def change_defaults() -> Answer:
    keys = [one.strip() for one in request.form.get("keys", "").split(",") if one.strip()]
    os = request.form.get("os", "")
    return act(lambda: api.put_defaults(os=os, keys=keys), "This is what is installed from now on.", "/oses")


@pages.get("/oses/<os>")
@requires("viewer")
def one_os(os: str) -> Response:
    found = catalogue.get(cluster().settings(Settings).root, os)
    return page(
        "crowbar_provisioner/os.html", title=found.title, one=_shown_os(found), ways=WAYS, said=found.said,
        files=[(name, disks.sized(file.size), file.sha256) for name, file in found.tree.files.items()]
        if found.tree
        else [(each.file, disks.sized(each.size), each.sha256) for each in found.images],
    )  # fmt: skip


@pages.get("/accept-rules")
@requires("viewer")
def rules() -> Response:
    shown = rows(RULES, sort="name")
    items = [{**one, "shown_serials": ", ".join(one["serials"])} for one in shown.items]
    form = Form(
        title="Add a rule", url="/accept-rules", label="Add",
        inputs=(
            Input(name="name", label="Rule", required=True),
            Input(name="subnet", label="Subnet", placeholder="10.0.0.0/24"),
            Input(name="mac_prefix", label="MACs begin with", placeholder="52:54:00"),
            Input(name="serials", label="Serial numbers", placeholder="one or more, with spaces between"),
        ),
        api='POST /api/v2/accept_rules {"name": "rack-1", "subnet": "10.0.0.0/24"}',
        cli="crowbar accept-rules create rack-1 --subnet 10.0.0.0/24",
    )  # fmt: skip
    return page(
        "crowbar_provisioner/rules.html", title="Rules of acceptance", rows=shown, form=form, ways=WAYS,
        items=[(one, [_remove(one)]) for one in items], columns=RULE_COLUMNS,
    )  # fmt: skip


@pages.post("/accept-rules")
@requires("operator")
def create_rule() -> Answer:
    given = request.form
    body = {name: given.get(name, "") for name in ("name", "subnet", "mac_prefix")}
    serials = given.get("serials", "").split()
    return act(
        lambda: api.make_rule(_rule({**body, "serials": serials})), "The rule holds from now on.", "/accept-rules"
    )


@pages.post("/accept-rules/<int:rule>/remove")
@requires("operator")
def remove_rule(rule: int) -> Answer:
    return act(lambda: api.remove_rule(rule), "The rule is gone.", "/accept-rules")


def _rule(body: Mapping[str, Any]) -> dict[str, Any]:
    """Raises ``BadInput``."""
    try:
        return api.NewRule.model_validate(body).model_dump()
    except ValidationError as problem:
        raise BadInput(problem.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _shown_os(one: catalogue.Os) -> dict[str, Any]:
    of = one.image or one.tree
    size = disks.sized(of.size) if of else ""
    least = disks.sized(one.disk_size) if one.disk_size else ""
    told = one.problem.partition(" (")[0].partition(": ")[0]
    return {**api.shown(one), "made_at": one.made, "shown_size": size, "shown_least": least, "shown_problem": told}


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    claimed = "claimed" if one["claimed"] else one["state"]
    shown = ", ".join(word for word in (claimed, "asleep" if one["asleep"] else one["power"]) if word)
    return {**one, "shown_macs": ", ".join(one["macs"]), "shown_state": shown}


def _accept(one: Mapping[str, Any]) -> Action:
    return _action(one, "accept", "Accept")


def _refuse(one: Mapping[str, Any]) -> Action:
    return _action(one, "refuse", "Refuse", kind="danger")


def _expect(one: Mapping[str, Any]) -> Action:
    return _action(one, "expect", "Expect its next boot")


def _action(one: Mapping[str, Any], verb: str, label: str, kind: str = "") -> Action:
    return Action(
        label=label, url=f"/machines/{one['id']}/{verb}", api=f"PUT /api/v2/machines/{one['id']}/{verb}",
        cli=f"crowbar machines {verb} {one['name']}", kind=kind,
    )  # fmt: skip


def _remove(one: Mapping[str, Any]) -> Action:
    return Action(
        label="Remove", url=f"/accept-rules/{one['id']}/remove", api=f"DELETE /api/v2/accept_rules/{one['id']}",
        cli=f"crowbar accept-rules destroy {one['name']}", kind="danger",
    )  # fmt: skip


def _on_node(node: NodeView) -> Any:
    with cluster().read() as session:
        machine = of_node(session, node.name)
        install = installs.last_of(session, node.id)
    if machine is None:
        return None
    return fragment("crowbar_provisioner/_node.html", machine=machine, node=node, install=install)


PANEL = Panel(on="node", title="Machine", render=_on_node)
