"""Work on a stranger's text grows with its length and not with the square of it.

Measured in the processor's time of this thread, as a ratio of two lengths: a busy machine does not matter.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import crowbar_core
from crowbar_core.errors import BadInput
from crowbar_core.web.api import strict
from crowbar_core.web.ui import shell

FACTOR = 16
ALLOWED = 5 * FACTOR
"""Linear work takes 16 times as long, quadratic work 256 times."""
SHORT = 8 * 1024

BODIES: dict[str, tuple[bytes, bytes, bytes]] = {
    "a string that never ends, full of quotes": (b"[" * 101 + b'"', b'\\"', b""),
    "the same, behind brackets that are closed": (b"[" + b"[]," * 101 + b'"', b'\\"', b""),
    "the same, behind brackets in a string": (b'["' + b"[" * 101 + b'","', b'\\"', b""),
    "a string that never ends, full of backslashes": (b"[" * 101 + b'"', b"\\", b""),
    "quotes": (b"[" * 101, b'"', b""),
    "nothing but brackets": (b"", b"[", b""),
    "objects in objects": (b"", b'{"a":', b""),
    "empty lists": (b"[", b"[],", b"1]"),
    "digits": (b"[1", b"1", b"]"),
    "digits of a fraction": (b"[1.", b"1", b"]"),
    "digits of an exponent": (b"[1e", b"1", b"]"),
    "duplicate keys": (b"{", b'"a":1,', b'"a":1}'),
    "no numbers": (b"[", b"NaN,", b"1]"),
    "escapes": (b'["', b"\\u00e9", b'"]'),
    "long keys on the way down": (b'{"' + b'":{"'.join([b"k" * 64] * 90) + b'":[', b'"\\u00e9",', b"1]" + b"}" * 90),
    "blank lines": (b"[", b"\n", b""),
    "a list that never ends": (b"[", b"1,", b""),
}
UNITS = (
    "a",
    "a-",
    "-",
    "a.",
    ".",
    "0",
    "\\",
    '"',
    "\x1b[",
    "\x1b]",
    "\x1b[0",
    " ",
    "\n",
    "_",
    ":",
    "a:",
    "[",
    "\ud800",
)


def cost(work: Callable[[], object]) -> float:
    def once() -> float:
        began = time.thread_time()
        work()
        return time.thread_time() - began

    return max(min(once() for _ in range(5)), 1e-5)


def assert_linear(work: Callable[[int], Callable[[], object]], what: str) -> None:
    short, long = cost(work(SHORT)), cost(work(SHORT * FACTOR))
    assert long / short < ALLOWED, f"{what}: {short:.6f} s, and {long:.6f} s for {FACTOR} times as much"


@pytest.mark.parametrize("what", BODIES)
def test_a_body_is_read_in_time_proportional_to_its_length(what: str) -> None:
    before, unit, after = BODIES[what]

    def work(length: int) -> Callable[[], object]:
        raw = before + unit * (length // len(unit)) + after

        def read() -> None:
            try:
                strict.parse(raw)
            except BadInput:
                pass

        return read

    assert_linear(work, what)


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every pattern that a module of the core keeps."""
    for module in pkgutil.walk_packages(crowbar_core.__path__, "crowbar_core."):
        if ".migrations" in module.name or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value


def test_a_name_is_matched_in_time_proportional_to_its_length() -> None:
    seen = dict(patterns())
    assert len(seen) > 8
    for name, pattern in seen.items():
        for unit in UNITS:

            def work(length: int, pattern: re.Pattern[Any] = pattern, unit: str = unit) -> Callable[[], object]:
                text: str | bytes = "a" + unit * (length // len(unit)) + "\x00"
                if isinstance(pattern.pattern, bytes):
                    text = text.encode("utf-8", "replace") if isinstance(text, str) else text
                return lambda: pattern.fullmatch(text)

            assert_linear(work, f"{name} on {unit!r}")


@pytest.mark.parametrize("unit", UNITS)
def test_a_line_of_a_log_is_cleaned_in_time_proportional_to_its_length(unit: str) -> None:
    assert_linear(lambda length: lambda: shell.plain("\x1b[" + unit * (length // len(unit))), unit)
