"""What a barclamp sees of a hint, and when it is asked about one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from crowbar_core import Attribute, Barclamp, NodeView, hookimpl
from crowbar_core.testing import Testbed


def test_a_hint_stands_at_its_map_and_is_asked_about_when_it_is_committed() -> None:
    rack = Attribute(name="rack", map="racks/rack", schema={"type": "string"})
    seen: list[Any] = []

    def check_node(node: NodeView) -> None:
        seen.append(node.hint)

    plugin = SimpleNamespace(
        register_barclamp=hookimpl(lambda: Barclamp(name="tests", attributes=(rack,))), check_node=hookimpl(check_node)
    )
    with Testbed(plugin) as bed:
        bed.add_node("n1")
        seen.clear()
        bed.set("rack", "r1", node="n1", now=False)
        assert seen == []
        assert bed.web("operator").put("/api/v2/nodes/n1.example.test/commit").status_code == 200
        assert seen == [{"racks": {"rack": "r1"}}]
        assert bed.node("n1").hint == {"racks": {"rack": "r1"}}
