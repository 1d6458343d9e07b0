"""`crowbar machines`, `accept-rules` and `oses`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from crowbar_core import CrowbarError
from crowbar_core.client import connect
from crowbar_core.commands import (
    Given,
    add_action,
    add_create,
    add_destroy,
    add_list,
    add_show,
    add_update,
    noun,
    output,
    plan_options,
    read_file,
    record,
    rows,
    say,
    yes_option,
)
from crowbar_provisioner import order_commands
from crowbar_provisioner.burning import commands as burning
from crowbar_provisioner.describing import LAYOUTS, Described, read
from crowbar_provisioner.erasing import commands as erasing
from crowbar_provisioner.joining import commands as joining
from crowbar_provisioner.trees import add

machines = noun("machines", "Machines that boot from here, and the quarantine.")
add_list(
    machines, "machines",
    ("name", "state", "claimed", "asleep", "power", "macs", "source", "bootenv", "booted", "problem"), what="machines",
    order="name",
    filters={
        "state": "Those in this state: quarantined, accepted, refused.", "asleep": "true: those that are asleep.",
        "by_kexec": "true: those that went on by kexec, and were not yet started from disk by their firmware.",
        "claimed": "true: those that booted unexpectedly, and wait to be accepted again.",
    },
)  # fmt: skip
add_show(machines, "machines", what="a machine")
add_action(
    machines, "machines", "accept", done="is accepted",
    help_="Take a machine for a node; or an unexpected boot of one for its own.",
)  # fmt: skip
add_action(machines, "machines", "refuse", help_="Hear nothing of a machine any more.", done="is refused")
add_action(
    machines, "machines", "expect", help_="Announce the next boot of a machine, which is then taken for its own.",
    done="is expected to boot",
)  # fmt: skip
add_action(
    machines, "machines", "debug", done="boots the discovery image the next time",
    help_="Rescue a machine: it runs the discovery image from its next boot on, and nothing is run on it.",
)  # fmt: skip
add_action(machines, "machines", "undebug", help_="End a machine's rescue: it goes back to its disk.",
           done="goes back to its disk")  # fmt: skip
add_action(
    machines, "machines", "sleep", done="is switched off",
    help_="Switch a machine off on which nothing is to be done; it is woken when something is.",
)  # fmt: skip
add_action(machines, "machines", "wake", help_="Switch a machine on that is asleep.", done="is switched on")
joining.add_to(machines)
erasing.add_to(machines)
burning.add_to(machines)


@machines.verb("install")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--os", metavar="NAME", help="Which operating system; without, the default one.")
@click.option("--disk", metavar="DISK", help="By name, serial number, WWN or path; without, the first suitable one.")
@click.option("--second-disk", metavar="DISK", help="The second one of raid1.")
@click.option("--layout", type=click.Choice(LAYOUTS), help="How the disk is divided.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Whom root lets in besides; one option each.")
@click.option("--reset/--no-reset", default=None, help="Whether one that runs the discovery image is reset before.")
@click.option("--kexec/--no-kexec", default=None, help="Whether it goes on by kexec then, without its firmware's test.")
@yes_option
@plan_options
def install(names: tuple[str, ...], yes: bool, plan: bool, every: bool, **said: Any) -> None:
    """Install an operating system on machines: what is on the disk is erased. Asks, once it has shown which disk."""
    order_commands.order(
        names, "install", said, yes=yes, plan=plan, every=every, asks="install {name}",
        done="{name} is being installed: crowbar machines show {name}",
    )  # fmt: skip


rules = noun("accept-rules", "Rules by which machines leave the quarantine by themselves.")
OPTIONS = (
    Given(name="subnet", help="Machines that register from there: 10.0.0.0/24."),
    Given(name="mac_prefix", help="Machines with a card whose MAC begins so: 52:54:00."),
    Given(name="serials", help="Machines with one of these serial numbers.", multiple=True),
)
add_list(rules, "accept_rules", ("name", "subnet", "mac_prefix", "serials"), what="the rules")
add_show(rules, "accept_rules", what="a rule")
add_create(rules, "accept_rules", what="a rule", options=OPTIONS)
add_update(rules, "accept_rules", what="a rule", options=OPTIONS)
add_destroy(rules, "accept_rules", what="a rule")

installations = noun("installations", "What was installed on which machine, and how far it is.")
add_list(
    installations, "installations", ("id", "node", "os", "state", "step", "percent", "detail", "begun_at"),
    what="the installations, the newest first",
    filters={"node": "Those of this node.", "os": "Those of this operating system.", "state": "Those in this state."},
)  # fmt: skip
add_show(installations, "installations", what="an installation")

oses = noun("oses", "The operating systems that can be installed.")


@oses.verb("list", help="The operating systems that can be installed, with their images.")
def listed() -> None:
    rows(connect().get("oses"), ("name", "title", "method", "layouts", "image", "sha256", "problem"), output())


@oses.verb("show", help="An operating system: what its file says, its image or its tree.")
@click.argument("name")
def show(name: str) -> None:
    record(connect().get("oses", name), output())


@oses.verb("defaults")
@click.option("--os", metavar="NAME", help="What is installed.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Whom root lets in; all of them, one option each.")
@click.option("--no-keys", is_flag=True, help="Root lets in nobody but Crowbar.")
def os_defaults(os: str | None, keys: tuple[str, ...], no_keys: bool) -> None:
    """What is installed, and whom root lets in besides Crowbar, where nothing else is said; with options, changed."""
    body: dict[str, object] = {"os": os} if os else {}
    if keys or no_keys:
        body["keys"] = list(keys)
    found = connect().patch("os_defaults", body=body) if body else connect().get("os_defaults")
    record(found, output())


@oses.verb("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Say what is wrong with files that describe operating systems. Needs no server; exits 1 for any."""
    wrong = False
    for file in files:
        try:
            read(file.read_bytes(), file.name.removesuffix(".json"))
        except (CrowbarError, OSError) as problem:
            wrong = True
            say(problem.detail if isinstance(problem, CrowbarError) else f"{file} cannot be read: {problem.strerror}.")
        else:
            say(f"{file} is right.")
    if wrong:
        raise SystemExit(1)


@oses.verb("add-tree")
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--mirror", default="", metavar="URL", help="Where its installer has packages from.")
@click.option("--sha256", default="", metavar="CHECKSUM", help="Of an ISO image, as who publishes it says.")
@click.option(
    "--sums",
    metavar="FILE",
    help="Checksums of files of a directory, as sha256sum writes them; - is standard input.",
)
@click.option(
    "--files",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/crowbar/boot"),
    show_default=True,
    help="Where the boot service has its files.",
)
def add_tree(name: str, source: Path, mirror: str, sha256: str, sums: str | None, files: Path) -> None:
    """Put what an installer boots from, SOURCE, below the boot files: a directory, or an ISO image. Where the boot
    service runs; a tree of that operating system that is there already is replaced.
    """
    try:
        said = Described.model_validate(connect().get("oses", name)["description"])
        lines = read_file(sums) if sums is not None else ""
        made = add(files.absolute(), said, source.absolute(), mirror=mirror, sha256=sha256, sums=lines)
    except ValidationError:
        raise click.ClickException(f"{name} cannot be installed as it is described: crowbar oses show {name}") from None
    except CrowbarError as problem:
        raise click.ClickException(problem.detail) from None
    for path, file in made.files.items():
        click.echo(f"{file.sha256}  {path}")
    say(f"{name}: {made.count} files of {made.size} bytes, with the checksum {made.sha256}.")
