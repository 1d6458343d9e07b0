"""Operating systems as they are described, one file each: by this package, by barclamps and by the operator."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from crowbar_core import BadInput

LARGEST = 64 * 1024
Layout = Literal["flat", "lvm", "raid1"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
SHA256 = r"^[0-9a-f]{64}$"
MIRROR = (
    r"^https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
    r"(?:/[A-Za-z0-9._~+-]{1,100}){0,12}$"
)


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("This is one line of printable characters.")
    return text


def _below(text: str) -> str:
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("A path in a tree goes down from its top.")
    return text


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,48}$")]
Below = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+~/-]{1,200}$"), AfterValidator(_below)]
Argument = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,64}(?:=[A-Za-z0-9_.,:/@+-]{0,200})?$")]
Package = Annotated[str, Field(pattern=r"^(?:@\^?)?[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$")]


class Described(BaseModel):
    """One file. What an installer needs is said for the methods of installers alone.

    ``kernel``, ``initrd`` and ``iso`` are paths in its tree; ``iso`` where the installer fetches the whole of it;
    ``disk_size``: how many bytes a disk must have.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    title: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_line)]
    method: Literal["image", "preseed", "autoinstall", "kickstart"]
    kernel: Below | None = None
    initrd: Below | None = None
    iso: Below | None = None
    arguments: Annotated[list[Argument], Field(max_length=32)] = []
    suite: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")] | None = None
    packages: Annotated[list[Package], Field(max_length=200)] = []
    needs_mirror: bool = False
    layouts: Annotated[list[Layout], Field(min_length=1)] = ["flat"]
    disk_size: Annotated[int, Field(ge=0, le=1 << 50)] = 0

    @model_validator(mode="after")
    def _whole(self) -> Described:
        needed: Mapping[str, tuple[str, ...]] = {
            "image": (), "preseed": ("kernel", "initrd", "suite"), "autoinstall": ("kernel", "initrd", "iso"),
            "kickstart": ("kernel", "initrd"),
        }  # fmt: skip
        if missing := [name for name in needed[self.method] if getattr(self, name) is None]:
            raise ValueError(f"The method {self.method} needs {' and '.join(missing)}.")
        told = self.model_fields_set - {"name", "title", "method"}
        if self.method == "image" and told:
            raise ValueError(f"The method image has nothing to do with {', '.join(sorted(told))}.")
        return self


class File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sha256: Annotated[str, Field(pattern=SHA256)]
    size: Annotated[int, Field(gt=0)]


class Tree(BaseModel):
    """What is said beside the files of an installer: ``trees/NAME.json``. ``files``: those that are booted from;
    ``sha256``: of the lines ``CHECKSUM  PATH`` of all files, ordered by path.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    os: Name
    mirror: Annotated[str, Field(pattern=MIRROR)] | None = None
    files: Mapping[str, File]
    count: Annotated[int, Field(gt=0)]
    size: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=SHA256)]


@dataclass(frozen=True, kw_only=True)
class Found:
    """One file: by whom, and what it says; or the ``problem`` with it."""

    name: str
    by: str
    said: Described | None
    problem: str = ""


class Folder(Protocol):
    """What ``pathlib.Path`` and ``importlib.resources.files`` have in common."""

    @property
    def name(self) -> str: ...

    def iterdir(self) -> Iterator[Any]: ...


def read(text: bytes, name: str) -> Described:
    """``name``: what its file is called, without ``.json``. Raises ``BadInput`` with the place and the fact."""
    if len(text) > LARGEST:
        raise BadInput(f"{name}.json is longer than {LARGEST} bytes.")
    try:
        said = Described.model_validate(json.loads(text, object_pairs_hook=_once))
    except (RecursionError, UnicodeDecodeError, json.JSONDecodeError):
        raise BadInput(f"{name}.json is not JSON.") from None
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        at = "/".join(str(part)[:64] for part in first["loc"] if str(part).isprintable())
        told = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise BadInput(f"{name}.json is refused{f' at {at}' if at else ''}: {told}.") from None
    except ValueError as problem:
        raise BadInput(f"{name}.json is refused: {problem}.") from None
    if said.name != name:
        raise BadInput(f"{name}.json describes {said.name}: a file is called after what it describes.")
    return said


def of_folder(folder: Folder, by: str) -> list[Found]:
    """All files ``*.json`` in it, by name; none where there is no such directory."""
    found = []
    try:
        entries = sorted((one for one in folder.iterdir() if one.name.endswith(".json")), key=lambda one: str(one.name))
    except OSError:
        return []
    for one in entries:
        name = str(one.name).removesuffix(".json")
        try:
            found.append(Found(name=name, by=by, said=read(one.read_bytes(), name)))
        except OSError as problem:
            found.append(Found(name=name, by=by, said=None, problem=f"{one.name} cannot be read: {problem.strerror}."))
        except BadInput as problem:
            found.append(Found(name=name, by=by, said=None, problem=problem.detail))
    return found


def gathered(sources: Iterable[tuple[str, Folder]]) -> tuple[dict[str, Found], list[str]]:
    """By name, whoever is first; and what is wrong, a sentence each."""
    known: dict[str, Found] = {}
    wrong = []
    for by, folder in sources:
        for one in of_folder(folder, by):
            first = known.setdefault(one.name, one)
            if first is not one:
                wrong.append(f"{one.name} is described by {first.by} and by {by}: what {by} says counts for nothing.")
            elif one.problem:
                wrong.append(f"{by}: {one.problem}")
    return known, wrong


def booted(said: Described) -> list[str]:
    """The files that must be in its tree."""
    return [one for one in (said.kernel, said.initrd, said.iso) if one is not None]


def check_oses(folder: Path | Folder) -> list[str]:
    """What is wrong with the files of a directory, a sentence each: for the tests of a barclamp that brings some."""
    found = of_folder(folder, "")
    return [one.problem for one in found if one.problem] or ([] if found else [f"No file *.json is in {folder}."])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found
