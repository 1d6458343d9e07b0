"""Real interfaces on real nodes: a change is tried, looked at over a new connection, and kept or taken back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_jig_script.jig import ScriptJig
from crowbar_jig_script.remote import Remote
from crowbar_lab.errors import LabError
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from crowbar_network import program
from crowbar_network.jig import NetworkJig, look

from crowbar_core import Refresh
from crowbar_core.testing import Testbed, wait_until

pytestmark = pytest.mark.lab

API = "/api/v2"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(
        f"network-{os.getpid()}", nodes=2, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()
    ) as lab:
        yield lab


def on_node(lab: Lab, node: str, command: str) -> str:
    asked = lab.exec(lab.ssh(node, [command]), capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    return str(asked.stdout)


def interfaces(lab: Lab, node: str) -> str:
    """What the node's interfaces are, without what changes by itself."""
    shown = "ip -br addr show scope global | sed 's/@[^ ]*//; s/  */ /g'; ip route; ip -6 route show default; ip rule"
    return on_node(lab, node, shown)


class Site:
    """A core in this process with the lab's nodes, and a network on their only cards; with ``six`` of IPv6 alone, by
    which they are reached, too.
    """

    def __init__(self, lab: Lab, within: int = 30, *, patience: int = 0, six: bool = False, **layers: Any) -> None:
        self.lab, self.layers, self.within, self.patience, self.six = lab, layers, within, patience, six
        self.config = {"key_file": str(lab.private_key), "connect_timeout": 3.0}

    def __enter__(self) -> Site:
        jigs = {"script": ScriptJig(self.config), "network": NetworkJig({})}
        config = {"jig-script": self.config, "network": {
            "keep_within": self.within, "patience": self.patience,
        }}  # fmt: skip
        self.bed = Testbed(crowbar_jig_script, crowbar_network, jigs=jigs, config=config).__enter__()
        self.web = self.bed.web("operator")
        four = ".".join(self.lab.nodes[0].ipv4.split(".")[:2])
        both = {
            "v6prefix": "fd00:77::/64",
            "ranges": [{"name": "host", "first": f"{four}.0.10/16", "last": f"{four}.0.250/16"}],
        }
        alone = {"ranges": [{"name": "host", "first": "fd00:77::10/64", "last": "fd00:77::ffff/64"}]}
        made = self.web.post(f"{API}/networks", json={
            "name": "lab", "category": "admin", "conduit": "?1g1", **(alone if self.six else both), **self.layers,
        })  # fmt: skip
        assert made.status_code == 201, made.json
        self.id = made.json["id"]
        for node in self.lab.nodes:
            hint = {"hint-admin-v4addr": f"{node.ipv4}/16", "hint-lab-v4addr": node.ipv4}
            if self.six:
                hint = {"hint-admin-v6addr": f"{node.ipv6}/64", "hint-lab-v6addr": node.ipv6}
            self.bed.add_node(node.name, hint=hint, host_keys=[node.host_key])
        return self

    def __exit__(self, *failed: Any) -> None:
        self.bed.__exit__(*failed)

    def bind(self, node: str) -> None:
        self.bed.bind("network-lab", node)
        self.bed.commit()
        self.bed.anneal_until_quiet(within=60)

    def dashboard(self) -> str:
        return str(self.bed.web().get("/").text)

    def value(self, short: str, node: str) -> Any:
        return self.bed.value(f"network-lab-{short}", node, role="network-lab")

    def reason(self, node: str) -> str:
        return self.bed.runs("network-lab", node)[-1].exit_reason


@pytest.fixture
def node(lab: Lab) -> Iterator[str]:
    """A node as it was before, whatever the test does with it."""
    name = lab.nodes[1].name
    yield name
    with suppress(LabError):
        lab.power(name, "off")
    lab.power(name, "on")
    on_node(lab, name, "rm -rf /etc/crowbar-network /etc/network/interfaces.d/crowbar")


def test_a_bridge_takes_over_the_card_and_its_address_and_its_files_come_last(lab: Lab, node: str) -> None:
    def work() -> None:
        with Site(lab, use_bridge=True, mtu=1400) as site:
            site.bind(node)
            assert site.bed.state("network-lab", node) == "ACTIVE"
            current = {one["name"]: one for one in site.value("current-config", node)}
            assert current["eth0"]["master"] == "br-lab"
            assert set(current["br-lab"]["addresses"]) == set(site.value("addresses", node))
            assert site.bed.node(node).addresses[0] == lab.node(node).ipv4
            # Once more it finds nothing to do.
            site.bed.apply(Refresh(role="network-lab", node=node))
            site.bed.anneal_until_quiet(within=60)
            assert site.bed.log("network-lab", node)[-1:] == []

    inside(lab, work)
    assert "link add name br-lab type bridge" in on_node(lab, node, "cat /etc/crowbar-network/links.ip")
    assert json.loads(on_node(lab, node, "cat /etc/crowbar-network/kept.json"))["networks"] == ["lab"]


def test_the_plan_says_which_addresses_and_which_interfaces(lab: Lab, node: str) -> None:
    def work() -> None:
        with Site(lab, use_bridge=True) as site:
            site.bed.bind("network-nics", node)
            site.bed.commit()
            site.bed.anneal_until_quiet(within=60)
            site.bed.bind("network-lab", node)
            [line] = [one.text for one in site.bed.plan().lines]
            assert line.startswith(f"{node} has {lab.node(node).ipv4}/16 and fd00:77::")
            assert line.endswith("/64 of network lab on br-lab over eth0")

    inside(lab, work)


def test_the_network_by_which_a_node_is_reached_stays_on_it_when_it_is_unbound(lab: Lab, node: str) -> None:
    def work() -> None:
        with Site(lab, use_bridge=True) as site:
            site.bind(node)
            site.bed.unbind("network-lab", node)
            site.bed.anneal_until_quiet(within=60)
            assert not site.bed.node_roles(role="network-lab")

    inside(lab, work)
    assert f"{lab.node(node).ipv4}/16" in interfaces(lab, node)


def test_what_is_no_longer_wanted_goes_and_the_address_stays(lab: Lab, node: str) -> None:
    def work() -> None:
        with Site(lab, use_bridge=True, mtu=1400) as site:
            site.bind(node)
            assert "mtu 1400" in on_node(lab, node, "ip link show eth0")
            without = {"use_bridge": False, "mtu": None}
            assert site.web.patch(f"{API}/networks/{site.id}", json=without).status_code == 200
            site.bed.commit()
            site.bed.anneal_until_quiet(within=60)
            assert site.bed.state("network-lab", node) == "ACTIVE"

    inside(lab, work)
    shown = interfaces(lab, node)
    assert "br-lab" not in shown
    assert "mtu 1500" in on_node(lab, node, "ip link show eth0")
    assert f"{lab.node(node).ipv4}/16" in shown


def test_what_somebody_changed_on_the_node_is_shown_and_repaired_where_it_is_to_be(lab: Lab, node: str) -> None:
    def work() -> None:
        with Site(lab, use_bridge=True) as site:
            site.bind(node)
            site.bed.periodic("network-drift")
            assert "The interfaces of node" not in site.dashboard()
            on_node(lab, node, "ip addr add 10.99.0.1/24 dev br-lab; ip route add 10.98.0.0/24 dev br-lab")
            site.bed.periodic("network-drift")
            said = f"The interfaces of node {node} are not as its networks want them: br-lab has 10.99.0.1/24"
            assert said in site.dashboard()
            assert "which is not wanted (and 1 more)" in site.dashboard()
            assert {"10.98.0.0", "10.99.0.1"} <= set(re.findall(r"10\.9[89]\.0\.[01]", interfaces(lab, node)))
            site.bed.set("network-lab-drift", "repair", node=node, role="network-lab")
            site.bed.commit()
            site.bed.anneal_until_quiet(within=60)
            site.bed.periodic("network-drift")
            site.bed.anneal_until_quiet(within=60)
            assert not re.findall(r"10\.9[89]\.0", interfaces(lab, node))
            site.bed.periodic("network-drift")
            assert "The interfaces of node" not in site.dashboard()

    inside(lab, work)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a VLAN that the machine cannot do": ({"use_vlan": True, "vlan": 7}, "link add link eth0 name eth0.7"),
    "a gateway that is not there": ({"router": {"address": "{four}.0.3/16"}}, "router {four}.0.3 of network lab"),
    "an MTU that the wire does not carry": ({"mtu": 9000, "router": {"address": "{four}.0.1/16"}}, "full size"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_does_not_work_is_led_back_and_says_why(lab: Lab, node: str, kind: str) -> None:
    layers, said = BROKEN[kind]
    four = ".".join(lab.nodes[0].ipv4.split(".")[:2])
    filled = json.loads(json.dumps({"use_bridge": True, **layers}).replace("{four}", four))
    before = interfaces(lab, node)

    def work() -> None:
        with Site(lab, patience=2, **filled) as site:
            site.bind(node)
            assert site.bed.state("network-lab", node) == "ERROR"
            assert said.replace("{four}", four) in site.reason(node), site.reason(node)
            log = site.bed.log("network-lab", node)
            assert any(line.startswith("was: eth0") for line in log)
            assert any(line.startswith("is again: eth0") for line in log)

    inside(lab, work)
    assert interfaces(lab, node) == before
    assert on_node(lab, node, "ls /etc/crowbar-network 2>/dev/null || true") == ""


def test_a_slow_node_on_which_nothing_is_wrong_is_waited_for(lab: Lab, node: str) -> None:
    on_node(lab, node, "echo 8 >/proc/sys/net/ipv6/conf/default/dad_transmits")

    def work() -> None:
        with Site(lab, within=8, use_bridge=True) as site:
            site.bind(node)
            assert site.bed.state("network-lab", node) == "ACTIVE", site.reason(node)
            said = site.bed.log("network-lab", node)
            assert f"nothing is wrong by now, and {node} is slow: it waits longer than 8 s" in "\n".join(map(str, said))

    try:
        inside(lab, work)
    finally:
        on_node(lab, node, "echo 1 >/proc/sys/net/ipv6/conf/default/dad_transmits")


def test_a_node_that_has_ipv6_alone_is_reached_changed_and_led_back_by_it(lab: Lab, node: str) -> None:
    shown = "ip -br addr show scope global | sed 's/@[^ ]*//; s/  */ /g'; ip route; ip -6 route show default"

    def interfaces() -> str:
        return lab.console(node, ["sh", "-c", shown], check=True).stdout

    def work() -> None:
        with Site(lab, six=True, patience=2, use_bridge=True) as site:
            site.bind(node)
            assert site.bed.state("network-lab", node) == "ACTIVE", site.reason(node)
            kept = interfaces()
            assert kept.split() == ["br-lab", "UP", f"{lab.node(node).ipv6}/64"]
            router = {"address": "fd00:77::eeee/64"}
            assert site.web.post(f"{API}/networks/lab/network_routers", json=router).status_code == 201
            site.bed.commit()
            site.bed.anneal_until_quiet(within=60)
            assert "router fd00:77::eeee of network lab does not answer" in site.reason(node), site.reason(node)
            assert any(line.startswith("led back ") for line in site.bed.log("network-lab", node))
            assert interfaces() == kept

    inside(lab, work)


def test_a_card_that_is_missing_is_said_before_anything_is_touched(lab: Lab, node: str) -> None:
    def work() -> None:
        with Site(lab, conduit="?1g2") as site:
            site.bind(node)
            assert "?1g2 wants card 2 in all, and there is 1: the machine has eth0" in site.reason(node)

    inside(lab, work)
    assert on_node(lab, node, "ls /run/crowbar-network 2>/dev/null || true") == ""


LEASED = """#!/bin/sh
# What a client does with a lease.
case $1 in bound | renew) ip addr replace "$ip/16" dev "$interface" valid_lft "$lease" preferred_lft "$lease" ;; esac
"""


@pytest.fixture
def dhcp(lab: Lab, node: str, tmp_path: Path) -> Iterator[str]:
    """A node whose address a client of DHCP has got, from a server in the lab; how the client is asked for."""
    known = lab.node(node)
    config = tmp_path / "udhcpd.conf"
    (tmp_path / "leases").touch()
    config.write_text(
        f"start {known.ipv4}\nend {known.ipv4}\ninterface lab0\npidfile {tmp_path}/pid\nlease_file {tmp_path}/leases\n"
        f"opt subnet 255.255.0.0\nopt lease 600\nstatic_lease {known.mac} {known.ipv4}\n"
    )
    server = lab.popen(["busybox", "udhcpd", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        on_node(lab, node, f"cat >/etc/leased <<'END'\n{LEASED}END\nchmod +x /etc/leased")
        on_node(
            lab, node, "setsid busybox udhcpc -b -i eth0 -p /run/udhcpc.pid -s /etc/leased </dev/null >/dev/null 2>&1 &"
        )
        wait_until(lambda: leased(lab, node))
        yield "kill -0 $(cat /run/udhcpc.pid) 2>/dev/null && echo runs || echo ended"
    finally:
        server.kill()
        server.wait()


def leased(lab: Lab, node: str) -> bool:
    shown = on_node(lab, node, "ip -4 addr show scope global")
    return lab.node(node).ipv4 in shown and "valid_lft forever" not in shown


def test_a_client_of_dhcp_is_stopped_when_a_network_takes_its_card(lab: Lab, node: str, dhcp: str) -> None:
    on_node(lab, node, "mkdir -p /etc/network/interfaces.d")
    on_node(lab, node, "printf 'auto eth0\niface eth0 inet dhcp\n' >/etc/network/interfaces.d/50-cloud-init")

    def work() -> None:
        with Site(lab, use_bridge=True) as site:
            site.bind(node)
            assert site.bed.state("network-lab", node) == "ACTIVE", site.reason(node)
            assert any("udhcpc (" in line and "is stopped" in line for line in site.bed.log("network-lab", node))

    assert on_node(lab, node, dhcp) == "runs\n"
    inside(lab, work)
    assert on_node(lab, node, dhcp) == "ended\n"
    assert f"inet {lab.node(node).ipv4}/16" in on_node(lab, node, "ip -4 addr show dev br-lab")
    assert not leased(lab, node)
    struck = on_node(
        lab, node, "cat /etc/network/interfaces.d/50-cloud-init; rm /etc/network/interfaces.d/50-cloud-init"
    )
    assert struck == "#crowbar# auto eth0\n#crowbar# iface eth0 inet dhcp\n"


def test_a_client_of_dhcp_runs_again_when_its_card_is_led_back(lab: Lab, node: str, dhcp: str) -> None:
    four = ".".join(lab.nodes[0].ipv4.split(".")[:2])

    def work() -> None:
        with Site(lab, within=12, use_bridge=True, router={"address": f"{four}.0.3/16"}) as site:
            site.bind(node)
            assert f"router {four}.0.3 of network lab does not answer" in site.reason(node)

    client = on_node(lab, node, "cat /run/udhcpc.pid")
    inside(lab, work)
    wait_until(lambda: on_node(lab, node, dhcp) == "runs\n")
    assert on_node(lab, node, "cat /run/udhcpc.pid") != client
    wait_until(lambda: leased(lab, node))
    assert "br-lab" not in interfaces(lab, node)


def begin_alone(lab: Lab, node: str, *, limit: int, moves: bool = True, tool: str = "") -> None:
    """A change that nobody follows, as when the controller dies right after it has begun; ``moves``: of the address;
    ``tool``: what the node's network tool is told, as text for sh.
    """
    known = lab.node(node)
    forward, backward = ["link add name br-x type bridge"], ["link del br-x"]
    if moves:
        forward = [f"addr del {known.ipv4}/16 dev eth0", "addr replace 10.250.0.9/24 dev eth0"]
        backward = ["addr del 10.250.0.9/24 dev eth0", f"addr replace {known.ipv4}/16 dev eth0"]
    trial = program.Trial(settle=tool)
    text = program.begin(CHANGE, limit=limit, forward=forward, backward=backward, trial=trial)
    begun = lab.exec(lab.ssh(node, ["sh -s"]), input=text, capture_output=True, text=True, timeout=60)
    assert begun.stdout.strip() == "begun", begun.stderr


CHANGE = "0123456789abcdef"


def test_a_change_that_nobody_follows_is_led_back_by_the_node(lab: Lab, node: str) -> None:
    before = interfaces(lab, node)
    begin_alone(lab, node, limit=3)
    state = f"/run/crowbar-network/{CHANGE}/state"
    wait_until(lambda: reaches(lab, node) and on_node(lab, node, f"cat {state}") == "back\n")
    assert interfaces(lab, node) == before
    assert "nobody said" in on_node(lab, node, f"cat /run/crowbar-network/{CHANGE}/reason")


def test_a_network_tool_that_takes_most_of_the_time_ends_the_change(lab: Lab, node: str) -> None:
    before = interfaces(lab, node)
    begin_alone(lab, node, limit=16, moves=False, tool="sleep 60")
    here = f"/run/crowbar-network/{CHANGE}"
    wait_until(lambda: on_node(lab, node, f"cat {here}/state") == "back\n")
    assert interfaces(lab, node) == before
    assert on_node(lab, node, f"cat {here}/reason").strip() == (
        "the network tool has not done within 12 s what it was told"
    )
    assert 900 < int(on_node(lab, node, f"cat {here}/lasted")) < 5000


def test_only_a_connection_that_was_made_after_the_change_was_tried_proves_anything(lab: Lab, node: str) -> None:
    def work() -> None:
        with Site(lab) as site, site.bed.serving():
            old, new = Remote.of_cluster(), Remote.of_cluster(connect_timeout=20.0)
            view, address = site.bed.node(node), lab.node(node).ipv4
            assert not look(old, view, address).proven
            begin_alone(lab, node, limit=60, moves=False)
            wait_until(lambda: on_node(lab, node, f"cat /run/crowbar-network/{CHANGE}/state") == "tried\n")
            for remote, proven in ((old, False), (new, True)):
                state = look(remote, view, address)
                assert (state.busy, state.proven) == (True, proven)
            old.forget(view, address)
            assert look(old, view, address).proven
            new.close()

    inside(lab, work)


def test_a_slow_node_waits_longer_when_it_is_told_to_but_not_for_ever(lab: Lab, node: str) -> None:
    begin_alone(lab, node, limit=15, moves=False)
    end = f"/run/crowbar-network/{CHANGE}/end"
    first = int(on_node(lab, node, f"cat {end}"))

    def told(more: int) -> tuple[int, str]:
        text = program.longer(CHANGE, more=more, most=40)
        asked = lab.exec(lab.ssh(node, ["sh -s"]), input=text, capture_output=True, text=True, timeout=60)
        return asked.returncode, asked.stdout

    wait_until(lambda: told(25) == (0, "longer\n"), seconds=15)
    assert int(on_node(lab, node, f"cat {end}")) == first + 2500
    assert told(15) == (0, "longer\n")
    assert told(1) == (3, "")
    assert int(on_node(lab, node, f"cat {end}")) == first + 4000
    wait_until(lambda: float(on_node(lab, node, "cat /proc/uptime").split()[0]) > first / 100 + 1)
    assert on_node(lab, node, f"cat /run/crowbar-network/{CHANGE}/state") == "tried\n"
    on_node(lab, node, f"echo enough >/run/crowbar-network/{CHANGE}/back")
    wait_until(lambda: on_node(lab, node, f"cat /run/crowbar-network/{CHANGE}/state") == "back\n")
    assert told(1) == (3, "")


def test_a_power_cut_in_the_middle_comes_back_with_the_old_configuration(lab: Lab, node: str) -> None:
    before = interfaces(lab, node)
    begin_alone(lab, node, limit=60)
    lab.power(node, "off")
    lab.power(node, "on")
    assert interfaces(lab, node) == before


def test_a_switch_that_was_killed_is_finished_by_the_next_change(lab: Lab, node: str) -> None:
    known = lab.node(node)
    forward, backward = ["link add name br-x type bridge"], ["link del br-x"]
    text = program.begin(CHANGE, limit=60, forward=forward, backward=backward, trial=program.Trial())
    run = lambda text: lab.exec(lab.ssh(node, ["sh -s"]), input=text, capture_output=True, text=True, timeout=60)  # noqa: E731
    assert run(text).stdout == "begun\n"
    wait_until(lambda: "br-x" in on_node(lab, node, "ip -br link"))
    other = program.begin("f" * 16, limit=60, forward=[], backward=[], trial=program.Trial())
    assert (run(other).returncode, run(other).stdout) == (75, "busy\n")
    on_node(lab, node, f"kill -9 $(cat /run/crowbar-network/{CHANGE}/pid)")
    assert f"the switch {CHANGE} had been killed" in run(other).stdout
    assert "br-x" not in on_node(lab, node, "ip -br link")
    assert known.ipv4 in interfaces(lab, node)


def reaches(lab: Lab, node: str) -> bool:
    return lab.exec(lab.ssh(node, ["true"]), capture_output=True, timeout=60).returncode == 0
