"""The script jig as a barclamp: it probes nodes by ping and SSH, and runs the shell scripts of roles on them."""

from __future__ import annotations

from collections.abc import Iterable

from crowbar_core import Attribute, Barclamp, Hint, NodeView, Probe, cluster, hookimpl
from crowbar_jig_script.connections import connections_for
from crowbar_jig_script.first_questions import on_wizard_end as on_wizard_end
from crowbar_jig_script.first_questions import wizard_steps as wizard_steps
from crowbar_jig_script.probe import known_addresses, probe
from crowbar_jig_script.settings import Settings

ADDRESSES = tuple(
    Attribute(
        name=name,
        description=f"The node's {version} address on the admin network, with or without prefix length.",
        schema={"type": "string"},
        map=name,
    )
    for name, version in (("hint-admin-v4addr", "IPv4"), ("hint-admin-v6addr", "IPv6"))
)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="jig-script",
        help="Probes nodes by ping and SSH, and runs the shell scripts of roles on them as root.",
        settings=Settings,
        attributes=ADDRESSES,
        hints=(Hint(name="hint-admin-v4addr", of="ipv4"), Hint(name="hint-admin-v6addr", of="ipv6")),
    )


@hookimpl
def node_addresses(node: NodeView) -> Iterable[str]:
    return known_addresses(node)


@hookimpl
def probe_node(node: NodeView) -> Probe | None:
    return probe(node, connections_for(cluster().settings(Settings)))
