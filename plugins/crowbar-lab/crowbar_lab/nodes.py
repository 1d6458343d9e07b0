"""A lab's nodes as the process knows that holds them: their disks, their power, and what ended by itself.

Standard library only, as for all that the keeper is made of.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crowbar_lab import linux
from crowbar_lab.boot import PATH, BootError, Booting, Machine, wait_for
from crowbar_lab.disk import Disk, Layer, build_mask, host_layers, node_files
from crowbar_lab.wires import Wires

AT_ONCE = 24
"""Nodes that boot side by side."""
LISTEN_SECONDS = 30.0
RUN_SECONDS = 120


class Unavailable(Exception):
    """This machine cannot hold a lab."""


class BadRequest(Exception):
    """The request cannot be granted; the message is for whoever asked."""


@dataclass(kw_only=True)
class Node:
    """A node as the keeper knows it. ``cards`` maps the names of its cards, besides eth0, to their MACs."""

    number: int
    name: str
    admin: bool
    ipv4: str
    ipv6: str
    mac: str
    host_key: str
    cards: Mapping[str, str] = field(default_factory=dict)
    machine: Machine = field(repr=False)
    init: int = 0
    host_init: int = 0
    boots: int = 0

    @property
    def powered(self) -> bool:
        return self.init != 0

    def describe(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "name": self.name,
            "admin": self.admin,
            "ipv4": self.ipv4,
            "ipv6": self.ipv6,
            "mac": self.mac,
            "host_key": self.host_key,
            "powered": self.powered,
            "pid": self.host_init or None,
            "boots": self.boots,
        }


class Nodes:
    """Holds the nodes; only ever one thread. ``disks`` is a directory for a tmpfs with what they change."""

    def __init__(self, disks: Path, wanted: Mapping[str, Any], wires: Wires) -> None:
        self.disks = disks
        self.wanted = wanted
        self.wires = wires
        self.nodes: dict[str, Node] = {}
        self.layers: tuple[Layer, ...] = ()
        self.user_namespace = -1
        self.watched: tuple[int, ...] = ()
        """Files that tell, besides SIGCHLD, that ``reap`` has something to do."""

    # ---- setting up

    def set_up(self, hide: Sequence[str]) -> None:
        linux.mount("crowbar-lab", self.disks, "tmpfs", 0, "mode=700")
        mask = self.disks / ".mask"
        build_mask(
            mask,
            authorized_keys=self.wanted["authorized_keys"],
            hide=[*self.wanted["hide"], *hide],
            secret=self.wanted.get("secret"),
        )
        self.layers = host_layers(mask)
        self._try_overlay()
        self._make_user_namespace()

    def _try_overlay(self) -> None:
        trial = Disk(directory=self.disks / ".trial", layers=self.layers)
        trial.format({})
        try:
            trial.mount()
        except OSError as error:
            raise Unavailable(
                f"this kernel does not mount an overlay over the host's root ({os.strerror(error.errno or 0)}): "
                "use a machine or a privileged container with overlayfs."
            ) from error
        linux.unmount(trial.root, linux.MNT_DETACH)

    def _make_user_namespace(self) -> None:
        """One user namespace for all nodes: their root is root over what is theirs, and nobody to the host's kernel."""
        ready_read, ready = os.pipe()
        hold, release = os.pipe()
        child = os.fork()
        if not child:
            try:
                linux.unshare(linux.CLONE_NEWUSER)
                os.write(ready, os.readlink("/proc/self").encode())
                os.close(release)
                os.read(hold, 1)
            finally:
                os._exit(0)
        os.close(ready)
        host_pid = os.read(ready_read, 20).decode()
        try:
            if not host_pid:
                raise Unavailable(refused_namespace(linux.CLONE_NEWUSER, errno.EPERM))
            for kind in ("uid", "gid"):
                ours = [line.split() for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
                same = "".join(f"{first} {first} {count}\n" for first, _, count in ours)
                Path(f"/proc/{host_pid}/{kind}_map").write_text(same)
            self.user_namespace = os.open(f"/proc/{host_pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            for fd in (ready_read, hold, release):
                os.close(fd)
            wait_for(child)

    # ---- what can be asked for

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "add":
                return self.add(request["nodes"])
            case "power":
                return self.power(request["node"], request["action"])
            case "console":
                return self.console(request["node"], request["argv"], request["input"])
            case other:
                raise BadRequest(f"The lab does not know how to do {other!r}.")

    def add(self, places: Sequence[dict[str, Any]]) -> dict[str, Any]:
        for place in places:
            if place["name"] in self.nodes or any(node.number == place["number"] for node in self.nodes.values()):
                raise BadRequest(f"There is a node {place['name']} in this lab already.")
        added = []
        for place in places:
            private = place.pop("private_key")
            disk = Disk(directory=self.disks / f"node-{place['number']}", layers=self.layers)
            names = {key: place[key] for key in ("name", "ipv4", "ipv6")}
            disk.format(node_files(**names, host_key=private, public_key=place["host_key"]))
            machine = Machine(
                hostname=place["name"].partition(".")[0],
                disk=disk,
                network=self.wires.inside(place),
                ip=self.wanted["ip"],
                sshd=self.wanted["sshd"],
                cards=tuple(place["cards"]),
            )
            node = Node(machine=machine, **place)
            self.nodes[node.name] = node
            added.append(node)
        try:
            self.boot(added)
        except BootError:
            # Half a batch of nodes is worth nothing to whoever asked for it.
            for node in added:
                self.switch_off(node)
                del self.nodes[node.name]
            raise
        return {"nodes": self.describe(added)}

    def power(self, name: str, action: str) -> dict[str, Any]:
        node = self.find(name)
        if action in ("off", "reset"):
            self.switch_off(node)
        if action in ("on", "reset") and not node.powered:
            self.boot([node])
        return {"powered": node.powered}

    def console(self, name: str, argv: Sequence[str], given: str) -> dict[str, Any]:
        """Run a program as the node's root, without its network."""
        node = self.find(name)
        if not node.powered:
            raise BadRequest(f"The node {name} is off.")
        enter = [self.wanted["nsenter"], "-t", str(node.host_init), "-m", "-u", "-i", "-n", "-p", "-U"]
        return run_program([*enter, "--preserve-credentials", "--", *argv], given, where=f"on {name}")

    def find(self, name: str) -> Node:
        node = self.nodes.get(name)
        if node is None:
            raise BadRequest(f"There is no node {name} in this lab.")
        return node

    def switch_off(self, node: Node) -> None:
        """As if the plug were pulled: returns when no process of the node is left."""
        if node.init:
            os.kill(node.init, signal.SIGKILL)
            wait_for(node.init)
            self._gone(node)

    def _gone(self, node: Node) -> None:
        node.init = node.host_init = 0
        self.wires.unplug(node)

    def boot(self, nodes: Sequence[Node]) -> None:
        """Boot the nodes, some side by side; returns when each of them listens for SSH."""
        for first in range(0, len(nodes), AT_ONCE):
            self._boot_together(nodes[first : first + AT_ONCE])
        self._await_ssh(nodes)

    def _boot_together(self, nodes: Sequence[Node]) -> None:
        started = [(node, Booting(node.machine, user_namespace=self.user_namespace)) for node in nodes]
        try:
            for node, booting in started:
                booting.power()
                node.boots += 1
                node.init, node.host_init = booting.init, booting.host_init
            self.wires.plug_in(nodes)
            for _, booting in started:
                booting.go()
            for _, booting in started:
                booting.wait()
        except (BootError, OSError) as error:
            for node, booting in started:
                booting.abandon()
                self._gone(node)
            raise BootError(f"The node {nodes[0].name} (or one booting with it) does not boot: {error}.") from error

    def _await_ssh(self, nodes: Iterable[Node]) -> None:
        deadline = time.monotonic() + LISTEN_SECONDS
        for node in nodes:
            # To look is dear where a rack's kernel has but one processor, for the node as well.
            pause = 0.005
            while not _listens(node.host_init):
                if os.waitpid(node.init, os.WNOHANG)[0]:
                    self._gone(node)
                    raise BootError(f"The sshd of {node.name} ended at once: {self._last_words(node)}")
                if time.monotonic() > deadline:
                    raise BootError(f"The sshd of {node.name} does not listen: {self._last_words(node)}")
                time.sleep(pause)
                pause = min(2 * pause, 0.1)

    @staticmethod
    def _last_words(node: Node) -> str:
        for log in node.machine.disk.directory.glob("changes-*/upper/var/log/sshd.log"):
            return " ".join(log.read_text(errors="replace").splitlines()[-3:])
        return "it left no log."

    # ---- watching

    def describe(self, nodes: Iterable[Node] | None = None) -> list[dict[str, Any]]:
        """These nodes, or all of them, as lab.json shows them."""
        wanted = self.nodes.values() if nodes is None else nodes
        return [{**node.describe(), "cards": self.wires.cards(node)} for node in wanted]

    def reap(self) -> bool:
        """Take note of what ended by itself: a node whose root asked for a reboot starts again, others are off.

        Whether there was any.
        """
        by_pid = {node.init: node for node in self.nodes.values() if node.init}
        changed = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            node = by_pid.get(pid)
            if node is None:
                continue
            changed = True
            self._gone(node)
            # The kernel tells of reboot(2) in a pid namespace by the signal that its first process seems to die of.
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP:
                try:
                    self.boot([node])
                except BootError as error:
                    print(error, file=sys.stderr, flush=True)
        return changed


def _listens(host_pid: int) -> bool:
    """Whether a process's network namespace has a listener on port 22, which is asked without knocking on it."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{host_pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[1].endswith(":0016") and fields[3] == "0A":
                return True
    return False


def refused_namespace(flag: int, number: int) -> str:
    return (
        f"this machine does not let root make a {linux.NAMESPACES[flag]} namespace ({os.strerror(number)}): "
        "use a machine, or a privileged container, that does."
    )


def run_program(argv: Sequence[str], given: str, *, where: str) -> dict[str, Any]:
    """What it printed and its exit code; ``BadRequest`` when it takes too long."""
    try:
        done = subprocess.run(
            argv,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RUN_SECONDS,
            cwd="/",
            env={"PATH": PATH},
        )
    except subprocess.TimeoutExpired:
        raise BadRequest(f"What was to run {where} did not end within {RUN_SECONDS} s.") from None
    return {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def wake_for_children() -> int:
    """A file that is ready to read after each SIGCHLD, for a ``select`` beside others."""
    wake_read, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake_read
