"""The plan is the commit: the runs that a plan lists are exactly the runs that then happen."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, update

from crowbar_core.barclamp import Attribute, Role
from crowbar_core.domain.states import ACTIVE, PROPOSED
from crowbar_core.errors import Refused
from crowbar_core.services.annealing.claiming import claim
from crowbar_core.services.cluster import binding, deployments, nodes, steering
from crowbar_core.services.cluster.planning import Plan, rehearse
from crowbar_core.services.values import attributes
from crowbar_core.store.models import DeploymentRole, table
from tests.integration.cluster import (
    OPERATOR,
    Cluster,
    OpenDatabase,
    check_invariants,
    fresh_on_postgresql,
    fresh_on_sqlite,
    node_role_rows,
    node_rows,
    role_rows,
    run_rows,
)
from tests.integration.test_engine_properties import INT, quick_and_quiet, role_set
from tests.services import PostgresServer

__all__ = ["quick_and_quiet"]

deployment_role_rows = table(DeploymentRole)
SITE = Attribute(name="site", schema=INT)


class Walk:
    """One random cluster, to which random edits are done: each planned, done, and held against its plan."""

    def __init__(self, cluster: Cluster, roles: list[Role], chance: Random) -> None:
        self.c, self.roles, self.chance = cluster, [role.name for role in roles], chance
        self.parts = cluster.parts
        self.count = 0
        self.kinds: Counter[str] = Counter()

    def prepare(self) -> None:
        self.deployments = [self.c.system, self.c.deployment("one")]
        self.deployments.append(self.c.deployment("two", self.deployments[1]))
        for n in range(self.chance.randint(1, 4)):
            self.c.node(f"n{n}", alive=self.chance.random() < 0.9, available=self.chance.random() < 0.9)
        for _ in range(self.chance.randint(2, 10)):
            self._try(self._bind()[1])
        self._try(lambda: deployments.commit(self.parts, OPERATOR, self.c.system))
        self.c.anneal()

    def _try(self, act: Callable[[], Any]) -> None:
        with contextlib.suppress(Refused):
            act()

    # ------------------------------------------------------------ edits

    def edit(self) -> tuple[str, Callable[[], Any]] | None:
        deeds = (
            self._commit, self._commit, self._commit, self._commit, self._unbind, self._value, self._value,
            self._deployment_value, self._steer, self._node, self._redeploy, self._delete_node, self._commit_node,
        )  # fmt: skip
        found: tuple[str, Callable[[], Any]] | None = self.chance.choice(deeds)()
        return found

    def stage(self) -> None:
        """What is proposed or drafted, and changes nothing that is committed."""
        for _ in range(self.chance.randint(0, 4)):
            before = self._last_run(), self._states()
            made = self.chance.choice((self._bind, self._bind, self._draft, self._draft, self._deployment_draft))()
            if made is not None:
                self._try(made[1])
            after = self._last_run(), self._states()
            assert before[0] == after[0], f"{made}: what is only proposed starts nothing"
            assert before[1].items() <= after[1].items(), f"{made}: what is only proposed changes nothing"

    def _states(self) -> dict[int, Any]:
        columns = (node_role_rows.c.id, node_role_rows.c.state, node_role_rows.c.rerun, node_role_rows.c.status)
        rows = self.c.rows(select(*columns).where(node_role_rows.c.state != int(PROPOSED)))
        return {row.id: tuple(row) for row in rows}

    def _node_id(self) -> int | None:
        found = self.c.rows(select(node_rows.c.id).where(~node_rows.c.system).order_by(node_rows.c.id))
        return self.chance.choice(found).id if found else None

    def _node_role(self) -> Any | None:
        found = self.c.rows(
            select(node_role_rows.c.id, role_rows.c.name)
            .join(role_rows, role_rows.c.id == node_role_rows.c.role_id)
            .order_by(node_role_rows.c.id)
        )
        return self.chance.choice(found) if found else None

    def _bind(self) -> Any:
        node, role = self._node_id(), self.c.role_ids[self.chance.choice(self.roles)]
        home = self.chance.choice((None, None, *self.deployments))
        if node is None:
            return None
        return "bind", lambda: binding.bind(self.parts, OPERATOR, node_id=node, role_id=role, deployment_id=home)

    def _draft(self) -> Any:
        return self._value(now=False)

    def _value(self, *, now: bool = True) -> Any:
        one, node, number = self._node_role(), self._node_id(), self.chance.randint(0, 2)
        if self.chance.random() < 0.3:
            if node is None:
                return None
            return "set node", lambda: attributes.set_value(
                self.parts, OPERATOR, attribute="site", value=number, node_id=node, now=now
            )
        if one is None:
            return None
        return "set", lambda: attributes.set_value(
            self.parts, OPERATOR, attribute=f"{one.name}-value", value=number, node_role_id=one.id, now=now
        )

    def _deployment_draft(self) -> Any:
        return self._deployment_value(now=False)

    def _deployment_value(self, *, now: bool = True) -> Any:
        home, number = self.chance.choice(self.deployments), self.chance.randint(0, 2)
        name = self.chance.choice(("site", *(f"{role}-value" for role in self.roles)))
        return "set for deployment", lambda: attributes.set_for_deployment(
            self.parts, OPERATOR, deployment_id=home, attribute=name, value=number, now=now
        )

    def _commit(self) -> Any:
        home = self.chance.choice(self.deployments)
        return "commit", lambda: deployments.commit(self.parts, OPERATOR, home)

    def _commit_node(self) -> Any:
        node = self._node_id()
        return node and ("commit node", lambda: nodes.commit_node(self.parts, OPERATOR, node))

    def _unbind(self) -> Any:
        one = self._node_role()
        return one and ("unbind", lambda: binding.unbind(self.parts, OPERATOR, one.id))

    def _redeploy(self) -> Any:
        node = self._node_id()
        return node and ("redeploy", lambda: nodes.redeploy_node(self.parts, OPERATOR, node))

    def _delete_node(self) -> Any:
        node = self._node_id()
        if node is None or self.chance.random() < 0.7:
            return None
        return "delete node", lambda: nodes.delete_node(self.parts, OPERATOR, node, wait=0)

    def _node(self) -> Any:
        node = self._node_id()
        change = self.chance.choice((
            {"available": self.chance.random() < 0.6}, {"alive": self.chance.random() < 0.6},
            {"deployment_id": self.chance.choice(self.deployments)}, {"hint": {"site": self.chance.randint(0, 2)}},
            {"discovery": {"site": self.chance.randint(0, 2)}},
        ))  # fmt: skip
        return node and (f"node {change}", lambda: nodes.change_node(self.parts, OPERATOR, node, change))

    def _steer(self) -> Any:
        one, deed = self._node_role(), self.chance.choice(
            (steering.rerun, steering.refresh, steering.hold, steering.release, steering.propose, steering.commit,
             steering.force_error, steering.retry)
        )  # fmt: skip
        return one and (deed.__name__, lambda: deed(self.parts, OPERATOR, one.id))

    # ------------------------------------------------------------ the claim

    def step(self, *, under_way: bool) -> None:
        """Stage, plan an edit, do it, let all of it run, and compare."""
        self.stage()
        if under_way:
            self._begin_something()
        made = self.edit()
        if made is None:
            return
        name, act = made
        try:
            plan = rehearse(self.parts, act)
        except Refused:
            with pytest.raises(Refused):
                act()
            self._settle()
            return
        if self.count % 3 == 0:  # each costs as much as the plan itself
            assert plan.id == rehearse(self.parts, act).id, f"{name}: the plan of the same is another"
        self._forget_what_was_passed()
        last = self._last_run()
        try:
            act()
        except Refused as error:  # it waits for nobody here, and the run on the node has been told to stop
            if name != "delete node" or "is being cancelled" not in error.detail:
                raise
            self._settle()
            return
        self._settle()
        happened = self._runs(after=last)
        expected = Counter(
            (step.node_role_id, step.kind == "refresh") for step in plan.steps
            if step.kind in ("run", "run again", "refresh")
        )  # fmt: skip
        assert expected == happened, f"{name}: planned {self._named(expected)}, happened {self._named(happened)}"
        assert {s.node_role_id for s in plan.steps if s.kind == "pass over"} == self._passed(), name
        self._what_waits_is_what_waits(name, plan)
        self.count += 1
        self.kinds[name.split(" ")[0]] += 1
        self.kinds.update(step.kind for step in plan.steps)

    def _begin_something(self) -> None:
        one = self._node_role()
        if one is not None:
            self._try(lambda: steering.rerun(self.parts, OPERATOR, one.id))
        for run in self.c.open_runs():
            if self.chance.random() < 0.7:
                claim(self.parts, [run.id], "w")

    def _settle(self) -> None:
        self.c.anneal(limit=3000)
        check_invariants(self.parts)

    def _last_run(self) -> int:
        return max((row.id for row in self.c.rows(select(run_rows.c.id))), default=0)

    def _runs(self, *, after: int) -> Counter[tuple[int, bool]]:
        """(noderole, refresh) of the runs that were made and carried out since this one."""
        rows = self.c.rows(
            select(run_rows.c.node_role_id, run_rows.c.refresh).where(
                run_rows.c.id > after, run_rows.c.state == "succeeded"
            )
        )
        return Counter((row.node_role_id, row.refresh) for row in rows)

    def _forget_what_was_passed(self) -> None:
        with self.parts.store.write() as session:
            session.execute(
                update(node_role_rows).where(node_role_rows.c.status.startswith("passed")).values(status="")
            )

    def _passed(self) -> set[int]:
        passed = select(node_role_rows.c.id).where(node_role_rows.c.status.startswith("passed"))
        return {row.id for row in self.c.rows(passed)}

    def _what_waits_is_what_waits(self, name: str, plan: Plan) -> None:
        planned = {step.node_role_id for step in plan.steps if step.kind == "wait"}
        not_at_rest = node_role_rows.c.state.not_in([int(ACTIVE), int(PROPOSED)]) | node_role_rows.c.rerun
        waiting = {row.id for row in self.c.rows(select(node_role_rows.c.id).where(not_at_rest))}
        assert planned == waiting, f"{name}: planned to wait {planned}, waits {waiting}"

    def _named(self, found: Counter[tuple[int, bool]]) -> dict[str, int]:
        names = self.c.named()
        return {f"{names.get(ref, ref)}{' (refresh)' if fresh else ''}": n for (ref, fresh), n in found.items()}


def _peers(node_role: Any) -> dict[str, Any]:
    return {node_role.role: {"known": min(len(node_role.peers), 3)}}


def walk(open_database: OpenDatabase, *, plans: int, seed: int) -> Counter[str]:
    """At least so many plans, over as many random clusters as that takes. Returns how often what was planned."""
    done: Counter[str] = Counter()
    while done["plans"] < plans:
        chance = Random(f"{seed} {done['clusters']}")
        roles = role_set(chance)
        roles = [_wanting_site(role) if chance.random() < 0.4 else role for role in roles]
        with open_database() as (directory, url):
            hooks = {"node_role_data": _peers} if chance.random() < 0.5 else {}
            cluster = Cluster(directory, url, roles, (SITE,), migrate=False, hooks=hooks)
            try:
                one = Walk(cluster, roles, chance)
                one.prepare()
                for _ in range(16):
                    try:
                        one.step(under_way=chance.random() < 0.3)
                    except AssertionError as error:
                        raise AssertionError(f"cluster {done['clusters']} of seed {seed}: {error}") from error
                done.update(one.kinds)
                done["plans"] += one.count
                done["clusters"] += 1
            finally:
                cluster.close()
    return done


def _wanting_site(role: Role) -> Role:
    values = {name: getattr(role, name) for name in role.__dataclass_fields__}
    return Role(**(values | {"wants": (*role.wants, "site")}))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_runs_of_a_plan_are_exactly_those_that_then_happen_on_sqlite(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    done = walk(fresh_on_sqlite(tmp_path), plans={"few": 650, "full": 1750}[pytestconfig.getoption("--walks")], seed=1)
    assert min(done[kind] for kind in ("run", "run again", "refresh", "pass over", "wait", "commit", "unbind")) > 10, (
        done
    )


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_runs_of_a_plan_are_exactly_those_that_then_happen_on_postgresql(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    assert walk(fresh_on_postgresql(tmp_path, postgres_server), plans=250, seed=2)["plans"] >= 250
