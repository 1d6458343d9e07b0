"""What all resources have in common: paging, filters, fields, ETags, idempotency; and that reading changes nothing."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from crowbar_core.services.watch.processes import Presence
from crowbar_core.web.api.waiting import Waiting
from tests.integration.api import SECRET, Api, add_log, populate, serving, set_run
from tests.services import PostgresServer


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(database_url, tmp_path) as served:
        yield served


@pytest.fixture
def sqlite_api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path) as served:
        yield served


def _nodes(api: Api, count: int) -> list[str]:
    names = [f"n{number:03}.rack{number % 3}.example.com" for number in range(count)]
    for number, name in enumerate(names):
        api.made("nodes", {"name": name, "order": number % 5})
    return names


def _pages(api: Api, path: str) -> list[list[dict[str, Any]]]:
    """All pages, following the Link headers."""
    pages = []
    following: str | None = f"/api/v2/{path}"
    while following:
        answer = api.get(following)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        pages.append(answer.get_json())
        found = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        following = found[1] if found else None
        assert len(pages) < 50
    return pages


# ---------------------------------------------------------------- lists


def test_following_the_links_gives_every_object_once(api: Api) -> None:
    names = _nodes(api, 11)
    for sort, expected in (
        ("", None),
        ("name", sorted(names)),
        ("-name", sorted(names, reverse=True)),
        ("order", None),
        ("-order", None),
        ("created_at", None),
        ("-id", None),
    ):
        pages = _pages(api, f"nodes?system=false&limit=4&sort={sort}")
        rows = [row for page in pages for row in page]
        assert [len(page) for page in pages] == [4, 4, 3], sort
        assert sorted(row["name"] for row in rows) == sorted(names)
        if expected is not None:
            assert [row["name"] for row in rows] == expected
        if sort.lstrip("-") == "order":
            orders = [row["order"] for row in rows]
            assert orders == sorted(orders, reverse=sort.startswith("-"))


def test_a_page_does_not_shift_when_something_is_made_or_goes_meanwhile(api: Api) -> None:
    _nodes(api, 6)
    first = api.get("nodes?system=false&limit=3&sort=name")
    api.made("nodes", {"name": "a.first.example.com"})
    assert api.delete(f"nodes/{first.get_json()[0]['id']}").status_code == 204
    found = re.match(r"<([^>]+)>", first.headers["Link"])
    assert found is not None
    names = [row["name"] for row in api.get(found[1]).get_json()]
    assert [name[:4] for name in names] == ["n003", "n004", "n005"]


def test_a_list_that_ends_with_a_full_page_has_no_next_one(sqlite_api: Api) -> None:
    _nodes(sqlite_api, 4)
    assert "Link" not in sqlite_api.get("nodes?system=false&limit=4").headers
    assert "Link" in sqlite_api.get("nodes?system=false&limit=3").headers


def test_a_count_is_made_only_when_asked_for(sqlite_api: Api) -> None:
    _nodes(sqlite_api, 5)
    assert sqlite_api.get("nodes?system=false&limit=2&count=true").headers["X-Total-Count"] == "5"
    assert "X-Total-Count" not in sqlite_api.get("nodes?system=false&limit=2").headers


def test_lists_are_filtered_by_what_is_derived_too(api: Api) -> None:
    made = populate(api)
    assert {row["id"] for row in api.get("nodes?state=TRANSITION").get_json()} == {made.nodes[0]}
    assert {row["id"] for row in api.get("nodes?state=TODO").get_json()} == {made.nodes[1]}
    assert [row["name"] for row in api.get("deployments?state=1").get_json()] == ["web"]
    assert {row["state_name"] for row in api.get("node_roles?state=BLOCKED").get_json()} == {"BLOCKED"}
    assert {row["state_name"] for row in api.get("node_roles?state=2").get_json()} == {"TRANSITION"}
    assert api.get("node_roles?node=web2.rack.example.com&role=web-server").get_json()[0]["id"] == made.node_role
    for path, possible in (
        ("nodes?state=RUNS", "NEW, DEAD, IDLE, "),
        ("node_roles?state=RUNS", "ERROR -1, "),
        ("node_roles?state_name=RUNS", "ERROR, ACTIVE, "),
        ("runs?state=fail", "queued, running, cancelling, succeeded, failed, cancelled or lost."),
    ):
        refused = api.get(path)
        assert refused.status_code == 422
        assert f" cannot have that value; it can be {possible}" in refused.get_json()["detail"]
    assert [row["id"] for row in api.get("runs?state=QUEUED").get_json()] == [made.run]
    assert len(api.get("nodes?state=TRANSITION&count=true").headers["X-Total-Count"]) == 1


def test_derived_states_are_those_of_the_domain(api: Api) -> None:
    populate(api)
    by_name = {row["name"]: row["state"] for row in api.get("nodes?system=false").get_json()}
    assert by_name == {"web1.rack.example.com": "TRANSITION", "web2.rack.example.com": "TODO"}
    assert api.get("deployments/system").get_json()["state"] == 2
    web = api.get("deployments/web").get_json()
    assert (web["state"], web["state_name"]) == (1, "COMMITTED")
    assert api.put("deployments/web/recall").get_json()["state"] == 0


def test_only_the_fields_that_were_asked_for_are_given(sqlite_api: Api) -> None:
    made = populate(sqlite_api)
    assert set(sqlite_api.get("nodes?fields=id,name").get_json()[0]) == {"id", "name"}
    assert set(sqlite_api.get(f"nodes/{made.nodes[0]}?fields=name,state").get_json()) == {"name", "state"}
    header = {"x-return-attributes": '{"attributes": ["id", "state"]}'}
    assert set(sqlite_api.get("node_roles", headers=header).get_json()[0]) == {"id", "state"}
    assert "runlog" not in sqlite_api.get("node_roles").get_json()[0]
    assert sqlite_api.get("node_roles/1").get_json()["runlog"] == "line 1\nline 2\nline 3"
    assert sqlite_api.get("node_roles?fields=id,runlog").get_json()[0]["runlog"] == "line 1\nline 2\nline 3"


@pytest.mark.parametrize(
    "path",
    [
        "nodes",
        "node_roles",
        "node_roles?fields=id,runlog",
        "deployments",
        "runs",
        "events",
        "groups",
        "audits",
        "roles",
    ],
)
def test_a_list_costs_the_same_number_of_statements_however_long(sqlite_api: Api, path: str) -> None:
    populate(sqlite_api)
    _nodes(sqlite_api, 12)
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    sqlite_api.get("nodes?limit=1")  # the token's use has been noted
    event.listen(sqlite_api.parts.store.engine, "before_cursor_execute", note)
    counts = []
    for limit in (1, 1000):
        seen.clear()
        mark = "&" if "?" in path else "?"
        assert sqlite_api.get(f"{path}{mark}limit={limit}").status_code == 200
        counts.append(len([statement for statement in seen if "SELECT" in statement]))
    assert counts[0] == counts[1]
    assert counts[0] <= 4


def test_the_name_in_a_sample_is_one_that_is_accepted(api: Api) -> None:
    for noun in ("deployments", "groups"):
        name = api.get(f"{noun}/sample").get_json()["name"]
        assert api.post(noun, {"name": name}).status_code == 201, noun


def test_every_collection_has_a_sample_like_its_objects(api: Api) -> None:
    populate(api)
    nouns = [
        "nodes", "roles", "node_roles", "deployments", "deployment_roles", "runs", "attribs", "barclamps", "jigs",
        "groups", "users", "tokens", "events", "events/deliveries", "audits",
    ]  # fmt: skip
    for noun in nouns:
        sample = api.get(f"{noun}/sample").get_json()
        rows = api.get(noun).get_json()
        assert rows, noun
        whole = api.get(f"{noun}/{rows[0]['id']}").get_json()
        assert set(whole) == set(sample), noun
        for name, value in whole.items():
            if value is not None and sample[name] is not None and name != "default":
                same = isinstance(value, type(sample[name])) or {type(value), type(sample[name])} <= {int, float}
                assert same, (noun, name)
        assert api.post(f"{noun}/match", {"id": rows[0]["id"]}).status_code in (200, 422)


# ---------------------------------------------------------------- reading changes nothing


def test_reading_never_changes_anything(api: Api) -> None:
    made = populate(api)
    api.token("operator")
    values = {
        "node": made.nodes[0], "deployment": made.deployment, "node_role": made.node_role, "run": made.run,
        "group": made.group, "user": made.user, "token": made.token, "delivery": made.delivery, "attrib": "rack-unit",
        "filename": "crowbar.css", "name": "rack-unit",
    }  # fmt: skip
    before = api.dump()
    walked = 0
    for rule in api.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()):
            continue
        literal = re.sub(r"<any\(([^,)]+)[^>]*>", r"\1", rule.rule)
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", lambda found: str(values.get(found[1], 1)), literal)
        with api.get(path) as answer:
            assert answer.status_code < 500, (path, answer.get_data(as_text=True)[:300])
            if answer.is_streamed and path.endswith("/stream"):
                continue
        walked += 1
    assert walked > 100
    assert api.dump() == before


def test_no_answer_holds_a_secret_value(api: Api) -> None:
    made = populate(api)
    bound = next(row["id"] for row in api.get("node_roles?role=base").get_json())
    added = next(row["id"] for row in api.get("deployment_roles?role=base").get_json())
    for path in (
        "deployment_roles", f"deployment_roles/{added}", f"deployment_roles/{added}/attribs",
        f"deployment_roles/{added}/attribs/base-key", f"node_roles/{bound}", f"node_roles/{bound}/attribs",
        f"node_roles/{bound}/attribs/base-key?explain=true", "audits", "events", f"runs/{made.run}/input", "attribs",
    ):  # fmt: skip
        answer = api.get(path)
        assert answer.status_code == 200, path
        body = answer.get_data(as_text=True)
        assert SECRET not in body, path
        assert "$secret" not in body, path
    revealed = api.get(f"node_roles/{bound}/attribs/base-key?reveal=true&explain=true").get_json()
    assert revealed["value"] == SECRET
    assert revealed["source"] == "deployment"


# ---------------------------------------------------------------- ETag


def test_a_change_with_a_stale_etag_is_refused_and_changes_nothing(api: Api) -> None:
    made = api.made("groups", {"name": "rack-1"})
    first = api.get("groups/rack-1").headers["ETag"]
    assert api.patch(f"groups/{made['id']}", {"description": "mine"}, headers={"If-Match": first}).status_code == 200
    before = api.dump()
    for method, path, body in (
        ("PATCH", "groups/rack-1", {"description": "theirs"}),
        ("PUT", "groups/rack-1", {"description": "theirs"}),
        ("DELETE", "groups/rack-1", None),
    ):
        answer = api.call(method, path, json=body, headers={"If-Match": first})
        assert answer.status_code == 412, method
        assert answer.get_json()["code"] == "stale"
    assert api.dump() == before
    now = api.get("groups/rack-1").headers["ETag"]
    assert now != first
    assert api.delete("groups/rack-1", headers={"If-Match": f'"x", {now}'}).status_code == 204


WRITERS = 6


@pytest.mark.parametrize("what", ["group", "node", "attribute", "user", "deployment"])
def test_of_many_writers_who_have_read_the_same_one_wins(api: Api, what: str) -> None:
    api.made("groups", {"name": "rack-1"})
    api.made("deployments", {"name": "web"})
    api.made("nodes", {"name": "a.b.example.com"})
    api.token("viewer")
    choices: dict[str, tuple[str, str, str, Callable[[int], Any]]] = {
        "group": ("groups/rack-1", "PATCH", "groups/rack-1", lambda n: {"description": f"text {n}"}),
        "node": ("nodes/a.b.example.com", "PATCH", "nodes/a.b.example.com", lambda n: {"description": f"text {n}"}),
        "attribute": (
            "nodes/a.b.example.com", "PUT", "nodes/a.b.example.com/attribs/rack-unit", lambda n: {"value": n}
        ),
        "user": ("users/viewer", "PATCH", "users/viewer", lambda n: {"role": ("viewer", "operator")[n % 2]}),
        "deployment": ("deployments/web", "PATCH", "deployments/web", lambda n: {"description": f"text {n}"}),
    }  # fmt: skip
    read, method, path, body = choices[what]
    for turn in range(8):
        tag = api.get(read).headers["ETag"]
        gate = threading.Barrier(WRITERS)
        statuses: list[int] = []

        def write(sent: Any, gate: threading.Barrier = gate, tag: str = tag, seen: list[int] = statuses) -> None:
            gate.wait(30)
            seen.append(api.call(method, path, json=sent, headers={"If-Match": tag}).status_code)

        # All of a user's writers want the same other role: there is nothing else to change.
        numbers = [turn + 1 if what == "user" else turn * WRITERS + number for number in range(WRITERS)]
        threads = [threading.Thread(target=write, args=(body(number),)) for number in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(statuses) == [200] + [412] * (WRITERS - 1)


def test_a_precondition_holds_for_its_own_request_only(sqlite_api: Api) -> None:
    sqlite_api.made("groups", {"name": "rack-1"})
    tag = sqlite_api.get("groups/rack-1").headers["ETag"]
    # Refused before anything was written: the expectation must not wait for the next request of this thread.
    assert sqlite_api.patch("groups/rack-1", {"name": "?"}, headers={"If-Match": tag}).status_code == 422
    assert sqlite_api.patch("groups/rack-1", {"description": "new"}).status_code == 200
    assert sqlite_api.patch("groups/rack-1", {"description": "newer"}).status_code == 200


def test_what_the_client_has_already_is_not_sent_again(sqlite_api: Api) -> None:
    sqlite_api.made("groups", {"name": "rack-1"})
    tag = sqlite_api.get("groups/rack-1").headers["ETag"]
    again = sqlite_api.get("groups/rack-1", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert again.get_data() == b""
    sqlite_api.patch("groups/rack-1", {"description": "new"})
    assert sqlite_api.get("groups/rack-1", headers={"If-None-Match": tag}).status_code == 200


# ---------------------------------------------------------------- Idempotency-Key


def test_the_same_key_twice_does_it_once_and_answers_twice(api: Api) -> None:
    headers = {"Idempotency-Key": "make-rack-1"}
    first = api.post("groups", {"name": "rack-1"}, headers=headers)
    second = api.post("groups", {"name": "rack-1"}, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.get_json() == second.get_json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(api.get("groups").get_json()) == 1


def test_the_same_key_for_something_else_is_refused(api: Api) -> None:
    headers = {"Idempotency-Key": "one"}
    assert api.post("groups", {"name": "rack-1"}, headers=headers).status_code == 201
    for path, body in (("groups", {"name": "rack-2"}), ("deployments", {"name": "rack-1"})):
        assert api.post(path, body, headers=headers).status_code == 422
    assert api.post("groups", {"name": "rack-3"}, headers=headers, who="operator").status_code == 201  # another's keys
    assert [row["name"] for row in api.get("groups").get_json()] == ["rack-1", "rack-3"]
    for bad in ("", " ", "x" * 256):
        assert api.post("groups", {"name": "rack-4"}, headers={"Idempotency-Key": bad}).status_code == 422


def test_a_failed_request_may_be_repeated_with_its_key(sqlite_api: Api) -> None:
    headers = {"Idempotency-Key": "one"}
    assert sqlite_api.post("deployments", {"name": "web", "parent_id": "later"}, headers=headers).status_code == 422
    sqlite_api.made("deployments", {"name": "later"})
    assert sqlite_api.post("deployments", {"name": "web", "parent_id": "later"}, headers=headers).status_code == 201


def test_a_repeated_request_for_a_token_does_not_find_its_secret_in_the_database(sqlite_api: Api) -> None:
    headers = {"Idempotency-Key": "one"}
    made = sqlite_api.post("tokens", {"name": "ci"}, headers=headers)
    assert made.status_code == 201
    secret = made.get_json()["token"].split("_", 2)[2]
    assert sqlite_api.post("tokens", {"name": "ci"}, headers=headers).status_code == 409
    assert secret not in str(sqlite_api.dump())
    assert len([row for row in sqlite_api.get("tokens").get_json() if row["name"] == "ci"]) == 1


def test_of_many_equal_requests_at_once_one_is_carried_out(api: Api) -> None:
    headers = {"Idempotency-Key": "all-at-once"}
    api.token("admin")
    statuses: list[int] = []

    def send() -> None:
        statuses.append(api.post("groups", {"name": "rack-1"}, headers=headers).status_code)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(statuses) == 6
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert len(api.get("groups").get_json()) == 1


# ---------------------------------------------------------------- logs, waiting


def test_a_log_is_read_in_pages_and_from_where_one_was(api: Api) -> None:
    made = populate(api)
    add_log(api, made.run, 7, start=4)
    rows = [row for page in _pages(api, f"runs/{made.run}/log?limit=4") for row in page]
    assert [row["line"] for row in rows] == [f"line {number}" for number in range(1, 11)]
    answer = api.get(f"runs/{made.run}/log?after=9")
    assert [row["seq"] for row in answer.get_json()] == [10]
    assert answer.headers["Crowbar-Run-State"] == "queued"


def test_waiting_for_a_log_ends_with_a_new_line_or_the_end_of_the_run(api: Api) -> None:
    made = populate(api)

    def end() -> None:
        set_run(api, made.run, state="cancelled", finished_at=datetime.now(UTC))

    def write() -> None:
        add_log(api, made.run, 1, start=4)

    acts: list[tuple[Callable[[], None], int, list[int], str]] = [(write, 3, [4], "queued"), (end, 4, [], "cancelled")]
    for act, after, lines, state in acts:
        answers: list[Any] = []

        def wait(after: int = after, answers: list[Any] = answers) -> None:
            answers.append(api.get(f"runs/{made.run}/log?after={after}&wait=20"))

        thread = threading.Thread(target=wait)
        started = time.monotonic()
        thread.start()
        act()
        thread.join(25)
        assert time.monotonic() - started < 15
        (answer,) = answers
        assert [row["seq"] for row in answer.get_json()] == lines
        assert answer.headers["Crowbar-Run-State"] == state


def test_when_too_many_wait_the_next_one_is_answered_at_once(sqlite_api: Api) -> None:
    made = populate(sqlite_api)
    places = Waiting(places=1)
    sqlite_api.app.extensions["crowbar-waiting"] = places
    with places.place() as got:
        assert got
        started = time.monotonic()
        answer = sqlite_api.get(f"runs/{made.run}/log?after=3&wait=20")
        assert time.monotonic() - started < 10
        assert answer.get_json() == []
        assert answer.headers["Retry-After"] == "1"
        assert sqlite_api.get("anneal?sync=true&timeout=20").status_code == 202
        assert sqlite_api.get(f"runs/{made.run}/log/stream").status_code == 503
    assert places.take()


def test_a_log_stream_ends_with_the_run_and_gives_its_place_back(sqlite_api: Api) -> None:
    made = populate(sqlite_api)
    places = Waiting(places=1)
    sqlite_api.app.extensions["crowbar-waiting"] = places
    set_run(sqlite_api, made.run, state="succeeded", finished_at=datetime.now(UTC))
    answer = sqlite_api.get(f"runs/{made.run}/log/stream", headers={"Last-Event-ID": "1"})
    body = answer.get_data(as_text=True)
    assert answer.mimetype == "text/event-stream"
    assert re.findall(r"^id: (\d+)$", body, re.MULTILINE) == ["2", "3"]
    assert body.rstrip().endswith('event: end\ndata: {"state":"succeeded"}')
    assert places.take()


def test_anneal_says_whether_all_is_settled(api: Api) -> None:
    assert api.get("anneal").status_code == 200
    made = populate(api)
    working = api.get("anneal")
    assert working.status_code == 202
    assert working.get_json()["state"] == "working"
    started = time.monotonic()
    assert api.get("anneal?sync=true&timeout=0.3").status_code == 202
    assert time.monotonic() - started < 10
    assert api.put(f"runs/{made.run}/cancel", {"hold": True}).status_code == 200


# ---------------------------------------------------------------- health, description


def test_health_is_public_and_readiness_tells_what_is_wrong(api: Api) -> None:
    assert api.client().get("/healthz").get_json() == {"status": "ok"}
    presence = Presence(api.parts, ["annealer", "worker"])
    presence.start()
    assert api.client().get("/readyz").get_json()["status"] == "ready"
    presence.stop()
    api.parts.queue.problem = lambda: "Redis at redis://secret@host does not answer"  # type: ignore[method-assign]
    degraded = api.client().get("/readyz")
    assert (degraded.status_code, degraded.get_json()["status"]) == (200, "degraded")
    assert "redis://" not in degraded.get_data(as_text=True)
    with api.parts.store.write() as session:
        session.execute(text("DELETE FROM alembic_version_crowbar"))
    behind = api.client().get("/readyz")
    assert behind.status_code == 503
    assert "crowbar db upgrade" in behind.get_json()["detail"]


def test_numbers_for_prometheus(api: Api) -> None:
    populate(api)
    body = api.get("/metrics").get_data(as_text=True)
    assert 'crowbar_node_roles{state="TRANSITION"} 1.0' in body
    assert 'crowbar_runs_open{state="queued"} 1.0' in body
    assert "crowbar_queue_up 1.0" in body


@pytest.mark.postgres
def test_without_its_database_everything_says_503_and_recovers(tmp_path: Path) -> None:
    with PostgresServer() as server, serving(server.create_database(), tmp_path) as api:
        populate(api)
        server.kill()
        for path in ("nodes", "anneal", "/metrics", "status/queue"):
            answer = api.get(path)
            assert answer.status_code == 503, path
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.mimetype == "application/problem+json"
        assert api.post("groups", {"name": "rack-2"}).status_code == 503
        assert api.client().get("/healthz").status_code == 200
        assert api.client().get("/readyz").status_code == 503
        assert api.client().get("/login").status_code == 200
        server.start()
        deadline = time.monotonic() + 60
        while api.get("nodes").status_code != 200:
            assert time.monotonic() < deadline, "not recovered within 60 s"
            time.sleep(0.1)
        assert api.client().get("/readyz").status_code == 200


def test_the_description_names_every_operation_and_every_reference_resolves(sqlite_api: Api) -> None:
    described = sqlite_api.get("openapi.json").get_json()
    assert described["openapi"] == "3.1.0"
    views = sqlite_api.app.view_functions
    for rule in sqlite_api.app.url_map.iter_rules():
        if not hasattr(views[rule.endpoint], "crowbar_operation"):
            continue
        path = re.sub(r"<([^<>]+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert method.lower() in described["paths"][path]
    ids = [one["operationId"] for path in described["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))
    text_ = str(described)
    for name in re.findall(r"#/components/schemas/([A-Za-z0-9_]+)", text_):
        assert name in described["components"]["schemas"], name
    page = sqlite_api.get("/api/docs").get_data(as_text=True)
    assert "/api/v2/node_roles/{node_role}/retry" in page
    assert "http://" not in page.replace("http://localhost", "")


def test_a_mistake_of_ours_is_a_500_without_a_traceback(sqlite_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("the inside of the machine")

    monkeypatch.setattr(sqlite_api.parts.queue, "problem", broken)
    answer = sqlite_api.get("status/queue")
    assert answer.status_code == 500
    assert "inside of the machine" not in answer.get_data(as_text=True)
    assert re.search(r"under [0-9a-f]{8}", answer.get_json()["detail"])
