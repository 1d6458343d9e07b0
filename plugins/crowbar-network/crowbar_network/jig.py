"""The jig of networks: makes a node's interfaces what they should be, and never locks anybody out.

A change is tried under a dead man's switch on the node itself (``node/watch.sh``). Only when this process, over a new
connection to an admin address, has found everything as it is wanted, does it say that it may stay; what the node finds
at its next start is written then and not before. Whoever dies in between, the node leads back by itself.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace

from crowbar_jig_script.remote import Answer, Remote

from crowbar_core import (
    BadInput,
    Done,
    Interrupted,
    Jig,
    JigError,
    Json,
    NodeUnreachable,
    NodeView,
    Outcome,
    PermanentError,
    Role,
    RunCancelled,
    Task,
    TemporaryError,
    cluster,
)
from crowbar_network import program, takeover
from crowbar_network.changes import Way, faults, missing, settling, way, with_left
from crowbar_network.filing import Filing, choose, filing
from crowbar_network.layers import Link, by_network, stack, standing_on
from crowbar_network.listening import LLDPD, listen
from crowbar_network.program import Trial
from crowbar_network.settings import Settings
from crowbar_network.state import State, read
from crowbar_network.trials import trial
from crowbar_network.verdict import NO_WAY_IN, SETTLING, Earlier, Verdict, unanswered
from crowbar_network.wanted import Config, on_machine

INVENTORY = "network-nics"
"""The role that only tells what cards a node has."""
_ASK = 20.0
_BUSY = 75
_LATE = 3
_PAUSE = 0.2
_MOMENT = 4
"""This part of the time limit the connection that there is may hang while the change is tried, or a step of a login."""
_LOGIN = 3.0
_LAST_CALL = 1.5
"""Seconds before the switch leads back, at which one stops looking and says so."""
_AFTER = 30.0
_MORE = 4
"""This part of the time limit a node that is slow is given more at a time, at least; and ``_LONGER`` of it in all."""
_LONGER = 4


class NetworkJig(Jig):
    touches_node = True
    begins = True

    def run(self, task: Task) -> Outcome:
        if task.address is None:
            raise NodeUnreachable(f"{task.node.name} has no address to ask for its interfaces at.")
        remote = Remote.of_cluster()
        if task.role.name == LLDPD:
            return listen(task, remote)
        state = look(remote, task.node, task.address, files=task.role.name != INVENTORY)
        if task.role.name == INVENTORY:
            task.begin()
            nics = [{**asdict(nic), "altnames": list(nic.altnames)} for nic in state.nics]
            return Done(wall={"network": {"nics": nics, "product": state.product}})
        return _Run(task, cluster().settings(Settings), remote).carry_out(state)

    def tears_down(self, role: Role, package: str) -> bool:
        return role.name not in (INVENTORY, LLDPD)


def look(remote: Remote, node: NodeView, address: str, *, files: bool = False, timeout: float = _ASK) -> State:
    """What the node's interfaces are, and with ``files`` what it would find at its next start. Changes nothing."""
    asked, mark = program.look(files=files)
    answer = remote.ask(node, address, asked, timeout=timeout)
    found = program.sections(answer.out, mark)
    return read(found)


class _Run:
    def __init__(self, task: Task, settings: Settings, remote: Remote) -> None:
        self.task = task
        self.settings = settings
        self.remote = remote
        said = task.data.get("network", {})
        self.configs = [Config.of(one) for one in said.get("wanted-config", [])]
        self.maps: Sequence[Json] = said.get("maps", [])
        self.name = task.role.name.removeprefix("network-")
        self.writer = str(said.get("writer", "auto"))

    def carry_out(self, state: State) -> Outcome:
        task = self.task
        assert task.address is not None
        if not task.teardown and all(one.name != self.name for one in self.configs):
            task.begin()
            task.log(f"network {self.name} is not configured on nodes: it only has addresses of theirs")
            return Done()
        known = state.kept.get("networks", [])
        taken = [
            one
            for one in self.configs
            if (one.name != self.name or not task.teardown)
            and (one.name == self.name or one.active or one.name in known)
        ]
        if task.teardown and self._leads_here(state) and not any(one.category == "admin" for one in taken):
            task.begin()
            task.log(f"network {self.name} stays on the node: it is the one by which it is reached")
            return Done()
        writer = choose(self.writer, state, leaving=task.teardown)
        try:
            links = stack(on_machine(taken, state.nics, state.product, self.maps))
        except BadInput as problem:
            raise PermanentError(problem.detail) from None
        to_be = with_left(state, links, state.ours)
        names = [one.name for one in taken]
        files = filing(writer, links, names, state)
        cards = [one.name for one in links if one.kind == "nic"]
        stopped = takeover.to_stop(state.clients, cards)
        found = way(state, links, ours=state.ours)
        task.begin()
        for one in takeover.left_over(state.clients, cards) if cards else ():
            task.log(f"warning: {one.name} ({one.pid}) asks by DHCP for other cards as well, and is left alone")
        if not found.forward and not stopped:
            self._only_write(files, state)
            self._warn(state, links)
            return self._done(state)
        if not found.forward:
            found = Way(touched=tuple(cards))
        for one in stopped:
            task.log(f"{one.name} ({one.pid}), which asks by DHCP for {', '.join(one.nics)}, is stopped")
        told = trial(writer, to_be, found.touched, networkd_runs="networkd-active" in state.tools)
        told = replace(
            told,
            before=takeover.stop(stopped) + told.before,
            undo=told.undo + _unless_first(takeover.begin_again(stopped)),
        )
        return self._try(state, to_be, taken, found, files, told, self._earlier(state, to_be, taken))

    def _earlier(self, state: State, links: Sequence[Link], taken: Sequence[Config]) -> Earlier:
        """What is wrong with the node's other networks already."""
        assert self.task.address is not None
        others = [one for one in taken if one.name != self.name]
        on = standing_on(links)
        apart = frozenset(
            one.said
            for one in faults(state, links)
            if one.link in on and on[one.link] and self.name not in on[one.link]
        )
        asked = _asked(others, links, state)
        said = self._probe(self.remote, self.task.address, asked, []) if asked else {}
        return Earlier(network=self.name, faults=apart, said=said, addresses=frozenset(
            (link.name, one.text) for link in state.links.values() for one in link.addresses
        ))  # fmt: skip

    def _leads_here(self, state: State) -> bool:
        """Whether the address by which the node is reached is on a link that Crowbar made."""
        return any(
            address.text.partition("/")[0] == self.task.address
            for name, link in state.links.items()
            if name in state.ours
            for address in link.addresses
        )

    def _only_write(self, files: Filing, state: State) -> None:
        assert self.task.address is not None
        if not files.done(state):
            self._ask(self.task.address, program.write(files.files, files.copies, files.gone))
            self.task.log(f"the interfaces are as wanted; wrote {', '.join(files.files)}")

    def _warn(self, state: State, links: Sequence[Link]) -> None:
        for said in missing(state, links):
            self.task.log(f"warning: {said}")

    def _done(self, state: State) -> Done:
        return Done(wall={"network": {"current-config": state.current}})

    def _ask(self, address: str, text: str) -> Answer:
        answer = self.remote.ask(self.task.node, address, text, timeout=_ASK)
        if answer.code not in (0, _LATE, _BUSY):
            last = (answer.err.strip() or answer.out.strip() or "it said nothing").splitlines()[-1]
            raise PermanentError(f"{self.task.node.name} refused what it was told (exit code {answer.code}): {last}")
        return answer

    # ------------------------------------------------------------ the change itself

    def _try(
        self,
        before: State,
        links: Sequence[Link],
        taken: Sequence[Config],
        found: Way,
        files: Filing,
        told: Trial,
        earlier: Earlier,
    ) -> Outcome:
        task, change, limit = self.task, secrets.token_hex(8), self.settings.keep_within
        assert task.address is not None
        for line in _drawn("was", before.current) + [f"     {line}" for line in found.forward]:
            task.log(line)
        begin = program.begin(change, limit=limit, forward=found.forward, backward=found.backward, trial=told)
        began = time.monotonic()
        unheard: NodeUnreachable | None = None
        try:
            answer = self._ask(task.address, begin)
        except NodeUnreachable as problem:
            unheard = problem  # it may have begun all the same
        else:
            if answer.code == _BUSY:
                raise TemporaryError(
                    f"node {task.node.name} is still at an earlier change of its interfaces", delay=3.0
                )
            for line in answer.out.splitlines()[:-1]:
                task.log(line)
            began = time.monotonic()
        with suppress(JigError):  # the change may end this connection
            waiting = program.await_tried(change, seconds=max(1, limit // _MOMENT))
            self.remote.ask(task.node, task.address, waiting, timeout=max(1.0, limit / _MOMENT))
        addresses = self._ways_in(taken)
        new = Remote.of_cluster(connect_timeout=max(_LOGIN, limit / _MOMENT))
        gone = {*found.touched} - {link.name for link in links}
        verdict = Verdict(unheard=unheard, late=began + limit - _LAST_CALL, earlier=earlier)
        try:
            while not (task.cancelled.is_set() or verdict.is_over(self.settings.patience, now=time.monotonic())):
                kept = self._look_once(new, change, addresses, links, gone, taken, files, verdict)
                if kept is not None:
                    self.remote.forget(task.node, task.address)
                    for warning in verdict.near:
                        task.log(f"warning: {warning}")
                    for line in _drawn("is", kept.current):
                        task.log(line)
                    return self._done(kept)
                time.sleep(_PAUSE)
            return self._gone_back(change, before, verdict, new, addresses)
        finally:
            new.close()

    def _ways_in(self, taken: Sequence[Config]) -> list[str]:
        """Where the node must answer for the change to stay: its addresses on admin networks that are configured, else
        the one by which it is reached now.
        """
        admin = [one.partition("/")[0] for config in taken if config.category == "admin" for one in config.addresses]
        assert self.task.address is not None
        return admin or [self.task.address]

    def _look_once(
        self,
        new: Remote,
        change: str,
        addresses: Sequence[str],
        links: Sequence[Link],
        gone: Collection[str],
        taken: Sequence[Config],
        files: Filing,
        verdict: Verdict,
    ) -> State | None:
        """The state that was kept; None: not yet, ``verdict`` has why."""
        for address in addresses:
            try:
                asked = time.monotonic()
                state = look(new, self.task.node, address, timeout=max(1.0, min(_ASK, verdict.end - asked)))
                verdict.looking = time.monotonic() - asked
                if not state.busy:
                    return None  # it has been led back: what is there now says nothing of what was tried
                if not state.proven:
                    new.forget(self.task.node, address)  # made before the change was
                    verdict.too_slow()
                    return None
                verdict.saw(state)
                if wrong := verdict.not_excused(missing(state, links, gone=gone)):
                    verdict.found(wrong, now=time.monotonic(), passing=True)
                    return None
                verdict.has_passed()
                if lacking := verdict.lacks(now=time.monotonic()):
                    self._wait_longer(new, change, address, verdict, lacking)
                if problem := self._doubled(new, address, taken, links, verdict):
                    verdict.found(problem, now=time.monotonic())
                    return None
                if settling(state, links):
                    verdict.found(SETTLING, now=time.monotonic(), passing=True)
                    return None
                if problem := self._others_answer(new, address, taken, links, verdict):
                    verdict.found(problem, now=time.monotonic())
                    return None
                if time.monotonic() > verdict.end:
                    return None
                answer = new.ask(
                    self.task.node, address, program.keep(change, files.files, files.copies, files.gone), timeout=_ASK
                )
                if answer.code == 0 and answer.out.strip().endswith("kept"):
                    return state
                verdict.first = f"the node did not keep it: {answer.err.strip() or 'its switch was not waiting'}"
                return None
            except (NodeUnreachable, PermanentError) as refused:  # the second: another machine answers there
                if verdict.seen is None:  # else what was seen says more
                    verdict.first = f"{NO_WAY_IN}: {refused.detail}"
        return None

    def _wait_longer(self, new: Remote, change: str, address: str, verdict: Verdict, lacking: float) -> None:
        limit, name = self.settings.keep_within, self.task.node.name
        more = math.ceil(max(lacking, limit / _MORE))
        text = program.longer(change, more=more, most=_LONGER * limit)
        if new.ask(self.task.node, address, text, timeout=_ASK).out.strip().endswith("longer"):
            if not verdict.longer:
                self.task.log(f"nothing is wrong by now, and {name} is slow: it waits longer than {limit} s")
            verdict.longer += more

    def _doubled(
        self, new: Remote, address: str, taken: Sequence[Config], links: Sequence[Link], verdict: Verdict
    ) -> str:
        """'' when nobody else has one of our IPv4 addresses, which is asked until it was so once; of another network's
        than the one that is changed only where it was not there before.
        """
        if verdict.alone:
            return ""
        on = {one: link.name for one, link in by_network(links).items()}
        mine = [
            (text.partition("/")[0], on[one.name])
            for one in taken
            for text in one.addresses
            if ":" not in text and (one.name == self.name or (on[one.name], text) not in verdict.earlier.addresses)
        ]
        said = self._probe(new, address, [], mine) if mine else {}
        for text, dev in mine:
            if said.get((text, "doubled")) == "yes":
                return f"another machine on {dev} has the address {text}"
        verdict.alone = True
        return ""

    def _others_answer(
        self, new: Remote, address: str, taken: Sequence[Config], links: Sequence[Link], verdict: Verdict
    ) -> str:
        """'' when the routers of all networks, or where there is none one of the peers, answer, also to whole
        packets.
        """
        on = by_network(links)
        asked = _asked(taken, links, verdict.seen)
        said = self._probe(new, address, asked, []) if asked else {}
        for one in taken:
            if problem := unanswered(one, said, on[one.name], verdict.near, verdict.earlier):
                return problem
        return ""

    def _probe(
        self, new: Remote, address: str, asked: Sequence[tuple[str, int]], doubled: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], str]:
        answer = new.ask(self.task.node, address, program.probe(asked, doubled), timeout=_ASK)
        return {(words[0], words[1]): words[2] for line in answer.out.splitlines() if len(words := line.split()) == 3}

    def _gone_back(
        self, change: str, before: State, verdict: Verdict, new: Remote, addresses: Sequence[str]
    ) -> Outcome:
        """Sees the node back where it was, and fails with why."""
        task = self.task
        assert task.address is not None
        cancelled = task.cancelled.is_set()
        why = "its run was cancelled" if cancelled else verdict.first
        deadline = time.monotonic() + self.settings.keep_within + _AFTER
        ways = [*dict.fromkeys([*addresses, task.address])]
        state, lasted, reason = "", "0", ""
        while time.monotonic() < deadline:
            for address in ways:
                with suppress(JigError):
                    told = new.ask(task.node, address, program.back(change, why), timeout=_ASK).out.splitlines()
                    state, lasted, *said = told if len(told) > 1 else ("", "0")
                    reason = " ".join(said).strip()
                    if state in ("back", "kept", "unknown"):
                        break
            if state in ("back", "kept", "unknown"):
                break
            time.sleep(_PAUSE)
        else:
            raise NodeUnreachable(
                f"{task.node.name} takes back the change of its interfaces by itself, and has not answered"
                f" since at {', '.join(ways)}; first: {verdict.first}"
            )
        self.remote.forget(task.node, task.address)
        if verdict.seen is not None:
            for line in _drawn("was tried", verdict.seen.current):
                task.log(line)
        now = look(self.remote, task.node, task.address)
        if state == "back":
            task.log(f"led back {int(lasted) / 100:.1f} s after the change began")
        for line in _drawn("is again", now.current):
            task.log(line)
        if state == "kept":
            return self._done(now)
        if cancelled:
            raise RunCancelled(f"network {self.name} on node {task.node.name}: cancelled, and the interfaces led back.")
        if state == "unknown" and verdict.unheard is not None:
            raise verdict.unheard
        if state == "unknown":
            raise Interrupted(f"node {task.node.name} was restarted during the change of its interfaces.")
        first = reason if reason and "nobody said" not in reason else why
        left = _differences(before, now)
        raise PermanentError(
            f"the interfaces of {task.node.name} were led back to what they were: {first}"
            + (f"; but {left}" if left else "")
        )


def _asked(configs: Sequence[Config], links: Sequence[Link], state: State | None) -> list[tuple[str, int]]:
    """Routers and peers of these networks, each with a small packet and one of the full size."""
    on = by_network(links)
    asked: list[tuple[str, int]] = []
    for one in configs:
        link = on[one.name]
        known = state.links.get(link.name) if state else None
        versions = {":" in mine for mine in one.addresses}
        there = [where for where in (*(router for router, _ in one.routers), *one.peers) if (":" in where) in versions]
        mtu = link.mtu or (known.mtu if known else 1500)
        asked += [(where, size) for where in there for size in (0, mtu - (48 if ":" in where else 28))]
    return asked


def _unless_first(text: str) -> str:
    return f'if [ "${{1-}}" != first ]; then\n{text}:\nfi\n' if text else ""


def _drawn(word: str, current: Collection[Mapping[str, Json]]) -> list[str]:
    """A configuration for a log, a line for each interface."""
    lines = []
    for one in current:
        parts = [one["kind"], *(["in " + one["master"]] if one["master"] else []), f"mtu {one['mtu']}",
                 *one["addresses"], *(f"to {route}" for route in one["routes"])]  # fmt: skip
        lines.append(f"{word}: {one['name']} {' '.join(parts)}{'' if one['carrier'] else ' (no carrier)'}")
    return lines


def _differences(before: State, now: State) -> str:
    """What is not as it was, of all that was led back."""
    was = {name: (link.master, link.mtu, link.up, sorted(one.text for one in link.addresses))
           for name, link in before.links.items()}  # fmt: skip
    names = [
        name for name, said in was.items()
        if name not in now.links or said != (
            now.links[name].master, now.links[name].mtu, now.links[name].up,
            sorted(one.text for one in now.links[name].addresses),
        )
    ]  # fmt: skip
    return f"{', '.join(names)} is not as it was" if names else ""
