"""The numbers at /metrics, and that the documented alerts are made of numbers that are there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from crowbar_core.barclamp import Role
from crowbar_core.services.cluster import nodes
from crowbar_core.store import totals
from tests.integration.api import Api, populate, serving
from tests.integration.cluster import OPERATOR, Cluster

NewCluster = Callable[..., Cluster]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "monitoring.md"
Series = dict[str, list[dict[str, str]]]


@pytest.fixture
def live(sqlite_url: str, tmp_path: Path) -> Iterator[Series]:
    """Name -> labels of each of its series, from an application in which something has happened."""
    with serving(sqlite_url, tmp_path) as api:
        made = populate(api)
        assert api.put(f"runs/{made.run}/cancel", {"hold": True}).status_code == 200
        yield served(api)


def served(api: Api) -> Series:
    text = api.get("/metrics").get_data(as_text=True)
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def ended(cluster: Cluster) -> dict[tuple[str, str], tuple[int, float, float]]:
    with cluster.parts.store.read() as session:
        return {
            (one.role, one.outcome): (one.runs, round(one.seconds, 3), round(one.waited, 3))
            for one in totals.ended(session)
        }


def test_runs_are_counted_by_role_and_outcome_with_the_time_they_took_and_waited(new_cluster: NewCluster) -> None:
    cluster = new_cluster(Role(name="work", jig="noop", max_attempts=1))
    refs = []
    for name in ("a", "b", "c"):
        cluster.node(name)
        refs.append(cluster.bind(name, "work"))
    cluster.commit_all()
    cluster.clock.advance(2)
    for ref in refs[:2]:
        cluster.claim(ref)
    cluster.clock.advance(3.5)
    cluster.end(refs[0])
    cluster.end(refs[1])
    assert ended(cluster) == {("work", "succeeded"): (2, 7.0, 4.0)}
    cluster.claim(refs[2])
    cluster.clock.advance(1)
    cluster.end(refs[2], "failed")
    assert ended(cluster) == {("work", "succeeded"): (2, 7.0, 4.0), ("work", "failed"): (1, 1.0, 5.5)}


def test_a_run_cancelled_before_it_began_has_only_waited(new_cluster: NewCluster) -> None:
    cluster = new_cluster(Role(name="work", jig="noop"))
    cluster.node("a")
    cluster.bind("a", "work")
    cluster.commit_all()
    cluster.clock.advance(4)
    cluster.change_node("a", alive=False)
    assert ended(cluster) == {("work", "cancelled"): (1, 0.0, 4.0)}


def test_totals_do_not_fall_when_what_they_counted_is_deleted(new_cluster: NewCluster) -> None:
    cluster = new_cluster(Role(name="work", jig="noop"))
    node = cluster.node("a")
    cluster.bind("a", "work")
    cluster.commit_all()
    cluster.anneal()
    before = ended(cluster)
    assert before[("work", "succeeded")][0] == 1
    nodes.delete_node(cluster.parts, OPERATOR, node)
    assert ended(cluster) == before


def test_every_metric_is_documented_and_every_documented_one_is_there(live: Series) -> None:
    text = PAGE.read_text(encoding="utf-8")
    documented = {
        name: set(filter(None, re.split(r",\s*", labels or "")))
        for name, labels in re.findall(r"^\| `(crowbar_\w+)(?:\{([\w, ]+)\})?` \|", text, re.M)
    }
    assert documented
    is_there = {name: set(labels[0]) for name, labels in live.items()}
    assert documented == is_there


def expressions() -> dict[str, str]:
    """Alert -> expression, from the rules that the page tells people to take."""
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    rules = [rule for group in yaml.safe_load(block)["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule["expr"] for rule in rules}


@pytest.mark.parametrize("alert", sorted(expressions()))
def test_a_documented_alert_asks_for_what_is_there(alert: str, live: Series) -> None:
    expression = expressions()[alert]
    names = re.findall(r"\bcrowbar_\w+", expression)
    assert names, expression
    for name, matchers in re.findall(r"\b(crowbar_\w+)(\{[^}]*\})?", expression):
        assert name in live, f"{name} is not served"
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            values = {one.get(label) for one in live[name]}
            assert None not in values, f"{name} has no label {label}"
            if operator == "=":
                known = values | ({"succeeded", "failed", "cancelled", "lost"} if label == "outcome" else set())
                assert value in known, f"{name} never has {label}={value!r}"
    grouped = [
        word for words in re.findall(r"\b(?:by|on) ?\(([^)]*)\)", expression) for word in re.split(r",\s*", words)
    ]
    for label in filter(None, grouped):
        assert all(label in live[name][0] for name in names), f"{label} is no label of {names}"
