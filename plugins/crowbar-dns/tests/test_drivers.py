"""Each driver against real servers, with changes at random and kills: at the end nothing differs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from crowbar_dns.comparing import Edit, gather
from crowbar_dns.drivers import Server, ServerDenies, ServerDown, ZoneUnserved, driver_of
from crowbar_dns.testing import REVERSE, check_dns_driver
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside, saying

from crowbar_core.testing import PostgresServer

from .servers import KEY, KINDS, PowerDns

pytestmark = pytest.mark.lab

ZONE = "example.test"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(f"dnsd-{os.getpid()}", nodes=0, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()) as lab:
        yield lab


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("address", ["10.77.0.1", "fd00:77::1"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_differs_after_changes_at_random_and_kills(
    lab: Lab, tmp_path: Path, pytestconfig: pytest.Config, kind: str, address: str
) -> None:
    changes, kills = pytestconfig.getoption("--dns-changes"), pytestconfig.getoption("--dns-kills")

    def work() -> None:
        running = KINDS[kind](lab, tmp_path / kind, address, (ZONE, *REVERSE), 5300)
        running.start()
        try:
            check_dns_driver(
                running.driver, running.server, zones=(ZONE,), restart=running.restart, changes=changes, kills=kills
            )
            wrong = Server(addresses=(address,), port=running.server.port, key_name="crowbar", key="bm90IHRoaXMgb25l")
            with pytest.raises(ServerDenies, match="does not take the key"):
                driver_of(running.driver, wrong).read(ZONE)
        finally:
            running.stop()
        for what in (
            driver_of(running.driver, running.server).check,
            lambda: driver_of(running.driver, running.server).read(ZONE),
        ):
            with pytest.raises(ServerDown, match=r"does not answer: [A-Za-z ]+\.$"):
                what()

    inside(lab, work, timeout=3000)


@pytest.mark.timeout(3000)
@pytest.mark.postgres
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_differs_where_the_cluster_has_postgresql(
    lab: Lab, tmp_path: Path, pytestconfig: pytest.Config, kind: str
) -> None:
    changes, kills = pytestconfig.getoption("--dns-changes"), pytestconfig.getoption("--dns-kills")

    def work(url: str) -> None:
        running = KINDS[kind](lab, tmp_path / kind, "10.77.0.1", (ZONE, *REVERSE), 5300)
        running.start()
        try:
            check_dns_driver(
                running.driver, running.server, zones=(ZONE,), restart=running.restart, changes=changes, kills=kills,
                seed=2, database_url=url,
            )  # fmt: skip
        finally:
            running.stop()

    with PostgresServer() as server:
        url = server.create_database()
        inside(lab, lambda: work(url), timeout=3000)


TRIGGER = """
CREATE TRIGGER moody BEFORE INSERT ON records WHEN NEW.name LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'no'); END
"""


def test_what_the_backend_of_powerdns_fails_at_is_refused_alone_and_a_server_that_fails_at_all_is_down(
    lab: Lab, tmp_path: Path
) -> None:
    def edit(name: str, at: int) -> Edit:
        return Edit(name=f"{name}{at}.{ZONE}", type="A", values=frozenset((f"10.9.0.{at}",)), new=True)

    def work() -> None:
        running = PowerDns(lab, tmp_path / "moody", "10.77.0.1", (ZONE,), 5300)
        running.start()
        try:
            with closing(sqlite3.connect(running.directory / "pdns.sqlite3")) as there:
                there.execute(TRIGGER)
            driver = driver_of(running.driver, running.server)
            bad, good = edit("bad", 1), [edit("good", at) for at in range(60)]
            assert dict(driver.write(ZONE, [*good[:30], bad, *good[30:]])) == {
                bad.key: "PowerDNS could not do it, its log says why"
            }
            assert {one.key for one in good} <= gather(driver.read(ZONE)).keys()
            with pytest.raises(ServerDown, match="cannot answer now: PowerDNS could not do it"):
                driver.write(ZONE, [edit("bad", at) for at in range(60)])
        finally:
            running.stop()

    inside(lab, work)


def page(text: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


SAID = {
    "no dns": ("rfc2136", page("<html>")),
    "half an answer": ("rfc2136", b"\x00\x40\x01\x02"),
    "noise": ("rfc2136", b"\x00\x20" + bytes(range(32, 64))),
    "a page": ("powerdns", page("<html>")),
    "a list": ("powerdns", page("[]")),
    "other records": ("powerdns", page('{"rrsets": [{"name": 5, "type": [], "records": {"a": 1}}]}')),
    "no http": ("powerdns", b"SSH-2.0-x\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", SAID)
def test_whoever_answers_nonsense_is_refused_with_a_sentence(lab: Lab, what: str) -> None:
    driver, said = SAID[what]

    def work() -> None:
        server = Server(addresses=("10.77.0.1",), port=5390, key_name="crowbar", key=KEY, timeout=2.0)
        edit = Edit(name=f"a.{ZONE}", type="A", values=frozenset(("10.9.0.1",)), new=True)
        made = driver_of(driver, server)
        with saying(lab, "10.77.0.1", 5390, said):
            for one in (lambda: made.read(ZONE), lambda: made.write(ZONE, [edit])):
                with pytest.raises((ServerDown, ZoneUnserved), match=r"10\.77\.0\.1.*\.$"):
                    one()

    inside(lab, work)
