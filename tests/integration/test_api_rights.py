"""Who may come in, and what they may do there."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Blueprint
from flask.testing import FlaskClient
from sqlalchemy import update

from crowbar_core import Barclamp, hookimpl, requires
from crowbar_core.errors import ConfigError
from crowbar_core.services.engine.housekeeping import clean
from crowbar_core.services.people import users
from crowbar_core.services.turns.turn import SYSTEM
from crowbar_core.store.models import BrowserSession, Token
from crowbar_core.web.app import create_app, permissions
from tests.integration.api import PASSWORDS, Api, Populated, populate, serving, set_run


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(database_url, tmp_path) as served:
        yield served


@pytest.fixture
def sqlite_api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    """For what does not depend on the database."""
    with serving(sqlite_url, tmp_path) as served:
        yield served


def _paths(api: Api, made: Populated) -> Iterator[tuple[str, str, str]]:
    """Every route: endpoint, method, a path of things that exist."""
    values = {
        "node": made.nodes[0], "deployment": made.deployment, "node_role": made.node_role, "run": made.run,
        "group": made.group, "user": made.user, "token": made.token, "delivery": made.delivery,
        "filename": "crowbar.css", "attrib": "rack-unit",
    }  # fmt: skip
    for rule in api.app.url_map.iter_rules():
        literal = re.sub(r"<any\(([^,)]+)[^>]*>", r"\1", rule.rule)
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", lambda found: str(values.get(found[1], 1)), literal)
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            yield rule.endpoint, method, path


# ---------------------------------------------------------------- every route has a guard


def test_every_route_declares_a_permission(sqlite_api: Api) -> None:
    found = permissions(sqlite_api.app)
    assert set(found) == set(sqlite_api.app.view_functions)
    assert {endpoint for endpoint, permission in found.items() if permission == "public"} == {
        "outside.healthz",
        "outside.readyz",
        "ui.login",
        "ui.log_in",
        "ui.log_out",
        "ui.static",
    }


def test_no_route_answers_a_stranger(sqlite_api: Api) -> None:
    made = populate(sqlite_api)
    found = permissions(sqlite_api.app)
    before = sqlite_api.dump()
    for endpoint, method, path in _paths(sqlite_api, made):
        if found[endpoint] == "public":
            continue
        answer = sqlite_api.client().open(path, method=method, json={} if method != "GET" else None)
        if endpoint.startswith("ui."):
            assert answer.status_code in (303, 302), (method, path)
            assert answer.headers["Location"].startswith("/login"), (method, path)
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.mimetype == "application/problem+json"
    assert sqlite_api.dump() == before


def test_a_viewer_changes_nothing_anywhere(sqlite_api: Api) -> None:
    made = populate(sqlite_api)
    found = permissions(sqlite_api.app)
    before = sqlite_api.dump()
    own = {
        "api.create_token",
        "api.revoke_token",
        "api.match_tokens",
        "api.reset_password",
        "ui.create_token",
        "ui.revoke_token",
        "ui.set_password",
        "ui.password",
        "ui.change_password",
    }
    for endpoint, method, path in _paths(sqlite_api, made):
        if method == "GET" or found[endpoint] == "public" or endpoint in own or path.endswith("/match"):
            continue
        answer = sqlite_api.call(method, path, who="viewer", json={})
        assert answer.status_code == 403, (method, path, answer.get_data(as_text=True)[:200])
    assert sqlite_api.dump() == before


def test_an_operator_is_kept_from_users_and_secrets(sqlite_api: Api) -> None:
    made = populate(sqlite_api)
    for path in ("users", f"users/{made.user}", "users/sample"):
        assert sqlite_api.get(path, who="operator").status_code == 403
    assert sqlite_api.post("users", {"name": "x1", "password": "long-enough"}, who="operator").status_code == 403
    assert sqlite_api.delete(f"users/{made.user}", who="operator").status_code == 403
    for verb in ("lock", "unlock"):
        assert sqlite_api.put(f"users/{made.user}/{verb}", who="operator").status_code == 403
        assert sqlite_api.post(f"/users/{made.user}/{verb}", who="operator").status_code == 403
    assert sqlite_api.patch(f"users/{made.user}", {"role": "admin"}, who="operator").status_code == 403
    assert sqlite_api.get(f"nodes/{made.nodes[0]}/attribs?reveal=true", who="operator").status_code == 403
    assert sqlite_api.get("audits", who="viewer").status_code == 403
    assert sqlite_api.get("audits", who="operator").status_code == 200
    assert sqlite_api.post("nodes", {"name": "a.b.example.com"}, who="operator").status_code == 201


def test_a_node_reaches_only_its_own_endpoints(api: Api) -> None:
    made = populate(api)
    mine, other = made.nodes
    who = f"node:{mine}"
    run = next(row for row in api.get("runs").get_json() if row["node_id"] == mine)["id"]
    assert api.get(f"nodes/{mine}", who=who).status_code == 200
    assert api.put(f"nodes/{mine}/discovery", {"discovery": {"cpus": 8}}, who=who).status_code == 200
    assert api.get(f"nodes/{mine}").get_json()["discovery"] == {"cpus": 8}
    assert api.put("nodes/web1.rack.example.com/alive", {"alive": False}, who=who).get_json()["alive"] is False
    set_run(api, run, state="cancelled", finished_at=datetime.now(UTC))
    assert api.put(f"runs/{run}/finish", {"succeeded": True}, who=who).status_code == 409  # its own, but over
    allowed = {
        "api.show_nodes", "api.report_alive", "api.report_discovery", "api.why_node", "api.node_attribs",
        "api.node_attrib", "api.finish_run", "api.wake_run", "api.report_host_keys",
    }  # fmt: skip
    for endpoint, method, path in _paths(api, made):
        if permissions(api.app)[endpoint] == "public" or endpoint in allowed:
            continue
        if endpoint.startswith("ui."):
            continue
        assert api.call(method, path, who=who, json={} if method != "GET" else None).status_code == 403, (method, path)
    for path in (f"nodes/{other}", "nodes/web2.rack.example.com", "nodes/999999", f"nodes/{other}/why"):
        assert api.get(path, who=who).status_code == 403, path
    assert api.put(f"nodes/{other}/alive", {"alive": False}, who=who).status_code == 403
    assert api.get(f"nodes/{other}").get_json()["alive"] is True


# ---------------------------------------------------------------- tokens and passwords


def test_wrong_credentials_are_refused_even_where_none_are_needed(sqlite_api: Api) -> None:
    token = sqlite_api.token("viewer")
    for wrong in (
        token[:-1] + ("a" if token[-1] != "a" else "b"),
        "cb_999_" + "x" * 43,
        "cb_1_",
        "nonsense",
        "",
        "cb_99999999999_" + "x" * 43,
    ):
        for path in ("/healthz", "/api/v2/nodes"):
            answer = sqlite_api.client().get(path, headers={"Authorization": f"Bearer {wrong}"})
            assert answer.status_code == 401
            if wrong:
                assert wrong not in answer.get_data(as_text=True)
    assert sqlite_api.client().get("/api/v2/nodes", headers={"Authorization": "Digest x"}).status_code == 401
    assert sqlite_api.client().get("/api/v2/nodes", headers={"Authorization": "Basic ???"}).status_code == 401
    assert sqlite_api.client().get("/api/v2/nodes", auth=("viewer", "wrong-password")).status_code == 401


def test_a_token_ends_when_it_expires_is_revoked_or_its_user_is_locked(api: Api) -> None:
    made = api.post(
        "tokens",
        {"name": "for a while", "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
        who="viewer",
    )
    assert made.status_code == 201
    secret = made.get_json()["token"]

    def works() -> bool:
        return api.client().get("/api/v2/nodes", headers={"Authorization": f"Bearer {secret}"}).status_code == 200

    assert works()
    assert api.put("users/viewer/lock").status_code == 200
    assert not works()
    assert api.put("users/viewer/unlock").status_code == 200
    assert works()
    with api.parts.store.write() as session:
        session.execute(
            update(Token)
            .where(Token.id == made.get_json()["id"])
            .values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    assert not works()
    assert api.post("tokens", {"expires_at": "2020-01-01T00:00:00Z"}).status_code == 422
    second = api.post("tokens", {}, who="viewer").get_json()
    assert api.delete(f"tokens/{second['id']}", who="viewer").status_code == 204
    answer = api.client().get("/api/v2/nodes", headers={"Authorization": f"Bearer {second['token']}"})
    assert answer.status_code == 401


def test_nobody_makes_a_token_that_is_more_than_themselves(sqlite_api: Api) -> None:
    assert sqlite_api.post("tokens", {"role": "admin"}, who="viewer").status_code in (403, 422)
    assert sqlite_api.post("tokens", {"user_id": "admin"}, who="operator").status_code == 403
    small = sqlite_api.post("tokens", {"role": "viewer"}).get_json()["token"]
    headers = {"Authorization": f"Bearer {small}"}
    assert sqlite_api.client().get("/api/v2/users", headers=headers).status_code == 403
    answer = sqlite_api.client().post("/api/v2/tokens", headers=headers, json={"role": "admin"})
    assert answer.status_code == 403
    again = sqlite_api.client().post("/api/v2/tokens", headers=headers, json={})
    assert again.get_json()["role"] == "viewer"


def test_tokens_of_others_are_not_seen(sqlite_api: Api) -> None:
    sqlite_api.token("operator")
    mine = sqlite_api.get("tokens", who="viewer").get_json()
    assert [row["user"] for row in mine] == ["viewer"]
    other = users.token_id_of(sqlite_api.token("operator"))
    assert sqlite_api.get(f"tokens/{other}", who="viewer").status_code == 404
    assert sqlite_api.delete(f"tokens/{other}", who="viewer").status_code == 404
    assert sqlite_api.post("tokens/match", {"role": "operator"}, who="viewer").get_json() == []
    everything = sqlite_api.get("tokens").get_data(as_text=True)
    assert "secret" not in everything
    assert "hash" not in everything


def test_a_token_alone_does_not_change_the_password(sqlite_api: Api) -> None:
    body = {"password": "brand-new-password"}
    assert sqlite_api.put("users/viewer/reset_password", body, who="viewer").status_code == 403
    assert (
        sqlite_api.put("users/viewer/reset_password", {**body, "old_password": "guess"}, who="viewer").status_code
        == 403
    )
    assert (
        sqlite_api.put(
            "users/admin/reset_password", {**body, "old_password": PASSWORDS["viewer"]}, who="viewer"
        ).status_code
        == 403
    )
    small = sqlite_api.post("tokens", {"role": "viewer"}).get_json()["token"]  # of admin, with fewer rights
    for who, secret in (("admin", small), ("viewer", sqlite_api.token("viewer"))):
        number = sqlite_api.get(f"users/{who}").get_json()["id"]
        headers = {"Authorization": f"Bearer {secret}"}
        sqlite_api.client().post(f"/users/{number}/password", data=body, headers=headers)
        answer = sqlite_api.client().put(f"/api/v2/users/{who}/reset_password", json=body, headers=headers)
        assert answer.status_code == 403
        assert sqlite_api.client().get("/api/v2/nodes", auth=(who, body["password"])).status_code == 401
    right = {**body, "old_password": PASSWORDS["viewer"]}
    assert sqlite_api.put("users/viewer/reset_password", right, who="viewer").status_code == 200
    assert sqlite_api.client().get("/api/v2/nodes", auth=("viewer", body["password"])).status_code == 200


def test_guessing_passwords_is_bounded(sqlite_api: Api) -> None:
    sqlite_api.token("viewer")
    statuses = [sqlite_api.client().get("/api/v2/nodes", auth=("viewer", f"guess-{n}")).status_code for n in range(12)]
    assert statuses[:10] == [401] * 10
    assert statuses[10:] == [429] * 2
    blocked = sqlite_api.client().get("/api/v2/nodes", auth=("viewer", PASSWORDS["viewer"]))
    assert blocked.status_code == 429
    assert 0 < int(blocked.headers["Retry-After"]) <= 60
    assert sqlite_api.get("nodes", who="viewer").status_code == 200  # a token is not a guess


def test_a_changed_password_ends_remembered_basic_logins(sqlite_api: Api) -> None:
    sqlite_api.token("viewer")
    old = ("viewer", PASSWORDS["viewer"])
    assert sqlite_api.client().get("/api/v2/nodes", auth=old).status_code == 200
    assert sqlite_api.put("users/viewer/reset_password", {"password": "something-else"}).status_code == 200
    assert sqlite_api.client().get("/api/v2/nodes", auth=old).status_code == 401


# ---------------------------------------------------------------- sessions


def _csrf(browser: FlaskClient) -> str:
    found = re.search(
        r'name="csrf-token" content="([^"]+)"|name="csrf_token" value="([^"]+)"',
        browser.get("/login").get_data(as_text=True),
    )
    assert found is not None
    return found[1] or found[2]


def _token(browser: FlaskClient) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"', browser.get("/users").get_data(as_text=True))
    assert found is not None
    return found[1]


def _log_in(api: Api, browser: FlaskClient, who: str = "viewer") -> None:
    api.token(who)
    form = {"name": who, "password": PASSWORDS[who], "csrf_token": _csrf(browser)}
    assert browser.post("/login", data=form).status_code == 303


def _cookie(browser: FlaskClient) -> str:
    cookie = browser.get_cookie("crowbar")
    assert cookie is not None
    return cookie.value


def test_logging_in_needs_the_csrf_token_and_rotates_the_session(sqlite_api: Api) -> None:
    browser = sqlite_api.browser()
    sqlite_api.token("viewer")
    form = {"name": "viewer", "password": PASSWORDS["viewer"]}
    assert browser.post("/login", data=form).status_code == 400
    before = _csrf(browser)
    cookie = _cookie(browser)
    _log_in(sqlite_api, browser)
    assert _cookie(browser) != cookie
    with browser.session_transaction() as session:
        first = dict(session)
    assert browser.get("/api/v2/whoami").get_json()["name"] == "viewer"
    # The token of the session before the login is worth nothing in the new one.
    answer = browser.post("/api/v2/tokens", json={}, headers={"X-CSRFToken": before})
    assert answer.status_code == 400
    other = sqlite_api.browser()
    _log_in(sqlite_api, other)
    with other.session_transaction() as session:
        assert session["key"] != first["key"]


def test_a_cookie_session_needs_the_csrf_token_for_changes_and_a_bearer_does_not(sqlite_api: Api) -> None:
    browser = sqlite_api.browser()
    _log_in(sqlite_api, browser, "operator")
    body = {"name": "rack-9"}
    refused = browser.post("/api/v2/groups", json=body)
    assert refused.status_code == 400
    assert refused.get_json()["code"] == "csrf"
    assert sqlite_api.get("groups").get_json() == []
    page = browser.get("/").get_data(as_text=True)
    found = re.search(r'name="csrf-token" content="([^"]+)"', page)
    assert found is not None
    assert browser.post("/api/v2/groups", json=body, headers={"X-CSRFToken": found[1]}).status_code == 201
    assert sqlite_api.post("groups", {"name": "rack-8"}, who="operator").status_code == 201


FORM_TYPES = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", None]


@pytest.mark.parametrize("kind", FORM_TYPES)
@pytest.mark.parametrize("how", ["basic", "bearer"])
@pytest.mark.parametrize("path", ["/users", "/api/v2/users"])
def test_a_form_of_another_site_cannot_use_the_password_that_the_browser_knows(
    sqlite_api: Api, path: str, how: str, kind: str | None
) -> None:
    token = sqlite_api.token("admin")
    basic = b64encode(f"admin:{PASSWORDS['admin']}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}" if how == "basic" else f"Bearer {token}"}
    assert sqlite_api.client().get("/metrics", headers=headers).status_code == 200  # as a browser was asked once
    form = {"name": "mallory", "password": "let-me-in-now", "role": "admin"}
    body = json.dumps(form) if "api" in path else urlencode(form)
    for more in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = sqlite_api.browser().post(path, data=body, content_type=kind, headers={**headers, **more})
        assert answer.status_code in (302, 303, 400, 401, 403, 415), answer.get_data(as_text=True)
        if answer.status_code in (302, 303):
            assert answer.headers["Location"].startswith("/login")
    assert "mallory" not in [row["name"] for row in sqlite_api.get("users").get_json()]


def test_no_form_of_a_page_is_taken_with_a_password_or_token_alone(sqlite_api: Api) -> None:
    made = populate(sqlite_api)
    before = sqlite_api.dump(without=("sessions",))
    for _endpoint, method, path in _paths(sqlite_api, made):
        if method != "POST":
            continue
        for kind in FORM_TYPES:
            answer = sqlite_api.call("POST", path, data=b"", content_type=kind)
            assert answer.status_code in (303, 400, 401, 415), (path, kind, answer.status_code)
    assert sqlite_api.dump(without=("sessions",)) == before


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 201),
        ({"Origin": "http://localhost"}, 201),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Origin": "https://localhost"}, 201),  # a proxy that does TLS
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://localhost@evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_change_is_taken_from_pages_of_our_own_origin_only(
    sqlite_api: Api, headers: dict[str, str], status: int
) -> None:
    browser = sqlite_api.browser()
    _log_in(sqlite_api, browser, "operator")
    page = browser.get("/").get_data(as_text=True)
    found = re.search(r'name="csrf-token" content="([^"]+)"', page)
    assert found is not None
    with_token = {**headers, "X-CSRFToken": found[1]}
    assert browser.post("/api/v2/groups", json={"name": "by-session"}, headers=with_token).status_code == status
    assert sqlite_api.post("groups", {"name": "by-token"}, headers=headers).status_code == status
    form = {"name": "by-form", "csrf_token": found[1]}
    assert browser.post("/login", data=form, headers=headers).status_code == (401 if status == 201 else 403)


def test_behind_tls_a_page_without_it_is_another_origin(sqlite_api: Api) -> None:
    secure = {"X-Forwarded-Proto": "https"}
    for origin, status in (("https://localhost", 201), ("http://localhost", 403)):
        body = {"name": f"from-{status}"}
        assert sqlite_api.post("groups", body, headers={**secure, "Origin": origin}).status_code == status


def test_a_browser_is_not_asked_for_a_password_by_basic(sqlite_api: Api) -> None:
    sent = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
    assert sqlite_api.client().get("/metrics", headers=sent).headers["WWW-Authenticate"].startswith("Bearer ")
    assert sqlite_api.client().get("/metrics").headers["WWW-Authenticate"].startswith("Basic ")


def test_somebody_who_is_logged_in_posts_forms_whatever_else_the_browser_sends(sqlite_api: Api) -> None:
    browser = sqlite_api.browser()
    _log_in(sqlite_api, browser, "operator")
    page = browser.get("/").get_data(as_text=True)
    found = re.search(r'name="csrf-token" content="([^"]+)"', page)
    assert found is not None
    form = {"name": "made.by.form.example", "csrf_token": found[1]}
    answer = browser.post("/nodes", data=form, headers={"Authorization": f"Bearer {sqlite_api.token('viewer')}"})
    assert answer.status_code == 303
    assert [row["name"] for row in sqlite_api.get("nodes?name=made.by.form.example").get_json()]


@pytest.mark.parametrize("trusted, remote", [((), "127.0.0.1"), (("127.0.0.0/8",), "192.0.2.7")])
def test_whom_a_request_came_from_is_believed_from_a_trusted_proxy_only(
    sqlite_url: str, tmp_path: Path, trusted: tuple[str, ...], remote: str
) -> None:
    with serving(sqlite_url, tmp_path, trusted_proxies=trusted) as api:
        headers = {"X-Forwarded-For": "198.51.100.1, 192.0.2.7", "X-Forwarded-Proto": "https"}
        assert api.post("groups", {"name": "rack-1"}, headers=headers).status_code == 201
        assert api.get("audits?action=group.create").get_json()[0]["remote"] == remote


def test_a_trusted_proxy_that_is_no_address_stops_the_start(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trusted_proxies"), serving(sqlite_url, tmp_path, trusted_proxies=("x",)):
        pass


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(sqlite_api: Api) -> None:
    answer = sqlite_api.browser().get("/login")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    over_tls = sqlite_api.browser().get("/login", base_url="https://crowbar.example.com")
    assert "Secure" in over_tls.headers["Set-Cookie"]


def test_a_copied_cookie_is_worth_nothing_after_the_log_out(api: Api) -> None:
    browser, thief = api.browser(), api.browser()
    _log_in(api, browser)
    thief.set_cookie("crowbar", _cookie(browser))
    assert thief.get("/api/v2/whoami").status_code == 200
    assert browser.post("/logout", data={"csrf_token": _token(browser)}).status_code == 303
    assert thief.get("/api/v2/whoami").status_code == 401
    _log_in(api, browser)
    assert thief.get("/api/v2/whoami").status_code == 401


def test_a_log_in_ends_the_one_before_in_the_same_browser_and_no_other(api: Api) -> None:
    browser, other, copy = api.browser(), api.browser(), api.browser()
    for one in (browser, other):
        _log_in(api, one)
    copy.set_cookie("crowbar", _cookie(browser))
    form = {"name": "viewer", "password": PASSWORDS["viewer"], "csrf_token": _token(browser)}
    assert browser.post("/login", data=form).status_code == 303
    assert [one.get("/api/v2/whoami").status_code for one in (browser, other, copy)] == [200, 200, 401]


def test_a_session_ends_in_time_and_is_forgotten(sqlite_api: Api) -> None:
    browser = sqlite_api.browser()
    _log_in(sqlite_api, browser)
    with sqlite_api.parts.store.write() as session:
        session.execute(update(BrowserSession).values(ends_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert browser.get("/api/v2/whoami").status_code == 401
    clean(sqlite_api.parts)
    assert sqlite_api.dump()["sessions"] == []


def test_a_page_changes_ones_own_password_with_the_present_one_only(sqlite_api: Api) -> None:
    for who in ("viewer", "admin"):
        browser, other = sqlite_api.browser(), sqlite_api.browser()
        for one in (browser, other):
            _log_in(sqlite_api, one, who)
        number = browser.get("/api/v2/whoami").get_json()["user_id"]
        form = {"password": "brand-new-password", "csrf_token": _token(browser)}
        for old in ({}, {"old_password": ""}, {"old_password": "guess"}):
            answer = browser.post(f"/users/{number}/password", data={**form, **old}, follow_redirects=True)
            assert "the present password is not right" in answer.text
        headers = {"X-CSRFToken": _token(browser)}
        body = {"password": "brand-new-password"}
        assert browser.put(f"/api/v2/users/{who}/reset_password", json=body, headers=headers).status_code == 403
        form = {**form, "old_password": PASSWORDS[who]}
        answer = browser.post(f"/users/{number}/password", data=form, follow_redirects=True)
        assert "The password is changed" in answer.text
        assert browser.get("/api/v2/whoami").status_code == 200  # one goes on; whoever else was there does not
        assert other.get("/api/v2/whoami").status_code == 401


def test_an_administrator_sets_the_password_of_others(sqlite_api: Api) -> None:
    sqlite_api.token("viewer")
    browser = sqlite_api.browser()
    _log_in(sqlite_api, browser, "admin")
    number = sqlite_api.get("users/viewer").get_json()["id"]
    form = {"password": "brand-new-password", "csrf_token": _token(browser)}
    answer = browser.post(f"/users/{number}/password", data=form, follow_redirects=True)
    assert "1 token of this user still works" in answer.text
    assert sqlite_api.get("nodes", who="viewer").status_code == 200
    answer = browser.post(f"/users/{number}/password", data={**form, "tokens": "revoke"}, follow_redirects=True)
    assert "1 token revoked" in answer.text.replace("are", "")
    assert sqlite_api.get("nodes", who="viewer").status_code == 401


def test_tokens_outlive_a_password_unless_they_are_revoked_with_it(api: Api) -> None:
    api.token("viewer")
    body = {"password": "something-else"}
    answer = api.put("users/viewer/reset_password", body)
    assert answer.get_json() == {"tokens_left": 1, "tokens_revoked": 0}
    assert api.get("nodes", who="viewer").status_code == 200
    answer = api.put("users/viewer/reset_password", {**body, "revoke_tokens": True})
    assert answer.get_json() == {"tokens_left": 0, "tokens_revoked": 1}
    assert api.get("nodes", who="viewer").status_code == 401
    assert api.get("nodes").status_code == 200  # others' tokens


@pytest.mark.parametrize("what", ["password", "lock", "delete"])
def test_a_session_dies_when_the_password_changes_or_the_user_goes(api: Api, what: str) -> None:
    browser = api.browser()
    _log_in(api, browser)
    assert browser.get("/api/v2/nodes").status_code == 200
    if what == "password":
        assert api.put("users/viewer/reset_password", {"password": "something-else"}).status_code == 200
    elif what == "lock":
        assert api.put("users/viewer/lock").status_code == 200
    else:
        assert api.delete("users/viewer").status_code == 204
    assert browser.get("/api/v2/nodes").status_code == 401


def test_a_forged_session_is_nobody(sqlite_api: Api) -> None:
    browser = sqlite_api.browser()
    sqlite_api.token("admin")
    browser.set_cookie("crowbar", "eyJ1c2VyX2lkIjoxLCJlcG9jaCI6MH0.Z0000.AAAAAAAAAAAAAAAAAAAAAAAAAAA")
    assert browser.get("/api/v2/users").status_code == 401


def test_every_answer_carries_the_security_headers(sqlite_api: Api) -> None:
    for path in ("/login", "/api/v2/nodes", "/healthz", "/nothing", "/static/crowbar.css"):
        with sqlite_api.client().get(path) as answer:
            headers = answer.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Referrer-Policy" in headers
    assert sqlite_api.get("nodes").headers["Cache-Control"] == "no-store"


# ---------------------------------------------------------------- barclamps' routes


class Pages:
    """A barclamp with the blueprints it is given."""

    def __init__(self, *blueprints: Any) -> None:
        self._blueprints = blueprints

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="pages")

    @hookimpl
    def register_blueprints(self) -> list[Any]:
        return list(self._blueprints)


def _blueprint(rule: str, permission: Any = "viewer", **options: Any) -> Blueprint:
    made = Blueprint("pages", __name__, **options)

    def view(**_path: str) -> str:
        return "a page"

    made.add_url_rule(rule, "view", requires(permission)(view) if permission else view)
    return made


def test_a_barclamps_route_is_guarded_like_the_cores(sqlite_url: str, tmp_path: Path) -> None:
    with serving(sqlite_url, tmp_path, plugins=[("pages", Pages(_blueprint("/pages/x", "operator")))]) as api:
        assert api.client().get("/pages/x").headers["Location"] == "/login?next=/pages/x"
        assert api.get("/pages/x", who="viewer").status_code == 403
        assert api.get("/pages/x", who="operator").get_data(as_text=True) == "a page"


def test_a_barclamps_route_for_nodes_is_for_the_node_it_names(sqlite_url: str, tmp_path: Path) -> None:
    with serving(sqlite_url, tmp_path, plugins=[("pages", Pages(_blueprint("/pages/<node>/x", "node")))]) as api:
        made = populate(api)
        mine, other = made.nodes
        assert api.get(f"/pages/{mine}/x", who=f"node:{mine}").status_code == 200
        assert api.get(f"/pages/{other}/x", who=f"node:{mine}").status_code == 403


def refused(url: str, directory: Path, pages: Any) -> str:
    """What is said of a barclamp with these pages; the core answers all the same."""
    with serving(url, directory, plugins=[("pages", Pages(pages))]) as api:
        assert api.client().get("/healthz").get_json() == {"status": "ok"}
        assert api.get("nodes").status_code == 200
        assert "pages" not in api.app.blueprints
        (problem,) = api.parts.registry.problems()
        return problem.detail


@pytest.mark.parametrize("permission", [None, "everybody"])
def test_a_route_without_a_permission_is_left_out_and_shown(sqlite_url: str, tmp_path: Path, permission: Any) -> None:
    said = refused(sqlite_url, tmp_path, _blueprint("/pages/x", permission))
    declared = "no permission" if permission is None else f"the permission '{permission}', which there is not"
    assert re.search(rf"/pages/x.*declares {declared}", said)


def test_a_route_for_nodes_that_names_no_node_is_left_out_and_shown(sqlite_url: str, tmp_path: Path) -> None:
    assert "needs <node>" in refused(sqlite_url, tmp_path, _blueprint("/pages/x", "node"))


@pytest.mark.parametrize(
    "rule",
    [
        "/api/v2/nodes",
        "/api/v2/nodes/<anything>",
        "/api/v2/nodes/special",
        "/api/v2/<path:rest>",
        "/<path:rest>",
        "/login",
        "/healthz",
        "/static/mine.css",
    ],
)
def test_a_barclamps_route_that_shadows_the_core_is_left_out_and_shown(
    sqlite_url: str, tmp_path: Path, rule: str
) -> None:
    assert re.search(r"Barclamp pages has a route .* overlaps", refused(sqlite_url, tmp_path, _blueprint(rule)))


@pytest.mark.parametrize("rule", ["/pages", "/pages/<x>", "/api/v2/pages", "/api/v2/nodes/<node>/addresses_of_pages"])
def test_a_barclamps_route_beside_the_cores_is_welcome(sqlite_url: str, tmp_path: Path, rule: str) -> None:
    with serving(sqlite_url, tmp_path, plugins=[("pages", Pages(_blueprint(rule)))]) as api:
        assert "pages.view" in permissions(api.app)


def test_what_is_no_blueprint_is_named_with_its_barclamp(sqlite_url: str, tmp_path: Path) -> None:
    said = refused(sqlite_url, tmp_path, "no blueprint")
    assert "barclamp pages returned something that is no Flask Blueprint" in said


def test_two_applications_over_one_installation_accept_each_others_sessions(sqlite_api: Api) -> None:
    browser = sqlite_api.browser()
    _log_in(sqlite_api, browser)
    second = create_app(sqlite_api.parts.settings, parts=sqlite_api.parts).test_client()
    second.set_cookie("crowbar", _cookie(browser))
    assert second.get("/api/v2/whoami").get_json()["name"] == "viewer"


def test_what_was_done_by_whom_from_where_is_in_the_audit_trail(api: Api) -> None:
    group = api.post("groups", {"name": "rack-1"}, who="operator").get_json()["id"]
    assert api.delete(f"groups/{group}", who="operator").status_code == 204
    rows = api.get("audits?actor=operator").get_json()
    assert [row["action"] for row in rows] == ["group.delete", "group.create"]
    assert {row["remote"] for row in rows} == {"127.0.0.1"}
    assert api.get("audits?action=user.create").get_json()[-1]["actor"] == SYSTEM.name
