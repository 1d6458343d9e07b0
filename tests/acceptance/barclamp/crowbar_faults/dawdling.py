"""The script jig, dawdling before and after its last look at the lease: that is where a stopped worker does harm."""

from __future__ import annotations

import time
from dataclasses import replace

from crowbar_jig_script.jig import ScriptJig

from crowbar_core import Outcome, Task

SECONDS = 0.2


class DawdlingJig(ScriptJig):
    def run(self, task: Task) -> Outcome:
        def begin() -> None:
            time.sleep(SECONDS)
            task.begin()
            time.sleep(SECONDS)

        return super().run(replace(task, begin=begin))
