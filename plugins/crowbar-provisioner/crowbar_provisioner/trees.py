"""Trees of installers: what the operator has fetched is checked and put below the boot files, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from crowbar_core import BadInput, CrowbarError, Refused
from crowbar_provisioner.describing import MIRROR, Described, File, Tree, booted

MOST_FILES = 200_000
_SUM = re.compile(r"\\?([0-9a-f]{64}) [ *](.{1,1000})")


class TreeError(CrowbarError):
    """A tree cannot be added, for a reason of this machine."""


def add(root: Path, said: Described, source: Path, *, mirror: str = "", sha256: str = "", sums: str = "") -> Tree:
    """Copy ``source``, a directory or an ISO image, to ``trees/NAME``; what was there before is replaced.

    ``sha256`` is what the ISO image must have; ``sums`` are lines of ``sha256sum`` for files of the tree, among them
    those that are booted from. Raises ``BadInput``, ``Refused`` for what is missing or another than said,
    ``TreeError``.
    """
    if said.method == "image":
        raise Refused(f"{said.name} is written as an image, and has no tree: crowbar images build makes images.")
    if mirror and not re.fullmatch(MIRROR, mirror):
        raise BadInput("A mirror is said as http://mirror.example.com/debian: letters, digits and . _ ~ + - / alone.")
    if said.needs_mirror and not mirror:
        raise BadInput(f"The installer of {said.name} has its packages from a mirror: say which, with --mirror URL.")
    if source.is_file():
        _is(source, sha256)
    elif sha256:
        raise BadInput("A checksum is said of an ISO image; of the files of a directory, say a file of checksums.")
    home = root / "trees"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{said.name}.", dir=home) as work:
            new = Path(work, "new")
            if source.is_file():
                _unpack(source, new)
                if said.iso is not None:
                    shutil.copyfile(source, new / said.iso)
            elif source.is_dir():
                shutil.copytree(source, new, symlinks=True)
            else:
                raise BadInput(f"There is no {source}.")
            made = _described(said, new, mirror, _read(sums))
            _put(home, said.name, new, Path(work, "old"), made)
    except (OSError, shutil.Error) as problem:
        raise TreeError(f"The tree of {said.name} could not be put into {home}: {_why(problem)}.") from None
    return made


def _put(home: Path, name: str, new: Path, old: Path, made: Tree) -> None:
    """The description goes first and comes last: without it there is no tree."""
    said = home / f"{name}.json"
    said.unlink(missing_ok=True)
    if (home / name).exists():
        (home / name).rename(old)
    new.chmod(0o755)
    new.rename(home / name)
    text = home / f".{name}.json.new"
    text.write_text(json.dumps(made.model_dump(), indent=1) + "\n", encoding="utf-8")
    text.replace(said)


def _described(said: Described, tree: Path, mirror: str, sums: Mapping[str, str]) -> Tree:
    found: dict[str, File] = {}
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        if path.is_symlink():
            if not path.resolve().is_relative_to(tree.resolve()):
                raise Refused(f"{name} is a link that leads out of the tree.")
        elif path.is_file():
            size = path.stat().st_size
            if size:
                found[name] = File(sha256=_sum(path), size=size)
        if len(found) > MOST_FILES:
            raise Refused(f"The tree has more than {MOST_FILES} files.")
    for name in booted(said):
        if name not in found:
            raise Refused(f"The tree has no {name}, which {said.name} boots from.")
        if sums and name not in sums:
            raise Refused(f"The checksums say nothing of {name}, which {said.name} boots from.")
    for name, expected in sums.items():
        if name in found and found[name].sha256 != expected:
            raise Refused(f"{name} has the checksum {found[name].sha256}, not {expected}.")
    lines = "".join(f"{one.sha256}  {name}\n" for name, one in sorted(found.items()))
    return Tree(
        os=said.name, mirror=mirror or None, files={name: found[name] for name in booted(said)}, count=len(found),
        size=sum(one.size for one in found.values()), sha256=hashlib.sha256(lines.encode()).hexdigest(),
    )  # fmt: skip


def _read(sums: str) -> Mapping[str, str]:
    """Raises ``BadInput``."""
    found = {}
    for line in filter(None, sums.splitlines()):
        hit = _SUM.fullmatch(line)
        if hit is None:
            raise BadInput("A file of checksums has lines as sha256sum writes them: CHECKSUM, two blanks, PATH.")
        found[hit[2].removeprefix("./")] = hit[1]
    return found


def _is(iso: Path, expected: str) -> None:
    if not expected:
        raise BadInput("Say which checksum the ISO image should have, as who publishes it says: --sha256 CHECKSUM.")
    try:
        found = _sum(iso)
    except OSError as problem:
        raise BadInput(f"{iso} cannot be read: {problem.strerror}.") from None
    if found != expected.lower():
        raise Refused(f"{iso.name} has the checksum {found}, not {expected}.")


def _unpack(iso: Path, place: Path) -> None:
    program = shutil.which("xorriso")
    if program is None:
        raise TreeError("An ISO image is unpacked by xorriso, which is not there: apt-get install xorriso.")
    command = [program, "-osirrox", "on", "-indev", f"stdio:{iso}", "-extract", "/", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=3600, check=False)
    if done.returncode or not place.is_dir():
        raise Refused(f"{iso.name} cannot be unpacked: {(done.stderr.strip() or 'xorriso failed').splitlines()[-1]}")
    for path in (place, *place.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why(problem: Exception) -> str:
    return problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)[:200]
