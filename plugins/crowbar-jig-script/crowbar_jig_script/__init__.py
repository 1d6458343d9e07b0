"""The script jig as a barclamp: it probes nodes by ping and SSH, and runs the shell scripts of roles on them."""

from __future__ import annotations

from collections.abc import Iterable

from crowbar_core import Barclamp, NodeView, Probe, cluster, hookimpl
from crowbar_jig_script.connections import connections_for
from crowbar_jig_script.probe import addresses_of, probe
from crowbar_jig_script.settings import Settings


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="jig-script",
        help="Probes nodes by ping and SSH, and runs the shell scripts of roles on them as root.",
        settings=Settings,
    )


@hookimpl
def node_addresses(node: NodeView) -> Iterable[str]:
    return addresses_of(node)


@hookimpl
def probe_node(node: NodeView) -> Probe | None:
    return probe(node, connections_for(cluster().settings(Settings)))
