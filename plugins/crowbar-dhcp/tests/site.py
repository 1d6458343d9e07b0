"""A core in this process with a lab's nodes, a network on them, and machines that ask the DHCP server it sets up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
from crowbar_dhcp.drivers import Driver
from crowbar_dhcp.drivers.kea import Kea
from crowbar_dhcp.jig import DhcpJig
from crowbar_dhcp.services import ready
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from crowbar_core import Barclamp, Json, NodeView, hookimpl
from crowbar_core.testing import FakeClock, FakeJig, Testbed

API = "/api/v2"
CARD = "card1"
MAC, STRANGER = "52:54:00:00:00:01", "52:54:00:00:99:01"
PXE = Path(__file__).with_name("pxe.py").read_text(encoding="utf-8")
CLIENT6 = Path(__file__).with_name("client6.py").read_text(encoding="utf-8")


class Files:
    """Says what nodes boot, as a provisioner does."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="files", help="Boot files.")

    @hookimpl
    def node_boot(self, node: NodeView) -> Mapping[str, Json]:
        return {} if node.bootenv == "local" else files(node.bootenv)

    @hookimpl(optional=True)
    def dhcp_strangers(self) -> Mapping[str, Json]:
        return files("discovery")


def files(name: str) -> dict[str, Json]:
    def of(host: str) -> dict[str, Json]:
        return {
            "bios": f"tftp://{host}/{name}/undionly.kpxe", "uefi": f"tftp://{host}/{name}/ipxe.efi",
            "uefi-http": f"http://{host}:8080/{name}/ipxe.efi", "ipxe": f"http://{host}:8080/{name}/boot.ipxe",
        }  # fmt: skip

    return {"dhcp4": of("10.77.0.9"), "dhcp6": of("[fd00:77::9]")}


def on_node(lab: Lab, node: str, command: str) -> str:
    asked = lab.exec(lab.ssh(node, [command]), capture_output=True, text=True, timeout=120)
    assert asked.returncode == 0, asked.stderr + asked.stdout
    return str(asked.stdout)


def second_card(lab: Lab, node: str) -> None:
    """A cable more from the node to the lab's bridge: with it machines ask that are no nodes."""
    bridges = lab.exec(["ip", "-br", "link", "show", "type", "bridge"], capture_output=True, text=True, check=True)
    bridge = bridges.stdout.split()[0]
    pid = next(one for one in lab.describe()["nodes"] if one["name"] == node)["pid"]
    made = f"link add dev port1 type veth peer name {CARD} netns {pid}"
    for words in (made, f"link set port1 master {bridge}", "link set port1 up"):
        lab.exec(["ip", *words.split()], check=True)


def ask(lab: Lab, mac: str, *options: str, card: str = CARD) -> dict[str, str]:
    """What a machine with that MAC is told over DHCPv4; {} when nobody answers."""
    said = " ".join(shlex.quote(one) for one in options)
    out = on_node(lab, lab.nodes[-1].name, f"""
        ip link set {card} down; ip link set {card} address {mac}; ip link set {card} up
        printf '#!/bin/sh\\n[ "$1" != bound ] || env' >/tmp/told; chmod +x /tmp/told
        busybox udhcpc -n -q -f -t 15 -T 2 -i {card} -s /tmp/told -O 26 -O 66 -O 67 {said} 2>/dev/null || true
    """)  # fmt: skip
    return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


def ask6(lab: Lab, mac: str, *, arch: int | None = None, ipxe: bool = False, card: str = CARD) -> dict[str, Any]:
    """What a machine with that MAC is told over DHCPv6; {} when nobody answers."""
    out = on_node(lab, lab.nodes[-1].name, f"""
        ip link set {card} down; ip link set {card} address {mac}; ip link set {card} up
        python3 - {card} {mac} {"-" if arch is None else arch} {"ipxe" if ipxe else "-"} <<'END'
{CLIENT6}
END
    """)  # fmt: skip
    return dict(json.loads(out))


def ask_pxe(lab: Lab, mac: str, arch: int | None, *, ipxe: bool = False) -> dict[str, str]:
    """What a machine's firmware with that MAC is told, by one who gives addresses and by others; {} when nobody gives
    it one. Without ``arch`` it is an operating system."""
    kind = "HTTPClient" if arch == 16 else "PXEClient"
    out = on_node(lab, lab.nodes[-1].name, f"""
        ip link set {CARD} down; ip link set {CARD} address {mac}; ip link set {CARD} up
        python3 - {CARD} {mac} {"-" if arch is None else arch} {"ipxe" if ipxe else "-"} {kind} <<'END'
{PXE}
END
    """)  # fmt: skip
    return dict(json.loads(out))


@contextmanager
def foreign_server(lab: Lab, place: Path) -> Iterator[tuple[str, str]]:
    """A DHCP server that is nobody's, on the lab's bridge, which gives addresses in 10.77.9.0 and fd00:77::9:0: its
    bridge and MAC."""
    shown = lab.exec(["ip", "-br", "link", "show", "type", "bridge"], capture_output=True, text=True, check=True)
    bridge, _, mac = shown.stdout.split()[:3]
    words = ["dnsmasq", "-k", "-C", "/dev/null", "--port=0", "--bind-interfaces", "--user=root", "--pid-file=",
             "--log-facility=-", f"--interface={bridge}", f"--dhcp-leasefile={place}/leases", "--dhcp-authoritative",
             "--no-ping", "--dhcp-range=10.77.9.1,10.77.9.9,255.255.0.0", "--dhcp-range=fd00:77::9:1,fd00:77::9:9,64",
             ]  # fmt: skip
    with (place / "log").open("wb") as log:
        other = lab.popen(words, stdout=log, stderr=log)
    try:
        yield bridge, mac
    finally:
        other.kill()
        other.wait(timeout=30)


class Site:
    """dhcp-server goes on the first node; the last one asks."""

    def __init__(self, lab: Lab, *, families: Sequence[int] = (4, 6)) -> None:
        self.lab, self.families = lab, families
        self.clock = FakeClock()
        self.config = {"key_file": str(lab.private_key), "connect_timeout": 3.0}

    def __enter__(self) -> Site:
        jigs = {"script": ScriptJig(self.config), "network": FakeJig(), "dhcp": DhcpJig({})}
        barclamps: list[Any] = [crowbar_jig_script, crowbar_network, crowbar_dhcp, Files()]
        self.bed = Testbed(*barclamps, jigs=jigs, clock=self.clock, config={"jig-script": self.config}).__enter__()
        self.web = self.bed.web("operator")
        ranges = [
            {"name": "host", "first": "10.77.0.1/16", "last": "10.77.0.250/16"},
            {"name": "dhcp", "first": "10.77.4.0/16", "last": "10.77.4.63/16"},
        ]
        made = self.web.post(f"{API}/networks", json={
            "name": "lab", "category": "admin", "conduit": "?1g1", "mtu": 1450,
            "v6prefix": "fd00:77::/64" if 6 in self.families else None,
            "ranges": ranges if 4 in self.families else [],
        })  # fmt: skip
        assert made.status_code == 201, made.json
        for node in self.lab.nodes:
            hint: dict[str, Json] = {"hint-admin-v4addr": f"{node.ipv4}/16", "hint-lab-v4addr": node.ipv4}
            hint |= {"hint-admin-v6addr": f"{node.ipv6}/64", "hint-lab-v6addr": node.ipv6}
            if 4 not in self.families:
                hint = {name: value for name, value in hint.items() if "v6" in name}
            hint["hint-admin-macs"] = [node.mac]
            self.bed.add_node(node.name, hint=hint, host_keys=[node.host_key])
        return self

    def __exit__(self, *failed: Any) -> None:
        self.bed.close()

    def settle(self) -> None:
        """A second later, for what was gathered after many failures."""
        self.clock.advance(1)
        self.bed.anneal_until_quiet(within=60)

    def follow(self) -> None:
        """As ``settle``; of what is put off until later no more than a second is waited for."""
        before = self.clock.now
        self.bed.anneal_until_quiet(within=60)
        assert (waited := (self.clock.now - before).total_seconds()) <= 1, waited

    def bind(self, role: str, *nodes: str) -> None:
        for node in nodes or (None,):
            self.bed.bind(role, node)
        self.bed.commit()
        self.settle()

    def machine(self, name: str, mac: str, address: str, **more: Any) -> None:
        """A node that has that card and, of the network, that address."""
        version = 6 if ":" in address else 4
        hint = {"hint-admin-macs": [mac], f"hint-lab-v{version}addr": address}
        self.bed.add_node(name, hint=hint, alive=False, **more)
        self.bed.bind("network-lab", name)
        self.bed.commit()
        self.settle()

    def ask(self, mac: str, *options: str) -> dict[str, str]:
        return ask(self.lab, mac, *options)

    def ask6(self, mac: str, *, arch: int | None = None, ipxe: bool = False) -> dict[str, Any]:
        return ask6(self.lab, mac, arch=arch, ipxe=ipxe)

    def driver(self) -> Driver:
        """That of the server on the first node."""
        with self.bed.change() as change:
            [one] = ready(change)
        return one.connect()

    def service(self) -> Kea:
        driver = self.driver()
        assert isinstance(driver, Kea)
        return driver

    def dashboard(self) -> str:
        return str(self.bed.web().get("/").text)

    def served(self, node: str) -> str:
        return self.bed.node(node).served_bootenv


@contextmanager
def served(lab: Lab, **given: str) -> Iterator[Site]:
    """dhcp-server on the first node (its attributes are ``given``, without the ``dhcp-`` of their names),
    dhcp-database, all nodes on the network, and a machine that is only a name.
    """
    made = Site(lab)

    def set_up() -> None:
        made.__enter__()
        made.bed.bind("dhcp-database")
        made.bed.bind("dhcp-server", lab.nodes[0].name)
        for name, value in given.items():
            made.bed.set(f"dhcp-{name}", value, node=lab.nodes[0].name, role="dhcp-server")
        for node in lab.nodes:
            made.bed.bind("network-lab", node.name)
        made.bed.commit()
        made.settle()
        made.machine("m1.lab.test", MAC, "10.77.0.101")

    try:
        inside(lab, set_up)
        yield made
    finally:
        with suppress(AttributeError):
            made.__exit__()
