"""What is set on single noderoles is exported into a file and applied from one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from crowbar_core import Attribute, Role
from crowbar_core.testing import Testbed
from tests.integration.cluster import Plugin

ROLE = Role(
    name="cache",
    attributes=(
        Attribute(name="cache-size", map="cache/size", schema={"type": "integer", "minimum": 1}),
        Attribute(name="cache-key", map="cache/key", secret=True),
        Attribute(name="cache-version", map="cache/version", writable=False),
    ),
)
NODE = "n1.example.test"
FILE = f"""
node_roles:
- {{node: {NODE}, role: cache, deployment: system, data: {{cache: {{size: 3}}}}}}
"""


@pytest.fixture
def bed(database_url: str) -> Iterator[Testbed]:
    with Testbed(Plugin((ROLE,)), database_url=database_url) as made:
        made.add_node("n1")
        yield made


def apply(bed: Testbed, text: str, *options: str) -> Any:
    done = bed.cli("apply", "-", *options, "--format", "json", stdin=text)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def exported(bed: Testbed) -> Any:
    (found,) = [one for one in yaml.safe_load(bed.cli("export").stdout)["node_roles"] if one["role"] == "cache"]
    return found


def test_a_noderoles_values_are_applied_with_its_binding_and_exported(bed: Testbed) -> None:
    (planned,) = apply(bed, FILE, "--dry-run")
    assert planned["fields"]["data"] == {"cache": {"size": 3}}
    apply(bed, FILE)
    assert bed.value("cache-size", "n1", role="cache") == 3
    assert exported(bed) == {"node": NODE, "role": "cache", "deployment": "system", "data": {"cache": {"size": 3}}}
    assert apply(bed, FILE) == []
    assert apply(bed, bed.cli("export").stdout) == [], "what was exported is so already"


def test_a_changed_value_is_shown_first_becomes_a_draft_and_counts_when_it_is_committed(bed: Testbed) -> None:
    apply(bed, FILE)
    bed.commit()
    bed.anneal_until_quiet()
    larger = FILE.replace("size: 3", "size: 4")
    said = bed.cli("apply", "-", "--dry-run", stdin=larger).stdout
    assert "{'cache': {'size': 3}} -> {'cache': {'size': 4}}" in said
    apply(bed, larger)
    assert bed.value("cache-size", "n1", role="cache") == 3
    bed.commit()
    bed.anneal_until_quiet()
    assert bed.value("cache-size", "n1", role="cache") == 4


def test_a_secret_is_not_exported_and_stays_when_a_file_does_not_name_it(bed: Testbed) -> None:
    apply(bed, FILE)
    web = bed.web("admin")
    (one,) = [row for row in web.get("/api/v2/node_roles").json if row["role"] == "cache"]
    path = f"/api/v2/node_roles/{one['id']}"
    assert web.put(f"{path}/attribs/cache-key", json={"value": "s3cret"}).status_code == 200
    assert exported(bed)["data"] == {"cache": {"size": 3}}
    assert "s3cret" not in web.get(f"{path}?fields=proposed_data,committed_data").text
    apply(bed, FILE.replace("size: 3", "size: 5"))
    bed.commit()
    assert (web.get(f"{path}/attribs/cache-key?reveal=true").json or {})["value"] == "s3cret"
    assert apply(bed, FILE.replace("size: 3", "size: 5")) == []


@pytest.mark.parametrize(
    "data, says",
    [
        ("{cache: {size: 0}}", "cache-size"),
        ("{cache: {seize: 3}}", "Role cache has no attribute at cache/seize; it has cache/size, cache/key"),
        ("{cache: {version: '1'}}", "Attribute cache-version is not writable"),
        ("{cache: {key: {$secret: x}}}", "secret"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_nothing_is_bound(bed: Testbed, data: str, says: str) -> None:
    done = bed.cli("apply", "-", stdin=FILE.replace("{cache: {size: 3}}", data))
    assert done.exit_code == 1
    assert says in done.stderr
    assert not [row for row in bed.web("viewer").get("/api/v2/node_roles").json if row["role"] == "cache"]
