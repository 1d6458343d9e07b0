"""The operating systems that can be installed: each with the image, or the tree of its installer, that there is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from crowbar_core import NotFound, Refused, cluster
from crowbar_provisioner.boot.answers import NotHere
from crowbar_provisioner.boot.files import opened
from crowbar_provisioner.describing import LAYOUTS, SHA256, Described, Folder, Found, Name, Tree, booted, gathered
from crowbar_provisioner.images.build import OS as BUILT
from crowbar_provisioner.images.pieces import SUM, fits

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


Piece = tuple[Annotated[str, Field(pattern=SUM)], Annotated[int, Field(gt=0)]]


class Tarball(BaseModel):
    """A root file system that is unpacked on disks which are divided on the machine. ``sha256`` and ``size`` are of the
    file; ``content_size``: how many bytes it is unpacked; ``disk_size``: how many each disk must have.
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    os: Name
    file: FileName
    format: Literal["tar.zst"]
    sha256: Annotated[str, Field(pattern=SHA256)]
    size: Annotated[int, Field(gt=0)]
    content_size: Annotated[int, Field(gt=0)]
    disk_size: Annotated[int, Field(gt=0)]


class Image(BaseModel):
    """What is said beside an image: ``images/NAME.json``.

    ``sha256`` is of the file; ``blake2b`` of the ``disk_size`` bytes that stand on the disk then, as b2sum writes it;
    ``xxh64``, which finds faults and no malice, of the same, as ``xxhsum -H1`` does. The disk is checked by the last.
    ``pieces``: of one that is compressed piece for piece, the checksum of what is in each, and its bytes in the file.
    ``tarball``: the same system for layouts other than flat.
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    os: Name
    file: FileName
    format: Literal["raw", "raw.zst"]
    sha256: Annotated[str, Field(pattern=SHA256)]
    blake2b: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")] | None = None
    xxh64: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    size: Annotated[int, Field(gt=0)]
    disk_size: Annotated[int, Field(gt=0)]
    root_partition: Annotated[int, Field(ge=1, le=128)]
    root_fs: Literal["ext4", "xfs"] = "ext4"
    pieces: tuple[Piece, ...] | None = None
    tarball: Tarball | None = None

    @model_validator(mode="after")
    def _is_checked(self) -> Image:
        if not (self.blake2b or self.xxh64) and self.format != "raw":
            raise ValueError("what is compressed needs a checksum of its content: blake2b or xxh64")
        if self.pieces is not None and not (self.format != "raw" and fits(self.pieces, self.size, self.disk_size)):
            raise ValueError("its pieces are not those of its content")
        if self.tarball is not None and self.tarball.os != self.os:
            raise ValueError("its tarball is of another operating system")
        return self


_MAKING = f"crowbar images build {BUILT}, where the boot service runs"
_SAID: TypeAdapter[Image | Tarball] = TypeAdapter(Annotated[Image | Tarball, Field(discriminator="format")])


@dataclass(frozen=True, kw_only=True)
class Os:
    """``by``: who describes it; ``made``: since when its image or tree is as it is; ``problem``: why it cannot be
    installed; ''.
    """

    name: str
    title: str
    method: str
    by: str = ""
    layouts: tuple[str, ...] = ("flat",)
    disk_size: int = 0
    image: Image | Tarball | None = None
    tree: Tree | None = None
    said: Described | None = None
    made: datetime | None = None
    problem: str = ""

    @property
    def images(self) -> Sequence[Image | Tarball]:
        """All files of it: the image of a whole disk first."""
        return _files(self.image) if self.image is not None else []

    def to_keep(self, layout: str) -> dict[str, Any]:
        """All that its installation needs, as it is now. Raises ``Refused`` when it cannot be installed."""
        if self.problem:
            raise Refused(f"{self.name} cannot be installed: {self.problem}")
        if layout not in self.layouts:
            how = f": make it anew ({_MAKING})" if self.name == BUILT and self.image else ""
            raise Refused(f"{self.name} is not installed in the layout {layout}, but {' or '.join(self.layouts)}{how}.")
        if self.images:
            part = self.images[0 if layout == "flat" else -1]
            kept = part.model_dump(exclude={"tarball", "pieces"})
            return {"method": "image", **kept, "layout": layout, "in_pieces": bool(getattr(part, "pieces", None))}
        assert self.said is not None
        assert self.tree is not None
        told = self.said.model_dump(exclude={"name"})
        return {"os": self.name, **told, "mirror": self.tree.mirror, "layout": layout}


def sources(root: Path) -> Iterator[tuple[str, Folder]]:
    """This package's own first, then those of barclamps, then the operator's directory."""
    yield "crowbar-provisioner", resources.files("crowbar_provisioner").joinpath("oses")
    for barclamp, folder in cluster().ask("operating_systems"):
        if hasattr(folder, "iterdir"):
            yield barclamp, folder
    yield str(root / "oses"), root / "oses"


def all_of(root: Path) -> list[Os]:
    """Those that are described and those that there is an image of, by name."""
    known = _known(root)
    return [_os(root, known[name]) for name in sorted(known)]


def _known(root: Path) -> dict[str, Found]:
    known, _ = gathered(sources(root))
    for path in _there(root):
        known.setdefault(path.stem, Found(name=path.stem, by=str(path), said=None))
    return known


def problems(root: Path) -> list[str]:
    """What is wrong with descriptions, a sentence each."""
    return gathered(sources(root))[1]


def get(root: Path, name: str) -> Os:
    """Raises ``NotFound``."""
    known = _known(root)
    if name not in known:
        raise NotFound(f"There is no operating system {name}; there are: {', '.join(sorted(known)) or 'none'}.")
    return _os(root, known[name])


_verified: dict[str, tuple[int, ...]] = {}


def verify(root: Path, kept: Mapping[str, Any]) -> None:
    """Reads the whole image that is ``to_keep``, once for each of its versions. Raises ``Refused`` when it is not what
    is said of it.
    """
    if kept["method"] != "image":
        return
    name, said = str(kept["file"]), str(kept["sha256"])
    try:
        with opened(root, "images", name) as file:
            status = os.fstat(file.fileno())
            version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if _verified.get(said) == version:
                return
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (NotHere, OSError) as problem:
        raise Refused(f"The image {name} cannot be read: {problem}") from None
    if found != said:
        raise Refused(f"The image {name} has the SHA-256 {found}, not {said}: make or fetch it again.")
    _verified[said] = version


def _os(root: Path, one: Found) -> Os:
    if one.problem:
        return Os(name=one.name, title=one.name, method="", by=one.by, problem=one.problem)
    said = one.said or Described(name=one.name, title=one.name, method="image")
    about: dict[str, Any] = {"name": one.name, "title": said.title, "method": said.method, "by": one.by, "said": said}
    if said.method == "image":
        image, problem = _image(root, one.name)
        several = image is not None and isinstance(_files(image)[-1], Tarball)
        return Os(
            **about, image=image, disk_size=image.disk_size if image else 0, layouts=LAYOUTS if several else ("flat",),
            made=_made(root, "images", one.name), problem=problem,
        )  # fmt: skip
    tree, problem = _tree(root, said)
    return Os(
        **about, layouts=tuple(said.layouts), disk_size=said.disk_size, tree=tree,
        made=_made(root, "trees", one.name), problem=problem,
    )  # fmt: skip


def _files(of: Image | Tarball) -> Sequence[Image | Tarball]:
    more = of.tarball if isinstance(of, Image) else None
    return [of, more] if more is not None else [of]


def _image(root: Path, name: str) -> tuple[Image | Tarball | None, str]:
    path = root / "images" / f"{name}.json"
    how = f": {_MAKING}" if name == BUILT else ""
    try:
        found = _SAID.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None, f"there is no image of it ({path}){how}"
    except (OSError, ValidationError, ValueError):
        return None, f"{path} does not describe an image{how}"
    if found.os != name:
        return None, f"{path} describes {found.os}{how}"
    for one in _files(found):
        if problem := _differs(root, ("images", one.file), one.size, f"its image {one.file}"):
            return None, f"{problem}{how}"
    return found, ""


def _tree(root: Path, said: Described) -> tuple[Tree | None, str]:
    path = root / "trees" / f"{said.name}.json"
    how = f"crowbar oses add-tree {said.name} DIRECTORY{' --mirror URL' if said.needs_mirror else ''}"
    try:
        found = Tree.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None, f"there is no tree of it ({path}): {how}, where the boot service runs"
    except (OSError, ValidationError, ValueError):
        return None, f"{path} does not describe a tree: {how}"
    if found.os != said.name:
        return None, f"{path} describes {found.os}: {how}"
    if said.needs_mirror and not found.mirror:
        return None, f"its tree names no mirror, from which its installer has its packages: {how}"
    for name in booted(said):
        file = found.files.get(name)
        if file is None:
            return None, f"its tree was added without {name}: {how}"
        problem = _differs(root, ("trees", said.name, *name.split("/")), file.size, f"{name} of its tree")
        if problem:
            return None, f"{problem}: {how}"
    return found, ""


def _differs(root: Path, parts: tuple[str, ...], said: int, what: str) -> str:
    try:
        with opened(root, *parts) as file:
            size = file.seek(0, 2)
    except NotHere:
        return f"{what} is not there"
    return "" if size == said else f"{what} has {size} bytes, not {said}"


def _made(root: Path, kind: str, name: str) -> datetime | None:
    try:
        return datetime.fromtimestamp((root / kind / f"{name}.json").stat().st_mtime, UTC)
    except OSError:
        return None


def _there(root: Path) -> list[Path]:
    try:
        return [path for path in (root / "images").glob("*.json") if path.is_file()]
    except OSError:
        return []
