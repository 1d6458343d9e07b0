"""What the pages promise whatever the browser: no secret on any of them, no gap in the lists, no way to other sites."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert

from crowbar_core import Attribute, Barclamp, Role, hookimpl
from crowbar_core.store.models import Audit, Event, table
from tests.integration.api import PASSWORDS, SECRET, Api, Populated, populate, serving

BORN_SECRET = "s3cret-from-the-start"


class Vault:
    """A barclamp with secrets in all places: a default, on a node, on a role."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="vault",
            roles=(Role(name="safe", wants=("safe-code",), attributes=(Attribute(name="safe-code", secret=True),)),),
            attributes=(
                Attribute(name="bmc-key", map="bmc/key", secret=True),
                Attribute(name="pin", default=BORN_SECRET, secret=True),
            ),
        )


@dataclass
class Site:
    api: Api
    made: Populated
    safe: int


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A cluster with a secret in a node's hint and in what it reported, and a run that was given one."""
    with serving(database_url, tmp_path, plugins=[("vault", Vault())]) as api:
        made = populate(api)
        tree = {"bmc": {"key": SECRET}}
        node = api.made("nodes", {"name": "vault.rack.example.com", "hint": tree, "discovery": tree})
        bound = api.made("node_roles", {"node_id": node["id"], "role_id": "safe"})
        assert api.put(f"node_roles/{bound['id']}/attribs/safe-code", {"value": SECRET}).status_code == 200
        assert api.patch(f"nodes/{node['id']}", {"alive": True, "available": True}).status_code == 200
        assert api.put("deployments/system/commit").status_code == 200
        yield Site(api, made, bound["id"])


def text(api: Api, path: str, who: str = "admin") -> str:
    answer = api.get(path, who=who)
    assert answer.status_code == 200, path
    return answer.get_data(as_text=True)


def test_no_page_and_no_answer_holds_a_secret(site: Site) -> None:
    api = site.api
    (run,) = api.get(f"node_roles/{site.safe}/runs").get_json()
    node = run["node_id"]
    masked = [
        f"/runs/{run['id']}", f"/nodes/{node}", f"/nodes/{node}/attribs/bmc-key", f"/noderoles/{site.safe}",
        f"/noderoles/{site.safe}/attribs/safe-code", "/barclamps/vault", f"/api/v2/runs/{run['id']}/input",
        f"/api/v2/nodes/{node}", f"/api/v2/nodes/{node}/attribs", f"/api/v2/node_roles/{site.safe}/attribs",
    ]  # fmt: skip
    told = [
        "/", "/nodes", "/runs", "/roles/safe", "/audit", "/events", "/api/v2/attribs", "/api/v2/attribs/pin",
        "/api/v2/nodes", "/api/v2/runs", "/api/v2/audits",
    ]  # fmt: skip
    for path in (*masked, *told):
        page = text(api, path)
        for secret in (SECRET, BORN_SECRET, "$secret"):
            assert secret not in page, path
        if path in masked:
            assert "***" in page, path
    assert api.get("attribs/pin").get_json()["default"] is None


def test_the_form_of_a_secret_attribute_is_empty(site: Site) -> None:
    page = text(site.api, f"/noderoles/{site.safe}/attribs/safe-code")
    assert re.search(r'<textarea name="value"[^>]*></textarea>', page), "or a mask would be set as the new secret"


# ---------------------------------------------------------------- lists


def all_pages(api: Api, path: str) -> list[list[str]]:
    """The lines of each page, by the marks that they carry, following "Older"."""
    pages: list[list[str]] = []
    at = path
    while True:
        page = text(api, at)
        pages.append(re.findall(r"mark-[0-9]+", page))
        found = re.search(r'<p class="pager"><a href="([^"]+)">Older', page)
        if found is None:
            return pages
        at = path + found[1].replace("&amp;", "&")
        assert len(pages) < 10


def test_the_pages_of_events_join_without_gap_or_repeat(site: Site) -> None:
    now = datetime.now(UTC)
    with site.api.parts.store.write() as session:
        session.execute(
            insert(table(Event)),
            [{"hook": "on_active", "subject": f"mark-{n}", "payload": {}, "created_at": now} for n in range(250)],
        )
    pages = all_pages(site.api, "/events")
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [mark for page in pages for mark in page] == [f"mark-{n}" for n in reversed(range(250))]


def test_the_pages_of_the_audit_trail_join_without_gap_or_repeat(site: Site) -> None:
    with site.api.parts.store.write() as session:
        session.execute(
            insert(table(Audit)),
            [{"actor": "bulk", "remote": "", "action": f"mark-{n}", "subject": "x", "detail": {}} for n in range(250)],
        )
    pages = all_pages(site.api, "/audit")
    assert [len(page) for page in pages][:2] == [100, 100]
    assert [mark for page in pages for mark in page] == [f"mark-{n}" for n in reversed(range(250))]


# ---------------------------------------------------------------- logging in


ELSEWHERE = (
    "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "http:evil.example",
    "javascript:alert(1)", "/\t/evil.example", "evil.example", "/nodes\\..\\evil",
)  # fmt: skip


def log_in(api: Api, browser: FlaskClient, *, wanted: str, how: str) -> str:
    api.token("viewer")
    query = {"next": wanted} if how == "query" else {}
    page = browser.get("/login").get_data(as_text=True)
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    form = {"name": "viewer", "password": PASSWORDS["viewer"], "csrf_token": found[1]}
    if how == "form":
        form["back"] = wanted
    answer = browser.post("/login", data=form, query_string=query)
    assert answer.status_code == 303
    return str(answer.headers["Location"])


@pytest.mark.parametrize("how", ["query", "form"])
def test_logging_in_leads_back_to_where_one_was_and_nowhere_else(sqlite_url: str, tmp_path: Path, how: str) -> None:
    with serving(sqlite_url, tmp_path) as api:
        assert log_in(api, api.browser(), wanted="/nodes?q=a", how=how) == "/nodes?q=a"
        for wanted in ELSEWHERE:
            assert log_in(api, api.browser(), wanted=wanted, how=how) == "/", wanted


def test_whoever_is_logged_in_is_not_led_elsewhere_either(sqlite_url: str, tmp_path: Path) -> None:
    with serving(sqlite_url, tmp_path) as api:
        browser = api.browser()
        log_in(api, browser, wanted="/", how="form")
        for wanted in ELSEWHERE:
            answer = browser.get("/login", query_string={"next": wanted})
            assert answer.status_code == 302
            assert answer.headers["Location"] == "/", wanted
