"""What should be served, and how Kea and radvd are told: whole texts, and what is refused at which node or network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crowbar_dhcp import dnsmasq, kea, program
from crowbar_dhcp.drivers import ServerRefuses, kea_hosts
from crowbar_dhcp.serving import Boot, Machine, Net, Options, Serving, Subnet, serving_of

RENDERED = Path(__file__).with_name("rendered")
NETS = [
    Net(
        id=1, network="admin", subnet="10.88.0.0/24", mtu=1400, routers=("10.88.0.1",),
        ranges={"host": ("10.88.0.10", "10.88.0.99"), "dhcp": ("10.88.0.100", "10.88.0.200")},
        reserved={"10.88.0.2": "the switch"},
    ),
    Net(id=2, network="admin", subnet="fd88::/64", mtu=1400, routers=("fd88::1",),
        ranges={"host-v6": ("fd88::1", "fd88::ffff:ffff:ffff:ffff")}),
    Net(id=3, network="storage", subnet="10.99.0.0/24", category="storage", ranges={"dhcp": ("10.99.0.9",) * 2}),
]  # fmt: skip
BOOT = Boot(
    by="provisioner",
    dhcp4={
        "bios": "tftp://10.88.0.1/undionly.kpxe", "uefi": "tftp://10.88.0.1/ipxe.efi",
        "uefi-http": "http://10.88.0.1:8080/ipxe.efi", "ipxe": "http://10.88.0.1:8080/boot.ipxe",
    },
    dhcp6={
        "uefi": "tftp://[fd88::1]/ipxe.efi", "uefi-http": "http://[fd88::1]:8080/ipxe.efi",
        "ipxe": "http://[fd88::1]:8080/boot6.ipxe",
    },
)  # fmt: skip
NODES = [
    Machine(id=7, name="n1.lab.test", macs=("52:54:00:88:00:01", "52-54-00-88-00-11"), bootenv="debian", boot=BOOT,
            addresses=("10.88.0.11", "10.88.0.12", "fd88::11", "10.99.0.11")),
    Machine(id=8, name="n2.lab.test", macs=("52:54:00:88:00:02",)),
    Machine(id=9, name="n3.lab.test", addresses=("10.88.0.13",)),
]  # fmt: skip
OPTIONS = Options(dns_servers=("10.88.0.1", "fd88::1"), ntp_servers=("10.88.0.3",), domain="lab.test", lifetime=600)


def served() -> Serving:
    return serving_of(NETS, NODES, OPTIONS, Boot(by="provisioner", dhcp4={"ipxe": "http://10.88.0.1/hello.ipxe"}))


@pytest.mark.parametrize("family", [4, 6])
def test_keas_configuration_is_this(family: int) -> None:
    said = json.dumps(kea.parts(served(), family, [("br0", "10.88.0.1/24"), ("br0", "fd88::1/64")]), indent=1) + "\n"
    assert said == (RENDERED / f"kea{family}.json").read_text()


def test_radvds_configuration_is_this() -> None:
    said = kea.radvd(served().subnets, [("br0", "10.88.0.1/24"), ("br0", "fd88::1/64"), ("eth9", "fd99::1/64")])
    assert said == (RENDERED / "radvd.conf").read_text()
    assert "    AdvDefaultLifetime 0;\n" in kea.radvd(served().subnets, [("br0", "fd88::2/64")])
    assert kea.radvd(served().subnets, [("br0", "10.88.0.1/24")]) == ""


def test_the_order_of_what_is_known_does_not_matter() -> None:
    assert serving_of(NETS[::-1], NODES[::-1], OPTIONS) == serving_of(NETS, NODES, OPTIONS)


def test_only_nodes_with_macs_in_networks_of_the_category_admin_are_told_anything() -> None:
    said = served()
    assert {one.network for one in said.subnets} == {"admin"}
    assert said.nodes == {7, 8}
    assert not said.faults
    assert serving_of([], NODES, OPTIONS).nodes == frozenset()


def net(**changes: Any) -> list[Net]:
    kept: dict[str, Any] = {"id": 1, "network": "admin", "subnet": "10.88.0.0/24"}
    return [Net(**{**kept, "ranges": {"dhcp": ("10.88.0.100", "10.88.0.200")}, **changes})]


def node(*several: Any, **changes: Any) -> list[Machine]:
    kept: dict[str, Any] = {"id": 7, "name": "n1.lab.test", "macs": ("52:54:00:88:00:01",)}
    return [Machine(**{**kept, **changes}), *several]


URL = "http://10.88.0.9/a.efi"
TWIN = Machine(id=8, name="n2.lab.test", macs=("52:54:00:88:00:01", "52:54:00:88:00:02"))
POOL = "Network admin: strangers get no addresses: the range dhcp (10.88.0.100 to 10.88.0.200)"
NODE = "Node n1.lab.test:"
REFUSED: dict[str, tuple[list[Net], list[Machine], list[str]]] = {
    "a reserved address in the pool": (
        net(reserved={"10.88.0.150": "the printer"}), node(),
        [f"{POOL} has 10.88.0.150 in it, which is reserved for the printer. Make the range smaller, or give the "
         "address back."],
    ),
    "a router in the pool": (
        net(routers=("10.88.0.100",)), node(),
        [f"{POOL} has 10.88.0.100 in it, which is a router's. Make the range smaller, or give the address back."],
    ),
    "a pool inside another range": (
        net(ranges={"dhcp": ("10.88.0.100", "10.88.0.200"), "host": ("10.88.0.1", "10.88.0.254")}), node(),
        [f"{POOL} meets the range host (10.88.0.1 to 10.88.0.254), whose addresses are given to nodes. Make one of "
         "them smaller."],
    ),
    "a MAC of two nodes": (
        net(), node(TWIN),
        [f"Node {one}: nothing is served to 52:54:00:88:00:01: {other} has it, too. Take it out of the hints "
         "(hint-admin-macs) of one of them, or delete that node."
         for one, other in (("n1.lab.test", "n2.lab.test"), ("n2.lab.test", "n1.lab.test"))],
    ),
    "a name that is no host's": (
        net(), node(name="n_1.lab.test"),
        ["Node n_1.lab.test: it is told no name: 'n_1' is no label of a host's name (letters, digits and hyphens, at "
         "most 63). Rename it."],
    ),
    "a boot file that is none": (
        net(), node(boot=Boot(by="p", dhcp4={"bios": "tftp://10.0.0.1/a\nb", "floppy": "tftp://10.0.0.1/a"})),
        [f"{NODE} bios boots nothing over DHCPv4: 'tftp://10.0.0.1/a\\nb' is no URL of a boot file (tftp, http or "
         "https, no blanks).",
         f"{NODE} floppy boots nothing over DHCPv4: no firmware is called 'floppy' (bios, uefi, uefi-http, ipxe)."],
    ),
    "a boot file too long": (
        net(), node(boot=Boot(by="p", dhcp4={"ipxe": f"http://10.0.0.1/{'a' * 120}"})),
        [f"{NODE} ipxe boots nothing over DHCPv4: http://10.0.0.1/{'a' * 120} is longer than the 127 octets that "
         "DHCPv4 has room for."],
    ),
    "a boot file over TFTP from a name": (
        net(), node(boot=Boot(by="p", dhcp4={"bios": "tftp://boot.lab.test/a"})),
        [f"{NODE} bios boots nothing over DHCPv4: tftp://boot.lab.test/a has no IPv4 address."],
    ),
    "two networks with one subnet": (
        [*net(), *net(id=2, network="other")], node(),
        ["Network other: its subnet 10.88.0.0/24 is that of network admin, too, which is served: give one of them "
         "another category."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_served_is_said_by_name_and_the_rest_is_served(what: str) -> None:
    nets, machines, lines = REFUSED[what]
    said = serving_of(nets, machines, OPTIONS)
    assert [str(one) for one in said.faults] == lines
    assert [one.subnet for one in said.subnets] == ["10.88.0.0/24"]
    assert (said.subnets[0].pool is None) == ("pool" in what)
    if "MAC" in what:
        assert {one.mac for one in said.reservations} == {"52:54:00:88:00:02"}
    else:
        assert {one.mac for one in said.reservations} == {"52:54:00:88:00:01"}
    assert "\\n" not in json.dumps(kea.parts(said, 4))


FILES = Boot(by="p", dhcp4={"bios": "tftp://10.88.0.9/a,b.kpxe", "ipxe": "http://10.88.0.9/a.ipxe"})
TWO = [
    Net(id=1, network="admin", subnet="10.88.0.0/24"), Net(id=2, network="admin", subnet="fd88::/64"),
    Net(id=3, network="theirs", subnet="10.89.0.0/24"), Net(id=4, network="theirs", subnet="fd89::/64"),
]  # fmt: skip
HERE, THERE, BOTH, NOWHERE = ("10.88.0.5",), ("10.89.0.5",), ("10.88.0.5", "10.89.0.5"), ()
WAYS: dict[str, tuple[tuple[str, str], set[str], dict[tuple[str, ...], str]]] = {
    "all own": (("own", "own"), {"10.88.0.0/24", "fd88::/64", "10.89.0.0/24", "fd89::/64"},
                {HERE: "told", THERE: "told", BOTH: "told", NOWHERE: "told"}),
    "one beside others": (("own", "proxy"), {"10.88.0.0/24", "fd88::/64", "10.89.0.0/24"},
                          {HERE: "told", THERE: "proxied", BOTH: "told", NOWHERE: "told"}),
    "all beside others": (("proxy", "proxy"), {"10.88.0.0/24", "10.89.0.0/24"},
                          {HERE: "proxied", THERE: "proxied", BOTH: "proxied", NOWHERE: "proxied"}),
    "one of others": (("own", "none"), {"10.88.0.0/24", "fd88::/64"},
                      {HERE: "told", THERE: "elsewhere", BOTH: "told", NOWHERE: "told"}),
    "all of others": (("none", "none"), set(),
                      {HERE: "elsewhere", THERE: "elsewhere", BOTH: "elsewhere", NOWHERE: "elsewhere"}),
    "one of others, one beside them": (("none", "proxy"), {"10.89.0.0/24"},
                                       {HERE: "elsewhere", THERE: "proxied", BOTH: "proxied", NOWHERE: "proxied"}),
}  # fmt: skip


@pytest.mark.parametrize("what", WAYS)
def test_each_network_is_served_in_its_own_way_and_so_are_the_nodes_on_it(what: str) -> None:
    (here, there), subnets, ways = WAYS[what]
    nets = [replace(one, dhcp=here if one.network == "admin" else there) for one in TWO]
    for addresses, way in ways.items():
        said = serving_of(nets, node(addresses=addresses, bootenv="x", boot=FILES), OPTIONS, FILES)
        assert {one.subnet for one in said.subnets} == subnets
        assert {one.subnet for one in said.of(4) + said.of(6)} == {
            one.subnet for one in said.subnets if not one.proxied
        }
        assert (7 in said.nodes, 7 in said.proxied, said.elsewhere) == (
            way in ("told", "proxied"), way == "proxied", {7: True} if way == "elsewhere" else {},
        ), addresses  # fmt: skip
        assert not said.faults


def test_others_alone_tell_a_node_right_only_what_they_tell_strangers() -> None:
    nets = [replace(one, dhcp="none") for one in TWO]
    said = serving_of(nets, node(macs=(), bootenv="rescue", boot=FILES), OPTIONS, Boot())
    assert said.elsewhere == {7: False}
    assert [str(one) for one in said.faults] == [
        f"{NODE} others serve its network (dhcp none) and tell all machines what strangers boot, which is not what "
        "rescue boots. Set the network's dhcp to own or proxy, or its boot environment to another."
    ]


def test_a_network_of_ipv6_alone_cannot_be_served_beside_others() -> None:
    [fault] = serving_of([replace(TWO[1], dhcp="proxy")], node(), OPTIONS).faults
    assert str(fault).startswith("Network admin: it has no range of IPv4, and beside another server only DHCPv4 can")


def test_dnsmasq_says_this_beside_others() -> None:
    boots = node(addresses=HERE, bootenv="x", boot=FILES)
    said = serving_of([replace(TWO[0], dhcp="proxy"), TWO[2]], boots, OPTIONS, Boot(by="p", dhcp4={"uefi": URL}))
    files = dnsmasq.files(said, "/place")
    key = FILES.key
    conf = files["dnsmasq.conf"].splitlines()
    assert conf[conf.index("domain=lab.test") + 1 :][-8:] == [
        "dhcp-range=set:net1,10.88.0.0,proxy,255.255.255.0",
        "dhcp-range=set:net3,10.89.0.0,static,255.255.255.0,10.89.0.255,600",
        "dhcp-pxe-vendor=PXEClient,HTTPClient",
        "pxe-service=tag:nobody,X86PC,nothing",
        "tag-if=set:proxied,tag:net1",
        f'dhcp-boot=tag:proxied,tag:boot-{key},tag:bios,tag:!ipxe,"a,b.kpxe",,10.88.0.9',
        f'dhcp-boot=tag:proxied,tag:boot-{key},tag:ipxe,"http://10.88.0.9/a.ipxe"',
        f'dhcp-boot=tag:proxied,tag:!known,tag:uefi,tag:!ipxe,"{URL}"',
    ]
    assert "tag:net1," not in files["options"]
    assert files["hosts/525400880001"].splitlines() == [
        f"52:54:00:88:00:01,set:boot-{key},n1.lab.test", f"52:54:00:88:00:01,set:boot-{key},10.88.0.5,n1.lab.test",
    ]  # fmt: skip


def as_kea_has_it(ours: dict[str, Any]) -> dict[str, Any]:
    """With the defaults that Kea fills in, and something of others'."""
    known = json.loads(json.dumps(ours))
    known["subnet4"][0] |= {"t1-percent": 0.5, "relay": {"ip-addresses": []}}
    known["subnet4"].append({"id": 900, "subnet": "192.0.2.0/24"})
    known["client-classes"].insert(0, {"name": "phones", "test": "option[60].exists"})
    return dict(known | {"valid-lifetime": 4000})


OURS = {"crowbar": "x"}
DIFFERENT = {
    "nothing": (lambda there: None, []),
    "an address": (lambda there: there["subnet4"][0]["reservations"][0].update({"ip-address": "10.88.0.66"}),
                   ["subnet 10.88.0.0/24: reservations: 1 changed"]),
    "a reservation less": (lambda there: there["subnet4"][0]["reservations"].pop(),
                           ["subnet 10.88.0.0/24: reservations: 1 new"]),
    "a reservation more": (lambda there: there["subnet4"][0]["reservations"].append({"hw-address": "02:0"}),
                           ["subnet 10.88.0.0/24: reservations: 1 gone"]),
    "no options": (lambda there: there["subnet4"][0].update({"option-data": []}),
                   ["subnet 10.88.0.0/24: its pool or its options"]),
    "a class less": (lambda there: there["client-classes"].pop(), ["what machines boot"]),
    "a subnet more": (lambda there: there["subnet4"].append({"id": 9, "subnet": "10.1.0.0/24", "user-context": OURS}),
                      ["subnet 10.1.0.0/24 goes"]),
    "no subnet": (lambda there: there["subnet4"].clear(), ["subnet 10.88.0.0/24 is new"]),
    "another setting": (lambda there: there.pop("ip-reservations-unique"), ["ip-reservations-unique"]),
}  # fmt: skip


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_a_server_has_otherwise_is_found_and_only_what_is_crowbars_is_replaced(what: str) -> None:
    change, lines = DIFFERENT[what]
    ours = kea.parts(served(), 4)
    there = as_kea_has_it(ours)
    change(there)
    assert kea.differences(there, ours, 4) == lines
    now = kea.merged(there, ours, 4)
    assert kea.differences(now, ours, 4) == []
    assert now["valid-lifetime"] == 4000
    assert "phones" in [one["name"] for one in now["client-classes"]]
    assert what == "no subnet" or {"id": 900, "subnet": "192.0.2.0/24"} in now["subnet4"]


def test_a_nodes_interfaces_are_read_from_what_it_says() -> None:
    said = (
        "1: lo    inet 127.0.0.1/8 scope host lo\n"
        "2: eth0    inet 10.77.0.2/16 brd 10.77.255.255 scope global eth0\\ valid_lft forever\n"
        "2: eth0    inet6 fe80::1/64 scope link \n3: v5@eth0    inet6 fd00:77::2/64 scope global \n"
    )
    assert program.interfaces(said) == [("eth0", "10.77.0.2/16"), ("v5", "fd00:77::2/64")]
    more = (
        said
        + "3: v5    inet6 fd00:77::abc/64 scope global dynamic mngtmpaddr \n4: v6    inet6 fd99::1/64 scope global \n"
    )
    assert len(program.interfaces(more)) == 4
    lasting = program.interfaces(more, lasting=True)
    assert [card for card, _ in lasting] == ["eth0", "v5", "v6"]
    six = Subnet(id=2, network="admin", subnet="fd00:77::/64")
    made = program.install(address="10.77.0.2", port=1, password="x", subnets=[six], there=lasting, lasting=lasting)
    assert '"*",\n    "v5/fd00:77::2"\n' in made


def test_a_server_is_set_up_anew_when_the_addresses_at_which_relays_find_it_are_others() -> None:
    marks = {kea.base(6, lasting)["Dhcp6"]["user-context"]["crowbar-base"]
             for lasting in ([], [("a", "fd00::1/64")], [("a", "fd00::2/64")], [("b", "fd00::2/64")])}  # fmt: skip
    assert len(marks) == 4
    assert kea.base(4, [("a", "fd00::1/64")]) == kea.base(4)


class Commands:
    """The host commands as Kea's manual describes them, two reservations a page."""

    def __init__(self, *foreign: dict[str, Any]) -> None:
        self.hosts = list(foreign)
        self.said: list[str] = []

    def __call__(self, command: str, family: int, arguments: dict[str, Any]) -> dict[str, Any]:
        self.said.append(f"{command} {arguments['operation-target']}")
        if command == "reservation-get-page":
            assert arguments["limit"]
            page = self.hosts[arguments["from"] : arguments["from"] + 2]
            if not page:
                return {"result": 3, "arguments": {"count": 0, "hosts": []}}
            upto = {"source-index": 1, "from": arguments["from"] + 2}
            return {"result": 0, "arguments": {"count": len(page), "hosts": page, "next": upto}}
        if command == "reservation-get":
            asked = arguments["subnet-id"], arguments["identifier"]
            found = [one for one in self.hosts if self.key(one) == asked]
            return {"result": 0, "arguments": found[0]} if found else {"result": 3}
        if command == "reservation-add":
            new = arguments["reservation"]
            if any(self.key(one) == self.key(new) for one in self.hosts):
                raise ServerRefuses("Host already exists.")
            self.hosts.append(new)
        else:
            gone = {"subnet-id": arguments["subnet-id"], arguments["identifier-type"]: arguments["identifier"]}
            self.hosts = [one for one in self.hosts if self.key(one) != self.key(gone)]
        return {"result": 0}

    def key(self, one: dict[str, Any]) -> tuple[int, str]:
        return one["subnet-id"], one["hw-address"]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("stored", [True, False])
def test_host_commands_put_and_take_away_single_reservations_and_leave_those_of_others(
    family: int, stored: bool
) -> None:
    theirs = {"subnet-id": 1, "hw-address": "52:54:00:88:00:99", "ip-address": "10.88.0.77"}
    kea_has = Commands(theirs)
    hosts = kea_hosts.HostCommands(kea_has, family, stored=stored)
    wanted = kea_hosts.wanted(served(), family)
    assert wanted == {
        (one["id"], each["hw-address"]): kea_hosts.host_of(each)
        for one in kea.parts(served(), family)[f"subnet{family}"] for each in one["reservations"]
    }  # fmt: skip
    assert len(wanted) == 3
    put, drop, lines = kea_hosts.differences(hosts.read(), wanted)
    assert (drop, lines) == ([], ["reservations: 3 new"])
    hosts.write(put, drop)
    assert hosts.read() == wanted
    key = min(wanted)
    assert hosts.read([key, (1, theirs["hw-address"]), (1, "52:54:00:88:00:98")]) == {key: wanted[key]}
    changed = {**wanted, key: replace(wanted[key], hostname="other.lab.test")}
    changed.pop(max(wanted))
    put, drop, lines = kea_hosts.differences(hosts.read(), changed)
    assert lines == ["reservations: 1 gone, 1 changed"]
    hosts.write(put, drop)
    assert hosts.read() == changed
    assert theirs in kea_has.hosts
    taken = (1, theirs["hw-address"])
    with pytest.raises(
        ServerRefuses, match=r"^Kea does not take 52:54:00:88:00:99: Host already exists\. The rest is served\.$"
    ):
        hosts.write({taken: kea_hosts.Host()}, [])
    assert {one.partition(" ")[2] for one in kea_has.said} == {"alternate" if stored else "primary"}
