"""What a statement was compiled to for one engine serves every engine of its kind in this process.

SQLAlchemy keeps it with the engine. One core has one; the tests of a barclamp open as many as there are tests, and each
would compile some hundred statements anew.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.util import LRUCache

_MOST = 2000


class Compiled:
    """SQLAlchemy's ``compiled_cache``, whose keys begin with the engine's own dialect: here with the dialect's name."""

    def __init__(self) -> None:
        self._kept: LRUCache[Any, Any] = LRUCache(_MOST)

    def get(self, key: Any, default: Any = None) -> Any:
        return self._kept.get(_alike(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self._kept[_alike(key)] = compiled


def _alike(key: Any) -> Any:
    return key[0].name, *key[1:]


COMPILED = Compiled()
