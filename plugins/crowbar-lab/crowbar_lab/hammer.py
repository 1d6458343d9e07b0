"""The hammer ``lab``: powers a lab's node, as a BMC powers a machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crowbar_core import BadInput, Hammer, Json
from crowbar_lab.lab import ACTIONS, Lab


class LabHammer(Hammer):
    """``config``: ``lab`` and ``node``, their names; ``state_dir``, where the lab is kept if not in the default."""

    def __init__(self, config: Mapping[str, Json]) -> None:
        super().__init__(config)
        for key in ("lab", "node", "state_dir"):
            value = config.get(key)
            if not (isinstance(value, str) and value) and not (key == "state_dir" and value is None):
                raise BadInput(f"The hammer lab needs {key!r} as a text in its config, and has {value!r}.")
        for key in config:
            if key not in ("lab", "node", "state_dir"):
                raise BadInput(f"The hammer lab does not know {key!r}: its config has lab, node and state_dir.")

    def actions(self) -> tuple[str, ...]:
        return ACTIONS

    def perform(self, action: str) -> str:
        state_dir = self.config.get("state_dir")
        lab = Lab.load(self.config["lab"], state_dir=Path(state_dir) if state_dir else None)
        return lab.power(self.config["node"], action)
