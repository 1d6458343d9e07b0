"""What a node's role is given of its networks, from the tables: on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_network.addressing import of_key
from crowbar_network.tables import allocations
from sqlalchemy import select

from crowbar_core.testing import FakeJig, PostgresServer, Testbed

API = "/api/v2"
NICS = [
    {"name": f"eth{number}", "mac": f"52:54:00:00:00:0{number}", "path": f"0000:0{number}", "speed": 1000,
     "driver": "e1000", "altnames": []}
    for number in range(3)
]  # fmt: skip
NAMES = [f"n{number}" for number in range(1, 7)]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def bed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Six nodes on a network of both families, on which its role has run."""
    url = f"sqlite:///{tmp_path_factory.mktemp('crowbar')}/crowbar.db"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("crowbar_postgres")
        url = server.create_database()
    jig = FakeJig()
    jig.always({"network": {"nics": NICS, "product": "Rack 7"}}, role="network-nics")
    with Testbed(crowbar_jig_script, crowbar_network, jigs={"network": jig}, database_url=url) as made:
        make(made, "both", first="10.70.0.10/24", last="10.70.0.99/24", v6prefix="fd00:70::/64")
        for name in NAMES:
            made.add_node(name)
            made.bind("network-both", name)
        made.commit()
        made.anneal_until_quiet()
        yield made
    if request.param == "postgresql":
        server.drop_database(url)


def make(bed: Testbed, name: str, *, first: str, last: str, **more: Any) -> Any:
    host = {"name": "host", "first": first, "last": last}
    body = {"name": name, "category": "test", "conduit": "1g1", "ranges": [host], **more}
    made = bed.web("operator").post(f"{API}/networks", json=body)
    assert made.status_code == 201, made.json
    return made.json


def peers(bed: Testbed, node: str) -> list[str]:
    """Whom that node is told to ask."""
    with bed.read() as session:
        [view] = bed.node_roles(role="network-both", node=node)
        [config] = crowbar_network.data_of([view], session)[view.id]["network"]["wanted-config"]
    return list(config["peers"])


def by_family(bed: Testbed) -> tuple[list[str], list[str]]:
    """The addresses of all nodes, as they follow each other."""
    with bed.read() as session:
        keys = session.scalars(select(allocations.c.address).order_by(allocations.c.address)).all()
    return [str(of_key(key)) for key in keys if key[0] == "4"], [str(of_key(key)) for key in keys if key[0] == "6"]


def test_a_node_asks_of_each_family_those_that_are_alive_and_come_after_itself(bed: Testbed) -> None:
    four, six = by_family(bed)
    assert four == [f"10.70.0.{last}" for last in range(10, 16)]
    told = {name: peers(bed, name) for name in NAMES}
    assert told["n1"][:3] == four[1:4]
    assert told["n5"][:3] == [four[5], *four[:2]]
    for name in NAMES:
        mine = [one for one in told[name] if ":" in one]
        assert len(mine) == 3
        at = six.index(mine[0])
        assert mine == [six[(at + further) % 6] for further in range(3)]
    assert {one for those in told.values() for one in those} == {*four, *six}
    for name in ("n2", "n3"):
        bed.change_node(name, alive=False)
    assert peers(bed, "n1")[:3] == four[3:6]
    for name in ("n2", "n3"):
        bed.change_node(name, alive=True)
    bed.anneal_until_quiet()


def test_a_plan_says_of_each_network_what_its_own_run_will_find(bed: Testbed) -> None:
    for third, (name, conduit) in enumerate({"none": None, "slow": "40g1", "good": "1g2", "late": "1g2,1g3"}.items()):
        body = {"conduit": conduit, "use_team": conduit == "1g2,1g3" or None}
        make(bed, name, first=f"10.72.{third}.1/24", last=f"10.72.{third}.9/24", **body)
        bed.bind(f"network-{name}", "n1")
    said = {line.text.partition(" of network ")[2] for line in bed.plan().lines}
    assert said == {
        "none, which cannot be: Network none has no conduit that means a card: give it one, or configure=false.",
        "slow, which cannot be: The conduit 40g1 of network slow cannot be here: 40g1 wants card 1 of just that speed,"
        " and there is none: the machine has eth0 1g, eth1 1g, eth2 1g.",
        "good on eth1",
        "late, which cannot be: Networks good and late share eth1 but not all of their cards: conduits must be equal or"
        " have no card in common.",
    }


def config_of(bed: Testbed, network: str) -> Any:
    with bed.read() as session:
        [view] = bed.node_roles(role=f"network-{network}", node="n2")
        said = crowbar_network.data_of([view], session)[view.id]["network"]["wanted-config"]
    return next(one for one in said if one["name"] == network)


def test_what_a_range_says_of_its_interface_goes_before_what_the_network_does(bed: Testbed) -> None:
    network = make(bed, "own", first="10.73.0.1/24", last="10.73.0.9/24", v6prefix="fd00:73::/64", vlan=5)
    ranges = {one["name"]: one["id"] for one in network["ranges"]}
    web = bed.web("operator")
    own = {"vlan": 66, "use_vlan": True, "conduit": "1g2,1g3", "use_team": True, "team_mode": 4, "use_bridge": True}
    assert web.patch(f"{API}/network_ranges/{ranges['host']}", json=own).status_code == 200
    bed.bind("network-own", "n2")
    wanted = {"vlan": 66, "conduit": "1g2,1g3", "team_mode": 4, "bridge": True, "problem": ""}
    assert wanted.items() <= config_of(bed, "own").items()
    # A node has one interface on a network: what two of its ranges say differently is refused, with both.
    assert (
        web.patch(f"{API}/network_ranges/{ranges['host-v6']}", json={"vlan": 67, "use_vlan": True}).status_code == 200
    )
    said = (
        "Its addresses of network own are of the ranges host and host-v6, which want different interfaces (conduit"
        " 1g2,1g3 and 1g1; team_mode 4 and none; vlan 66 and 67; bridge yes and no): let both say the same, or make a"
        " network of one of them."
    )
    assert config_of(bed, "own")["problem"] == said
    assert {line.text.partition(" which cannot be: ")[2] for line in bed.plan().lines if "n2." in line.text} == {said}
