"""Memory that large requests took goes back to the system, as far as the C library lets it.

glibc gives each thread an arena of its own and keeps what is freed in it: sixty threads that each read one large body
kept a gigabyte. Two arenas are enough for threads that take turns at Python's lock. Where there is no glibc, nothing
happens here.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_ARENA_MAX: Final = -8  # M_ARENA_MAX of malloc.h
ARENAS: Final = 2


def few_arenas() -> None:
    """Called before threads are started: those that come later share what there is."""
    _call("mallopt", _ARENA_MAX, ARENAS)


def give_back() -> None:
    """Called when nothing is being answered: it takes some milliseconds."""
    gc.collect()
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return
    function(*arguments)
