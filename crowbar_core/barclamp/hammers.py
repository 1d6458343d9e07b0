"""How a node is acted on outside its roles: power, boot device, and whether it is alive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from crowbar_core.barclamp.views import Json


class Hammer(ABC):
    """A way to act on a node outside its roles: power, boot device. Found through the entry points
    ``crowbar.hammers``.
    """

    def __init__(self, config: Mapping[str, Json]) -> None:
        """``config`` belongs to one node (address of its BMC, user name, ...)."""
        self.config = config

    @abstractmethod
    def actions(self) -> tuple[str, ...]:
        """What can be performed: ``on``, ``off``, ``reset``, ``status``, ..."""

    @abstractmethod
    def perform(self, action: str) -> str:
        """Do it; returns one line for a person (``status``: ``on`` or ``off``). Raises ``CrowbarError``."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The answer of ``probe_node``. ``reason`` says why a node is not alive; ``host_keys`` are those it showed."""

    alive: bool
    address: str | None = None
    reason: str = ""
    host_keys: tuple[str, ...] = ()
