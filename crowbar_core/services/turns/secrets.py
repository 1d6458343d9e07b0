"""Secrets at rest: sealed with a key that is a file outside the database, made at first start."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson
from cryptography.fernet import Fernet, InvalidToken

from crowbar_core.barclamp import Json
from crowbar_core.domain.attributes import SECRET, map_secrets
from crowbar_core.errors import ConfigError
from crowbar_core.settings import Settings


def load_key(settings: Settings, name: str = "secret.key") -> bytes:
    """Read the key in ``data_dir``, making it (mode 0600) if it is not there. Two processes starting at once get the
    same.
    """
    path = settings.data_path / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make(path)
        key = path.read_bytes().strip()
        Fernet(key)
    except OSError as error:
        raise ConfigError(
            f"The key file {path} cannot be used: {error.strerror}. Check data_dir and its owner."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"The key file {path} holds no key. Restore it from your backup: secrets depend on it."
        ) from error
    return key


def _make(path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as draft:  # for its owner's eyes only
        draft.write(Fernet.generate_key())
        draft.flush()
        with suppress(FileExistsError):  # somebody was faster: then theirs is the key
            os.link(draft.name, path)


def seal(cipher: Fernet, value: Json) -> Json:
    """The value as it may rest in a tree."""
    return {SECRET: cipher.encrypt(orjson.dumps(value)).decode()}


def seal_text(cipher: Fernet, text: str) -> str:
    """A text as it may rest in a column of a barclamp's own."""
    return cipher.encrypt(text.encode()).decode()


def unseal_text(cipher: Fernet, sealed: str) -> str:
    """What ``seal_text`` was given. Raises ``ConfigError`` when it was sealed with another key, or is no seal."""
    try:
        return cipher.decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise ConfigError(
            "A secret was sealed with another key than secret.key. Restore that file, or set it again."
        ) from error


def keep_seals(cipher: Fernet, old: Json, new: Json) -> Json:
    """``new``, with the old seal where the secret under it is the same: sealing anew changes the text, and what has not
    changed must not send anybody back to work.
    """
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    if SECRET in new:
        try:
            return old if SECRET in old and open_secrets(cipher, old) == open_secrets(cipher, new) else new
        except ConfigError:  # the old one was sealed with another key: setting it again is the way out
            return new
    return {key: keep_seals(cipher, old.get(key), value) for key, value in new.items()}


def open_secrets(cipher: Fernet, tree: Json) -> Json:
    """The tree with its secrets in the clear: for a jig, or for somebody with the right to see them."""

    def unseal(text: str) -> Json:
        try:
            return orjson.loads(cipher.decrypt(text.encode()))
        except InvalidToken as error:
            raise ConfigError(
                "A secret was sealed with another key than secret.key. Restore that file, or set it again."
            ) from error

    return map_secrets(tree, unseal)
