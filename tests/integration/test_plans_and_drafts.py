"""Plans and drafts as they are asked for over the API: everything that changes what runs can be planned, and is not
done by that; what is set is a draft until it is committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crowbar_core import Attribute, Barclamp, Role, hookimpl
from crowbar_core.services.cluster.planning import Plan, PlanStep
from crowbar_core.web.ui.plans import plan_page
from tests.integration.api import Api, serving

SECRET = "s3cret-of-the-plan"


class Web:
    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="plans",
            roles=(
                Role(name="disk", destructive=True),
                Role(
                    name="page",
                    requires=("disk",),
                    wants=("site",),
                    attributes=(
                        Attribute(name="page-text", schema={"type": "string"}, default="hello", map="page/text"),
                        Attribute(name="page-key", schema={"type": "string"}, map="page/key", secret=True),
                    ),
                ),
            ),
            attributes=(Attribute(name="site", schema={"type": "integer"}, map="site"),),
        )


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(database_url, tmp_path, plugins=[("plans", Web())]) as made:
        yield made


@pytest.fixture
def placed(api: Api) -> dict[str, Any]:
    """Two nodes in a deployment, each with disk and page, of which nothing is committed."""
    found: dict[str, Any] = {"deployment": api.made("deployments", {"name": "web"})["id"]}
    for name in ("one", "two"):
        made = api.made("nodes", {"name": f"{name}.test.example", "deployment_id": "web", "alive": True})
        found[name] = made["id"]
        api.made("node_roles", {"node_id": made["id"], "role_id": "disk", "deployment_id": "web"})
        found[f"page of {name}"] = api.made(
            "node_roles", {"node_id": made["id"], "role_id": "page", "deployment_id": "web"}
        )["id"]
    api.token("viewer")
    return found


def ok(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_json(silent=True)


PLANNED = [
    ("PUT", "deployments/web/commit", None, "Commit deployment web"),
    ("PUT", "deployments/web/propose", None, "Propose deployment web"),
    ("PUT", "deployments/web/recall", None, "Recall deployment web"),
    ("DELETE", "deployments/web", None, "Destroy deployment web"),
    ("PUT", "nodes/one.test.example/commit", None, "Commit node one.test.example"),
    ("PUT", "nodes/one.test.example/propose", None, "Propose node one.test.example"),
    ("PUT", "nodes/one.test.example/redeploy", None, "Redeploy node one.test.example"),
    ("DELETE", "nodes/one.test.example", None, "Destroy node one.test.example"),
    ("PATCH", "nodes/one.test.example", {"deployment_id": "system"}, "Change node one.test.example"),
    ("PUT", "nodes/one.test.example", {"available": True}, "Change node one.test.example"),
    ("POST", "node_roles", {"node_id": "one.test.example", "role_id": "web-server"},
     "Bind web-server to one.test.example, and commit it"),
    ("DELETE", "node_roles/{page of one}", None, "Unbind noderole {page of one}"),
    ("PUT", "node_roles/{page of one}/commit", None, "Commit noderole {page of one}"),
    ("PUT", "node_roles/{page of one}/propose", None, "Propose noderole {page of one}"),
    ("PUT", "nodes/one.test.example/attribs/site", {"value": 3}, "Set site on node one.test.example"),
    ("DELETE", "nodes/one.test.example/attribs/site", None, "Unset site on node one.test.example"),
    ("PUT", "node_roles/{page of one}/attribs/page-text", {"value": "x"}, "Set page-text on noderole {page of one}"),
    ("PUT", "deployments/web/attribs/site", {"value": 3}, "Set site for deployment web"),
    ("DELETE", "deployments/web/attribs/site?role=page", None, "Unset site for deployment web"),
    ("PUT", "nodes/one.test.example/drafts/commit", None, "Commit the drafts of node one.test.example"),
]  # fmt: skip


@pytest.mark.parametrize("method, path, body, title", PLANNED, ids=[f"{one[0]} {one[1]}" for one in PLANNED])
def test_a_dry_run_answers_with_the_plan_and_changes_nothing(
    api: Api, placed: dict[str, Any], method: str, path: str, body: Any, title: str
) -> None:
    api.token("operator")
    before = api.dump()
    where = path.format_map(placed)
    plan = ok(api.call(method, f"{where}{'&' if '?' in where else '?'}dry_run=true", json=body, who="operator"))
    assert plan["title"] == title.format_map(placed)
    assert len(plan["id"]) == 16
    assert {"steps", "values", "counts", "destroys", "removed", "lines", "unsteady", "seconds"} <= plan.keys()
    assert api.dump() == before
    assert (
        api.call(method, f"{where}{'&' if '?' in where else '?'}dry_run=true", json=body, who="viewer").status_code
        == 403
    )


def test_a_plan_has_waves_counts_and_what_destroys_and_its_id_is_insisted_on(api: Api, placed: dict[str, Any]) -> None:
    for name in ("one", "two"):
        ok(api.patch(f"nodes/{placed[name]}", {"available": True}))
    plan = ok(api.get("deployments/web/plan", who="viewer"))
    assert plan["counts"] == {"disk": {"run": 2}, "page": {"run": 2}}
    assert plan["destroys"] == ["disk on one.test.example", "disk on two.test.example"]
    assert [(step["wave"], step["role"]) for step in plan["steps"]] == [
        (1, "disk"),
        (1, "disk"),
        (2, "page"),
        (2, "page"),
    ]
    ok(api.put(f"node_roles/{placed['page of one']}/attribs/page-text", {"value": "other"}))
    refused = api.put(f"deployments/web/commit?plan={plan['id']}")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "plan-changed")
    fresh = ok(api.get("deployments/web/plan"))
    (value,) = fresh["values"]
    assert (value["origin"], value["attribute"], value["new"]) == ("page on one.test.example", "page-text", "other")
    ok(api.put(f"deployments/web/commit?plan={fresh['id']}"))


def test_destroying_is_planned_with_all_that_goes_or_refused_with_the_reason(api: Api, placed: dict[str, Any]) -> None:
    plan = ok(api.delete("deployments/web?dry_run=true"))
    assert {"deployment web", "page on one.test.example", "disk on two.test.example"} <= set(plan["removed"])
    assert api.delete("deployments/system?dry_run=true").status_code == 409
    assert api.delete("nodes/nobody.test.example?dry_run=true").status_code == 404


def test_a_value_is_a_draft_shown_old_and_new_until_it_is_committed_or_discarded(
    api: Api, placed: dict[str, Any]
) -> None:
    page = placed["page of one"]
    ok(api.put("deployments/web/commit"))
    where = f"node_roles/{page}"
    for text in ("first", "second"):
        ok(api.put(f"{where}/attribs/page-text", {"value": text}, who="operator"))
    ok(api.put(f"{where}/attribs/page-key", {"value": SECRET}))
    drafts = {one["attribute"]: one for one in ok(api.get(f"{where}/drafts", who="viewer"))}
    assert (drafts["page-text"]["old_set"], drafts["page-text"]["new"]) == (False, "second")
    assert drafts["page-text"]["actor"] == "operator"
    assert drafts["page-key"]["new"] == "***"
    assert {"attribute": "page-text", "path": "page/text", "old": None, "new": "second"} in ok(api.get(where))["drafts"]
    assert ok(api.get("deployments/web?fields=drafts"))["drafts"][0]["on"] == "page on one.test.example"
    assert SECRET not in api.get("deployments/web/drafts").get_data(as_text=True)
    assert ok(api.put(f"{where}/drafts/commit")) == {"committed": 2}
    assert ok(api.get(where))["drafts"] == []
    ok(api.put(f"{where}/attribs/page-text", {"value": "third"}))
    assert ok(api.put("deployments/web/drafts/discard")) == {"discarded": 1}
    shown = ok(api.get(f"{where}/attribs/page-text"))
    assert shown["value"] == "second"


def test_now_commits_just_the_one_value(api: Api, placed: dict[str, Any]) -> None:
    ok(api.put("deployments/web/commit"))
    where = f"nodes/{placed['one']}"
    ok(api.put(f"{where}/attribs/site", {"value": 1}))
    ok(api.put(f"node_roles/{placed['page of one']}/attribs/page-text?now=true", {"value": "at once"}))
    assert ok(api.get(f"node_roles/{placed['page of one']}"))["drafts"] == []
    assert [one["new"] for one in ok(api.get(where))["drafts"]] == [1], "the other draft stays"
    ok(api.delete(f"{where}/attribs/site?now=true"), 204)
    assert ok(api.get(where))["drafts"] == []


def test_a_value_for_the_whole_deployment_reaches_what_lies_on_nodes_too(api: Api, placed: dict[str, Any]) -> None:
    ok(api.put("deployments/web/commit"))
    assert ok(api.put("deployments/web/attribs/site", {"value": 7})) == {"attribute": "site", "roles": ["page"]}
    (draft,) = ok(api.get("deployments/web/drafts"))
    assert (draft["name"], draft["attribute"], draft["new"]) == ("page in web", "site", 7)
    plan = ok(api.put("deployments/web/attribs/site?dry_run=true", {"value": 7}))
    (value,) = plan["values"]
    assert (value["origin"], value["attribute"], value["new"]) == ("page in web", "site", 7)
    assert api.put("deployments/web/attribs/rack-unit", {"value": 7}).status_code == 409
    assert api.put("deployments/web/attribs/site?role=nothing", {"value": 7}).status_code == 409


def test_ten_thousand_steps_are_a_page_of_a_few_folded_rows(sqlite_url: str, tmp_path: Path) -> None:
    steps = tuple(
        PlanStep(
            node_role_id=number, node=f"n{number % 5000}.test.example", role=("disk", "page")[number // 5000],
            deployment="web", kind="run", wave=1 + number // 5000, cohort=1 + number // 5000,
            destructive=number < 5000,
        )
        for number in range(10_000)
    )  # fmt: skip
    plan = Plan(id="0123456789abcdef", title="Commit deployment web", steps=steps)
    with serving(sqlite_url, tmp_path) as api, api.app.test_request_context("/deployments/1/plan"):
        answer = plan_page(plan, url="/deployments/1/commit", fields={"plan": plan.id}, leave="/deployments/1")
        page = answer.get_data(as_text=True)
    assert "<b>10,000</b> run" in page
    assert page.count("<details>") == 2, "one row for each role"
    assert page.count("<li") < 600
    assert "and 4,800 more" in page
    assert page.index('id="summary"') < page.index('id="steps"')
