"""``crowbar demo``: the main job from nothing to ACTIVE, on a lab of its own, and nothing left of it afterwards.

It only does what an operator could do by hand: it runs the commands `crowbar db upgrade` and `crowbar serve`, and asks
the server over REST.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from crowbar_core import CrowbarError
from crowbar_core.client import Client, Target
from crowbar_lab import demo_network, demo_vms, server
from crowbar_lab.demo_names import Names
from crowbar_lab.demo_network import Scene
from crowbar_lab.demo_progress import Progress
from crowbar_lab.demo_signals import Stopped, Terminable
from crowbar_lab.demo_vms import Cells, Machines
from crowbar_lab.errors import LabError
from crowbar_lab.host import check_host, missing_for_rack
from crowbar_lab.lab import Lab
from crowbar_lab.registration import register
from crowbar_lab.server import plain

PREFIX = "demo-"
DEPLOYMENT = "demo"
BARCLAMP = "example"
PAUSE = 0.25

GLYPHS: Mapping[str, tuple[str, str]] = {
    "ACTIVE": ("✓", "green"),
    "TODO": ("○", "cyan"),
    "TRANSITION": ("◐", "yellow"),
    "BLOCKED": ("⊘", "blue"),
    "PROPOSED": ("◇", "magenta"),
    "ERROR": ("✕", "red"),
}


class DemoFailed(LabError):
    """The demo could not do its job; the message says which part and why."""

    code = "demo"


@dataclass
class _Story:
    """Tells what happens, with the seconds since the start: on stderr, so that the table has stdout to itself."""

    started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def tell(self, text: str) -> None:
        click.echo(f"{self.seconds():6.1f} s  {plain(text)}", err=True)


@click.command("demo")
@click.option("--exit", "leaves", is_flag=True, help="End when all is ACTIVE (exit 0) or something is not (exit 1).")
@click.option(
    "--nodes",
    type=click.IntRange(1, 99),
    show_default="3, with --network 2",
    help="Nodes besides the admin node.",
)
@click.option("--barclamp", default=BARCLAMP, show_default=True, help="Whose roles are bound to the nodes.")
@click.option("--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds until ACTIVE.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, and say how to remove it.")
@click.option(
    "--network",
    is_flag=True,
    help="Nodes with three cards each (User Mode Linux), a second network, bonded and tagged, and a broken change of it"
    " that every node takes back before your eyes.",
)
@click.option(
    "--vms", type=click.IntRange(1, 8), metavar="N",
    help="So many bare virtual machines instead of light nodes, from power-on to installed nodes.",
)  # fmt: skip
def demo(
    leaves: bool, nodes: int | None, barclamp: str, timeout: float, keep: bool, network: bool, vms: int | None
) -> None:
    """Show the main job: a lab of one admin node and more, a deployment, and its annealing, live. Needs root.

    Stays until Ctrl-C, which removes all that it made.
    """
    if vms and (nodes or network):
        raise click.UsageError("--vms has machines instead of light nodes: leave --nodes and --network out.")
    code = 1
    with Terminable() as signals:
        try:
            shown = _Demo(
                signals,
                nodes=nodes or (2 if network else 3),
                barclamp=barclamp,
                timeout=timeout,
                leaves=leaves,
                keep=keep,
                network=network,
                vms=vms or 0,
            )
            code = shown.play()
        except KeyboardInterrupt:
            code = 130
        except Stopped:
            code = 143
        except CrowbarError as error:
            click.echo(f"Error: {plain(error.detail)}", err=True)
    raise click.exceptions.Exit(code)


class _Demo:
    def __init__(
        self,
        signals: Terminable,
        *,
        nodes: int,
        barclamp: str,
        timeout: float,
        leaves: bool,
        keep: bool,
        network: bool,
        vms: int = 0,
    ) -> None:
        self.vms = vms
        self.signals = signals
        self.nodes = nodes
        self.barclamp = barclamp
        self.timeout = timeout
        self.leaves = leaves
        self.keep = keep
        self.network = network
        self.scene: Scene | None = None
        self.names: Names | None = None
        self.story = _Story()
        self.name = f"{PREFIX}{os.getpid()}"
        self.directory = Path()

    def play(self) -> int:
        """All of it; returns the exit code. Whatever happens, what was made is removed."""
        check_host()
        _remove_orphans()
        made = contextlib.ExitStack()
        try:
            try:
                return self._perform(made)
            finally:
                self.signals.over()
        finally:
            # A signal that came before ``over`` was the one that ended us; none comes between us and this.
            if self.keep:
                self.story.tell(f"Kept. Remove it with: crowbar lab down --name {self.name}; rm -r {self.directory}")
            else:
                self.story.tell("Removing the demo.")
                made.close()
                self.story.tell("Nothing of the demo is left.")

    def _perform(self, made: contextlib.ExitStack) -> int:
        with self.signals.held():
            self.directory = Path(tempfile.mkdtemp(prefix=f"crowbar-{self.name}-"))
            made.callback(shutil.rmtree, self.directory, ignore_errors=True)
        machines = Machines(self.directory, self.vms, self.story.tell) if self.vms else None
        if machines is not None:
            machines.check()
            machines.build(server.crowbar())
        hardware = self._hardware()
        light = 0 if machines is not None else self.nodes
        self.story.tell(f"Making a lab, one admin node{f' and {light} more' if light else ''}, and a database.")
        with self.signals.held():
            database = server.begin_database(self.directory)
            made.callback(server.end, database)
        made.callback(Lab.remove, self.name)  # by name: it also clears what is half made
        lab = Lab.create(self.name, nodes=light + 1, hide=(self.directory,), **hardware)
        password = server.admin_password(database)
        self.story.tell("Starting the server in the lab's network.")
        with self.signals.held():
            process, url = server.start(lab, self.directory, **self._where(lab, machines))
            made.callback(server.end, process)
        seat = Target(url=url, user="admin", password=password, direct=True)
        api = Client(seat)
        made.callback(api.close)
        server.wait_ready(process, api, self.directory)
        self.story.tell(f"The server is ready: {url}  (user admin, password {password})")
        if machines is not None:
            done = self._boot(machines, lab, api, process)
        else:
            done = self._anneal(lab, api, seat, process)
        if not done:
            return self._tell_why(api)
        if self.leaves or self.keep:
            return 0
        self.story.tell(f"Look around at {url} (user admin, password {password}). Ctrl-C ends the demo and removes it.")
        return self._stay(process)

    def _anneal(self, lab: Lab, api: Client, seat: Target, process: subprocess.Popen[bytes]) -> bool:
        names = self._prepare(lab, api, seat)
        began = time.monotonic()
        api.put("deployments", DEPLOYMENT, "commit")
        self.story.tell("Committed. The annealer is at work.")
        if not self._watch(api, process):
            return False
        took = time.monotonic() - began
        self.story.tell(f"All is ACTIVE: {took:.1f} s after the commit, {self.story.seconds():.1f} s after the start.")
        if self.names is not None:
            self.names.look(seat.url)
        return self.scene is None or self._break_and_mend(self.scene, api, process, names)

    # ---- machines

    def _where(self, lab: Lab, machines: Machines | None) -> dict[str, Any]:
        """What the server is told, and in whose network it is."""
        if machines is not None:
            return {"settings": machines.settings, "at": lab.nodes[0].name}
        return {"settings": demo_network.SETTINGS if self.network else None}

    def _boot(self, machines: Machines, lab: Lab, api: Client, process: subprocess.Popen[bytes]) -> bool:
        machines.answer(lab, api)
        if not self._watch(api, process):
            return False
        self.story.tell("This server is ready for machines.")
        began = time.monotonic()
        machines.switch_on(lab)
        if not self._watch(api, process, until=machines.are_managed):
            return False
        self.story.tell(f"All are managed: {time.monotonic() - began:.1f} s after they were switched on.")
        machines.tell_of(api)
        machines.install(api)
        self.story.tell("Debian is written to their disks, which takes some minutes; their pages show each step.")
        progress = Progress(api, machines.names(api), self.story.tell)

        def are_installed(cells: Cells) -> bool:
            progress.look()
            return machines.are_installed(cells)

        if not self._watch(api, process, until=are_installed):
            return False
        self.story.tell(f"All run from their disks: {time.monotonic() - began:.1f} s after they were switched on.")
        machines.bind(api, DEPLOYMENT, [role for role, _ in self._roles(api)])
        if not self._watch(api, process):
            return False
        machines.tell_timelines(api)
        machines.tell_of(api)
        return True

    # ---- the second network

    def _hardware(self) -> dict[str, Any]:
        """What the lab has besides: a kernel of its own, and cards at a switch. Without the packages for it the demo
        goes on without the second network.
        """
        if not self.network:
            return {}
        if lacking := missing_for_rack():
            self.network = False
            self.story.tell(
                "There is no second network: nodes with several cards need User Mode Linux, which is not installed"
                f" (apt-get install {' '.join(lacking)}). The demo goes on with one card each."
            )
            return {}
        return {"kernel": "uml", "cards": demo_network.CARDS}

    def _break_and_mend(
        self, scene: Scene, api: Client, process: subprocess.Popen[bytes], names: Sequence[str]
    ) -> bool:
        scene.look(names)
        if not scene.break_it(names):
            return False
        self._settle(api)
        scene.mend()
        if not self._watch(api, process):
            return False
        self.story.tell("All is ACTIVE again.")
        return True

    def _settle(self, api: Client) -> None:
        """Until the others have failed as well."""
        deadline = time.monotonic() + self.timeout
        while api.get("anneal", accept=(409,))["state"] == "working" and time.monotonic() < deadline:
            time.sleep(PAUSE)

    # ---- the deployment

    def _prepare(self, lab: Lab, api: Client, seat: Target) -> list[str]:
        names = register(lab, seat)
        self.story.tell(f"Registered {', '.join(names)}.")
        for name in names:
            found = api.put("nodes", name, "probe")
            if not found["alive"]:
                raise DemoFailed(f"Node {name} does not answer: {found['reason'] or 'no barclamp could test it'}.")
        self.story.tell(f"All {len(names)} nodes answer ping and let root in.")
        roles = self._roles(api)
        api.post("deployments", body={"name": DEPLOYMENT, "description": "What `crowbar demo` shows."})
        for role, where in roles:
            for name in names if where == "everywhere" else names[:1]:
                body = {"node_id": name, "role_id": role, "deployment_id": DEPLOYMENT}
                if not list(api.rows("node_roles", query={"node": name, "role": role})):
                    api.post("node_roles", body=body)
        if any(api.rows("roles", query={"barclamp": "network"})):
            roles += [(self._bind(api, network, names), "everywhere") for network in self._networks(lab, api)]
        elif self.network:
            raise DemoFailed("--network shows the barclamp network, which is missing: `pip install crowbar-network`.")
        if not self.network:
            self.names = Names(lab, api, self.story.tell, lambda line: click.echo(f"          {plain(line)}"))
            roles += self.names.prepare(DEPLOYMENT, names[0])
        told = ", ".join(f"{role} {where}" for role, where in roles)
        self.story.tell(f"Bound in deployment {DEPLOYMENT}: {told}.")
        plan = api.get("deployments", DEPLOYMENT, "plan")
        self.story.tell(f"The plan {plan['id']}: {len(plan['steps'])} steps.")
        _print_plan(plan["steps"])
        for line in plan["lines"]:
            click.echo(f"               {plain(line['text'])}", err=True)
        # The nodes' own milestones and bootstrap roles are in the system deployment.
        api.put("deployments", "system", "commit")
        return names

    def _networks(self, lab: Lab, api: Client) -> list[Mapping[str, Any]]:
        """An admin network, of which the nodes have the addresses that they have, on a bridge over their card; and with
        cards for it, another one.
        """
        four, six = (ipaddress.ip_network(lab.describe()[family]) for family in ("ipv4", "ipv6"))
        hosts = {"name": "host", "first": f"{four[2]}/{four.prefixlen}", "last": f"{four[-2]}/{four.prefixlen}"}
        body = {"name": "admin", "category": "admin", "conduit": "?1g1", "use_bridge": True, "v6prefix": str(six)}
        made = api.post("networks", body={**body, "ranges": [hosts]})
        self.story.tell(f"Made the network admin: {four} and {six}, bridged over each node's first card.")
        if not self.network:
            return [made]
        self.scene = Scene(lab, api, self.story.tell)
        return [made, self.scene.prepare()]

    @staticmethod
    def _bind(api: Client, network: Mapping[str, Any], names: Sequence[str]) -> str:
        """Returns the network's role."""
        for name in names:
            body = {"node_id": name, "role_id": f"network-{network['name']}", "deployment_id": DEPLOYMENT}
            api.post("node_roles", body=body)
        return f"network-{network['name']}"

    def _roles(self, api: Client) -> list[tuple[str, str]]:
        """Which of the barclamp's roles go where: a cluster's on every node, what builds on them on the first."""
        roles = list(api.rows("roles", query={"barclamp": self.barclamp}))
        its = [role for role in roles if not role["abstract"] and not role["library"]]
        brought = {name for role in its for name in role["requires"]}
        ends = [role["name"] for role in its if role["name"] not in brought and not role["cluster"]]
        clusters = [role["name"] for role in its if role["cluster"]]
        if not its:
            raise DemoFailed(
                f"The barclamp {self.barclamp} is not installed or brings no role: "
                f"`pip install crowbar-{self.barclamp}`, or name another with --barclamp."
            )
        if not clusters:
            return [(name, "everywhere") for name in ends]
        return [(name, "everywhere") for name in clusters] + [(name, "on the admin node") for name in ends]

    # ---- watching

    def _watch(
        self, api: Client, process: subprocess.Popen[bytes], *, until: Callable[[Cells], bool] | None = None
    ) -> bool:
        """Show the annealing until it is over, or what is waited for is so; True if all of it is ACTIVE."""
        deadline = time.monotonic() + (self.timeout if until is None else max(self.timeout, demo_vms.SECONDS))
        console = Console(highlight=False)
        seen: dict[tuple[str, str], str] = {}
        live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        with live or contextlib.nullcontext():
            while True:
                server.check_alive(process, self.directory)
                settled = api.get("anneal", accept=(409,))["state"]
                cells = {(row["node"], row["role"]): row["state_name"] for row in api.rows("node_roles")}
                if live is not None:
                    live.update(_board(cells), refresh=True)
                else:
                    self._tell_changes(seen, cells)
                if until is not None and until(cells):
                    return True
                if until is None and settled != "working":
                    return all(state == "ACTIVE" for state in cells.values())
                if time.monotonic() > deadline:
                    self.story.tell("It takes too long.")
                    return False
                time.sleep(PAUSE)

    def _tell_changes(self, seen: dict[tuple[str, str], str], cells: Mapping[tuple[str, str], str]) -> None:
        for (node, role), state in sorted(cells.items()):
            if seen.get((node, role)) != state:
                at, glyph = self.story.seconds(), GLYPHS[state][0]
                click.echo(f"{at:6.1f} s  {glyph} {state:<10}  {plain(node)}  {plain(role)}")
        seen.update(cells)

    def _tell_why(self, api: Client) -> int:
        """What is not ACTIVE, and why."""
        for row in api.rows("node_roles"):
            if row["state_name"] != "ACTIVE":
                why = api.get("node_roles", row["id"], "why")
                self.story.tell(f"{row['node']}/{row['role']} is {row['state_name']}: {why['summary']}")
                for line in row["status"].splitlines()[-5:]:
                    self.story.tell(f"    {line}")
        return 1

    def _stay(self, process: subprocess.Popen[bytes]) -> int:
        try:
            process.wait()
        except KeyboardInterrupt:
            return 0
        except Stopped:
            return 0
        raise DemoFailed(
            f"The server ended by itself (exit code {process.returncode}): {server.log_end(self.directory)}"
        )


# ---------------------------------------------------------------- parts


def _remove_orphans() -> None:
    """Clear away demos whose process was killed before it could do so itself."""
    for name in Lab.names():
        number = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and number.isdigit() and not Path(f"/proc/{number}").exists():
            Lab.remove(name)
            for left in Path(tempfile.gettempdir()).glob(f"crowbar-{name}-*"):
                if left.lstat().st_uid == os.geteuid():
                    shutil.rmtree(left, ignore_errors=True)


def _board(cells: Mapping[tuple[str, str], str]) -> Table:
    """Nodes by roles, each cell a glyph and a word."""
    nodes, roles = (sorted({key[index] for key in cells}) for index in (0, 1))
    table = Table(box=None, pad_edge=False)
    table.add_column("node")
    for role in roles:
        table.add_column(plain(role))
    for node in nodes:
        table.add_row(Text(plain(node)), *(_state(cells.get((node, role))) for role in roles))
    return table


def _state(state: str | None) -> Text:
    if state is None:
        return Text("")
    glyph, colour = GLYPHS[state]
    return Text(f"{glyph} {state}", style=colour)


def _print_plan(steps: Sequence[Mapping[str, Any]]) -> None:
    for number, step in enumerate(steps, start=1):
        loses = "  LOSES DATA" if step["destructive"] else ""
        note = f"  ({plain(step['note'])})" if step.get("note") else ""
        click.echo(
            f"          {number:>3}. {plain(step['node'])}  {plain(step['role'])}  {step['kind']}{loses}{note}",
            err=True,
        )
