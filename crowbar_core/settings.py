"""Every setting, its default and its help, in one typed place: TOML file < environment < flags."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from crowbar_core.errors import ConfigError

Network = IPv4Network | IPv6Network
Tables = Mapping[str, Mapping[str, Any]]


def _setting(default: Any, help_: str) -> Any:
    return field(default=default, metadata={"help": help_})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings. Seconds are floats; paths are absolute or relative to the working directory."""

    data_dir: str = _setting("~/.local/share/crowbar", "Where the embedded database and the secret key live.")
    database_url: str = _setting(
        "", "SQLAlchemy URL. Empty: SQLite in data_dir. For PostgreSQL: postgresql+psycopg2://user:password@host/name."
    )
    database_lock_seconds: float = _setting(
        8.0, "Seconds a change waits for whoever else changes the cluster, before it is answered with 503. 0: for ever."
    )
    database_statement_seconds: float = _setting(
        30.0, "Seconds one statement may take on PostgreSQL (migrations: as long as they need). 0: for ever."
    )
    database_idle_seconds: float = _setting(
        15.0,
        "Seconds after which PostgreSQL ends a transaction whose process says nothing (it is stopped, or cut off), "
        "so that others can go on. 0: never.",
    )
    queue: str = _setting(
        "threads", "How run ids reach workers: threads (in the annealer's process) or celery (needs redis_url)."
    )
    redis_url: str = _setting("redis://127.0.0.1:6379/0", "The Redis that the celery queue uses.")
    listen: str = _setting(
        "127.0.0.1:3000", "Where the API and the pages listen: HOST:PORT, or fd://N for an inherited socket."
    )
    concurrency: int = _setting(20, "How many runs one worker process carries out at a time.")
    trusted_proxies: tuple[str, ...] = _setting(
        ("127.0.0.1", "::1"),
        "Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
    )
    http_threads: int = _setting(64, "Threads that answer HTTP requests, per process.")
    lease_seconds: float = _setting(60.0, "How long a running run is held without a sign of life before it is lost.")
    heartbeat_seconds: float = _setting(10.0, "How often a worker renews the leases of its runs.")
    cancel_poll_seconds: float = _setting(1.0, "How often a worker asks whether its runs are to be cancelled.")
    leader_seconds: float = _setting(15.0, "How long the sweeping process keeps its lease without renewing it.")
    sweep_seconds: float = _setting(5.0, "How often the sweeper looks for what was left lying.")
    ring_seconds: float = _setting(20.0, "After how long a queued run is handed to the queue again.")
    probe_seconds: float = _setting(60.0, "How often every available node is probed. 0: never.")
    probe_grace: int = _setting(2, "After how many failed periodic probes in a row a node is taken for dead.")
    admin_ranges: tuple[str, ...] = _setting(
        (),
        "Ranges, as 192.168.124.0/24, in which an address counts that only a node itself reports. None: none counts.",
    )
    run_timeout: float = _setting(600.0, "Seconds a run may take when its role does not say.")
    kill_grace: float = _setting(
        15.0, "Seconds a jig gets to end a run after its timeout or its cancellation before it is given up."
    )
    hook_seconds: float = _setting(10.0, "Seconds a plugin's hook may take after a commit before it counts as overrun.")
    hook_attempts: int = _setting(5, "How often a failing hook is tried before it is shown as failed.")
    log_lines: int = _setting(20_000, "How many lines of log are kept for one run.")
    log_bytes: int = _setting(4_000_000, "How many bytes of log are kept for one run.")
    keep_runs_days: float = _setting(90.0, "How long finished runs and delivered events are kept.")
    session_hours: float = _setting(12.0, "How long a log-in in the browser lasts.")
    cookie_secure: bool = _setting(False, "Send the session cookie over HTTPS only.")
    safe_mode: bool = _setting(False, "Start without any barclamp.")
    disabled_barclamps: tuple[str, ...] = _setting((), "Entry-point names of barclamps that are not loaded.")
    disabled_services: tuple[str, ...] = _setting(
        (), "Services of barclamps that crowbar serve does not start; crowbar service NAME carries them out elsewhere."
    )
    log_format: str = _setting("console", "console or json.")
    log_level: str = _setting("info", "debug, info, warning or error.")
    plugins: Tables = field(
        default_factory=dict, metadata={"help": "Tables [plugins.NAME], handed to the barclamp NAME and its jigs."}
    )

    @cached_property
    def origins(self) -> Mapping[str, str]:
        """Where the settings that are not defaults come from; filled by ``load_settings``."""
        return {}

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser()

    @cached_property
    def admin_networks(self) -> tuple[Network, ...]:
        """``admin_ranges``, parsed."""
        return tuple(ip_network(text) for text in self.admin_ranges)

    @property
    def url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_path.resolve()}/crowbar.sqlite"


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the TOML file (``path``, else ``CROWBAR_CONFIG``, else none), then ``CROWBAR_<NAME>``, then ``overrides``
    (None is not said).

    A plugin's setting comes from the environment as ``CROWBAR_PLUGINS__<NAME>__<KEY>``.
    Raises ``ConfigError`` for an unreadable file, an unknown name or a value of the wrong type.
    """
    environ = os.environ if environ is None else environ
    chosen = path or (Path(environ["CROWBAR_CONFIG"]) if environ.get("CROWBAR_CONFIG") else None)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if chosen is not None:
        try:
            values.update(tomllib.loads(chosen.read_text()))
        except OSError as error:
            raise ConfigError(f"The settings file {chosen} cannot be read: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"The settings file {chosen} is not TOML: {error}.") from error
    plugins = {name: dict(table) for name, table in _tables(values.pop("plugins", {}))}
    known = {item.name: item for item in fields(Settings) if item.name != "plugins"}
    origins.update((name, str(chosen)) for name in values)
    for name, item in known.items():
        if (raw := environ.get(f"CROWBAR_{name.upper()}")) is not None:
            values[name] = _parse(name, raw, item.default)
            origins[name] = f"CROWBAR_{name.upper()}"
    for key, raw in environ.items():
        if key.startswith("CROWBAR_PLUGINS__"):
            _, plugin, _, setting = (key.partition("__")[0], *key.partition("__")[2].partition("__"))
            plugins.setdefault(plugin.lower().replace("_", "-"), {})[setting.lower()] = raw
    said = {name: value for name, value in overrides.items() if value is not None}
    values.update(said)
    origins.update(dict.fromkeys(said, "command line"))
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"There is no setting {name!r}. The settings are: {', '.join(sorted(known))}.")
        values[name] = _check(name, value, known[name].default)
    made = Settings(**values, plugins=plugins)
    vars(made)["origins"] = origins
    return made


def describe(settings: Settings) -> list[dict[str, Any]]:
    """Each setting of the core with its value, default, origin and help; passwords in addresses are masked."""
    return [
        {
            "barclamp": "",
            "name": item.name,
            "value": _shown(getattr(settings, item.name)),
            "default": _shown(item.default),
            "origin": settings.origins.get(item.name, "default"),
            "variable": f"CROWBAR_{item.name.upper()}",
            "help": item.metadata["help"],
        }
        for item in fields(Settings)
        if item.name != "plugins"
    ]


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return re.sub(r"(://[^:/@]*:)[^@/]*@", r"\1***@", value) if isinstance(value, str) else value


def _tables(value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(table, dict) for table in value.values()):
        raise ConfigError("The setting 'plugins' must hold tables: [plugins.NAME].")
    return list(value.items())


def _parse(name: str, raw: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[raw.lower()]
        if isinstance(default, tuple):
            return tuple(part.strip() for part in raw.split(",") if part.strip())
        return type(default)(raw)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"CROWBAR_{name.upper()} is {raw!r}, which is no {type(default).__name__}.") from error


def _check(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(_range(str(item)) if name == "admin_ranges" else str(item) for item in value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise ConfigError(f"The setting {name!r} is {value!r}, which is no {type(default).__name__}.")
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        raise ConfigError(f"The setting {name!r} is {value}, but cannot be negative.")
    if name in ("concurrency", "http_threads") and value < 1:
        raise ConfigError(f"The setting {name!r} is {value}, but must be at least 1.")
    return value


def _range(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ConfigError(
            f"The setting 'admin_ranges' holds {text!r}, which is no range of addresses: {error}."
        ) from None
