"""Several machines are asked at the same time."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def asked(ask: Callable[..., T], several: Sequence[tuple[Any, ...]], *, most: int, name: str) -> list[T]:
    """What ``ask`` says to each of the arguments, in their order; ``most`` at once, in threads of this ``name``."""
    with ThreadPoolExecutor(max_workers=most, thread_name_prefix=name) as pool:
        # Threads know nothing of the cluster that the caller belongs to.
        begun = [pool.submit(contextvars.copy_context().run, ask, *one) for one in several]
        return [one.result() for one in begun]
