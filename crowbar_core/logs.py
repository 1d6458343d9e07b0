"""How the processes of a server log: one line a decision, for people or as JSON, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from crowbar_core.settings import Settings

log = structlog.get_logger("crowbar")


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
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
