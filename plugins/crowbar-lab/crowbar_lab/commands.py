"""``crowbar lab``: make a lab, look at it, act on its nodes, remove it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import yaml

from crowbar_core import CrowbarError
from crowbar_core.client import target
from crowbar_core.commands import Noun
from crowbar_lab import seat
from crowbar_lab.host import check_root, default_state_dir, missing_for_rack
from crowbar_lab.lab import Lab
from crowbar_lab.plan import KERNELS, MAX_CARDS, check_cards, check_lab_name, vlans
from crowbar_lab.registration import register
from crowbar_lab.vm_plan import FIRMWARES, MAX_VMS
from crowbar_lab.vms import check_vm_host

DEFAULT_NAME = "lab"
FOLLOW_SECONDS = 0.2
COLUMNS = ("name", "ipv4", "ipv6", "mac", "power", "pid")
VM_COLUMNS = ("name", "firmware", "macs", "memory", "disks", "power", "boot", "ipmi", "redfish")
PORT_COLUMNS = ("node", "card", "mac", "cable", "vlan", "tagged", "lacp", "mtu")


class _OneSentence(Noun):
    """Turns what goes wrong with a lab into one sentence, whoever calls the group."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CrowbarError as error:
            raise click.ClickException(error.detail) from error


def _find(name: str) -> Lab:
    check_root()
    return Lab.load(name)


name_option = click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which lab.")


lab = _OneSentence(
    "lab",
    help="A lab of light nodes: machines made of Linux namespaces, for demos, tests and benchmarks. Needs root.",
    no_args_is_help=True,
)


@lab.verb("up")
@name_option
@click.option(
    "--nodes", type=click.IntRange(0, 999), default=3, show_default=True, help="Nodes besides the admin node."
)
@click.option("--domain", default="lab.test", show_default=True, help="The nodes' domain; at least two labels.")
@click.option("--ipv4", default="10.77.0.0/16", show_default=True, help="The lab's IPv4 subnet.")
@click.option("--ipv6", default="fd00:77::/64", show_default=True, help="The lab's IPv6 subnet.")
@click.option(
    "--authorized-key",
    "key_files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A public key that is to open the nodes; without one the lab makes its own pair.",
)
@click.option(
    "--hide", type=click.Path(path_type=Path), multiple=True, help="A path of this machine that no node may see."
)
@click.option(
    "--kernel",
    type=click.Choice(KERNELS),
    default="host",
    show_default=True,
    help="uml: one of the nodes' own, User Mode Linux, which has bonds and VLANs.",
)
@click.option(
    "--cards",
    type=click.IntRange(0, MAX_CARDS),
    default=0,
    show_default=True,
    help="Cards of each node besides eth0, at a switch; with --kernel uml.",
)
@click.option(
    "--vms",
    type=click.IntRange(0, MAX_VMS),
    default=0,
    show_default=True,
    help="Virtual machines, each with a BMC; off.",
)
@click.option(
    "--firmware", type=click.Choice(FIRMWARES), help="That of the virtual machines; without it they have it in turn."
)
@click.option("--vm-memory", type=int, default=512, show_default=True, help="MiB of each virtual machine.")
@click.option("--vm-cpus", type=int, default=1, show_default=True, help="Processors of each virtual machine.")
@click.option("--vm-disk", type=int, multiple=True, default=(4,), show_default=True, help="GiB of a disk; repeatable.")
@click.option("--vm-nics", type=int, default=1, show_default=True, help="Cards of each virtual machine.")
@click.option("--ipv6-only", is_flag=True, help="Virtual machines with UEFI that tries no boot over IPv4.")
@click.option("--http-boot", is_flag=True, help="Virtual machines with UEFI that has no PXE, and boots over HTTP.")
@click.option("--serve", "serves", is_flag=True, help="Start a server of the lab's own, as `crowbar lab serve` does.")
@click.option("--register", "registers", is_flag=True, help="Make the nodes known to a Crowbar server, or to this one.")
def up(
    name: str,
    nodes: int,
    domain: str,
    ipv4: str,
    ipv6: str,
    key_files: Sequence[Path],
    hide: Sequence[Path],
    kernel: str,
    cards: int,
    vms: int,
    firmware: str | None,
    vm_memory: int,
    vm_cpus: int,
    vm_disk: Sequence[int],
    vm_nics: int,
    ipv6_only: bool,
    http_boot: bool,
    serves: bool,
    registers: bool,
) -> None:
    """Make a lab with an admin node and more nodes, and boot them; and virtual machines, which are off."""
    owner = seat.Owner.asking(os.environ)
    if serves:
        seat.check_profile(check_lab_name(name), owner)
    if vms:
        check_vm_host()
    keys = [line for file in key_files for line in file.read_text().splitlines() if line.strip()]
    check_cards(cards, kernel)
    if kernel == "uml" and (missing := missing_for_rack()):
        click.echo(
            f"User Mode Linux is not complete here (apt-get install {' '.join(missing)}): "
            "the nodes share this machine's kernel, and have eth0 alone.",
            err=True,
        )
        kernel, cards = "host", 0
    made = Lab.create(
        name,
        nodes=nodes + 1,
        domain=domain,
        ipv4=ipv4,
        ipv6=ipv6,
        authorized_keys=keys,
        hide=hide,
        kernel=kernel,
        cards=cards,
    )
    click.echo(f"The lab {name} is up: {nodes + 1} nodes, {made.nodes[0].name} and {nodes} more.", err=True)
    try:
        if vms:
            machine = {"memory": vm_memory, "cpus": vm_cpus, "disks": vm_disk, "nics": vm_nics}
            boots = {"ipv6_only": ipv6_only, "http_boot": http_boot}
            added = made.add_vms(vms, firmware=firmware, **boots, **machine)
            click.echo(f"Virtual machines, off: {', '.join(vm.name for vm in added)}.", err=True)
        if serves:
            _say_served(made, owner)
    except BaseException:
        _remove(name)
        raise
    if registers:
        _say_registered(made)


@lab.command("serve")
@name_option
def serve(name: str) -> None:
    """Start a server of the lab's own, or start it again: it finds the barclamps that are installed now.

    It is in the lab's network and listens on this machine's loopback address; its database stays as long as the lab.
    A profile of the lab's name leads there, and is the current one where there is no other.
    """
    _say_served(_find(name), seat.Owner.asking(os.environ))


@lab.command("down")
@name_option
def down(name: str) -> None:
    """Remove a lab, in whatever state it is; nothing of it is left, nor of its own server and the profile."""
    check_root()
    if _remove(name):
        click.echo(f"The lab {name} is gone.", err=True)
    else:
        click.echo(f"There is no lab {name}.", err=True)


@lab.command("list")
def list_() -> None:
    """List the labs that there are."""
    for name in Lab.names():
        click.echo(name)


@lab.command("status")
@name_option
@click.option(
    "--format", "format_", type=click.Choice(("table", "json", "yaml")), default="table", show_default=True,
    help="How data is printed.",
)  # fmt: skip
def status(name: str, format_: str) -> None:
    """Show a lab, its nodes and its virtual machines."""
    found = _find(name)
    described = found.describe()
    described["vms"] = [vm.state() for vm in found.vms]
    if format_ == "json":
        click.echo(json.dumps(described, indent=2))
    elif format_ == "yaml":
        click.echo(yaml.safe_dump(described, sort_keys=False).rstrip("\n"))
    else:
        click.echo(
            _table([{**node, "power": "on" if node["powered"] else "off"} for node in described["nodes"]], COLUMNS)
        )
        if ports := [_shown_port(node, card) for node in described["nodes"] for card in node["cards"]]:
            click.echo(f"\n{_table(ports, PORT_COLUMNS)}")
        if described["vms"]:
            click.echo(f"\n{_table([_shown_vm(one) for one in described['vms']], VM_COLUMNS)}")


@lab.command("power")
@name_option
@click.argument("node")
@click.argument("action", type=click.Choice(("on", "off", "reset", "status")))
def power(name: str, node: str, action: str) -> None:
    """Turn NODE or a virtual machine on or off (as if the plug were pulled), or reset it, and say which it is then."""
    click.echo(_find(name).power(node, action))


@lab.command("console")
@name_option
@click.argument("vm")
@click.option("--follow", is_flag=True, help="Go on with what it writes from now on.")
def console(name: str, vm: str, follow: bool) -> None:
    """Show what the virtual machine VM has written to its serial port."""
    with _find(name).vm(vm).console_log.open(errors="replace") as log:
        while True:
            click.echo(log.read(), nl=False)
            if not follow:
                return
            time.sleep(FOLLOW_SECONDS)


@lab.command("add")
@name_option
@click.argument("node", required=False)
def add(name: str, node: str | None) -> None:
    """Make one more node, called NODE or by the next number, and boot it."""
    click.echo(_find(name).add_node(node).name)


@lab.command("cable")
@name_option
@click.argument("node")
@click.argument("nic")
@click.argument("state", type=click.Choice(("up", "down")))
def cable(name: str, node: str, nic: str, state: str) -> None:
    """Pull the cable of NODE's card NIC at the switch (down), so that it has no carrier, or put it in again (up)."""
    _find(name).cable(node, nic, up=state == "up")


@lab.command("port")
@name_option
@click.argument("node")
@click.argument("nic")
@click.option("--vlan", type=int, help="The VLAN of untagged frames; 0: they are dropped.")
@click.option("--tagged", help="All VLANs that come with a tag, like 100,200; '' for none.")
@click.option("--lacp/--no-lacp", default=None, help="Whether the port is in the node's LACP group.")
@click.option("--lacp-group", type=int, help="Which group, where a node has more than the one called 1.")
@click.option("--mtu", type=int, help="Larger frames are dropped.")
def port(
    name: str,
    node: str,
    nic: str,
    vlan: int | None,
    tagged: str | None,
    lacp: bool | None,
    lacp_group: int | None,
    mtu: int | None,
) -> None:
    """Set how the switch treats NODE's card NIC; what is not said stays as it is."""
    group = lacp if lacp_group is None or lacp is False else lacp_group
    _find(name).port(node, nic, vlan=vlan, tagged=None if tagged is None else vlans(tagged), lacp=group, mtu=mtu)


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, command: Sequence[str]) -> None:
    """Run COMMAND inside the lab's network, where it reaches the nodes and they reach it."""
    found = _find(name)
    _become(found, command)


@lab.command("ssh", context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, node: str, command: Sequence[str]) -> None:
    """Log in to NODE as root, and run COMMAND there if there is one."""
    found = _find(name)
    _become(found, found.ssh(node, command))


@lab.verb("register")
@name_option
def register_(name: str) -> None:
    """Make the nodes known to a Crowbar server, with their addresses, host keys and power: to the lab's own if it has
    one, unless --url or --profile names another.
    """
    _say_registered(_find(name))


def _say_served(found: Lab, owner: seat.Owner) -> None:
    made, password, current = seat.take_seat(found, owner)
    signs_in = f" (on its pages: user admin, password {password})" if password else ""
    click.echo(f"The server of the lab {found.name} is at {made.url}{signs_in}.", err=True)
    how = "crowbar finds it by itself" if current else f"crowbar finds it with --profile {made.profile}"
    click.echo(f"The profile {made.profile} in {owner.config} leads there: {how}.", err=True)


def _remove(name: str) -> bool:
    its = seat.Seat.of(default_state_dir() / check_lab_name(name))
    removed = Lab.remove(name)
    if its is not None:
        its.forget()
    return removed


def _say_registered(found: Lab) -> None:
    new = register(found, target(seat.environment(found)))
    click.echo(
        f"{len(new)} nodes of the lab {found.name} are registered; {len(found.nodes) - len(new)} were known.", err=True
    )


def _become(found: Lab, command: Sequence[str]) -> NoReturn:
    # This process becomes the command: its terminal, signals and exit code are the command's own.
    line = found.enter(command)
    os.execve(line[0], line, found.environment)


def _shown_port(node: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    return {
        **card,
        "node": node["name"],
        "card": card["name"],
        "cable": "up" if card["cable"] else "down",
        "vlan": card["vlan"] or None,
        "tagged": ",".join(map(str, card["tagged"])) or None,
        "lacp": card["lacp"] or None,
    }


def _shown_vm(vm: dict[str, Any]) -> dict[str, Any]:
    return {
        **vm,
        "macs": ",".join(vm["macs"]),
        "memory": f"{vm['memory']} MiB",
        "disks": ",".join(f"{size} GiB" for size in vm["disks"]) or None,
        "power": "on" if vm["powered"] else "off",
    }


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    cells = [[column.upper() for column in columns]] + [
        ["-" if row[column] is None else str(row[column]) for column in columns] for row in rows
    ]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


if __name__ == "__main__":
    lab()
