"""The operating systems that can be installed: described one file each, with an image each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crowbar_core import NotFound, Refused
from crowbar_provisioner.boot.answers import NotHere
from crowbar_provisioner.boot.files import opened

NAME = r"^[a-z0-9][a-z0-9.-]{0,48}$"


class Image(BaseModel):
    """What is said beside an image: ``images/NAME.json``."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    os: Annotated[str, Field(pattern=NAME)]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    format: Literal["raw", "raw.zst"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(gt=0)]
    disk_size: Annotated[int, Field(gt=0)]
    root_partition: Annotated[int, Field(ge=1, le=128)]
    root_fs: Literal["ext4", "xfs"] = "ext4"


@dataclass(frozen=True, kw_only=True)
class Os:
    """``problem``: why it cannot be installed; ''."""

    name: str
    title: str
    method: str
    image: Image | None
    problem: str = ""


def all_of(root: Path) -> list[Os]:
    """Those that are described here and those that there is an image of, by name."""
    names = set(_described()) | {path.stem for path in _there(root)}
    return [_os(root, name) for name in sorted(names)]


def get(root: Path, name: str) -> Os:
    """Raises ``NotFound``."""
    known = {one.name: one for one in all_of(root)}
    if name not in known:
        raise NotFound(f"There is no operating system {name}; there are: {', '.join(known) or 'none'}.")
    return known[name]


def image_of(root: Path, name: str) -> Image:
    """Raises ``NotFound``, ``Refused`` when it cannot be installed."""
    found = get(root, name)
    if found.image is None:
        raise Refused(f"{name} cannot be installed: {found.problem}")
    return found.image


def _os(root: Path, name: str) -> Os:
    said = _described().get(name, {"title": name, "method": "image"})
    image, problem = _image(root, name)
    return Os(name=name, title=said["title"], method=said["method"], image=image, problem=problem)


def _image(root: Path, name: str) -> tuple[Image | None, str]:
    path = root / "images" / f"{name}.json"
    try:
        found = Image.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None, f"there is no image of it ({path})"
    except (OSError, ValidationError, ValueError):
        return None, f"{path} does not describe an image"
    if found.os != name:
        return None, f"{path} describes {found.os}"
    try:
        with opened(root, "images", found.file) as file:
            size = file.seek(0, 2)
    except NotHere:
        return None, f"its image {found.file} is not there"
    if size != found.size:
        return None, f"its image {found.file} has {size} bytes, not {found.size}"
    return found, ""


def _there(root: Path) -> list[Path]:
    try:
        return [path for path in (root / "images").glob("*.json") if path.is_file()]
    except OSError:
        return []


@cache
def _described() -> dict[str, dict[str, str]]:
    found = {}
    for entry in resources.files("crowbar_provisioner").joinpath("oses").iterdir():
        if entry.name.endswith(".json"):
            said = json.loads(entry.read_text(encoding="utf-8"))
            found[str(said["name"])] = said
    return found
