"""The first process of a rack's kernel: it sets the kernel up, then makes and powers nodes as the keeper asks.

Run by ``uml`` as ``python -m crowbar_lab.rack`` in place of init; what it is to do comes over the first serial port.
Standard library only.
"""

from __future__ import annotations

import os
import select
import subprocess
import traceback
import tty
from pathlib import Path
from typing import Any

from crowbar_lab import linux
from crowbar_lab.boot import PATH, BootError
from crowbar_lab.line import Line, Post
from crowbar_lab.nodes import BadRequest, Nodes, Unavailable, wake_for_children
from crowbar_lab.switch import Switch

MODULES = "/usr/lib/uml/modules"
NEEDED = ("overlay", "ipv6", "bridge", "veth", "8021q", "bonding")
WISHED = ("vrf", "dummy", "macvlan", "sch_netem", "sch_tbf", "sch_ingress", "act_mirred")
SERIAL = "/dev/ttyS0"
POST = Path("/crowbar/post")
DISKS = Path("/run/lab/disks")


class Rack:
    """The rack's end of the line."""

    def __init__(self, line: Line, wanted: dict[str, Any]) -> None:
        self.line = line
        self.switch = Switch(wanted)
        self.nodes = Nodes(DISKS, wanted, self.switch)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            match request.get("do"):
                case "cable":
                    return self.switch.cable(self.nodes.find(request["node"]), request["nic"], up=request["up"])
                case "port":
                    return self.switch.change_port(self.nodes.find(request["node"]), request["nic"], request["port"])
                case "switch":
                    return self.switch.run(request["argv"], request["input"])
                case _:
                    return self.nodes.answer(request)
        except (BadRequest, BootError) as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001  a bad request must not take the rack down
            traceback.print_exc()
            return {"error": f"The rack failed at this ({error!r}); console.log in the lab's directory has more."}

    def serve(self) -> None:
        wake = wake_for_children()
        while True:
            if wake in select.select([self.line.fd, wake], [], [])[0]:
                os.read(wake, 4096)
            if notice := self.line.take():
                answer = self.answer(Post.open(POST, notice))
                self.tell()
                self.line.send(answer=answer)
            if self.nodes.reap():
                self.tell()

    def tell(self) -> None:
        self.line.send(nodes=self.nodes.describe())


def set_up_kernel() -> None:
    quiet = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", "/proc", "proc", quiet)
    linux.mount("sysfs", "/sys", "sysfs", quiet)
    linux.mount("tmpfs", "/run", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=100%")
    linux.mount("tmpfs", "/tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")
    DISKS.mkdir(parents=True)
    # modprobe looks below lib/modules of a directory of our choice.
    base = Path("/run/modules")
    (base / "lib").mkdir(parents=True)
    (base / "lib/modules").symlink_to(MODULES)
    for names, needed in ((NEEDED, True), (WISHED, False)):
        done = subprocess.run(["modprobe", "-d", str(base), "-a", *names], capture_output=True, text=True)
        if done.returncode != 0 and needed:
            raise Unavailable(f"the rack's kernel does not load its modules ({' '.join(done.stderr.split())}).")


def main() -> None:
    os.environ.clear()
    os.environ["PATH"] = PATH
    set_up = ""
    try:
        set_up_kernel()
    except (OSError, Unavailable) as error:
        set_up = str(error)
    # The host sees to it that nothing is sent before this end is raw: it waits for the first message.
    serial = os.open(SERIAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(serial)
    line = Line(serial)
    line.send(hello=True)
    wanted = Post.open(POST, line.receive())
    rack = Rack(line, wanted)
    try:
        if set_up:
            raise Unavailable(set_up)
        rack.switch.make()
        rack.nodes.set_up(hide=[])
    except (OSError, BootError, Unavailable) as error:
        line.send(unavailable=str(error))
        select.select([], [], [])
    line.send(ready=True)
    rack.serve()


if __name__ == "__main__":
    main()
