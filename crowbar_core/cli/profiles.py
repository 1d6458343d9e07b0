"""Which server, and who asks: flags, then the environment, then a profile in ~/.config/crowbar/config.toml."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from crowbar_core.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:3000"
_KEYS = ("url", "token", "user", "password", "ca_file", "insecure")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to send requests and as whom. Without a token and a user the requests are anonymous."""

    url: str
    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    verify: bool | str = True
    profile: str = "default"
    direct: bool = False
    """No proxy of the environment is asked."""


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the profiles are: $CROWBAR_CLI_CONFIG, else crowbar/config.toml below $XDG_CONFIG_HOME or ~/.config."""
    if chosen := environ.get("CROWBAR_CLI_CONFIG"):
        return Path(chosen)
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "~", ".config")
    return Path(base).expanduser() / "crowbar" / "config.toml"


def read_config(path: Path) -> dict[str, Any]:
    """The whole file as a tree; empty when there is none. Raises ``ConfigError``."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} is not TOML: {error}.") from error
    profiles = tree.setdefault("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(entry, dict) for entry in profiles.values()):
        raise ConfigError(f"In the configuration {path}, 'profiles' must hold tables: [profiles.NAME].")
    for name, entry in profiles.items():
        for key, value in entry.items():
            if key not in _KEYS:
                raise ConfigError(
                    f"In the configuration {path}, profile {name!r} has {key!r}; it may have {', '.join(_KEYS)}."
                )
            if type(value) is not (bool if key == "insecure" else str):
                raise ConfigError(f"In the configuration {path}, {key!r} of profile {name!r} has the wrong type.")
    if not isinstance(tree.get("profile", ""), str):
        raise ConfigError(f"In the configuration {path}, 'profile' must name a profile.")
    return tree


def profile_name(flags: Mapping[str, Any], environ: Mapping[str, str], tree: Mapping[str, Any]) -> str:
    return str(flags.get("profile") or environ.get("CROWBAR_PROFILE") or tree.get("profile") or "default")


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Target:
    """Put flags, environment and profile together. Raises ``ConfigError``, and ``UsageError`` for a file that is none.

    Who asks is decided by the first of the three that names a token or a user. A profile's credentials are sent only to
    the profile's own server: naming another one with ``--url`` must not hand them to it.
    """
    path = config_path(environ)
    tree = read_config(path)
    name = profile_name(flags, environ, tree)
    profile: Mapping[str, Any] = tree.get("profiles", {}).get(name, {})
    asked = flags.get("profile") or environ.get("CROWBAR_PROFILE")
    if asked and not profile:
        raise ConfigError(f"There is no profile {asked!r} in {path}. Make it with `crowbar login --profile {asked}`.")
    home = str(profile.get("url") or DEFAULT_URL).rstrip("/")
    url = str(flags.get("url") or environ.get("CROWBAR_URL") or home).rstrip("/")
    if not re.match(r"https?://[^/\s@]+(/\S*)?$", url):
        raise ConfigError(f"The server's address {url!r} is no URL like {DEFAULT_URL} (a user goes into --user).")
    levels: list[Mapping[str, Any]] = [
        {key: flags.get(key) or "" for key in ("token", "user", "password")},
        {key: environ.get(f"CROWBAR_{key.upper()}", "") for key in ("token", "user", "password")},
    ]
    if url == home:
        levels.append(profile)
    token = user = password = ""
    for index, level in enumerate(levels):
        if level.get("token") or level.get("user"):
            token = str(level.get("token") or "")
            user = "" if token else str(level["user"])
            if user:
                password = next((str(lower["password"]) for lower in levels[index:] if lower.get("password")), "")
            break
    if not token and user and levels[0]["password"]:
        password = str(levels[0]["password"])
    insecure = flags.get("insecure") or (url == home and profile.get("insecure"))
    ca_file = "" if insecure else _authorities(flags, environ, profile if url == home else {}, name)
    return Target(
        url=url,
        token=token,
        user=user,
        password=password,
        profile=name,
        verify=False if insecure else (ca_file or True),
    )


def _authorities(flags: Mapping[str, Any], environ: Mapping[str, str], profile: Mapping[str, Any], name: str) -> str:
    """The file of authorities to trust, if one is named: whether the server's address needs it or not, it is there."""
    named = {
        "--ca-file": flags.get("ca_file"),
        "CROWBAR_CA_FILE": environ.get("CROWBAR_CA_FILE"),
        f"ca_file of profile {name}": profile.get("ca_file"),
    }
    said, path = next(((said, str(path)) for said, path in named.items() if path), ("", ""))
    if path and (not os.path.exists(path) or os.path.isdir(path)):
        raise click.UsageError(f"{said} names {path}, which is no file: name one with the authorities to trust.")
    return path


def save_profile(path: Path, name: str, entry: Mapping[str, Any], *, if_free: bool = False) -> bool:
    """Write one profile, keep the others; the file is its owner's alone and always whole. Raises ``ConfigError``.

    With ``if_free`` it becomes the current one where no other is. Returns whether it is the one that `crowbar` uses.
    """
    tree = read_config(path)
    profiles = tree.setdefault("profiles", {})
    profiles[name] = dict(entry)
    if if_free and profile_name({}, {}, tree) not in profiles:
        tree["profile"] = name
    _write(path, tree)
    return profile_name({}, {}, tree) == name


def forget_profile(path: Path, name: str, *, url: str) -> bool:
    """Take away the profile of this name if it leads to ``url``; False when there is none. Raises ``ConfigError``."""
    tree = read_config(path)
    if tree.get("profiles", {}).get(name, {}).get("url") != url:
        return False
    del tree["profiles"][name]
    if tree.get("profile") == name:
        del tree["profile"]
    _write(path, tree)
    return True


def _write(path: Path, tree: Mapping[str, Any]) -> None:
    lines = [f"{key} = {_toml(value)}" for key, value in tree.items() if isinstance(value, str | bool)]
    for profile, values in sorted(tree["profiles"].items()):
        lines += [
            "",
            f"[profiles.{_toml(profile)}]",
            *(f"{key} = {_toml(value)}" for key, value in values.items() if value),
        ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes it 0600 before a byte of the token is in it.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write("\n".join(lines).lstrip("\n") + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be written: {error.strerror}.") from error


def _toml(value: str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda hit: f"\\u{ord(hit[0]):04x}", escaped) + '"'
