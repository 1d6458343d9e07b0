"""The lines of a run on their way to the database: masked, and never more than the settings allow."""

from __future__ import annotations

from crowbar_core.services.run_logs import RunLogBuffer

CUT = "(the log is cut off here: it has reached its limit)"


def buffer(*, lines: int = 100, size: int = 10_000, secrets: tuple[str, ...] = ()) -> RunLogBuffer:
    return RunLogBuffer(7, lines, size, secrets=secrets)


def text(log: RunLogBuffer) -> list[str]:
    return [row["line"] for row in log.lines]


def test_a_log_ends_with_a_note_at_its_greatest_number_of_lines() -> None:
    log = buffer(lines=3)
    for number in range(10):
        log(f"line {number}")
    assert text(log) == ["line 0", "line 1", CUT]
    assert [row["seq"] for row in log.lines] == [1, 2, 3]


def test_a_log_ends_with_a_note_at_its_greatest_size() -> None:
    log = buffer(size=10)
    for _ in range(10):
        log("é" * 2)
    assert text(log) == ["éé", "éé", CUT], "counted in bytes, not in characters"


def test_what_was_taken_counts_too() -> None:
    log = buffer(lines=3)
    log("one")
    assert len(log.take()) == 1
    log("two")
    log("three")
    assert text(log) == ["two", CUT]


def test_a_secret_is_masked_wherever_it_stands_in_a_line() -> None:
    log = buffer(secrets=("correct horse", "battery"))
    log("-p correct horse --key=battery; correct horses")
    assert text(log) == ["-p *** --key=***; ***s"]


def test_what_the_database_cannot_hold_is_replaced() -> None:
    log = buffer()
    log("a\x00b\udcff\r\n")
    assert text(log) == ["a\ufffdb?"]
