"""What barclamp authors are given to test with does what it says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Blueprint

from crowbar_core import (
    Attribute,
    Barclamp,
    CrowbarError,
    NavItem,
    NodeView,
    Panel,
    Pending,
    Periodic,
    PermanentError,
    Role,
    TemporaryError,
    hookimpl,
    requires,
)
from crowbar_core.services.data.views import node_views
from crowbar_core.testing import BrokenJig, FakeClock, FakeJig, NotQuiet, Testbed, check_barclamp


class Plugin:
    def __init__(self, *roles: Role, attributes: tuple[Attribute, ...] = (), **hooks: Callable[..., Any]) -> None:
        self._definition = Barclamp(name="tests", roles=roles, attributes=attributes)
        for hook, function in hooks.items():
            setattr(self, hook, function if hasattr(function, "crowbar_roles") else hookimpl(function))

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return self._definition


WORK = Role(
    name="work", jig="touching",
    attributes=(Attribute(name="work-from", map="from"), Attribute(name="node"), Attribute(name="disk")),
)  # fmt: skip
AFTER = Role(name="after", jig="touching", requires=("work",), attributes=(Attribute(name="after-from", map="from"),))


def at_work(bed: Testbed) -> Testbed:
    bed.add_node("n1")
    bed.bind("after", "n1")
    bed.commit()
    return bed


# ---------------------------------------------------------------- the clock


def test_a_fake_clock_stands_still_until_it_is_moved_on() -> None:
    clock = FakeClock(datetime(2031, 5, 1, tzinfo=UTC))
    assert clock() == clock() == datetime(2031, 5, 1, tzinfo=UTC)
    assert clock.advance(90) - datetime(2031, 5, 1, tzinfo=UTC) == timedelta(seconds=90)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="time zone"):
        FakeClock(datetime(2031, 5, 1))  # noqa: DTZ001  the refusal of it is what is tested


# ---------------------------------------------------------------- the testbed


def test_annealing_goes_on_until_nothing_is_left() -> None:
    with Testbed(Plugin(WORK, AFTER)) as bed:
        at_work(bed)
        assert bed.states() == {("work", "n1"): "TRANSITION", ("after", "n1"): "BLOCKED"}
        settled = bed.anneal_until_quiet()
        assert (settled.state, settled.active) == ("settled", 2)
        assert [task.role.name for task in bed.jig.ran(node="n1")] == ["work", "after"]  # type: ignore[attr-defined]


def test_a_retry_is_waited_for_by_the_clock_and_not_by_the_test() -> None:
    clock, jig = FakeClock(), FakeJig()
    jig.will(TemporaryError("not yet", delay=3600), role="work")
    with Testbed(Plugin(WORK, AFTER), jig=jig, clock=clock) as bed:
        began = clock.now
        at_work(bed).anneal_until_quiet()
        assert bed.state("after", "n1") == "ACTIVE"
        assert clock.now - began == timedelta(hours=1)
        assert [run.state for run in bed.runs("work", "n1")] == ["failed", "succeeded"]


def test_what_is_told_of_a_role_on_a_node_goes_before_what_is_told_of_everything() -> None:
    jig = FakeJig()
    jig.always({"from": "everything"})
    jig.always({"from": "work"}, role="work")
    jig.always({"from": "n1"}, node="n1")
    jig.will({"from": "work on n1"}, role="work", node="n1")
    with Testbed(Plugin(WORK, AFTER), jig=jig) as bed:
        for name in ("n1", "n2"):
            bed.add_node(name)
            bed.bind("work", name)
            bed.bind("after", name)
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.node_role("work", "n1").wall == {"from": "work on n1"}
        assert bed.node_role("after", "n1").wall == {"from": "n1"}
        assert bed.node_role("work", "n2").wall == {"from": "work"}
        assert bed.node_role("after", "n2").wall == {"from": "everything"}


def test_a_run_may_be_ended_by_a_function_of_its_task() -> None:
    jig = FakeJig()
    jig.always(lambda task: {"node": task.node.name} if task.role.name == "work" else PermanentError("no"))
    with Testbed(Plugin(WORK, AFTER), jig=jig) as bed:
        at_work(bed).anneal_until_quiet()
        assert bed.node_role("work", "n1").wall == {"node": "n1.example.test"}
        assert (bed.state("after", "n1"), bed.why("after", "n1")) == (
            "ERROR", "It failed: no. Retry it when that is mended.",
        )  # fmt: skip


def test_a_pending_run_is_quiet_and_is_ended_as_the_api_ends_it() -> None:
    jig = FakeJig()
    jig.will(Pending(deadline=600, reason="the installer reports"), role="work")
    with Testbed(Plugin(WORK, AFTER), jig=jig) as bed:
        assert at_work(bed).anneal_until_quiet().state == "working"
        assert "the installer reports" in bed.why("work", "n1")
        bed.finish("work", "n1", wall={"disk": "sda"})
        bed.anneal_until_quiet()
        assert bed.node_role("work", "n1").wall == {"disk": "sda"}
        assert bed.state("after", "n1") == "ACTIVE"


@pytest.mark.parametrize(
    "jig, says",
    [
        (BrokenJig("raises"), "RuntimeError: broken on purpose"),
        (BrokenJig("permanent"), "broken for good, on purpose"),
        (BrokenJig("temporary"), "gave up after 3 attempts: broken for now"),
        (BrokenJig("nonsense"), "answered int, neither Done nor Pending"),
        (BrokenJig("unspeakable"), "reported something that is no JSON object"),
        (BrokenJig("exits"), "SystemExit: 3"),
    ],
    ids=lambda value: getattr(value, "how", ""),
)
def test_however_a_jig_breaks_it_ends_in_an_error_with_the_reason(jig: BrokenJig, says: str) -> None:
    with Testbed(Plugin(WORK, AFTER), jig=jig) as bed:
        at_work(bed).anneal_until_quiet()
        assert bed.states() == {("work", "n1"): "ERROR", ("after", "n1"): "BLOCKED"}
        assert says in bed.why("work", "n1")


def test_a_jig_that_breaks_so_many_times_recovers() -> None:
    with Testbed(Plugin(WORK, AFTER), jig=BrokenJig("temporary", times=2)) as bed:
        at_work(bed).anneal_until_quiet()
        assert set(bed.states().values()) == {"ACTIVE"}


def test_a_jig_that_hangs_beyond_its_roles_timeout_is_an_error() -> None:
    work = Role(name="work", jig="touching", timeout=0.05)
    with Testbed(Plugin(work, AFTER), jig=BrokenJig("hangs", times=1)) as bed:
        at_work(bed).anneal_until_quiet()
        assert "timed out after 0.05 s" in bed.why("work", "n1")


def test_a_run_that_hangs_longer_than_the_test_allows_is_named() -> None:
    with Testbed(Plugin(WORK, AFTER), jig=BrokenJig("hangs")) as bed:
        at_work(bed)
        with pytest.raises(NotQuiet, match=r"Run 1 did not end within 0.05 s\..*work on n1\.example\.test"):
            bed.anneal_until_quiet(within=0.05)


def test_a_testbed_says_what_is_wrong_with_its_barclamp_and_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(CrowbarError, match=r"tests cannot be loaded: .*There is no hook on_actve"):
        Testbed(Plugin(on_actve=lambda node_role: None))
    assert list(tmp_path.iterdir()) == []


def test_a_testbed_reads_one_node_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with Testbed() as bed:
        for number in range(3):
            bed.add_node(f"n{number}")
        read: list[object] = []

        def views(registry: Any, session: Any, store: Any, ids: Any = None) -> Any:
            read.append(ids)
            return node_views(registry, session, store, ids)

        monkeypatch.setattr("crowbar_core.testing.testbed.node_views", views)
        assert bed.node("n1").name == bed.node("N1.example.test").name == "n1.example.test"
        assert [len(list(ids)) for ids in read if isinstance(ids, list)] == [1, 1]


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with Testbed(Plugin(WORK)) as bed:
        bed.add_node("n1")
        with pytest.raises(CrowbarError, match=r"There is no node 'n2'; there are: n1\.example\.test"):
            bed.node("n2")
        with pytest.raises(CrowbarError, match="There is no role nothing"):
            bed.bind("nothing", "n1")


# ---------------------------------------------------------------- the checker


def said(plugin: Any, **more: Any) -> str:
    return "\n".join(f"{problem.severity}: {problem.detail}" for problem in check_barclamp(plugin, **more))


def pages(*routes: Callable[[Blueprint], None]) -> Blueprint:
    blueprint = Blueprint("tested", __name__)
    for route in routes:
        route(blueprint)
    return blueprint


def shadowing(blueprint: Blueprint) -> None:
    blueprint.get("/nodes")(requires("viewer")(lambda: ""))


def unguarded(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/tested", "unguarded", lambda: "")


def test_a_barclamp_with_nothing_wrong_has_no_problems() -> None:
    assert check_barclamp(Plugin(Role(name="a"), Role(name="b", requires=("a",), precedes=("a",)))) != []
    assert check_barclamp(Plugin(Role(name="a"), Role(name="b", requires=("a", "crowbar-installed-node")))) == []


@pytest.mark.parametrize(
    "plugin, says",
    [
        (ModuleType("empty"), "error: It has no register_barclamp"),
        (Plugin(Role(name="a", requires=("b-c",)), Role(name="b-d")), "'b-c', which no installed barclamp brings; did"),
        (Plugin(Role(name="a", wants=("x",))), "wants the attribute 'x', which no installed barclamp brings."),
        (Plugin(Role(name="a", requires=("a",))), "Role a names itself"),
        (Plugin(Role(name="a", requires=("b",)), Role(name="b", requires=("a",))), "in a circle: "),
        (Plugin(Role(name="a", requires=("b",)), Role(name="b", abstract=True)), "abstract, and nothing provides it"),
        (Plugin(Role(name="a", attaches=("nobody",))), "warning: Role a attaches 'nobody'"),
        (Plugin(Role(name="a", jig="telnet")), "names the jig 'telnet', which no installed package brings."),
        (Plugin(Role(name="a", timeout=0)), "a timeout of 0 seconds"),
        (Plugin(Role(name="a", max_attempts=-1)), "may be tried -1 times"),
        (Plugin(Role(name="a", max_attempts=0, destructive=True)), "cannot be tried for ever"),
        (Plugin(Role(name="a", gather=-1.0)), "gathers changes for -1.0 seconds"),
        (Plugin(Role(name="a", gather=1.0)), "makes it run again at once"),
        (Plugin(Role(name="a", jig="python")), "no function: set run="),
        (Plugin(Role(name="a", run=lambda task: None)), "a function (run=), which its jig 'noop' does not call"),
        (Plugin(Role(name="../a")), "The name of a role may hold only"),
        (Plugin(attributes=(Attribute(name="x", schema={"type": 5}),)), "Attribute x has an invalid schema"),
        (Plugin(attributes=(Attribute(name="x", schema={"type": "string"}, default=5),)), "breaks the rule type"),
        (Plugin(on_actve=lambda node_role: None), "did you mean on_active?"),
        (Plugin(on_active=lambda noderole: None), "Argument(s) {'noderole'} are declared"),
        (Plugin(on_active=hookimpl(lambda node_role: None, roles=("gone",))), "limited to the role 'gone'"),
        (Plugin(register_blueprints=lambda: [pages(shadowing)]), "a route /nodes, which overlaps with the core's"),
        (Plugin(register_blueprints=lambda: [pages(unguarded)]), "The route /tested (tested.unguarded) declares no"),
        (Plugin(register_blueprints=lambda: [5]), "returned something that is no Flask Blueprint"),
        (Plugin(register_blueprints=lambda: 1 / 0), "register_blueprints raises: ZeroDivisionError"),
        (Plugin(register_nav=lambda: [NavItem(label="Mine", url="/nowhere")]), "leads to /nowhere, where there is no"),
        (Plugin(register_panels=lambda: [Panel(on="roof", title="P", render=str)]),  # type: ignore[arg-type]
         "'P' is on 'roof'; it can be"),
        (Plugin(register_periodic=lambda: [Periodic(name="p", seconds=0, run=print)]), "is called every 0 seconds"),
        (Plugin(register_schema=lambda: "no.such.package"), "Its tables cannot be made"),
    ],
)  # fmt: skip
def test_the_checker_names_what_is_wrong(plugin: Any, says: str) -> None:
    assert says in said(plugin)


def test_a_hook_about_the_roles_of_a_barclamp_that_need_not_be_there_is_no_mistake() -> None:
    optional = hookimpl(lambda node_role: None, roles=("gone", "network-*"), optional=True)
    assert "limited to the role" not in said(Plugin(on_active=optional))


def test_a_hook_that_is_not_marked_is_told() -> None:
    module = ModuleType("crowbar_unmarked")
    module.register_barclamp = hookimpl(lambda: Barclamp(name="unmarked"))  # type: ignore[attr-defined]
    module.on_active = lambda node_role: None  # type: ignore[attr-defined]
    assert "error: on_active is not marked with @hookimpl, so that nobody calls it." in said(module)


@pytest.mark.parametrize(
    "script, says",
    [
        (None, "Role scripted has no scripts: expected scripted_barclamp/scripts/scripted/*.sh"),
        ("# only a comment\n\n", "scripts/scripted/10-do.sh does nothing"),
        ("if true; then echo\n", "scripts/scripted/10-do.sh cannot be read by sh"),
        ("#!/bin/bash\nlist=(a b)\n", ""),
        ("#!/usr/bin/awk -f\nBEGIN { print }\n", ""),
        ("echo fine\n", ""),
    ],
)
def test_the_scripts_of_a_role_are_there_and_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, says: str
) -> None:
    package = tmp_path / "scripted_barclamp"
    (package / "scripts/scripted").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from crowbar_core import Barclamp, Role, hookimpl\n"
        "@hookimpl\n"
        "def register_barclamp():\n"
        "    return Barclamp(name='scripted', roles=(Role(name='scripted', jig='script'),))\n"
    )
    if script is not None:
        (package / "scripts/scripted/10-do.sh").write_text(script)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        found = [one.detail for one in check_barclamp("scripted_barclamp") if one.severity == "error"]
    finally:
        sys.modules.pop("scripted_barclamp", None)
    assert [says in one for one in found] == ([True] if says else [])


def test_the_view_of_a_node_needs_only_what_a_test_is_about() -> None:
    assert NodeView(id=1, name="a.b.c").addresses == ()
