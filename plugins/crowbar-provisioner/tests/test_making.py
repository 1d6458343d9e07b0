"""The role that makes images: only what is missing, in a process that ends with the run."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import crowbar_jig_script
import crowbar_provisioner
import pytest
from crowbar_provisioner import catalogue, making
from crowbar_provisioner.images import build
from crowbar_provisioner.sledgehammer.packages import BuildError

from crowbar_core import RunCancelled, Task
from crowbar_core.testing import FakeJig, Testbed

NODE = "admin.rack2.example.com"


@dataclass
class Site:
    bed: Testbed
    root: Path
    tools: Path

    def __post_init__(self) -> None:
        self.bed.add_node(NODE, admin=True)

    def make(self) -> str:
        self.bed.bind(making.IMAGES_ROLE, NODE)
        self.bed.commit()
        self.bed.anneal_until_quiet()
        return str(self.bed.state(making.IMAGES_ROLE, NODE))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """No tool of image building is there but what a test puts into ``tools``."""
    root, tools = tmp_path / "files", tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    config = {"provisioner": {"files": str(root)}}
    with Testbed(crowbar_jig_script, crowbar_provisioner, config=config, jigs={"script": FakeJig()}) as bed:
        yield Site(bed=bed, root=root, tools=tools)


def test_what_is_there_is_not_made_again(site: Site) -> None:
    for _, there, _ in making.wanted(site.root, "full"):
        there.parent.mkdir(parents=True)
        there.write_text("made by hand")
    assert site.make() == "ACTIVE"
    assert site.bed.log(making.IMAGES_ROLE, NODE)[:2] == [
        "the discovery image is there",
        "the image of debian-12 is there",
    ]


def test_what_cannot_be_made_says_why_in_one_sentence_and_leaves_nothing(site: Site) -> None:
    assert site.make() == "ERROR"
    [run] = site.bed.runs(making.IMAGES_ROLE, NODE)
    said = "The discovery image cannot be made: The program apt-cache is missing: images are built on Debian"
    assert run.exit_reason.startswith(said)
    assert list((site.root / "sledgehammer").iterdir()) == []


def test_an_image_of_a_host_without_the_tools_names_their_packages_before_it_begins(site: Site) -> None:
    with pytest.raises(BuildError, match=r"missing: apt-get install dosfstools e2fsprogs fdisk .*mmdebstrap mtools"):
        build.build(site.root / "images", kernel="cloud")
    assert not (site.root / "images").exists()


def test_a_run_that_is_cancelled_takes_its_process_along(site: Site, tmp_path: Path) -> None:
    hangs = site.tools / "apt-cache"
    hangs.write_text(
        f"#!/bin/sh\necho $$ >{tmp_path}/pid.new && /bin/mv {tmp_path}/pid.new {tmp_path}/pid\nexec /bin/sleep 600\n"
    )
    hangs.chmod(0o755)
    task = SimpleNamespace(data={}, log=print, begin=lambda: None, cancelled=threading.Event())
    told: list[BaseException] = []

    def work() -> None:
        try:
            making.run(cast(Task, task))
        except RunCancelled as error:
            told.append(error)

    with site.bed.serving():
        working = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        working.start()
        _await((tmp_path / "pid").exists)
        pid = int((tmp_path / "pid").read_text())
        task.cancelled.set()
        working.join(60)
    assert [str(one) for one in told] == ["the discovery image was not finished"]
    _await(lambda: _is_gone(pid))
    assert list((site.root / "sledgehammer").iterdir()) == []


MOUNTED = 'mount -t tmpfs -o "$1" crowbar-test "$2" && shift 2 && exec "$@"'


def on_a_small_disk(size: str, place: Path, *line: str) -> subprocess.CompletedProcess[str]:
    """``line``, where a disk of that size is at ``place``."""
    command = ["unshare", "--mount", "sh", "-c", MOUNTED, "sh", size, str(place), *line]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.lab
@pytest.mark.parametrize("line", [("images", "build", "debian-12"), ("sledgehammer", "build")])
def test_a_full_disk_is_told_in_one_sentence_with_the_way_out(tmp_path: Path, line: tuple[str, ...]) -> None:
    full = tmp_path / "files"
    full.mkdir()
    more = ("--cache", str(full / "cache")) if line[0] == "sledgehammer" else ()
    words = [sys.executable, "-m", "crowbar_core.cli", *line, "--to", str(full / "boot"), *more]
    done = on_a_small_disk("nr_inodes=1", full, *words)
    said = f"Error: {full / 'boot'} cannot take the image: No space left on device: {full}"
    assert (done.returncode, done.stderr.startswith(said)) == (1, True), done.stderr
    assert done.stderr.count("\n") == 1
    assert " Make room there and in " in done.stderr


PUT = """
import sys
from pathlib import Path
from crowbar_provisioner.sledgehammer.packages import making, put
place = Path(sys.argv[1])
put(place, {"vmlinuz": b"old", "initrd.img": b"old"})
try:
    with making(place):
        put(place, {"vmlinuz": b"new", "initrd.img": b"new" * 100_000})
finally:
    print(sorted((one.name, one.read_text()) for one in place.iterdir()))
"""


@pytest.mark.lab
def test_a_disk_that_fills_up_in_the_end_leaves_the_kernel_and_its_drivers_as_they_were(tmp_path: Path) -> None:
    done = on_a_small_disk("size=64k", tmp_path, sys.executable, "-c", PUT, str(tmp_path))
    assert done.stdout.strip() == "[('initrd.img', 'old'), ('vmlinuz', 'old')]", done.stderr
    assert "cannot take the image: No space left on device" in done.stderr


@pytest.mark.vms
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("kernel, image", [("cloud", "debian-12.raw"), ("full", "debian-12.raw.zst")])
def test_both_images_are_made_by_the_role(site: Site, monkeypatch: pytest.MonkeyPatch, kernel: str, image: str) -> None:
    monkeypatch.setenv("PATH", os.defpath + ":/usr/sbin:/sbin")
    site.bed.bind(making.IMAGES_ROLE, NODE)
    site.bed.set("provisioner-images-kernel", kernel, node=NODE, role=making.IMAGES_ROLE)
    site.bed.commit()
    site.bed.anneal_until_quiet(within=1800)
    assert site.bed.state(making.IMAGES_ROLE, NODE) == "ACTIVE", site.bed.log(making.IMAGES_ROLE, NODE)
    with site.bed.serving():
        assert [one.problem for one in catalogue.all_of(site.root) if one.name == "debian-12"] == [""]
    assert {one.name for one in (site.root / "sledgehammer").iterdir()} == {
        "vmlinuz", "initrd.img", "tools.img", "SHA256SUMS",
    }  # fmt: skip
    assert {one.name for one in (site.root / "images").iterdir()} == {
        image, "debian-12.tar.zst", "debian-12.json",
    }  # fmt: skip


def _is_gone(pid: int) -> bool:
    """Whether its parent alone is still to hear of its end."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def _await(question: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(600):
        if question():
            return
        waiting.wait(0.1)
    raise AssertionError("it did not happen within a minute")
