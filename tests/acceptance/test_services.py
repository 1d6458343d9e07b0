"""Services of barclamps are processes of their own: begun again when they die, and never left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.processes import Site, installed


@pytest.fixture
def served(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An installation whose barclamp brings the services `ticker` and `leader`."""
    monkeypatch.setenv("FAULTS_SERVICES", "1")
    with installed(tmp_path / "crowbar", database_url=database_url) as site:
        yield site


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_gone(pid: int) -> bool:
    return not is_alive(pid)


def pids(site: Site, name: str) -> list[list[int]]:
    """Of each beginning of the service, its process and those that it started."""
    return [[int(pid) for pid in line[3:]] for line in site.journal("serves", name)]


def wait_at_work(site: Site, name: str, times: int = 1) -> list[int]:
    site.wait(lambda: len(pids(site, name)) >= times, f"service {name} is at work ({times})", 120)
    return pids(site, name)[times - 1]


def failing(site: Site) -> list[str]:
    found = site.ask("GET", "health")["findings"]
    return [name for one in found if one["check"] == "services" for name in one["names"]]


def test_a_service_that_dies_is_begun_again_and_ends_with_serve(served: Site) -> None:
    serve = served.start("serve")
    first, its_child = wait_at_work(served, "ticker")
    names = [one["kinds"] for one in served.all("processes")]
    assert ["service ticker"] in names
    os.kill(first, signal.SIGKILL)
    second, _ = wait_at_work(served, "ticker", times=2)
    served.wait(lambda: not is_alive(its_child), "what the dead one had started is gone")
    assert failing(served) == ["faults ticker"]
    assert "its process was ended by SIGKILL" in serve.log
    assert "faults ticker" not in served.ready().text, "strangers are not told which"
    (served.room / "ticker-fails").touch()
    served.wait(lambda: not is_alive(second), "it fails")
    (served.room / "ticker-fails").unlink()
    third, its_child = wait_at_work(served, "ticker", times=3)
    assert "ticker has no more" in serve.log
    code, _ = serve.terminate()
    assert code == 0
    assert not is_alive(third)
    assert not is_alive(its_child)
    assert len(served.journal("stops", "ticker")) == 1, "told to stop, it could end in peace"


def test_services_end_when_serve_is_killed(served: Site) -> None:
    serve = served.start("serve")
    ticker, its_child = wait_at_work(served, "ticker")
    (leader,) = wait_at_work(served, "leader")
    serve.kill()
    for pid in (ticker, its_child, leader):
        served.wait(partial(is_gone, pid), f"process {pid} has ended")
    assert len(served.journal("stops")) == 2


def test_a_service_elsewhere_stands_by_and_takes_over_from_one_that_is_killed(served: Site) -> None:
    served.start("serve", disabled_services="ticker")
    (first,) = wait_at_work(served, "leader")
    standby = served.start("service", arguments=("leader",))
    standby.find("stands by")
    assert len(pids(served, "leader")) == 1
    os.kill(first, signal.SIGSTOP)
    try:
        wait_at_work(served, "leader", times=2)
    finally:
        os.kill(first, signal.SIGKILL)
    assert pids(served, "leader")[1] == [standby.popen.pid]
    assert pids(served, "ticker") == []
    code, _ = standby.terminate()
    assert code == 0


def test_an_unknown_service_is_named_in_one_sentence(served: Site) -> None:
    process = served.start("service", arguments=("nothing",), wait=False)
    process.popen.wait(60)
    assert "Error: No loaded barclamp brings a service 'nothing'; there are: leader, ticker." in process.log
    assert process.popen.returncode == 1
