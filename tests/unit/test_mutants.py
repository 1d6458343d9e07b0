"""The planter of faults: its list is alive, it leaves the checkout alone, and it tells what it found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.__main__ import sum_up
from tests.mutants.faults import BadList, Edit, Fault, choose, read_faults
from tests.mutants.planter import (
    ROOT,
    Copy,
    Fate,
    Findings,
    Result,
    digest_of,
    failing_without_fault,
    plant,
)


def test_every_fault_of_the_list_can_be_planted() -> None:
    stale = {fault.name: reason for fault in read_faults() if (reason := fault.stale(ROOT)) is not None}
    assert not stale, "these faults in tests/mutants/lists no longer fit the code; give them the text that it has now"


def test_there_is_a_fault_for_all_that_matters() -> None:
    assert len(read_faults()) >= 100


# ---------------------------------------------------------------- in a checkout of its own

ADDS = Edit(file="crowbar_core/sums.py", before="a + b", after="a - b")
TEST = "tests/test_sums.py"


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A very small checkout."""
    for name, text in {
        "crowbar_core/__init__.py": '"""Sums."""\n',
        "crowbar_core/sums.py": "def add(a, b):\n    return a + b\n\n\ndef idle():\n    return 1\n",
        "crowbar_core/testing_pytest.py": '"""Named by the installed plugin of pytest."""\n',
        "tests/__init__.py": '"""Tests."""\n',
        TEST: "from crowbar_core.sums import add\n\n\ndef test_sums() -> None:\n    assert add(1, 2) == 3\n",
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = ['--import-mode=importlib']\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    made = Copy(tmp_path)
    made.check()
    return made


def fault(*edits: Edit, tests: tuple[str, ...] = (f"{TEST}::test_sums",)) -> Fault:
    return Fault(name="it", edits=edits or (ADDS,), tests=tests)


def planted(copy: Copy, wrong: Fault) -> Result:
    return plant(copy, wrong, seconds=60, whole=False)


def test_a_fault_that_a_test_notices_is_noticed_by_name_and_taken_out_again(copy: Copy) -> None:
    before = (copy.root / ADDS.file).read_text()
    found = planted(copy, fault())
    assert (found.fate, found.by) == ("noticed", f"{TEST}::test_sums")
    assert (copy.root / ADDS.file).read_text() == before


def test_a_fault_that_no_test_notices_is_told(copy: Copy) -> None:
    found = planted(copy, fault(Edit(file=ADDS.file, before="return 1", after="return 2")))
    assert (found.fate, found.by) == ("not noticed", "")


def test_a_fault_that_hangs_is_noticed(copy: Copy) -> None:
    hang = Edit(file=ADDS.file, before="return a + b", after="import time; time.sleep(600)")
    found = plant(copy, fault(hang), seconds=5, whole=False)
    assert (found.fate, found.by) == ("noticed", "time-out")


def test_several_edits_are_one_fault(copy: Copy) -> None:
    undone = fault(ADDS, Edit(file=TEST, before="== 3", after="== -1"))
    assert planted(copy, undone).fate == "not noticed"


@pytest.mark.parametrize(
    "wrong, says",
    [
        (fault(Edit(file="crowbar_core/none.py", before="a", after="b")), "none.py is not there"),
        (fault(Edit(file=ADDS.file, before="a * b", after="b")), "stands 0 times"),
        (fault(Edit(file=ADDS.file, before="return", after="yield")), "stands 2 times"),
        (fault(Edit(file=ADDS.file, before="a + b", after="a +")), "is no Python"),
        (fault(tests=("tests/none.py",)), "none.py is not there"),
        (fault(tests=(f"{TEST}::test_none",)), "has no test test_none"),
    ],
    ids=["file", "gone", "twice", "syntax", "test-file", "test"],
)
def test_a_fault_that_does_not_fit_the_code_is_stale_and_says_why(copy: Copy, wrong: Fault, says: str) -> None:
    found = planted(copy, wrong)
    assert found.fate == "stale"
    assert says in found.by


def test_a_fault_that_only_breaks_the_tests_themselves_is_no_success(copy: Copy) -> None:
    found = planted(copy, fault(Edit(file=ADDS.file, before="def add", after="def plus")))
    assert found.fate == "broken"


def test_a_test_that_fails_without_any_fault_is_found_out(copy: Copy) -> None:
    (copy.root / TEST).write_text((copy.root / TEST).read_text() + "\n\ndef test_never() -> None:\n    assert False\n")
    never, sums = f"{TEST}::test_never", f"{TEST}::test_sums"
    noticed = [Result(name=by, fate="noticed", by=by, seconds=1.0) for by in (never, sums, "time-out")]
    assert failing_without_fault(copy, noticed, seconds=60) == {never}
    assert failing_without_fault(copy, noticed[1:], seconds=60) == set()


def test_what_was_found_is_known_until_what_decided_it_changes(copy: Copy, tmp_path: Path) -> None:
    digest = digest_of(copy.root, fault())
    findings = Findings.read(tmp_path / "found.json")
    findings.keep(Result(name="it", fate="noticed", by="x", seconds=1.0, digest=digest))
    again = Findings.read(tmp_path / "found.json")
    assert again.still_true("it", digest)
    (copy.root / "crowbar_core/other.py").write_text('"""Somebody else\'s."""\n')
    assert digest_of(copy.root, fault()) == digest
    for name in (ADDS.file, TEST):
        (copy.root / name).write_text((copy.root / name).read_text() + "# changed\n")
        assert not again.still_true("it", digest_of(copy.root, fault()))
    assert digest_of(copy.root, fault(ADDS, ADDS)) != digest_of(copy.root, fault())


# ---------------------------------------------------------------- the list, and the command


@pytest.mark.parametrize(
    "text, says",
    [
        ("[x]\nfile='a'\nbefore='b'\nafter='c'", "needs file, before, after and tests"),
        ("[x]\nfile='a'\nbefore='b'\nafter='b'\ntests=['t']", "changes nothing"),
        ("[x]\nfile='a'\nbefore=' '\nafter='b'\ntests=['t']", "changes nothing"),
        ("[x]\nfile='a'\nbefore='b'\nafter='c'\ntests=[]", "names no tests"),
        ("[x]\nfile='a'\nbefore='b'\nafter='c'\ntests=['t']\nalso=[{before='d'}]", "has an edit"),
        ("[x", "is no TOML"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(BadList, match=says):
        read_faults(tmp_path)


def test_faults_are_chosen_by_parts_of_their_names_and_files() -> None:
    all_ = [Fault(name=name, edits=(ADDS,), tests=()) for name in ("lease-a", "lease-b", "probe")]
    assert [one.name for one in choose(all_, ["lease"])] == ["lease-a", "lease-b"]
    assert [one.name for one in choose(all_, ["l*b", "probe"])] == ["lease-b", "probe"]
    assert choose(all_, ["sums"]) == all_
    with pytest.raises(BadList, match="no fault like 'nothing'"):
        choose(all_, ["nothing"])


@pytest.mark.parametrize(
    "noticed,missed,stale,code",
    [(100, 0, 0, 0), (95, 5, 0, 0), (94, 6, 0, 1), (100, 0, 1, 1), (0, 0, 0, 1)],
)
def test_fewer_than_95_percent_or_a_stale_entry_is_a_failure_that_names_them(
    capsys: pytest.CaptureFixture[str], noticed: int, missed: int, stale: int, code: int
) -> None:
    fates: dict[Fate, int] = {"noticed": noticed, "not noticed": missed, "stale": stale}
    results = [
        Result(name=f"{number}-{fate}", fate=fate, by="", seconds=1.0)
        for fate, count in fates.items()
        for number in range(count)
    ]
    assert sum_up(results) == code
    said = capsys.readouterr().out
    for result in results:
        assert (f"{result.name}," in said or f"{result.name}\n" in said) is (result.fate != "noticed")
    assert said.endswith(f"{noticed} of {noticed + missed} planted faults were noticed: {noticed:.1f} %\n")


def test_a_name_that_is_none_is_one_sentence_and_exit_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "no-such-fault"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "mutants: there is no fault like 'no-such-fault'; see: ./dev mutants --list\n"
