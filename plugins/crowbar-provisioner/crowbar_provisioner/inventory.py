"""What a machine reports of itself: bounded, each value of its type, nothing that is not known. Pure.

It is an attacker's text. Here it becomes values that are kept as the node's discovery; who shows them escapes them.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from crowbar_core import BadInput, Json
from crowbar_provisioner.claims import Claim, claim, mac_of

LARGEST = 512 * 1024
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def _line(text: str) -> str:
    if any(unicodedata.category(one) in _UNPRINTABLE for one in text):
        raise ValueError("This is one line of printable characters.")
    return text


def _mac(text: str) -> str:
    if not (found := mac_of(text)):
        raise ValueError("This is no MAC of a card.")
    return found


Line = Annotated[str, Field(max_length=500), AfterValidator(_line)]
Mac = Annotated[str, Field(max_length=17), AfterValidator(_mac)]
Size = Annotated[int, Field(ge=0, le=1 << 62)]
HostKey = Annotated[
    str,
    Field(max_length=2048, pattern=r"^(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]+={0,2}$"),
]


class Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Cpu(Said):
    model: Line = ""
    sockets: Annotated[int, Field(ge=0, le=1024)] = 0
    cores: Annotated[int, Field(ge=0, le=65536)] = 0
    threads: Annotated[int, Field(ge=0, le=65536)] = 0


class Disk(Said):
    name: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9!_.-]*$")]
    size: Size
    model: Line = ""
    serial: Line = ""
    wwn: Line = ""
    by_path: Line = ""
    removable: bool = False
    rotational: bool = False
    read_only: bool = False
    transport: Line = ""
    holders: bool = False


class Nic(Said):
    name: Annotated[str, Field(max_length=32)]
    mac: Mac
    permanent_mac: Mac | None = None
    pci: Line = ""
    driver: Line = ""
    speed: Annotated[int, Field(ge=-1, le=10_000_000)] | None = None
    link: bool | None = None


class Bmc(Said):
    present: bool = True
    kind: Literal["", "ipmi", "redfish"] = ""
    vendor: Line = ""
    address: Line = ""
    mac: Line = ""


class Inventory(Said):
    macs: Annotated[list[Mac], Field(min_length=1, max_length=64)]
    uuid: Line = ""
    serial: Line = ""
    board_serial: Line = ""
    vendor: Line = ""
    product: Line = ""
    chassis: Line = ""
    firmware: Literal["bios", "uefi"] = "bios"
    arch: Line = ""
    secure_boot: bool = False
    kernel: Line = ""
    agent: Line = ""
    cpu: Cpu = Cpu()
    memory: Size = 0
    disks: Annotated[list[Disk], Field(max_length=256)] = []
    nics: Annotated[list[Nic], Field(max_length=64)] = []
    addresses: Annotated[list[Line], Field(max_length=64)] = []
    hostname: Line = ""
    bmc: Bmc | None = None

    def claim(self) -> Claim:
        return claim(uuid=self.uuid, serial=self.serial, macs=self.macs)

    def discovery(self) -> dict[str, Json]:
        """As the core keeps it: the MACs at its top, where everybody looks for them, the rest below ``inventory``. The
        addresses are no claims there: the one that counts is the one from which the machine registered.
        """
        rest = self.model_dump(mode="json", exclude={"macs"})
        return {"macs": list(self.macs), "inventory": rest}


class Registration(Said):
    inventory: Inventory
    host_keys: Annotated[list[HostKey], Field(min_length=1, max_length=8)]


class Alive(Said):
    alive: bool


class Step(Said):
    """``boot``: the boot id of who says that it goes on by kexec."""

    id: Annotated[str, Field(max_length=43)]
    step: Literal["installer", "disk", "layout", "image", "check", "grow", "identity", "loader", "installed", "kexec"]
    state: Literal["begun", "done", "failed"]
    detail: Line = ""
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    host_keys: Annotated[list[HostKey], Field(max_length=8)] = []
    boot: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] | None = None


class Log(Said):
    """Text as it is, whatever is in it: what is kept of it is made of it here."""

    lines: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=200)]


class Source(Said):
    """``without``: the peers that were given up."""

    id: Annotated[str, Field(max_length=43)]
    without: Annotated[list[Annotated[int, Field(ge=0, le=1 << 62)]], Field(max_length=16)] = []


class Erased(Said):
    """``read``: the bytes that were read back; ``not_blank``: how many of them are not as an erased disk has them."""

    id: Annotated[str, Field(max_length=43)]
    disk: Annotated[str, Field(max_length=64)]
    state: Literal["begun", "progress", "done", "failed"]
    method: Literal["", "overwrite", "nvme-format", "ata-secure-erase"] = ""
    detail: Line = ""
    read: Size = 0
    not_blank: Size = 0
    percent: Annotated[int, Field(ge=0, le=100)] = 0


class BurnedPart(Said):
    part: Annotated[str, Field(max_length=70, pattern=r"^(?:cpu|memory|disk-[A-Za-z0-9!_.-]{1,64})$")]
    tool: Annotated[str, Field(max_length=32)]
    state: Literal["passed", "failed", "untested"]
    amount: Annotated[float, Field(ge=0, le=1e18)] = 0
    unit: Annotated[str, Field(max_length=16)] = ""
    detail: Line = ""


class Burned(Said):
    """``corrected`` and ``uncorrected``: errors of memory that its controllers counted meanwhile; ``kernel``: what the
    kernel complained of.
    """

    id: Annotated[str, Field(max_length=43)]
    state: Literal["begun", "progress", "done"]
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    parts: Annotated[list[BurnedPart], Field(max_length=260)] = []
    corrected: Size = 0
    uncorrected: Size = 0
    kernel: Annotated[list[Line], Field(max_length=20)] = []


S = TypeVar("S", bound=Said)


def read(kind: type[S], body: bytes) -> S:
    """Raises ``BadInput`` with the place and the fact, and without the text that was refused."""
    try:
        said = json.loads(body, object_pairs_hook=_once, parse_constant=_constant)
    except RecursionError:
        raise BadInput("The report is nested too deep.") from None
    except ValueError as problem:
        raise BadInput(f"The report is no JSON as it should be: {_plain(problem)}") from None
    try:
        return kind.model_validate(said)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise BadInput(f"The report is refused at {_place(first['loc'])}: {first['msg']}.") from None


def _place(parts: Sequence[Any]) -> str:
    return "/" + "/".join(str(one)[:64] if str(one).isprintable() and str(one).isascii() else "…" for one in parts)


def _plain(problem: ValueError) -> str:
    return str(problem) if isinstance(problem, _Refused) else "it cannot be read"


class _Refused(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a name is there twice")
    return found


def _constant(text: str) -> Any:
    raise _Refused(f"{text} is no number")
