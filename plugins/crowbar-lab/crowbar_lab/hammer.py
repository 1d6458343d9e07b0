"""The hammer ``lab``: powers a lab's node, as a BMC powers a machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from crowbar_core import BadInput, CancelFlag, Hammer, Json
from crowbar_lab.lab import ACTIONS, Lab

LAST_BYTES = 16 * 1024
LOOK_AGAIN = 0.5


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
        return self._lab.power(self.config["node"], action)

    def console(self, heard: Callable[[bytes], None], stopped: CancelFlag) -> bool:
        """Of a virtual machine: its serial port, from its last lines on."""
        name = self.config["node"]
        if not self._lab.is_vm(name):
            return False
        with self._lab.vm(name).console_log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
            while not stopped.is_set():
                if said := log.read(LAST_BYTES):
                    heard(said)
                else:
                    stopped.wait(LOOK_AGAIN)
        return True

    @property
    def _lab(self) -> Lab:
        state_dir = self.config.get("state_dir")
        return Lab.load(self.config["lab"], state_dir=Path(state_dir) if state_dir else None)
