"""Crowbar's side: a core on SQLite with its threads, from the commit of a deployment until all is ACTIVE."""

from __future__ import annotations

import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

from sqlalchemy import Select, select

from benchmarks.sides.work import SCRIPTS, Figures, Order, answer
from crowbar_core import Barclamp, Role, hookimpl, logs
from crowbar_core.domain.states import ACTIVE
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.build import build_parts, spare_the_collector
from crowbar_core.services.cluster import binding, deployments, nodes
from crowbar_core.services.engine.engine import Engine
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.services.watch import settling
from crowbar_core.settings import load_settings
from crowbar_core.store.models import NodeRole, table

OPERATOR = Actor("benchmark")
PACKAGE = "crowbar_bench_steps"
LOOK = 0.05
HANG_SECONDS = 600.0


class Steps:
    """A barclamp whose roles divide the scripts among themselves, each requiring the one before it."""

    def __init__(self, roles: int) -> None:
        self.__package__ = PACKAGE
        self.roles = tuple(
            Role(name=f"step-{number:02}", jig="script", requires=(f"step-{number - 1:02}",) if number else ())
            for number in range(roles)
        )

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="bench-steps", roles=self.roles)

    def write_scripts(self, folder: Path, scripts: tuple[str, ...]) -> None:
        """The package with ``scripts/<role>/*.sh`` as a barclamp has it."""
        package = folder / PACKAGE
        package.mkdir()
        (package / "__init__.py").write_text("")
        each = len(scripts) // len(self.roles)
        for place, role in enumerate(self.roles):
            (package / "scripts" / role.name).mkdir(parents=True)
            for number, text in enumerate(scripts[place * each : (place + 1) * each]):
                (package / "scripts" / role.name / f"{number:02}.sh").write_text(f"#!/bin/sh\n{text}")
        sys.path.insert(0, str(folder))


def one_role(order: Order) -> Figures:
    """One role with all scripts: one run per node."""
    return _converge(order, roles=1)


def a_role_per_script(order: Order) -> Figures:
    """As many roles as scripts: as many runs per node, one after another."""
    return _converge(order, roles=SCRIPTS)


def _converge(order: Order, *, roles: int) -> Figures:
    steps = Steps(roles)
    steps.write_scripts(Path(order.folder), order.scripts)
    settings = load_settings(
        environ={"CROWBAR_PLUGINS__JIG-SCRIPT__KEY_FILE": order.key_file},
        data_dir=order.folder, concurrency=order.concurrency, log_level="warning", disabled_barclamps=_examples(),
    )  # fmt: skip
    logs.configure(settings)
    parts = build_parts(settings, extra_plugins=[("bench-steps", steps)])
    try:
        home = deployments.create_deployment(parts, OPERATOR, name="bench")
        node_ids = [
            # Known to be alive, so that nothing has connected to it before the clock starts.
            nodes.create_node(
                parts, OPERATOR, name=target.name, hint={"hint-admin-v4addr": target.address}, deployment_id=home,
                host_keys=[target.host_key], alive=True, available=True,
            )
            for target in order.targets
        ]  # fmt: skip
        with change(parts, OPERATOR) as turn:
            # The first role first: a role is content with its parent on another node when there is none on its own.
            for node_id in node_ids:
                for role in steps.roles:
                    binding.bind_in_turn(turn, node_id=node_id, role=role.name, deployment_id=home)
        spare_the_collector()  # as crowbar serve does
        engine = Engine(parts)
        engine.start()
        figures = _measure(parts, home, expected=roles * len(order.targets))
        engine.stop()
        return figures
    finally:
        parts.close()


def _examples() -> list[str]:
    """The barclamps of this repository that nobody installs on a cluster: some listen to every run."""
    return [
        entry.name
        for entry in entry_points(group="crowbar.barclamps")
        if entry.dist is not None and entry.dist.name.startswith("crowbar-example")
    ]


def _measure(parts: Parts, home: int, *, expected: int) -> Figures:
    node_roles = table(NodeRole)
    left = select(node_roles.c.id).where(node_roles.c.state != int(ACTIVE)).limit(1)
    # That nodes have come, and roles were bound to them, the barclamps are told before the clock starts.
    giving_up = time.perf_counter() + HANG_SECONDS
    while (before := settling.settled(parts)).undelivered or before.unheard:
        if time.perf_counter() > giving_up:
            raise SystemExit(f"after {HANG_SECONDS:g} s the barclamps have not heard of all nodes: {before}")
        time.sleep(LOOK)
    begun, cpu = time.perf_counter(), time.process_time()
    deployments.commit(parts, OPERATOR, home)
    while _any(parts, left):
        if time.perf_counter() - begun > HANG_SECONDS:
            raise SystemExit(f"after {HANG_SECONDS:g} s not all is ACTIVE: {settling.settled(parts)}")
        time.sleep(LOOK)
    figures = Figures(seconds=time.perf_counter() - begun, cpu=time.process_time() - cpu)
    if (now := settling.settled(parts)).active != expected:
        raise SystemExit(f"{now.active} noderoles became ACTIVE, not {expected}: {now}")
    return figures


def _any(parts: Parts, query: Select[int]) -> bool:
    with parts.store.glance() as connection:
        return connection.scalar(query) is not None


if __name__ == "__main__":
    answer(a_role_per_script if sys.argv[1:] == ["--role-per-script"] else one_role)
