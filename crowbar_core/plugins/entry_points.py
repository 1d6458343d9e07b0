"""Entry points: what the installed packages bring, and why one of them could not be loaded."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from stevedore.extension import ExtensionManager

from crowbar_core.brought import JIGS
from crowbar_core.errors import ConfigError

CORE_JIGS = ("noop", "python")


def entries_of(group: str) -> Sequence[importlib.metadata.EntryPoint]:
    """The entry points of a group. The files of all packages are read once for as long as none comes or goes."""
    return _read(importlib.metadata.entry_points, group, tuple((path, _changed(path)) for path in sys.path))


@functools.lru_cache(maxsize=16)
def _read(read: Callable[..., Any], group: str, _state: tuple[tuple[str, int], ...]) -> tuple[Any, ...]:
    return tuple(read(group=group))


def _changed(path: str) -> int:
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return 0


class _EntryPoint:
    """An entry point whose loading raises nothing but ``Exception``, and prints nothing on standard output."""

    def __init__(self, inner: importlib.metadata.EntryPoint) -> None:
        self.name, self.value, self.group, self.dist = inner.name, inner.value, inner.group, inner.dist
        self._inner = inner

    def load(self) -> Any:
        with contextlib.redirect_stdout(sys.stderr or io.StringIO()):
            try:
                return self._inner.load()
            except SystemExit as error:
                raise ImportError(f"{self.value} called exit({error.code}) while it was imported") from error
            except AssertionError as error:  # stevedore lets these through, and nothing would start
                raise ImportError(f"an assertion of {self.value} failed while it was imported: {error}") from error


class _Extensions(ExtensionManager[Any]):
    """stevedore's manager over the live list of entry points: its own cache in the home directory is not used."""

    def list_entry_points(self) -> list[Any]:
        return [_EntryPoint(found) for found in entries_of(self.namespace)]


def find(group: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """All entry points of a group: (name -> entry point, name -> loaded object, name -> traceback of a failed load).

    A name that two distributions claim is failed, for both.
    """
    failed: dict[str, str] = {}

    def note(_manager: Any, entry_point: Any, error: BaseException) -> None:
        failed[entry_point.name] = "".join(traceback.format_exception(error))

    manager = _Extensions(group, on_load_failure_callback=note)
    entries: dict[str, Any] = {}
    for entry in manager.list_entry_points():
        if (other := entries.setdefault(entry.name, entry)).value != entry.value:
            failed[entry.name] = (
                f"Two packages bring {group} named {entry.name!r}: {distribution_of(other)[0]} and "
                f"{distribution_of(entry)[0]}; none of them is loaded. Uninstall one."
            )
    loaded = {one.name: one.plugin for one in manager.extensions if one.name not in failed}
    return entries, loaded, failed


def load_one(group: str, name: str) -> Any:
    """The object behind one entry point. Raises ``ConfigError`` when there is none or it cannot be loaded."""
    for entry in entries_of(group):
        if entry.name == name:
            try:
                return _EntryPoint(entry).load()
            except Exception as error:
                raise ConfigError(f"{group} {name!r} cannot be loaded: {type(error).__name__}: {error}.") from error
    known = sorted({entry.name for entry in entries_of(group)})
    raise ConfigError(f"There is no {group} named {name!r}; there are: {', '.join(known) or 'none'}.")


def classes(group: str, base: type, *, installed: bool) -> tuple[dict[str, Any], dict[str, str]]:
    if installed:
        _, classes, failed = find(group)
    else:
        classes, failed = {name: load_one(group, name) for name in CORE_JIGS if group == JIGS}, {}
    good: dict[str, Any] = {}
    for name, found in classes.items():
        if isinstance(found, type) and issubclass(found, base):
            good[name] = found
        else:
            failed[name] = f"{found!r} is no subclass of {base.__name__}."
    return good, failed


def package_of(module: str) -> str:
    """The package that a loaded module is in: where the scripts of its roles lie."""
    return getattr(sys.modules.get(module), "__package__", None) or module


def distribution_of(entry: Any) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist is not None else (entry.value, "")


def version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
