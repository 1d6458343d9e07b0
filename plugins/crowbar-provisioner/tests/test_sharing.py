"""Machines that are installed at once pass the image on: by the scripts of the discovery image, over a wire that is
narrow; and one that breaks, sends other bytes or is silent does no harm.

The machines are light, their disks are files; ``tc`` makes the wire of the boot service narrow, in the lab's
network.
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
from crowbar_provisioner.images import pieces
from crowbar_provisioner.sledgehammer import build

from .conftest import programs_of_the_image
from .hall import DONE, Hall, LightMachine, hall

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("hall")]
SBIN = Path(build.__file__).parent / "root/sbin"
MIB = 1 << 20
SIZE = 64 * MIB
PIECE = 8 * MIB
WRITES = f"""set -o pipefail
. {SBIN}/tell.sh
. {SBIN}/image.sh
. {SBIN}/peers.sh
trap 'end_sharing 0' EXIT
write_shared || exit 1
end_sharing $(((lasted + 9) / 10))
echo "$whence"
"""
STALLS = r"""IFS= read -r asked
while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
printf 'HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n'
case $asked in *'?from=0&'*) exec dd if="$disk" bs=8M count=1 iflag=fullblock 2>/dev/null ;; esac
head -c 4000000 "$disk"
sleep 100
"""
SHUTS = f"""{{ read -r before <"$notes/came"; }} 2>/dev/null
echo "$before." >"$notes/came"
[ -n "$before" ] || exit 1
. {SBIN}/share
"""
"""Lets nobody in the first time, nor for a second after that, as if another had just been let in."""
LIES = f"""dd of="$notes/other" bs=1M count=0 seek=200 2>/dev/null
disk=$notes/other
. {SBIN}/share
"""


class Writer(LightMachine):
    """Writes its image to a file, as the discovery image writes it to a disk. ``share``: what passes it on."""

    home: Path
    programs: Path
    share = str(SBIN / "share")
    whence = ""

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
            "format": image["format"], "disk_size": image["disk_size"], **image["peers"],
        }  # fmt: skip
        program = "\n".join([*(f"{name}='{value}'" for name, value in said.items()), WRITES])
        ends_with_us = [str(shutil.which("setpriv")), "--pdeathsig=KILL", "--"]
        process = self.lab.popen(
            [*ends_with_us, str(self.programs / "sh"), "-c", program], at=self.name,
            env={**self.lab.environment, "PATH": str(self.programs)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            said_at = time.monotonic()
            while process.poll() is None:
                self._check()
                if time.monotonic() - said_at > 10:  # as write-os does
                    self._step(work, "image", "begun", percent=self.written() * 99 // image["disk_size"])
                    said_at = time.monotonic()
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            told = process.communicate()[0]
        self.whence = told.strip()
        with self.disk.open("rb") as written:
            if hashlib.file_digest(written, "blake2b").hexdigest() != image["blake2b"]:
                self.problem = f"what it wrote is not the image: {told}"
        return {"detail": self.whence}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    home = tmp_path_factory.mktemp("sharing")
    Writer.home, Writer.programs = home, programs_of_the_image(home / "bin")
    with hall(home) as made:
        describe(home / "files/images", compressed=False)
        wire(made.lab, NARROW)
        yield made


def describe(images: Path, *, compressed: bool) -> int:
    """The image that machines are written from now on; how many bytes its file has. The compressed one has more pieces,
    and a third of the bytes on the wire.
    """
    chance = random.Random(1)
    disk = images / "debian-12.raw"
    with disk.open("wb") as file:
        content, some = (3 * SIZE, MIB // 9) if compressed else (SIZE, MIB)
        for _ in range(content // MIB):
            file.write(chance.randbytes(some) + bytes(MIB - some))
    said = json.loads(disk.with_suffix(".json").read_text())
    sums = {}
    for kind in ("sha256", "blake2b"):
        with disk.open("rb") as file:
            sums[kind] = hashlib.file_digest(file, kind).hexdigest()
    said |= {"file": disk.name, "format": "raw", "size": content, "disk_size": content, "pieces": None, **sums}
    if compressed:
        said |= pieces.make(disk, images / "debian-12.raw.zst")
    disk.with_suffix(".json").write_text(json.dumps(said))
    return int(said["size"])


WIDE, NARROW, NARROWER = 100, 24, 8
"""Megabits a second. By these a piece takes one machine 0.7, 3 and 8 seconds: a busy host does not turn that round."""
SHARES = 16


def wire(lab: Lab, rate: int, *, of: str = "") -> None:
    """That of the boot service, or of a machine, is so wide from now on. Those that take from there share it evenly:
    none starves while another has it all. By the last bits of its address each has a queue of its own.
    """
    kind, each = f"htb rate {rate}mbit", f"htb rate {rate * 1000 // SHARES}kbit ceil {rate}mbit quantum 60000"
    lines = [
        "qdisc replace dev eth0 root pfifo",
        "qdisc replace dev eth0 root handle 1: htb",
        f"class add dev eth0 parent 1: classid 1:100 {kind} burst 256k",
    ]
    for share in range(SHARES):
        own = f"1:{share + 1:x}"
        bits = f"u32 match u32 {share:#x} {SHARES - 1:#x} at 16"
        lines += [
            f"class add dev eth0 parent 1:100 classid {own} {each}",
            f"qdisc add dev eth0 parent {own} bfifo limit 512k",
            f"filter add dev eth0 parent 1: protocol ip prio 1 {bits} flowid {own}",
        ]
    command = lab.enter(["tc", "-batch", "-"], at=of or lab.nodes[0].name)
    subprocess.run(command, input="\n".join(lines), check=True, text=True, timeout=60)


def sent(lab: Lab) -> int:
    """By the boot service's card, since it is there."""
    command = lab.enter(["ip", "-j", "-s", "link", "show", "eth0"], at=lab.nodes[0].name)
    found = subprocess.run(command, capture_output=True, check=True, timeout=60)
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


def has_it(machine: Writer) -> bool:
    assert machine.problem == ""
    return machine.whence != ""


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


def test_four_machines_at_once_take_the_image_over_the_wire_about_once(site: Hall) -> None:
    machines = ready(site, 4)
    load = written_at_once(site, machines)
    assert SIZE <= load < 2 * SIZE, ("alone, they take it four times", [one.whence for one in machines])
    others = [one for one in machines if not one.whence.startswith(FROM_SERVICE)]
    assert len(others) == 3, [one.whence for one in machines]
    for one in others:
        assert re.search(r"the disk is written: the image came \d+ MiB from d\S+, ", log_of(site, one)), one.whence


def test_four_machines_at_once_take_a_compressed_image_over_the_wire_about_once(site: Hall) -> None:
    size = describe(site.server.home / "files/images", compressed=True)
    machines = ready(site, 4)
    wire(site.lab, NARROWER)
    try:
        load = written_at_once(site, machines)
    finally:
        wire(site.lab, NARROW)
        describe(site.server.home / "files/images", compressed=False)
    assert size < 0.4 * SIZE
    assert size <= load < 2.5 * size, ("alone, they take it four times", [one.whence for one in machines])
    others = [one for one in machines if not one.whence.startswith(f"{3 * SIZE // MIB} MiB from the boot service")]
    assert len(others) >= 2, [one.whence for one in machines]


def test_where_other_machines_are_not_faster_it_comes_from_the_boot_service(site: Hall) -> None:
    machines = ready(site, 4)
    for one in machines:
        wire(site.lab, NARROWER, of=one.name)
    wire(site.lab, WIDE)
    try:
        load = written_at_once(site, machines)
    finally:
        wire(site.lab, NARROW)
    assert all(one.whence.startswith(FROM_SERVICE) for one in machines), [one.whence for one in machines]
    assert load >= 4 * SIZE


FROM_SERVICE = f"{SIZE // MIB} MiB from the boot service"


def written_at_once(site: Hall, machines: list[Writer]) -> int:
    """How many bytes the boot service has sent meanwhile."""
    before = sent(site.lab)
    for one in machines:
        one.open()
    for one in machines:
        site.server.wait(partial(has_it, one), f"{one.node} has the image", site.told)
    load = sent(site.lab) - before
    installed(site, *machines)
    return load


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
    wire(site.lab, NARROWER)  # none of them has it all while the last one comes to the middle
    site.server.wait(lambda: last.written() >= 2 * PIECE, "the last one takes it from the middle one", site.told)
    assert 0 < middle.written() < SIZE
    site.lab.power(middle.name, "off")
    wire(site.lab, NARROW)
    site.server.wait(partial(has_it, last), "the last one has it", site.told)
    assert f"; {middle.node} was given up: it does not answer, or is slow" in last.whence
    assert (first.problem, last.problem) == ("", "")
    site.lab.power(middle.name, "on")
    installed(site, first, middle, last)


def test_a_machine_whose_door_is_shut_for_a_moment_is_asked_again(site: Hall, tmp_path: Path) -> None:
    (tmp_path / "shuts").write_text(SHUTS)
    first, middle, last = one_after_the_other(site, (str(tmp_path / "shuts"), GOOD, GOOD))
    for one in (first, middle, last):
        site.server.wait(partial(has_it, one), f"{one.node} has it", site.told)
    assert (first.notes / "came").read_text().startswith("..")
    assert f"MiB from {first.node}" in middle.whence
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
