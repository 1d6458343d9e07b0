"""What `crowbar export` carries of networks, and `crowbar apply` makes true."""

from __future__ import annotations

from collections.abc import Iterable

from crowbar_core import Declared, hookimpl
from crowbar_network.checks import LAYERS

_MORE = ("mtu", "v6prefix", "v6id", "configure", "pbr", "order")


@hookimpl
def register_declared() -> Iterable[Declared]:
    """Before nodes are bound to the networks' roles. Addresses are given with the roles."""
    of_network = {"network_id": "networks"}
    return [
        Declared(
            noun="networks", order=15, refers={"deployment_id": "deployments"},
            fields=("description", "deployment_id", "category", "group", *LAYERS, *_MORE),
        ),
        Declared(
            noun="network_ranges", order=16, key=("network_id", "name"), refers=of_network,
            fields=("first", "last", *LAYERS, "overlap"),
        ),
        Declared(noun="network_routers", order=17, key=("network_id", "address"), fields=("pref",), refers=of_network),
        Declared(noun="interface_maps", order=18, key=("pattern",), fields=("buses", "order")),
    ]  # fmt: skip
