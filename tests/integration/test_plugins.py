"""Bad barclamps are contained and named, good ones called in order: with real distributions, found by
their entry points.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from crowbar_core import plugins
from crowbar_core.barclamp import (
    Attribute,
    Barclamp,
    Bind,
    Intent,
    MarkAlive,
    NodeRoleView,
    NodeView,
    Power,
    Refresh,
    Rerun,
    Role,
    SetAttribute,
    SetBootEnv,
    Unbind,
    hookimpl,
)
from crowbar_core.errors import CrowbarError, Refused
from crowbar_core.services.cluster import failed_hooks
from crowbar_core.settings import load_settings
from crowbar_core.store.catalogue import barclamps as barclamp_lines
from crowbar_core.store.catalogue import roles as role_lines
from crowbar_core.store.models import BarclampRow, Delivery, Event
from crowbar_core.testing import FakeClock, FakeJig, NotQuiet, Testbed
from crowbar_core.web.app import create_app
from tests.services import wait_until

GOOD = """
    from crowbar_core import Barclamp, Role, Attribute, hookimpl

    @hookimpl
    def register_barclamp():
        return Barclamp(name={name!r}, roles=({roles}), attributes=({attributes}))
"""


class Site:
    """A directory of installed distributions, each with its dist-info, in front of everything else on the path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.packages: list[str] = []

    def install(
        self, name: str, code: str = "", *, roles: str = "", attributes: str = "", target: str = "", more: str = "",
        distribution: str = "", group: str = plugins.BARCLAMPS,
    ) -> str:  # fmt: skip
        """Install a barclamp; ``code`` is its module, else a good one with these roles. Returns its package."""
        package = f"{distribution or 'crowbar_' + name}".replace("-", "_")
        text = code or GOOD.format(name=name, roles=roles, attributes=attributes)
        (self.directory / f"{package}.py").write_text(textwrap.dedent(text) + textwrap.dedent(more))
        info = self.directory / f"{package}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target or package}\n")
        self.packages.append(package)
        return package

    def uninstall(self, name: str) -> None:
        package = f"crowbar_{name}".replace("-", "_")
        (self.directory / f"{package}.py").unlink()
        for file in (self.directory / f"{package}-1.0.dist-info").iterdir():
            file.unlink()
        (self.directory / f"{package}-1.0.dist-info").rmdir()
        self.forget()

    def forget(self) -> None:
        """As in a process started anew."""
        for package in self.packages:
            sys.modules.pop(package, None)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    directory = tmp_path / "site"
    directory.mkdir()
    monkeypatch.syspath_prepend(directory)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # What else is installed in this environment has no part in it.
    real = importlib.metadata.entry_points

    def entry_points(*, group: str) -> Any:
        found = real(group=group)
        return [one for one in found if group != plugins.BARCLAMPS or _lies_in(one.dist, directory)]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    made = Site(directory)
    yield made
    made.forget()


def _lies_in(distribution: importlib.metadata.Distribution | None, directory: Path) -> bool:
    return distribution is not None and Path(str(distribution.locate_file(""))) == directory


def loaded(**settings: Any) -> plugins.Registry:
    return plugins.load(load_settings(environ={}, **settings))


def one(registry: plugins.Registry, name: str) -> plugins.LoadedBarclamp:
    return next(found for found in registry.barclamps if found.name == name)


# ---------------------------------------------------------------- barclamps that cannot be loaded


@pytest.mark.parametrize(
    "code, says",
    [
        pytest.param("import nothing_of_that_name", "No module named 'nothing_of_that_name'", id="import error"),
        pytest.param("raise RuntimeError('on purpose')", "RuntimeError: on purpose", id="exception at import"),
        pytest.param("raise SystemExit(3)", "called exit(3) while it was imported", id="SystemExit at import"),
        pytest.param("assert 1 == 2, 'sums'", "assertion of crowbar_bad failed", id="failed assertion at import"),
        pytest.param("def broken(:", "SyntaxError", id="syntax error"),
        pytest.param("x = 1", "has no register_barclamp", id="no register_barclamp"),
        pytest.param(
            GOOD.format(name="other", roles="", attributes=""), "registers the barclamp 'other' under", id="other name",
        ),
        pytest.param("def register_barclamp(): return {}", "returned dict, not a Barclamp", id="no Barclamp"),
        pytest.param("def register_barclamp(): exit(4)", "SystemExit: 4", id="exit in register_barclamp"),
        pytest.param(
            GOOD.format(name="bad", roles="Role(name='b', attributes=(Attribute(name='x', schema={'type': 'nope'}),)),",
                        attributes=""),
            "Attribute x has an invalid schema", id="invalid schema",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="", attributes="Attribute(name='x', schema={'$ref': 'http://a.b/c'}),"),
            "$ref out of itself", id="remote schema",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="", attributes="Attribute(name='x', schema={'type': 'string'}, default=5),"),
            "breaks the rule type", id="default that the schema forbids",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="Role(name='a', requires=('b',)), Role(name='b', requires=('a',)),",
                        attributes=""),
            "in a circle: a -> b -> a", id="role cycle",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="Role(name='../../etc'),", attributes=""), "name of a role", id="role's name",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="Role(name='p', jig='python'),", attributes=""),
            "no function", id="no function",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="", attributes="") + "\n    @hookimpl\n    def on_actve(node_role): ...\n",
            "There is no hook on_actve; did you mean on_active?", id="misspelt hook",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="", attributes="") + "\n    @hookimpl\n    def on_active(noderole): ...\n",
            r"Argument(s) {'noderole'} are declared in the hookimpl but can not be found in the hookspec. "
            "Its arguments are: node_role", id="unknown argument of a hook",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="", attributes="") + "\n    @hookimpl\n    def register_hookspecs(): 1/0\n",
            "ZeroDivisionError", id="register_hookspecs raises",
        ),
        pytest.param(
            GOOD.format(name="bad", roles="", attributes="").replace("name='bad'", "name='bad', requires=('gone',)"),
            "requires the barclamp 'gone'", id="requires what is not there",
        ),
    ],
)  # fmt: skip
def test_a_broken_barclamp_is_listed_with_its_fault_and_the_rest_goes_on(site: Site, code: str, says: str) -> None:
    site.install("bad", code)
    site.install("good", roles="Role(name='fine'),")
    registry = loaded()
    assert one(registry, "bad").state == "failed"
    assert says in one(registry, "bad").error
    assert one(registry, "good").state == "loaded"
    assert set(registry.roles) >= {"fine", "crowbar-admin-node"}
    (problem,) = registry.problems()
    assert problem.detail.startswith("Barclamp bad (crowbar-bad) could not be loaded: ")
    assert "\n" not in problem.detail


def test_an_entry_point_without_its_target_is_listed_as_failed(site: Site) -> None:
    site.install("bad", target="crowbar_bad:nothing")
    registry = loaded()
    assert "has no attribute 'nothing'" in one(registry, "bad").error


def test_of_two_packages_with_one_barclamp_none_is_loaded_and_both_are_named(site: Site) -> None:
    site.install("twin", roles="Role(name='mine'),")
    site.install("twin", distribution="crowbar-other")
    site.install("good", roles="Role(name='fine'),")
    registry = loaded()
    assert set(registry.roles) & {"fine", "mine"} == {"fine"}
    (problem,) = registry.problems()
    assert "Two packages bring crowbar.barclamps named 'twin': " in problem.detail
    assert "crowbar-twin" in problem.detail
    assert "crowbar-other" in problem.detail
    assert "disabled_barclamps" in problem.detail


@pytest.mark.parametrize(
    "what, extra",
    [
        ("role 'same'", {"roles": "Role(name='same'),"}),
        ("attribute 'same'", {"attributes": "Attribute(name='same'),"}),
        ("node attribute at the map 'a/b'", {"attributes": "Attribute(name=__name__, map='a/b'),"}),
    ],
)
def test_of_two_packages_with_one_name_or_place_the_second_is_failed_and_both_are_named(
    site: Site, what: str, extra: dict[str, str]
) -> None:
    site.install("first", **extra)
    site.install("second", **extra)
    registry = loaded()
    assert [one(registry, name).state for name in ("first", "second")] == ["loaded", "failed"]
    (problem,) = registry.problems()
    assert (
        f"Two packages bring the {what}: crowbar-first and crowbar-second; the first one's is used. Rename it"
        in problem.detail
    )
    assert problem.detail.count("disabled_barclamps") == 1
    assert "disabled_barclamps" in problem.detail
    assert loaded(disabled_barclamps=("second",)).problems() == []


@pytest.mark.parametrize(
    "role, says",
    [
        (
            "Role(name='r', attributes=(Attribute(name='a', map='x/y'), Attribute(name='b', map='x/y')))",
            "It brings the attribute of role r at the map 'x/y' twice.",
        ),
        (
            "Role(name='r', attributes=(Attribute(name='a', schema={'type': 'object', 'properties': "
            "{'n': {'type': 'integer', 'minimun': 1}}}),))",
            "the keyword 'minimun', which JSON Schema 2020-12 does not know; did you mean minimum?",
        ),
    ],
)
def test_what_would_be_silently_wrong_in_an_attribute_is_refused_with_one_line(
    site: Site, role: str, says: str
) -> None:
    site.install("bad", roles=f"{role},")
    site.install("good", roles="Role(name='fine'),")
    registry = loaded()
    assert "fine" in registry.roles
    (problem,) = registry.problems()
    assert says in problem.detail
    assert "\n" not in problem.detail


def test_notes_and_every_keyword_of_json_schema_are_taken(site: Site) -> None:
    schema = {
        "type": "object", "title": "t", "x-shown-as": "table", "$defs": {"p": {"type": "integer"}},
        "properties": {"minimun": {"$ref": "#/$defs/p"}, "l": {"prefixItems": [{"enum": [1]}], "items": False}},
        "enum": [{"anything": 1}], "default": {"whatever": 2}, "anyOf": [{"required": ["minimun"]}, True],
    }  # fmt: skip
    site.install("good", roles=f"Role(name='r', attributes=(Attribute(name='a', schema={schema!r}),)),")
    assert loaded().problems() == []


def test_a_barclamp_whose_tables_cannot_be_made_is_failed_with_those_that_need_it_and_the_rest_goes_on(
    site: Site, tmp_path: Path
) -> None:
    migrations = tmp_path / "site" / "broken_tables" / "versions"
    migrations.mkdir(parents=True)
    (migrations.parent / "__init__.py").touch()
    (migrations / "1.py").write_text(
        "revision = '1'\ndown_revision = None\ndef upgrade():\n    raise KeyError('a bug in the migration')\n"
    )
    schema = "\nfrom crowbar_core import Schema\n@hookimpl\ndef register_schema():\n    {}\n"
    site.install("tables", roles="Role(name='t'),", more=schema.format("return Schema(migrations='broken_tables')"))
    site.install("raising", roles="Role(name='u'),", more=schema.format("raise RuntimeError('no idea where')"))
    site.install("needs", roles="Role(name='n'),")
    package = site.directory / "crowbar_needs.py"
    package.write_text(package.read_text().replace("name='needs'", "name='needs', requires=('tables',)"))
    site.install("good", roles="Role(name='fine'),")
    with Testbed(installed=True) as bed:
        registry = bed.parts.registry
        assert {name for name in ("t", "u", "n", "fine") if name in registry.roles} == {"fine"}
        said = {problem.detail.split()[1]: problem.detail for problem in registry.problems()}
        assert set(said) == {"tables", "raising", "needs"}
        assert (
            "The tables of barclamp tables cannot be upgraded from nothing, in 1.py, line 4: KeyError: 'a bug in"
            in said["tables"]
        )
        assert "no idea where" in said["raising"]
        assert "requires the barclamp 'tables', which is not loaded" in said["needs"]
        assert all("disabled_barclamps" in detail for detail in said.values())
        page = bed.web().get("/barclamps/tables").get_data(as_text=True)
        assert "a bug in the migration" in page
        bed.add_node("n1")
        bed.bind("fine", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("fine", "n1") == "ACTIVE"


def test_what_a_barclamp_prints_does_not_reach_standard_output(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.install("noisy", more="\nprint('noise at import')\n")
    assert one(loaded(), "noisy").state == "loaded"
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "noise at import" in printed.err


def test_a_json_command_stays_json_with_a_noisy_barclamp(site: Site, tmp_path: Path) -> None:
    site.install("noisy", more="\nprint('noise at import')\n")
    line = [sys.executable, "-m", "crowbar_core.cli", "db", "check", "--format", "json", "--data-dir", str(tmp_path)]
    done = subprocess.run(
        line, env={"PYTHONPATH": str(site.directory), "PATH": "/usr/bin:/bin", "CROWBAR_DISABLED_BARCLAMPS": "none"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("["), done.stderr
    assert "noise" not in done.stdout


# ---------------------------------------------------------------- pages that cannot be


PAGES = """
    from flask import Blueprint
    from crowbar_core import requires

    pages = Blueprint("pages", __name__)

    @hookimpl
    def register_blueprints():
        return [pages]
"""


def app_with(site: Site, route: str) -> tuple[str, list[int]]:
    """What is said of a barclamp with this route; how its other route, one of the core, and its good neighbour's are
    answered.
    """
    good = '\n    @pages.get("/{0}/good")\n    @requires("public")\n    def good(): return "good"\n'
    site.install("paged", more=PAGES + good.format("paged") + route)
    site.install("neighbour", more=PAGES.replace('"pages"', '"neighbour"') + good.format("neighbour"))
    with Testbed(installed=True) as bed:
        client = create_app(bed.parts.settings, parts=bed.parts).test_client()
        (problem,) = bed.parts.registry.problems()
        paths = ("/paged/good", "/healthz", "/neighbour/good")
        return problem.detail, [client.get(path).status_code for path in paths]


@pytest.mark.parametrize(
    "route, says",
    [
        (
            '@pages.get("/nodes")\n@requires("viewer")\ndef x(): return ""',
            "a route /nodes, which overlaps with the core",
        ),
        ('@pages.get("/nodes/<x>")\n@requires("viewer")\ndef x(x): return ""', "overlaps with the core"),
        ('@pages.get("/<path:x>")\n@requires("viewer")\ndef x(x): return ""', "overlaps with the core"),
        ('@pages.post("/api/v2/nodes")\n@requires("admin")\ndef x(): return ""', "overlaps with the core"),
        ('@pages.get("/mine")\ndef x(): return ""', "The route /mine .* declares no permission"),
        (
            '@pages.get("/mine")\n@requires("everyone")\ndef x(): return ""',
            "The route /mine .* declares the permission 'everyone', which",
        ),
        ('@pages.get("/mine")\n@requires("node")\ndef x(): return ""', "for nodes, but not for which"),
    ],
)
def test_a_route_that_cannot_be_is_named_with_the_way_out_and_stops_nobody(site: Site, route: str, says: str) -> None:
    said, answers = app_with(site, "\n" + textwrap.indent(route, "    "))
    assert re.search(says, said), said
    assert "disabled_barclamps" in said
    assert answers == [404, 200, 200]


def test_of_two_barclamps_with_blueprints_of_one_name_the_second_is_named(site: Site) -> None:
    route = '\n    @pages.get("/{0}/good")\n    @requires("public")\n    def good(): return "good"\n'
    for name in ("first", "second"):
        site.install(name, more=PAGES + route.format(name))
    with Testbed(installed=True) as bed:
        client = create_app(bed.parts.settings, parts=bed.parts).test_client()
        (problem,) = bed.parts.registry.problems()
        assert [client.get(f"/{name}/good").status_code for name in ("first", "second")] == [200, 404]
    assert "The pages of barclamp second cannot be added: The name 'pages' is already registered" in problem.detail


def test_of_two_barclamps_with_one_address_the_second_is_left_out_and_named(site: Site) -> None:
    blueprint = PAGES.replace('"pages"', '"{0}"')
    route = '\n    @pages.get("{1}")\n    @requires("public")\n    def {0}(): return "{0}"\n'
    site.install("first", more=(blueprint + route).format("first", "/boxes"))
    site.install("second", more=(blueprint + route).format("second", "/own") + route.format("x", "/boxes"))
    site.install("third", more=(blueprint + route).format("third", "/boxes-of-mine"))
    with Testbed(installed=True) as bed:
        client = create_app(bed.parts.settings, parts=bed.parts).test_client()
        (problem,) = bed.parts.registry.problems()
        answers = [client.get(path) for path in ("/boxes", "/own", "/boxes-of-mine")]
    assert [(one.status_code, one.text) for one in answers if one.status_code == 200] == [
        (200, "first"),
        (200, "third"),
    ]
    assert answers[1].status_code == 404
    assert "Barclamp second has a route /boxes, which overlaps with barclamp first's /boxes" in problem.detail
    assert "disabled_barclamps" in problem.detail


def test_a_register_hook_that_raises_takes_nothing_else_along(site: Site) -> None:
    site.install(
        "broken",
        more="""
            @hookimpl
            def register_nav():
                raise RuntimeError("no nav")
            @hookimpl
            def register_blueprints():
                return 5
            @hookimpl
            def register_periodic():
                while True:
                    yield 1
        """,
    )
    with Testbed(installed=True) as bed:
        viewer = bed.web("viewer")
        assert viewer.get("/nodes").status_code == 200
        assert bed.parts.registry.registered("register_periodic") == []
        said = "\n".join(bed.problems())
    assert "failed in register_nav, and what it registers there is missing: RuntimeError: no nav" in said
    assert "failed in register_blueprints, and what it registers there is missing: it returned int" in said
    assert "register_periodic, and what it registers there is missing: ValueError: it returned more than" in said


# ---------------------------------------------------------------- enabled, disabled, safe, gone


def test_a_disabled_barclamp_is_listed_and_not_loaded(site: Site) -> None:
    site.install("quiet", "raise RuntimeError('it was imported')")
    assert one(loaded(disabled_barclamps=("quiet",)), "quiet").state == "disabled"


def test_safe_mode_starts_without_any_barclamp(site: Site) -> None:
    site.install("bad", "raise RuntimeError('on purpose')")
    registry = loaded(safe_mode=True)
    assert [found.name for found in registry.barclamps] == ["crowbar"]
    assert "crowbar-admin-node" in registry.roles


def test_barclamps_are_called_in_the_order_of_their_requirements(site: Site) -> None:
    listener = "\n    @hookimpl\n    def on_node_create(node): ...\n    @hookimpl\n    def on_node_delete(node): ...\n"
    for name, needs in (("aaa", "('mmm',)"), ("mmm", "('zzz',)"), ("zzz", "()")):
        code = GOOD.format(name=name, roles="", attributes="").replace(
            f"name='{name}'", f"name='{name}', requires={needs}"
        )
        site.install(name, code + listener)
    registry = loaded()
    assert [i.plugin for i in registry.implementations("on_node_create")] == ["zzz", "mmm", "aaa"]
    assert [i.plugin for i in registry.implementations("on_node_delete")] == ["aaa", "mmm", "zzz"]


def test_uninstalling_a_barclamp_that_has_data_leaves_the_core_working(site: Site, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/kept.sqlite"
    site.install("stays", roles="Role(name='base'), Role(name='late', requires=('mid',)),")
    site.install(
        "leaves", roles="Role(name='mid', requires=('base',), attributes=(Attribute(name='mid-x', map='mid/x'),)),"
    )
    with Testbed(installed=True, database_url=url) as bed:
        bed.add_node("n1")
        bed.bind("late", "n1")
        bed.set("mid-x", "kept", node="n1", role="mid")
        bed.commit()
        bed.anneal_until_quiet()
        assert set(bed.states().values()) == {"ACTIVE"}
    site.uninstall("leaves")
    with Testbed(installed=True, database_url=url) as bed:
        with bed.parts.store.read() as session:
            assert {line.name: line.state for line in barclamp_lines(session)}["leaves"] == "missing"
            assert {line.name: line.ready for line in role_lines(session)}["mid"] is False
        assert bed.states() == {("base", "n1"): "ACTIVE", ("mid", "n1"): "ACTIVE", ("late", "n1"): "ACTIVE"}
        bed.change_node("n1", alive=False)
        bed.change_node("n1", alive=True)
        bed.anneal_until_quiet()
        assert bed.states() == {("base", "n1"): "ACTIVE", ("mid", "n1"): "TODO", ("late", "n1"): "BLOCKED"}
        assert "the barclamp that brings it is not loaded" in bed.why("mid", "n1")
        assert bed.web("viewer").get("/").status_code == 200
        bed.add_node("n2")
        bed.bind("base", "n2")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("base", "n2") == "ACTIVE", "the rest anneals"
        with pytest.raises(Refused, match="the barclamp that brings it is not loaded"):
            bed.bind("mid", "n2")
    site.install(
        "leaves", roles="Role(name='mid', requires=('base',), attributes=(Attribute(name='mid-x', map='mid/x'),)),"
    )
    with Testbed(installed=True, database_url=url) as bed:
        bed.anneal_until_quiet()
        assert bed.state("late", "n1") == "ACTIVE"
        assert bed.value("mid-x", "n1", role="mid") == "kept"


# ---------------------------------------------------------------- calling hooks


class Plugin:
    """A barclamp made on the spot."""

    def __init__(
        self, name: str = "tests", *, roles: Iterable[Role] = (), attributes: Iterable[Attribute] = (),
        requires: tuple[str, ...] = (), **hooks: Callable[..., Any],
    ) -> None:  # fmt: skip
        self._definition = Barclamp(name=name, roles=tuple(roles), attributes=tuple(attributes), requires=requires)
        for hook, function in hooks.items():
            setattr(self, hook, hookimpl(function))

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return self._definition


def deliveries(bed: Testbed) -> list[tuple[str, str, str, int]]:
    """(hook, plugin, state, attempts) of all, in order."""
    with bed.parts.store.read() as session:
        query = (
            select(Event.hook, Delivery.plugin, Delivery.state, Delivery.attempts)
            .join(Event, Event.id == Delivery.event_id)
            .order_by(Delivery.event_id, Delivery.position)
        )
        return [(row.hook, row.plugin, row.state, row.attempts) for row in session.execute(query)]


def test_a_hook_that_raises_stops_nobody_else_and_is_shown_after_its_last_try() -> None:
    heard: list[str] = []

    def raises(node: NodeView) -> None:
        raise RuntimeError("on purpose")

    def hears(node: NodeView) -> None:
        heard.append(node.name)

    with Testbed(Plugin("aaa", on_node_create=raises), Plugin("bbb", on_node_create=hears), hook_attempts=3) as bed:
        bed.add_node("n1")
        bed.deliver()
        assert heard == ["n1.example.test"]
        assert deliveries(bed) == [("on_node_create", "aaa", "waiting", 1), ("on_node_create", "bbb", "done", 0)]
        bed.anneal_until_quiet()
        assert deliveries(bed)[0] == ("on_node_create", "aaa", "failed", 3)
        (failure,) = bed.hook_failures("aaa")
        assert failure.error == "RuntimeError: on purpose"
        assert 'raise RuntimeError("on purpose")' in failure.traceback
        assert failure.subject == "node 2"
        assert bed.node("n1").name == "n1.example.test", "the change stands"
        assert "RuntimeError: on purpose" in bed.web("viewer").get("/barclamps").text


def test_a_hook_that_recovers_is_tried_again_with_growing_delay() -> None:
    tries: list[Any] = []
    clock = FakeClock()

    def fails_twice(node: NodeView) -> None:
        tries.append(clock.now)
        if len(tries) < 3:
            raise RuntimeError("not yet")

    with Testbed(Plugin(on_node_create=fails_twice), clock=clock) as bed:
        bed.add_node("n1")
        bed.anneal_until_quiet()
        assert [(later - tries[0]).total_seconds() for later in tries] == [0, 1, 3]
        assert deliveries(bed) == [("on_node_create", "tests", "done", 2)]
        assert bed.hook_failures() == []


def test_a_hook_that_exits_or_answers_nonsense_is_a_failed_hook() -> None:
    def exits(node: NodeView) -> None:
        raise SystemExit(3)

    endless = Plugin("endless", on_node_create=lambda node: itertools.repeat(Rerun(node=node.name, role="x")))
    nonsense = Plugin("nonsense", on_node_create=lambda node: ["reboot"])
    number = Plugin("number", on_node_create=lambda node: 42)
    with Testbed(Plugin("exits", on_node_create=exits), endless, nonsense, number, hook_attempts=1) as bed:
        bed.add_node("n1")
        bed.anneal_until_quiet()
        said = {failure.plugin: failure.error for failure in bed.hook_failures()}
    assert said["exits"] == "SystemExit: 3"
    assert "returned more than 1000 intents" in said["endless"]
    assert "returned str, which is no intent" in said["nonsense"]
    assert "'int' object is not iterable" in said["number"]


def test_what_is_said_of_one_subject_is_said_in_order_and_of_others_meanwhile() -> None:
    heard: list[tuple[str, str]] = []
    ready = threading.Event()

    def waits(node: NodeView) -> None:
        if node.name.startswith("n1") and not ready.is_set():
            raise RuntimeError("n1 is not ready")
        heard.append(("create", node.name[:2]))

    def changes(node: NodeView, changed: frozenset[str]) -> None:
        heard.append((",".join(sorted(changed)), node.name[:2]))

    with Testbed(Plugin(on_node_create=waits, on_node_change=changes)) as bed:
        bed.add_node("n1")
        bed.add_node("n2")
        bed.change_node("n1", description="one")
        bed.change_node("n1", bootenv="pxe")
        bed.change_node("n2", description="two")
        bed.deliver()
        assert heard == [("create", "n2"), ("description", "n2")], "n1's change waits for its creation to be heard"
        ready.set()
        bed.anneal_until_quiet()
    assert heard[2:] == [("create", "n1"), ("bootenv,description", "n1")], "changes that wait are merged"


def test_deletes_are_told_in_the_reverse_order() -> None:
    heard: list[str] = []

    def listener(name: str, *needs: str) -> Plugin:
        def say(word: str) -> Callable[[NodeView], None]:
            def hook(node: NodeView) -> None:
                heard.append(f"{word} {name}")

            return hook

        return Plugin(name, requires=needs, on_node_create=say("create"), on_node_delete=say("delete"))

    with Testbed(listener("aaa", "bbb"), listener("bbb")) as bed:
        bed.add_node("n1")
        bed.anneal_until_quiet()
        bed.delete_node("n1")
        bed.anneal_until_quiet()
    assert heard == ["create bbb", "create aaa", "delete aaa", "delete bbb"]


class Hanging:
    """A hook that does not come back until it is let go."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.let_go = threading.Event()
        self.let_go_first = threading.Event()

    def __call__(self, node: NodeView) -> list[Intent]:
        self.calls.append(node.name.partition(".")[0])
        (self.let_go_first if len(self.calls) == 1 else self.let_go).wait(60)
        return [SetBootEnv(node=node.name, bootenv="late")]


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.let_go.set()
    made.let_go_first.set()


def left_behind(bed: Testbed, plugin: str) -> int:
    bed.deliver()
    with bed.parts.store.read() as session:
        return int(session.scalars(select(BarclampRow.left_behind).where(BarclampRow.name == plugin)).one())


def test_a_hook_that_hangs_is_given_up_tried_again_later_and_after_three_times_not_called_any_more(
    hanging: Hanging,
) -> None:
    heard: list[str] = []
    quick = Plugin("quick", on_node_create=lambda node: heard.append(node.name.partition(".")[0]))
    clock = FakeClock()
    begun = clock.now
    with Testbed(Plugin("slow", on_node_create=lambda node: hanging(node)), quick, hook_seconds=1.0, hook_attempts=10,
                 clock=clock) as bed:  # fmt: skip
        bed.add_node("n1")
        bed.deliver()
        assert (hanging.calls, heard) == (["n1"], ["n1"])
        (failed,) = bed.hook_failures("slow")
        assert failed.error == "it took longer than 1 s, and was given up"
        assert failed.next_try_at == begun + timedelta(seconds=1)
        bed.add_node("n2")
        bed.deliver()
        assert (hanging.calls, heard) == (["n1", "n2"], ["n1", "n2"]), "the lane goes on without the thread that hangs"
        assert left_behind(bed, "slow") == 2
        bed.anneal_until_quiet()
        assert len(hanging.calls) == 3
        bed.add_node("n3")
        bed.anneal_until_quiet()
        assert (len(hanging.calls), heard) == (3, ["n1", "n2", "n3"])
        errors = {one.subject: (one.state, one.error) for one in bed.hook_failures("slow")}
        assert {state for state, _ in errors.values()} == {"failed"}
        assert all("in quarantine: 3 calls in a row took longer" in error for _, error in errors.values())
        assert left_behind(bed, "slow") == 3
        page = bed.web().get("/barclamps/slow").get_data(as_text=True)
        assert "3 calls in a row took longer than 1 s" in page
        assert "3 threads" in page
        assert "crowbar_hook_threads_left_behind 3.0" in bed.web().get("/metrics").get_data(as_text=True)

        hanging.let_go_first.set()
        wait_until(lambda: left_behind(bed, "slow") == 2, seconds=120, what="the first call comes back")
        bed.anneal_until_quiet()
        assert {one.bootenv for one in map(bed.node, ("n1", "n2", "n3"))} == {"local"}, "what it says late is ignored"

        hanging.let_go.set()
        assert failed_hooks.retry_all(bed.parts, bed.actor, "slow") == (3, 0)
        bed.anneal_until_quiet()
        assert {one.bootenv for one in map(bed.node, ("n1", "n2", "n3"))} == {"late"}
        assert bed.hook_failures("slow") == []
        assert "in a row" not in bed.web().get("/barclamps/slow").get_data(as_text=True)


def test_several_that_hang_are_waited_for_at_the_same_time() -> None:
    """Each comes back only when the other has been called, too: one after another, none of them ever would."""
    called = {name: threading.Event() for name in ("aaa", "bbb")}
    together: list[bool] = []

    def waits_for(other: str, own: str) -> Callable[[NodeView], None]:
        def hook(node: NodeView) -> None:
            called[own].set()
            together.append(called[other].wait(30))

        return hook

    plugins = (
        Plugin("aaa", on_node_create=waits_for("bbb", "aaa")),
        Plugin("bbb", on_node_create=waits_for("aaa", "bbb")),
    )
    with Testbed(*plugins, hook_seconds=40) as bed:
        bed.add_node("n1")
        bed.deliver()
        assert together == [True, True]
        assert [state for _, _, state, _ in deliveries(bed)] == ["done", "done"]


def test_of_one_event_the_plugins_are_told_in_their_order_though_each_has_a_thread() -> None:
    heard: list[str] = []

    def listener(name: str, *needs: str) -> Plugin:
        return Plugin(name, requires=needs, on_node_create=lambda node: heard.append(f"{node.name[:2]} {name}"))

    with Testbed(listener("aaa", "bbb"), listener("bbb", "ccc"), listener("ccc")) as bed:
        for number in range(1, 6):
            bed.add_node(f"n{number}")
        bed.deliver()
    for number in range(1, 6):
        assert [one for one in heard if one[:2] == f"n{number}"] == [
            f"n{number} {name}" for name in ("ccc", "bbb", "aaa")
        ]


def test_a_check_that_raises_or_answers_nonsense_objects_and_nothing_is_done(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def raises(node: NodeView) -> None:
        raise SystemExit(1)

    broken = Plugin("broken", check_node=raises)
    nonsense = Plugin("nonsense", check_node=lambda node: "no")
    endless = Plugin("endless", check_node=lambda node: iter(lambda: 1, 2))
    with Testbed(broken, nonsense, endless) as bed:
        with pytest.raises(Refused) as refused:
            bed.add_node("n1")
        assert "broken could not check it (SystemExit: 1)" in refused.value.detail
        assert "nonsense could not check it (check_node returned str, not several things)" in refused.value.detail
        assert "endless could not check it (ValueError: it returned more than" in refused.value.detail
        with pytest.raises(CrowbarError):
            bed.node("n1")
        bed.deliver()
        (shown,) = bed.hook_failures("broken")
        assert (shown.hook, shown.error) == ("check_node", "SystemExit: 1")
        assert "in raises" in shown.traceback
        assert "in raises" in bed.web().get("/barclamps/broken").get_data(as_text=True)
        said = capfd.readouterr()
        assert "in raises" in said.out + said.err, "the log has the traceback"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"x": "y" * 2_000_000}, id="huge"),
        pytest.param({"x": object()}, id="no JSON"),
        pytest.param({1: "x"}, id="keys that are no text"),
        pytest.param([1], id="no mapping"),
        pytest.param({"$secret": "x"}, id="a forged secret"),
    ],
)
def test_sysdata_that_cannot_be_kept_is_refused_without_harm(answer: Any) -> None:
    known: list[Any] = [{"size": 3}]
    reads = Role(name="reads", jig="fake", requires=("r",), wants=("size",))
    roles = (Role(name="r", attributes=(Attribute(name="size", schema={"type": "integer"}),)), reads)
    plugin = Plugin(roles=roles, node_role_data=lambda node_role: known[-1] if node_role.role == "r" else {})
    jig = FakeJig()
    with Testbed(plugin, jig=jig) as bed:
        bed.add_node("n1")
        bed.bind("reads", "n1")
        bed.commit()
        bed.anneal_until_quiet()
        known.append(answer)
        bed.apply(Rerun(node=NODE, role="r"))
        bed.anneal_until_quiet()
        assert bed.states() == {("r", "n1"): "ACTIVE", ("reads", "n1"): "ACTIVE"}
        assert bed.value("size", "n1", role="r") == 3, "what was known before is kept"
        assert [task.data for task in jig.ran("reads")] == [{"size": 3}, {"size": 3}]
        (failed,) = bed.hook_failures()
        assert (failed.hook, failed.state) == ("node_role_data", "asked")


# ---------------------------------------------------------------- intents


def intending(*intents: Intent) -> Plugin:
    """A barclamp whose on_active of the role ``trigger`` returns these."""
    roles = (
        Role(name="trigger"),
        Role(name="other", jig="script", attributes=(Attribute(name="other-x", map="other/x"),), on_change="refresh"),
    )
    plugin = Plugin(roles=roles, attributes=(Attribute(name="node-x", schema={"type": "integer"}),))

    @hookimpl(roles=("trigger",))
    def on_active(node_role: NodeRoleView) -> Iterable[Intent]:
        return intents

    plugin.on_active = on_active  # type: ignore[attr-defined]
    return plugin


NODE = "n1.example.test"


def annealed(bed: Testbed, *roles: str) -> Testbed:
    bed.add_node("n1")
    for role in (*roles, "trigger"):
        bed.bind(role, "n1")
    bed.commit()
    bed.anneal_until_quiet()
    return bed


def test_a_bind_intent_binds() -> None:
    with Testbed(intending(Bind(node=NODE, role="other"))) as bed:
        assert annealed(bed).state("other", "n1") == "PROPOSED"


def test_an_unbind_intent_unbinds_and_twice_does_no_harm() -> None:
    with Testbed(intending(Unbind(node=NODE, role="other"), Unbind(node=NODE, role="other"))) as bed:
        assert annealed(bed, "other").states() == {("trigger", "n1"): "ACTIVE"}


def test_a_set_attribute_intent_sets_it_on_the_node_or_on_its_noderole() -> None:
    intents = (
        SetAttribute(node=NODE, attribute="node-x", value=5),
        SetAttribute(node=NODE, attribute="other-x", value="new", role="other"),
    )
    with Testbed(intending(*intents)) as bed:
        annealed(bed, "other")
        assert bed.value("node-x", "n1") == 5
        assert bed.value("other-x", "n1", role="other") == "new"
        assert bed.jig.ran("other")[-1].data["other"] == {"x": "new"}  # type: ignore[attr-defined]


def test_a_boot_environment_intent_sets_it() -> None:
    with Testbed(intending(SetBootEnv(node=NODE, bootenv="debian-12-install"))) as bed:
        assert annealed(bed).node("n1").bootenv == "debian-12-install"


@pytest.mark.parametrize(
    "intent, refresh", [(Rerun(node=NODE, role="other"), False), (Refresh(node=NODE, role="other"), True)]
)
def test_a_rerun_or_refresh_intent_runs_it_again(intent: Intent, refresh: bool) -> None:
    with Testbed(intending(intent)) as bed:
        assert [run.refresh for run in annealed(bed, "other").runs("other", "n1")] == [False, refresh]
        assert bed.state("other", "n1") == "ACTIVE"


def test_a_mark_alive_intent_is_the_nodes_death() -> None:
    with Testbed(intending(MarkAlive(node=NODE, alive=False))) as bed:
        annealed(bed)
        assert bed.node("n1").alive is False
        assert bed.state("trigger", "n1") == "TODO"


def test_a_power_intent_without_a_hammer_is_a_failed_hook_with_the_reason() -> None:
    with Testbed(intending(Power(node=NODE, action="off")), hook_attempts=1) as bed:
        (failure,) = annealed(bed).hook_failures()
        assert "its intents were refused: No hammer of node" in failure.error


@pytest.mark.parametrize(
    "bad, says",
    [
        (SetAttribute(node=NODE, attribute="node-x", value="five"), "breaks the rule type"),
        (SetAttribute(node=NODE, attribute="nobodys", value=1), "No installed barclamp brings an attribute"),
        (Bind(node="nowhere.example.test", role="other"), "There is no node"),
        (Bind(node=NODE, role="nobodys"), "the barclamp that brings it is not loaded"),
        (Rerun(node=NODE, role="other"), "is not bound"),
        (SetBootEnv(node=None, bootenv="x"), "its intents failed"),  # type: ignore[arg-type]
    ],
)
def test_of_intents_of_which_one_is_refused_none_is_done(bad: Intent, says: str) -> None:
    with Testbed(intending(SetAttribute(node=NODE, attribute="node-x", value=5), bad), hook_attempts=1) as bed:
        (failure,) = annealed(bed).hook_failures()
        assert says in failure.error
        assert bed.value("node-x", "n1") is None


def test_hooks_that_send_each_other_back_for_ever_are_found_out() -> None:
    with Testbed(intending(Rerun(node=NODE, role="trigger"))) as bed:
        bed.add_node("n1")
        bed.bind("trigger", "n1")
        bed.commit()
        with pytest.raises(NotQuiet, match=r"No rest after 200 runs and deliveries\..*trigger"):
            bed.anneal_until_quiet(steps=200)
