"""How a role is carried out: the task that a jig is given, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from crowbar_core.barclamp.declared import Role
from crowbar_core.barclamp.views import Json, NodeView


class LogWriter(Protocol):
    def __call__(self, line: str, /, *, stream: Literal["stdout", "stderr", "crowbar"] = "crowbar") -> None: ...


class CancelFlag(Protocol):
    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


def _begin_at_once() -> None:
    """A task that was made by hand belongs to nobody else."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a jig may know of a run."""

    run_id: int
    node_role_id: int
    attempt: int
    node: NodeView
    address: str | None
    """The admin address on which the node was just found alive; None for jigs that do not touch the node, and while a
    run in steps has taken it away.
    """
    role: Role
    barclamp: str
    package: str
    """The importable package of the barclamp, in which ``scripts/<role>/`` is looked up (of a role defined at
    run time, that of the role it is like)."""
    deployment: str
    data: Mapping[str, Json]
    """The declared input as one tree: own attributes, wanted attributes, hints."""
    timeout: float
    """Seconds within which this call must have ended; of a run in steps, each call has as many."""
    refresh: bool
    log: LogWriter
    cancelled: CancelFlag
    teardown: bool = False
    """Whether what the role made is to be torn down, because its noderole goes."""
    once: str = ""
    """For a destructive role: the token of this binding, under which the jig keeps a mark on the node when the role has
    ended well, and looks for it before it starts. A new one when the node is redeployed. Empty for all other roles.
    """
    installation: str = ""
    """Which Crowbar this is: run numbers of another one say nothing about this one's."""
    step: Json = None
    """The step that the run is in, as the last ``Pending`` gave it; None before the first one. A call may come without
    need, and a step may happen twice: look at the world, and go on from there.
    """
    overdue: bool = False
    """The deadline of the step has passed, and this call is the last word on it: raise ``PermanentError`` with what is
    known, or return ``Done``, or a ``Pending`` with another deadline.
    """
    begin: Callable[[], None] = _begin_at_once
    """To be called right before the first thing that touches anything: looks once more whether the run still belongs to
    this worker. Raises ``RunCancelled`` when it does not. The core calls it for jigs whose ``begins`` is false.
    """


@dataclass(frozen=True, kw_only=True)
class Done:
    """The run succeeded. ``wall`` is what it reports, a tree merged into the noderole's wall."""

    wall: Mapping[str, Json] = field(default_factory=dict)
    before: bool = False
    """It had ended well before, as its mark on the node tells, and nothing was done now."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """The run goes on elsewhere. ``deadline`` is in seconds from now, ``reason`` what it waits for.

    With a ``step`` (JSON, such as ``"copying"`` or ``{"name": "copying", "disk": "sda"}``) the run is in steps: the
    intent ``Wake`` calls the jig again, which finds the step in ``Task.step``; so does the loss of a worker, and once
    the deadline (``Task.overdue``). Everybody may see a step: it is no place for secrets. Without one, the run stays in
    the step that it is in; if it is in none, it is ended through the API, or fails at its deadline.
    """

    deadline: float
    reason: str = ""
    step: Json = None


Outcome = Done | Pending


class Jig(ABC):
    """How a role is carried out. One instance per process; ``run`` is called from many threads.

    ``config`` is the settings' table ``[plugins.<barclamp>]`` of the barclamp that the same package brings.
    """

    touches_node: bool = False
    """Whether the node is probed (ping and SSH) before each run."""
    does_nothing: bool = False
    """Whether a run succeeds by itself: ``run`` is then called only where a barclamp implements ``jig_run``."""
    begins: bool = False
    """Whether ``run`` calls ``task.begin()`` itself. Until then nothing has been touched, and a run that is cut off may
    be tried again even where its role is destructive.
    """

    def __init__(self, config: Mapping[str, Json]) -> None:
        self.config = config

    @abstractmethod
    def run(self, task: Task) -> Outcome:
        """Carry out the role. Raises ``TemporaryError``, ``NodeUnreachable``, ``Interrupted``, ``PermanentError``,
        ``RunTimeout``, ``RunCancelled``.
        """

    def look(self, task: Task) -> Done | None:
        """Whether the destructive role of an earlier run (``task.run_id``) ended well, by its mark on the node.

        Asked when its fate is unknown and the node is alive. It only looks, and carries out nothing. None: there is no
        mark. Raises ``TemporaryError`` when that cannot be told yet. A jig that keeps no marks never finds one.
        """
        return None

    def holds(self, node: NodeView) -> str | None:
        """The node's address, if this process has a connection to it that has just proved itself.

        The node is then not probed before a run, unless its role is destructive: such a run does not begin where nobody
        has just looked. None: it is probed.
        """
        return None

    def tears_down(self, role: Role, package: str) -> bool:
        """Whether the role of a barclamp's package brings something that tears down what it made. Then a run with
        ``task.teardown`` comes before its noderole goes. Quick: asked inside the transaction of an unbinding.
        """
        return False

    def close(self) -> None:  # noqa: B027  a jig that keeps nothing has nothing to give back
        """Give back what is kept between runs (connections). Called at shutdown."""
