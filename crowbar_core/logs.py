"""How the processes of a server log: one line a decision, for people or as JSON, on standard error.

Barclamps log with the standard library, and are heard from the same level on, in the same form, as the core's own.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points
from typing import Any

import structlog

from crowbar_core.brought import BARCLAMPS, COMMANDS, HAMMERS, JIGS
from crowbar_core.settings import Settings

log = structlog.get_logger("crowbar")


class _StandardError(logging.Handler):
    """Writes to whatever standard error is at the time: what ``packages`` say from ``own`` on, and others from
    ``others`` on, whatever levels these give their loggers.
    """

    packages: frozenset[str] = frozenset()
    own = others = logging.WARNING

    def filter(self, record: logging.LogRecord) -> bool:
        least = self.own if record.name.partition(".")[0] in self.packages else self.others
        return record.levelno >= least

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
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), _unformatted],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    _handler.packages = _packages()
    _handler.own, _handler.others = level, max(level, logging.WARNING)  # libraries tell of all they do
    logging.root.addHandler(_handler)
    logging.root.setLevel(_handler.others)
    for package in _handler.packages:
        logging.getLogger(package).setLevel(level)


def _unformatted(_logger: Any, _method: str, said: Any) -> Any:
    """Without what another handler's formatter has left at the record."""
    for name in ("message", "asctime"):
        said.pop(name, None)
    return said


def _packages() -> frozenset[str]:
    """``crowbar``, and the packages that bring barclamps, jigs, hammers and commands; none is imported for that."""
    found, groups = entry_points(), (BARCLAMPS, JIGS, HAMMERS, COMMANDS)
    return frozenset({"crowbar", *(e.module.partition(".")[0] for group in groups for e in found.select(group=group))})
