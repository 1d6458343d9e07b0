"""What all tests share: real databases and brokers, a clean environment, and no test that passes by not running."""

import logging
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import structlog

from tests.services import PostgresServer, RedisServer

RERUN_AT_MOST = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", choices=("few", "full"), default="few", help="how many faults tests/acceptance makes")
    parser.addoption("--walks", choices=("few", "full"), default="few", help="how far the random walks go")
    parser.addoption("--chaos-seed", type=int, default=0, help="what decides where the faults strike; 0: chance")


def pytest_configure() -> None:
    # Before anything is collected: what the developer has exported must not decide what the tests see.
    for name in [name for name in os.environ if name.startswith("CROWBAR_")]:
        del os.environ[name]
    # Nor may the shell that started them: in the background it has Ctrl-C ignored, and every child inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, what shares namespaces or a browser stays on one of them, unless it names a group of its
    own; long tests go first.
    """
    for item in items:
        for name in ("lab", "browser", "celery"):
            if item.get_closest_marker(name) and not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in ("lab", "slow")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failure: everything that the tests need is installed there, so a skip hides a fault."""
    report = yield
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not accept: {reason}"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where a test that fails is run once more (``--reruns``), more than a handful of such tests is a failure."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal and len(terminal.stats.get("rerun", ())) > RERUN_AT_MOST:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What went wrong in tests that were run once more is told in full, whatever came of them then."""
    again = terminalreporter.stats.get("rerun", [])
    for report in again:
        terminalreporter.section(f"run once more: {report.nodeid}", "_")
        terminalreporter.write_line(report.longreprtext)
    if len(again) > RERUN_AT_MOST:
        terminalreporter.write_line(
            f"{len(again)} tests were run once more, and at most {RERUN_AT_MOST} may be: a failure"
        )


@pytest.fixture(scope="session")
def postgres_server(crowbar_postgres: PostgresServer) -> PostgresServer:
    """One PostgreSQL for all tests of this process. A test that stops one starts its own instead."""
    return crowbar_postgres


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for all tests of this process; flush it first. A test that stops one starts its own instead."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/crowbar.db"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, once as SQLite file and once in PostgreSQL: whoever asks for it is tested on both."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """What a command sets up of logging in the tests' own process ends with its test."""
    handlers, levels = list(logging.root.handlers), _levels()
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    for name, level in _levels().items():
        if level != (before := levels.get(name, logging.NOTSET)):
            logging.getLogger(name).setLevel(before)


def _levels() -> dict[str | None, int]:
    known = logging.root.manager.loggerDict
    found: dict[str | None, int] = {None: logging.root.level}
    found.update((name, one.level) for name, one in known.items() if isinstance(one, logging.Logger))
    return found
