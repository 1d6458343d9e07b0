"""A node is restarted into what it is to boot: by the best of its hammers that can, and by the next where one fails.

That a hammer says what to boot from is a help and no need: a machine that was discovered boots from the network anyway,
and is told there to go on from its disk.
"""

from __future__ import annotations

from collections.abc import Callable

from crowbar_core import CrowbarError, Refused, cluster


def into_network(node: str, log: Callable[[str], object]) -> str:
    """From the network the next time, which is now. Returns a line for people; raises ``CrowbarError``."""
    _prefer(node, "boot-once-pxe", log)
    return _restart(node)


def disk_next(node: str, log: Callable[[str], object]) -> None:
    """From its disk the next time, where a hammer can say so."""
    _prefer(node, "boot-once-disk", log)


def into_disk(node: str, log: Callable[[str], object]) -> str:
    """From its disk the next time, which is now. Returns a line for people; raises ``CrowbarError``."""
    disk_next(node, log)
    return _restart(node)


def _prefer(node: str, action: str, log: Callable[[str], object]) -> None:
    try:
        log(cluster().power(node, action))
    except CrowbarError as problem:
        log(f"what its firmware boots from stays as it is: {problem.detail}")


def _restart(node: str) -> str:
    """A machine that is off is switched on."""
    try:
        return cluster().power(node, "reset")
    except Refused:
        if power_of(node) != "off":
            raise
    return cluster().power(node, "on")


def power_of(node: str) -> str:
    """``on`` or ``off``; '' where no hammer can say."""
    try:
        return cluster().power(node, "status")
    except CrowbarError:
        return ""
