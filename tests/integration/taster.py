"""A barclamp that hears of bottles, and of the cellar nothing else. It writes down what it hears; while there is a file
`wait`, it is never done with it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from crowbar_core import Barclamp, hookimpl


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(name="taster", after=("cellar",))


@hookimpl(optional=True)
def on_bottle_open(bottle: Any) -> None:
    room = Path(os.environ["TASTER_ROOM"])
    with (room / "heard").open("a") as book:
        book.write(f"{bottle.name} {bottle.years[0]}\n")
    while (room / "wait").exists():
        time.sleep(0.05)
