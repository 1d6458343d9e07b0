"""The API's description: every reference in it leads somewhere, and what barclamps bring is in it, too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint

from crowbar_core import Barclamp, hookimpl, requires
from crowbar_core.web.api.operation import Body, Query, api
from tests.integration.api import Api, serving


class Alive(Body):
    """Has the name of one of the core's."""

    heart: str


class Node(Body):
    """Has the name of one of the core's listings."""

    alive: Alive


class Problem(Body):
    what: str


class Colour(Enum):
    RED = "red"


class ColourQuery(Query):
    colour: Colour = Colour.RED


class Painter:
    """A barclamp with routes of its own: described ones, and plain ones."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="painter")

    @hookimpl
    def register_blueprints(self) -> list[Blueprint]:
        made = Blueprint("painter", __name__, url_prefix="/barclamps/painter")

        @api(permission="operator", summary="Bring one to life", body=Alive)
        def enliven(body: Alive) -> dict[str, Any]:
            return {}

        @api(permission="operator", summary="Paint a node", body=Node)
        def paint(body: Node) -> dict[str, Any]:
            return {}

        @api(permission="operator", summary="Have a problem", body=Problem)
        def trouble(body: Problem) -> dict[str, Any]:
            return {}

        @api(permission="viewer", summary="Look", query=ColourQuery)
        def look(query: ColourQuery) -> dict[str, Any]:
            return {}

        @requires("public")
        def can(number: int) -> dict[str, Any]:
            """What is in a can.

            More of it.
            """
            return {}

        for rule, view in (("enliven", enliven), ("paint", paint), ("trouble", trouble)):
            made.add_url_rule(f"/{rule}", rule, view, methods=["POST"])
        made.add_url_rule("/look", "look", look)
        made.add_url_rule("/cans/<int:number>", "can", can)
        made.add_url_rule("/tins/<int:number>", "can", can)
        return [made]


@pytest.fixture
def described(tmp_path: Path) -> Iterator[dict[str, Any]]:
    url = f"sqlite:///{tmp_path}/crowbar.db"
    with serving(url, tmp_path, plugins=[("painter", Painter())]) as served:
        yield _description(served)


def _description(served: Api) -> dict[str, Any]:
    answer = served.get("openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()
    return found


def body_of(described: dict[str, Any], path: str) -> dict[str, Any]:
    schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    found: dict[str, Any] = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def test_models_and_listings_of_equal_names_are_told_apart_and_every_reference_resolves(
    described: dict[str, Any],
) -> None:
    schemas = described["components"]["schemas"]
    references = set(re.findall(r"#/[$\w/.-]+", str(described)))
    assert {one.rpartition("/")[0] for one in references} == {"#/components/schemas"}
    assert {one.rpartition("/")[2] for one in references} <= set(schemas)
    assert set(body_of(described, "/barclamps/painter/enliven")["properties"]) == {"heart"}
    assert set(body_of(described, "/barclamps/painter/paint")["properties"]) == {"alive"}
    assert set(body_of(described, "/barclamps/painter/trouble")["properties"]) == {"what"}
    told = described["paths"]["/api/v2/nodes/{node}/alive"]["put"]
    core = told["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert set(schemas[core]["properties"]) == {"alive"}
    shown = told["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "bootenv" in schemas[shown]["properties"]
    problem = told["responses"]["4XX"]["content"]["application/problem+json"]["schema"]["$ref"].rpartition("/")[2]
    assert "detail" in schemas[problem]["properties"]


def test_a_query_stands_alone(described: dict[str, Any]) -> None:
    (colour,) = described["paths"]["/barclamps/painter/look"]["get"]["parameters"]
    assert colour["schema"]["enum"] == ["red"]


def test_the_plain_routes_of_a_barclamp_are_described_by_what_is_known_of_them(described: dict[str, Any]) -> None:
    paths = described["paths"]
    can = paths["/barclamps/painter/cans/{number}"]["get"]
    assert (can["summary"], can["tags"], can["x-crowbar-permission"]) == ("What is in a can.", ["painter"], "public")
    assert can["security"] == []
    assert [one["name"] for one in can["parameters"]] == ["number"]
    ids = [one["operationId"] for path in paths.values() for one in path.values()]
    assert len(ids) == len(set(ids))
    assert not [path for path in paths if "static" in path]
