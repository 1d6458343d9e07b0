"""The step of the wizard that tells with which key Crowbar logs in, and lets it in where it is."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crowbar_core import ConfigError, cluster, hookimpl
from crowbar_jig_script.settings import Settings

STEP = "ssh"
_LONGEST = 4096


@hookimpl(optional=True)
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    key = cluster().settings(Settings).key_path()
    help_ = f"Puts the key into {_authorized()} when all is carried out, and makes it before if there is none."
    asked = {
        "name": "authorize", "label": "Let it in on this machine", "default": "no", "help": help_,
        "choices": (("no", "no, that is done by hand"), ("yes", "yes")),
    }  # fmt: skip
    return [
        {
            "name": STEP,
            "title": "How Crowbar logs in",
            "order": 15,
            "text": f"Crowbar logs in as root with the key {key}. Machines that it installs have it; this machine, and "
            f"those that run already, need its public half in {_authorized()}.",
            "fields": (asked,) if os.geteuid() == 0 else (),
            "picture": lambda _values: _shown(key),
            "carry_out": lambda values, _change, _place: _told(values),
        }
    ]  # fmt: skip


@hookimpl(optional=True)
def on_wizard_end(place: Mapping[str, str], answers: Mapping[str, Mapping[str, str]]) -> None:
    """Done once more it changes nothing."""
    if answers.get(STEP, {}).get("authorize") == "yes":
        let_in(cluster().settings(Settings).key_path(), _authorized(), place["address"].partition("/")[0])


def let_in(key: Path, authorized: Path, address: str) -> None:
    """Make the key if there is none, and have root of the machine at this address, which must be this one, accept it.
    Raises ``ConfigError``.
    """
    if not _is_here(address):
        raise ConfigError(
            f"Crowbar is not on the machine at {address or 'an address that is not known'}: put {_public(key)} into "
            f"{authorized} there by hand."
        )
    try:
        if not key.exists():
            _make(key)
        line = _public(key).read_text().strip()
        there = authorized.read_text() if authorized.exists() else ""
        if line.split()[:2] in [one.split()[:2] for one in there.splitlines()]:
            return
        authorized.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(authorized, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{chr(10) if there and not there.endswith(chr(10)) else ''}{line}\n")
    except OSError as error:
        raise ConfigError(f"Crowbar cannot be let in on this machine: {error.filename}: {error.strerror}.") from None


def _make(key: Path) -> None:
    made = Ed25519PrivateKey.generate()
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _public(key).write_text(f"{public.decode()} crowbar@{socket.gethostname()}\n")
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)


def _is_here(address: str) -> bool:
    """Whether this machine has the address: only then can a socket be bound to it."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return bool(address)


def _authorized() -> Path:
    return Path(pwd.getpwuid(0).pw_dir) / ".ssh" / "authorized_keys"


def _public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def _told(values: Mapping[str, str]) -> tuple[str, ...]:
    return (f"Crowbar's key in {_authorized()} of this machine.",) if values.get("authorize") == "yes" else ()


def _shown(key: Path) -> str:
    """The public half of the key, or how there comes to be one."""
    if not key.exists():
        return f"There is no such key yet. Crowbar's user makes it with\nssh-keygen -q -t ed25519 -N '' -f {key}"
    try:
        return _public(key).read_text(errors="replace")[:_LONGEST].strip()
    except OSError as error:
        return f"{_public(key)} cannot be read: {error.strerror}."
