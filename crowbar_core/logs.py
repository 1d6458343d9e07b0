"""How the processes of a server log: one line a decision, for people or as JSON, on standard error.

Barclamps log with the standard library, and are heard from the same level on, in the same form, as the core's own.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points
from typing import Any

import structlog

from crowbar_core.settings import Settings

log = structlog.get_logger("crowbar")
GROUPS = ("crowbar.barclamps", "crowbar.jigs", "crowbar.hammers", "crowbar.commands")


class _StandardError(logging.Handler):
    """Writes to whatever standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001  a line that cannot be written ends nothing
            self.handleError(record)


_handler = _StandardError()


def configure(settings: Settings) -> None:
    """Set up structlog and the standard library's logging alike. Tracebacks carry no local variables: those may be
    secrets.
    """
    level = getattr(logging, settings.log_level.upper(), logging.INFO)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        rendering: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        rendering = [plain]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    _handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.root.addHandler(_handler)
    logging.root.setLevel(max(level, logging.WARNING))  # libraries tell of all they do
    for package in ("crowbar", *_packages()):
        logging.getLogger(package).setLevel(level)


def _packages() -> set[str]:
    """The packages that bring barclamps, jigs, hammers and commands, none of which is imported for that."""
    found = entry_points()
    return {entry.module.partition(".")[0] for group in GROUPS for entry in found.select(group=group)}
