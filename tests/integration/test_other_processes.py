"""What one process does, others see: roles of run time, and hooks that outlive the process that published them."""

from __future__ import annotations

from pathlib import Path

import pytest

from crowbar_core.testing import wait_until
from tests.integration import taster
from tests.integration.elsewhere import Elsewhere

CELLAR, TASTER = "tests.integration.cellar", "tests.integration.taster"


def known(process: Elsewhere) -> list[str]:
    names = process("sorted(one['name'] for one in bed.web().get('/api/v2/roles').json if one['like'] == 'cask')")
    assert isinstance(names, list)
    return names


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASTER_ROOM", str(tmp_path))
    return tmp_path


def heard(room: Path) -> list[str]:
    book = room / "heard"
    return book.read_text().splitlines() if book.exists() else []


def test_a_role_defined_in_one_process_is_bound_in_a_second_run_in_a_third_and_removed(database_url: str) -> None:
    with (
        Elsewhere(database_url, CELLAR) as first, Elsewhere(database_url, CELLAR) as second,
        Elsewhere(database_url, CELLAR) as third,
    ):  # fmt: skip
        first("bed.add_node('n1') and None")
        assert second("cellar.try_define('cask-1')") == "undone"
        for process in (first, second, third):
            assert known(process) == []
        assert first("cellar.define('cask-1', 'Rioja')") is None
        assert second("bed.bind('cask-1', 'n1') and bed.commit()") is None
        assert (
            third("bed.anneal_until_quiet() and bed.value('cask-1-filled', 'n1', role='cask-1')") == "cask-1 of Rioja"
        )
        assert first("bed.state('cask-1', 'n1')") == "ACTIVE"
        assert "is bound to n1.example.test" in third("cellar.remove('cask-1')")
        assert second("bed.unbind('cask-1', 'n1')") is None
        assert third("cellar.remove('cask-1')") is None
        for process in (first, second, third):
            assert known(process) == []
        assert "Role cask-1 cannot be bound" in second("bed.apply(Bind(node='n1.example.test', role='cask-1'))")


def test_a_hook_that_was_published_is_heard_although_its_process_was_killed(database_url: str, room: Path) -> None:
    with Elsewhere(database_url, CELLAR, TASTER) as first:
        first("cellar.open_bottles('Rioja', 'Porto')")
        first.kill()
    assert heard(room) == []
    (room / "wait").touch()
    with Elsewhere(database_url, CELLAR, TASTER) as second:
        second.begin("bed.deliver()")
        wait_until(lambda: heard(room), seconds=60, what="the first hearing")
        second.kill()
    assert heard(room) == ["Rioja 1998"]
    (room / "wait").unlink()
    with Elsewhere(database_url, TASTER, CELLAR) as third:
        assert third("bed.deliver()") == 2
    assert heard(room) == ["Rioja 1998", "Rioja 1998", "Porto 1998"], "once more, and in order"


def test_the_listener_works_without_the_publisher(database_url: str) -> None:
    assert "cellar" not in vars(taster)
    with Elsewhere(database_url, TASTER) as alone:
        assert alone("bed.problems()") == []
        assert alone("bed.add_node('n1') and bed.anneal_until_quiet() and None") is None
