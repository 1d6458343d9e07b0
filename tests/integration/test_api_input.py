"""Bad input: each gets a clear 4xx that names the field, repeats nothing, changes nothing, and is never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from crowbar_core.errors import BadInput
from crowbar_core.web.api import strict
from tests.integration.api import Api, populate, serving

BAD_NAMES = {
    "empty": "",
    "blank": "   ",
    "64 KB": "a" * 65536,
    "NUL": "a\x00.b.example.com",
    "CR LF": "a\r\nb.c.example.com",
    "newline at the end": "a.b.example.com\n",
    "dot dot": "../../etc/passwd",
    "command substitution": "$(id).b.example.com",
    "semicolon": "a; reboot.b.example.com",
    "template": "{{7*7}}.b.example.com",
    "script": "<script>alert(1)</script>.b.c",
    "quote": "a'b\".c.example.com",
    "right to left": "a\u202eb.c.example.com",
    "look-alike": "\u0430dmin.b.example.com",
    "only digits": "123",
    "surrogate": "\ud800.b.example.com",
    "list": ["a.b.example.com"],
    "object": {"a": 1},
    "number": 5,
    "null": None,
    "bool": True,
}
BAD_NODE_NAMES = {
    "64-character label": "a" * 64 + ".b.example.com",
    "underscore": "a_b.c.example.com",
    "trailing dot": "a.b.example.com.",
    "numeric top level": "a.b.123",
    "address": "10.0.0.1",
    "two labels": "a.example",
    "empty label": "a..b.example.com",
    "hyphen first": "-a.b.example.com",
    "hyphen last": "a-.b.example.com",
    "254 characters": ".".join(["a" * 49] * 5) + ".abcd",
}
SECRET_TEXT = "hunter2-hunter2"
"""Must not come back."""


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(database_url, tmp_path) as served:
        yield served


@pytest.fixture
def sqlite_api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One application for the many refusals that leave nothing behind."""
    directory = tmp_path_factory.mktemp("shared")
    with serving(f"sqlite:///{directory}/crowbar.db", directory) as served:
        served.token("admin")
        yield served


def _refused(answer: TestResponse, *statuses: int) -> dict[str, Any]:
    text = answer.get_data(as_text=True)
    assert answer.status_code in (statuses or (422,)), (answer.status_code, text)
    assert answer.mimetype == "application/problem+json"
    problem: dict[str, Any] = json.loads(text)
    assert problem["status"] == answer.status_code
    assert problem["code"]
    assert len(problem["detail"]) > 15
    assert "Traceback" not in text
    return problem


def _send(
    api: Api, path: str, raw: bytes | str, *, method: str = "POST", kind: str = "application/json"
) -> TestResponse:
    return api.call(method, path, data=raw, content_type=kind)


# ---------------------------------------------------------------- names


def test_names_that_cannot_be_are_refused_everywhere_and_change_nothing(api: Api) -> None:
    populate(api)
    before = api.dump()
    bodies: list[tuple[str, dict[str, Any], str]] = []
    for what, name in {**BAD_NAMES, **BAD_NODE_NAMES}.items():
        bodies.append(("nodes", {"name": name}, what))
    for what, name in BAD_NAMES.items():
        bodies.append(("deployments", {"name": name}, what))
        bodies.append(("groups", {"name": name}, what))
        bodies.append(("users", {"name": name, "password": "long-enough"}, what))
    for path, body, what in bodies:
        answer = _send(api, path, json.dumps(body))
        problem = _refused(answer)
        assert [error["pointer"] for error in problem["errors"]] == ["/name"], (path, what, problem)
        if isinstance(body["name"], str) and len(body["name"]) > 4 and body["name"].strip():
            assert body["name"] not in answer.get_json()["detail"], what
    assert api.dump() == before


def test_names_that_are_taken_are_refused_whatever_their_case(api: Api) -> None:
    populate(api)
    before = api.dump()
    assert _refused(api.post("nodes", {"name": "WEB1.Rack.Example.com"}), 409)["code"] == "conflict"
    assert _refused(api.post("deployments", {"name": "WEB"}), 409)["code"] == "conflict"
    assert _refused(api.post("users", {"name": "Viewer", "password": "long-enough"}), 409)["code"] == "conflict"
    assert _refused(api.post("groups", {"name": "rack-1", "category": "rack"}), 409)["code"] == "conflict"
    assert api.dump() == before


def test_a_nodes_name_is_kept_in_lower_case(api: Api) -> None:
    made = api.made("nodes", {"name": "DB1.Rack.Example.COM"})
    assert made["name"] == "db1.rack.example.com"
    assert api.get("nodes/Db1.rack.EXAMPLE.com").get_json()["id"] == made["id"]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 300,
        "..",
        "%00",
        "a%00b",
        "%ff%fe",
        "%0d%0a",
        "'; DROP TABLE nodes; --",
        "1e3",
        "-1",
        "99999999999999999999",
        "\u202e",
        "<script>",
    ],
)
def test_strange_names_in_a_path_are_not_found(shared: Api, name: str) -> None:
    for noun in ("nodes", "deployments", "node_roles", "runs", "users", "roles", "groups"):
        answer = shared.get(f"{noun}/{name}")
        _refused(answer, 404, 400)
        _refused(shared.delete(f"{noun}/{name}"), 404, 400, 405)


# ---------------------------------------------------------------- JSON


NASTY_JSON = {
    "duplicate keys": '{"name": "one", "name": "two"}',
    "duplicate keys deeper": '{"name": "x", "description": {"a": 1, "a": 2}}',
    "10,000 deep": '{"name": ' + "[" * 10_000 + "]" * 10_000 + "}",
    "101 deep": '{"name": ' + "[" * 101 + "]" * 101 + "}",
    "unbalanced": '{"name": ' + "[" * 10_000,
    "NaN": '{"name": NaN}',
    "Infinity": '{"name": Infinity}',
    "-Infinity": '{"name": -Infinity}',
    "1e400": '{"name": 1e400}',
    "integer over 2^63": '{"name": 9223372036854775808}',
    "huge integer": '{"name": ' + "9" * 5000 + "}",
    "no JSON": "{name: one}",
    "trailing comma": '{"name": "one",}',
    "two values": '{"name": "one"} {"name": "two"}',
    "empty": "",
    "a list": '["name"]',
    "a string": '"name"',
    "null": "null",
    "a number": "1",
    "half a surrogate": '{"name": "\\ud800"}',
    "NUL escaped": '{"name": "a\\u0000b"}',
    "NUL in a key": '{"na\\u0000me": "a"}',
    "unknown field": '{"name": "one", "colour": "red"}',
    "missing field": "{}",
}


@pytest.mark.parametrize("what", NASTY_JSON)
def test_json_that_two_readers_could_read_differently_is_refused(shared: Api, what: str) -> None:
    before = shared.dump()
    _refused(_send(shared, "deployments", NASTY_JSON[what]))
    assert shared.dump() == before


@pytest.mark.parametrize(
    "raw, pointer",
    [
        ('{"name": NaN}', "/name"),
        ('{"name": {"a": [0, -Infinity]}}', "/name/a/1"),
        ('{"name": 1e400}', "/name"),
        ('{"name": [9223372036854775808]}', "/name/0"),
        ('{"name": "x", "description": {"a": 1, "a": 2}}', "/description/a"),
        ('{"name": "x", "description": ["\\u0000"]}', "/description/0"),
        ('{"name": "x", "description": "\\ud800"}', "/description"),
        ('{"name": "x", "description": ' + "[" * 101 + "]" * 101 + "}", "/description/0/0/0/0/0/0/0"),
        ('{"name": "x", "description": {"a": [1, ' + '{"b":' * 101, "/description/a/1/b/b/b/b/b"),
    ],
)
def test_what_cannot_be_in_json_is_named_by_its_pointer(shared: Api, raw: str, pointer: str) -> None:
    problem = _refused(_send(shared, "deployments", raw))
    assert [error["pointer"] for error in problem["errors"]] == [pointer], problem


def test_no_pattern_is_shown_to_whoever_got_it_wrong(shared: Api) -> None:
    for path, body, pointer in (
        ("nodes", {"name": "a.b.example.com", "host_keys": ["not a key"]}, "/host_keys/0"),
        ("nodes", {"name": "a.b.example.com", "network": "a b"}, "/network"),
        ("nodes", {"name": "a.b.example.com", "bootenv": "a/../b"}, "/bootenv"),
        ("groups", {"name": "a b?"}, "/name"),
    ):
        problem = _refused(shared.post(path, body))
        (error,) = problem["errors"]
        assert error["pointer"] == pointer
        assert not set("^$[\\") & set(error["detail"]), error


def test_bytes_that_are_not_utf8_are_refused(shared: Api) -> None:
    _refused(_send(shared, "deployments", b'{"name": "\xff\xfe"}'))
    _refused(_send(shared, "deployments", '{"name": "one"}'.encode("utf-16")))


def test_a_hundred_levels_are_still_taken_and_brackets_in_strings_do_not_count() -> None:
    for levels, fine in ((100, True), (101, False)):
        raw = b"[" * levels + b"]" * levels
        if fine:
            assert json.dumps(strict.parse(raw)).encode() == raw
        else:
            with pytest.raises(BadInput, match="deeper than 100"):
                strict.parse(raw)
    text = '[{"\\' * 500
    assert strict.parse(json.dumps([text]).encode()) == [text]
    assert strict.parse(json.dumps([[]] * 1000).encode()) == [[]] * 1000


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(shared: Api, kind: str) -> None:
    problem = _refused(_send(shared, "deployments", '{"name": "one"}', kind=kind), 415)
    assert "application/json" in problem["detail"]


def test_fifty_megabytes_are_refused_unread(shared: Api) -> None:
    _refused(_send(shared, "deployments", b'{"name": "' + b"a" * 50_000_000 + b'"}'), 413)


WRONG_TYPES = [
    ("nodes", {"name": "a.b.example.com", "order": True}, "/order"),
    ("nodes", {"name": "a.b.example.com", "order": "5"}, "/order"),
    ("nodes", {"name": "a.b.example.com", "order": 1.5}, "/order"),
    ("nodes", {"name": "a.b.example.com", "order": 2**40}, "/order"),
    ("nodes", {"name": "a.b.example.com", "alive": 1}, "/alive"),
    ("nodes", {"name": "a.b.example.com", "alive": "true"}, "/alive"),
    ("nodes", {"name": "a.b.example.com", "hint": []}, "/hint"),
    ("nodes", {"name": "a.b.example.com", "discovery": "x"}, "/discovery"),
    ("nodes", {"name": "a.b.example.com", "host_keys": "ssh-ed25519 AAAA"}, "/host_keys"),
    ("nodes", {"name": "a.b.example.com", "host_keys": ["not a key"]}, "/host_keys/0"),
    ("nodes", {"name": "a.b.example.com", "bootenv": "a/../b"}, "/bootenv"),
    ("nodes", {"name": "a.b.example.com", "deployment_id": 999_999}, "/deployment_id"),
    ("nodes", {"name": "a.b.example.com", "deployment_id": "nowhere"}, "/deployment_id"),
    ("nodes", {"name": "a.b.example.com", "description": "x" * 4097}, "/description"),
    ("nodes", {"name": "a.b.example.com", "ip": "010.0.0.1"}, "/ip"),
    ("nodes", {"name": "a.b.example.com", "ip": "10.0.0.1/33"}, "/ip"),
    ("nodes", {"name": "a.b.example.com", "mac": "01:00:5e:00:00:01"}, "/mac"),
    ("nodes", {"name": "a.b.example.com", "mac": "52:54:00"}, "/mac"),
    ("nodes", {"name": "a.b.example.com", "id": 7}, "/id"),
    ("node_roles", {"node_id": 1}, "/role_id"),
    ("node_roles", {"node_id": 1, "role_id": "nothing"}, "/role_id"),
    ("node_roles", {"node_id": "nothing", "role_id": "base"}, "/node_id"),
    ("node_roles", {"node_id": {"id": 1}, "role_id": "base"}, "/node_id"),
    ("groups", {"name": "x1", "category": "colour"}, "/category"),
    ("users", {"name": "x1", "password": "short"}, "/password"),
    ("users", {"name": "x1", "password": "x" * 2000}, "/password"),
    ("users", {"name": "x1", "password": "long-enough", "role": "root"}, "/role"),
    ("tokens", {"expires_at": "tomorrow"}, "/expires_at"),
    ("tokens", {"expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
    ("tokens", {"expires_at": 4102444800}, "/expires_at"),
    ("hammers", {"node_id": 1, "name": "ipmi", "config": []}, "/config"),
]


@pytest.mark.parametrize("path,body,pointer", WRONG_TYPES)
def test_a_value_of_the_wrong_kind_is_named_by_its_pointer(shared: Api, path: str, body: Any, pointer: str) -> None:
    problem = _refused(shared.post(path, body))
    assert pointer in [error["pointer"] for error in problem["errors"]], problem
    assert all(error["detail"] for error in problem["errors"])


def test_all_that_is_wrong_is_said_at_once(shared: Api) -> None:
    problem = _refused(shared.post("nodes", {"name": "x", "order": "1", "alive": 3, "colour": "red"}))
    assert {error["pointer"] for error in problem["errors"]} == {"/name", "/order", "/alive", "/colour"}


def test_rejected_input_is_never_repeated(shared: Api) -> None:
    for path, body in (
        ("users", {"name": "x1", "password": SECRET_TEXT, "role": SECRET_TEXT}),
        ("users", {"name": SECRET_TEXT + " !", "password": "x"}),
        ("users", {"name": "x1", "password": {"value": SECRET_TEXT}}),
        ("nodes", {"name": SECRET_TEXT}),
        ("nodes", {"name": "a.b.example.com", "ip": SECRET_TEXT}),
        ("nodes", {"name": "a.b.example.com", SECRET_TEXT + "!": 1}),
        ("tokens", {"role": SECRET_TEXT}),
        ("tokens", {"expires_at": SECRET_TEXT}),
    ):
        answer = shared.post(path, body)
        _refused(answer)
        assert SECRET_TEXT not in answer.get_data(as_text=True), (path, body)
    answer = shared.get(f"nodes?colour={SECRET_TEXT}")
    _refused(answer)
    assert SECRET_TEXT not in answer.get_data(as_text=True)
    answer = _send(shared, "users", f'{{"password": "{SECRET_TEXT}", "password": "{SECRET_TEXT}"}}')
    _refused(answer)
    assert SECRET_TEXT not in answer.get_data(as_text=True)


# ---------------------------------------------------------------- queries, methods, addresses


BAD_QUERIES = (
    "limit=0",
    "limit=-1",
    "limit=1001",
    "limit=x",
    "limit=",
    "limit=1e3",
    "limit=%31%30%30%30%30%30%30",
    "after=-1",
    "after=x",
    "after=99999999999",
    "sort=colour",
    "sort=--name",
    "sort=password_hash",
    "sort=id;drop",
    "fields=password_hash",
    "fields=colour",
    "colour=red",
    "alive=maybe",
    "alive=",
    "deployment_id=x",
    "deployment_id=99999999999",
    "state=HAPPY",
    "name=%00",
    "limit=1&limit=2",
    "page=-1",
    "sort=name&after=5",
    "sort=name&after=W10",
    "sort=name&after=WyJuYW1lIiw1LDZd",
    "sort=name&after=%ff",
    "sort=created_at&after=WyJjcmVhdGVkX2F0IiwieCIsMV0",
)


def test_query_parameters_that_cannot_be_are_refused(api: Api) -> None:
    for query in BAD_QUERIES:
        problem = _refused(api.get(f"nodes?{query}"))
        assert problem["errors"][0]["pointer"].startswith("?"), query


def test_query_parameters_are_checked_where_there_is_no_list(sqlite_api: Api) -> None:
    made = populate(sqlite_api)
    for path in (
        f"runs/{made.run}/log?after=-1",
        f"runs/{made.run}/log?wait=1000",
        f"runs/{made.run}/log?wait=nan",
        f"runs/{made.run}/log?limit=0",
        f"runs/{made.run}?colour=red",
        f"nodes/{made.nodes[0]}?fields=colour",
        "anneal?sync=perhaps",
        "anneal?timeout=1e9",
        "whoami?x=1",
    ):
        _refused(sqlite_api.get(path))
    _refused(sqlite_api.delete(f"node_roles/{made.node_role}?dry_run=perhaps"))
    _refused(sqlite_api.put("deployments/web/commit?plan=" + "x" * 1000))


def test_a_body_where_none_is_taken_is_refused(sqlite_api: Api) -> None:
    populate(sqlite_api)
    _refused(sqlite_api.put("deployments/web/propose", {"force": True}))
    assert sqlite_api.put("deployments/web/propose", {}).status_code == 200


def test_unknown_addresses_and_methods_are_problems_too(shared: Api) -> None:
    assert _refused(shared.get("nothing"), 404)["code"] == "not-found"
    problem = _refused(shared.delete("nodes"), 405)
    assert "GET" in problem["detail"]
    assert "POST" in shared.delete("nodes").headers["Allow"]
    _refused(shared.call("PROPFIND", "nodes"), 405)
    page = shared.client().get("/nothing")
    assert page.status_code == 404
    assert page.mimetype == "text/html"


def test_match_takes_plain_values_of_known_fields(api: Api) -> None:
    made = populate(api)
    assert [row["id"] for row in api.post("nodes/match", {"name": "web1.rack.example.com"}).get_json()] == [
        made.nodes[0]
    ]
    assert [row["id"] for row in api.post("nodes/match", {"system": False, "alive": True}).get_json()] == list(
        made.nodes
    )
    assert api.post("nodes/match", {"target_role_id": None, "system": False}).get_json() != []
    wrong: list[Any] = [
        {"colour": 1},
        {"name": ["x"]},
        {"name": {"x": 1}},
        {"alive": 3},
        {"deployment_id": "x"},
        {"discovery": "x"},
        [],
    ]
    for body in wrong:
        _refused(api.post("nodes/match", body))


# ---------------------------------------------------------------- attributes and the graph


def test_values_that_an_attribute_does_not_allow_are_refused(api: Api) -> None:
    made = populate(api)
    bound = next(row["id"] for row in api.get("node_roles?role=base").get_json())
    before = api.dump()
    for path, body in (
        (f"node_roles/{bound}/attribs/base-size", {"value": "three"}),
        (f"node_roles/{bound}/attribs/base-size", {"value": 0}),
        (f"node_roles/{bound}/attribs/base-size", {"value": True}),
        (f"node_roles/{bound}/attribs/base-size", {}),
        (f"node_roles/{bound}/attribs/base-size", {"value": 3, "colour": 1}),
        (f"nodes/{made.nodes[0]}/attribs/rack-unit", {"value": [1]}),
        (f"node_roles/{bound}/attribs/base-key", {"value": {"$secret": "x"}}),
    ):
        _refused(api.put(path, body))
    for path in (
        f"node_roles/{bound}/attribs/nothing",
        f"nodes/{made.nodes[0]}/attribs/base-size",
        "nodes/999999/attribs/rack-unit",
    ):
        _refused(api.put(path, {"value": 1}), 404, 409, 422)
    answer = api.put(f"node_roles/{bound}/attribs/base-key", {"value": 12345678901})
    _refused(answer)
    assert "12345678901" not in answer.get_data(as_text=True)
    assert api.dump() == before


def test_what_the_cluster_forbids_is_a_conflict_that_says_why(api: Api) -> None:
    made = populate(api)
    before = api.dump()
    for method, path, body in (
        ("POST", "node_roles", {"node_id": made.nodes[0], "role_id": "idea"}),
        ("DELETE", "deployments/system", None),
        ("PUT", "deployments/system/propose", {}),
        ("PUT", f"node_roles/{made.node_role}/error", {}),
        ("PUT", f"runs/{made.run}/finish", {"succeeded": True}),
        ("PUT", "deployments/web/commit?plan=another", {}),
        ("PUT", f"nodes/{made.nodes[0]}/power", {"action": "explode"}),
    ):
        problem = _refused(api.call(method, path, json=body), 409)
        assert problem["code"] in ("conflict", "invalid-transition", "stale", "veto", "plan-changed")
    assert api.dump() == before
