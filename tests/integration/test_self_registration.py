"""A node registers itself with a boot token, is accepted, is installed anew, and goes on under its new host key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint, jsonify, request
from flask.testing import FlaskClient

from crowbar_core import Attribute, Barclamp, NodeView, Probe, Role, SetAttribute, cluster, hookimpl, requires
from crowbar_core.testing import FakeClock, Testbed

OLD, NEW = "ssh-ed25519 AAAAoldkey", "ssh-ed25519 AAAAnewkey"
TOKEN_SECONDS = 3600


class Boots:
    """What a provisioner does of it: machines come by their serial numbers, and are given a token for each boot."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        """The host key that a node shows when it is called."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        version = Attribute(name="found-version", map="found/version", schema={"type": "integer"})
        found = Role(name="found", jig="noop", discovery=True, wants=("found-version",))
        return Barclamp(name="boots", roles=(found,), attributes=(version,))

    @hookimpl
    def register_blueprints(self) -> list[Blueprint]:
        made = Blueprint("boots", __name__)

        @made.post("/api/v2/boots")
        @requires("public")
        def boot() -> Any:
            serial = request.get_json()["serial"]
            with cluster().change() as change:
                known = [one for one in cluster().nodes() if one.discovery.get("serial") == serial]
                node = known[0] if known else change.create_node(
                    f"{serial.lower()}.example.test", discovery={"serial": serial}, bootenv="discovery"
                )  # fmt: skip
                token = change.node_token(node.name, purpose="boot", seconds=TOKEN_SECONDS)
            return jsonify(node=node.name, token=token)

        return [made]

    @hookimpl
    def probe_node(self, node: NodeView) -> Probe | None:
        shown = self.shown.get(node.name)
        if shown is None:
            return None
        trusted = shown in node.host_keys
        return Probe(alive=trusted, reason="" if trusted else "it shows a host key that is not known", address=None)


@pytest.fixture
def boots() -> Boots:
    return Boots()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bed(ready_database: str, boots: Boots, clock: FakeClock) -> Iterator[Testbed]:
    with Testbed(boots, database_url=ready_database, clock=clock) as made:
        yield made


@pytest.fixture
def operator(bed: Testbed) -> FlaskClient:
    return bed.web("operator")


@pytest.fixture
def anonymous(operator: FlaskClient) -> FlaskClient:
    return operator.application.test_client()


N = "s1.example.test"


def boot(anonymous: FlaskClient) -> dict[str, str]:
    answer = anonymous.post("/api/v2/boots", json={"serial": "S1"}).get_json()
    return {"Authorization": f"Bearer {answer['token']}"}


def bring(client: FlaskClient, key: str, token: dict[str, str]) -> int:
    return client.put(f"/api/v2/nodes/{N}/host_keys", json={"host_keys": [key]}, headers=token).status_code


def probed(operator: FlaskClient) -> bool:
    """Whether it is alive, found out now."""
    alive: bool = operator.put(f"/api/v2/nodes/{N}/probe").get_json()["alive"]
    return alive


def ordinary(operator: FlaskClient) -> dict[str, str]:
    made = operator.post("/api/v2/tokens", json={"node_id": N}).get_json()
    return {"Authorization": f"Bearer {made['token']}"}


def test_a_node_that_registers_itself_goes_on_under_the_new_host_key_that_its_boot_token_vouches_for(
    bed: Testbed, boots: Boots, operator: FlaskClient, anonymous: FlaskClient
) -> None:
    # It boots for the first time, and says who it is.
    first = boot(anonymous)
    assert bring(anonymous, OLD, first) == 200
    boots.shown[N] = OLD
    assert anonymous.put(f"/api/v2/nodes/{N}/alive", json={"alive": True}, headers=first).status_code == 200
    node = bed.node("s1")
    assert (node.alive, node.available, node.host_keys, bed.state("found", "s1")) == (True, False, (OLD,), "PROPOSED")
    # It is accepted, and worked on.
    assert operator.put(f"/api/v2/nodes/{N}/commit").status_code == 200
    bed.anneal_until_quiet()
    assert bed.state("found", "s1") == "ACTIVE"
    # It is installed anew, and shows another key. Nobody but a token for this boot makes that the known one.
    everyday = ordinary(operator)
    second = boot(anonymous)
    with bed.serving() as seat:
        assert [one.name for one in seat.nodes() if not one.system] == [N], "it is the same machine"
    assert bring(anonymous, NEW, first) == 401, "the token of the boot before is no longer valid"
    assert bring(anonymous, NEW, everyday) == 409
    assert bed.node("s1").host_keys == (OLD,)
    assert bring(anonymous, NEW, second) == 200
    boots.shown[N] = NEW
    # It stays alive, and its work goes on.
    assert probed(operator)
    assert bed.node("s1").alive
    bed.apply(SetAttribute(node=N, attribute="found-version", value=2))
    bed.anneal_until_quiet()
    assert (bed.state("found", "s1"), bed.node_role("found", "s1").run_count) == ("ACTIVE", 2)
    (taken,) = [one for one in operator.get("/api/v2/audits?action=node.host_keys").get_json() if one["detail"]]
    assert (taken["subject"], taken["detail"]) == (f"node {N}", {"taken": [NEW], "forgotten": [OLD]})


def test_a_key_that_nobody_vouched_for_is_the_nodes_death(
    bed: Testbed, boots: Boots, operator: FlaskClient, anonymous: FlaskClient
) -> None:
    first = boot(anonymous)
    assert bring(anonymous, OLD, first) == 200
    bed.change_node("s1", alive=True)
    boots.shown[N] = NEW
    answer = anonymous.put(
        f"/api/v2/nodes/{N}/host_keys", json={"host_keys": [NEW]}, headers=ordinary(operator)
    ).get_json()
    assert answer["code"] == "conflict"
    assert re.match("Other host keys are known for node s1", answer["detail"])
    assert not probed(operator)
    assert not bed.node("s1").alive


def test_a_boot_token_ends_by_itself_and_reaches_its_own_node_alone(
    bed: Testbed, operator: FlaskClient, anonymous: FlaskClient, clock: FakeClock
) -> None:
    bed.add_node("n2", host_keys=("ssh-ed25519 AAAAanother",))
    token = boot(anonymous)
    other = anonymous.put("/api/v2/nodes/n2.example.test/host_keys", json={"host_keys": [NEW]}, headers=token)
    assert other.status_code == 403
    assert bring(anonymous, "ssh-ed25519 AAAAanother", token) == 409, "it is another node's key"
    clock.advance(TOKEN_SECONDS + 1)
    assert bring(anonymous, NEW, token) == 401


def test_a_token_of_a_purpose_takes_the_place_of_the_older_one(
    bed: Testbed, operator: FlaskClient, anonymous: FlaskClient
) -> None:
    bed.add_node("s1")
    made = [
        operator.post("/api/v2/tokens", json={"node_id": N, "purpose": purpose, "name": "by hand"}).get_json()
        for purpose in ("boot", "boot", "report", "", "")
    ]
    rows = bed.web().get("/api/v2/tokens?node_id=" + str(bed.node("s1").id)).get_json()
    assert sorted(row["purpose"] for row in rows) == ["", "", "boot", "report"]
    valid = [bring(anonymous, OLD, {"Authorization": f"Bearer {one['token']}"}) for one in made]
    assert valid == [401, 200, 200, 200, 200]
    refused = operator.post("/api/v2/tokens", json={"purpose": "boot"})
    assert refused.status_code == 422
    assert "Only tokens of nodes have a purpose" in refused.get_json()["detail"]
