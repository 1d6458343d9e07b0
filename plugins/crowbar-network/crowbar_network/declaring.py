"""What `crowbar export` carries of networks, and `crowbar apply` makes true."""

from __future__ import annotations

from collections.abc import Iterable

from crowbar_core import Declared, hookimpl
from crowbar_network.checks import LAYERS
from crowbar_network.drafts import WAIT

_MORE = ("mtu", "v6prefix", "v6id", "dhcp", "configure", "pbr", "order")


def _likely(fields: Iterable[str]) -> dict[str, str]:
    """What was changed and waits is carried, as what is proposed is."""
    return {name: f"proposed_{name}" for name in fields}


@hookimpl
def register_declared() -> Iterable[Declared]:
    """Before nodes are bound to the networks' roles. Addresses are given with the roles; those that are reserved are
    nobody else's by then.
    """
    of_network = {"network_id": "networks"}
    return [
        Declared(
            noun="networks", order=15, refers={"deployment_id": "deployments"},
            fields=("description", "deployment_id", "category", "group", *LAYERS, *_MORE), shown=_likely(WAIT),
        ),
        Declared(
            noun="network_ranges", order=16, key=("network_id", "name"), refers=of_network,
            fields=("first", "last", *LAYERS, "overlap"), shown=_likely(LAYERS),
        ),
        Declared(
            noun="network_routers", order=17, key=("network_id", "address"), fields=("pref",), refers=of_network,
            shown=_likely(("pref",)), where={"stays": "true"},
        ),
        Declared(
            noun="network_allocations", order=18, key=("network_id", "address"), fields=("reserved_for",),
            refers=of_network, where={"reserved": "true"},
        ),
        Declared(noun="interface_maps", order=18, key=("pattern",), fields=("buses", "order")),
    ]  # fmt: skip
