"""An installation in miniature: a destructive role that powers its node off and on, and waits in four steps.

What it is told comes as files ``open/STEP`` in $FAULTS_ROOM; what it did stands in ``journal`` there.
"""

from __future__ import annotations

import os
from pathlib import Path

from crowbar_core import Barclamp, Done, Outcome, Pending, PermanentError, Role, Task, cluster, hookimpl

ROOM = Path(os.environ["FAULTS_ROOM"])
STEPS = ("powering down", "booting", "copying", "settling in")


def note(*words: object) -> None:
    with open(ROOM / "journal", "a") as journal:
        journal.write(" ".join(str(word) for word in words) + "\n")


def install(task: Task) -> Outcome:
    """Each call looks at what has been told, and says what it waits for now."""
    name = task.node.name
    note("call", name, task.role.name, task.run_id, os.getpid(), str(task.step).replace(" ", "-"))
    if task.overdue:
        raise PermanentError(f"nothing was heard in step {task.step}")
    if task.step is None:
        note("erase", name, task.role.name, task.run_id, os.getpid())
        cluster().power(name, "off")
        return Pending(deadline=600, step=STEPS[0], reason="for the machine to be down")
    place = STEPS.index(task.step)
    if not (ROOM / "open" / task.step).exists():
        return Pending(deadline=600, step=task.step, reason=f"for {task.step} to end")
    if task.step == STEPS[0]:
        cluster().power(name, "on")
    if task.step == STEPS[2]:  # long enough to be caught in the middle of it
        while not (ROOM / "open" / "copied").exists() and not task.cancelled.wait(0.05):
            pass
    if place + 1 == len(STEPS):
        note("end", name, task.role.name, task.run_id, os.getpid())
        return Done()
    return Pending(deadline=600, step=STEPS[place + 1], reason=f"for {STEPS[place + 1]} to end")


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="installing",
        requires=("jig-script",),
        roles=(
            Role(name="os-look", jig="script", discovery=True, implicit=True, timeout=60.0),
            Role(
                name="os-install", jig="python", run=install, requires=("os-look",), implicit=True, destructive=True,
                reboots=True, timeout=60.0,
            ),
            Role(name="os-joined", jig="script", requires=("os-install",), timeout=60.0),
        ),
    )  # fmt: skip
