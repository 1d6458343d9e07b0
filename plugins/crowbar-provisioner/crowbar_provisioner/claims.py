"""Which machine one is that says it has these numbers: pure.

Nothing that a machine says of itself proves anything. Here it is only found out whom it means; what it may do as that
one is decided elsewhere.
"""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_SERIAL = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_NO_SERIALS = frozenset(
    (
        "none", "n/a", "na", "unknown", "default", "default string", "system serial number", "not specified",
        "not available", "to be filled by o.e.m.", "to be filled by o.e.m", "o.e.m.", "oem", "chassis serial number",
        "serial number", "invalid", "0123456789", "123456789", "1234567890", "empty", "xxxxxxxxxx",
    )
)  # fmt: skip
_NO_UUIDS = frozenset(
    (
        "03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    )
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a machine says: '' for what it does not, or what many say. ``macs``: the one it booted from first."""

    uuid: str = ""
    serial: str = ""
    macs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Known:
    """A machine that is known by these."""

    id: int
    uuid: str = ""
    serial: str = ""
    macs: frozenset[str] = frozenset()


def mac_of(text: str) -> str:
    """In its one form; '' for what is no card's."""
    plain = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(plain) or plain in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff") or int(plain[1], 16) & 1:
        return ""
    return plain


def uuid_of(text: str) -> str:
    """In its one form, the same for both orders of octets in which firmware tells it; '' for none."""
    plain = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", plain):
        return ""
    if len(set(plain) - {"-"}) == 1 or plain in _NO_UUIDS:
        return ""
    return min(plain, str(uuids.UUID(bytes_le=uuids.UUID(plain).bytes)))


def serial_of(text: str) -> str:
    """'' for what a maker has forgotten to fill in."""
    plain = text.strip()
    lower = plain.lower()
    if not plain or len(plain) > 128 or not _SERIAL.fullmatch(plain) or lower in _NO_SERIALS:
        return ""
    return "" if len(set(lower) - set(" .-_")) < 2 else plain


def claim(*, uuid: str = "", serial: str = "", macs: Iterable[str] = ()) -> Claim:
    plain = dict.fromkeys(found for one in macs if (found := mac_of(one)))
    return Claim(uuid=uuid_of(uuid), serial=serial_of(serial), macs=tuple(plain))


def same(claim: Claim, known: Sequence[Known]) -> Known | None:
    """The one that it means: by its UUID, else by its serial number, else by a card.

    A card goes by nothing where UUID and serial number both say that it is in another machine now.
    """
    for one in known:
        if claim.uuid and one.uuid == claim.uuid:
            return one
    for one in known:
        if claim.serial and one.serial == claim.serial:
            return one
    for mac in claim.macs:
        for one in known:
            if mac in one.macs and not _another(claim, one):
                return one
    return None


def is_whole(claim: Claim, one: Known) -> bool:
    """Whether it says all that is known of the machine beside its cards, of which it names one or more, and which is
    more than them.
    """
    numbers = bool(one.uuid or one.serial) and (claim.uuid, claim.serial) == (one.uuid, one.serial)
    return numbers and bool(claim.macs) and one.macs.issuperset(claim.macs)


def _another(claim: Claim, one: Known) -> bool:
    told = ((claim.uuid, one.uuid), (claim.serial, one.serial))
    return all(said and known and said != known for said, known in told)


def name_of(mac: str, domain: str, number: int = 0) -> str:
    """What a machine is called that nobody has named: ``d52-54-00-12-34-56.example.com``."""
    return f"d{mac.replace(':', '-')}{f'-{number}' if number else ''}.{domain}"
