"""SSH key pairs, made in this process: a hundred host keys cost milliseconds instead of a hundred ssh-keygen."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    public: str
    """``ssh-ed25519 AAAA...``, without a comment."""
    private: str = field(repr=False)
    """OpenSSH's own format, unencrypted."""


def make_key() -> KeyPair:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return KeyPair(public=public.decode(), private=private.decode())
