"""What the answers of one installation are made of, checked whole before anything is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crowbar_core import BadInput
from crowbar_provisioner.describing import LAYOUTS, MIRROR
from crowbar_provisioner.scripts import BASE, TOKEN, argument

KEY = re.compile(
    r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" [A-Za-z0-9+/]{20,4096}={0,2}(?: [A-Za-z0-9@._+-]{1,100})?"
)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_FQDN = re.compile(rf"{_LABEL}(?:\.{_LABEL}){{0,20}}")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_WORK = re.compile(r"[A-Za-z0-9_-]{1,43}")
_DISK = re.compile(r"[A-Za-z0-9][A-Za-z0-9!_.-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """``base``: where the boot service is reached; ``token``: of this boot; ``work``: which installation it is;
    ``said``: the operating system, as ``Os.to_keep`` says; ``disks``: those that are erased, the first one first;
    ``arguments``: what kernels are told besides. Raises ``BadInput`` for what could be more than it should be.
    """

    base: str
    token: str
    work: str
    firmware: str
    layout: str
    fqdn: str
    mac: str
    said: Mapping[str, Any]
    disks: Sequence[Mapping[str, Any]]
    keys: Sequence[str]
    arguments: Sequence[str] = ()

    def __post_init__(self) -> None:
        _whole(BASE, self.base, "address of the boot service")
        _whole(TOKEN, self.token, "token")
        _whole(_WORK, self.work, "installation")
        _whole(_FQDN, self.fqdn, "name of a machine")
        _whole(_MAC, self.mac, "MAC")
        if len(self.fqdn) > 253 or self.firmware not in ("bios", "uefi") or self.layout not in LAYOUTS:
            raise BadInput("The firmware is bios or uefi, the layout flat, lvm or raid1.")
        if len(self.disks) != (2 if self.layout == "raid1" else 1):
            raise BadInput(f"The layout {self.layout} is not one of {len(self.disks)} disks.")
        for key in self.keys:
            check_key(key)
        for disk in self.disks:
            _whole(_DISK, str(disk["name"]), "name of a disk")
            if not all(str(disk.get(one) or "").isprintable() for one in ("serial", "wwn", "by_path")):
                raise BadInput("A disk says of itself what is not one line of printable characters.")
        if self.mirror and not re.fullmatch(MIRROR, self.mirror):
            raise BadInput("This is no mirror that could stand in an answer file.")
        for one in self.arguments:
            argument(one)

    @property
    def host(self) -> str:
        return self.fqdn.partition(".")[0]

    @property
    def domain(self) -> str:
        return self.fqdn.partition(".")[2]

    @property
    def mirror(self) -> str:
        return self.said.get("mirror") or ""

    @property
    def at(self) -> str:
        """Where all that is this boot's lies."""
        return f"{self.base}/b/{self.token}"

    @property
    def uefi(self) -> bool:
        return self.firmware == "uefi"

    @property
    def ipv6(self) -> bool:
        return "[" in self.base

    @property
    def bootif(self) -> str:
        return f"BOOTIF=01-{self.mac.replace(':', '-')}"


def check_key(text: str) -> str:
    """One line of authorized_keys, without options. Raises ``BadInput``, which does not repeat it."""
    if not KEY.fullmatch(text):
        raise BadInput(
            "A public key of SSH is one line: its kind, as ssh-ed25519, the key in base64, and a name, as"
            " ada@example.com, or none. It has no options."
        )
    return text


def _whole(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise BadInput(f"This is no {what} that could stand in an answer file.")
