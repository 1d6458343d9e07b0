"""What each hook is promised, one test for each: when it is called, with what, and what its answer does."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Blueprint
from markupsafe import Markup
from sqlalchemy import inspect, text

from crowbar_core import (
    Attribute,
    Barclamp,
    Cluster,
    Declared,
    DeploymentRoleView,
    DeploymentView,
    Done,
    Json,
    NavItem,
    NodeRoleView,
    NodeView,
    Outcome,
    Panel,
    Periodic,
    PermanentError,
    Probe,
    Problem,
    Refresh,
    Refused,
    Rerun,
    Role,
    RunView,
    Schema,
    Task,
    Veto,
    hookimpl,
    hookspec,
    requires,
)
from crowbar_core.services.cluster import deployments, liveness
from crowbar_core.services.cluster.catalogue import synchronise
from crowbar_core.services.engine.engine import Engine
from crowbar_core.testing import FakeJig, Testbed
from tests.services import wait_until

ROLES = (Role(name="base"), Role(name="top", requires=("base",)))


def barclamp(
    *hooks: Callable[..., Any], name: str = "listener", roles: tuple[Role, ...] = ROLES,
    attributes: tuple[Attribute, ...] = (),
) -> ModuleType:  # fmt: skip
    """A barclamp as a module: these functions are its hooks."""

    @hookimpl
    def register_barclamp() -> Barclamp:
        return Barclamp(name=name, roles=roles, attributes=attributes)

    module = ModuleType(f"barclamp_{name}")
    for function in (register_barclamp, *hooks):
        setattr(module, function.__name__, function)
    return module


def other(name: str, *hooks: Callable[..., Any]) -> ModuleType:
    return barclamp(*hooks, name=name, roles=())


# ---------------------------------------------------------------- registration


def test_register_barclamp_brings_roles_and_attributes() -> None:
    colour = Attribute(name="colour", schema={"type": "string"}, default="red")
    with Testbed(barclamp(attributes=(colour,))) as bed:
        bed.add_node("n1")
        bed.bind("top", "n1")
        assert bed.states() == {("base", "n1"): "PROPOSED", ("top", "n1"): "PROPOSED"}
        assert bed.value("colour", "n1") == "red"


def test_register_blueprints_adds_pages_with_their_permission() -> None:
    pages = Blueprint("listener", __name__, url_prefix="/listener")

    @pages.get("/")
    @requires("operator")
    def hello() -> str:
        return "hello from a barclamp"

    @hookimpl
    def register_blueprints() -> Iterable[Blueprint]:
        return [pages]

    with Testbed(barclamp(register_blueprints)) as bed:
        assert bed.web("operator").get("/listener/").text == "hello from a barclamp"
        assert bed.web("viewer").get("/listener/").status_code == 403


def test_register_nav_puts_an_entry_into_the_navigation() -> None:
    @hookimpl
    def register_nav() -> Iterable[NavItem]:
        return [NavItem(label="Whistles & bells", url="/nodes?whistles")]

    with Testbed(barclamp(register_nav)) as bed:
        page = bed.web().get("/").text
    assert "Whistles &amp; bells" in page
    assert 'href="/nodes?whistles"' in page


def test_register_declared_makes_a_collection_part_of_export_and_apply() -> None:
    @hookimpl
    def register_declared() -> Iterable[Declared]:
        return [Declared(noun="zones", order=25, fields=("ttl",)), Declared(noun="nodes", order=1)]

    with Testbed(barclamp(register_declared)) as bed:
        answer = json.loads(bed.web("viewer").get("/api/v2/declared").text)
    assert [one["noun"] for one in answer] == [
        "deployments", "nodes", "hammers", "zones", "groups", "deployment_roles", "node_roles",
    ], "by order; of two that declare one collection, the first counts"  # fmt: skip
    assert answer[3] == {
        "noun": "zones", "order": 25, "key": ["name"], "fields": ["ttl"], "fixed": [], "refers": {}, "shown": {},
        "where": {}, "merges": [],
    }  # fmt: skip


def test_register_panels_adds_to_the_pages_of_nodes_and_deployments_and_to_the_dashboard() -> None:
    def on_node(node: NodeView) -> Markup:
        return Markup("<p class='body'>I stand in <b>rack 7</b>, {}.</p>").format(node.name)

    @hookimpl
    def register_panels() -> Iterable[Panel]:
        return [
            Panel(on="node", title="Place", render=on_node, order=2),
            Panel(on="node", title="Asset", render=lambda node: {"Serial & co": "<S-1>"}, order=1),
            Panel(on="node", title="Nothing to say", render=lambda node: None),
            Panel(on="deployment", title="Cost", render=lambda deployment: f"{deployment.name} costs < 5"),
            Panel(on="dashboard", title="Stock", render=lambda: "two <spares>"),
        ]

    with Testbed(barclamp(register_panels)) as bed:
        node = bed.add_node("n1")
        viewer = bed.web("viewer")
        page = viewer.get(f"/nodes/{node.id}").text
        assert "I stand in <b>rack 7</b>, n1.example.test." in page
        assert "<dt>Serial &amp; co</dt><dd>&lt;S-1&gt;</dd>" in page
        assert page.index("<h2>Asset</h2>") < page.index("<h2>Place</h2>")
        assert "Nothing to say" not in page
        assert "costs" not in page
        assert "two" not in page
        assert '<p class="body">system costs &lt; 5</p>' in viewer.get("/deployments/system").text
        assert '<p class="body">two &lt;spares&gt;</p>' in viewer.get("/").text


def test_register_panels_whose_panel_raises_shows_a_line_and_leaves_the_page() -> None:
    def broken(node: NodeView) -> str:
        raise ValueError("no <rack>")

    @hookimpl
    def register_panels() -> Iterable[Panel]:
        return [
            Panel(on="node", title="Place", render=broken),
            Panel(on="node", title="Odd", render=lambda node: 5),
            Panel(on="node", title="Well", render=lambda node: "all is well"),
        ]

    with Testbed(barclamp(register_panels)) as bed:
        node = bed.add_node("n1")
        answer = bed.web("viewer").get(f"/nodes/{node.id}")
        assert answer.status_code == 200
        assert "ValueError: no &lt;rack&gt;" in answer.text
        assert "TypeError: render returned int, not Markup, text, a mapping or None" in answer.text
        assert "all is well" in answer.text
        (failure,) = bed.hook_failures("listener")
        assert (failure.hook, failure.subject, failure.attempts) == ("register_panels", f"node {node.id}", 2)


MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "listener1", None


def upgrade():
    op.create_table("listener_notes", sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.Text))
"""


def test_register_schema_makes_the_tables_of_a_barclamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "listener_tables"
    (package / "versions").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Migrations."""\n')
    (package / "versions" / "v1.py").write_text(MIGRATION)
    monkeypatch.syspath_prepend(tmp_path)

    @hookimpl
    def register_schema() -> Schema:
        return Schema(migrations="listener_tables")

    try:
        with Testbed(barclamp(register_schema)) as bed:
            tables = inspect(bed.parts.store.engine).get_table_names()
            assert {"listener_notes", "alembic_version_listener"} <= set(tables)
    finally:
        sys.modules.pop("listener_tables", None)


def test_register_periodic_is_called_again_and_again_even_after_raising() -> None:
    calls: list[int] = []
    thrice = threading.Event()

    def job() -> None:
        calls.append(len(calls))
        if len(calls) >= 3:
            thrice.set()
        raise RuntimeError("on purpose")

    @hookimpl
    def register_periodic() -> Iterable[Periodic]:
        return [Periodic(name="look", seconds=0.1, run=job)]

    with Testbed(barclamp(register_periodic)) as bed:
        engine = Engine(bed.parts)
        engine.start(executor=False)
        try:
            assert thrice.wait(20), f"called {len(calls)} times"
        finally:
            engine.stop(5)


def test_periodic_jobs_are_listed_with_their_last_run_and_what_went_wrong_in_it() -> None:
    def broken() -> None:
        raise RuntimeError("the wheel came off")

    @hookimpl
    def register_periodic() -> Iterable[Periodic]:
        return [Periodic(name="look", seconds=0.1, run=broken), Periodic(name="rest", seconds=0.1, run=lambda: None)]

    def listed(bed: Testbed) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in bed.web().get("/api/v2/periodic_jobs").get_json()}

    def all_have_run() -> bool:
        return all(one["last_run_at"] for one in listed(bed).values()) and listed(bed)["look"]["failures"] > 1

    with Testbed(barclamp(register_periodic)) as bed:
        engine = Engine(bed.parts)
        engine.start(executor=False)
        try:
            wait_until(lambda: listed(bed), seconds=120, what="the jobs are known")
            wait_until(all_have_run, seconds=120, what="both jobs have run")
        finally:
            engine.stop(5)
        look, rest = listed(bed)["look"], listed(bed)["rest"]
        assert (look["barclamp"], look["seconds"]) == ("listener", 0.1)
        assert look["error"] == "RuntimeError: the wheel came off"
        assert "in broken" in look["traceback"]
        assert (rest["error"], rest["failures"]) == ("", 0)
        for page in ("/barclamps", "/barclamps/listener"):
            shown = bed.web("viewer").get(page).get_data(as_text=True)
            assert "the wheel came off" in shown
            assert "times in a row" in shown


def test_register_hookspecs_lets_other_barclamps_listen() -> None:
    specs = ModuleType("listener_hooks")

    @hookspec
    def on_whistle(loudness: int) -> None:
        """Somebody whistled."""

    specs.on_whistle = on_whistle  # type: ignore[attr-defined]

    @hookimpl
    def register_hookspecs() -> ModuleType:
        return specs

    heard: list[int] = []

    def hear(loudness: int) -> None:
        heard.append(loudness)

    hear.__name__ = "on_whistle"
    with Testbed(barclamp(register_hookspecs), other("ear", hookimpl(hear))) as bed:
        assert [plugin for plugin, _ in bed.parts.registry.ask("on_whistle", loudness=7)] == ["ear"]
    assert heard == [7]


# ---------------------------------------------------------------- in the transaction


def test_check_node_objects_to_a_new_node_and_to_a_change_of_one() -> None:
    @hookimpl
    def check_node(node: NodeView) -> Iterable[Problem]:
        if node.name.startswith("bad"):
            yield Problem(detail="Bad names are not for nodes.")
        if node.bootenv == "strange":
            yield Problem(detail="It could not boot that.")

    with Testbed(barclamp(check_node)) as bed:
        with pytest.raises(Refused, match="Bad names are not for nodes"):
            bed.add_node("bad1")
        bed.add_node("n1")
        with pytest.raises(Refused, match="It could not boot that"):
            bed.change_node("n1", bootenv="strange", description="changed")
        assert bed.node("n1").bootenv == "local"
        with bed.parts.store.read() as session:
            assert session.scalars(text("SELECT name FROM nodes WHERE name LIKE 'bad%'")).all() == []


def test_check_binding_objections_of_all_barclamps_are_shown_together() -> None:
    @hookimpl
    def check_binding(node: NodeView, role: Role) -> Iterable[Problem]:
        return [Problem(detail=f"{role.name} is too heavy for {node.name}.")]

    one, two = barclamp(check_binding), other("second", check_binding)
    with Testbed(one, two) as bed:
        bed.add_node("n1")
        with pytest.raises(Refused) as refused:
            bed.bind("base", "n1")
        assert refused.value.detail.count("base is too heavy for n1.example.test.") == 2
        assert bed.states() == {}


def test_check_binding_lets_a_warning_pass() -> None:
    @hookimpl
    def check_binding(node: NodeView, role: Role) -> Iterable[Problem]:
        return [Problem(detail="It will be slow.", severity="warning")]

    with Testbed(barclamp(check_binding)) as bed:
        bed.add_node("n1")
        bed.bind("base", "n1")
        assert bed.state("base", "n1") == "PROPOSED"


def test_check_commit_refuses_the_whole_commit() -> None:
    seen: list[DeploymentView] = []

    @hookimpl
    def check_commit(deployment: DeploymentView) -> Iterable[Problem]:
        seen.append(deployment)
        return [Problem(detail="Not on a Friday.")]

    with Testbed(barclamp(check_commit)) as bed:
        bed.add_node("n1")
        bed.bind("top", "n1")
        with pytest.raises(Refused, match="Not on a Friday"):
            bed.commit()
        assert set(bed.states().values()) == {"PROPOSED"}
    assert seen[0].name == "system"
    assert {one.role for one in seen[0].node_roles} == {"base", "top"}


def test_on_node_bind_is_in_the_transaction_and_its_veto_undoes_the_binding() -> None:
    @hookimpl
    def on_node_bind(node_role: NodeRoleView, session: Any) -> None:
        session.execute(text("UPDATE nodes SET description = 'touched'"))
        if node_role.role == "top":
            raise Veto("No address is left.")

    with Testbed(barclamp(on_node_bind)) as bed:
        bed.add_node("n1")
        with pytest.raises(Veto, match="No address is left"):
            bed.bind("top", "n1")
        assert bed.states() == {}, "base was bound for top's sake, and goes with it"
        assert description_of(bed, "n1") == ""
        bed.bind("base", "n1")
        assert description_of(bed, "n1") == "touched"


def test_on_commit_takes_part_in_the_commit_and_its_veto_undoes_it() -> None:
    seen: list[str] = []

    @hookimpl
    def on_commit(obj: DeploymentView | NodeRoleView, session: Any) -> None:
        seen.append(obj.name if isinstance(obj, DeploymentView) else obj.role)
        session.execute(text("UPDATE nodes SET description = 'touched'"))
        if "top" in seen:
            raise Veto("No address is left.")

    with Testbed(barclamp(on_commit)) as bed:
        bed.add_node("n1")
        bed.bind("base", "n1")
        bed.commit()
        assert description_of(bed, "n1") == "touched"
        bed.change_node("n1", description="")
        bed.bind("top", "n1")
        with pytest.raises(Veto, match="No address is left"):
            bed.commit()
        assert bed.state("top", "n1") == "PROPOSED"
        assert description_of(bed, "n1") == ""
    assert seen == ["system", "base", "system", "top"]


def description_of(bed: Testbed, node: str) -> str:
    with bed.parts.store.read() as session:
        query = text("SELECT description FROM nodes WHERE name = :name")
        return str(session.scalar(query, {"name": bed.node(node).name}))


def test_what_was_given_up_is_tried_again_when_an_operator_says_so() -> None:
    broken = True
    called: list[str] = []

    @hookimpl
    def on_active(node_role: NodeRoleView) -> None:
        if broken:
            raise ValueError("no such host")
        called.append(node_role.role)

    with Testbed(barclamp(on_active, roles=(Role(name="web"),))) as bed:
        bed.add_node("n1")
        bed.bind("web", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        (failed,) = bed.hook_failures("listener")
        assert failed.state == "failed"
        button = f'action="/deliveries/{failed.delivery_id}/retry"'
        assert button not in bed.web("viewer").get("/barclamps/listener").get_data(as_text=True)
        operator = bed.web("operator")
        assert button in operator.get("/barclamps/listener").get_data(as_text=True)
        retry = f"/api/v2/events/deliveries/{failed.delivery_id}/retry"
        assert bed.web("viewer").post(retry, json={}).status_code == 403
        broken = False
        assert operator.post(retry, json={}).status_code == 200
        bed.anneal_until_quiet()
        assert called == ["web"]
        assert bed.hook_failures("listener") == []
        assert operator.post(retry, json={}).status_code == 409, "there is nothing to try again"


# ---------------------------------------------------------------- questions


def test_node_role_data_of_a_role_reaches_its_runs() -> None:
    port = Attribute(name="port", map="web/port", schema={"type": "integer"}, default=80)
    roles = (Role(name="web", jig="fake", attributes=(port,)), Role(name="plain", jig="fake"))

    @hookimpl(roles=("web",))
    def node_role_data(node_role: NodeRoleView) -> Mapping[str, Json]:
        return {"web": {"port": 8000 + len(node_role.node.name)}}

    jig = FakeJig()
    with Testbed(barclamp(node_role_data, roles=roles), jig=jig) as bed:
        bed.add_node("n1")
        bed.bind("web", "n1")
        bed.bind("plain", "n1")
        bed.commit()
        bed.anneal_until_quiet()
    assert jig.ran("web")[0].data == {"web": {"port": 8000 + len("n1.example.test")}}
    assert jig.ran("plain")[0].data == {}


def test_a_question_that_is_not_answered_is_shown_until_the_next_start_and_harms_nobody() -> None:
    @hookimpl
    def node_role_data(node_role: NodeRoleView) -> Mapping[str, Json]:
        raise RuntimeError("the wheel came off")

    @hookimpl
    def node_addresses(node: NodeView) -> Iterable[str]:
        raise KeyError("address")

    with Testbed(barclamp(node_role_data, node_addresses, roles=(Role(name="web"),))) as bed:
        bed.add_node("n1")
        bed.bind("web", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("web", "n1") == "ACTIVE"
        failed = {one.hook: one for one in bed.hook_failures("listener")}
        assert set(failed) == {"node_role_data", "node_addresses"}
        data = failed["node_role_data"]
        assert (data.state, data.error) == ("asked", "RuntimeError: the wheel came off")
        assert data.subject == f"node_role {bed.node_role('web', 'n1').id}"
        assert "in node_role_data" in data.traceback
        asked = data.attempts
        bed.anneal_until_quiet()
        bed.node("n1")
        assert {one.hook: one for one in bed.hook_failures("listener")}["node_role_data"].attempts == asked
        shown = bed.web().get("/barclamps/listener").get_data(as_text=True)
        assert "could not answer" in shown
        assert "the wheel came off" in shown
        assert "the wheel came off" in bed.web().get("/").get_data(as_text=True)
        synchronise(bed.parts)
        assert bed.hook_failures("listener") == []


def test_node_addresses_of_all_barclamps_are_joined_without_repeats() -> None:
    def answering(*addresses: str) -> Callable[..., Any]:
        @hookimpl
        def node_addresses(node: NodeView) -> Iterable[str]:
            return addresses

        return node_addresses

    first, second = barclamp(answering("10.0.0.1", "fd00::1")), other("second", answering("10.0.0.2", "10.0.0.1"))
    with Testbed(first, second) as bed:
        assert bed.add_node("n1").addresses == ("10.0.0.1", "fd00::1", "10.0.0.2")


def test_probe_node_first_answer_wins_and_decides_whether_a_node_is_alive() -> None:
    def answering(answer: Probe | None) -> Callable[..., Any]:
        @hookimpl
        def probe_node(node: NodeView) -> Probe | None:
            return answer

        return probe_node

    silent, dead = barclamp(answering(None)), other("second", answering(Probe(alive=False, reason="no answer to ping")))
    with Testbed(silent, dead, other("third", answering(Probe(alive=True)))) as bed:
        node = bed.add_node("n1", alive=True)
        bed.bind("base", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        assert not liveness.probe(bed.parts, node.id).alive
        assert not bed.node("n1").alive
        assert bed.state("base", "n1") == "TODO"
        assert "no answer to ping" in bed.why("base", "n1")


def test_status_checks_are_on_the_dashboard_and_one_that_raises_is_shown_itself() -> None:
    @hookimpl
    def status_checks() -> Iterable[Problem]:
        return [Problem(detail="The whistle is <broken>.")]

    def raising() -> Iterable[Problem]:
        raise RuntimeError("nobody can tell")

    raising.__name__ = "status_checks"
    with Testbed(barclamp(status_checks), other("second", hookimpl(raising))) as bed:
        page = bed.web().get("/").text
    assert "The whistle is &lt;broken&gt;." in page
    assert "nobody can tell" in page


# ---------------------------------------------------------------- after the transaction


Heard = list[tuple[Any, ...]]


def listening(hook: str, heard: Heard) -> Callable[..., Any]:
    """An implementation of a hook about one noderole that notes (role, state)."""

    def listen(node_role: NodeRoleView) -> None:
        heard.append((node_role.role, node_role.state))

    listen.__name__ = hook
    return hookimpl(listen)


def test_on_node_create_hears_of_a_new_node() -> None:
    heard: Heard = []

    @hookimpl
    def on_node_create(node: NodeView) -> None:
        heard.append((node.name, node.alive))

    with Testbed(barclamp(on_node_create)) as bed:
        bed.add_node("n1", alive=False)
        assert heard == [], "it is told after the commit, by the process that delivers"
        bed.deliver()
    assert heard == [("n1.example.test", False)]


def test_on_node_change_hears_the_names_of_fields_of_several_changes_at_once() -> None:
    heard: Heard = []

    @hookimpl
    def on_node_change(node: NodeView, changed: frozenset[str]) -> None:
        heard.append((node.bootenv, set(changed)))

    with Testbed(barclamp(on_node_change)) as bed:
        bed.add_node("n1")
        bed.change_node("n1", description="a")
        bed.change_node("n1", bootenv="sledgehammer")
        bed.change_node("n1", bootenv="sledgehammer")
        bed.deliver()
        assert heard == [("sledgehammer", {"description", "bootenv"})]


def test_on_node_change_hears_what_changes_while_it_is_called() -> None:
    heard: Heard = []

    @hookimpl
    def on_node_change(node: NodeView, changed: frozenset[str]) -> None:
        heard.append((node.bootenv, set(changed)))
        if len(heard) == 1:
            bed.change_node("n1", bootenv="sledgehammer")

    with Testbed(barclamp(on_node_change)) as bed:
        bed.add_node("n1")
        bed.change_node("n1", description="a")
        bed.deliver()
    assert heard == [("local", {"description"}), ("sledgehammer", {"description", "bootenv"})]


def test_on_node_delete_hears_of_a_node_as_it_was() -> None:
    heard: Heard = []

    @hookimpl
    def on_node_delete(node: NodeView) -> None:
        heard.append((node.name, dict(node.hint)))

    with Testbed(barclamp(on_node_delete)) as bed:
        bed.add_node("n1", hint={"rack": 7})
        bed.delete_node("n1")
        bed.deliver()
    assert heard == [("n1.example.test", {"rack": 7})]


def test_on_install_tells_a_barclamp_once_whenever_it_comes_to_be_there(database_url: str) -> None:
    heard: list[list[tuple[str, str]]] = []

    @hookimpl
    def on_install(cluster: Cluster) -> Iterable[Rerun]:
        heard.append([(one.role, one.state) for one in cluster.node_roles(node="n1.example.test")])
        yield Rerun(node="n1.example.test", role="base")

    brings, late = barclamp(name="brings"), other("late", on_install)

    def start(*barclamps: ModuleType) -> list[list[tuple[str, str]]]:
        """What was heard when a process had started with these, and all had come to rest."""
        heard.clear()
        with Testbed(*barclamps, database_url=database_url) as bed:
            if not bed.node_roles():
                bed.add_node("n1")
                bed.bind("base", "n1")
                bed.commit()
            bed.anneal_until_quiet()
            runs.append(len(bed.runs("base", "n1")))
        return list(heard)

    runs: list[int] = []
    assert start(brings) == []
    assert start(brings, late) == [[("base", "ACTIVE")]], "what was there before it is there for it"
    assert start(brings, late) == [], "once"
    assert start(brings) == []
    assert start(brings, late) == [[("base", "ACTIVE")]], "installed again"
    assert runs == [1, 2, 2, 2, 3], "its intents are done"


def test_on_install_that_failed_is_told_again_when_a_process_starts(database_url: str) -> None:
    heard: list[int] = []

    @hookimpl
    def on_install(cluster: Cluster) -> None:
        heard.append(len(cluster.nodes()))
        if len(heard) < 3:
            raise OSError("no table yet")

    with Testbed(other("late", on_install), database_url=database_url, hook_attempts=2) as bed:
        bed.anneal_until_quiet()
        assert [(one.hook, one.error) for one in bed.hook_failures()] == [("on_install", "OSError: no table yet")]
    assert len(heard) == 2
    with Testbed(other("late", on_install), database_url=database_url) as bed:
        bed.anneal_until_quiet()
        assert not bed.hook_failures()
    assert len(heard) == 3


def test_on_deployment_create_and_on_deployment_delete_hear_of_roles_in_deployments() -> None:
    heard: Heard = []

    @hookimpl
    def on_deployment_create(deployment_role: DeploymentRoleView) -> None:
        heard.append(("create", deployment_role.deployment, deployment_role.role))

    @hookimpl
    def on_deployment_delete(deployment_role: DeploymentRoleView) -> None:
        heard.append(("delete", deployment_role.deployment, deployment_role.role))

    with Testbed(barclamp(on_deployment_create, on_deployment_delete)) as bed:
        bed.add_deployment("web")
        bed.add_node("n1", deployment="web")
        bed.bind("base", "n1", deployment="web")
        bed.deliver()
        assert heard == [("create", "web", "base")]
        deployments.delete_deployment(bed.parts, bed.actor, id_of(bed, "deployments", "web"))
        bed.deliver()
        assert heard == [("create", "web", "base"), ("delete", "web", "base")]


def id_of(bed: Testbed, table: str, name: str) -> int:
    with bed.parts.store.read() as session:
        found = session.scalar(text(f"SELECT id FROM {table} WHERE name = :name"), {"name": name})
    assert isinstance(found, int)
    return found


def test_on_proposed_hears_of_each_noderole_that_is_bound() -> None:
    heard: Heard = []
    with Testbed(barclamp(listening("on_proposed", heard))) as bed:
        bed.add_node("n1")
        bed.bind("top", "n1")
        bed.deliver()
    assert sorted(heard) == [("base", "PROPOSED"), ("top", "PROPOSED")]


def test_on_blocked_hears_of_what_waits_for_a_parent() -> None:
    heard: Heard = []
    with Testbed(barclamp(listening("on_blocked", heard))) as bed:
        bed.add_node("n1", alive=False)
        bed.bind("top", "n1")
        bed.commit()
        bed.deliver()
    assert heard == [("top", "BLOCKED")]


def test_on_todo_hears_of_what_has_nothing_in_its_way() -> None:
    heard: Heard = []
    with Testbed(barclamp(listening("on_todo", heard))) as bed:
        bed.add_node("n1", alive=False)
        bed.bind("top", "n1")
        bed.commit()
        bed.deliver()
        assert heard == [("base", "TODO")]
        bed.change_node("n1", alive=True)
        bed.anneal_until_quiet()
    assert [role for role, _ in heard] == ["base", "top"]


def test_on_transition_hears_of_a_run_that_was_made() -> None:
    heard: Heard = []
    with Testbed(barclamp(listening("on_transition", heard))) as bed:
        bed.add_node("n1")
        bed.bind("top", "n1")
        bed.commit()
        bed.deliver()
        assert heard == [("base", "TRANSITION")]
        bed.anneal_until_quiet()
    assert [role for role, _ in heard] == ["base", "top"]


def test_on_active_hears_of_success_and_only_of_the_roles_it_is_limited_to() -> None:
    heard: Heard = []

    @hookimpl(roles=("top",))
    def on_active(node_role: NodeRoleView) -> None:
        heard.append((node_role.role, node_role.state))

    with Testbed(barclamp(on_active)) as bed:
        bed.add_node("n1")
        bed.bind("top", "n1")
        bed.commit()
        bed.anneal_until_quiet()
    assert heard == [("top", "ACTIVE")]


def test_on_active_is_called_after_a_refresh_and_tells_it_to_whoever_wants_to_know() -> None:
    told: list[tuple[str, bool]] = []
    heard: list[str] = []

    @hookimpl
    def on_active(node_role: NodeRoleView, refresh: bool) -> None:
        told.append((node_role.state, refresh))

    def takes_less(node_role: NodeRoleView) -> None:
        heard.append(node_role.state)

    takes_less.__name__ = "on_active"
    roles = (Role(name="web", jig="fake"),)
    with Testbed(barclamp(on_active, roles=roles), other("less", hookimpl(takes_less))) as bed:
        bed.add_node("n1")
        bed.bind("web", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        bed.apply(Refresh(node="n1.example.test", role="web"))
        bed.anneal_until_quiet()
        bed.apply(Rerun(node="n1.example.test", role="web"))
        bed.anneal_until_quiet()
    assert told == [("ACTIVE", False), ("ACTIVE", True), ("ACTIVE", False)]
    assert heard == ["ACTIVE"] * 3


def test_on_active_is_not_called_for_a_destructive_role_that_is_passed_over() -> None:
    heard: Heard = []
    roles = (Role(name="install", jig="fake", destructive=True),)
    with Testbed(barclamp(listening("on_active", heard), roles=roles)) as bed:
        bed.add_node("n1")
        bed.bind("install", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        bed.change_node("n1", alive=False)
        bed.change_node("n1", alive=True)
        bed.anneal_until_quiet()
        assert bed.state("install", "n1") == "ACTIVE"
        assert len(bed.runs("install", "n1")) == 1
    assert heard == [("install", "ACTIVE")]


def test_on_error_hears_of_a_run_that_failed_for_good() -> None:
    heard: Heard = []
    jig = FakeJig()
    jig.always(PermanentError("the disk is gone"))
    with Testbed(barclamp(listening("on_error", heard), roles=(Role(name="web", jig="fake"),)), jig=jig) as bed:
        bed.add_node("n1")
        bed.bind("web", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        assert "the disk is gone" in bed.why("web", "n1")
    assert heard == [("web", "ERROR")]


def test_on_run_finished_hears_of_every_run_however_it_ended() -> None:
    heard: Heard = []

    @hookimpl
    def on_run_finished(run: RunView) -> None:
        heard.append((run.role, run.state, run.exit_reason))

    jig = FakeJig()
    jig.will(PermanentError("the disk is gone"))
    with Testbed(barclamp(on_run_finished, roles=(Role(name="web", jig="fake"),)), jig=jig) as bed:
        bed.add_node("n1")
        bed.bind("web", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        bed.retry("web", "n1")
        bed.anneal_until_quiet()
    assert heard == [("web", "failed", "the disk is gone"), ("web", "succeeded", "")]


# ---------------------------------------------------------------- execution


def test_jig_run_of_a_barclamp_answers_before_the_jig_does() -> None:
    @hookimpl
    def jig_run(task: Task) -> Outcome | None:
        return Done(wall={"by": "hook"}) if task.node.name.startswith("n1") else None

    roles = (Role(name="web", jig="fake", attributes=(Attribute(name="by", schema={"type": "string"}),)),)
    jig = FakeJig()
    jig.always({"by": "jig"})
    with Testbed(barclamp(jig_run, roles=roles), jig=jig) as bed:
        for node in ("n1", "n2"):
            bed.add_node(node)
            bed.bind("web", node)
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.value("by", "n1", role="web") == "hook"
        assert bed.value("by", "n2", role="web") == "jig"
    assert [task.node.name for task in jig.tasks] == ["n2.example.test"]
