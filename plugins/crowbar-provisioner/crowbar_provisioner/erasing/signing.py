"""Reports are signed with a key of the installation, which makes it by itself: Ed25519, the private part sealed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import insert, select

from crowbar_core import Change
from crowbar_provisioner.tables import signing_keys


def sign(change: Change, report: Mapping[str, Any]) -> tuple[str, str]:
    """The signature and the public key, both as base64."""
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(_private(change)))
    return _text(private.sign(canonical(report))), _text(private.public_key().public_bytes_raw())


def is_signed(report: Mapping[str, Any], signature: str, key: str) -> bool:
    """Whether just this report was signed by whoever has the private part of ``key``."""
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        public.verify(base64.b64decode(signature, validate=True), canonical(report))
    except (InvalidSignature, ValueError):
        return False
    return True


def canonical(report: Mapping[str, Any]) -> bytes:
    """What is signed: JSON with its names in order, without blanks, in ASCII."""
    return json.dumps(report, sort_keys=True, separators=(",", ":")).encode("ascii")


def _private(change: Change) -> str:
    sealed = change.session.scalar(select(signing_keys.c.sealed).where(signing_keys.c.id == 1))
    if sealed is not None:
        return change.unseal(sealed)
    made = _text(Ed25519PrivateKey.generate().private_bytes_raw())
    change.session.execute(insert(signing_keys).values(id=1, sealed=change.seal(made)))
    return made


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
