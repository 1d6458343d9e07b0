"""Labs: make one, find one, act on its nodes, remove it without leaving anything.

    with Lab.create("demo", nodes=3) as lab:
        lab.exec(["ping", "-c1", lab.nodes[1].ipv4], check=True)
        lab.power("node-1", "reset")

A lab outlives the process that made it; ``Lab.load`` finds it again and ``Lab.remove`` clears it away, whatever
state it is in. All that a lab has on the host is one process (see ``keeper``) and one directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crowbar_lab import linux
from crowbar_lab.directory import ask, check_path, claim, closed, lock_taken_from_keeper, read_json, write_private
from crowbar_lab.errors import LabError, LabNotFound, LabUnavailable
from crowbar_lab.guests import LAB_ID_VARIABLE, end_guests
from crowbar_lab.host import RUN, SEARCH_PATH, TOOLS, check_host, check_root, default_state_dir, find_tool
from crowbar_lab.keys import make_key
from crowbar_lab.plan import (
    Place,
    Subnets,
    card_macs,
    check_cards,
    check_lab_name,
    check_node_name,
    check_port,
    place,
    places,
    subnets,
)
from crowbar_lab.vms import LabVm, add_vms, find_vm, vms_of

PER_REQUEST = 50
START_SECONDS = {"host": 60.0, "uml": 180.0}

ACTIONS = ("on", "off", "reset", "status")


@dataclass(frozen=True, kw_only=True)
class LabNode:
    """A node of a lab as it stood when it was asked for."""

    number: int
    name: str
    admin: bool
    ipv4: str
    ipv6: str
    mac: str
    host_key: str
    """Public, ``ssh-ed25519 AAAA...``."""
    powered: bool
    pid: int | None
    """Its first process, as the host counts; None when it is off, or the lab has a kernel of its own."""
    boots: int
    cards: Sequence[dict[str, Any]] = ()
    """What it has besides eth0, in a lab with a kernel of its own: ``name``, ``mac`` and how the switch treats it:
    ``cable`` (is it in?), ``vlan``, ``tagged``, ``lacp``, ``mtu``."""


class Lab:
    """A lab that stands. ``directory`` holds its description, ``lab.json``, and root's key for the nodes."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory

    def __repr__(self) -> str:
        return f"Lab({self.name!r}, {str(self.directory)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    # ---- making and finding

    @classmethod
    def create(
        cls,
        name: str,
        *,
        nodes: int = 4,
        state_dir: Path | None = None,
        authorized_keys: Sequence[str] = (),
        domain: str = "lab.test",
        ipv4: str = "10.77.0.0/16",
        ipv6: str = "fd00:77::/64",
        hide: Sequence[Path] = (),
        kernel: str = "host",
        cards: int = 0,
        owner: int | None = None,
    ) -> Lab:
        """Make a lab; the first of its ``nodes`` is the admin node.

        With the ``kernel`` "uml" the nodes share one of their own, User Mode Linux, which has bonds and VLANs; each of
        them then has ``cards`` besides eth0, called eth1 and so on, at a switch (see ``cable`` and ``port``).

        Without ``authorized_keys`` the lab makes a key pair of its own, ``id_ed25519`` in its directory. ``hide`` names
        paths of the host that no node may see, over those that are hidden anyway. With an ``owner``, a process, the lab
        ends when that ends, however that was. On any error nothing is left.
        """
        check_lab_name(name)
        nets = subnets(ipv4, ipv6)
        if nodes < 0:
            raise LabError(f"A lab cannot have {nodes} nodes.")
        wanted_places = places(nodes, nets, domain=domain)
        check_cards(cards, kernel)
        tools = check_host(kernel)
        directory = (state_dir or default_state_dir()).absolute() / name
        check_path(directory)
        lock = claim(name, directory, lambda: cls.remove(name, state_dir=state_dir))
        lab = cls(name, directory)
        try:
            keys = list(authorized_keys)
            if not keys:
                pair = make_key()
                keys.append(f"{pair.public} root@{name}")
                write_private(directory / "id_ed25519", pair.private)
                (directory / "id_ed25519.pub").write_text(f"{keys[0]}\n")
            order = _order(name, domain, nets, keys, not authorized_keys, hide, kernel, cards, tools)
            lab._start_keeper(order | {"owner": owner}, lock)
            lock = closed(lock)
            lab._add(wanted_places, cards)
        except BaseException:
            closed(lock)
            cls.remove(name, state_dir=state_dir)
            raise
        return lab

    @classmethod
    def load(cls, name: str, *, state_dir: Path | None = None) -> Lab:
        """The lab of this name. ``LabNotFound`` when there is none, or only its remains."""
        directory = (state_dir or default_state_dir()).absolute() / check_lab_name(name)
        lab = cls(name, directory)
        if not directory.is_dir():
            raise LabNotFound(f"There is no lab {name}: make it with `crowbar lab up --name {name}`.")
        lab.describe()
        return lab

    @classmethod
    def names(cls, *, state_dir: Path | None = None) -> list[str]:
        """The labs that there are, standing or in remains."""
        directory = state_dir or default_state_dir()
        return sorted(found.parent.name for found in directory.glob("*/lock")) if directory.is_dir() else []

    # ---- looking

    def describe(self) -> dict[str, Any]:
        """The lab's description, as in lab.json. ``LabNotFound`` when the lab does not stand (any more)."""
        try:
            described: dict[str, Any] = json.loads((self.directory / "lab.json").read_text())
        except PermissionError as error:
            raise LabUnavailable(f"The lab {self.name} belongs to root: run the command with sudo.") from error
        except FileNotFoundError:
            described = {}
        if not described or linux.started(described["keeper"]) != described["keeper_started"]:
            raise LabNotFound(
                f"The lab {self.name} does not run any more: "
                f"clear its remains with `crowbar lab down --name {self.name}`."
            )
        return described

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        """The nodes as they stand now, the admin node first."""
        return tuple(LabNode(**node) for node in self.describe()["nodes"])

    def node(self, name: str) -> LabNode:
        """The node with this name, or with this host name."""
        nodes = self.nodes
        for node in nodes:
            if name.lower() in (node.name, node.name.partition(".")[0]):
                return node
        known = ", ".join(node.name for node in nodes[:5]) + (", ..." if len(nodes) > 5 else "")
        raise LabNotFound(f"There is no node {name} in the lab {self.name}, which has: {known or 'none'}.")

    @property
    def vms(self) -> tuple[LabVm, ...]:
        """The virtual machines."""
        return tuple(vms_of(self))

    def vm(self, name: str) -> LabVm:
        """The virtual machine with this name, or with this host name."""
        return find_vm(self, name)

    def is_vm(self, name: str) -> bool:
        return any(name.lower() in (vm.name, vm.name.partition(".")[0]) for vm in self.vms)

    @property
    def namespace(self) -> str:
        """The lab's network namespace as a file, for ``setns`` and ``nsenter --net=``. From there nodes are reached."""
        return f"/proc/{self.describe()['keeper']}/ns/net"

    @property
    def private_key(self) -> Path | None:
        """Root's private key on the nodes, when the lab has made it."""
        return self.directory / "id_ed25519" if self.describe()["private_key"] else None

    # ---- acting

    def add_node(self, name: str | None = None) -> LabNode:
        """Make and boot one more node."""
        described = self.describe()
        nets = Subnets(**_networks(described))
        number = 1 + max((node["number"] for node in described["nodes"]), default=-1)
        wanted = place(number, nets, domain=described["domain"], name=check_node_name(name) if name else None)
        return self._add([wanted], described["cards"])[0]

    def add_vms(self, count: int, **wishes: Any) -> list[LabVm]:
        """Make virtual machines, which are off: see ``vms.add_vms``."""
        return add_vms(self, count, **wishes)

    def power(self, node: str, action: str) -> str:
        """``on``, ``off`` (as if the plug were pulled), ``reset`` (both) or ``status``; returns on or off.

        For virtual machines as well. It returns when it is so: no process of a node that is off is left, and the sshd
        of one that is on listens. What a node has on disk stays; /run, /tmp and /dev are new at each boot.
        """
        if self.is_vm(node):
            return self.vm(node).power(action)
        found = self.node(node)
        if action == "status":
            return "on" if found.powered else "off"
        if action not in ACTIONS:
            raise LabError(
                f"A node's power can be turned on, off or reset, or its status asked for; {action!r} is none of these."
            )
        return "on" if self.request(do="power", node=found.name, action=action)["powered"] else "off"

    def enter(self, argv: Sequence[str], *, at: str = "") -> list[str]:
        """The command line that runs ``argv`` inside the lab's network namespace, or that of the node ``at``, with the
        host's files.
        """
        namespace = self.namespace
        if at:
            pid = self.node(at).pid
            if pid is None:
                raise LabError(f"{at} has no network of its own now: it is off, or the lab has a kernel of its own.")
            namespace = f"/proc/{pid}/ns/net"
        return [find_tool("nsenter", TOOLS["nsenter"]), f"--net={namespace}", "--", *argv]

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with a mark by which ``destroy`` knows what belongs to the lab."""
        return {**os.environ, LAB_ID_VARIABLE: str(self.describe()["id"])}

    def exec(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """``subprocess.run`` inside the lab's network namespace, where Crowbar's server runs and reaches the nodes."""
        options.setdefault("env", self.environment)
        return subprocess.run(self.enter(argv), **options)

    def popen(self, argv: Sequence[str], *, at: str = "", **options: Any) -> subprocess.Popen[Any]:
        """``subprocess.Popen`` inside the lab's network namespace, or that of the node ``at``."""
        options.setdefault("env", self.environment)
        return subprocess.Popen(self.enter(argv, at=at), **options)

    def ssh(self, node: str, argv: Sequence[str] = (), *, options: Sequence[str] = ()) -> list[str]:
        """The command line for ``exec`` that logs in to the node as root, sure of its host key."""
        found = self.node(node)
        known = self.directory / "known_hosts"
        lines = [f"{one.name},{one.ipv4},{one.ipv6} {one.host_key}" for one in self.nodes]
        write_private(known, "".join(f"{line}\n" for line in lines))
        command = [find_tool("ssh", "openssh-client"), "-F", "none", "-o", f"UserKnownHostsFile={known}"]
        command += ["-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"]
        if key := self.private_key:
            command += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
        return [*command, *options, f"root@{found.ipv4}", *(["--", *argv] if argv else [])]

    def console(
        self, node: str, argv: Sequence[str], *, given: str = "", check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as root on a node that is on, as if at its console: the node's network has no part in it.

        ``given`` is its input. It must end within 120 s, and the lab does nothing else meanwhile.
        """
        found = self.node(node)
        done = self.request(do="console", node=found.name, argv=list(argv), input=given)
        return _completed(argv, done, check=check, where=f"on {found.name}")

    # ---- the switch, in a lab with a kernel of its own

    def cable(self, node: str, nic: str, *, up: bool) -> None:
        """Put the cable of a node's card in, or pull it: the card then has no carrier. It stays so over a power-off."""
        self._ask_switch(do="cable", node=self.node(node).name, nic=nic, up=up)

    def port(
        self,
        node: str,
        nic: str,
        *,
        vlan: int | None = None,
        tagged: Sequence[int] | None = None,
        lacp: int | bool | None = None,
        mtu: int | None = None,
    ) -> None:
        """Set how the switch treats a node's card; what is None stays as it is.

        ``vlan`` is that of untagged frames, 0 for none; ``tagged`` are all VLANs that come with a tag. ``lacp`` is the
        node's group of ports that the card is in: True or 1, or another number for a second one; False or 0 for none.
        What is set at one port of a group holds for all. A port without a setting has the VLAN 1 and an MTU of 1,500.
        """
        found = self.node(node).name
        asked = check_port(vlan=vlan, tagged=tagged, lacp=lacp, mtu=mtu)
        self._ask_switch(do="port", node=found, nic=nic, port=asked)

    def run_in_switch(
        self, argv: Sequence[str], *, given: str = "", check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the switch's network namespace, with ``given`` as its input; it must end within 120 s.

        The bridge is called sw0, and the port of node number 2 and its card eth1 n2-eth1.
        """
        done = self._ask_switch(do="switch", argv=list(argv), input=given)
        return _completed(argv, done, check=check, where="in the switch")

    def _ask_switch(self, **request: Any) -> dict[str, Any]:
        if self.describe()["kernel"] != "uml":
            raise LabError(f"The lab {self.name} has no switch: make it with --kernel uml.")
        return self.request(**request)

    # ---- removing

    def destroy(self) -> None:
        """Remove the lab; nothing of it is left, nor of what was started inside it with ``exec``. Twice is once."""
        type(self).remove(self.name, state_dir=self.directory.parent)

    @classmethod
    def remove(cls, name: str, *, state_dir: Path | None = None) -> bool:
        """Remove a lab in whatever state it is, by its name; False when there was nothing."""
        base = (state_dir or default_state_dir()).absolute()
        directory = base / check_lab_name(name)
        if not directory.is_dir():
            return False
        check_root()
        if not (directory / "lock").exists() and any(directory.iterdir()):
            raise LabError(f"{directory} is not the directory of a lab: it is left as it is.")
        described = read_json(directory / "lab.json")
        keeper = read_json(directory / "keeper.json")
        end_guests(described, keeper)
        with lock_taken_from_keeper(directory):
            shutil.rmtree(directory)
        if base == RUN:
            with contextlib.suppress(OSError):
                base.rmdir()
        return True

    # ---- talking to the keeper

    def _start_keeper(self, order: Mapping[str, Any], lock: int) -> None:
        package = str(Path(__file__).parent.parent)
        starter = subprocess.Popen(
            [sys.executable, "-m", "crowbar_lab.keeper", str(self.directory), str(lock)],
            pass_fds=(lock,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": SEARCH_PATH, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        seconds = START_SECONDS[order["kernel"]]
        try:
            said, complaint = starter.communicate(json.dumps(order).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise LabUnavailable(f"The lab's keeper was not ready within {seconds:g} s.") from None
        try:
            answer = json.loads(said)
        except ValueError:
            last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise LabUnavailable(f"The lab's keeper did not start ({last[0]}).") from None
        if "unavailable" in answer:
            raise LabUnavailable(f"No lab can be made: {answer['unavailable']}")

    def _add(self, wanted: Sequence[Place], cards: int) -> list[LabNode]:
        added: list[LabNode] = []
        for first in range(0, len(wanted), PER_REQUEST):
            orders = []
            for one in wanted[first : first + PER_REQUEST]:
                pair = make_key()
                addresses = {"ipv4": one.ipv4, "ipv6": one.ipv6, "mac": one.mac}
                keys = {"host_key": pair.public, "private_key": pair.private}
                orders.append({"number": one.number, "name": one.name, "admin": one.admin, **addresses, **keys})
                orders[-1]["cards"] = card_macs(one, cards)
            added += [LabNode(**node) for node in self.request(do="add", nodes=orders)["nodes"]]
        return added

    def request(self, **request: Any) -> dict[str, Any]:
        """Ask the keeper. ``LabError`` has its words."""
        return ask(self.directory, "socket", request, whom=f"The lab {self.name}", lab=self.name)


def _completed(
    argv: Sequence[str], done: Mapping[str, Any], *, check: bool, where: str
) -> subprocess.CompletedProcess[str]:
    if check and done["returncode"] != 0:
        raise LabError(f"{argv[0]} failed {where} with exit code {done['returncode']}: {done['stderr'].strip()}")
    return subprocess.CompletedProcess(list(argv), done["returncode"], done["stdout"], done["stderr"])


def _order(
    name: str,
    domain: str,
    nets: Subnets,
    keys: Sequence[str],
    private_key: bool,
    hide: Sequence[Path],
    kernel: str,
    cards: int,
    tools: Mapping[str, str],
) -> dict[str, Any]:
    """What the keeper is told on its standard input."""
    return {
        "name": name,
        "id": secrets.token_hex(16),
        "domain": domain,
        "kernel": kernel,
        "cards": cards,
        "ipv4": str(nets.ipv4),
        "ipv6": str(nets.ipv6),
        "server_ipv4": f"{nets.server_ipv4}/{nets.ipv4.prefixlen}",
        "server_ipv6": f"{nets.server_ipv6}/{nets.ipv6.prefixlen}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "private_key": private_key,
        "authorized_keys": list(keys),
        "hide": [str(path.absolute()) for path in hide],
        **tools,
    }


def _networks(described: Mapping[str, Any]) -> dict[str, Any]:
    nets = subnets(described["ipv4"], described["ipv6"])
    return {"ipv4": nets.ipv4, "ipv6": nets.ipv6}
