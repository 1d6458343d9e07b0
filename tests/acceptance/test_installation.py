"""An installation in miniature: its run outlives its node and, in each of its steps, its server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.registration import register

from crowbar_core.client import Target
from tests.acceptance.processes import Site, installed

pytestmark = pytest.mark.lab

STEPS = ("powering down", "booting", "copying", "settling in")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.create(f"install-{os.getpid()}", nodes=3, state_dir=tmp_path / "lab", owner=os.getpid()) as lab:
        yield lab


@pytest.fixture
def site(lab: Lab, tmp_path: Path, database_url: str) -> Iterator[Site]:
    with installed(tmp_path / "crowbar", lab=lab, database_url=database_url, probe_seconds=0.5, kill_grace=10) as one:
        points = one.home / "site" / "crowbar_faults-1.0.dist-info" / "entry_points.txt"
        points.write_text(
            points.read_text().replace("[crowbar.jigs]", "installing = crowbar_installing\n[crowbar.jigs]")
        )
        yield one


def journal(lab: Lab, node: str) -> list[str]:
    done = lab.exec(lab.ssh(node, ["cat /root/journal"]), capture_output=True, text=True, timeout=30)
    return str(done.stdout).splitlines()


def in_step(site: Site, run: int, step: str) -> bool:
    found: dict[str, Any] = site.ask("GET", f"runs/{run}")
    return bool(found["pending"] and found["timeline"] and found["timeline"][-1]["name"] == step)


def test_an_installation_is_done_once_whatever_dies_in_each_of_its_steps(site: Site, lab: Lab) -> None:
    site.start("serve")
    register(lab, Target(url=site.url, user="admin", password=site.password))
    node, other = [one.name for one in lab.nodes][1:]
    for name in (node, other):
        site.ask("PUT", f"nodes/{name}/probe")
        site.ask("PUT", f"nodes/{name}/commit")
    site.wait_active()
    site.ask("POST", "deployments", {"name": "work"})
    site.bind(other, "quick")
    site.bind(node, "os-joined")
    site.commit()
    site.wait(lambda: site.runs_of(node, "os-install"), "the installation begins")
    site.wait(lambda: site.node_role(other, "quick")["state_name"] == "ACTIVE", "the other node is done")
    (run,) = [one["id"] for one in site.runs_of(node, "os-install")]
    for step in STEPS:
        site.wait(partial(in_step, site, run, step), f"it waits in {step!r}")
        if step == STEPS[0]:
            assert lab.power(node, "status") == "off"
            assert site.node_role(node, "os-look")["state_name"] == "ACTIVE"
        site.processes[-1].kill()
        site.start("serve")
        assert in_step(site, run, step), "it waits where it waited"
        site.ask("PUT", f"runs/{run}/wake")  # without need: nothing has happened yet
        site.open(step)
        site.ask("PUT", f"runs/{run}/wake")
        if step == STEPS[1]:
            site.wait(lambda: site.ask("GET", f"nodes/{node}")["alive"], "the node is back")
        if step == STEPS[2]:  # and here also in the middle of a call
            site.wait(lambda: not site.ask("GET", f"runs/{run}")["pending"], "it is at work")
            site.processes[-1].kill()
            site.start("serve")
            site.open("copied")
    site.wait_active()
    site.check()
    (found,) = site.runs_of(node, "os-install")
    assert (found["id"], found["state"]) == (run, "succeeded")
    assert len(site.journal("erase", node)) == len(site.journal("end", node, "os-install")) == 1
    timeline = site.ask("GET", f"runs/{run}")["timeline"]
    assert tuple(one["name"] for one in timeline) == STEPS
    assert all(one["at"] and one["ended_at"] and one["reason"] for one in timeline)
    said = site.typed("runs", "show", str(run))
    assert all(step in said for step in STEPS), said
    assert journal(lab, node) == ["look", "look", "joined"], "on the new system it was discovered again, then went on"
    assert journal(lab, other) == ["look"], "nobody disturbed the other node"
    assert [one["state"] for one in site.runs_of(other, "quick")] == ["succeeded"]
