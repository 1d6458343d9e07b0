"""How a node boots: from a disk and a name to an sshd that is the first process of its own namespaces.

Who may do what decides the order. The overlay, /dev, /proc and the read-only covers over what /proc shows of the kernel
are mounted by a process with the host's full rights, in a mount namespace of its own; the node's own processes then get
a copy of that mount namespace from inside a user namespace, in which the kernel holds those mounts locked: root on the
node is root over its own network, mounts, processes and host name, but can neither lift the covers nor make device
nodes, load modules or set the clock. User ids are the same inside and outside, so that ownership on the overlay is what
packages expect.

    keeper ── fork ─► builder (host's rights: mount namespace, disk, /dev)
                        ├─ fork ─► joins the lab's user namespace, new pid, network, uts and ipc namespaces
                        │            └─ fork ─► init: waits, takes its own mount namespace, becomes sshd
                        │  (the keeper puts a network card into init's network namespace)
                        └─ fork ─► enters init's pid and network namespaces: /proc, /sys, the card's addresses
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from crowbar_lab import linux
from crowbar_lab.disk import Disk

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
READ_ONLY_PROC = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "driver", "tty", "mtrr", "latency_stats")
COVERED_PROC = (
    "kcore",
    "kmsg",
    "keys",
    "timer_list",
    "sched_debug",
    "kallsyms",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
)
BOOT_ID = "/proc/sys/kernel/random/boot_id"
NEW_UUID = "/proc/sys/kernel/random/uuid"
"""Another one each time that it is read."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BootError(Exception):
    """The node cannot boot; the message says what refused."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What is needed to boot a node."""

    hostname: str
    disk: Disk
    network: tuple[str, ...]
    """Lines for ``ip -batch`` inside the node's network namespace."""
    ip: str
    sshd: str
    cards: tuple[str, ...] = ()
    """Those that end at a switch, where a frame's size matters."""


class Booting:
    """A boot under way: ``init`` and ``host_init`` are known after ``power``, then the network card, then ``go``."""

    def __init__(self, machine: Machine, *, user_namespace: int) -> None:
        self.machine = machine
        self.init = 0
        """The node's first process, as the lab's pid namespace counts."""
        self.host_init = 0
        """The same, as the host counts."""
        self._reports, report = os.pipe()
        hold, self._hold = os.pipe()
        self._builder = fork_child(
            lambda: _build(machine, user_namespace=user_namespace, report=report, hold=hold),
            keep=(report, hold, user_namespace),
        )
        os.close(report)
        os.close(hold)

    def power(self) -> None:
        """Wait until the namespaces are there."""
        told = self._next_report()
        self.init, self.host_init = told["init"], told["host_init"]

    def go(self) -> None:
        """The network card is in; let the node start."""
        os.write(self._hold, b"1")

    def wait(self) -> None:
        """Wait until the node's first process has been let go."""
        self._next_report()
        self.close()

    def abandon(self) -> None:
        """End what was started. For a boot that failed."""
        self.close()
        for pid in (self._builder, self.init):
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if self.init:
            wait_for(self.init)
            self.init = 0

    def close(self) -> None:
        for fd in (self._reports, self._hold):
            if fd >= 0:
                os.close(fd)
        self._reports = self._hold = -1
        if self._builder:
            wait_for(self._builder)
            self._builder = 0

    def _next_report(self) -> dict[str, int]:
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = os.read(self._reports, 1)
            if not byte:
                raise BootError("the boot broke off without a word")
            line += byte
        told = json.loads(line)
        if "error" in told:
            raise BootError(told["error"])
        assert isinstance(told, dict)
        return told


def wait_for(pid: int) -> int:
    """Reap a child; its wait status, or 0 when it had been reaped."""
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0


def fork_child(work: Callable[[], None], *, keep: tuple[int, ...] = ()) -> int:
    """Run ``work`` in a child that never returns. The child closes all files but 0 to 2 and ``keep``."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        low = 3
        for fd in sorted(keep):
            os.closerange(low, fd)
            low = fd + 1
        os.closerange(low, 1 << 20)
        work()
        code = 0
    finally:
        # Nothing of the parent's may run here: no handlers, no flushing of its buffers.
        os._exit(code)


def _tell(fd: int, **told: object) -> None:
    os.write(fd, json.dumps(told).encode() + b"\n")


def _build(machine: Machine, *, user_namespace: int, report: int, hold: int) -> None:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.umask(0o022)
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        machine.disk.mount()
        _mount_volatile(machine.disk.root)
        init, host_init, release = _make_init(machine, user_namespace)
        pid_namespace, network_namespace = (
            os.open(f"/proc/{host_init}/ns/{kind}", os.O_RDONLY) for kind in ("pid", "net")
        )
        _tell(report, init=init, host_init=host_init)
        if not os.read(hold, 1):
            return
        linux.enter_root(machine.disk.root)
        linux.setns(pid_namespace, linux.CLONE_NEWPID)
        linux.setns(network_namespace, linux.CLONE_NEWNET)
        complaint_read, complaint = os.pipe()
        child = fork_child(lambda: _furnish(machine, complaint), keep=(complaint,))
        os.close(complaint)
        said = os.read(complaint_read, 4096)
        if wait_for(child) != 0:
            raise BootError(said.decode(errors="replace") or "furnishing the node failed")
        os.write(release, b"1")
        _tell(report, done=1)
    except (OSError, BootError) as error:
        _tell(report, error=str(error))


def _mount_volatile(root: Path) -> None:
    """What a boot finds new: /dev, /run and /tmp."""
    quiet = linux.MS_NOSUID | linux.MS_NOEXEC
    dev = root / "dev"
    linux.mount("tmpfs", dev, "tmpfs", quiet, "size=64k,mode=755")
    for name, (major, minor) in DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR, os.makedev(major, minor))
        (dev / name).chmod(0o666)
    for name, target in {**LINKS, "ptmx": "pts/ptmx"}.items():
        (dev / name).symlink_to(target)
    (dev / "pts").mkdir()
    (dev / "shm").mkdir()
    linux.mount("devpts", dev / "pts", "devpts", quiet, "newinstance,ptmxmode=666,mode=620,gid=5")
    linux.mount("tmpfs", dev / "shm", "tmpfs", quiet | linux.MS_NODEV, "mode=1777")
    linux.mount("tmpfs", root / "run", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    linux.mount("tmpfs", root / "tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")
    (root / "run/sshd").mkdir(mode=0o755)
    (root / "run/lock").mkdir()
    (root / "run/lock").chmod(0o1777)


def _make_init(machine: Machine, user_namespace: int) -> tuple[int, int, int]:
    """Start the node's first process: its pids for the lab and for the host, and the pipe that releases it."""
    numbers_read, numbers = os.pipe()
    hold, release = os.pipe()

    def init() -> None:
        # /proc is still the host's here, so this is the host's number for this process.
        os.write(numbers, f"host {os.readlink('/proc/self')}\n".encode())
        os.close(numbers)
        if os.read(hold, 1):
            os.close(hold)
            _become_sshd(machine)

    def enter() -> None:
        linux.setns(user_namespace, linux.CLONE_NEWUSER)
        linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
        os.write(numbers, f"init {fork_child(init, keep=(numbers, hold))}\n".encode())

    middle = fork_child(enter, keep=(user_namespace, numbers, hold))
    os.close(numbers)
    os.close(hold)
    status = wait_for(middle)
    said = b""
    while part := os.read(numbers_read, 64):
        said += part
    os.close(numbers_read)
    found = dict(line.split() for line in said.decode().splitlines())
    if status != 0 or set(found) != {"init", "host"}:
        raise BootError("the node's namespaces cannot be made")
    return int(found["init"]), int(found["host"]), release


def _furnish(machine: Machine, complaint: int) -> None:
    """Inside the node's pid and network namespaces, with the host's rights: /proc, /sys and the network card."""
    try:
        quiet = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", "/proc", "proc", quiet)
        linux.mount("sysfs", "/sys", "sysfs", quiet | linux.MS_RDONLY)
        for name in READ_ONLY_PROC:
            if os.path.exists(f"/proc/{name}"):
                linux.bind(f"/proc/{name}", f"/proc/{name}", read_only=True)
        # The network's own settings are the node's: they are kept apart for each network namespace.
        linux.bind("/proc/sys/net", "/proc/sys/net")
        linux.mount(None, "/proc/sys/net", None, linux.MS_REMOUNT | linux.MS_BIND | quiet)
        for name in COVERED_PROC:
            if os.path.exists(f"/proc/{name}"):
                linux.bind("/dev/null", f"/proc/{name}")
        note = Path("/run/boot-id")
        note.write_text(Path(NEW_UUID).read_text())
        linux.bind(note, BOOT_ID, read_only=True)
        note.unlink()
        for card in machine.cards:
            linux.end_segmentation(card)
        run_ip(machine.ip, machine.network)
    except (OSError, BootError) as error:
        os.write(complaint, str(error).encode()[:4000])
        raise


def run_ip(ip: str, lines: Iterable[str], *options: str) -> None:
    """Run ``ip -batch``, in this process's network namespace without ``-n NAME``; ``BootError`` has its words."""
    script, said = os.memfd_create("script"), os.memfd_create("said")
    os.write(script, "".join(f"{line}\n" for line in lines).encode())
    os.lseek(script, 0, os.SEEK_SET)
    actions = [(os.POSIX_SPAWN_DUP2, script, 0), (os.POSIX_SPAWN_DUP2, said, 2)]
    status = wait_for(os.posix_spawn(ip, [ip, *options, "-batch", "-"], {"PATH": PATH}, file_actions=actions))
    words = b" ".join(os.pread(said, 4000, 0).split()).decode(errors="replace")
    os.close(script)
    os.close(said)
    if status != 0:
        raise BootError(f"ip: {words}")


def _become_sshd(machine: Machine) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.set_hostname(machine.hostname)
    os.setsid()
    log = os.open("/var/log/sshd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execve(machine.sshd, [machine.sshd, "-D", "-e"], {"PATH": PATH})
