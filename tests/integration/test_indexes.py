"""What a turn asks of SQLite is answered by indexes: it costs the same however many noderoles and runs there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event, select

from crowbar_core.barclamp import Role
from crowbar_core.domain.states import ACTIVE
from crowbar_core.services.annealing.sweeping import sweep
from crowbar_core.store import node_fields
from tests.integration.cluster import Cluster, node_role_rows

ROLES = (Role(name="base"), Role(name="site", requires=("base",)), Role(name="peer"))
LARGE = ("node_roles", "runs")
LOOKS_ITSELF = "WHERE runs.finished_at IS NULL ORDER BY runs.id"
"""How these tests look for open runs, whatever index there is."""


def read_whole(cluster: Cluster, asked: list[tuple[str, Any]]) -> dict[str, list[str]]:
    """Statement -> the steps of its plan that go through a large table from end to end, without an index."""
    found: dict[str, list[str]] = {}
    with cluster.parts.store.engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [row.detail for row in plan if row.detail.startswith("SCAN ") and " INDEX " not in row.detail]
            if large := [one for one in steps if one.split()[1].rstrip("_0123456789") in LARGE]:
                found[statement] = large
    return found


def test_no_statement_of_turns_and_sweeps_reads_all_noderoles_or_runs(tmp_path: Path) -> None:
    c = Cluster(tmp_path, f"sqlite:///{tmp_path}/crowbar.db", ROLES)
    asked: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "WITH") and not statement.endswith(LOOKS_ITSELF):
            asked[statement] = parameters[0] if many else parameters

    for n in range(3):
        c.node(f"n{n}")
        c.bind(f"n{n}", "site")
        c.bind(f"n{n}", "peer")
    event.listen(c.parts.store.engine, "before_cursor_execute", note)
    c.commit_all()
    c.anneal(limit=50)
    sweep(c.parts)
    c.change_node("n0", alive=False)
    c.change_node("n0", alive=True)
    c.anneal(limit=50)
    sweep(c.parts)
    with c.parts.store.read() as session:
        node_fields.taken_away(session)
    event.remove(c.parts.store.engine, "before_cursor_execute", note)
    assert {row.state for row in c.rows(select(node_role_rows.c.state))} == {int(ACTIVE)}
    assert len(asked) > 20
    whole = read_whole(c, list(asked.items()))
    assert not whole, "\n\n".join(f"{steps}: {statement}" for statement, steps in whole.items())
    c.close()
