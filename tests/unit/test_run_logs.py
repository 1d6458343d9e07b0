"""The lines of a run on their way to the database: masked, and never more than the settings allow."""

from __future__ import annotations

import json

import pytest

from crowbar_core import Json
from crowbar_core.domain.attributes import MASK, SECRET
from crowbar_core.services.engine.run_logs import RunLogBuffer, secret_texts

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


PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n  9w0BAQEFAASCBKcwggSj\nxyz\n-----END KEY-----\n"


def secrets_of(value: Json) -> tuple[str, ...]:
    return tuple(sorted(secret_texts({"a": {SECRET: "sealed"}}, {"a": value}), key=len, reverse=True))


@pytest.mark.parametrize(
    "line",
    [
        "+ key=MIIEvQIBADANBgkqhkiG",
        "9w0BAQEFAASCBKcwggSj",
        "-----BEGIN KEY-----",
        "the whole: -----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n  9w0BAQEFAASCBKcwggSj\nxyz\n-----END KEY-----\n",
        f"as JSON: {json.dumps(PEM)}",
        f"as Python: {PEM!r}",
    ],
)
def test_a_secret_of_several_lines_is_masked_line_by_line(line: str) -> None:
    log = buffer(secrets=secrets_of(PEM))
    log(line)
    (said,) = text(log)
    assert MASK in said
    for part in ("MIIEv", "9w0BA", "BEGIN KEY"):
        assert part not in said


@pytest.mark.parametrize(
    "value, line",
    [
        ('pa"ss\\word', 'sent {"key": "pa\\"ss\\\\word"}'),
        ("pa'ss word", "+ login 'pa'\"'\"'ss word'"),
        ("pässwörd", 'sent {"key": "p\\u00e4ssw\\u00f6rd"}'),
        (271828, "the pin is 271828"),
        ({"deep": ["hidden-one"]}, "found hidden-one"),
    ],
)
def test_a_secret_is_masked_as_json_a_shell_or_a_number_too(value: Json, line: str) -> None:
    log = buffer(secrets=secrets_of(value))
    log(line)
    (said,) = text(log)
    assert MASK in said
    for part in ("word", "hidden", "271828", "00e4"):
        assert part not in said


def test_what_is_too_short_to_be_found_is_not_looked_for() -> None:
    found = secrets_of({"a": "abc", "b": 12, "c": True, "d": None, "e": "long\nab\n"})
    assert {"long", "long\nab"} <= set(found)
    assert not {"abc", "ab", "12", "True", "None", ""} & set(found)
