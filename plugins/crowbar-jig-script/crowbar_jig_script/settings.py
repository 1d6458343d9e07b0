"""The settings of the script jig: the table ``[plugins.jig-script]`` and the environment, checked once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from crowbar_core import ConfigError, Json

ENVIRONMENT = "CROWBAR_JIG_SCRIPT_"


@dataclass(frozen=True, kw_only=True)
class Settings:
    key_file: str = ""
    """The private key with which nodes let root in. Empty: ``~/.ssh/id_ed25519``, else ``~/.ssh/id_rsa``."""
    port: int = 22
    """Where the nodes' sshd listens."""
    connect_timeout: float = 5.0
    """Seconds for each step of a login, and for an answer on a kept connection."""
    ping: bool = True
    """Whether a node must answer ICMP echo to be alive. Off only where a firewall drops it."""
    ping_timeout: float = 1.0
    """Seconds to wait for the answer to each of two pings."""
    kill_grace: float = 10.0
    """Seconds between TERM and KILL when a script is ended."""
    idle_close: float = 300.0
    """A connection that carried no run for so many seconds is closed."""
    keep_at_most: int = 500
    """Connections kept between runs; the longest unused is closed first."""
    lost_after: float = 15.0
    """Seconds without an answer after which a connection in use is given up."""
    retry_delay: float = 10.0
    """Seconds until a script that exited with 75 is tried again."""
    max_payload: int = 8 << 20
    """Bytes of scripts and data pushed for one role."""
    max_report: int = 1 << 20
    """Bytes that the scripts of a role may report with write_attribute."""

    def key_path(self) -> Path:
        if self.key_file:
            return Path(self.key_file).expanduser()
        ssh = Path("~/.ssh").expanduser()
        ed25519 = ssh / "id_ed25519"
        return ed25519 if ed25519.exists() or not (ssh / "id_rsa").exists() else ssh / "id_rsa"


def read_settings(config: Mapping[str, Json], environment: Mapping[str, str] = os.environ) -> Settings:
    """The environment goes over the table; what is in neither has its default."""
    known = {field.name: type(field.default) for field in fields(Settings)}
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ConfigError(f"[plugins.jig-script] has no setting {unknown[0]!r}; there are: {', '.join(sorted(known))}.")
    values: dict[str, Json] = {}
    for name, kind in known.items():
        from_environment = environment.get(ENVIRONMENT + name.upper())
        if from_environment is not None:
            values[name] = _parse(ENVIRONMENT + name.upper(), kind, from_environment)
        elif name in config:
            where, value = f"[plugins.jig-script] {name}", config[name]
            # CROWBAR_PLUGINS__JIG_SCRIPT__<NAME> arrives here as text.
            values[name] = _parse(where, kind, value) if isinstance(value, str) else _check(where, kind, value)
    return Settings(**values)


def _parse(where: str, kind: type, text: str) -> Json:
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigError(f"{where} must be true or false, not {text!r}.")
        return text.lower() in ("true", "1")
    try:
        return _check(where, kind, kind(text))
    except ValueError:
        raise ConfigError(f"{where} must be a number, not {text!r}.") from None


def _check(where: str, kind: type, value: Json) -> Json:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be of type {kind.__name__}, not {value!r}.")
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < float("inf"):
        raise ConfigError(f"{where} must be more than 0, not {value!r}.")
    return value
