"""Services of barclamps: they work until they are told to stop, one at a time where they lead; failures are shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import update

from crowbar_core import Barclamp, CancelFlag, CrowbarError, NotFound, Service, cluster, hookimpl
from crowbar_core.services.engine import standing
from crowbar_core.services.engine.standing import Standing
from crowbar_core.services.watch.health import gather
from crowbar_core.store.models import Lease, table
from crowbar_core.testing import NotQuiet, Testbed
from tests.services import wait_until


def barclamp(*services: Any, name: str = "files") -> ModuleType:
    @hookimpl
    def register_barclamp() -> Barclamp:
        return Barclamp(name=name)

    @hookimpl
    def register_services() -> Iterable[Service]:
        return services

    module = ModuleType(f"barclamp_{name}")
    for function in (register_barclamp, register_services):
        setattr(module, function.__name__, function)
    return module


class Serving:
    """A service that is at work while it is not told to stop."""

    def __init__(self, *, leader: bool = False, deaf: bool = False) -> None:
        self.service = Service(name="boot-files", run=self.run, leader=leader)
        self.at_work = threading.Event()
        self.released = threading.Event()
        self.saw: list[str] = []
        self._deaf = deaf

    def run(self, stopped: CancelFlag) -> None:
        self.saw.append(cluster().node("n1.example.test").name)
        self.at_work.set()
        if self._deaf:
            self.released.wait(60)
        stopped.wait(60)
        self.at_work.clear()


def test_register_services_brings_what_works_until_it_is_told_to_stop() -> None:
    serving = Serving()
    with Testbed(barclamp(serving.service)) as bed:
        bed.add_node("n1")
        with bed.service("boot-files"):
            assert serving.at_work.wait(30)
            assert serving.saw == ["n1.example.test"]
        assert not serving.at_work.is_set()
        assert bed.hook_failures() == []
        with pytest.raises(NotFound, match=r"brings a service 'tftp'; there are: boot-files\."):
            bed.service("tftp").__enter__()


def raising(stopped: CancelFlag) -> None:
    raise OSError("port 69 is taken")


def ending(stopped: CancelFlag) -> None:
    """It has nothing to do."""


@pytest.mark.parametrize(
    "run, said", [(raising, "OSError: port 69 is taken"), (ending, "it ended by itself")], ids=["raises", "ends"]
)
def test_a_service_that_fails_is_shown_until_it_has_worked_for_a_while(
    run: Callable[[CancelFlag], None], said: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, failing = Serving(), Service(name="tftp", run=run)
    with Testbed(barclamp(serving.service, failing), database_url=database_url) as bed:
        bed.add_node("n1")
        with pytest.raises((OSError, CrowbarError)), bed.service("tftp"):
            wait_until(bed.hook_failures, seconds=120, what="the failure")
        (failure,) = bed.hook_failures()
        assert (failure.plugin, failure.hook, failure.error) == ("files", "service tftp", said)
        assert gather(bed.parts).of("services") == "1 service of a barclamp fails"
        assert gather(bed.parts).of("hooks") == "ok"
        monkeypatch.setattr(standing, "STEADY_SECONDS", 0.0)
        again = Standing(bed.parts, "files", Service(name="tftp", run=serving.run))
        thread = threading.Thread(target=again.run, daemon=True)
        thread.start()
        wait_until(lambda: not bed.hook_failures(), seconds=120, what="it is well")
        again.stop()
        thread.join(30)


def test_a_service_that_leads_is_carried_out_by_one_process_at_a_time(database_url: str) -> None:
    one, other = Serving(leader=True), Serving(leader=True)
    with (
        Testbed(barclamp(one.service), database_url=database_url) as bed,
        Testbed(barclamp(other.service), database_url=database_url) as twin,
    ):
        bed.add_node("n1")
        first, second = bed.service("boot-files"), twin.service("boot-files")
        first.__enter__()
        assert one.at_work.wait(30)
        second.__enter__()
        assert not other.at_work.wait(1.5)
        first.__exit__(None, None, None)
        assert other.at_work.wait(30), "the next one takes over"
        second.__exit__(None, None, None)


def test_a_service_that_has_lost_its_lease_is_told_to_stop_and_ended_if_it_does_not(database_url: str) -> None:
    serving = Serving(leader=True, deaf=True)
    with Testbed(barclamp(serving.service), database_url=database_url, leader_seconds=0.6) as bed:
        bed.add_node("n1")
        given_up = threading.Event()
        held = Standing(bed.parts, "files", serving.service, give_up=given_up.set)
        thread = threading.Thread(target=held.run, daemon=True)
        thread.start()
        assert serving.at_work.wait(30)
        leases = table(Lease)
        with bed.parts.store.write() as session:
            later = bed.parts.store.now(session).replace(year=2100)
            session.execute(update(leases).values(holder="somebody else", until=later))
        assert given_up.wait(30)
        assert held.stopped.is_set()
        serving.released.set()
        thread.join(30)


def test_the_first_of_two_services_of_one_name_counts() -> None:
    one, other = Serving(), Serving()
    with Testbed(barclamp(one.service), barclamp(other.service, name="other")) as bed:
        bed.add_node("n1")
        with bed.service("boot-files"):
            assert one.at_work.wait(30)
        assert not other.saw
        assert any("there is a service 'boot-files' already, of barclamp files" in said for said in bed.problems())


def test_a_test_is_told_when_a_service_does_not_stop() -> None:
    serving = Serving(deaf=True)
    with Testbed(barclamp(serving.service)) as bed:
        bed.add_node("n1")
        with pytest.raises(NotQuiet, match=r"did not stop within 0\.1 s"), bed.service("boot-files", within=0.1):
            assert serving.at_work.wait(30)
        serving.released.set()
