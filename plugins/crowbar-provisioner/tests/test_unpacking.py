"""A tarball's way to a file system, by the shell of the discovery image; and how one is packed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_provisioner.images import tarball

from .light import served
from .test_wire import BREAKS, Wire
from .test_wire import Machine as Shell


@pytest.fixture
def wire() -> Iterator[Wire]:
    with served(Wire()) as made:
        yield made


@pytest.fixture
def shell(tmp_path: Path, wire: Wire) -> Shell:
    (tmp_path / "root").mkdir()
    return Shell(tmp_path, wire)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tree with a file that has capabilities, a link, one with a hole, and one of more than a piece."""
    home = tmp_path_factory.mktemp("tree")
    return made_of(some_tree(home / "tree"), home / "tree.tar.zst")


def some_tree(tree: Path) -> Path:
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/name").write_text("debian\n")
    (tree / "link").symlink_to("etc/name")
    (tree / "large").write_bytes(os.urandom(9 << 20))
    with (tree / "hole").open("wb") as hole:
        hole.truncate(1 << 20)
    os.setxattr(tree / "etc/name", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    return tree


def made_of(tree: Path, file: Path) -> bytes:
    said = tarball.pack(tree, file, when=1_000_000_000)
    content = file.read_bytes()
    assert (said["sha256"], said["size"]) == (hashlib.sha256(content).hexdigest(), len(content))
    return content


def unpacked(shell: Shell, wire: Wire, content: bytes, **values: Any) -> tuple[int, str]:
    """The exit code, and the checksum or why not."""
    wire.content = content
    what = f". {SBIN}/layout.sh\n. {SBIN}/tarball.sh\nunpack && why=$sum"
    return shell.does(what, root=shell.home / "root", size=len(content), format="tar.zst", **values)


SBIN = Path(__file__).parents[1] / "crowbar_provisioner/sledgehammer/root/sbin"


def test_a_tarball_is_unpacked_as_it_comes_over_a_wire_that_breaks(shell: Shell, wire: Wire, packed: bytes) -> None:
    wire.breaks = list(BREAKS)
    assert unpacked(shell, wire, packed) == (0, hashlib.sha256(packed).hexdigest())
    root = shell.home / "root"
    assert (root / "link").read_text() == "debian\n"
    assert os.getxattr(root / "etc/name", "security.capability").startswith(b"\1\0\0\2")
    assert (root / "etc/name").stat().st_mtime == 1_000_000_000, "it was made later than that, and does not say so"
    assert (root / "large").stat().st_size == 9 << 20


def test_another_tarball_than_was_said_has_another_checksum(
    shell: Shell, wire: Wire, packed: bytes, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = made_of(some_tree(tmp_path / "other/tree"), tmp_path / "other/tree.tar.zst")
    code, checksum = unpacked(shell, wire, other)
    assert (code, checksum != hashlib.sha256(packed).hexdigest()) == (0, True)


def test_one_wrong_bit_on_the_way_is_found(shell: Shell, wire: Wire, packed: bytes) -> None:
    broken = bytearray(packed)
    broken[5_000_000] ^= 1
    code, said = unpacked(shell, wire, bytes(broken))
    assert code != 0 or said != hashlib.sha256(packed).hexdigest()
    wire.content = packed[: 4 << 20]
    code, why = unpacked(shell, wire, packed[: 4 << 20])
    assert (code != 0, why != "") == (True, True), "a part of it is not all of it"


def test_what_cannot_be_written_is_named(shell: Shell, wire: Wire, packed: bytes) -> None:
    (shell.home / "root/large").mkdir()
    (shell.home / "root/large/in-the-way").touch()
    code, why = unpacked(shell, wire, packed)
    assert code != 0
    assert why.startswith("tar: ./large: ")


def test_of_what_is_no_tarball_the_rest_is_not_fetched(shell: Shell, wire: Wire) -> None:
    code, why = unpacked(shell, wire, bytes(80 << 20))
    assert code != 0
    assert "zstd: " in why
    assert len(wire.asked) < 5


def test_the_same_tree_makes_the_same_tarball(tmp_path: Path, packed: bytes) -> None:
    tree = some_tree(tmp_path / "tree")
    first = made_of(tree, tmp_path / "first.tar.zst")
    for path in tree.rglob("*"):
        os.utime(path, follow_symlinks=False)
    assert made_of(tree, tmp_path / "second.tar.zst") == first
    (tree / "etc/name").write_text("another\n")
    assert made_of(tree, tmp_path / "third.tar.zst") != first
