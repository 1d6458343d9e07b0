"""Machines that are installed at once pass the image on: by the scripts of the discovery image, over a wire that is
narrow; and one that breaks, sends other bytes or is silent does no harm.

The machines are light, their disks are files; the wire of the boot service is capped by ``tc`` in the lab's network.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crowbar_lab.lab import Lab
from crowbar_provisioner.sledgehammer import build

from .conftest import programs_of_the_image
from .hall import DONE, Hall, LightMachine, hall

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("hall")]
SBIN = Path(build.__file__).parent / "root/sbin"
MIB = 1 << 20
SIZE = 128 * MIB
PIECE = 8 * MIB
RATE = "80mbit"
WRITES = f"""set -o pipefail
. {SBIN}/tell.sh
. {SBIN}/image.sh
. {SBIN}/peers.sh
trap 'end_sharing 0' EXIT
write_shared || exit 1
end_sharing $(((lasted + 9) / 10))
echo "$whence"
"""
ALONE = f"""set -o pipefail
. {SBIN}/tell.sh
. {SBIN}/image.sh
written=0
write_raw || exit 1
echo "$size" >"$notes/have"
echo alone
"""
STALLS = r"""IFS= read -r asked
while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
printf 'HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n'
case $asked in *'?from=0&'*) exec dd if="$disk" bs=8M count=1 iflag=fullblock 2>/dev/null ;; esac
head -c 4000000 "$disk"
sleep 100
"""
LIES = f"""dd of="$notes/other" bs=1M count=0 seek=200 2>/dev/null
disk=$notes/other
. {SBIN}/share
"""


class Writer(LightMachine):
    """Writes its image to a file, as the discovery image writes it to a disk. ``share``: what passes it on."""

    home: Path
    programs: Path
    share = str(SBIN / "share")
    writes_by = WRITES
    whence = ""
    took = 0.0

    @property
    def disk(self) -> Path:
        return self.home / f"{self.name}.disk"

    @property
    def notes(self) -> Path:
        return self.home / f"{self.name}.notes"

    def written(self) -> int:
        """How much of it came from others, or all of it."""
        try:
            return int((self.notes / "have").read_text() or 0)
        except FileNotFoundError:
            return 0

    def _take(self, work: Mapping[str, Any]) -> dict[str, Any]:
        self.notes.mkdir(exist_ok=True)
        self.disk.write_bytes(b"")
        image = work["image"]
        said = {
            "disk": self.disk, "notes": self.notes, "share": self.share, "token": self.machine.token, "id": work["id"],
            "url": image["url"].partition("/v1/")[0], "image": image["url"], "size": image["size"],
            "format": image["format"], **image["share"],
        }  # fmt: skip
        program = "\n".join([*(f"{name}='{value}'" for name, value in said.items()), self.writes_by])
        began = time.monotonic()
        ends_with_us = [str(shutil.which("setpriv")), "--pdeathsig=KILL", "--"]
        process = self.lab.popen(
            [*ends_with_us, str(self.programs / "sh"), "-c", program], at=self.name,
            env={**self.lab.environment, "PATH": str(self.programs)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None:
                self._check()
                if not self.took and self.written() == SIZE:
                    self.took = time.monotonic() - began
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            told = process.communicate()[0]
        self.took = self.took or time.monotonic() - began
        self.whence = told.strip()
        with self.disk.open("rb") as written:
            if hashlib.file_digest(written, "sha256").hexdigest() != image["sha256"]:
                self.problem = f"what it wrote is not the image: {told}"
        return {"detail": self.whence}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    home = tmp_path_factory.mktemp("sharing")
    Writer.home, Writer.programs = home, programs_of_the_image(home / "bin")
    with hall(home) as made:
        image = home / "files/images/debian-12.raw"
        with image.open("wb") as file:
            chance = random.Random(1)
            for _ in range(SIZE // MIB):
                file.write(chance.randbytes(MIB))
        with image.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        said = json.loads(image.with_suffix(".json").read_text())
        image.with_suffix(".json").write_text(json.dumps(said | {"sha256": checksum, "size": SIZE, "disk_size": SIZE}))
        wire(made.lab, CAPPED)
        yield made


CAPPED = f"add dev eth0 root tbf rate {RATE} burst 256kb latency 200ms"


def wire(lab: Lab, what: str) -> None:
    """The boot service's."""
    subprocess.run(lab.enter(["tc", "qdisc", *what.split()], at=lab.nodes[0].name), check=True, timeout=20)


def sent(lab: Lab) -> int:
    """By the boot service's card, since it is there."""
    command = lab.enter(["ip", "-j", "-s", "link", "show", "eth0"], at=lab.nodes[0].name)
    found = subprocess.run(command, capture_output=True, check=True, timeout=20)
    return int(json.loads(found.stdout)[0]["stats64"]["tx"]["bytes"])


def ready(site: Hall, count: int) -> list[Writer]:
    """So many machines that wait before the image."""
    made = [one for one in site.add(count, Writer) if isinstance(one, Writer)]
    for one in made:
        one.closed = {"image"}
    site.install(*made)
    for one in made:
        site.server.wait(partial(is_at_image, one), f"{one.node} at image", site.told)
    return made


def has_it(machine: Writer) -> float:
    assert machine.problem == ""
    return machine.took if machine.whence else 0


def is_at_image(machine: Writer) -> bool:
    return machine.at == "image"


def installed(site: Hall, *machines: Writer) -> None:
    for one in machines:
        site.server.wait(partial(site.is_active, DONE, one), one.node, site.told)
        assert one.problem == ""
        one.disk.unlink()


def log_of(site: Hall, machine: Writer) -> str:
    lines = site.api.get("runs", site.runs(machine)[-1]["id"], "log")
    return "\n".join(str(line["line"]) for line in lines)


def test_four_machines_at_once_take_the_image_over_the_wire_once(site: Hall) -> None:
    walls, loads = [], []
    for count in (1, 4):
        machines = ready(site, count)
        before = sent(site.lab)
        for one in machines:
            one.open()
        for one in machines:
            site.server.wait(partial(has_it, one), f"{one.node} has the image", site.told)
        loads.append(sent(site.lab) - before)
        walls.append(max(one.took for one in machines))
        installed(site, *machines)
    print(f"one {walls[0]:.1f} s, four {walls[1]:.1f} s: {walls[1] / walls[0]:.2f}x; {loads[1] / SIZE:.2f} images sent")
    assert SIZE <= loads[0] <= 1.1 * SIZE
    assert loads[1] <= 1.5 * SIZE
    others = [one for one in machines if one.whence != "128 MiB from the boot service"]
    assert len(others) == 3, [one.whence for one in machines]
    for one in others:
        assert re.search(r"the disk is written: the image came \d+ MiB from d\S+, ", log_of(site, one)), one.whence


@pytest.mark.parametrize("count", [2, 4])
def test_where_the_wire_is_not_short_it_comes_from_the_boot_service(site: Hall, count: int) -> None:
    wire(site.lab, "del dev eth0 root")
    walls: dict[str, list[float]] = {ALONE: [], WRITES: []}
    try:
        for writes_by in (ALONE, WRITES) * 2:
            machines, before = ready(site, count), sent(site.lab)
            for one in machines:
                one.writes_by = writes_by
                one.open()
            for one in machines:
                site.server.wait(partial(has_it, one), f"{one.node} has the image", site.told)
            walls[writes_by].append(max(one.took for one in machines))
            images = (sent(site.lab) - before) / SIZE
            assert images >= 0.5 * count + 0.5, [one.whence for one in machines]
            installed(site, *machines)
    finally:
        wire(site.lab, CAPPED)
    print([one.whence for one in machines])
    print(f"{count} machines, alone and so that they could share: {walls[ALONE]}, {walls[WRITES]}")


def one_after_the_other(site: Hall, shares: tuple[str, str, str]) -> list[Writer]:
    """Three machines, each of which has begun to take the image when the next begins; what each passes it on with."""
    machines = ready(site, 3)
    for one, share in zip(machines, shares, strict=True):
        one.share = share
        one.open()
        site.server.wait(partial(has_begun, one), f"{one.node} takes it", site.told)
    return machines


def has_begun(machine: Writer) -> bool:
    return machine.disk.exists() and machine.disk.stat().st_size >= PIECE


GOOD = str(SBIN / "share")


def test_a_machine_whose_power_is_cut_is_passed_over_and_the_others_are_written(site: Hall) -> None:
    first, middle, last = one_after_the_other(site, (GOOD, GOOD, GOOD))
    site.server.wait(lambda: 0 < middle.written() < SIZE and last.written() >= 3 * PIECE, "the middle of it", site.told)
    site.lab.power(middle.name, "off")
    site.server.wait(partial(has_it, last), "the last one has it", site.told)
    assert f"; {middle.node} was given up: it does not answer, or is slow" in last.whence
    assert (first.problem, last.problem) == ("", "")
    site.lab.power(middle.name, "on")
    installed(site, first, middle, last)


@pytest.mark.parametrize(
    "bad, why",
    [(LIES, "it sent other bytes"), (STALLS, "it (does not answer, or is slow|has gone on)")],
    ids=["lies", "stalls"],
)
def test_a_machine_that_passes_on_what_is_no_use_is_passed_over(site: Hall, tmp_path: Path, bad: str, why: str) -> None:
    (tmp_path / "bad").write_text(bad)
    first, middle, last = one_after_the_other(site, (GOOD, str(tmp_path / "bad"), GOOD))
    for one in (first, middle, last):
        site.server.wait(partial(has_it, one), f"{one.node} has it", site.told)
    assert re.search(f"; {re.escape(middle.node)} was given up: {why}", last.whence), last.whence
    assert f"MiB from {middle.node}" not in last.whence
    assert "given up" not in middle.whence
    installed(site, first, middle, last)
