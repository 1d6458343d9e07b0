"""Destroying asks first: what is told of the loss, on both databases; and that no form of a page destroys unasked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from crowbar_core import Barclamp, Role, Task, hookimpl
from crowbar_core.barclamp import Hammer
from crowbar_core.errors import BadInput, NotFound, Refused
from crowbar_core.services.cluster import groups, steering
from crowbar_core.services.cluster.losses import Loss, confirm, losses
from crowbar_core.services.engine.runner import Runner
from crowbar_core.services.people import users
from crowbar_core.store.models import HammerRow, table
from tests.integration.api import PASSWORDS, Api, serving
from tests.integration.cluster import OPERATOR, Cluster
from tests.integration.conftest import NewCluster

ROLES = (
    Role(name="disk", destructive=True),
    Role(name="floor", requires=("disk",)),
    Role(name="site", requires=("floor",)),
    Role(name="wipe", destructive=True, requires=("site",)),
)


class Switch(Hammer):
    def actions(self) -> tuple[str, ...]:
        return ("on", "off", "cycle", "status")

    def perform(self, action: str) -> str:
        return f"switched {action}"


def told(loss: Loss) -> dict[str, tuple[str, ...]]:
    return {section.title: section.lines for section in loss.sections}


@pytest.fixture
def cluster(new_cluster: NewCluster) -> Cluster:
    """``one`` has done disk, floor and site; ``two`` has a site that stands on the floor of ``one``."""
    made = new_cluster(*ROLES)
    made.parts.registry._hammers["switch"] = Switch
    made.deployment("web")
    made.node("one", hammers=[("switch", 0, {})])
    made.node("two")
    made.bind("one", "site")
    made.bind("two", "site")
    made.commit_all()
    made.anneal()
    return made


def node_role(cluster: Cluster, name: str) -> int:
    return next(ref for ref, named in cluster.named().items() if named == name)


def test_destroying_a_node_names_what_goes_and_what_leans_on_it(cluster: Cluster) -> None:
    loss = losses(cluster.parts, "nodes", cluster.nodes["one"], "destroy")
    assert (loss.name, loss.asks, loss.subject) == ("one.test.example", True, "node one.test.example")
    found = told(loss)
    assert found["Noderoles that go"] == tuple(f"{role} on one.test.example" for role in ("disk", "floor", "site"))
    assert found["What depends on it elsewhere"] == ("site on two.test.example",)
    assert "Runs under way" not in found


def test_redeploying_names_destructive_roles_and_those_that_wait(cluster: Cluster) -> None:
    loss = losses(cluster.parts, "nodes", cluster.nodes["one"], "redeploy")
    assert told(loss) == {
        "Destructive roles that will run: what is on the disks is lost": ("disk on one.test.example",),
        "Noderoles that run again": ("floor on one.test.example", "site on one.test.example"),
        "What depends on it elsewhere and has to wait": ("site on two.test.example",),
    }


def test_power_that_stops_a_node_asks_and_the_gentle_actions_do_not(cluster: Cluster) -> None:
    node_id = cluster.nodes["one"]
    for action, asks in (("off", True), ("cycle", True), ("on", False), ("status", False)):
        assert losses(cluster.parts, "nodes", node_id, action).asks is asks
    assert told(losses(cluster.parts, "nodes", node_id, "off"))["Noderoles that run again"] == (
        "floor on one.test.example", "site on one.test.example",
    ), "what has destroyed data once is passed over"  # fmt: skip
    steering.rerun(cluster.parts, OPERATOR, node_role(cluster, "site@one"))
    run = cluster.claim(node_role(cluster, "site@one"))
    assert told(losses(cluster.parts, "nodes", node_id, "off"))["Runs under way"] == (
        f"run {run}: site on one.test.example",
    )
    said = r"node two\.test\.example can 'off'; it has none\. `crowbar hammers create two\.test\.example KIND`"
    with pytest.raises(Refused, match=said):
        losses(cluster.parts, "nodes", cluster.nodes["two"], "off")
    with pytest.raises(Refused, match="they can"):
        losses(cluster.parts, "nodes", node_id, "explode {0}")


def test_a_commit_asks_only_if_it_runs_a_destructive_role(cluster: Cluster) -> None:
    assert not losses(cluster.parts, "deployments", cluster.system, "commit").asks
    cluster.node("three")
    fresh = cluster.bind("three", "disk")
    for kind, key, name in (
        ("deployments", cluster.system, "system"),
        ("nodes", cluster.nodes["three"], "three.test.example"),
        ("node_roles", fresh, "three.test.example/disk"),
    ):
        loss = losses(cluster.parts, kind, key, "commit")
        assert (loss.asks, loss.name) == (True, name)
        assert list(told(loss).values()) == [("disk on three.test.example",)]
    # What has succeeded before is passed over, and destroys nothing.
    steering.propose(cluster.parts, OPERATOR, node_role(cluster, "disk@one"))
    assert not losses(cluster.parts, "nodes", cluster.nodes["one"], "commit").asks


def test_a_commit_asks_for_what_waited_for_it_too(cluster: Cluster) -> None:
    cluster.node("three")
    cluster.bind("three", "wipe")
    cluster.commit_all()
    site = node_role(cluster, "site@one")
    steering.propose(cluster.parts, OPERATOR, site)
    waiting = {ref: cluster.state(ref).name for ref, name in cluster.named().items() if name.startswith("wipe")}
    assert set(waiting.values()) == {"BLOCKED"}
    assert "wipe on three.test.example" in [
        line for lines in told(losses(cluster.parts, "node_roles", site, "commit")).values() for line in lines
    ]


def test_unbinding_asks_unless_nothing_of_it_was_ever_committed(cluster: Cluster) -> None:
    loss = losses(cluster.parts, "node_roles", node_role(cluster, "site@two"), "unbind")
    assert (loss.asks, loss.name) == (True, "two.test.example/site")
    assert told(loss) == {"Noderoles that go": ("site on two.test.example",)}
    with pytest.raises(Refused, match="site on two"):
        losses(cluster.parts, "node_roles", node_role(cluster, "floor@one"), "unbind")
    cluster.node("three")
    assert not losses(cluster.parts, "node_roles", cluster.bind("three", "site"), "unbind").asks


def test_destroying_a_deployment_names_its_noderoles_its_nodes_and_its_values(cluster: Cluster) -> None:
    made = cluster.deployment("shop")
    for number in range(7):
        cluster.node(f"s{number}", deployment_id=made)
        cluster.bind(f"s{number}", "site", made)
    loss = losses(cluster.parts, "deployments", made, "destroy")
    found = told(loss)
    assert found["Noderoles that go"][-1] == (
        f"site on {', '.join(f's{number}.test.example' for number in range(5))} and 2 more"
    )
    assert next(one.count for one in loss.sections if one.title == "Noderoles that go") == 7
    assert found["Nodes that go to deployment system"][0].startswith("s0.test.example, s1.test.example")
    assert found["Roles whose values for this deployment go"] == ("site",)


def test_groups_users_and_hammers_tell_what_goes_with_them(cluster: Cluster) -> None:
    group = groups.create_group(cluster.parts, OPERATOR, name="rack-1")
    assert not losses(cluster.parts, "groups", group, "destroy").asks
    groups.add_node(cluster.parts, OPERATOR, group, cluster.nodes["one"])
    loss = losses(cluster.parts, "groups", group, "destroy")
    assert (loss.asks, told(loss)) == (True, {"Nodes in it": ("one.test.example",)})
    user = users.create_user(cluster.parts, OPERATOR, name="eve", password="long enough 17", role="viewer")
    users.create_token(cluster.parts, OPERATOR, user_id=user, name="of a script")
    loss = losses(cluster.parts, "users", user, "destroy")
    assert (loss.asks, told(loss)) == (True, {"Tokens that end at once": ("of a script",)})
    hammer = cluster.rows(select(table(HammerRow).c.id))[0].id
    loss = losses(cluster.parts, "hammers", hammer, "destroy")
    assert (loss.asks, loss.name) == (True, "switch")
    assert losses(cluster.parts, "hammers", hammer, "off").name == "one.test.example"


def test_only_the_name_lets_it_go_on_and_what_is_not_known_is_refused(cluster: Cluster) -> None:
    node_id = cluster.nodes["one"]
    for typed in ("", "one", "two.test.example", "one.test.example.", "yes"):
        assert confirm(cluster.parts, "nodes", node_id, "destroy", typed) is not None
    assert confirm(cluster.parts, "nodes", node_id, "destroy", " One.Test.Example ") is None
    with pytest.raises(NotFound):
        losses(cluster.parts, "nodes", 9999, "destroy")
    with pytest.raises(BadInput, match="known here: destroy"):
        losses(cluster.parts, "groups", 1, "redeploy")


# ---------------------------------------------------------------- the pages


def pitch(task: Task) -> None:
    task.log("strikes it" if task.teardown else "pitches it")


class Trial:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="destroyer", roles=(*ROLES, Role(name="tent", jig="python", run=pitch, teardown=pitch)))


@pytest.fixture
def api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path, plugins=[("destroyer", Trial())]) as made:
        made.parts.registry._hammers["switch"] = Switch
        yield made


@pytest.fixture
def operator(api: Api) -> FlaskClient:
    api.token("admin")
    browser = api.browser()
    page = browser.get("/login").get_data(as_text=True)
    form = {"name": "admin", "password": PASSWORDS["admin"], "csrf_token": csrf(page)}
    assert browser.post("/login", data=form).status_code == 303
    return browser


def csrf(page: str) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"|name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    return found[1] or found[2]


def made(api: Api) -> dict[str, Any]:
    deployment = api.made("deployments", {"name": "web"})["id"]
    node = api.made(
        "nodes",
        {"name": "one.test.example", "deployment_id": "web", "alive": True, "hammers": [{"name": "switch"}]},
    )["id"]
    bound = api.made("node_roles", {"node_id": node, "role_id": "floor", "deployment_id": "web"})["id"]
    assert api.put("deployments/web/commit").status_code == 200
    other = api.made("nodes", {"name": "two.test.example", "deployment_id": "web"})["id"]
    fresh = api.made("node_roles", {"node_id": other, "role_id": "disk", "deployment_id": "web"})["id"]
    api.token("viewer")
    user = next(row["id"] for row in api.get("users").get_json() if row["name"] == "viewer")
    return {"deployment": deployment, "node": node, "bound": bound, "other": other, "fresh": fresh, "user": user}


FORMS = [
    ("/nodes/{node}/destroy", {}, "one.test.example"),
    ("/nodes/{node}/redeploy", {}, "one.test.example"),
    ("/nodes/{node}/power", {"action": "off"}, "one.test.example"),
    ("/nodes/{node}/power", {"action": "cycle"}, "one.test.example"),
    ("/nodes/{other}/commit", {}, "two.test.example"),
    ("/deployments/{deployment}/destroy", {}, "web"),
    ("/deployments/{deployment}/commit", {}, "web"),
    ("/noderoles/{bound}/unbind", {}, "one.test.example/floor"),
    ("/noderoles/{fresh}/commit", {}, "two.test.example/disk"),
    ("/users/{user}/destroy", {}, "viewer"),
]


@pytest.mark.parametrize("url, fields, name", FORMS, ids=[f"{url}-{len(more)}" for url, more, _ in FORMS])
def test_no_form_destroys_before_the_name_was_typed(
    api: Api, operator: FlaskClient, url: str, fields: dict[str, str], name: str
) -> None:
    where = url.format(**made(api))
    before = api.dump()
    token = csrf(operator.get("/").get_data(as_text=True))
    for typed in ({}, {"typed": ""}, {"typed": "something else"}):
        answer = operator.post(where, data={"csrf_token": token, **fields, **typed})
        assert answer.status_code == 303
        assert answer.location.startswith("/ask/"), "the way leads to the page that asks"
        assert api.dump() == before, "nothing was done"
    page = operator.get(answer.location).get_data(as_text=True)
    assert "What will be lost" in page
    assert f'Type <b class="mono">{name}</b> to confirm' in page
    # What the page sends is what does it.
    form = page[page.index(f'action="{where}"') :]
    sent = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form.partition("</form>")[0]))
    answer = operator.post(where, data={**sent, "typed": name})
    assert not answer.location.startswith("/ask/")
    assert api.dump() != before


def pitched(api: Api) -> tuple[int, int]:
    """A node that is alive, and a tent on it that has been pitched."""
    node = api.made("nodes", {"name": "one.test.example", "alive": True, "available": True})["id"]
    tent = api.made("node_roles", {"node_id": node, "role_id": "tent"})["id"]
    assert api.put(f"node_roles/{tent}/commit").status_code == 200
    Runner(api.parts).execute_here([row["id"] for row in api.get("runs").get_json()])
    assert api.get(f"node_roles/{tent}").get_json()["state_name"] == "ACTIVE"
    return node, tent


def test_a_page_that_destroys_offers_to_force_what_would_be_torn_down(api: Api, operator: FlaskClient) -> None:
    node, tent = pitched(api)
    for url in (f"/ask/nodes/{node}/destroy", f"/ask/node_roles/{tent}/unbind"):
        page = operator.get(url).get_data(as_text=True)
        assert "tent on one.test.example" in page[page.index("Torn down on their nodes") :]
        assert 'name="force"' in page
    token = csrf(page)
    sent = {"csrf_token": token, "typed": "one.test.example/tent"}
    planned = operator.post(f"/noderoles/{tent}/unbind", data={**sent, "rehearse": "yes", "force": "true"})
    planned_page = planned.get_data(as_text=True)
    assert planned_page.count('name="force"') == 1, "what was forced is forced by the button below the plan, too"
    assert operator.post(f"/noderoles/{tent}/unbind", data=sent).location == f"/noderoles/{tent}"
    assert api.get(f"node_roles/{tent}").get_json()["leaving"], "what it made is torn down first"
    assert "goes when what was made on the node is torn down" in operator.get("/").get_data(as_text=True)
    answer = operator.post(f"/noderoles/{tent}/unbind", data={**sent, "force": "true"})
    assert (answer.location, api.get(f"node_roles/{tent}").status_code) == ("/noderoles", 404)


def test_many_are_removed_by_force_in_one_request(api: Api) -> None:
    node, tent = pitched(api)
    told = api.get(f"node_roles/{tent}/losses?act=unbind&force=true").get_json()
    assert (told["tears_down"], told["summary"].endswith("What they did there stays as it is.")) == (False, True)
    planned = api.post("node_roles/bulk/unbind?force=true&dry_run=true", {"node_roles": [tent]}).get_json()
    assert planned["steps"] == []
    assert api.post("nodes/bulk/delete", {"nodes": [node]}).status_code == 200
    assert api.get(f"nodes/{node}").status_code == 200, "it is being torn down"
    gone = api.post("nodes/bulk/delete?force=true", {"nodes": [node]})
    assert gone.status_code == 200, gone.get_data(as_text=True)
    assert api.get(f"nodes/{node}").status_code == 404


def test_a_deployment_is_destroyed_by_force_over_what_is_to_be_torn_down(api: Api) -> None:
    home = api.made("deployments", {"name": "camp"})["id"]
    node = api.made("nodes", {"name": "one.test.example", "alive": True, "available": True, "deployment_id": home})[
        "id"
    ]
    tent = api.made("node_roles", {"node_id": node, "role_id": "tent", "deployment_id": home})["id"]
    assert api.put("deployments/camp/commit").status_code == 200
    Runner(api.parts).execute_here([row["id"] for row in api.get("runs").get_json()])
    assert api.call("DELETE", "deployments/camp").status_code == 409
    assert api.call("DELETE", "deployments/camp?force=true").status_code == 204
    assert api.get(f"node_roles/{tent}").status_code == 404


def test_a_viewer_may_look_at_what_would_be_lost_and_is_offered_no_button(api: Api) -> None:
    node = made(api)["node"]
    browser = api.browser()
    page = browser.get("/login").get_data(as_text=True)
    browser.post("/login", data={"name": "viewer", "password": PASSWORDS["viewer"], "csrf_token": csrf(page)})
    page = browser.get(f"/ask/nodes/{node}/destroy").get_data(as_text=True)
    assert "Noderoles that go" in page
    assert '<button class="danger">' not in page
    assert browser.get(f"/ask/users/{node}/destroy").status_code == 403


def test_the_api_tells_the_loss_by_name_or_id(api: Api) -> None:
    ids = made(api)
    for ref in ("one.test.example", ids["node"]):
        loss = api.get(f"nodes/{ref}/losses?act=destroy", who="viewer").get_json()
        assert (loss["name"], loss["asks"]) == ("one.test.example", True)
        assert loss["sections"][0]["title"] == "Noderoles that go"
    assert api.get("nodes/one.test.example/losses?act=explode").status_code == 409
    assert api.get("nodes/one.test.example/losses").status_code == 422
    assert api.get("users/viewer/losses?act=destroy", who="viewer").status_code == 403
