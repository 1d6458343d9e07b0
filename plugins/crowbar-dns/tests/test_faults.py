"""What goes wrong at BIND, Knot and PowerDNS: it is said, holds up nobody else, and is noticed when it is mended."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crowbar_dns
import pytest
from crowbar_dns import database, entries, listings, services
from crowbar_dns.comparing import Edit, RecordSet, gather
from crowbar_dns.drivers import Driver, driver_of
from crowbar_dns.testing import REVERSE
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from crowbar_core.testing import FakeClock, Testbed

from .servers import KEY, KINDS, Running

pytestmark = pytest.mark.lab

ADDRESS, ZONE, OTHER = "10.77.0.1", "one.test", "two.test"
UNSERVED = {"rfc2136": f"The DNS server at {ADDRESS} does not give the zone {OTHER} away (NOTAUTH)"}
ROOM = {"bind": "160k", "knot": "512k", "powerdns": "512k"}


def on_a_small_disk(running: Running, room: str) -> None:
    """Its files are on a disk of its own from its next start on."""
    inner = shlex.join(running.command())
    copy = f"cp -a {running.directory}/. /mnt && mount --move /mnt {running.directory}"
    words = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size={room} none /mnt && {copy} && exec {inner}"]
    running.command = lambda: words  # type: ignore[method-assign]


def on_its_disk(running: Running, command: str) -> None:
    assert running.process is not None
    its = ["nsenter", "-t", str(running.process.pid), "-m", "sh", "-c", f"cd {running.directory} && {command}"]
    running.lab.exec(its, check=False, timeout=30, capture_output=True)


class Place:
    """A core with one server, which it tells when the test says so."""

    def __init__(self, lab: Lab, directory: Path, kind: str) -> None:
        self.lab, self.directory, self.kind, self.count = lab, directory, kind, 0
        self.bed = Testbed("jig-script", crowbar_dns)
        self.bed.bind("dns-service")
        self.bed.bind("dns-database")
        self.bed.commit()

    def server(self) -> Running:
        self.count += 1
        place = self.directory / f"{self.kind}-{self.count}"
        return KINDS[self.kind](self.lab, place, ADDRESS, (ZONE, *REVERSE), 5300 + 2 * self.count)

    def use(
        self, running: Running, *, key: str = KEY, shared: tuple[str, ...] = (), more: tuple[str, ...] = ()
    ) -> Driver:
        options: dict[str, Any] = {"timeout": 2.0}
        if running.driver == "rfc2136":
            options |= {"key_name": "crowbar", "algorithm": "hmac-sha256"}
        with self.bed.serving() as here, here.change() as change:
            [bound] = [one for one in here.node_roles() if one.role == "dns-service"]
            services.forget(change, bound.id)
            services.register(
                change, bound.id, name="own", driver=running.driver, addresses=[ADDRESS], port=running.server.port,
                zones=sorted({*running.zones, *more}), shared=list(shared), resolves=False, secret=key,
                options=options,
            )  # fmt: skip
            entries.note(change, [entries.EVERYBODY])
        return driver_of(running.driver, running.server)

    def node(self, name: str, number: int, *texts: str) -> None:
        records = [{"name": f"{name}{at}.{ZONE}", "type": "TXT", "value": one} for at, one in enumerate(texts)]
        hint = {"hint-admin-v4addr": f"10.9.0.{number}/16", "dns-records": records}
        self.bed.add_node(f"{name}.{ZONE}", hint=hint)

    def tell(self, connect: Callable[[services.Service], Driver] = services.Service.connect) -> None:
        self.bed.deliver()
        with self.bed.serving():
            database.tell(lambda line: None, connect=connect)

    def look(self, seconds: float) -> None:
        """As if so much time had gone by: what is done every few seconds."""
        assert isinstance(self.bed.clock, FakeClock)
        self.bed.clock.advance(seconds)
        self.bed.periodic("dns-watch")
        self.tell()

    def problems(self) -> list[str]:
        with self.bed.serving():
            said = [one.detail for one in database.problems()]
        return [one for one in said if "crowbar-network is not installed" not in one]


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("faults")
    with Lab.create(f"dnsf-{os.getpid()}", nodes=0, state_dir=directory / "labs", owner=os.getpid()) as lab:
        made = Place(lab, directory, request.param)
        try:
            yield made
        finally:
            made.bed.close()


def address(driver: Driver, name: str) -> Any:
    return gather(driver.read(ZONE)).get((f"{name}.{ZONE}", "A"), RecordSet(values=frozenset())).values


def test_a_full_disk_is_said_and_what_could_not_be_told_is_told_when_there_is_room(place: Place) -> None:
    def work() -> None:
        running = place.server()
        on_a_small_disk(running, ROOM[place.kind])
        running.start()
        try:
            driver = place.use(running)
            place.node("first", 1)
            place.tell()
            assert address(driver, "first") == {"10.9.0.1"}
            on_its_disk(running, "cat /dev/zero >filler")
            place.node("second", 2, *("x" * 1900 for _ in range(4)))
            place.tell()
            assert any(" could not do it" in one for one in place.problems()), place.problems()
            assert address(driver, "first") == {"10.9.0.1"}
            on_its_disk(running, "rm filler")
            place.look(5)
            assert address(driver, "second") == {"10.9.0.2"}
            assert (f"second3.{ZONE}", "TXT") in gather(driver.read(ZONE))
            assert place.problems() == []
        finally:
            running.stop()

    inside(place.lab, work)


def test_a_server_that_hangs_is_said_in_time_and_told_when_it_goes_on(place: Place) -> None:
    def work() -> None:
        running = place.server()
        running.start()
        try:
            driver = place.use(running)
            place.node("hasty", 61)
            place.tell()
            assert place.problems() == []
            assert running.process is not None
            os.kill(running.process.pid, signal.SIGSTOP)
            place.node("slow", 62)
            place.tell()
            [said] = place.problems()
            assert "own" in said
            assert "answer" in said
            place.node("later", 63)
            place.tell(connect=lambda _: pytest.fail("it is waited for again, and holds up others"))
            os.kill(running.process.pid, signal.SIGCONT)
            place.look(60)
            assert place.problems() == []
            assert address(driver, "slow") == {"10.9.0.62"}
            assert address(driver, "later") == {"10.9.0.63"}
        finally:
            running.stop()

    inside(place.lab, work)


def test_a_zone_that_is_not_there_is_said_while_others_go_on_and_noticed_when_it_comes(place: Place) -> None:
    def work() -> None:
        running = place.server()
        running.start()
        try:
            driver = place.use(running, more=(OTHER,))
            place.tell()
            said = "DNS server own: " + UNSERVED.get(running.driver, f"PowerDNS at {ADDRESS} has no zone {OTHER}")
            assert any(said in one for one in place.problems()), place.problems()
            place.node("third", 3)
            place.tell()
            assert address(driver, "third") == {"10.9.0.3"}
            assert any(said in one for one in place.problems()), "a run that was about others says nothing of it"
            place.look(5)
            assert any(said in one for one in place.problems())
            running.add_zone(OTHER)
            place.look(5)
            assert any(said in one for one in place.problems()), "the second pause is longer"
            place.look(5)
            assert place.problems() == []
        finally:
            running.stop()

    inside(place.lab, work)


def test_a_record_says_that_there_is_no_zone_for_it_or_that_its_zone_takes_nothing(place: Place) -> None:
    stray = f"stray.{OTHER}"

    def why() -> str:
        [one] = place.bed.web().get(f"/api/v2/dns_name_entries?name={stray}").json
        return str(one["problem"])

    def work() -> None:
        running = place.server()
        running.start()
        try:
            place.use(running)
            place.bed.add_node(stray, hint={"hint-admin-v4addr": "10.9.0.70/16"})
            place.tell()
            [said] = place.problems()
            assert said.startswith(f"No DNS server has a zone for {stray}: name {OTHER}, or what it is below, in dns-")
            assert why() == listings.NO_ZONE
            place.use(running, more=(OTHER,))
            place.tell()
            assert why() == listings.NOT_TAKEN
            running.add_zone(OTHER)
            place.look(5)
            assert (why(), place.problems()) == ("", [])
            assert place.bed.web("operator").delete(f"/api/v2/nodes/{stray}").status_code == 204
            place.tell()
        finally:
            running.stop()

    inside(place.lab, work)


def test_a_key_that_does_not_fit_is_said_and_noticed_when_it_does(place: Place) -> None:
    def work() -> None:
        running = place.server()
        running.key = "bm90IHRoaXMgb25l"
        running.prepare()
        running.start()
        try:
            place.use(running)
            place.tell()
            said = "does not take the key"
            assert any(said in one for one in place.problems()), place.problems()
            running.key = KEY
            running.prepare_again()
            driver = driver_of(running.driver, running.server)
            place.look(5)
            assert place.problems() == []
            assert address(driver, "first") == {"10.9.0.1"}
        finally:
            running.stop()

    inside(place.lab, work)


def test_a_server_restored_from_yesterdays_backup_is_brought_to_today(place: Place) -> None:
    def work() -> None:
        running = place.server()
        running.start()
        driver = place.use(running)
        try:
            place.tell()
            running.stop()
            backup = place.directory / "backup"  # of files: no server has its sockets in one
            shutil.copytree(running.directory, backup, ignore=shutil.ignore_patterns("*sock*"))
            running.start()
            place.node("today", 4)
            assert place.bed.web("operator").delete(f"/api/v2/nodes/first.{ZONE}").status_code == 204
            place.tell()
            assert (address(driver, "today"), address(driver, "first")) == ({"10.9.0.4"}, frozenset())
            running.stop()
            place.bed.clock.advance(400)
            place.tell()
            assert any("is not told since" in one for one in place.problems()), place.problems()
            shutil.rmtree(running.directory)
            shutil.copytree(backup, running.directory)
            running.start()
            assert address(driver, "first") == {"10.9.0.1"}
            place.look(5)
            assert (address(driver, "today"), address(driver, "first")) == ({"10.9.0.4"}, frozenset())
        finally:
            running.stop()

    inside(place.lab, work)


def test_in_a_shared_zone_only_what_is_signed_is_touched(place: Place) -> None:
    def work() -> None:
        running = place.server()
        running.start()
        try:
            driver = place.use(running, shared=(ZONE,))
            theirs = Edit(name=f"mail.{ZONE}", type="A", values=frozenset(("10.9.9.9",)), ttl=60)
            same = Edit(name=f"today.{ZONE}", type="A", values=frozenset(("10.9.0.4",)), ttl=300)
            assert not driver.write(ZONE, [theirs, same])
            place.tell()
            there = gather(driver.read(ZONE))
            assert there[theirs.key].values == theirs.values
            assert (f"_crowbar-a.today.{ZONE}", "TXT") not in there, "what others have made is not signed for them"
            assert there[f"_crowbar-a.second.{ZONE}", "TXT"].values != frozenset()
            assert any(f"today.{ZONE} A is there already" in one for one in place.problems()), place.problems()
            assert not driver.write(ZONE, [Edit(name=same.name, type="A")])
            place.look(5)
            assert (f"_crowbar-a.today.{ZONE}", "TXT") in gather(driver.read(ZONE))
            assert place.problems() == []
        finally:
            running.stop()

    inside(place.lab, work)


class Broken:
    """A driver of whomever."""

    def read(self, zone: str) -> Any:
        raise ValueError("five")


def test_a_driver_that_breaks_is_a_problem_of_its_server_and_of_no_other(place: Place) -> None:
    def work() -> None:
        running = place.server()
        running.start()
        try:
            place.use(running)
            place.tell(connect=lambda _: Broken())  # type: ignore[arg-type, return-value]
            [said] = place.problems()
            assert "What it says of" in said
            assert "cannot be understood: ValueError: five" in said
            place.look(5)
            assert place.problems() == []
        finally:
            running.stop()

    inside(place.lab, work)


def test_an_alias_that_becomes_a_host_and_one_again_is_followed_and_nothing_is_told_beside_what_others_have(
    place: Place,
) -> None:
    name, web = f"www.{ZONE}", f"web.{ZONE}"

    def say(kind: str, value: str) -> None:
        place.bed.set("dns-records", [{"name": name, "type": kind, "value": value}], node=web)
        place.tell()

    def work() -> None:
        running = place.server()
        running.start()
        try:
            driver = place.use(running)
            place.node("web", 81)
            for kind, value in (("CNAME", web), ("A", "10.9.0.82"), ("CNAME", web)):
                say(kind, value)
                there = {key: one for key, one in gather(driver.read(ZONE)).items() if key[0] == name}
                assert {key: set(one.values) for key, one in there.items()} == {(name, kind): {value}}
                assert place.problems() == []
            say("TXT", "no alias any more")
            theirs = Edit(name=name, type="A", values=frozenset(("10.9.9.9",)))
            alias = Edit(name=f"late.{ZONE}", type="CNAME", values=frozenset((f"mail.{ZONE}",)))
            assert not driver.write(ZONE, [theirs, alias])
            say("CNAME", web)
            place.node("late", 83)
            place.tell()
            assert any(name in one for one in place.problems()), place.problems()
            there = gather(driver.read(ZONE))
            assert {theirs.key, alias.key} <= there.keys()
            assert not {(name, "CNAME"), (alias.name, "A")} & there.keys()
            for refused in (name, alias.name):
                [one] = [
                    one for one in place.bed.web().get(f"/api/v2/dns_name_entries?name={refused}").json
                    if one["rr_type"] != "PTR"
                ]  # fmt: skip
                assert one["served"] == 0
                assert one["problem"].startswith(f"{ZONE}: {refused} {one['rr_type']}: "), one
            assert not driver.write(ZONE, [Edit(name=one.name, type=one.type) for one in (theirs, alias)])
            place.look(60)
            assert place.problems() == []
            assert address(driver, "late") == {"10.9.0.83"}
        finally:
            running.stop()

    inside(place.lab, work)
