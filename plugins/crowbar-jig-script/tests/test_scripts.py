"""The scripts of a role in their package, and when they are read again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from crowbar_jig_script import scripts
from crowbar_jig_script.scripts import find_scripts
from crowbar_jig_script.stream import MUCH, Patient, Wake


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / f"barclamp_{os.urandom(4).hex()}"
    (made / "scripts" / "r").mkdir(parents=True)
    (made / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return made


def texts(package: Path) -> list[str]:
    return [one.text for one in find_scripts(package.name, "r")]


def changed_at(monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    """All files say that they were last changed then, and nothing else that would tell one state from another."""

    @contextmanager
    def entries(folder: Path) -> Iterator[list[Any]]:
        its = SimpleNamespace(st_ino=1, st_size=1, st_mtime_ns=1, st_ctime_ns=round(moment * 1e9), st_ctime=moment)
        yield [SimpleNamespace(name=name, stat=lambda: its) for name in sorted(os.listdir(folder))]

    monkeypatch.setattr(scripts.os, "scandir", entries)


def test_an_edited_a_new_and_a_removed_script_count_at_once(package: Path) -> None:
    folder = package / "scripts" / "r"
    for text in ("echo 1\n", "echo 2\n", "echo 3\n"):
        (folder / "b.sh").write_text(text)
        assert texts(package) == [text]
    (folder / "a.sh").write_text("echo a\n")
    assert texts(package) == ["echo a\n", "echo 3\n"]
    (folder / "b.sh").unlink()
    assert texts(package) == ["echo a\n"]


def test_scripts_that_are_as_they_were_are_not_read_again(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = package / "scripts" / "r" / "a.sh"
    script.write_text("echo 1\n")
    changed_at(monkeypatch, time.time() - 3600)
    assert texts(package) == ["echo 1\n"]
    script.write_text("echo 2\n")
    assert texts(package) == ["echo 1\n"]
    changed_at(monkeypatch, time.time() - 1800)
    assert texts(package) == ["echo 2\n"]


def test_what_was_edited_a_moment_ago_is_read_again_whatever_its_times_say(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = package / "scripts" / "r" / "a.sh"
    monkeypatch.setattr(scripts, "_SETTLED", 1000.0)
    changed_at(monkeypatch, time.time())
    for text in ("echo 1\n", "echo 2\n"):
        script.write_text(text)
        assert texts(package) == [text]


def test_output_wakes_a_reader_only_when_there_is_much_of_it_when_it_ends_or_when_it_is_in_a_hurry() -> None:
    def pipe() -> tuple[paramiko.Channel, Wake, Patient]:
        channel, wake = paramiko.Channel(1), Wake()
        patient = Patient(wake, channel)
        channel.in_buffer.set_event(patient)
        return channel, wake, patient

    channel, wake, _ = pipe()
    channel.in_buffer.feed(b"a line\n")
    assert not wake.is_set()
    channel.in_buffer.feed(b"x" * MUCH)
    channel.in_buffer.feed(b"more")
    assert wake.is_set()

    channel, wake, _ = pipe()
    channel.in_buffer.close()
    assert wake.is_set()

    channel, wake, patient = pipe()
    channel.in_buffer.feed(b"a line\n")
    patient.hurry()
    assert wake.is_set(), "what has come before is waited for no longer"
    wake.reset()
    channel.in_buffer.feed(b"another\n")
    assert wake.is_set()
