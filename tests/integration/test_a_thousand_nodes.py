"""A database on the admin machine follows all nodes: many new ones are gathered into a few refreshes."""

from __future__ import annotations

from datetime import datetime, timedelta

from crowbar_core import Barclamp, Intent, NodeView, Refresh, Role, hookimpl
from crowbar_core.testing import FakeClock, FakeJig, Testbed


class Registrar:
    """A barclamp whose database follows every node, on the machine that has it."""

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="registrar", roles=(Role(name="db", jig="fake", gather=10.0, on_change="refresh"),))

    @hookimpl
    def on_node_create(self, node: NodeView) -> list[Intent]:
        return [] if node.admin else [Refresh(role="db")]


class TickingClock(FakeClock):
    """Two milliseconds pass whenever somebody asks for the time."""

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=2)
        return self.now


def test_a_thousand_nodes_created_in_one_call_cause_at_most_five_refreshes(ready_database: str) -> None:
    jig = FakeJig()
    with Testbed(Registrar(), jig=jig, clock=TickingClock(), database_url=ready_database) as crowbar:
        crowbar.add_node("admin", admin=True)
        crowbar.bind("db", "admin")
        crowbar.commit()
        crowbar.anneal_until_quiet()
        nodes = [{"name": f"n{n}.example.test"} for n in range(1000)]
        assert crowbar.web("operator").post("/api/v2/nodes/bulk", json={"nodes": nodes}).status_code == 201
        crowbar.anneal_until_quiet()
        assert 1 <= len([task for task in jig.ran("db") if task.refresh]) <= 5
        assert crowbar.state("db", "admin") == "ACTIVE"
        assert crowbar.hook_failures() == []
