"""What lists of nodes show, how they are ordered and can be filtered by: API and pages agree."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, select, text, update

from crowbar_core.domain.names import natural
from crowbar_core.domain.states import State
from crowbar_core.store import node_pages
from crowbar_core.store.listing import Field, Listing, page
from crowbar_core.store.models import Node, NodeRole, table
from crowbar_core.web.api.nouns import ALL, NODES
from crowbar_core.web.ui import noderoles as ui_noderoles
from tests.integration.api import PASSWORDS, Api, populate, serving, set_run

NAMES = (
    "node-1.a.example",
    "node-2.a.example",
    "node-02.b.example",
    "node-10.a.example",
    "node-10.b.example",
    "rack2-node3.a.example",
    "rack10-node1.a.example",
    "web.a.example",
)


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(database_url, tmp_path) as served:
        yield served


def listed(api: Api, path: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    rows: list[dict[str, Any]] = []
    following: str | None = f"/api/v2/{path}"
    while following:
        answer = api.get(following)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        rows += answer.get_json()
        found = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        following = found[1] if found else None
    return rows


def named(api: Api, path: str) -> list[str]:
    return [row["name"] for row in listed(api, path)]


def short(names: list[str]) -> list[str]:
    return [name.removesuffix(".example") for name in names]


ORDERED = ["node-1.a", "node-2.a", "node-02.b", "node-10.a", "node-10.b", "rack2-node3.a", "rack10-node1.a", "web.a"]


def test_node_2_comes_before_node_10_on_every_page_of_a_list(api: Api) -> None:
    for name in reversed(NAMES):
        api.made("nodes", {"name": name})
    for limit in (1, 3, 100):
        assert short(named(api, f"nodes?sort=name&limit={limit}")) == ORDERED
        assert short(named(api, f"nodes?sort=-name&limit={limit}")) == ORDERED[::-1]
    with api.parts.store.read() as session:
        seen: list[str] = []
        while page := node_pages.nodes_page(session, after=seen[-1] if seen else "", limit=3):
            seen += [line.name for line in page]
    assert short(seen) == ORDERED


def test_a_new_name_takes_its_place_in_the_order(api: Api) -> None:
    api.made("nodes", {"name": "node-10.a.example"})
    api.made("nodes", {"name": "node-3.a.example"})
    for noun, first, second, renamed in (("groups", "g10", "g3", "g2"), ("deployments", "d10", "d3", "d2")):
        api.made(noun, {"name": first})
        api.made(noun, {"name": second})
        assert api.patch(f"{noun}/{first}", {"name": renamed}).status_code == 200
        assert [name for name in named(api, f"{noun}?sort=name") if name != "system"] == [renamed, second]
    assert api.patch("nodes/node-10.a.example", {"name": "node-2.a.example"}).status_code == 200
    assert named(api, "nodes?sort=name") == ["node-2.a.example", "node-3.a.example"]


def test_every_name_has_its_key_whoever_wrote_it(api: Api) -> None:
    for name in NAMES:
        api.made("nodes", {"name": name})
    nodes = table(Node)
    with api.parts.store.read() as session:
        rows = session.execute(select(nodes.c.name, nodes.c.name_key)).all()
    assert all(row.name_key == natural(row.name) for row in rows)
    assert len({row.name_key for row in rows}) == len(rows)


def test_system_nodes_are_listed_when_they_are_asked_for(api: Api) -> None:
    api.made("nodes", {"name": "web.a.example"})
    assert named(api, "nodes") == ["web.a.example"]
    system = named(api, "nodes?system=true")
    assert system
    assert "web.a.example" not in system
    assert set(named(api, "nodes?system=true&system=false")) == {"web.a.example", *system}
    assert api.get(f"nodes/{system[0]}").status_code == 200
    assert [row["name"] for row in api.post("nodes/match", {"name": system[0]}).get_json()] == system


def test_a_filter_given_twice_means_either(api: Api) -> None:
    for name in ("a.b.example", "b.b.example", "c.b.example"):
        api.made("nodes", {"name": name})
    query = "nodes?name=a.b.example&name=c.b.example&sort=name"
    assert named(api, query) == ["a.b.example", "c.b.example"]
    assert named(api, f"{query}&limit=1") == ["a.b.example", "c.b.example"], "the Link header keeps both"
    assert named(api, f"{query}&available=true") == []
    for twice in ("limit=1&limit=2", "sort=id&sort=name", "after=1&after=2", "fields=id&fields=name"):
        answer = api.get(f"nodes?{twice}")
        assert answer.status_code == 422, twice
        assert "more than once" in answer.get_json()["detail"]
    assert api.get("nodes?name=a&name=%00").status_code == 422


def test_nodes_noderoles_and_runs_are_filtered_by_group_and_by_pattern(api: Api) -> None:
    for name in NAMES:
        node = api.made("nodes", {"name": name})
        api.made("node_roles", {"node_id": node["id"], "role_id": "base"})
    rack = api.made("groups", {"name": "rack-1", "category": "rack"})
    api.made("groups", {"name": "blue"})
    for group, member in (("rack-1", "node-2.a.example"), ("rack-1", "web.a.example"), ("blue", "node-10.b.example")):
        assert api.put(f"groups/{group}/nodes/{member}").status_code == 200
    for query, expected in (
        ("group=rack-1", ["node-2.a", "web.a"]),
        (f"group={rack['id']}", ["node-2.a", "web.a"]),
        ("group=RACK-1&group=blue", ["node-2.a", "node-10.b", "web.a"]),
        ("group=rack-1&match=web", ["web.a"]),
        ("group=nothing-like-it", []),
        ("match=node-10", ["node-10.a", "node-10.b"]),
        ("match=NODE-?", ["node-1.a", "node-2.a"]),
        ("match=*.b.example", ["node-02.b", "node-10.b"]),
        ("match=rack*node1", ["rack10-node1.a"]),
        ("match=web&match=node-1", ["node-1.a", "web.a"]),
        ("match=node_1", []),
        ("match=%25", []),
    ):
        assert short(named(api, f"nodes?sort=name&{query}")) == expected, query
        assert {one["node"] for one in listed(api, f"node_roles?{query}")} == {f"{name}.example" for name in expected}
        assert listed(api, f"runs?{query}") == []
    for wrong in ("match=", f"match={'x' * 300}", "group=", f"group={'x' * 300}"):
        assert api.get(f"nodes?{wrong}").status_code == 422, wrong


def test_a_list_shows_addresses_and_groups_beside_the_usual_fields(api: Api) -> None:
    api.made("nodes", {"name": "web.a.example"})
    api.made("groups", {"name": "blue"})
    api.put("groups/blue/nodes/web.a.example")
    usual = listed(api, "nodes")[0]
    assert "groups" not in usual
    row = listed(api, "nodes?fields=*,groups,addresses")[0]
    assert row == {**usual, "groups": ["blue"], "addresses": []}
    assert listed(api, "nodes?fields=name,groups")[0] == {"name": "web.a.example", "groups": ["blue"]}


def test_a_key_that_is_not_written_would_be_seen(api: Api) -> None:
    """The order is read from the key alone: what a page shows is what the index holds."""
    api.made("nodes", {"name": "node-2.a.example"})
    api.made("nodes", {"name": "node-10.a.example"})
    with api.parts.store.write() as session:
        session.execute(update(table(Node)).where(table(Node).c.name == "node-2.a.example").values(name_key="zzz"))
    assert short(named(api, "nodes?sort=name")) == ["node-10.a", "node-2.a"]


def test_the_page_of_nodes_shows_groups_and_is_filtered_by_them(api: Api) -> None:
    for name in NAMES:
        api.made("nodes", {"name": name})
    api.made("groups", {"name": "blue"})
    api.put("groups/blue/nodes/node-10.a.example")
    with api.parts.store.read() as session:
        by_group = node_pages.nodes_page(session, group="Blue")
        assert [(line.name, line.groups) for line in by_group] == [("node-10.a.example", ["blue"])]
        assert short([line.name for line in node_pages.nodes_page(session, search="node-10.?")]) == [
            "node-10.a",
            "node-10.b",
        ]
        assert len(node_pages.nodes_page(session, system=True)) == len(NAMES) + 1
    page = api.get("/nodes?group=blue&system=yes").get_data(as_text=True)
    assert ">node-10.<wbr>a.<wbr>example</a>" in page
    assert "node-10.<wbr>b" not in page
    assert 'href="/nodes?group=blue"' in page


def test_the_page_of_noderoles_is_filtered_by_node_role_and_state_and_each_of_its_pages_is(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui_noderoles, "LINES_PER_PAGE", 2)
    for name in NAMES:
        node = api.made("nodes", {"name": name})
        for role in ("base", "web-server"):
            api.made("node_roles", {"node_id": node["id"], "role_id": role})
    node_roles = table(NodeRole)
    web = select(table(Node).c.id).where(table(Node).c.name.in_(("web.a.example", "node-2.a.example")))
    with api.parts.store.write() as session:
        session.execute(update(node_roles).where(node_roles.c.node_id.in_(web)).values(state=int(State.ACTIVE)))

    def shown(query: str) -> list[tuple[str, str]]:
        """(node, role) on all pages, as the links to the next one lead."""
        rows: list[tuple[str, str]] = []
        following: str | None = f"?{query}"
        while following:
            page = api.get(f"/noderoles{following}").get_data(as_text=True).replace(".<wbr>", ".")
            here = re.findall(r'<a href="/noderoles/\d+">([^<]+)</a></th><td class="name"><a [^>]+>([^<]+)</a>', page)
            assert len(here) <= 2
            rows += [(node, role) for role, node in here]
            found = re.search(r'<p class="pager"><a href="([^"]+)">', page)
            following = html.unescape(found[1]) if found else None
        return sorted(rows)

    every = {(row["node"], row["role"]) for row in listed(api, "node_roles")}
    assert len(every) == 2 * len(NAMES)
    for asked, of_api in (
        ("role=base", "role=base"),
        ("role=Web-Server", "role=web-server"),
        ("node=node-10.a.example", "node=node-10.a.example"),
        ("node=NODE-10", "match=node-10"),
        ("node=+node-*+", "match=node-*"),
        ("node=node-*&role=base", "match=node-*&role=base"),
        ("role=web-server&state=proposed", "role=web-server&state_name=PROPOSED"),
        ("node=*.a.example&role=base&state=active", "match=*.a.example&role=base&state_name=ACTIVE"),
        ("node=*.a.example&deployment=1", "match=*.a.example"),
        ("node=&role=&state=", ""),
    ):
        expected = sorted((row["node"], row["role"]) for row in listed(api, f"node_roles?{of_api}"))
        assert expected, of_api
        assert shown(asked) == expected, asked
    for nobody in ("node=nobody", "role=nothing", "node=web&role=installer", "deployment=2000", "deployment=abc"):
        page = api.get(f"/noderoles?{nobody}").get_data(as_text=True)
        assert 'No noderole is like that. <a href="/noderoles">Show all</a>.' in page, nobody
    for nowhere in ("2000", "abc", "9" * 12):
        page = api.get(f"/nodes?deployment={nowhere}").get_data(as_text=True)
        assert 'No node is like that. <a href="/nodes">Show all</a>.' in page, nowhere
    for wrong in ("node=a%00b", "role=a%00b"):
        assert api.get(f"/noderoles?{wrong}").status_code == 422, wrong

    page = api.get("/noderoles?node=node-*&role=base&state=proposed").get_data(as_text=True)
    assert 'name="node" type="search" value="node-*"' in page
    assert "<option selected>base</option>" in page
    assert '<option value="proposed" selected>' in page
    counts = re.findall(r'href="(/noderoles[?][^"]+)"', api.get("/roles/base").get_data(as_text=True))
    assert [html.unescape(one) for one in counts] == [
        "/noderoles?role=base&state=proposed", "/noderoles?role=base&state=active",
    ]  # fmt: skip


def test_a_list_is_the_text_that_its_rows_would_be(api: Api) -> None:
    """The database writes it; what it would write otherwise than orjson does is seen here."""
    populate(api)
    odd = "a \"quoted\" \\ back\nslash\t\x01 \x7f \u2028 \U0001f600 % %s {} $secret 'it'"
    nodes = table(Node)
    with api.parts.store.write() as session:
        kept = {"password": {"$secret": "gAAAA"}, "plain": odd, "n": [1.5, -0.0, 10**15, None, True]}
        for number, alive_at in enumerate((None, datetime(2026, 1, 2, tzinfo=UTC), datetime.now(UTC))):
            name = f"odd{number}.example"
            made = {"description": odd, "hint": kept, "proposed_hint": kept, "alive_at": alive_at, "alive": number == 2}
            session.execute(insert(nodes).values(name=name, name_key=natural(name), deployment_id=1, **made))
    with api.app.app_context(), api.parts.store.read() as session:
        for listing in ALL:
            rows = page(session, listing, limit=1000, fields=("*", "groups") if listing is NODES else ()).rows
            fields = tuple(rows[0]) if rows else ()
            written = page(session, listing, limit=1000, fields=fields, dumps=orjson.dumps).text
            assert orjson.loads(written) == orjson.loads(orjson.dumps(rows)), listing.noun
            assert "gAAAA" not in written
    assert {row["state"] for row in listed(api, "nodes?match=odd*")} == {"NEW", "DEAD", "IDLE"}


def test_words_and_moments_that_are_always_there_are_written_as_their_rows_would_be(api: Api) -> None:
    nodes = table(Node)
    orders = {1: "plain", 2: 'a "quoted"\\ one'}
    listing = Listing(
        noun="odd",
        plural="odds",
        source=nodes,
        key=nodes.c.id,
        fields=(
            Field(name="plain", column=nodes.c.order, type=str, words={1: "plain", 2: "other"}),
            Field(name="odd", column=nodes.c.order, type=str, words=orders),
            Field(name="either", column=nodes.c.target_role_id, type=str, words={1: "one"}, nullable=True),
            Field(name="made", column=nodes.c.created_at, type=datetime),
            Field(name="seen", column=nodes.c.alive_at, type=datetime, nullable=True),
        ),
    )
    moments = (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC))
    with api.parts.store.write() as session:
        for number, (order, at, role) in enumerate(product(orders, moments, (None, 1))):
            values = {"name": f"n{number}", "order": order, "deployment_id": 1, "target_role_id": role}
            session.execute(insert(nodes).values(**values, created_at=at, alive_at=at if role else None))
    ours = (nodes.c.name.like("n_"),)
    with api.parts.store.read() as session:
        rows = page(session, listing, where=ours).rows
        written = page(session, listing, where=ours, dumps=orjson.dumps).text
    assert len(rows) == len(orders) * len(moments) * 2
    assert {row["odd"] for row in rows} == set(orders.values())
    assert written == orjson.dumps(rows).decode()


def test_what_is_said_of_several_roles_of_a_node_is_said_once(api: Api) -> None:
    node = api.made("nodes", {"name": "web.a.example", "alive": True, "available": True})
    api.made("node_roles", {"node_id": node["id"], "role_id": "web-server"})
    reasons = api.get(f"nodes/{node['id']}/why").get_json()["reasons"]
    assert [one["detail"] for one in reasons] == [
        "base, web-server: It is only proposed. Commit it, or its deployment."
    ]
    page = api.get(f"/nodes/{node['id']}").get_data(as_text=True)
    assert page.count("It is only proposed") == 1


def test_a_dead_node_says_why_once(api: Api) -> None:
    node = api.made("nodes", {"name": "web.a.example"})
    with api.parts.store.write() as session:
        session.execute(update(table(Node)).where(table(Node).c.id == node["id"]).values(status="no answer to ping"))
    assert api.get(f"/nodes/{node['id']}").get_data(as_text=True).count("no answer to ping") == 1


def test_a_failed_run_is_retried_from_its_page(api: Api) -> None:
    made = populate(api)
    run = api.get(f"runs/{made.run}").get_json()
    set_run(api, made.run, state="failed", finished_at=datetime.now(UTC))
    node_roles = table(NodeRole)
    with api.parts.store.write() as session:
        session.execute(update(node_roles).where(node_roles.c.id == run["node_role_id"]).values(state=int(State.ERROR)))
    page = api.get(f"/runs/{made.run}").get_data(as_text=True)
    assert f'action="/noderoles/{run["node_role_id"]}/retry"' in page
    assert f"crowbar noderoles retry {run['node_role_id']}" in page


def test_a_list_shows_json_and_moments_as_the_object_alone_does_and_masks_secrets_however_they_are_written(
    api: Api,
) -> None:
    odd: dict[str, Any] = {"é☃": 'a"b\\c', "n": [None, True, 1.5, -(2**53), {"deep": []}], "empty": {}, "text": "1"}
    api.made("nodes", {"name": "odd.a.example", "discovery": odd, "hint": {"rack": {"unit": 7}}})
    api.made("nodes", {"name": "sealed.a.example"})
    sealed = '{"bmc": {"key": {"\\u0024secret": "sealed"}}, "unit": 7}'
    with api.parts.store.write() as session:
        # As it might be written by hand: what we write has no escapes.
        session.execute(text("UPDATE nodes SET hint = :hint WHERE name = 'sealed.a.example'"), {"hint": sealed})
        session.execute(update(table(Node)).values(alive_at=datetime(2030, 1, 1, 12, 0, 0, 120, tzinfo=UTC)))
    rows = {row["name"]: row for row in listed(api, "nodes")}
    assert rows["odd.a.example"]["discovery"] == odd
    assert rows["odd.a.example"]["alive_at"] == "2030-01-01T12:00:00.000120+00:00"
    assert rows["sealed.a.example"]["hint"] == {"bmc": {"key": "***"}, "unit": 7}
    for name, row in rows.items():
        alone = api.get(f"/api/v2/nodes/{name}").get_json()
        assert row == {field: alone[field] for field in row}


def test_the_audit_says_what_was_and_what_is_but_no_secret(api: Api) -> None:
    node = api.made("nodes", {"name": "web.a.example", "description": "old"})
    api.patch(f"nodes/{node['id']}", {"description": "new", "hint": {"rack": {"unit": 4}}})
    api.made("node_roles", {"node_id": node["id"], "role_id": "base"})
    base = api.get("node_roles?role=base").get_json()[0]["id"]
    for value in ("s3cret-one", "s3cret-two"):
        assert api.put(f"node_roles/{base}/attribs/base-key", {"value": value}).status_code == 200
    api.made("groups", {"name": "blue"})
    api.patch("groups/blue", {"description": "racks", "nodes": ["web.a.example"]})
    entries = {row["action"]: row["detail"] for row in reversed(api.get("audits?limit=1000").get_json())}
    assert entries["node.change"]["changed"] == {
        "description": {"old": "old", "new": "new"},
        "hint/rack/unit": {"old": None, "new": 4},
    }
    assert entries["attribute.set"]["changed"] == {"value": {"old": "***", "new": "***"}}
    assert entries["group.change"] == {"description": {"old": "", "new": "racks"}, "added": ["web.a.example"]}
    assert "s3cret" not in api.get("audits?limit=1000").get_data(as_text=True)


def test_what_a_role_reads_of_others_is_explained_where_it_is_read(api: Api) -> None:
    node = api.made("nodes", {"name": "web.a.example"})
    api.made("node_roles", {"node_id": node["id"], "role_id": "web-server"})
    ids = {row["role"]: row["id"] for row in api.get("node_roles").get_json()}
    assert api.put(f"nodes/{node['id']}/commit").status_code == 200
    assert api.put(f"node_roles/{ids['base']}/attribs/base-size?now=true", {"value": 7}).status_code == 200
    own = api.get(f"node_roles/{ids['web-server']}/attribs").get_json()
    read = api.get(f"node_roles/{ids['web-server']}/attribs?wanted=true").get_json()
    assert own == []
    assert [(one["name"], one["role"], one["value"]) for one in read] == [("base-size", "base", 7)]
    explained = api.get(f"node_roles/{ids['web-server']}/attribs/base-size?explain=true").get_json()
    assert explained["value"] == 7
    assert [one["value"] for one in explained["layers"] if one["wins"]] == [7]
    page = api.get(f"/noderoles/{ids['web-server']}").get_data(as_text=True)
    assert f'href="/noderoles/{ids["web-server"]}/attribs/base-size"' in page


def test_an_ipv6_address_given_on_the_page_is_filed_as_one(api: Api) -> None:
    api.token("operator")  # the user is made on first use
    browser = api.browser()

    def post(path: str, **form: str) -> None:
        page = browser.get("/login" if path == "/login" else "/nodes").get_data(as_text=True)
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found is not None
        assert browser.post(path, data={**form, "csrf_token": found[1]}).status_code == 303

    post("/login", name="operator", password=PASSWORDS["operator"])
    for address, key in (("fd00::5/64", "hint-admin-v6addr"), ("10.0.0.5/24", "hint-admin-v4addr")):
        name = f"n{key[12]}.a.example"
        post("/nodes", name=name, ip=address)
        assert api.get(f"nodes/{name}").get_json()["hint"] == {key: address}
