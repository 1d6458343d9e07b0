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

import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crowbar_lab import linux
from crowbar_lab.boot import BootError
from crowbar_lab.nodes import BadRequest, Nodes, Unavailable, refused_namespace, wake_for_children
from crowbar_lab.uml import Rack, RackEnded
from crowbar_lab.vm_children import VmChildren
from crowbar_lab.wires import BRIDGE, Wires


class Keeper:
    """Holds the lab's namespaces and nodes; only ever one thread."""

    def __init__(self, directory: Path, wanted: dict[str, Any]) -> None:
        self.directory = directory
        self.wanted = wanted
        self.wires = Wires(wanted)
        self.nodes: Nodes | Rack
        self.pid = int(os.readlink("/proc/self"))
        self.network_inode = os.stat(f"/proc/{self.pid}/ns/net").st_ino
        self.vms = VmChildren(directory / "vms", wanted, f"/proc/{self.pid}/ns/net")

    def set_up(self) -> None:
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
        try:
            self.wires.make_server_side()
        except BootError as error:
            raise Unavailable(f"this kernel does not make the lab's bridge with IPv4 and IPv6 ({error}).") from error
        if self.wanted["kernel"] == "uml":
            self.nodes = Rack(self.directory, self.wanted, self.wires)
            self.nodes.start()
        else:
            self.nodes = Nodes(self.directory / "disks", self.wanted, self.wires)
            self.nodes.set_up(hide=[str(self.directory)])
        self.describe()

    def describe(self) -> None:
        """Write lab.json, whole or not at all."""
        shown = (
            "name",
            "id",
            "domain",
            "kernel",
            "cards",
            "ipv4",
            "ipv6",
            "server_ipv4",
            "server_ipv6",
            "created",
            "private_key",
        )
        text = json.dumps(
            {
                **{key: self.wanted[key] for key in shown},
                "bridge": BRIDGE,
                "keeper": self.pid,
                "keeper_started": linux.started(self.pid),
                "network_inode": self.network_inode,
                "nodes": self.nodes.describe(),
                **self.vms.describe(),
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

    def serve(self, listener: socket.socket, owner: int | None) -> None:
        """Answer requests until killed, or until the ``owner`` (a pidfd) has ended."""
        wake = wake_for_children()
        with selectors.DefaultSelector() as ready:
            for one in (listener.fileno(), wake, *(() if owner is None else (owner,)), *self.nodes.watched):
                ready.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fd == listener.fileno():
                        self._serve_one(listener.accept()[0])
                    elif key.fd == wake:
                        os.read(wake, 4096)
                    elif key.fd == owner:
                        print("The process that the lab was to end with has ended.", flush=True)
                        return
                if self.nodes.reap():
                    self.describe()

    def _serve_one(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            connection.settimeout(60)
            try:
                try:
                    answer = self._answer(json.loads(stream.readline()))
                except (BadRequest, BootError) as error:
                    answer = {"error": str(error)}
                except RackEnded:
                    raise
                except Exception as error:  # noqa: BLE001  a bad request must not take the lab down
                    traceback.print_exc()
                    answer = {"error": f"The lab failed at this ({error!r}); {self.directory}/keeper.log has more."}
                self.describe()
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()
            except OSError:
                pass  # whoever asked has gone

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("do") == "vms":
            return self.vms.add(request["vms"], request["tools"])
        return self.nodes.answer(request)


def _write_whole(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.rename(path)


def main(arguments: Sequence[str]) -> None:
    directory = Path(arguments[0])
    wanted = json.loads(sys.stdin.read())
    # The lock comes from whoever makes the lab, and is held as long as this process or the lab's first one lives.
    os.set_inheritable(int(arguments[1]), False)
    try:
        owner = None if wanted["owner"] is None else os.pidfd_open(wanted["owner"])
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
    try:
        keeper.serve(listener, owner)
    except RackEnded as error:
        print(error, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
