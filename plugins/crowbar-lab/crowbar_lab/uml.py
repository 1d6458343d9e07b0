"""A rack: a kernel of its own as a program, User Mode Linux, that the lab's nodes live in instead of the host's kernel.

It needs neither virtualisation nor an image. Its root is a selection of the host's directories, mounted read-only in a
mount namespace of its own and seen through hostfs; the program runs as nobody, without any capability, so that root in
the rack, who could remount hostfs to be writable, still changes nothing of the host's. The nodes are made inside by
``rack``, the same way as on the host; their management cards are at a bridge that a tap joins to the lab's, so that
they are reached from there as other nodes are.

    keeper (host) ── line of JSON messages, a serial port in the rack ── rack (first process of the rack's kernel)
    lab0 (host) ── tap uml0 = vec0 ── lab0 (rack) ── eth0 of each node
"""

from __future__ import annotations

import os
import resource
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crowbar_lab import linux
from crowbar_lab.boot import BootError, fork_child
from crowbar_lab.disk import EMPTY, SHOWN, secrets_of_etc
from crowbar_lab.line import Hung, Line, Post
from crowbar_lab.nodes import BadRequest, Unavailable
from crowbar_lab.wires import BRIDGE, Wires

UPLINK = "uml0"
NOBODY = 65534
SO_SNDBUFFORCE = 32
PANIC = "Kernel panic"
MEMORY_MIB = 1024
"""What the rack's kernel may take of the host's memory; it takes what it uses."""
CODE = "/crowbar"
"""Where the rack finds this package."""
POST = f"{CODE}/post"
"""Where it finds what the keeper says."""
DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9), "net/tun": (10, 200)}
ALWAYS = ("proc", "sys", "dev", "run", "tmp", "root")


class RackEnded(Exception):
    """The rack's kernel has ended, and with it all nodes."""


class Rack:
    """The keeper's end of the line: what it asks of ``nodes.Nodes`` goes to the kernel of the rack."""

    def __init__(self, directory: Path, wanted: Mapping[str, Any], wires: Wires) -> None:
        self.directory = directory
        self.wanted = wanted
        self.wires = wires
        self.console = directory / "console.log"
        self.pid = 0
        self._nodes: list[dict[str, Any]] = []
        self._socket, self._far = socket.socketpair()
        # Room for the description of a thousand nodes: nobody has found out what the rack does when there is none.
        self._far.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)
        self._line = Line(self._socket.fileno(), lives=self._lives)
        self._post = Post(directory / "post", self._line)
        self.watched = (self._socket.fileno(),)

    def start(self) -> None:
        """Boot the kernel and wait until its nodes can be made; ``Unavailable`` when it does not come so far."""
        try:
            self.wires.ip(
                f"tuntap add dev {UPLINK} mode tap user {NOBODY}",
                f"link set {UPLINK} master {BRIDGE} up",
            )
        except BootError as error:
            raise Unavailable(f"this machine does not make the tap that leads into the rack ({error}).") from error
        self._post.directory.mkdir()
        self._post.directory.chmod(0o755)
        self.pid = fork_child(self._become_kernel, keep=(self._far.fileno(),))
        self._far.close()
        try:
            self._line.receive()
            # To look through /etc from inside takes a second.
            self._post.send({**self.wanted, "secret": secrets_of_etc()})
            said = self._line.receive()
            self._post.clear()
        except Hung:
            raise Unavailable(f"the kernel of the rack does not start: {self._last_words()}") from None
        if "unavailable" in said:
            raise Unavailable(said["unavailable"])

    # ---- what is asked of Nodes

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("do") == "add":
            self.wires.neighbours(request["nodes"])
        try:
            self._post.send(request)
            while "answer" not in (said := self._line.receive()):
                self._nodes = said["nodes"]
            self._post.clear()
        except Hung:
            raise RackEnded(self._obituary()) from None
        answer: dict[str, Any] = said["answer"]
        if "error" in answer:
            raise BadRequest(answer["error"])
        if "nodes" in answer:
            answer["nodes"] = [_seen_from_here(node) for node in answer["nodes"]]
        return answer

    def describe(self) -> list[dict[str, Any]]:
        return [_seen_from_here(node) for node in self._nodes]

    def reap(self) -> bool:
        """Take note of what the rack tells by itself. ``RackEnded`` when it is there no more."""
        changed, lives = False, self._lives()
        while True:
            try:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    break
            except ChildProcessError:
                break
        try:
            while said := self._line.take():
                self._nodes = said["nodes"]
                changed = True
        except Hung:
            raise RackEnded(self._obituary()) from None
        if not lives:
            raise RackEnded(self._obituary())
        return changed

    # ---- the kernel

    def _lives(self) -> bool:
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def _obituary(self) -> str:
        return f"The kernel of the rack has ended, and the lab with it: {self._last_words()}"

    def _last_words(self) -> str:
        try:
            said = self.console.read_text(errors="replace").split("\n")
        except OSError:
            said = []
        lines = [line.strip() for line in said if line.strip()]
        # A panic is followed by what was on the stack.
        return next((line for line in lines if PANIC in line), lines[-1] if lines else "it said nothing.")

    def _become_kernel(self) -> None:
        """In a child: never returns."""
        log = os.open(self.console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open("/dev/null", os.O_RDWR)
        serial = self._far.fileno()
        for fd, place in ((null, 0), (log, 1), (log, 2)):
            os.dup2(fd, place)
        try:
            root, python = self.directory / "disks", _python()
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
            _build_root(root, post=self._post.directory)
            os.set_inheritable(serial, True)
            linux.enter_root(root)
            os.setsid()
            # A file of the host's that is open in the rack is open here.
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            linux.drop_rights(NOBODY)
            kernel = self.wanted["linux.uml"]
            command = [
                kernel,
                f"mem={MEMORY_MIB}M",
                "rootfstype=hostfs",
                "rootflags=/",
                "ro",
                "quiet",
                "panic=1",
                "noreboot",
            ]
            command += ["con=null", "con0=null,fd:1", "ssl=null", f"ssl0=fd:{serial}", "uml_dir=/tmp/uml", "umid=rack"]
            command += [f"vec0:transport=tap,ifname={UPLINK},depth=64"]
            command += [*python, "--", "-S", "-B", "-m", "crowbar_lab.rack"]
            os.execve(kernel, command, {"TMPDIR": "/dev/shm", "HOME": "/", "PATH": "/usr/bin:/usr/sbin"})
        except Exception as error:
            print(f"it cannot be prepared ({error}).", file=sys.stderr, flush=True)
            raise


def _python() -> list[str]:
    """Of the kernel's command line: the interpreter that this is, as the rack finds it, and its environment."""
    python, base = Path(sys.executable).resolve(), Path(sys.base_prefix).resolve()
    if not _is_brought(base):
        return [f"init={python}", f"PYTHONPATH={CODE}"]
    # Its own place may be below a directory that only the host's root may enter.
    home = f"{CODE}/python"
    place = [f"PYTHONHOME={home}", f"LD_LIBRARY_PATH={home}/lib"]
    return [f"init={home}/{python.relative_to(base)}", f"PYTHONPATH={CODE}", *place]


def _is_brought(base: Path) -> bool:
    return not base.is_relative_to("/usr")


def _build_root(root: Path, *, post: Path) -> None:
    """Mount what the rack's kernel is to see of the host, read-only, and what it needs to run."""
    linux.mount("crowbar-rack", root, "tmpfs", linux.MS_NOSUID, "mode=755,size=100%")
    for name in sorted(SHOWN):
        shown = Path("/") / name
        if shown.is_symlink():
            (root / name).symlink_to(os.readlink(shown))
        elif shown.is_dir():
            _show(shown, root)
    for name in EMPTY:
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    _show(Path(__file__).parent, root, at=f"{CODE}/crowbar_lab")
    _show(post, root, at=POST)
    if _is_brought(base := Path(sys.base_prefix).resolve()):
        _show(base, root, at=f"{CODE}/python")
    linux.mount("proc", root / "proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    (root / "dev/net").mkdir()
    (root / "dev/shm").mkdir()
    (root / "dev/shm").chmod(0o1777)
    for name, (major, minor) in DEVICES.items():
        os.mknod(root / "dev" / name, stat.S_IFCHR, os.makedev(major, minor))
        (root / "dev" / name).chmod(0o666)


def _show(directory: Path, root: Path, *, at: str = "") -> None:
    target = root / (at or str(directory)).lstrip("/")
    target.mkdir(parents=True)
    linux.mount(directory, target, None, linux.MS_BIND | linux.MS_REC)
    linux.make_read_only(target)


def _seen_from_here(node: dict[str, Any]) -> dict[str, Any]:
    # Its pid is that of another kernel.
    return {**node, "pid": None}
