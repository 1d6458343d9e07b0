"""Disks are erased in the discovery image and read back; one that lies fails the run; signed reports stay."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_provisioner.erasing import choosing
from crowbar_provisioner.erasing.signing import is_signed

from crowbar_core import Refused

from .conftest import Bmc, Ear, Site, script_of_the_image
from .light import GIB, Machine
from .test_installing import name_of

ROLE, INSTALLED = "provisioner-erase", "crowbar-installed-node"
MIB = 1 << 20
DISKS = [
    {"name": "sda", "size": 4 * MIB, "serial": "A-1", "wwn": "naa.1", "model": "M", "transport": "sata"},
    {"name": "sdb", "size": 2 * MIB, "serial": "B-1", "transport": "sata"},
    {"name": "sdc", "size": GIB, "serial": "C-1", "holders": True},
    {"name": "sdd", "size": GIB, "serial": "D-1", "transport": "usb"},
]


# ---- what is decided, without a machine


@pytest.mark.parametrize(
    "wanted, kept, found",
    [((), (), ["sda", "sdb"]), ((), ("B-1",), ["sda"]), (("naa.1",), (), ["sda"]), (("sda", "A-1"), (), ["sda"])],
)
def test_the_disks_are_those_that_are_named_or_all_that_are_suitable(wanted: Any, kept: Any, found: list[str]) -> None:
    assert [one["name"] for one in choosing.chosen(DISKS, wanted=wanted, kept=kept)] == found


@pytest.mark.parametrize(
    "wanted, kept, said",
    [
        (("sdc",), (), "sdc is not erased: it is in use"),
        (("D-1",), (), "sdd is not erased: it is removable"),
        (("sdz",), (), "There is no disk called sdz"),
        ((), ("sdz",), "There is no disk called sdz"),
        (("sda",), ("A-1",), "is to be erased and to be kept"),
        ((), ("sda", "sdb"), "No disk is to be erased"),
    ],
)
def test_what_is_claimed_or_unclear_is_not_touched(wanted: Any, kept: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        choosing.chosen(DISKS, wanted=wanted, kept=kept)


def test_a_sample_has_the_first_and_the_last_piece_and_is_counted_to_the_byte() -> None:
    assert choosing.pieces(10 * MIB, 0, lambda below: 0) is None
    assert choosing.pieces(10 * MIB, 10, lambda below: 0) is None, "that is all of it"
    numbers = iter([3, 3, 7])
    found = choosing.pieces(10 * MIB - 512, 4, lambda below: next(numbers))
    assert found == [0, 3, 7, 9]
    assert choosing.to_read(10 * MIB - 512, found) == 4 * MIB - 512
    assert choosing.verdict(wanted=4, read=4, not_blank=0) == ""
    assert "it lies: 1 of the 4 bytes" in choosing.verdict(wanted=4, read=4, not_blank=1)
    assert "3 bytes were read back, and not the 4" in choosing.verdict(wanted=4, read=3, not_blank=0)


# ---- the run, with light machines


@pytest.fixture
def machine(site: Site) -> Iterator[Machine]:
    yield from site.managed(more={"disks": DISKS})


def says(machine: Machine, disk: str, state: str = "done", *, status: int = 200, **more: Any) -> None:
    work = machine.work()["work"] or {"id": "x"}
    size = next(one["size"] for one in DISKS if one["name"] == disk)
    read = {"read": size} if state == "done" else {}
    body = {"id": work["id"], "disk": disk, "state": state, "method": "overwrite", **read, **more}
    answer = machine.ask("POST", "/v1/erased", body)
    assert answer.status == status, answer.text


def test_disks_are_erased_where_the_discovery_image_runs_and_their_reports_stay_when_the_node_goes(
    site: Site, machine: Machine
) -> None:
    name, bed = name_of(machine), site.bed
    planned = bed.cli("machines", "erase", name, "--plan", user="operator")
    assert f"{name}: sda, 0.0 GiB, M, serial number A-1 is ERASED, and all of it is read back." in planned.stdout
    assert "sdc" not in planned.stdout + planned.stderr
    nobody = bed.cli("machines", "erase", name, user="operator")
    assert (nobody.exit_code, "give --yes" in nobody.stderr) == (2, True)
    assert machine.work()["work"] is None
    done = bed.cli("machines", "erase", name, "--yes", user="operator")
    assert done.exit_code == 0, done.stderr
    bed.anneal_until_quiet()
    assert (bed.state(ROLE, name), Bmc.told) == ("TRANSITION", []), "it runs the image already"
    work = machine.work()["work"]
    assert (work["do"], [one["name"] for one in work["disks"]]) == ("erase", ["sda", "sdb"])
    assert work["disks"][0] == {
        "name": "sda", "serial": "A-1", "wwn": "naa.1", "size": 4 * MIB, "method": "best", "pieces": None
    }  # fmt: skip
    says(machine, "sda", "begun")
    says(machine, "sda", "progress", percent=40)
    shown = site.browser.open(f"/erasures?node={name}")
    for text in ("sda, 4.0 MiB", "erasing, 40 %", "sdb, 2.0 MiB"):
        assert text in shown
    says(machine, "sdc", status=409)
    for wrong in ({"method": "hammer"}, {"percent": 101}, {"read": -1}, {"detail": "a\nb"}):
        says(machine, "sda", status=422, **wrong)
    says(machine, "sda")
    says(machine, "sda", "failed")
    bed.anneal_until_quiet()
    assert bed.state(ROLE, name) == "TRANSITION"
    says(machine, "sdb")
    bed.anneal_until_quiet()
    assert bed.state(ROLE, name) == "ACTIVE", bed.why(ROLE, name)
    assert machine.work()["work"] is None
    assert bed.value("provisioner-erased", name, role=ROLE) == ["A-1", "B-1"]
    again = site.web.put(f"/api/v2/machines/{name}/erase", json={})
    assert (again.status_code, f"crowbar noderoles unbind {name}/{ROLE}" in again.text) == (409, True)
    refused = site.web.post("/api/v2/node_roles", json={"node_id": name, "role_id": INSTALLED})
    assert refused.status_code == 409, "what is erased is not installed"

    bed.delete_node(name)
    found = site.web.get(f"/api/v2/erasures?node={name}").json
    assert [(one["disk"], one["state"], one["node_id"]) for one in found] == [
        ("sdb", "erased", 0),
        ("sda", "erased", 0),
    ]
    report = found[1]["report"]
    assert report["verification"] == {
        "kind": "whole", "bytes_wanted": 4 * MIB, "bytes_read": 4 * MIB, "bytes_not_blank": 0
    }  # fmt: skip
    assert (report["serial"], report["wwn"], report["method"], report["result"]) == (
        "A-1",
        "naa.1",
        "overwrite",
        "erased",
    )
    assert is_signed(report, found[1]["signature"], found[1]["public_key"])
    assert not is_signed({**report, "serial": "A-2"}, found[1]["signature"], found[1]["public_key"])
    shown = bed.cli("machines", "erase-report", name, "--verify", user="viewer")
    assert (shown.exit_code, "2 of 2 reports are signed, and as they were" in shown.stderr) == (0, True), shown.stderr
    other = bed.cli("machines", "erase-report", name, "--public-key", "A" * 43 + "=", user="viewer")
    assert (other.exit_code, "is NOT as it was signed" in other.stderr) == (1, True), other.stderr
    assert "no-such" in bed.cli("machines", "erase-report", "no-such", user="viewer").stderr
    page = site.browser.open(f"/erasures/{found[1]['id']}")
    assert f"{4 * MIB} of {4 * MIB} bytes read back (whole), 0 not blank" in page
    assert "as it was signed" in page
    assert "A-1" in site.browser.open("/erasures")


def test_a_disk_that_lies_fails_the_run_which_says_so(site: Site, machine: Machine) -> None:
    name, bed = name_of(machine), site.bed
    order = site.web.put(f"/api/v2/machines/{name}/erase", json={"sample": 1})
    assert order.status_code == 200, order.text
    bed.anneal_until_quiet()
    work = machine.work()["work"]
    assert [one["pieces"] for one in work["disks"]] == [[0, 3], None]
    says(machine, "sda", read=2 * MIB, not_blank=7)
    says(machine, "sdb", read=MIB)
    bed.anneal_until_quiet()
    assert bed.state(ROLE, name) == "ERROR"
    why = bed.why(ROLE, name)
    assert f"sda is not erased: it lies: 7 of the {2 * MIB} bytes that were read are not blank" in why
    assert f"sdb is not erased: {MIB} bytes were read back, and not the {2 * MIB} that had to be" in why
    found = site.web.get(f"/api/v2/erasures?node={name}&state=failed").json
    assert [one["report"]["result"] for one in found] == ["failed", "failed"]
    assert site.web.put(f"/api/v2/node_roles/{bed.node_role(ROLE, name).id}/retry").status_code == 200
    bed.anneal_until_quiet()
    assert [one["name"] for one in machine.work()["work"]["disks"]] == ["sda", "sdb"], "all of it, once more"
    machine.ask("POST", "/v1/log", {"lines": ["blk_update_request: I/O error, dev sda, sector 0"]})
    says(machine, "sda", "failed", detail="it cannot be written: Input/output error")
    says(machine, "sdb")
    bed.anneal_until_quiet()
    why = bed.why(ROLE, name)
    assert "sda is not erased: it cannot be written: Input/output error. Its console ended with: blk_update" in why


def test_a_machine_that_runs_its_disk_is_restarted_into_the_discovery_image(site: Site, machine: Machine) -> None:
    name, bed = name_of(machine), site.bed
    bed.change_node(name, bootenv="local")
    bed.anneal_until_quiet()
    machine.power_on()
    assert machine.env == "local"
    assert site.web.put(f"/api/v2/machines/{name}/erase", json={"disks": ["B-1"]}).status_code == 200
    bed.anneal_until_quiet()
    assert (bed.node(name).bootenv, Bmc.told) == ("sledgehammer", [(name, "reset")])
    machine.power_on()
    assert machine.registered()["accepted"], "the reset was ordered"
    machine.ask("POST", "/v1/alive", {"alive": True})
    bed.anneal_until_quiet()
    before = machine.token
    assert [one["name"] for one in machine.work()["work"]["disks"]] == ["sdb"]
    site.web.put(f"/api/v2/machines/{name}/expect")
    machine.power_on()  # the power was cut
    machine.registered()
    bed.anneal_until_quiet()
    old = {"id": machine.work()["work"]["id"], "disk": "sdb", "state": "done", "read": 2 * MIB}
    assert machine.ask("POST", "/v1/erased", old, token=before).status == 401
    says(machine, "sdb")
    bed.anneal_until_quiet()
    assert bed.state(ROLE, name) == "ACTIVE", bed.why(ROLE, name)


def test_an_order_that_was_cancelled_erases_nothing_any_more(site: Site, machine: Machine) -> None:
    name, bed = name_of(machine), site.bed
    assert site.web.put(f"/api/v2/machines/{name}/erase", json={}).status_code == 200
    bed.anneal_until_quiet()
    says(machine, "sda", "begun")
    run, work = bed.runs(ROLE, name)[-1].id, machine.work()["work"]["id"]
    assert site.web.put(f"/api/v2/runs/{run}/cancel").status_code == 200
    assert machine.work()["work"] is None, "at once"
    said = {"id": work, "disk": "sda", "state": "progress"}
    assert machine.ask("POST", "/v1/erased", said).status == 409
    bed.anneal_until_quiet()
    found = site.web.get(f"/api/v2/erasures?node={name}").json
    assert {(one["state"], one["signature"]) for one in found} == {("failed", "")}


@pytest.mark.parametrize(
    "wish, status",
    [({"disks": ["sdz"]}, 200), ({"sample": -1}, 422), ({"method": "fire"}, 422), ({"disks": [""]}, 422)],
)
def test_what_cannot_be_erased_touches_nothing(site: Site, machine: Machine, wish: Any, status: int) -> None:
    name = name_of(machine)
    assert site.web.put(f"/api/v2/machines/{name}/erase", json=wish).status_code == status
    site.bed.anneal_until_quiet()
    if status == 200:
        assert "There is no disk called sdz" in site.bed.why(ROLE, name)
    assert machine.work()["work"] is None


# ---- the script of the discovery image, on files that stand for disks


class Bench:
    """Disks that are files below ``dev``, and what the kernel tells of them."""

    def __init__(self, root: Path, ear: Ear) -> None:
        self.root, self.ear = root, ear
        for name in ("dev", "sys", "run", "bin"):
            (root / name).mkdir()
        self.script = root / "erase"
        self.script.write_text(script_of_the_image("erase"))

    def disk(self, name: str, size: int, serial: str) -> Path:
        at = self.root / "sys" / name
        (at / "device").mkdir(parents=True)
        (at / "serial").write_text(f"{serial}\n")
        made = self.root / "dev" / name
        made.write_bytes(os.urandom(MIB) * (size // MIB) + os.urandom(size % MIB))
        return made

    def erase(self, *disks: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What was told of each disk last."""
        work = self.root / "work.json"
        work.write_text(json.dumps({"do": "erase", "id": "w", "disks": disks}))
        env = {"DEV": str(self.root / "dev"), "SYS": str(self.root / "sys"), "RUN": str(self.root / "run")}
        env["PATH"] = f"{self.root / 'bin'}:{os.environ['PATH']}"
        url = f"http://127.0.0.1:{self.ear.server_address[1]}"
        subprocess.run(
            ["busybox", "sh", str(self.script), str(work), url, "t" * 43], env=env, check=True, timeout=60,
            capture_output=True,
        )  # fmt: skip
        self.ear.heard = [one for one in self.ear.heard if "lines" not in one]
        return {one["disk"]: one for one in self.ear.heard}


@pytest.fixture
def bench(tmp_path: Path, ear: Ear) -> Bench:
    return Bench(tmp_path, ear)


def wanted(name: str, size: int, serial: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "size": size, "serial": serial, "wwn": "", "method": "best", "pieces": None, **more}


def test_the_image_overwrites_each_byte_and_reads_it_back(bench: Bench) -> None:
    sizes = {"sda": 45 * MIB + 512, "sdb": 3 * MIB}
    files = {name: bench.disk(name, size, f"S-{name}") for name, size in sizes.items()}
    other = bench.disk("sdc", MIB, "S-sdc")
    before = other.read_bytes()
    told = bench.erase(*(wanted(name, size, f"S-{name}") for name, size in sizes.items()))
    for name, size in sizes.items():
        assert files[name].read_bytes() == bytes(size)
        assert (told[name]["state"], told[name]["method"]) == ("done", "overwrite"), told[name]
        assert (told[name]["read"], told[name]["not_blank"], told[name]["percent"]) == (size, 0, 100)
    assert other.read_bytes() == before
    percents = [one["percent"] for one in bench.ear.heard if one["disk"] == "sda"]
    assert percents == sorted(percents)
    assert len(percents) > 20


def test_of_a_sample_the_pieces_are_read_that_were_asked_for(bench: Bench) -> None:
    size = 8 * MIB + 4096
    bench.disk("sda", size, "S")
    told = bench.erase(wanted("sda", size, "S", pieces=[0, 5, 8]))
    assert (told["sda"]["state"], told["sda"]["read"]) == ("done", 2 * MIB + 4096)


def test_a_disk_that_says_it_has_erased_itself_and_has_not_is_found_out(bench: Bench) -> None:
    size = 4 * MIB
    bench.disk("nvme0n1", size, "N")
    nvme = bench.root / "bin" / "nvme"
    nvme.write_text('#!/bin/sh\n[ "$1" != id-ctrl ] || echo \'{"fna": 0}\'\n')
    nvme.chmod(0o755)
    told = bench.erase(wanted("nvme0n1", size, "N"))["nvme0n1"]
    assert (told["state"], told["method"]) == ("failed", "nvme-format")
    assert "it was told to erase itself, and" in told["detail"]
    assert told["not_blank"] > MIB // 2


def test_a_disk_that_erases_itself_to_ones_is_blank(bench: Bench) -> None:
    size = 2 * MIB
    disk = bench.disk("nvme0n1", size, "N")
    nvme = bench.root / "bin" / "nvme"
    fill = f"tr '\\000' '\\377' </dev/zero | head -c {size} >{disk}"
    nvme.write_text(f'#!/bin/sh\nif [ "$1" = id-ctrl ]; then echo \'{{"fna": 0}}\'; else {fill}; fi\n')
    nvme.chmod(0o755)
    told = bench.erase(wanted("nvme0n1", size, "N"))["nvme0n1"]
    assert (told["state"], told["method"], told["read"]) == ("done", "nvme-format", size)
    told = bench.erase(wanted("nvme0n1", size, "N", method="overwrite"))["nvme0n1"]
    assert (told["method"], disk.read_bytes()) == ("overwrite", bytes(size))


@pytest.mark.parametrize(
    "change, said",
    [
        ({"size": 5 * MIB}, "has another size than was told"),
        ({"serial": "OTHER"}, "has the serial S, and not OTHER"),
        ({"name": "sdz"}, "there is no disk sdz"),
    ],
)
def test_a_disk_that_is_another_one_than_was_told_is_not_touched(bench: Bench, change: Any, said: str) -> None:
    disk = bench.disk("sda", 4 * MIB, "S")
    before = disk.read_bytes()
    told = bench.erase({**wanted("sda", 4 * MIB, "S"), **change})
    assert [(one["state"], said in one["detail"]) for one in told.values()] == [("failed", True)], told
    assert disk.read_bytes() == before


def test_a_disk_that_something_holds_is_not_touched(bench: Bench) -> None:
    disk = bench.disk("sda", MIB, "S")
    (bench.root / "sys" / "sda" / "sda1" / "holders" / "dm-0").mkdir(parents=True)
    before = disk.read_bytes()
    told = bench.erase(wanted("sda", MIB, "S"))["sda"]
    assert (told["state"], told["detail"], disk.read_bytes()) == ("failed", "sda is in use", before)
