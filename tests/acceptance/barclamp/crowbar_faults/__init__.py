"""A barclamp whose roles leave evidence: who ran what on which node, and whether two ever did at once.

All of it is in the directory $FAULTS_ROOM. ``journal`` has a line for each begin and end; ``locks/NODE`` is locked by
the kernel while a role works on the node, so that a process killed with -9 lets go; ``violations`` must never appear.
The files ``open/NAME`` are gates: the role ``slow`` waits for its own. Roles are implicit: each node has its own.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from crowbar_jig_script.settings import Settings

from crowbar_core import (
    Attribute,
    Barclamp,
    CancelFlag,
    Done,
    NodeRoleView,
    Role,
    RunCancelled,
    Service,
    Task,
    TemporaryError,
    cluster,
    hookimpl,
)

ROOM = Path(os.environ["FAULTS_ROOM"])


def note(*words: object) -> None:
    """One line at the end of the journal, in one write."""
    with open(ROOM / "journal", "a") as journal:
        journal.write(" ".join(str(word) for word in words) + "\n")


@contextmanager
def alone_on(task: Task) -> Iterator[None]:
    with open(ROOM / "locks" / task.node.name, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with open(ROOM / "violations", "a") as violations:
                violations.write(f"{task.role.name} on {task.node.name}: run {task.run_id} is not alone\n")
        note("begin", task.node.name, task.role.name, task.run_id, os.getpid())
        yield


def work(task: Task) -> Done:
    with alone_on(task):
        time.sleep(0.02)
        note("end", task.node.name, task.role.name, task.run_id, os.getpid())
    return Done(wall={"faults": {task.role.name: task.run_id}})


def is_open(task: Task) -> bool:
    return (ROOM / "open" / task.node.name).exists() or (ROOM / "open" / "all").exists()


def wait_for_gate(task: Task) -> Done:
    """Ends when the gate of the node, or of all, is open, or when it is told to stop."""
    with alone_on(task):
        while not is_open(task):
            if task.cancelled.wait(0.02):
                note("cancelled", task.node.name, task.role.name, task.run_id, os.getpid())
                raise RunCancelled("told to stop")
        note("end", task.node.name, task.role.name, task.run_id, os.getpid())
    return Done(wall={"faults": {task.role.name: task.run_id}})


def wait_deaf(task: Task) -> Done:
    """Ends when the gate is open, and only then."""
    note("begin", task.node.name, task.role.name, task.run_id, os.getpid())
    while not is_open(task):
        time.sleep(0.02)
    note("end", task.node.name, task.role.name, task.run_id, os.getpid())
    return Done(wall={"faults": {task.role.name: task.run_id}})


def hang(task: Task) -> Done:
    """Listens to nobody until its gate opens."""
    with alone_on(task):
        while not (ROOM / "open" / "hang").exists():
            time.sleep(0.05)
    note("late", task.node.name, task.role.name, task.run_id, os.getpid())
    return Done(wall={"faults": {"late": True}})


def flaky(task: Task) -> Done:
    if task.attempt < 3:
        raise TemporaryError("not yet", delay=0.2)
    return work(task)


def tick(stopped: CancelFlag) -> None:
    """A service, with a process of its own that it does not look after."""
    child = subprocess.Popen(["sleep", "600"])
    serve("ticker", stopped, child.pid)


def lead(stopped: CancelFlag) -> None:
    """A service that writes down when another one is at work."""
    with open(ROOM / "locks" / "leader", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with open(ROOM / "violations", "a") as violations:
                violations.write("two services lead\n")
        serve("leader", stopped)


def serve(name: str, stopped: CancelFlag, *more: int) -> None:
    nodes = len(cluster().nodes())
    note("serves", name, nodes, os.getpid(), *more)
    while not stopped.wait(0.05):
        if (ROOM / f"{name}-fails").exists():
            raise RuntimeError(f"{name} has no more")
    note("stops", name, nodes, os.getpid())


def with_its_report(role: Role) -> Role:
    """The role with the attribute that its function reports."""
    place = "faults/late" if role.run is hang else f"faults/{role.name}"
    reported = Attribute(name=f"{role.name}-reported", map=place, writable=False)
    return replace(role, attributes=(*role.attributes, reported)) if role.run is not None else role


class Faults:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        clamp = Barclamp(
            name="faults",
            settings=Settings,  # of the dawdling jig, which is the script jig otherwise
            roles=(
                Role(name="quick", jig="python", run=work, implicit=True),
                Role(
                    name="slow",
                    jig="python",
                    run=wait_for_gate,
                    requires=("quick",),
                    implicit=True,
                    timeout=120.0,
                    max_attempts=5,
                ),
                Role(name="after", jig="python", run=work, requires=("slow",)),
                Role(name="deaf", jig="python", run=wait_deaf),
                Role(name="once", jig="python", run=wait_for_gate, requires=("quick",), destructive=True),
                Role(name="hang", jig="python", run=hang, timeout=1.0),
                Role(name="flaky", jig="python", run=flaky),
                Role(name="hold"),
                Role(name="s-slow", jig="script", requires=("quick",), implicit=True, timeout=120.0, max_attempts=5),
                Role(name="s-after", jig="script", requires=("s-slow",)),
                Role(name="follower", jig="python", run=work, requires=("s-after",)),
                Role(name="s-hang", jig="script", timeout=2.0),
                Role(name="s-erase", jig="script", timeout=60.0, destructive=True),
                Role(name="s-deaf", jig="script", timeout=120.0),
                Role(name="s-once", jig="script", timeout=60.0, destructive=True),
                Role(name="s-touch", jig="dawdling", timeout=60.0, max_attempts=10_000),
            ),
        )
        return replace(clamp, roles=tuple(with_its_report(role) for role in clamp.roles))

    @hookimpl
    def register_services(self) -> list[Service]:
        if "FAULTS_SERVICES" not in os.environ:
            return []
        return [Service(name="ticker", run=tick), Service(name="leader", run=lead, leader=True)]

    @hookimpl(roles=("hold",))
    def on_node_bind(self, node_role: NodeRoleView) -> None:
        """Holds the lock of all changes until its gate opens."""
        note("holding", node_role.node.name, node_role.role, os.getpid())
        while not (ROOM / "open" / "hold").exists():
            time.sleep(0.05)

    @hookimpl(roles=("quick",))
    def on_active(self, node_role: NodeRoleView) -> None:
        if (ROOM / "hook-raises").exists():
            raise RuntimeError("the hook is broken")
        if (ROOM / "hook-dawdles").exists():
            time.sleep(1.2)
        while (ROOM / "hook-hangs").exists():
            time.sleep(0.05)
        note("heard", node_role.node.name, node_role.role)


faults = Faults()


class Witness:
    """A second plugin that hears of the same things: it must hear them whatever becomes of the first."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="witness")

    @hookimpl
    def on_active(self, node_role: NodeRoleView) -> None:
        note("witnessed", node_role.node.name, node_role.role)


witness = Witness()
