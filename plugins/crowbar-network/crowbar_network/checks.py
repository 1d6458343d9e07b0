"""What may be said of the interfaces of a network or of a range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crowbar_network.conduits import parse
from crowbar_network.errors import bad

V6_MTU = 1280
LAYERS = ("conduit", "vlan", "use_vlan", "use_bridge", "use_team", "team_mode")
"""What a network says of its interfaces, and a range may say otherwise."""
TEAM_MODES = range(7)


def check_layers(values: Mapping[str, Any], *, at: str = "") -> None:
    """Raises ``BadInput`` with the field (``at`` goes before it)."""
    conduit = parse(values["conduit"], field=f"{at}conduit") if values.get("conduit") else None
    if values.get("use_team") and conduit is None:
        raise bad(f"{at}conduit", "A team is made of the cards of a conduit: name 2 to 8, as 10g1,10g2.")
    if values.get("use_vlan") and values.get("vlan") is None:
        raise bad(f"{at}vlan", "With use_vlan there must be a vlan, from 1 to 4094.")
    if values.get("vlan") is not None and not 1 <= values["vlan"] <= 4094:
        raise bad(f"{at}vlan", f"{values['vlan']} is no VLAN; they go from 1 to 4094.")
    if values.get("team_mode") is not None and values["team_mode"] not in TEAM_MODES:
        raise bad(f"{at}team_mode", f"{values['team_mode']} is no mode of a bond; they go from 0 to 6.")
    if conduit is not None and not conduit.is_bmc:
        if values.get("use_team") and conduit.needs < 2:
            raise bad(f"{at}conduit", f"{conduit.text} is one card; a team has 2 to 8.")
        if not values.get("use_team") and conduit.needs > 1:
            raise bad(
                f"{at}use_team", f"{conduit.text} means {conduit.needs} cards, which only a team (use_team) can have."
            )
    if values.get("mtu") is not None and not 68 <= values["mtu"] <= 65535:
        raise bad(f"{at}mtu", f"{values['mtu']} is no MTU; they go from 68 to 65535, and from 1280 with IPv6.")
    if values.get("mtu") is not None and values.get("v6prefix") and values["mtu"] < V6_MTU:
        raise bad(f"{at}mtu", f"{values['mtu']} is too small for IPv6, which needs {V6_MTU}.")
