"""Kea whose reservations are in PostgreSQL: what is put there is served at once, and its configuration stays."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import cycle
from pathlib import Path

import pytest
from crowbar_dhcp.drivers import ServerDown, ServerRefuses
from crowbar_dhcp.serving import Boot, Machine, Net, Options, Serving, serving_of
from crowbar_dhcp.testing import check_dhcp_driver, part_of
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from psycopg2.errors import DiskFull

from crowbar_core.testing import PostgresServer

from .servers import KeaHere, database_name
from .site import MAC, ask, ask6

pytestmark = pytest.mark.lab

OTHER = "52:54:00:00:00:02"
NETS = [
    Net(id=1, network="lab", subnet="10.77.0.0/16", ranges={"dhcp": ("10.77.4.0", "10.77.4.63")}),
    Net(id=2, network="lab", subnet="fd00:77::/64", ranges={"dhcp": ("fd00:77::dcdc:0", "fd00:77::dcdc:ff")}),
]
BOOT = Boot(by="p", dhcp4={"bios": "tftp://10.77.0.9/a.kpxe"}, dhcp6={"uefi": "tftp://[fd00:77::9]/a.efi"})


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """One that forgets nothing of what it has confirmed when it is killed: so it is enough to tell of changes."""
    with PostgresServer(durable=True) as server:
        yield server


@pytest.fixture
def there(lab: Lab, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeaHere]:
    with KeaHere(lab, tmp_path_factory.mktemp("kea"), postgres) as one:
        yield one


def serving(*machines: Machine) -> Serving:
    return serving_of(NETS, machines, Options())


def machine(number: int, mac: str = MAC, **more: object) -> Machine:
    addresses = (f"10.77.0.{100 + number}", f"fd00:77::{100 + number}")
    given: dict[str, object] = {"name": f"n{number}.lab.test", "macs": (mac,), "addresses": addresses, **more}
    return Machine(id=number, **given)  # type: ignore[arg-type]


def told(lines: Sequence[str]) -> list[str]:
    return [one.partition(": ")[2] for one in lines]


def test_a_node_is_served_changed_and_forgotten_by_its_own_row_alone(lab: Lab, there: KeaHere) -> None:
    def work() -> None:
        driver = there.driver
        driver.bring(serving(machine(1, boot=BOOT), machine(3, "52:54:00:00:00:03")))
        assert driver.bring(serving(machine(1, boot=BOOT), machine(3, "52:54:00:00:00:03"))) == []
        assert ask(lab, OTHER)["ip"].startswith("10.77.4.")
        both = serving(machine(1, boot=BOOT), machine(2, OTHER), machine(3, "52:54:00:00:00:03"))
        assert told(driver.bring(both)) == ["reservations: 1 new"] * 2
        assert ask(lab, OTHER)["ip"] == "10.77.0.102"
        assert ask(lab, MAC, "-x", "0x5d:0000")["boot_file"] == "a.kpxe"
        assert ask6(lab, MAC, arch=7) == {"ip": "fd00:77::101", "boot": "tftp://[fd00:77::9]/a.efi"}
        moved = serving_of(NETS, [machine(1, boot=BOOT), machine(2, OTHER, addresses=("10.77.0.150",))], Options())
        assert told(driver.bring(moved)) == ["reservations: 1 gone, 1 changed"] * 2
        assert ask(lab, OTHER)["ip"] == "10.77.0.150"
        driver.bring(serving(machine(1, boot=BOOT)))
        assert ask(lab, OTHER)["ip"].startswith("10.77.4.")
        assert driver.differences(serving(machine(1, boot=BOOT))) == []

    inside(lab, work)


def test_a_hosts_database_that_is_killed_is_said_and_told_when_it_is_back(lab: Lab, there: KeaHere) -> None:
    def work() -> None:
        driver = there.driver
        driver.bring(serving(machine(1)))
        assert there.postgres
        there.postgres.kill()
        with pytest.raises(ServerDown, match=r"^Kea's hosts database does not answer: .*[a-z]\.$"):
            driver.bring(serving(machine(1), machine(2, OTHER)))
        there.postgres.start()
        driver.bring(serving(machine(1), machine(2, OTHER)))
        assert ask(lab, OTHER)["ip"] == "10.77.0.102"

    inside(lab, work)


def test_a_hosts_database_restored_from_yesterdays_backup_is_brought_to_today(
    lab: Lab, there: KeaHere, tmp_path: Path
) -> None:
    def work() -> None:
        driver, postgres = there.driver, there.postgres
        assert postgres
        yesterday, today = [machine(1), machine(3, "52:54:00:00:00:03")], [machine(1, addresses=("10.77.0.111",))]
        today.append(machine(2, OTHER))
        driver.bring(serving(*yesterday))
        postgres.kill()
        backup, data = tmp_path / "backup", postgres.directory / "data"
        subprocess.run(["cp", "-a", data, backup], check=True)
        postgres.start()
        driver.bring(serving(*today))
        assert ask(lab, MAC)["ip"] == "10.77.0.111"
        postgres.kill()
        shutil.rmtree(data)
        subprocess.run(["cp", "-a", backup, data], check=True)
        postgres.start()
        assert ask(lab, MAC)["ip"] == "10.77.0.101"
        assert told(driver.bring(serving(*today))) == ["reservations: 1 new, 1 gone, 1 changed"] * 2
        assert (ask(lab, MAC)["ip"], ask(lab, OTHER)["ip"]) == ("10.77.0.111", "10.77.0.102")
        assert driver.differences(serving(*today)) == []

    inside(lab, work)


def test_one_that_others_have_reserved_is_refused_by_name_left_to_them_and_the_rest_is_served(
    lab: Lab, there: KeaHere
) -> None:
    def work() -> None:
        driver = there.driver
        theirs = "INSERT INTO hosts (dhcp_identifier, dhcp_identifier_type, dhcp4_subnet_id, ipv4_address) VALUES "
        there.run(theirs + f"('\\x{OTHER.replace(':', '')}', 0, 1, {(10 << 24) + (77 << 16) + 99})")
        with pytest.raises(ServerRefuses, match=f"^Kea does not take {OTHER}: its hosts database has .* not Crowbar's"):
            driver.bring(serving(machine(1), machine(2, OTHER)))
        assert ask(lab, MAC)["ip"] == "10.77.0.101"
        assert ask(lab, OTHER)["ip"] == "10.77.0.99"
        driver.bring(serving())
        assert there.run("SELECT count(*) FROM hosts") == [(1,)]

    inside(lab, work)


class Tight(PostgresServer):
    """Its tables of the tablespace ``small`` are on a disk of its own, which is small."""

    @property
    def place(self) -> Path:
        return self.directory / "small"

    def _setpriv(self, *options: str) -> list[str]:
        self.place.mkdir(exist_ok=True)
        its = f"uid={self.directory.stat().st_uid},mode=700,size=1m"
        with_disk = f'mount -t tmpfs -o {its} none {self.place} && exec "$@"'
        return ["unshare", "-m", "sh", "-c", with_disk, "sh", *super()._setpriv(*options)]


def test_a_hosts_database_whose_disk_is_full_says_so_loses_nothing_and_is_told_when_there_is_room(
    lab: Lab, tmp_path: Path
) -> None:
    few = serving(machine(1))
    several = [Machine(id=at, name=f"n{at}.lab.test", macs=(f"52:54:00:0c:00:{at:02x}",)) for at in range(10, 210)]
    many = serving(machine(1), machine(2, OTHER), *several)

    def work(postgres: Tight) -> None:
        with KeaHere(lab, tmp_path / "kea", postgres) as one:
            on_its_disk = postgres.connect(database_name(one.database))
            on_its_disk.autocommit = True
            with closing(on_its_disk), on_its_disk.cursor() as cursor:
                cursor.execute(f"CREATE TABLESPACE small LOCATION '{postgres.place}'")
                cursor.execute("ALTER TABLE hosts SET TABLESPACE small; CREATE TABLE filler (x text) TABLESPACE small")
                one.driver.bring(few)
                with pytest.raises(DiskFull):
                    cursor.execute("INSERT INTO filler SELECT repeat('x', 2000) FROM generate_series(1, 9999)")
                for told in (lambda: one.driver.bring(many), lambda: one.driver.bring_some(part_of(few, many))):
                    with pytest.raises(ServerRefuses, match=r"^Kea's hosts database has no room: .*make room\.$"):
                        told()
                assert ask(lab, MAC)["ip"] == "10.77.0.101"
                cursor.execute("DROP TABLE filler")
            assert one.driver.bring_some(part_of(few, many)) == [
                f"DHCPv{family}: reservations: 201 new" for family in (4, 6)
            ]
            assert ask(lab, OTHER)["ip"] == "10.77.0.102"
            assert one.driver.differences(many) == []

    with Tight() as postgres:
        inside(lab, lambda: work(postgres))


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("families", [(4, 6), (6,)])
def test_nothing_differs_after_changes_at_random_and_kills_of_kea_and_of_its_database(
    lab: Lab, there: KeaHere, pytestconfig: pytest.Config, families: tuple[int, ...]
) -> None:
    changes, kills = {"few": (30, 2), "full": (1000, 50)}[pytestconfig.getoption("--dhcp-changes")]
    postgres = there.postgres
    assert postgres

    def crash() -> None:
        postgres.kill()
        postgres.start()

    blows = cycle((there.restart, crash))

    def work() -> None:
        assert (
            check_dhcp_driver(there.driver, kill=lambda: next(blows)(), changes=changes, kills=kills, families=families)
            == []
        )

    inside(lab, work, timeout=3000)
