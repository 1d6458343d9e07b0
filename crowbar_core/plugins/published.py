"""Hooks of a barclamp's own, which other barclamps may implement.

One whose name begins with ``on_`` is *told*, through the outbox and after the commit; any other is a question, *asked*
within the process. The rest of the core's rules hold for them as for its own hooks.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from crowbar_core.barclamp import PROJECT
from crowbar_core.domain.carrying import annotation, cannot_carry, from_json, to_json
from crowbar_core.errors import BarclampError

NAME_LENGTH = 64
"""Of a hook, and of the subject that orders what is told: as many characters as the outbox keeps."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One hook that ``barclamp`` publishes. ``parameters``: name -> annotation."""

    hook: str
    barclamp: str
    parameters: Mapping[str, Any]
    first: bool = False
    """A question whose first answer wins."""

    @property
    def told(self) -> bool:
        return is_told(self.hook)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises ``BarclampError`` unless the arguments are those that the hook has."""
        wrong = sorted(set(arguments) ^ set(self.parameters))
        if wrong:
            has = f"has no argument {wrong[0]!r}" if wrong[0] in arguments else f"needs the argument {wrong[0]!r}"
            raise BarclampError(
                f"The hook {self.hook} of barclamp {self.barclamp} {has}; "
                f"its arguments are: {', '.join(self.parameters) or 'none'}."
            )

    def payload(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as JSON. Raises ``BarclampError`` for those that the hook does not have, or that have no form
        in JSON.
        """
        self.check(arguments)
        try:
            return {name: to_json(value, name) for name, value in arguments.items()}
        except ValueError as error:
            raise BarclampError(f"{self.hook} of barclamp {self.barclamp} cannot be told: {error}.") from error

    def arguments(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What listeners are given. An argument that a newer version of the publisher has, and the payload has not, is
        None. Raises ``TypeError`` or ``ValueError`` when the payload does not fit.
        """
        return {name: from_json(kind, payload.get(name)) for name, kind in self.parameters.items()}


def is_told(hook: str) -> bool:
    return hook.startswith("on_")


def published(barclamp: str, spec: ModuleType) -> dict[str, Published]:
    """The hooks in a module of specifications. Raises ``BarclampError`` for one that nobody could be told of."""
    found: dict[str, Published] = {}
    for name in dir(spec):
        marked = getattr(function := getattr(spec, name), f"{PROJECT}_spec", None)
        if marked is None or not callable(function):
            continue
        names = vars(sys.modules.get(function.__module__, spec))
        parameters = {
            one.name: Any if one.annotation is one.empty else annotation(one.annotation, names)
            for one in inspect.signature(function).parameters.values() if one.name != "self"
        }  # fmt: skip
        if len(name) > NAME_LENGTH:
            raise BarclampError(f"The hook {name} has a name of more than {NAME_LENGTH} characters.")
        if is_told(name):
            for parameter, kind in parameters.items():
                if said := cannot_carry(kind):
                    raise BarclampError(f"The hook {name} cannot be told with its argument {parameter!r}: {said}.")
        found[name] = Published(hook=name, barclamp=barclamp, parameters=parameters, first=bool(marked["firstresult"]))
    return found
