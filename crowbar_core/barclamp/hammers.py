"""How a node is acted on outside its roles: power, boot device, and whether it is alive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from crowbar_core.barclamp.jigs import CancelFlag
from crowbar_core.barclamp.views import Json, NodeView

POWER_ACTIONS: Mapping[str, str] = {
    "on": "power it on; nothing happens if it is",
    "off": "power it off at once; nothing happens if it is",
    "soft": "ask its system to shut down",
    "cycle": "power it off, then on",
    "reset": "restart it at once",
    "status": "say whether it is on or off",
    "boot-once-pxe": "boot from the network, by TFTP, the next time",
    "boot-once-http": "boot from the network, by HTTP, the next time",
    "boot-once-disk": "boot from disk the next time",
    "boot-pxe": "boot from the network from now on",
    "boot-disk": "boot from disk from now on",
}
"""What hammers call their actions, so that one may stand in for another, and what each means."""


class Hammer(ABC):
    """A way to act on a node outside its roles: power, boot device. Found through the entry points
    ``crowbar.hammers``.

    ``schema`` is a JSON Schema (2020-12) of ``config``, an object; what does not keep to it is refused. A property with
    ``"writeOnly": true`` is a secret: shown masked, as everything is where there is no schema. The configuration is
    encrypted at rest in any case.
    """

    schema: ClassVar[Mapping[str, Json]] = {}
    node: NodeView
    """The node that it is to act on, as it stands. The core sets it before it calls ``actions`` or ``perform``."""

    def __init__(self, config: Mapping[str, Json]) -> None:
        """``config`` belongs to one node (address of its BMC, user name, ...)."""
        self.config = config

    @abstractmethod
    def actions(self) -> tuple[str, ...]:
        """What it can perform: of ``POWER_ACTIONS``, or others of its own."""

    @abstractmethod
    def perform(self, action: str) -> str:
        """Do it; returns one line for a person (``status``: ``on`` or ``off``). Raises ``CrowbarError``; where that is
        ``TemporaryError`` or ``NodeUnreachable``, the node's next hammer that can is tried.
        """

    def console(self, heard: Callable[[bytes], None], stopped: CancelFlag) -> bool:
        """Pass on what the node's console shows, as it comes, until ``stopped`` is set or it breaks off; its last lines
        first, where they are kept. False, at once: it knows of no console. Raises ``CrowbarError``; then the node's
        next hammer is tried.
        """
        return False


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The answer of ``probe_node``. ``reason`` says why a node is not alive; ``host_keys`` are those it showed."""

    alive: bool
    address: str | None = None
    reason: str = ""
    host_keys: tuple[str, ...] = ()
