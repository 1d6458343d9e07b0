"""Carries out a role by running its shell scripts on the node: one push to the shell that stands by there, and no run
left unwatched.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import paramiko

from crowbar_core import (
    Done,
    Interrupted,
    Jig,
    Json,
    NodeUnreachable,
    NodeView,
    Outcome,
    PermanentError,
    Role,
    RunCancelled,
    RunTimeout,
    Task,
    TemporaryError,
)
from crowbar_jig_script.connections import Connections, Kept, connections_for
from crowbar_jig_script.ending import Ended, end_run, look_for_mark
from crowbar_jig_script.output import Output
from crowbar_jig_script.payload import run_frame
from crowbar_jig_script.report import read_report
from crowbar_jig_script.scripts import Script, find_scripts, has_teardown
from crowbar_jig_script.settings import Settings
from crowbar_jig_script.standby import LEFT, NO_SETSID, Standby
from crowbar_jig_script.stream import LOOK

TRY_AGAIN = 75
"""The exit code (EX_TEMPFAIL of sysexits.h) with which a script asks to be tried again later."""
KEPT_OF_ERROR = 300
"""Characters of a script's last line of error output that the reason of its failure has."""
MOST_SKEW = 30.0
"""Seconds by which a node's clock may differ from ours before its runs say so."""
_LAST_WORDS = 1.0
_REFUSED = 0.05
_LOOK_AGAIN = 2.0


class ScriptJig(Jig):
    touches_node = True
    begins = True

    def __init__(self, config: Mapping[str, Json]) -> None:
        super().__init__(config)
        self.connections = connections_for(Settings(**dict(config)))  # the hooks have the same, and share connections

    def run(self, task: Task) -> Outcome:
        return _Run(task, self.connections).carry_out()

    def holds(self, node: NodeView) -> str | None:
        for address in node.addresses:
            if self.connections.proven(node.name, address, known=node.host_keys):
                return address
        return None

    def tears_down(self, role: Role, package: str) -> bool:
        return has_teardown(package, role.like or role.name)

    def look(self, task: Task) -> Done | None:
        if task.address is None:
            raise NodeUnreachable(f"{task.node.name} has no address to look for a mark at.")
        kept = self.connections.open(task.node.name, task.address, known=task.node.host_keys)
        with self.connections.using(kept):
            word, report = look_for_mark(self.connections, kept, task, token=secrets.token_hex(16))
        longest = self.connections.settings.max_report
        if word == "busy":
            raise TemporaryError(f"node {task.node.name} is still at work on run {task.run_id}", delay=_LOOK_AGAIN)
        return Done(wall=read_report(report, longest=longest), before=True) if word == "found" else None

    def close(self) -> None:
        self.connections.close()


class _Run:
    def __init__(self, task: Task, connections: Connections) -> None:
        self.task = task
        self.connections = connections
        self.settings = connections.settings
        self.deadline = time.monotonic() + task.timeout
        self.token = ""
        self.scripts: tuple[Script, ...] = ()
        self.kept: Kept | None = None
        self.stream: Standby | None = None
        self._forget()

    def _forget(self) -> None:
        self.boot = ""
        self.number: int | None = None
        self.verdict: list[str] = []
        self.stderr_ended = False
        self.last_error = ""
        self.failed_for = ""
        self.announced = False
        self.before = False
        self.ending = False

    # ------------------------------------------------------------ the way of a run

    def carry_out(self) -> Outcome:
        task = self.task
        self.scripts = find_scripts(task.package, task.role.like or task.role.name, teardown=task.teardown)
        if task.address is None:
            raise NodeUnreachable(f"{task.node.name} has no address to run role {task.role.name} at.")
        if task.cancelled.is_set():
            raise RunCancelled(f"{self.what} was cancelled before it began.")
        while True:
            self.token = secrets.token_hex(16)
            clock = not self.connections.kept(task.node.name, task.address).clock_read
            frame = run_frame(task, self.scripts, token=self.token, grace=self.settings.kill_grace, clock=clock)
            if len(frame) > self.settings.max_payload:
                raise PermanentError(
                    f"The scripts and data of role {task.role.name} take {len(frame)} bytes; at most"
                    f" {self.settings.max_payload} can be pushed (max_payload in [plugins.jig-script])."
                )
            self.kept, self.stream = self._open(task.address)
            in_order = False
            with self.connections.using(self.kept):
                try:
                    task.begin()
                    outcome = self._follow(frame)
                    in_order = outcome is not None and self.verdict[:2] == ["end", "0"] and not self.announced
                finally:
                    if in_order:
                        self.stream.rest()
                        self.connections.put_back(self.kept, self.stream)
                    else:
                        self.stream.finish()
            if outcome is not None:
                return outcome
            self._forget()

    def _open(self, address: str) -> tuple[Kept, Standby]:
        """The shell that stands by on the node, or a new one; on a new connection if the kept one has just broken.
        Nothing has been sent yet.
        """
        giving_up = time.monotonic() + self.settings.connect_timeout
        broken = False
        while True:
            kept = self.connections.open(self.task.node.name, address, known=self.task.node.host_keys)
            if (standby := self.connections.take_standby(kept)) is not None:
                if standby.usable:
                    return kept, standby
                standby.finish()
            try:
                session = kept.live()
                return kept, Standby(session, session.open_session(timeout=self.settings.connect_timeout))
            except paramiko.ChannelException as problem:
                # The server may not have put away the last session yet, and allow no other beside it (MaxSessions).
                if time.monotonic() > giving_up:
                    raise TemporaryError(f"sshd of {self.task.node.name} refuses a session: {problem.text}.") from None
                time.sleep(_REFUSED)
            except (OSError, EOFError, paramiko.SSHException) as problem:
                self.connections.drop(kept)
                if broken:
                    raise NodeUnreachable(f"{self.task.node.name} ({address}) does not answer: {problem}") from None
                broken = True

    def _follow(self, frame: bytes) -> Outcome | None:
        """None when it was not begun, and must be given to another shell."""
        try:
            how = self._watch(frame)
        except (EOFError, OSError, paramiko.SSHException):
            how = "lost"
        except _LogFailed as failed:
            self._try_to_end()
            raise failed.__cause__ or failed from None
        except BaseException:
            # The node talks nonsense, this process must stop: nothing may go on unwatched.
            self._try_to_end()
            raise
        if how == "judged":
            return self._judge()
        elif how == "not taken":
            return None
        elif how == "lost":
            return self._lost()
        elif how == "cancelled":
            return self._ended_by(RunCancelled, "was cancelled")
        else:
            return self._ended_by(RunTimeout, f"timed out after {self.task.timeout:g} s")

    def _watch(self, frame: bytes) -> Literal["judged", "not taken", "lost", "cancelled", "late"]:
        assert self.stream is not None
        stream, limit = self.stream, self.settings.max_report
        first = stream.fresh
        out = Output(self.token, line=lambda line: self._write(line, "stdout"), word=self._hear, max_report=limit)
        err = Output(
            self.token, line=lambda line: self._write(line, "stderr"), word=self._hear_stderr, max_report=limit
        )
        try:
            stream.give(frame, out, err, timeout=self._send_timeout())
        except OSError:
            if stream.exited(_LAST_WORDS) is None:  # else it ended before it had read all, and that says why
                raise
        exited = 0.0
        while True:
            more = stream.pump()
            if self.verdict and (self.stderr_ended or not more):
                return "judged"
            if not self.boot and (not more or stream.channel.exit_status_ready()):
                # Its exit says that it has begun nothing more: what was on its way to it is begun by nobody.
                match stream.exited(_LAST_WORDS):
                    case code if code == NO_SETSID:
                        self.verdict = ["nosession"]
                        return "judged"
                    case code if code == LEFT and not first:
                        return "not taken"
            if not more:
                return "lost"
            if stream.channel.exit_status_ready():
                # What was said before the end may still be on its way; what is left of the run may never be silent.
                exited = exited or time.monotonic()
                if time.monotonic() - exited > _LAST_WORDS:
                    return "lost"
            if self.task.cancelled.is_set():
                return "cancelled"
            left = self.deadline - time.monotonic()
            if left <= 0:
                return "late"
            if self.stderr_ended or self.verdict:
                stream.hurry()
            stream.wake.wait(min(left, LOOK))

    def _send_timeout(self) -> float:
        return max(1.0, min(30.0, self.deadline - time.monotonic()))

    # ------------------------------------------------------------ what the node says

    def _write(self, line: str, stream: Literal["stdout", "stderr", "crowbar"] = "crowbar") -> None:
        if stream == "stderr" and line.strip():
            self.last_error = line.strip()
        try:
            self.task.log(line, stream=stream)
        except Exception as problem:
            # While the run is being ended, no line is worth leaving anything behind.
            if not self.ending:
                raise _LogFailed from problem

    def _hear(self, text: str) -> None:
        word, *rest = text.split() or [""]
        match word, rest:
            case "start", [boot, *clock]:
                self.boot = boot
                self._compare_clocks(clock)
            case "ended", [count]:
                self._write(f"ended {count} processes that an earlier run had left on the node")
            case "script", [number] if number.isdecimal() and len(number) < 10 and int(number) < len(self.scripts):
                self.number = int(number)
                self._write(f"{self.script}: begins")
            case "before", []:
                self.before = True
            case "unmarked", []:
                self._write(
                    "warning: the node keeps no mark of this success, for nothing can be written there; should this"
                    " outcome get lost, nobody can tell that the role is done"
                )
            case "reboot", []:
                self.announced = True
                self._write(f"{self.script}: announces that it reboots the node")
            case (("end" | "stuck" | "full" | "nosession" | "overtaken"), _):
                self.verdict = [word, *rest]
            case _:
                self._write(f"the node said what nobody understands: {text[:200]!r}")

    def _compare_clocks(self, said: Sequence[str]) -> None:
        """What takes its time from the node (certificates, tickets, logs) goes wrong in ways that do not say why."""
        if not (said and self.kept and said[0].isdecimal()):
            return
        self.kept.clock_read = True
        ahead = int(said[0][:18]) - time.time()
        if abs(ahead) > MOST_SKEW:
            way = "ahead of" if ahead > 0 else "behind"
            self._write(f"warning: the node's clock is {abs(ahead):.0f} s {way} this machine's")

    def _hear_stderr(self, text: str) -> None:
        word, _, rest = text.strip().partition(" ")
        match word:
            case "script":
                self.last_error = self.failed_for = ""  # what follows is the next script's
            case "fail":
                self._write(rest, "stderr")
                self.failed_for = rest.strip()
            case _:
                self.stderr_ended = True

    @property
    def script(self) -> str:
        return "the run" if self.number is None else self.scripts[self.number].name

    @property
    def what(self) -> str:
        of = "" if self.number is None else f"script {self.script} of "
        return f"{of}role {self.task.role.name} on node {self.task.node.name}"

    def _last_words(self) -> str:
        """What the script gave as its reason, else the last line of error output, which mostly says what went wrong."""
        reason = self.failed_for or self.last_error
        said = "".join(char if char.isprintable() else "\ufffd" for char in reason[:KEPT_OF_ERROR])
        return f": {said}" if said else ""

    # ------------------------------------------------------------ how a run ends

    def _judge(self) -> Outcome | None:
        assert self.kept is not None
        assert self.stream is not None
        node, role, delay = self.task.node.name, self.task.role.name, self.settings.retry_delay
        match self.verdict:
            case ["end", code, _]:
                if code == "0":
                    if self.announced:
                        self.connections.drop(self.kept)
                    return self._done(self.stream.out.report)
                if code == str(TRY_AGAIN):
                    how = f"asked to be tried again (exit code {code}){self._last_words()}"
                    raise TemporaryError(f"{self.what} {how}", delay=delay)
                how = "failed" if self.failed_for else _how_it_exited(code)
                raise PermanentError(f"{self.what} {how}{self._last_words()}")
            case ["nosession"]:
                raise PermanentError(
                    f"node {node} cannot start a session of processes: it needs setsid (util-linux or busybox)."
                )
            case ["overtaken", newest]:
                raise TemporaryError(self._overtaken(newest), delay=delay)
            case ["stuck", *pids]:
                raise TemporaryError(
                    f"what an earlier run left on node {node} cannot be killed (processes {', '.join(pids)}),"
                    f" so role {role} was not started beside it",
                    delay=delay,
                )
        where = f"node {node} has no room in /run/crowbar or /var/lib/crowbar-node"
        raise TemporaryError(f"{where} for what role {role} needs there; make some, and it goes on", delay=delay)

    def _done(self, report: bytes) -> Done:
        return Done(wall=read_report(report, longest=self.settings.max_report), before=self.before)

    def _overtaken(self, newest: str) -> str:
        node, run = self.task.node.name, self.task.run_id
        if newest == str(run):
            return f"run {run} has begun on node {node} before, or was told not to; it does not begin there again"
        return (
            f"node {node} has seen run {newest[:20]} begin and refuses run {run}, which is older; if the database was"
            " restored from a backup, stop Crowbar, say so with `crowbar db restored`, and start it again"
        )

    def _lost(self) -> Outcome:
        """The channel is gone without a verdict: the connection broke, or what ran the scripts was killed."""
        assert self.kept is not None
        assert self.stream is not None
        node = self.task.node.name
        if self.announced:
            self.connections.drop(self.kept)
            return self._done(self.stream.out.report)
        try:
            ended = self._end()
        except NodeUnreachable as problem:
            raise NodeUnreachable(
                f"the connection to node {node} was lost during {self.what}, and: {problem.detail}"
            ) from None
        if ended.known == "done":
            return self._done(ended.report)
        if self.boot and ended.boot != self.boot:
            raise Interrupted(
                f"interrupted: node {node} was rebooted during {self.what}", delay=self.settings.retry_delay
            )
        if ended.known == "never":
            raise TemporaryError(f"node {node} did not start role {self.task.role.name}: its shell ended at once.")
        raise Interrupted(
            f"interrupted: {self.what} lost its connection or was killed from outside; its rest was ended."
        )

    def _ended_by(self, kind: type[RunCancelled | RunTimeout], how: str) -> Done:
        """It was told to end. Destructive work that had just ended well is done all the same."""
        try:
            ended = self._end()
        except NodeUnreachable as problem:
            raise NodeUnreachable(f"{self.what} {how}, and could not be ended: {problem.detail}") from None
        if ended.known == "done":
            return self._done(ended.report)
        if not ended.gone:
            raise kind(f"{self.what} {how}; processes {', '.join(ended.left)} withstood being killed.")
        raise kind(f"{self.what} {how}; what it had started was ended.")

    def _try_to_end(self) -> None:
        try:
            self._end()
        except NodeUnreachable:
            pass  # the next run on the node ends it before it begins

    def _end(self) -> Ended:
        assert self.kept is not None
        assert self.stream is not None
        self.ending = True
        return end_run(self.connections, self.kept, self.stream, self.task, token=self.token)


class _LogFailed(Exception):
    """The core did not take a line; told apart from what goes wrong with the connection."""


def _how_it_exited(code: str) -> str:
    if code.isdecimal() and len(code) < 10 and 128 < int(code) <= 128 + signal.NSIG:
        try:
            return f"was ended by {signal.Signals(int(code) - 128).name} (exit code {code})"
        except ValueError:
            pass
    return f"exited with {code[:20]}"
