"""Each resource through its life, as a client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from crowbar_core import Hammer
from crowbar_core.store import steps
from tests.integration.api import Api, populate, serving, set_run


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(database_url, tmp_path) as served:
        yield served


def test_a_node_from_registration_to_removal(api: Api) -> None:
    answer = api.post("nodes", {"name": "db1.rack.example.com", "mac": "52-54-00-12-34-56", "ip": "10.0.0.7/24"})
    assert answer.status_code == 201
    node = answer.get_json()
    assert answer.headers["Location"] == f"/api/v2/nodes/{node['id']}"
    assert node["hint"] == {"hint-admin-v4addr": "10.0.0.7/24", "hint-admin-macs": ["52:54:00:12:34:56"]}
    assert (node["alive"], node["available"], node["state"]) == (False, False, "NEW")
    changed = api.put("nodes/db1.rack.example.com", {"description": "a database", "available": True, "order": 5})
    assert changed.status_code == 200
    assert (changed.get_json()["description"], changed.get_json()["order"]) == ("a database", 5)
    api.made("deployments", {"name": "data"})
    moved = api.patch(f"nodes/{node['id']}", {"deployment_id": "data"}).get_json()
    assert moved["deployment_id"] == api.get("deployments/data").get_json()["id"]
    assert [row["id"] for row in api.get("deployments/data/nodes?system=false").get_json()] == [node["id"]]
    assert api.get(f"nodes/{node['id']}/power").get_json() == {"actions": []}
    assert "not alive" in api.get(f"nodes/{node['id']}/why").get_json()["summary"]
    assert api.delete(f"nodes/{node['id']}").status_code == 204
    assert api.get(f"nodes/{node['id']}").status_code == 404


def test_binding_brings_what_a_role_needs_and_unbinding_tells_what_goes(api: Api) -> None:
    node = api.made("nodes", {"name": "db1.rack.example.com"})["id"]
    bound = api.made("node_roles", {"node_id": node, "role_id": "web-server"})
    assert len(bound["created"]) == 2
    assert bound["state_name"] == "PROPOSED"
    (parent,) = api.get(f"node_roles/{bound['id']}/parents").get_json()
    assert parent["role"] == "base"
    assert [row["id"] for row in api.get(f"node_roles/{parent['id']}/children").get_json()] == [bound["id"]]
    assert {row["name"] for row in api.get(f"nodes/{node}/roles").get_json()} == {"base", "web-server"}
    assert [row["id"] for row in api.get("roles/base/nodes").get_json()] == [node]
    assert len(api.get(f"nodes/{node}/node_roles").get_json()) == 2
    graph = api.get("deployments/system/graph").get_json()
    assert [(edge["parent_id"], edge["child_id"]) for edge in graph["edges"]] == [(parent["id"], bound["id"])]
    would = api.delete(f"node_roles/{parent['id']}?dry_run=true").get_json()
    assert would["removed"] == ["base on db1.rack.example.com", "web-server on db1.rack.example.com"]
    assert len(api.get("node_roles").get_json()) == 2
    assert sorted(api.delete(f"node_roles/{parent['id']}").get_json()["node_roles"]) == sorted(
        [parent["id"], bound["id"]]
    )
    assert api.get("node_roles").get_json() == []


def test_a_deployment_is_planned_committed_and_recalled(api: Api) -> None:
    api.made("deployments", {"name": "web", "description": "pages"})
    child = api.made("deployments", {"name": "web-test", "parent_id": "web"})
    assert child["parent_id"] == api.get("deployments/web").get_json()["id"]
    node = api.made("nodes", {"name": "w.rack.example.com", "deployment_id": "web", "alive": True, "available": True})[
        "id"
    ]
    api.made("node_roles", {"node_id": node, "role_id": "web-server"})
    plan = api.get("deployments/web/plan").get_json()
    assert [step["role"] for step in plan["steps"]] == ["base", "web-server"]
    assert api.get("runs").get_json() == []
    api.made("node_roles", {"node_id": node, "role_id": "installer"})
    stale = api.put(f"deployments/web/commit?plan={plan['id']}")
    assert stale.status_code == 409
    assert api.get("runs").get_json() == []
    plan = api.get("deployments/web/plan").get_json()
    committed = api.put(f"deployments/web/commit?plan={plan['id']}")
    assert committed.get_json()["state_name"] == "COMMITTED"
    assert len(api.get("runs").get_json()) == 1
    assert api.put("deployments/web/recall").get_json()["state_name"] == "PROPOSED"
    assert api.delete("deployments/web").status_code == 409  # it has a child
    assert api.delete("deployments/web-test").status_code == 204


def test_a_run_is_cancelled_and_its_noderole_held_and_released(api: Api) -> None:
    made = populate(api)
    run = api.get(f"runs/{made.run}").get_json()
    assert api.put(f"runs/{made.run}/cancel").status_code == 200
    assert api.get(f"runs/{made.run}").get_json()["state"] in ("cancelling", "cancelled")
    held = api.get(f"node_roles/{run['node_role_id']}").get_json()
    assert held["available"] is False
    assert api.put(f"node_roles/{run['node_role_id']}/release").get_json()["available"] is True
    assert [row["id"] for row in api.get(f"node_roles/{run['node_role_id']}/runs").get_json()][-1] == made.run


def test_a_pending_run_is_finished_by_its_node(api: Api) -> None:
    made = populate(api)
    run = api.get(f"runs/{made.run}").get_json()
    set_run(api, made.run, state="running", pending=True, started_at=datetime.now(UTC), worker="elsewhere")
    other = next(node for node in made.nodes if node != run["node_id"])
    body = {"succeeded": True, "wall": {"base-size": 5}}
    assert api.put(f"runs/{made.run}/finish", body, who=f"node:{other}").status_code == 403
    assert api.put(f"runs/{made.run}/finish", body, who=f"node:{run['node_id']}").status_code == 200
    assert api.get(f"runs/{made.run}").get_json()["state"] == "succeeded"
    assert api.get(f"node_roles/{run['node_role_id']}").get_json()["state_name"] == "ACTIVE"
    assert api.put(f"runs/{made.run}/finish", body).status_code == 409


def test_a_run_in_steps_shows_its_timeline_and_is_woken_by_its_node(api: Api) -> None:
    made = populate(api)
    run = api.get(f"runs/{made.run}").get_json()
    assert run["timeline"] == []
    other = next(node for node in made.nodes if node != run["node_id"])
    set_run(api, made.run, state="running", started_at=datetime.now(UTC))
    with api.parts.store.write() as session:
        now = api.parts.store.now(session)
        steps.wait(session, now, made.run, step={"name": "copy <b>"}, reason="for the disk", deadline=60.0)
    assert api.put(f"runs/{made.run}/wake", who=f"node:{other}").status_code == 403
    woken = api.put(f"runs/{made.run}/wake", who=f"node:{run['node_id']}")
    assert woken.status_code == 200
    (step,) = woken.get_json()["timeline"]
    assert (step["name"], step["reason"], step["ended_at"]) == ("copy <b>", "for the disk", None)
    assert (datetime.fromisoformat(step["until"]) - datetime.fromisoformat(step["at"])).total_seconds() == 60.0
    assert "timeline" not in api.get("runs").get_json()[0]
    page = api.get(f"/runs/{made.run}").get_data(as_text=True)
    assert "copy &lt;b&gt;" in page
    assert "for the disk" in page
    set_run(api, made.run, state="failed", finished_at=datetime.now(UTC))
    assert api.put(f"runs/{made.run}/wake").status_code == 409
    assert api.put("runs/999999/wake").status_code == 404
    assert api.get(f"runs/{made.run}").get_json()["timeline"][0]["ended_at"] is not None


class Bmc(Hammer):
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"address": {"type": "string"}, "password": {"type": "string", "writeOnly": True}},
    }

    def actions(self) -> tuple[str, ...]:
        return ("status",)

    def perform(self, action: str) -> str:
        return f"{self.node.name} is on at {self.config['address']}"


def test_a_hammer_is_given_shown_without_its_secrets_changed_and_used(api: Api) -> None:
    api.parts.registry._hammers["bmc"] = Bmc
    node = api.made("nodes", {"name": "h1.rack.example.com"})
    config = {"address": "192.0.2.7", "password": "swordfish"}
    made = api.made("hammers", {"node_id": node["id"], "name": "bmc", "priority": 2, "config": config})
    assert made["config"] == {"address": "192.0.2.7", "password": "***"}
    path = f"hammers/{made['id']}"
    changed = api.patch(path, {"config": {**made["config"], "address": "192.0.2.8"}})
    assert changed.get_json()["config"] == {"address": "192.0.2.8", "password": "***"}
    assert api.put(path, {"priority": 7}).get_json()["priority"] == 7
    assert api.patch(path, {"config": {"address": 5}}).status_code == 422
    assert api.patch(path, {"priority": 1}, who="viewer").status_code == 403
    assert "config" not in api.get("hammers").get_json()[0]
    said = api.put(f"nodes/{node['id']}/power", {"action": "status"}).get_json()
    assert said["result"] == "h1.rack.example.com is on at 192.0.2.8"
    known = {one["name"]: one["schema"] for one in api.get("available_hammers").get_json()}
    assert known["bmc"] == Bmc.schema


def test_attributes_are_set_explained_and_unset(api: Api) -> None:
    node = api.made("nodes", {"name": "db1.rack.example.com"})["id"]
    path = f"nodes/{node}/attribs/rack-unit"
    assert api.get(path).get_json()["value"] is None
    assert api.put(f"{path}?now=true", {"value": 12}).get_json()["value"] == 12
    explained = api.get(path + "?explain=true").get_json()
    (wins,) = [layer for layer in explained["layers"] if layer["wins"]]
    assert (wins["source"], wins["value"], wins["actor"]) == ("hint", 12, "admin")
    assert api.delete(f"{path}?now=true").status_code == 204
    assert api.get(path).get_json()["set"] is False
    bound = api.made("node_roles", {"node_id": node, "role_id": "base"})["id"]
    assert api.get(f"node_roles/{bound}/attribs/base-size").get_json()["value"] == 3
    assert {row["name"] for row in api.get("roles/base/attribs").get_json()} == {"base-size", "base-key"}
    assert api.get("attribs/base-size").get_json()["default"] == 3
    assert {row["name"] for row in api.get("barclamps/trial/attribs").get_json()} == {
        "base-size",
        "base-key",
        "rack-unit",
    }


def test_a_role_is_added_to_a_deployment_with_its_values(api: Api) -> None:
    api.made("deployments", {"name": "web"})
    added = api.made("deployment_roles", {"deployment_id": "web", "role_id": "base"})
    assert (added["deployment"], added["role"]) == ("web", "base")
    assert api.put(f"deployment_roles/{added['id']}/attribs/base-size", {"value": 9}).get_json()["value"] == 9
    assert api.get(f"deployment_roles/{added['id']}").get_json()["committed_data"] == {}
    assert api.put(f"deployment_roles/{added['id']}/commit").status_code == 200
    assert api.get(f"deployment_roles/{added['id']}").get_json()["committed_data"] == {"base-size": 9}
    assert [row["name"] for row in api.get("deployments/web/roles").get_json()] == ["base"]
    assert api.delete(f"deployment_roles/{added['id']}").status_code == 204
    assert api.get("deployments/web/deployment_roles").get_json() == []


def test_groups_and_their_members(api: Api) -> None:
    node = api.made("nodes", {"name": "db1.rack.example.com"})["id"]
    api.made("groups", {"name": "rack-1", "category": "rack"})
    assert api.put(f"groups/rack-1/nodes/{node}").get_json()["node_count"] == 1
    assert api.put(f"groups/rack-1/nodes/{node}").get_json()["node_count"] == 1
    assert api.get(f"nodes/{node}").get_json()["groups"] == ["rack-1"]
    assert [row["name"] for row in api.get(f"nodes/{node}/groups").get_json()] == ["rack-1"]
    inventory = api.get("/api/status/inventory").get_json()
    assert inventory["group_rack_1"]["hosts"] == ["db1.rack.example.com"]
    assert inventory == api.get("status/inventory").get_json()
    assert api.delete(f"groups/rack-1/nodes/{node}").status_code == 204
    assert api.delete(f"groups/rack-1/nodes/{node}").status_code == 404
    api.made("groups", {"name": "rack-1", "category": "tag"})
    assert api.get("groups/rack-1").status_code == 409  # which of the two?


def test_a_failed_delivery_is_shown_and_tried_again(api: Api) -> None:
    made = populate(api)
    (row,) = api.get("events/deliveries?state=failed").get_json()
    assert (row["id"], row["plugin"], row["hook"], row["error"]) == (made.delivery, "trial", "on_active", "it broke")
    event = api.get(f"events/{row['event_id']}").get_json()
    assert [delivery["id"] for delivery in event["deliveries"]] == [made.delivery]
    assert api.get("status/queue").get_json()["deliveries_failed"] == 1
    assert api.post(f"events/deliveries/{made.delivery}/retry").get_json()["state"] == "waiting"
    assert api.post(f"events/deliveries/{made.delivery}/retry").status_code == 409
    assert api.post("events/deliveries/99999/retry").status_code == 404


def test_what_is_installed_is_listed(api: Api) -> None:
    assert {row["name"] for row in api.get("jigs").get_json()} >= {"noop", "python"}
    assert api.get("barclamps/trial").get_json()["state"] == "loaded"
    assert "register_barclamp" in api.get("barclamps/trial/hooks").get_json()
    assert {row["name"] for row in api.get("barclamps/trial/roles").get_json()} == {
        "base",
        "web-server",
        "installer",
        "idea",
    }
    role = api.get("roles/web-server").get_json()
    assert (role["requires"], role["wants"], role["abstract"]) == (["base"], ["base-size"], False)
    assert [row["name"] for row in api.get("roles?abstract=true").get_json()] == ["idea"]
    assert isinstance(api.get("available_hammers").get_json(), list)
    assert api.post("hammers", {"node_id": 1, "name": "nothing"}).status_code == 404


def test_a_commit_by_two_at_once_happens_once_or_is_harmless(api: Api) -> None:
    made = populate(api)
    runs = len(api.get("runs").get_json())
    assert {api.put("deployments/web/commit").status_code for _ in range(3)} <= {200, 409}
    assert len(api.get("runs").get_json()) == runs
    assert api.get(f"runs/{made.run}").get_json()["state"] == "queued"


def test_a_node_says_how_it_lives_beside_its_state(api: Api) -> None:
    new = api.made("nodes", {"name": "new.life.example.com"})
    assert (new["state"], new["life"], new["alive_at"]) == ("NEW", "new", None)
    idle = api.made("nodes", {"name": "idle.life.example.com", "alive": True})
    assert (idle["state"], idle["life"]) == ("IDLE", "alive")
    assert idle["alive_at"] is not None
    dead = api.patch(f"nodes/{idle['id']}", {"alive": False}).get_json()
    assert (dead["state"], dead["life"]) == ("DEAD", "dead")
    assert [one["name"] for one in api.get("nodes?life=new").get_json()] == ["new.life.example.com"]
    assert [one["name"] for one in api.get("nodes?state=dead").get_json()] == ["idle.life.example.com"]


def test_a_noderole_whose_run_nobody_has_begun_says_that_it_is_queued(api: Api) -> None:
    made = populate(api)
    queued = api.get(f"node_roles?node_id={made.nodes[0]}&state_name=TRANSITION").get_json()
    assert {one["run_state"] for one in queued} == {"queued"}
    set_run(api, made.run, state="running", started_at=datetime.now(UTC), worker="w")
    run = api.get(f"runs/{made.run}").get_json()
    assert api.get(f"node_roles/{run['node_role_id']}").get_json()["run_state"] == "running"
    of_node = api.get(f"node_roles?node_id={run['node_id']}").get_json()
    assert {one["run_state"] for one in of_node if one["id"] != run["node_role_id"]} == {None}
    set_run(api, made.run, state="succeeded", finished_at=datetime.now(UTC))
    assert {one["run_state"] for one in api.get(f"node_roles?node_id={run['node_id']}").get_json()} == {None}
