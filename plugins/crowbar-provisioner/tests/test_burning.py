"""Machines are burned in, in the discovery image; what goes wrong meanwhile fails the run, and is reported."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_provisioner.burning.burn_ins import verdict
from crowbar_provisioner.inventory import Burned

from .conftest import Ear, Site, script_of_the_image
from .light import Machine
from .test_installing import name_of

ROLE, MIB = "provisioner-burn-in", 1 << 20
CPU = {"part": "cpu", "tool": "stress-ng", "state": "passed", "amount": 120.5, "unit": "bogo ops/s"}
DISK = {"part": "disk-vda", "tool": "dd", "state": "passed", "amount": 5 * MIB, "unit": "bytes/s"}


@pytest.fixture
def machine(site: Site) -> Iterator[Machine]:
    yield from site.managed(hammer=False)


def says(machine: Machine, state: str = "done", *, status: int = 200, **more: Any) -> None:
    answer = machine.ask("POST", "/v1/burned", {"id": machine.work()["work"]["id"], "state": state, **more})
    assert answer.status == status, answer.text


def order(site: Site, machine: Machine, **wish: Any) -> None:
    assert site.web.put(f"/api/v2/machines/{name_of(machine)}/burn_in", json=wish).status_code == 200
    site.bed.anneal_until_quiet()


def test_a_machine_is_busy_for_as_long_as_was_said_and_its_report_stays(site: Site, machine: Machine) -> None:
    name, bed = name_of(machine), site.bed
    for wrong in ({"seconds": 0}, {"parts": []}, {"parts": ["fan"]}, {"watts": 1}):
        assert site.web.put(f"/api/v2/machines/{name}/burn_in", json=wrong).status_code == 422, wrong
    done = bed.cli("machines", "burn-in", name, "--seconds", "60", "--part", "cpu", "--part", "disk", user="operator")
    assert done.exit_code == 0, done.stderr
    bed.anneal_until_quiet()
    work = machine.work()["work"]
    assert work == {"do": "burn-in", "id": work["id"], "seconds": 60, "parts": ["cpu", "disk"], "disks": ["vda"]}
    says(machine, "begun")
    says(machine, "progress", percent=50, parts=[CPU])
    for bad in ({"percent": 101}, {"parts": [{**CPU, "part": "fan"}]}, {"kernel": ["a\nb"]}, {"corrected": -1}):
        says(machine, "done", status=422, **bad)
    says(machine, percent=100, parts=[CPU, DISK])
    bed.anneal_until_quiet()
    assert bed.state(ROLE, name) == "ACTIVE", bed.why(ROLE, name)
    assert machine.work()["work"] is None
    again = site.web.put(f"/api/v2/machines/{name}/burn_in", json={})
    assert (again.status_code, f"noderoles unbind {name}/{ROLE}" in again.text) == (409, True)
    bed.delete_node(name)
    (one,) = site.web.get(f"/api/v2/burn_ins?node={name}").json
    assert (one["state"], one["seconds"], [each["part"] for each in one["parts"]]) == (
        "passed",
        60,
        ["cpu", "disk-vda"],
    )
    shown = bed.cli("machines", "burn-in-report", name, user="viewer").stdout
    assert "stress-ng" in shown
    assert "120.5" in shown
    page = site.browser.open(f"/burn-ins/{one['id']}")
    assert "passed, 120.5 bogo ops/s, by stress-ng" in page
    assert "passed, 5.0 MiB/s, by dd" in page
    assert name in site.browser.open("/burn-ins")


@pytest.mark.parametrize(
    "said, why",
    [
        ({"parts": [CPU, DISK], "corrected": 2}, "the memory controllers counted 2 corrected and 0 other errors"),
        (
            {"parts": [CPU, DISK], "kernel": ["I/O error, dev vda"]},
            "the kernel complained, first of: I/O error, dev vda",
        ),
        ({"parts": [CPU]}, "nothing was told of disk-vda"),
        ({"parts": [CPU, {**DISK, "state": "failed", "detail": "it broke"}]}, "disk-vda failed: it broke"),
        ({"parts": [{**CPU, "state": "untested", "detail": "no stress-ng"}, DISK]}, "cpu is not tested: no stress-ng"),
        ({"parts": [CPU, DISK]}, ""),
    ],
)
def test_what_went_wrong_is_said(said: Any, why: str) -> None:
    told = Burned.model_validate({"id": "x", "state": "done", **said})
    assert verdict(told, {"parts": ["cpu", "disk"], "disks": ["vda"]}) == why


def test_a_machine_that_fails_restarts_or_is_called_off_is_not_burned_in(site: Site, machine: Machine) -> None:
    name, bed = name_of(machine), site.bed
    order(site, machine, seconds=60, parts=["cpu"])
    machine.ask("POST", "/v1/log", {"lines": ["EDAC MC0: 3 CE on DIMM_A1"]})
    says(machine, parts=[CPU], corrected=3)
    bed.anneal_until_quiet()
    assert "counted 3 corrected" in bed.why(ROLE, name)
    assert "Its console ended with: EDAC MC0: 3 CE on DIMM_A1" in bed.why(ROLE, name)
    key = bed.node_role(ROLE, name).id
    assert site.web.put(f"/api/v2/node_roles/{key}/retry").status_code == 200
    bed.anneal_until_quiet()
    says(machine, "begun")
    site.web.put(f"/api/v2/machines/{name}/expect")
    machine.power_on()
    machine.registered()
    bed.anneal_until_quiet()
    assert "it restarted in the middle" in bed.why(ROLE, name)
    assert machine.work()["work"] is None
    machine.ask("POST", "/v1/alive", {"alive": True})
    assert site.web.put(f"/api/v2/node_roles/{key}/retry").status_code == 200
    bed.anneal_until_quiet()
    work = machine.work()["work"]["id"]
    assert site.web.put(f"/api/v2/runs/{bed.runs(ROLE, name)[-1].id}/cancel").status_code == 200
    assert machine.work()["work"] is None
    assert machine.ask("POST", "/v1/burned", {"id": work, "state": "progress"}).status == 409


def test_a_machine_that_runs_its_disk_is_left_alone(site: Site, machine: Machine) -> None:
    site.bed.change_node(name_of(machine), bootenv="local")
    order(site, machine, seconds=60)
    assert "does not run the discovery image: let it boot sledgehammer" in site.bed.why(ROLE, name_of(machine))


# ---- the script of the discovery image, with the tools that it calls


class Bench:
    def __init__(self, root: Path, ear: Ear) -> None:
        self.root, self.ear = root, ear
        for name in ("dev", "run", "bin", "edac/mc0"):
            (root / name).mkdir(parents=True)
        for name in ("ce_count", "ue_count"):
            (root / "edac" / "mc0" / name).write_text("5\n")
        self.script = root / "burn-in"
        self.script.write_text(script_of_the_image("burn-in"))

    def burn(self, **wish: Any) -> dict[str, Any]:
        """What was told at last; ``parts`` by their names."""
        work = self.root / "work.json"
        work.write_text(json.dumps({"id": "w", "seconds": 1, "memory": 4, "disks": [], **wish}))
        env = {"DEV": str(self.root / "dev"), "RUN": str(self.root / "run"), "EDAC": str(self.root / "edac")}
        env |= {"PAUSE": "1", "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"}
        url = f"http://127.0.0.1:{self.ear.server_address[1]}"
        subprocess.run(
            ["busybox", "sh", str(self.script), str(work), url, "t" * 43], env=env, check=True, timeout=60,
            capture_output=True,
        )  # fmt: skip
        last = self.ear.heard[-1]
        Burned.model_validate(last)
        assert (last["state"], last["percent"]) == ("done", 100)
        return {**last, "parts": {one["part"]: one for one in last["parts"]}}

    def tool(self, name: str, text: str) -> None:
        made = self.root / "bin" / name
        made.write_text(f"#!/bin/sh\n{text}\n")
        made.chmod(0o755)


@pytest.fixture
def bench(tmp_path: Path, ear: Ear) -> Bench:
    return Bench(tmp_path, ear)


def test_processors_memory_and_disks_are_busy_by_real_tools_and_disks_only_read(bench: Bench) -> None:
    disk = bench.root / "dev" / "sda"
    disk.write_bytes(os.urandom(4 * MIB))
    before = disk.read_bytes()
    told = bench.burn(parts=["cpu", "memory", "disk"], disks=["sda"])
    assert {name: one["state"] for name, one in told["parts"].items()} == {
        "cpu": "passed", "memory": "passed", "disk-sda": "passed"
    }, told  # fmt: skip
    assert told["parts"]["cpu"]["amount"] > 0
    assert told["parts"]["memory"]["amount"] == 4
    assert told["parts"]["disk-sda"]["amount"] > MIB
    assert disk.read_bytes() == before
    assert not any("lines" in one for one in bench.ear.heard), "where nothing failed there are no last lines"
    assert (told["corrected"], told["uncorrected"]) == (0, 0)


def test_what_fails_and_what_cannot_be_tested_is_told(bench: Bench) -> None:
    count = bench.root / "edac" / "mc0" / "ce_count"
    bench.tool("stress-ng", f"echo 7 >{count}; echo 'stress-ng: fail: cpu method mismatch'; exit 2")
    bench.tool("memtester", "echo 'FAILURE: 0xdead != 0xbeef' >&2; sleep 9")
    told = bench.burn(parts=["cpu", "memory", "disk"], disks=["gone"])
    assert "cpu method mismatch" in told["parts"]["cpu"]["detail"]
    assert "0xdead != 0xbeef" in told["parts"]["memory"]["detail"]
    assert {one["state"] for one in told["parts"].values()} == {"failed"}
    assert (told["corrected"], told["uncorrected"]) == (2, 0)
    (words,) = [one["lines"] for one in bench.ear.heard if "lines" in one]
    assert "stress-ng: fail: cpu method mismatch" in words, "its last lines are sent before it says that it is done"


def test_a_disk_of_which_smart_counts_more_than_before_fails(bench: Bench) -> None:
    (bench.root / "dev" / "sda").write_bytes(bytes(MIB))
    counted = bench.root / "counted"
    counted.write_text("0")
    table = '{"ata_smart_attributes": {"table": [{"id": 5, "raw": {"value": %s}}]}}'
    bench.tool("smartctl", f"n=$(cat {counted}); echo $((n + 3)) >{counted}; printf '{table}' $n")
    told = bench.burn(parts=["disk"], disks=["sda"])
    assert told["parts"]["disk-sda"]["detail"] == "SMART counts 3 bad sectors and reads, 0 before; -1: it fails"
