"""`crowbar machines`, `accept-rules` and `oses`."""

from __future__ import annotations

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
    rows,
)

machines = noun("machines", "Machines that boot from here, and the quarantine.")
add_list(
    machines, "machines", ("name", "state", "claimed", "macs", "source", "bootenv", "booted", "problem"),
    what="machines", filters={"state": "Those in this state: quarantined, accepted, refused."}, order="name",
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

oses = noun("oses", "The operating systems that can be installed.")


@oses.verb("list", help="The operating systems that can be installed, with their images.")
def listed() -> None:
    rows(connect().get("oses"), ("name", "title", "method", "image", "sha256", "problem"), output())
