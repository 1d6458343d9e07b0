"""Jigs for tests: one that records what it is asked and ends as it is told, one that fails in a chosen way."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, Literal

from crowbar_core.barclamp import Done, Jig, Json, Outcome, Pending, Role, Task
from crowbar_core.errors import PermanentError, RunCancelled, RunTimeout, TemporaryError

Ending = Outcome | Mapping[str, Json] | BaseException | type[BaseException] | Callable[[Task], Any]
"""How a run ends: an outcome, what it reports, what it raises, or a function of the task that says so."""
Key = tuple[str | None, str | None]


class FakeJig(Jig):
    """Stands in for a jig that touches nodes: records each task; a run succeeds unless it was told otherwise.

    ``will`` tells it how the next runs end, ``always`` how all others do; both for one role, one node, or everything.
    What is said of a role on a node goes before what is said of the node, then of the role, then of everything.
    """

    def __init__(self, config: Mapping[str, Json] | None = None) -> None:
        super().__init__(config or {})
        self.tasks: list[Task] = []
        self._next: dict[Key, deque[Ending]] = defaultdict(deque)
        self._always: dict[Key, Ending] = {}

    def will(self, *endings: Ending, role: str | None = None, node: str | None = None) -> None:
        """The next runs (of the role, on the node) end so, one after another."""
        self._next[role, node].extend(endings)

    def always(self, ending: Ending, *, role: str | None = None, node: str | None = None) -> None:
        """All runs (of the role, on the node) for which nothing else was said end so."""
        self._always[role, node] = ending

    def ran(self, role: str | None = None, node: str | None = None) -> list[Task]:
        """The tasks so far (of the role, on the node), in order."""
        return [
            task
            for task in self.tasks
            if (role is None or task.role.name == role) and (node is None or _is(task.node.name, node))
        ]

    def tears_down(self, role: Role, package: str) -> bool:
        """Where the role says so by a function, or its package by ``scripts/<role>/teardown/``."""
        return role.teardown is not None or _folder(package, role.like or role.name)

    def run(self, task: Task) -> Outcome:
        self.tasks.append(task)
        return _end(self._ending(task), task)

    def _ending(self, task: Task) -> Ending:
        for told in (self._next, self._always):
            for by_role, by_node in ((True, True), (False, True), (True, False), (False, False)):
                for key, said in told.items():
                    role, node = key
                    if (role is not None, node is not None) != (by_role, by_node):
                        continue
                    if (role in (None, task.role.name)) and (node is None or _is(task.node.name, node)):
                        if not isinstance(said, deque):
                            return said
                        if said:
                            return said.popleft()
        return Done()


def _folder(package: str, role: str) -> bool:
    try:
        return (resources.files(package) / "scripts" / role / "teardown").is_dir()
    except (ImportError, TypeError, ValueError):
        return False


How = Literal["raises", "permanent", "temporary", "hangs", "deaf", "nonsense", "unspeakable", "exits"]


class BrokenJig(Jig):
    """Fails, always or ``times`` times (then it succeeds), in the way that ``how`` says:

    ``raises`` an error that nobody foresaw; ``permanent``, ``temporary``: raises ``PermanentError``, ``TemporaryError``
    (with ``delay``); ``hangs`` until it is cancelled or its time is over; ``deaf``: hangs and does not listen, until
    ``let_go()``; ``nonsense``: answers something that is no outcome; ``unspeakable``: reports something that is no
    JSON; ``exits``: calls for the end of the process.
    """

    def __init__(self, how: How = "raises", *, times: int | None = None, delay: float = 5.0) -> None:
        super().__init__({})
        self.how, self.times, self.delay = how, times, delay
        self.tasks: list[Task] = []
        self._let_go = False

    def run(self, task: Task) -> Outcome:
        self.tasks.append(task)
        if self.times is not None and len(self.tasks) > self.times:
            return Done()
        outcome: Outcome = self._break(task)
        return outcome

    def let_go(self) -> None:
        """End what a ``deaf`` jig is holding on to."""
        self._let_go = True

    def _break(self, task: Task) -> Any:
        what = f"{task.role.name} on {task.node.name}"
        match self.how:
            case "raises":
                raise RuntimeError(f"broken on purpose: {what}")
            case "permanent":
                raise PermanentError(f"broken for good, on purpose: {what}")
            case "temporary":
                raise TemporaryError(f"broken for now, on purpose: {what}", delay=self.delay)
            case "hangs":
                if task.cancelled.wait(task.timeout):
                    raise RunCancelled(f"{what} was cancelled")
                raise RunTimeout(f"{what} timed out after {task.timeout:g} s")
            case "deaf":
                while not self._let_go:
                    task.cancelled.wait(0.01)
                return Done()
            case "nonsense":
                return 42
            case "unspeakable":
                return Done(wall={"broken": object()})
            case "exits":
                raise SystemExit(3)


def _is(full: str, name: str) -> bool:
    """Whether ``name`` is the node: in full, or its first label."""
    return name in (full, full.partition(".")[0])


def _end(ending: Ending, task: Task) -> Outcome:
    if isinstance(ending, BaseException):
        raise ending
    if isinstance(ending, type):
        raise ending()
    if isinstance(ending, Done | Pending):
        return ending
    if isinstance(ending, Mapping):
        return Done(wall=ending)
    said: Ending | None = ending(task)
    return Done() if said is None else _end(said, task)
