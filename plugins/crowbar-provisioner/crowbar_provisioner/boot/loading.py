"""The boot loaders that are served, made of what packages of this machine bring; none is kept in this package."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from crowbar_provisioner.scripts import GRUB, GRUB_MODULES, INITRD, KERNEL

IPXE = Path("/usr/lib/ipxe")
LOADERS = ("ipxe.efi", "undionly.kpxe", "local.efi")


def missing(root: Path) -> list[str]:
    """What no machine boots without, and which is not there: a sentence each, with the way out."""
    said = []
    image, loaders = root / "sledgehammer", root / "loaders"
    lacks = [name for name in (KERNEL, INITRD) if not (image / name).is_file()]
    if lacks:
        said.append(
            f"Machines cannot boot the discovery image: there is no {' and no '.join(lacks)} in {image}: crowbar "
            "sledgehammer build, where the boot service runs."
        )
    lacks = [name for name in LOADERS if not (loaders / name).is_file()]
    if lacks:
        said.append(
            f"There is no {' and no '.join(lacks)} in {loaders}: where the boot service runs, apt-get install ipxe "
            "grub-efi-amd64-bin, and start it again."
        )
    return said


def prepare(root: Path) -> list[str]:
    """Put them below ``root``; returns what could not be, a line each. What is there and the same is left alone."""
    said = []
    home = root / "loaders"
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name in ("ipxe.efi", "undionly.kpxe"):
            source, target = IPXE / name, home / name
            if source.is_file():
                if not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
                    _put(home, name, source.read_bytes())
            elif not target.is_file():
                said.append(f"there is no {source}: install ipxe, for {name}")
        said += _grub(home)
    except OSError as problem:
        said.append(f"{home} cannot be written: {problem.strerror}")
    return said


def _grub(home: Path) -> list[str]:
    """``local.efi``: looks for the loader of the disk, and starts it."""
    if (home / "local.efi").is_file():
        return []
    program = shutil.which("grub-mkimage")
    if program is None or not Path("/usr/lib/grub/x86_64-efi").is_dir():
        return ["there is no grub-mkimage for x86_64-efi: install grub-efi-amd64-bin, for local.efi"]
    with tempfile.TemporaryDirectory() as folder:
        config, made = Path(folder, "local.cfg"), Path(folder, "local.efi")
        config.write_text(GRUB, encoding="utf-8")
        command = [program, "-O", "x86_64-efi", "-p", "/", "-c", str(config), "-o", str(made), *GRUB_MODULES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            return [f"local.efi could not be made: {(done.stderr.strip() or 'grub-mkimage failed').splitlines()[-1]}"]
        _put(home, "local.efi", made.read_bytes())
    return []


def _put(home: Path, name: str, content: bytes) -> None:
    new = home / f".{name}.{os.getpid()}"
    new.write_bytes(content)
    new.replace(home / name)
