"""Addresses: each node with the role ``example-address`` gets one of a subnet, and ``example-hosts`` lists them all."""

from __future__ import annotations

from crowbar_core import Attribute, Barclamp, Panel, Role, Schema, hookimpl
from crowbar_example_addresses.answers import addresses_of, data_of, held_by, jig_run  # noqa: F401  hooks
from crowbar_example_addresses.deciding import (  # noqa: F401  hooks
    check_binding,
    check_commit,
    check_node,
    on_commit,
    on_node_bind,
    on_node_unbind,
)
from crowbar_example_addresses.following import (  # noqa: F401  hooks
    on_active,
    on_blocked,
    on_error,
    on_node_change,
    on_node_create,
    on_node_delete,
    on_proposed,
    on_run_finished,
    on_todo,
    on_transition,
)
from crowbar_example_addresses.pool import Settings

WISH = Attribute(
    name="example-wish",
    description="The address that the node is to get.",
    schema={"type": "string", "format": "ipv4"},
)
OWN = Attribute(
    name="example-own",
    description="The node's address.",
    map="example-addresses/own",
    schema={"type": "string"},
    writable=False,
)
ALL = Attribute(
    name="example-all",
    description="All addresses that are in use, as lines of a hosts file.",
    map="example-addresses/all",
    schema={"type": "string"},
    default="",
    writable=False,
)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="example-addresses",
        help="Gives each node an address of a subnet.",
        settings=Settings,
        attributes=(WISH,),
        roles=(
            Role(name="example-address", description="Has an address.", jig="script", attributes=(OWN,), timeout=60),
            Role(
                name="example-hosts", description="Has a list of all addresses.", jig="script", attributes=(ALL,),
                on_change="refresh", gather=1.0, timeout=60,
            ),
        ),
    )  # fmt: skip


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_example_addresses.migrations")


@hookimpl
def register_panels() -> list[Panel]:
    return [Panel(on="node", title="Address", render=held_by)]
