"""Marking functions as implementations of hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import pluggy

PROJECT = "crowbar"
hookspec = pluggy.HookspecMarker(PROJECT)
_mark = pluggy.HookimplMarker(PROJECT)
_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def hookimpl(function: _F, *, roles: Sequence[str] = (), optional: bool = False) -> _F: ...


@overload
def hookimpl(*, roles: Sequence[str] = (), optional: bool = False) -> Callable[[_F], _F]: ...


def hookimpl(
    function: _F | None = None, *, roles: Sequence[str] = (), optional: bool = False
) -> _F | Callable[[_F], _F]:
    """Mark a function as the implementation of the hook of the same name.

    ``roles`` limits the hooks about noderoles (``on_active`` and its like, ``node_role_data``, ``data_of``,
    ``plan_lines``) to the roles named; ``"network-*"`` stands for all whose names fit. ``optional``: the barclamp that
    publishes the hook, or brings these roles, need not be installed.
    """

    def mark(inner: _F) -> _F:
        inner.crowbar_roles = frozenset(roles)  # type: ignore[attr-defined]
        return _mark(inner, optionalhook=optional)

    return mark if function is None else mark(function)
