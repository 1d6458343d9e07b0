"""The process that a lab is made of: everything in the lab is its child or its mount, and vanishes with it.

It is the first process of a pid namespace around all of the lab, so the kernel itself ends every process of every node
when it dies, however it dies; the nodes' disks are on a tmpfs that only its mount namespace knows; the bridge is in its
network namespace. What stays behind is one directory with a few small files. It takes requests, one line of JSON each,
on a socket there. (The alternative, named namespaces and mounts on the host, needs a clean-up that nothing may
interrupt.)

Run as ``python -m crowbar_lab.keeper DIRECTORY LOCK`` (an open file) with the lab's description on standard input;
answers one line on standard output when the lab stands, or says why it cannot. Standard library only: it stays small.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crowbar_lab import linux
from crowbar_lab.boot import BootError, Booting, Machine, run_ip, wait_for
from crowbar_lab.disk import Disk, Layer, build_mask, host_layers, node_files

BRIDGE = "lab0"
BRIDGE_MAC = "02:77:00:00:00:01"
AT_ONCE = 24
"""Nodes that boot side by side."""
LISTEN_SECONDS = 30.0
MANY = 100
"""From this node on, neighbours are written down instead of asked for: the kernel's table of those it asked for is one
for all namespaces and full at 1,024."""


class Unavailable(Exception):
    """This machine cannot hold a lab."""


class BadRequest(Exception):
    """The request cannot be granted; the message is for whoever asked."""


@dataclass(kw_only=True)
class Node:
    """A node as the keeper knows it."""

    number: int
    name: str
    admin: bool
    ipv4: str
    ipv6: str
    mac: str
    host_key: str
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


class Keeper:
    """Holds the lab's namespaces and nodes; only ever one thread."""

    def __init__(self, directory: Path, wanted: dict[str, Any]) -> None:
        self.directory = directory
        self.wanted = wanted
        self.nodes: dict[str, Node] = {}
        self.layers: tuple[Layer, ...] = ()
        self.user_namespace = -1
        self.pid = int(os.readlink("/proc/self"))
        self.network_inode = os.stat(f"/proc/{self.pid}/ns/net").st_ino

    # ---- setting up

    def set_up(self) -> None:
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
        disks = self.directory / "disks"
        linux.mount("crowbar-lab", disks, "tmpfs", 0, "mode=700")
        mask = disks / ".mask"
        build_mask(
            mask, authorized_keys=self.wanted["authorized_keys"], hide=[*self.wanted["hide"], str(self.directory)]
        )
        self.layers = host_layers(mask)
        self._try_overlay(disks)
        self._make_user_namespace()
        self._make_bridge()
        self.describe()

    def _try_overlay(self, disks: Path) -> None:
        trial = Disk(directory=disks / ".trial", layers=self.layers)
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

    def _make_bridge(self) -> None:
        four, six = self.wanted["server_ipv4"], self.wanted["server_ipv6"]
        try:
            self.ip(
                "link set lo up",
                f"link add {BRIDGE} address {BRIDGE_MAC} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                f"link set {BRIDGE} up",
                f"addr add {four} dev {BRIDGE}",
                f"addr add {six} dev {BRIDGE} nodad",
            )
        except BootError as error:
            raise Unavailable(f"this kernel does not make the lab's bridge with IPv4 and IPv6 ({error}).") from error

    # ---- the network

    def ip(self, *lines: str) -> None:
        """Run ``ip -batch`` in the lab's network namespace; ``BootError`` has its words."""
        run_ip(self.wanted["ip"], lines)

    def _plug_in(self, nodes: Sequence[Node]) -> None:
        """Give each node its card. The port's name says the boot: one still being torn down is not in the way."""
        lines = []
        for node in nodes:
            port = self._port(node)
            lines.append(f"link add {port} type veth peer name eth0 address {node.mac} netns {node.init}")
            lines.append(f"link set {port} master {BRIDGE} up")
            if node.number >= MANY:
                for address in (node.ipv4, node.ipv6):
                    lines.append(f"neigh replace {address} lladdr {node.mac} dev {BRIDGE} nud permanent")
        self.ip(*lines)

    @staticmethod
    def _port(node: Node) -> str:
        return f"n{node.number}b{node.boots}"

    def _node_network(self, place: dict[str, Any]) -> tuple[str, ...]:
        four, six = self.wanted["server_ipv4"], self.wanted["server_ipv6"]
        lines = [
            "link set lo up",
            "link set eth0 up",
            f"addr add {place['ipv4']}/{four.partition('/')[2]} dev eth0",
            f"addr add {place['ipv6']}/{six.partition('/')[2]} dev eth0 nodad",
        ]
        if place["number"] >= MANY:
            for server in (four, six):
                lines.append(f"neigh replace {server.partition('/')[0]} lladdr {BRIDGE_MAC} dev eth0 nud permanent")
        return tuple(lines)

    # ---- what can be asked for

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "add":
                return self.add(request["nodes"])
            case "power":
                return self.power(request["node"], request["action"])
            case other:
                raise BadRequest(f"The lab does not know how to do {other!r}.")

    def add(self, places: Sequence[dict[str, Any]]) -> dict[str, Any]:
        for place in places:
            if place["name"] in self.nodes or any(node.number == place["number"] for node in self.nodes.values()):
                raise BadRequest(f"There is a node {place['name']} in this lab already.")
        added = []
        for place in places:
            private = place.pop("private_key")
            disk = Disk(directory=self.directory / "disks" / f"node-{place['number']}", layers=self.layers)
            names = {key: place[key] for key in ("name", "ipv4", "ipv6")}
            disk.format(node_files(**names, host_key=private, public_key=place["host_key"]))
            machine = Machine(
                hostname=place["name"].partition(".")[0],
                disk=disk,
                network=self._node_network(place),
                ip=self.wanted["ip"],
                sshd=self.wanted["sshd"],
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
        finally:
            self.describe()
        return {"nodes": [node.describe() for node in added]}

    def power(self, name: str, action: str) -> dict[str, Any]:
        node = self.nodes.get(name)
        if node is None:
            raise BadRequest(f"There is no node {name} in this lab.")
        try:
            if action in ("off", "reset"):
                self.switch_off(node)
            if action in ("on", "reset") and not node.powered:
                self.boot([node])
        finally:
            self.describe()
        return {"powered": node.powered}

    def switch_off(self, node: Node) -> None:
        """As if the plug were pulled: returns when no process of the node is left."""
        if node.init:
            os.kill(node.init, signal.SIGKILL)
            wait_for(node.init)
            self._gone(node)

    def _gone(self, node: Node) -> None:
        node.init = node.host_init = 0
        try:
            self.ip(f"link del {self._port(node)}")
        except BootError:
            pass  # the kernel was faster: the card goes with the node's network namespace

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
            self._plug_in(nodes)
            for _, booting in started:
                booting.go()
            for _, booting in started:
                booting.wait()
        except (BootError, OSError) as error:
            for node, booting in started:
                booting.abandon()
                node.init = node.host_init = 0
            raise BootError(f"The node {nodes[0].name} (or one booting with it) does not boot: {error}.") from error

    def _await_ssh(self, nodes: Iterable[Node]) -> None:
        deadline = time.monotonic() + LISTEN_SECONDS
        for node in nodes:
            while not _listens(node.host_init):
                if os.waitpid(node.init, os.WNOHANG)[0]:
                    self._gone(node)
                    raise BootError(f"The sshd of {node.name} ended at once: {self._last_words(node)}")
                if time.monotonic() > deadline:
                    raise BootError(f"The sshd of {node.name} does not listen: {self._last_words(node)}")
                time.sleep(0.005)

    @staticmethod
    def _last_words(node: Node) -> str:
        for log in node.machine.disk.directory.glob("changes-*/upper/var/log/sshd.log"):
            return " ".join(log.read_text(errors="replace").splitlines()[-3:])
        return "it left no log."

    # ---- watching

    def reap(self) -> None:
        """Take note of what ended by itself: a node whose root asked for a reboot starts again, others are off."""
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
        if changed:
            self.describe()

    def describe(self) -> None:
        """Write lab.json, whole or not at all."""
        shown = ("name", "id", "domain", "ipv4", "ipv6", "server_ipv4", "server_ipv6", "created", "private_key")
        text = json.dumps(
            {
                **{key: self.wanted[key] for key in shown},
                "bridge": BRIDGE,
                "keeper": self.pid,
                "keeper_started": linux.started(self.pid),
                "network_inode": self.network_inode,
                "nodes": [node.describe() for node in self.nodes.values()],
            },
            indent=1,
        )
        _write_whole(self.directory / "lab.json", text)

    def listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        here = os.open(self.directory, os.O_PATH)
        # A socket's path is limited to 108 bytes; the way over the directory's number always fits.
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        listener.listen(1024)
        return listener

    def serve(self, listener: socket.socket) -> None:
        """Answer requests until killed."""
        wake_read, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wake_read, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as ready:
            ready.register(listener, selectors.EVENT_READ)
            ready.register(wake_read, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is listener:
                        self._serve_one(listener.accept()[0])
                    else:
                        os.read(wake_read, 4096)
                self.reap()

    def _serve_one(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            connection.settimeout(60)
            try:
                try:
                    answer = self.answer(json.loads(stream.readline()))
                except (BadRequest, BootError) as error:
                    answer = {"error": str(error)}
                except Exception as error:  # noqa: BLE001  a bad request must not take the lab down
                    traceback.print_exc()
                    answer = {"error": f"The lab failed at this ({error!r}); {self.directory}/keeper.log has more."}
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()
            except OSError:
                pass  # whoever asked has gone


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


def _write_whole(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.rename(path)


def refused_namespace(flag: int, number: int) -> str:
    return (
        f"this machine does not let root make a {linux.NAMESPACES[flag]} namespace ({os.strerror(number)}): "
        "use a machine, or a privileged container, that does."
    )


def main(arguments: Sequence[str]) -> None:
    directory = Path(arguments[0])
    wanted = json.loads(sys.stdin.read())
    # The lock comes from whoever makes the lab, and is held as long as this process or the lab's first one lives.
    os.set_inheritable(int(arguments[1]), False)
    try:
        for flag in linux.NAMESPACES:
            if flag == linux.CLONE_NEWUSER:
                continue
            try:
                linux.unshare(flag)
            except OSError as error:
                raise Unavailable(refused_namespace(flag, error.errno or 0)) from error
        if os.fork():
            os._exit(0)
        # From here on this is the lab's first process.
        keeper = Keeper(directory, wanted)
        _write_whole(directory / "keeper.json", json.dumps({"pid": keeper.pid, "started": linux.started(keeper.pid)}))
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        keeper.set_up()
        listener = keeper.listen()
    except Unavailable as error:
        print(json.dumps({"unavailable": str(error)}), flush=True)
        return
    except OSError as error:
        print(json.dumps({"unavailable": f"this machine refuses a part of the lab ({error})."}), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    log = os.open(directory / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    keeper.serve(listener)


if __name__ == "__main__":
    main(sys.argv[1:])
