"""A barclamp with a table, a resource and pages, made of public names alone: the same on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import crowbar_example_inventory
import pytest

from crowbar_core.testing import Testbed

ASSETS = "/api/v2/assets"


@pytest.fixture
def bed(database_url: str) -> Iterator[Testbed]:
    with Testbed(crowbar_example_inventory, database_url=database_url) as made:
        yield made


@pytest.fixture
def web(bed: Testbed) -> Any:
    return bed.web("operator")


def names(answer: Any) -> list[str]:
    return [one["name"] for one in answer.json]


def test_a_resource_of_a_barclamp_has_the_habits_of_the_core_s(bed: Testbed, web: Any) -> None:
    bed.add_node("n1")
    for number in range(5):
        node = {"node_id": "n1.example.test"} if number == 3 else {}
        assert web.post(ASSETS, json={"name": f"S-{number}", "place": f"rack {number % 2}", **node}).status_code == 201
    # lists: paged by key, filtered, sorted, counted, with chosen fields
    first = web.get(f"{ASSETS}?sort=-name&limit=2&count=true&fields=name")
    assert first.json == [{"name": "S-4"}, {"name": "S-3"}]
    assert first.headers["X-Total-Count"] == "5"
    onward = first.headers["Link"].partition(">")[0].removeprefix("<")
    assert names(web.get(onward)) == ["S-2", "S-1"]
    assert names(web.get(f"{ASSETS}?place=rack+1")) == ["S-1", "S-3"]
    assert names(web.get(f"{ASSETS}?node=n1.example.test")) == ["S-3"]
    assert names(web.post(f"{ASSETS}/match", json={"place": "rack 0", "covered": True})) == ["S-0", "S-2", "S-4"]
    assert set(web.get(f"{ASSETS}/sample").json) == set(web.get(f"{ASSETS}/S-0").json)
    refused = web.get(f"{ASSETS}?colour=red")
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, "?colour")


def test_an_asset_is_changed_by_one_of_those_who_read_the_same(web: Any) -> None:
    made = web.post(ASSETS, json={"name": "S-1"})
    tag = {"If-Match": made.headers["ETag"]}
    assert web.get(f"{ASSETS}/S-1", headers={"If-None-Match": made.headers["ETag"]}).status_code == 304
    assert web.patch(f"{ASSETS}/S-1", json={"place": "here"}, headers=tag).status_code == 200
    assert web.put(f"{ASSETS}/S-1", json={"place": "there"}, headers=tag).status_code == 412
    assert web.delete(f"{ASSETS}/S-1", headers=tag).status_code == 412
    assert web.get(f"{ASSETS}/S-1").json["place"] == "here"


def test_what_is_wrong_with_an_asset_is_told_as_a_problem(bed: Testbed, web: Any) -> None:
    assert web.post(ASSETS, json={"name": "S-1"}).status_code == 201
    wrong = web.post(ASSETS, json={"name": "7", "node_id": 5, "colour": "red", "warranty_until": "soon"})
    assert (wrong.status_code, wrong.mimetype) == (422, "application/problem+json")
    assert {one["pointer"] for one in wrong.json["errors"]} == {"/name", "/colour", "/warranty_until"}
    nowhere = web.post(ASSETS, json={"name": "S-2", "node_id": "n9"})
    assert (nowhere.status_code, nowhere.json["errors"][0]["pointer"]) == (422, "/node_id")
    twice = web.post(ASSETS, json={"name": "S-1"})
    assert twice.status_code == 409
    assert "(of barclamp inventory) with the same name already" in twice.json["detail"]
    assert web.get(f"{ASSETS}/S-9").json["detail"].startswith("There is no asset S-9;")
    assert bed.web("viewer").post(ASSETS, json={"name": "S-3"}).status_code == 403


def test_an_asset_is_made_once_for_one_idempotency_key(web: Any) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = (web.post(ASSETS, json={"name": "S-1"}, headers=key) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.json == first.json
    assert len(web.get(ASSETS).json) == 1


def test_the_openapi_document_describes_the_resource(web: Any) -> None:
    described = web.get("/api/v2/openapi.json").json
    listed, one = described["paths"][ASSETS], described["paths"][f"{ASSETS}/{{asset}}"]
    assert set(listed) == {"get", "post"}
    assert set(one) == {"get", "put", "patch", "delete"}
    assert {"limit", "after", "sort", "name", "covered"} <= {item["name"] for item in listed["get"]["parameters"]}
    shown = described["components"]["schemas"]["Asset"]["properties"]
    assert shown["warranty_until"] == {"type": ["string", "null"], "format": "date"}
    assert shown["node"]["type"] == ["string", "null"]


def test_a_node_that_goes_leaves_its_asset(bed: Testbed, web: Any) -> None:
    bed.add_node("n1")
    web.post(ASSETS, json={"name": "S-1", "node_id": "n1.example.test"})
    bed.delete_node("n1")
    assert web.get(f"{ASSETS}/S-1").json["node"] is None


def test_a_warranty_that_ends_is_noted_once(bed: Testbed, web: Any) -> None:
    until = bed.clock().date()
    web.post(ASSETS, json={"name": "S-1", "warranty_until": until.isoformat()})
    web.post(ASSETS, json={"name": "S-2", "warranty_until": (until + timedelta(days=9)).isoformat()})
    bed.periodic("warranties")
    assert names(web.get(f"{ASSETS}?covered=false")) == []
    bed.clock.advance(2 * 86400)  # type: ignore[attr-defined]
    bed.periodic("warranties")
    bed.periodic("warranties")
    assert names(web.get(f"{ASSETS}?covered=false")) == ["S-1"]
    admin: Any = bed.web("admin")
    said = [one["action"] for one in admin.get("/api/v2/audits").json]
    assert said.count("asset.warranty") == 1
    assert web.patch(f"{ASSETS}/S-1", json={"warranty_until": None}).json["covered"] is True
    [told] = [one["detail"]["changed"] for one in admin.get("/api/v2/audits?action=asset.change").json]
    assert told == {"warranty_until": {"old": until.isoformat(), "new": None}}


def test_it_is_less_than_250_lines() -> None:
    """All of it but its tests, also what is blank or a comment."""
    package = Path(crowbar_example_inventory.__file__).parent
    files = [one for one in package.rglob("*") if one.is_file() and one.suffix != ".pyc"]
    assert {"__init__.py", "commands.py", "pages.py", "stock.py", "0001_assets.py"} <= {one.name for one in files}
    assert sum(one.read_text().count("\n") for one in files) < 250
