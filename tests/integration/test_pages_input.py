"""Bad input on the pages: refused in words, never a 5xx; read by the same strict code as the API's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask.testing import FlaskClient

from tests.integration.api import PASSWORDS, Api, Populated, populate, serving

NASTY = {
    "over 2^63": str(2**63),
    "over 2^31": str(2**31),
    "5000 digits": "9" * 5000,
    "negative": "-1",
    "NUL": "a\x00b",
    "surrogate": "\udcff",
    "1e400": "1e400",
    "NaN": "NaN",
    "duplicate keys": '{"a": 1, "a": 2}',
    "surrogate in JSON": '"\\ud800"',
    "NUL in JSON": '"\\u0000"',
    "deep": "[" * 200,
    "broken JSON": '{"a": ',
    "superscript": "\u00b2",
    "other digits": "\u0663",
    "long": "x" * 100_000,
    "script": "<script>alert(1)</script>",
    "lines": "a\r\nSet-Cookie: x=y",
    "template": "{{7*7}}",
}
FORM = "application/x-www-form-urlencoded"
EVERYWHERE = ("back", "next", "before", "after")
"""What many pages read by functions that they share: each alone with a part of the nasty ones, together with all."""
WORDS = re.compile(r'(?:form|args|field|number|values)\b[^"\n]{0,12}"([a-z_]+)"')


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def sqlite_api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path) as made:
        yield made


def log_in(api: Api, who: str = "admin") -> tuple[FlaskClient, str]:
    api.token(who)
    browser = api.browser()
    browser.post("/login", data={"name": who, "password": PASSWORDS[who], "csrf_token": token_of(browser, "/login")})
    return browser, token_of(browser, "/users")


def token_of(browser: FlaskClient, path: str) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"|name="csrf_token" value="([^"]+)"', browser.get(path).text)
    assert found is not None
    return found[1] or found[2]


def pages(api: Api, made: Populated) -> Iterator[tuple[str, str, dict[str, Any], list[str]]]:
    """Of each page: method, pattern, good values of its path, the names of its fields or parameters."""
    good = {
        "node_id": made.nodes[0], "deployment_id": made.deployment, "node_role_id": made.node_role, "run_id": made.run,
        "user_id": made.user, "delivery_id": made.delivery, "subject_id": made.nodes[0], "reference": "base",
        "name": "rack-unit",
    }  # fmt: skip
    for rule in api.app.url_map.iter_rules():
        if not rule.endpoint.startswith("ui.") or rule.endpoint in ("ui.static", "ui.log_out", "ui.log_in"):
            continue
        view = inspect.unwrap(api.app.view_functions[rule.endpoint])
        names = sorted(set(WORDS.findall(inspect.getsource(view))))
        pattern = re.sub(r"<any\(([^,)]+)[^>]*>", r"\1", rule.rule)
        pattern = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", pattern)
        path = {name: good.get(name, 1) for name in re.findall(r"{(\w+)}", pattern)}
        for method in sorted((rule.methods or set()) & {"GET", "POST"}):
            yield method, pattern, path, names


@pytest.mark.slow
def test_no_page_answers_bad_input_with_a_fault(api: Api) -> None:
    made = populate(api)
    browser, token = log_in(api)
    asked = 0
    for method, pattern, path, names in list(pages(api, made)):
        fields = {"csrf_token": token} if method == "POST" else {}
        tries: list[tuple[str, dict[str, str]]] = []
        for turn, nasty in enumerate(NASTY.values(), asked):
            alone = {*names, EVERYWHERE[turn % len(EVERYWHERE)]}
            tries += [(pattern.format(**path), {**fields, name: nasty}) for name in sorted(alone)]
            tries.append((pattern.format(**path), {**fields, **dict.fromkeys([*names, *EVERYWHERE], nasty)}))
            if len(nasty) <= 5000:
                tries += [(pattern.format(**{**path, name: nasty}), dict(fields)) for name in path]
        for url, given in tries:
            sent = urlencode(given, errors="surrogatepass")
            kind = {"data": sent, "content_type": FORM} if method == "POST" else {"query_string": sent}
            answer = browser.open(quote(url, errors="surrogatepass"), method=method, **kind)  # type: ignore[arg-type]
            asked += 1
            assert answer.status_code < 500, (method, url[:80], {name: text[:40] for name, text in given.items()})
    assert asked > 2000


@pytest.mark.parametrize(
    "text, says",
    [
        ('{"a": 1, "a": 2}', "/a): The key a is given twice"),
        ('{"a": [1, 1e400]}', "/a/1): A number is too large"),
        ('{"a": NaN}', "/a): NaN and Infinity"),
        (str(2**63), "A whole number is too large"),
        ("1e400", "A number is too large"),
        ('["\\u0000"]', "/0): A string may not hold a NUL"),
        ('["\\ud800"]', "/0): A string holds half of a surrogate"),
        ("[" * 101 + "]" * 101, "nested deeper than 100 levels"),
        ('{"a": ', "is not JSON: line 1"),
    ],
)
def test_a_value_typed_into_a_page_is_read_as_strictly_as_by_the_api(sqlite_api: Api, text: str, says: str) -> None:
    made = populate(sqlite_api)
    browser, token = log_in(sqlite_api)
    before = sqlite_api.dump()
    page = f"/nodes/{made.nodes[0]}/attribs/rack-unit"
    answer = browser.post(page, data={"csrf_token": token, "value": text}, follow_redirects=True)
    assert says in answer.text.replace("&#39;", "'"), answer.text[-3000:]
    assert sqlite_api.dump() == before


@pytest.mark.parametrize("sent", ["name=a.b.example.com&name=c.d.example.com", "name=a%00.b.example.com", "na%00me=x"])
def test_a_field_given_twice_or_with_a_nul_is_refused_and_named(sqlite_api: Api, sent: str) -> None:
    browser, token = log_in(sqlite_api)
    answer = browser.post("/nodes", data=f"{sent}&csrf_token={token}", content_type=FORM)
    assert answer.status_code == 422
    assert "The field" in answer.text
    assert sqlite_api.get("nodes?system=false").get_json() == []
    assert browser.get(f"/nodes?{sent}").status_code == 422


def test_a_number_that_no_database_holds_is_not_found(api: Api) -> None:
    browser, token = log_in(api)
    for number in (2**31, 2**63, 10**30):
        assert browser.get(f"/nodes/{number}").status_code == 404
        assert browser.get(f"/runs/{number}").status_code == 404
        assert browser.post(f"/runs/{number}/cancel", data={"csrf_token": token}).status_code in (303, 404)
