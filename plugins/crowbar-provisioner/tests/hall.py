"""A hall of light machines: nodes of a lab that boot, are installed and restart as whole machines do, each at its own
pace, and a server of real processes, any of which can be killed.

A machine halts at each of ``MOMENTS`` that is closed for it, until that is opened; there its power can be cut, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from crowbar_lab import linux
from crowbar_lab.errors import LabError
from crowbar_lab.keys import make_key
from crowbar_lab.lab import Lab

from crowbar_core.client import Client, Target, Unreachable

from .light import Machine

T = TypeVar("T")
PORT = 8091
ROLE, DONE = "provisioner-os-install", "crowbar-installed-node"
IMAGE = bytes(range(256)) * 4096
WRITING = ("disk", "image", "check", "grow", "identity", "installed")
MOMENTS = ("script", "register", "disk", "image", "installed", "restart", "local")
"""Of an installation, each before the machine does it: it asks for its script, registers, begins the step of the
installer, restarts as it was told to, asks for its script once more."""
KEY = "/etc/ssh/ssh_host_ed25519_key"
OTHERS = ("network", "dns", "dhcp", "wizard", "example", "example-addresses", "inventory", "guestbook")
QUICK = {
    "LEASE_SECONDS": "3", "HEARTBEAT_SECONDS": "0.5", "LEADER_SECONDS": "3", "SWEEP_SECONDS": "0.5",
    "RING_SECONDS": "2", "PROBE_SECONDS": "3", "HTTP_THREADS": "8",
}  # fmt: skip
SECONDS = 150.0
CROWBAR = [sys.executable, "-m", "crowbar_core.cli"]


class Off(Exception):
    """Its power was cut."""


@dataclass
class LightMachine:
    """``at``: the moment before which it halts. ``writes``: how often an image was written to its disk, all of it;
    ``half``: that one was begun since, and not ended. ``waits``: why it was not answered last. ``jumps``: its next boot
    is one by kexec."""

    lab: Lab
    name: str
    closed: set[str] = field(default_factory=set)
    at: str = ""
    writes: int = 0
    half: bool = False
    problem: str = ""
    waits: str = ""
    jumps: bool = False

    def __post_init__(self) -> None:
        node = self.lab.node(self.name)
        self.serial = f"S{node.number}"
        self.node = f"d{node.mac.replace(':', '-')}.lab.test"
        self.machine = Machine((self._gateway(), PORT), [node.mac], serial=self.serial, key=node.host_key)
        self._over = threading.Event()
        self._booted = 0
        self._key, self._written = node.host_key, make_key()
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)
        self._thread.start()

    def open(self, *moments: str) -> None:
        self.closed -= set(moments or MOMENTS)

    def end(self) -> None:
        self._over.set()
        self._thread.join(30)

    # ---- its life

    def _live(self) -> None:
        while not self._over.is_set():
            try:
                node = self.lab.node(self.name)
                if node.powered and node.boots != self._booted:
                    self._booted = node.boots
                    self._boot()
            except Off:
                pass
            except LabError as problem:  # its power may have been cut while it was asked for something
                with contextlib.suppress(Off, LabError):
                    self._check()
                    self.problem = f"the lab failed it: {problem}"
            time.sleep(0.1)

    def _boot(self) -> None:
        machine, jumps = self.machine, self.jumps
        self.jumps = False
        if jumps:
            self._halt("came")
            self._inside_it("mount", "--bind", "/root/cmdline", "/proc/cmdline")
            self._runs_from_disk()
            return
        self._halt("local" if self.writes and not self.half else "script")
        self._patiently(lambda: self._inside(machine.power_on))
        machine.key = self._key
        if machine.env == "local":
            if self.half or not self.writes:
                self.problem = "it boots from a disk on which there is no system"
                return
            self._runs_from_disk()
            return
        if machine.env != "sledgehammer":
            self._halt("register")
        node = self.lab.node(self.name)
        machine.more = {"addresses": [f"{node.ipv4}/16"], "firmware": "bios"}
        self._ask("POST", "/v1/register", {"inventory": machine.inventory(), "host_keys": [machine.key]})
        self._ask("POST", "/v1/alive", {"alive": True})
        begun = ""
        while True:
            work = self._ask("GET", "/v1/work")["work"]
            if work is not None and work["do"] == "reboot":
                self._halt("restart")
                self.lab.power(self.name, "reset")
                return
            if work is not None and work["do"] == "kexec":
                self._jump(work)
                return
            if work is not None and work["id"] != begun:
                begun = work["id"]
                self._write(work)
            time.sleep(0.7)

    def _jump(self, work: Mapping[str, Any]) -> None:
        self._halt("kexec")
        boot = self._inside_it("cat", "/proc/sys/kernel/random/boot_id").strip()
        self._step(work, "kexec", "begun", boot=boot)
        self._halt("jumps")
        self._inside_it("sh", "-c", "echo root=LABEL=root crowbar.kexec >/root/cmdline")
        self.jumps = True
        self.lab.power(self.name, "reset")

    def _runs_from_disk(self) -> None:
        # Its sshd reads it for each connection.
        self.lab.console(self.name, ["tee", KEY], given=self._written.private, check=True)
        self._key = self._written.public

    def _inside_it(self, *program: str) -> str:
        return str(self.lab.console(self.name, program, check=True).stdout)

    def _write(self, work: Mapping[str, Any]) -> None:
        for step in WRITING:
            self._halt(step)
            more: dict[str, Any] = {}
            if step == "image":
                self._step(work, step, "begun")
                self.half = True
                more = self._take(work)
            if step == "identity":
                self._written = make_key()
                self.writes, self.half = self.writes + 1, False
            if step == "installed":
                more = {"host_keys": [self._written.public]}
            self._step(work, step, "done", **more)

    def _take(self, work: Mapping[str, Any]) -> dict[str, Any]:
        """What it says of it afterwards."""
        path = "/v1/images/" + work["image"]["url"].rpartition("/")[2]
        got = self._patiently(lambda: self._heard("GET", path))
        if hashlib.sha256(got.body).hexdigest() != work["image"]["sha256"]:
            self.problem = "it was given another image than was said"
        return {}

    def _step(self, work: Mapping[str, Any], step: str, state: str, **more: Any) -> None:
        self._ask("POST", "/v1/steps", {"id": work["id"], "step": step, "state": state, **more})

    # ---- how it does that

    def _halt(self, moment: str) -> None:
        while moment in self.closed:
            self.at = moment
            self._check()
            time.sleep(0.1)
        self.at = ""
        self._check()  # its power may have been cut just before it was let go on

    def _check(self) -> None:
        node = self.lab.node(self.name)
        if self._over.is_set() or not node.powered or node.boots != self._booted:
            self.at = ""
            raise Off

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self._patiently(lambda: self._heard(method, path, body)).json

    def _heard(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._inside(lambda: self.machine.ask(method, path, body))
        assert answer.status == 200, f"{answer.status} {answer.text}"
        return answer

    def _patiently(self, do: Callable[[], T]) -> T:
        """As the agent and iPXE: until it is answered, or the power is cut."""
        while True:
            self._check()
            try:
                return do()
            except (OSError, http.client.HTTPException, AssertionError) as problem:
                self.waits = str(problem)
                time.sleep(0.2)

    def _inside(self, do: Callable[[], T]) -> T:
        """In the network that the node has since its last boot."""
        pid = self.lab.node(self.name).pid
        if pid is None:
            raise Off
        try:
            network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        except FileNotFoundError:
            raise Off from None
        try:
            linux.setns(network, linux.CLONE_NEWNET)
        finally:
            os.close(network)
        answered = threading.Event()
        threading.Thread(target=self._hang_up_when_off, args=(answered,), daemon=True).start()
        try:
            return do()
        finally:
            answered.set()

    def _hang_up_when_off(self, answered: threading.Event) -> None:
        """Nothing tells whoever waits for an answer that its network has gone with its power."""
        while not answered.wait(0.5):
            try:
                self._check()
            except Off:
                self.machine.hang_up()

    def _gateway(self) -> str:
        return self.lab.nodes[0].ipv4


# ---------------------------------------------------------------- the server


@dataclass
class Server:
    """Crowbar on the lab's admin node, in the processes that ``kinds`` names: "serve", or "web", "annealer" and
    "service".
    """

    lab: Lab
    home: Path
    kinds: tuple[str, ...]
    database: str = ""
    wrapper: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.door = socket.create_server(("127.0.0.1", 0))
        made = subprocess.run(
            [*CROWBAR, "db", "upgrade", "--format", "json"], env=self.environment, capture_output=True, text=True,
            timeout=120, check=True,
        )  # fmt: skip
        url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        password = json.loads(made.stdout)["admin_password"]
        self.api = Client(Target(url=url, user="admin", password=password, direct=True))

    @property
    def environment(self) -> dict[str, str]:
        said = {
            **QUICK, "DATA_DIR": str(self.home / "data"), "DISABLED_BARCLAMPS": ",".join(OTHERS),
            "JIG_SCRIPT_KEY_FILE": str(self.lab.private_key), "PLUGINS__PROVISIONER__LISTEN": f"0.0.0.0:{PORT}",
            "PLUGINS__PROVISIONER__FILES": str(self.home / "files"), "PLUGINS__PROVISIONER__DOMAIN": "lab.test",
            **({"DATABASE_URL": self.database} if self.database else {}), **self.settings,
        }  # fmt: skip
        kept = {name: value for name, value in self.lab.environment.items() if not name.startswith("CROWBAR_")}
        marks = {name: value for name, value in self.lab.environment.items() if "LAB" in name}
        return {**kept, **marks, **{f"CROWBAR_{name}": value for name, value in said.items()}}

    def start(self) -> None:
        """Those of its processes that do not run; returns when the API and the boot service answer."""
        for kind in self.kinds:
            if kind not in self.processes or self.processes[kind].poll() is not None:
                words = {"service": ["provisioner-boot"], "annealer": []}.get(
                    kind, ["--listen", f"fd://{self.door.fileno()}"]
                )
                with (self.home / f"{kind}.log").open("ab") as log:
                    command = ["setpriv", "--pdeathsig=KILL", "--", *self.wrapper, *CROWBAR, kind, *words]
                    self.processes[kind] = self.lab.popen(
                        command, at=self.lab.nodes[0].name,
                        env=self.environment, pass_fds=(self.door.fileno(),), stdin=subprocess.DEVNULL, stdout=log,
                        stderr=log, cwd="/", start_new_session=True,
                    )  # fmt: skip
        self.wait(lambda: self.api.outside("readyz", accept=(503,))[0] == 200 and self.pid_of("boot"), "the server")

    def wait(self, question: Callable[[], T], what: str, told: Callable[[], str] = lambda: "") -> T:
        """The first true answer; one that is down meanwhile is asked again."""
        until = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(Unreachable):
                if answer := question():
                    return answer
            assert time.monotonic() < until, f"{what}: {told()}\n{self.story()}"
            time.sleep(0.1)

    def story(self) -> str:
        return "\n".join(f"--- {one}\n{(self.home / f'{one}.log').read_text()[-3000:]}" for one in self.kinds)

    def pid_of(self, what: str) -> int | None:
        """Of "server" (where the API is), "annealer" or "boot" (the boot service)."""
        kind = {"server": "web", "annealer": "annealer", "boot": "service provisioner-boot"}[what]
        found = [one["pid"] for one in self.api.rows("processes") if kind in one["kinds"] and is_alive(one["pid"])]
        return found[-1] if found else None

    def kill(self, what: str) -> None:
        """kill -9: "all" of it at once, "server", "annealer" or "boot"; what does not come again by itself is started
        again. Returns when all of it is at work.
        """
        pid: int | None = None
        if what == "all":
            what = "server"
            for one in self.processes.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGKILL)
                one.wait(60)
        else:
            pid = self.pid_of(what)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            for one in self.processes.values():
                if one.pid == pid:
                    one.wait(60)
        self.start()
        self.wait(lambda: self.pid_of(what) not in (pid, None), f"{what} comes again")

    def close(self) -> None:
        for one in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait(60)
        self.api.close()
        self.door.close()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---------------------------------------------------------------- all of it


@dataclass
class Hall:
    lab: Lab
    server: Server
    machines: list[LightMachine] = field(default_factory=list)

    @property
    def api(self) -> Client:
        return self.server.api

    def add(self, count: int, kind: Callable[[Lab, str], LightMachine] = LightMachine) -> list[LightMachine]:
        """More machines: in the discovery image, accepted and managed, with a hammer each."""
        made = [kind(self.lab, self.lab.add_node().name) for _ in range(count)]
        self.machines += made
        for one in made:
            self.server.wait(partial(self.is_active, "crowbar-managed-node", one), one.node, self.told)
            config = {"lab": self.lab.name, "node": one.name, "state_dir": str(self.lab.directory.parent)}
            self.api.post("hammers", body={"node_id": one.node, "name": "lab", "config": config})
        return made

    def halted(self) -> dict[str, LightMachine]:
        """New machines that are being installed, each of which has halted at another moment."""
        made = dict(zip(MOMENTS, self.add(len(MOMENTS)), strict=True))
        for moment, one in made.items():
            one.closed = {moment}
        self.install(*made.values())
        for moment, one in made.items():
            self.server.wait(partial(_is_at, one, moment), f"{one.node} at {moment}", self.told)
        return made

    def install(self, *machines: LightMachine, kexec: bool = False) -> None:
        for one in machines:
            for role in (ROLE, DONE):
                made = self.api.post("node_roles", body={"node_id": one.node, "role_id": role})
                if role == ROLE:  # every step, from power-on
                    self.api.put("node_roles", made["id"], "attribs", "provisioner-reset", body={"value": True})
                    self.api.put("node_roles", made["id"], "attribs", "provisioner-kexec", body={"value": kexec})
        self.api.put("deployments", "system", "commit")

    def state(self, role: str, machine: LightMachine) -> str:
        found = self.api.rows("node_roles", query={"role": role, "node": machine.node})
        return next((str(one["state_name"]) for one in found), "")

    def is_active(self, role: str, machine: LightMachine) -> bool:
        return self.state(role, machine) == "ACTIVE"

    def runs(self, machine: LightMachine) -> list[dict[str, Any]]:
        found = self.api.rows("runs", query={"node": machine.node, "role": ROLE})
        return sorted((self.api.get("runs", one["id"]) for one in found), key=lambda one: int(one["id"]))

    def step(self, machine: LightMachine) -> str:
        """The one that its run waits in; the run's state, where it has ended."""
        run = self.runs(machine)[-1]
        return str(run["timeline"][-1]["name"]) if run["pending"] and run["timeline"] else str(run["state"])

    def told(self) -> str:
        lines = []
        for one in self.machines:
            lines.append(f"{one.node}: at {one.at or 'no moment'}, {one.writes} writes {one.problem} {one.waits}")
            for run in self.runs(one):
                lines.append(f"run {run['id']} {run['state']} {run['exit_reason']} pending {run['pending']}")
            found = self.api.get("machines", one.node, query={"fields": "timeline"})["timeline"]
            lines += [f"    {line['at']} {line['what']} {line['detail']}" for line in found[-6:]]
        for row in self.api.rows("node_roles"):
            if row["state_name"] != "ACTIVE":
                lines.append(f"{row['node']} {row['role']} {row['state_name']} {row['status']}")
        return "\n".join(lines)


def passed(run: Mapping[str, Any]) -> list[str]:
    """The steps of its timeline, with "leaving": all pass it, and wait in it where local is not served at once."""
    names = [each["name"] for each in run["timeline"]]
    if "installing" in names and "leaving" not in names:
        names.insert(names.index("installing") + 1, "leaving")
    return names


def _is_at(machine: LightMachine, moment: str) -> bool:
    return machine.at == moment


@contextlib.contextmanager
def hall(
    home: Path, *, kinds: tuple[str, ...] = ("serve",), database: str = "", wrapper: tuple[str, ...] = (),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Hall]:  # fmt: skip
    """Without machines. ``wrapper``: the words before those that start a process of the server."""
    with contextlib.ExitStack() as made:
        lab = made.enter_context(
            Lab.create(f"hall-{os.getpid()}", nodes=1, state_dir=home / "lab", owner=os.getpid())
        )  # fmt: skip
        for part in ("images", "sledgehammer"):
            (home / "files" / part).mkdir(parents=True)
        (home / "files/images/debian-12.raw").write_bytes(IMAGE)
        said = {
            "os": "debian-12", "file": "debian-12.raw", "format": "raw", "sha256": hashlib.sha256(IMAGE).hexdigest(),
            "size": len(IMAGE), "disk_size": len(IMAGE), "root_partition": 3, "root_fs": "ext4",
        }  # fmt: skip
        (home / "files/images/debian-12.json").write_text(json.dumps(said))
        server = Server(lab, home, kinds, database, wrapper, settings)
        made.callback(server.close)
        server.start()
        server.api.post("accept_rules", body={"name": "all", "subnet": str(lab.describe()["ipv4"])})
        found = Hall(lab, server)
        made.callback(lambda: [one.end() for one in found.machines])
        yield found
