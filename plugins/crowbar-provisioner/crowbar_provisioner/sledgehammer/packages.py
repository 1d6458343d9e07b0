"""Debian's packages, with all that they depend on: fetched by apt-get, unpacked by dpkg-deb, none installed.

What this host has installed does not matter, and nothing of it changes: apt-get is told of an empty system.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from crowbar_core import CrowbarError


class BuildError(CrowbarError):
    """An image cannot be built."""

    code = "build"
    status = 500


@contextmanager
def making(place: Path) -> Iterator[None]:
    """``BuildError`` for what the system refuses meanwhile: a full disk, a place that cannot be written to."""
    try:
        yield
    except OSError as problem:
        why = problem.strerror or str(problem)[:200]
        where = f": {problem.filename}" if problem.filename else ""
        more = (
            f" Make room there and in {tempfile.gettempdir()}, and begin again."
            if problem.errno in (errno.ENOSPC, errno.EDQUOT)
            else ""
        )
        raise BuildError(f"{place} cannot take the image: {why}{where}.{more}") from None


def put(place: Path, files: Mapping[str, bytes]) -> None:
    """All of them, in this order, or none: where one finds no room, what was there stays."""
    new = {name: place / f".{name}.new" for name in files}
    try:
        for name, content in files.items():
            new[name].write_bytes(content)
        for name, path in new.items():
            path.rename(place / name)
    finally:
        for path in new.values():
            path.unlink(missing_ok=True)


def run(
    line: Sequence[str], *, cwd: Path | None = None, given: bytes | None = None, more: Mapping[str, str] | None = None
) -> bytes:
    """Run a program, with ``more`` in its environment, and return what it printed. ``BuildError`` has its last words,
    or names what is missing.
    """
    if shutil.which(line[0]) is None:
        raise BuildError(f"The program {line[0]} is missing: images are built on Debian, with its tools installed.")
    done = subprocess.run(line, cwd=cwd, input=given, capture_output=True, env={**os.environ, **(more or {})})
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        # Of apt's complaints the first is the reason, and those after it follow from it.
        why = next((one for one in said if one.startswith("E: ")), said[-1] if said else f"exit code {done.returncode}")
        raise BuildError(f"{line[0]} failed: {why}")
    return done.stdout


def fetch(names: Sequence[str], place: Path, *, alone: Sequence[str] = (), installed: Path | None = None) -> list[Path]:
    """Packages and what they depend on, and those of ``alone`` without that; sorted by name. ``place`` keeps them, so
    that the next time only what is new is fetched. ``installed``: dpkg's list of what is there already; none: nothing.
    """
    archives, nothing, status = place / "archives", place / "nothing", place / "status"
    for directory in (archives, nothing):
        (directory / "partial").mkdir(parents=True, exist_ok=True)
    status.touch()
    options = ["-q", "-y", "-o", f"Dir::State::status={installed or status}", "-o", "APT::Install-Recommends=false"]
    options += ["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"]
    # apt-get names only what it would fetch: asked with an empty cache, it names all.
    listed = run(["apt-get", *options, "-o", f"Dir::Cache::archives={nothing}/", "--print-uris", "install", *names])
    files = [line.split()[1] for line in listed.decode().splitlines() if line.startswith("'")]
    if any(not (archives / file).exists() for file in files):
        run(["apt-get", *options, "-o", f"Dir::Cache::archives={archives}/", "--download-only", "install", *names])
    for name in alone:
        [line] = [one for one in run(["apt-get", "-q", "download", "--print-uris", name]).decode().splitlines() if one]
        file = line.split()[1]
        if not (archives / file).exists():
            run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name], cwd=archives)
        files.append(file)
    return [archives / file for file in sorted(files)]


def unpack(packages: Sequence[Path], root: Path) -> None:
    """As an installation would, without running anything of the packages."""
    for package in packages:
        run(["dpkg-deb", "-x", str(package), str(root)])


def real_kernel(kind: str) -> str:
    """The package of the newest kernel of this kind: "cloud" or "full"."""
    meta = {"cloud": "linux-image-cloud-amd64", "full": "linux-image-amd64"}[kind]
    for line in run(["apt-cache", "depends", meta]).decode().splitlines():
        kindred, _, name = line.strip().partition(": ")
        if kindred == "Depends" and name.startswith("linux-image-"):
            return name
    raise BuildError(f"The package {meta} names no kernel: run apt-get update and try again.")
