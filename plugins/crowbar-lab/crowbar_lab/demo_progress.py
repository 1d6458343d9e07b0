"""Tells of machines that are being installed: each step as it begins, and how much of the image is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from crowbar_core.client import Client

LOOK_SECONDS = 1.0


class Progress:
    """``look`` asks once a second at most, however often it is called. What has happened before is not told."""

    def __init__(self, api: Client, names: Sequence[str], tell: Callable[[str], None]) -> None:
        self._api, self._tell = api, tell
        self._heard = {name: len(self._timeline(name)) for name in names}
        self._percents: dict[str, int] = {}
        self._looked = 0.0

    def look(self) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for name, heard in self._heard.items():
            lines = self._timeline(name)
            self._heard[name] = len(lines)
            for line in news(lines[heard:]):
                self._tell(f"{name.partition('.')[0]}: {line}")
        for row in self._api.rows("installations", query={"state": "writing"}):
            if row["node"] in self._heard and row["percent"] > self._percents.get(row["node"], 0):
                self._percents[row["node"]] = row["percent"]
                self._tell(f"{str(row['node']).partition('.')[0]}: {row['percent']} % of the image is written")

    def _timeline(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._api.get("machines", name, query={"fields": "timeline"})["timeline"]
        return found


def news(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of a machine's timeline, what begins, and what ends it: that a step is done shows by the next one."""
    told = []
    for line in lines:
        what = str(line["what"])
        step = what.removeprefix("install: ")
        if step == what and what != "boots":
            continue
        if step.endswith(" done") and step != "installed done":
            continue
        told.append(f"{step}{': ' if line['detail'] else ''}{line['detail']}")
    return told
