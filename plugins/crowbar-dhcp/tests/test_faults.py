"""What Kea and Crowbar go through in the middle of being told: a full disk, a kill, a backup, a server that hangs."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowbar_dhcp.drivers import Part, Server, ServerDiffers, ServerDown, ServerRefuses
from crowbar_dhcp.drivers.kea import Kea
from crowbar_dhcp.serving import Machine, Net, Options, Serving, serving_of
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside, saying

from .servers import PORT, KeaHere
from .site import MAC, ask

pytestmark = pytest.mark.lab

NETS = [Net(id=1, network="lab", subnet="10.77.0.0/16", ranges={"dhcp": ("10.77.4.0", "10.77.4.63")})]
KILLED = """
import os, pickle, signal, sys
from crowbar_dhcp.drivers.kea import Kea
server, wanted = pickle.load(sys.stdin.buffer)
Kea._write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Kea(server).bring(wanted)
"""


@pytest.fixture
def there(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeaHere]:
    with KeaHere(lab, tmp_path_factory.mktemp("kea")) as one:
        yield one


def serving(last: int, *, others: int = 0) -> Serving:
    machines = [Machine(id=1, name="n1.lab.test", macs=(MAC,), addresses=(f"10.77.0.{last}",))]
    machines += [
        Machine(id=at, name=f"n{at}.lab.test", macs=(f"52:54:00:01:{at >> 8:02x}:{at & 255:02x}",))
        for at in range(2, others)
    ]
    return serving_of(NETS, machines, Options())


def test_what_crowbar_had_told_when_it_was_killed_is_written_down_when_it_goes_on(lab: Lab, there: KeaHere) -> None:
    def work() -> None:
        driver = there.driver
        driver.bring(serving(101))
        given = pickle.dumps((driver._server, serving(102)))
        with lab.popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE) as crowbar:
            crowbar.communicate(given, timeout=60)
            assert crowbar.returncode == -signal.SIGKILL
        assert driver.bring(serving(102)) == []
        there.restart()
        assert driver.differences(serving(102)) == []
        assert ask(lab, MAC)["ip"] == "10.77.0.102"

    inside(lab, work)


def test_kea_whose_configuration_is_restored_from_yesterday_is_told_what_has_changed_since(
    lab: Lab, there: KeaHere
) -> None:
    def work() -> None:
        there.driver.bring(serving(101))
        kept = there.directory / "kea4.json"
        yesterday = kept.read_text()
        there.driver.bring(serving(103))
        there.kill()
        kept.write_text(yesterday)
        there.start()
        assert ask(lab, MAC)["ip"] == "10.77.0.101"
        assert there.driver.bring(serving(103)) == ["DHCPv4: subnet 10.77.0.0/16: reservations: 1 changed"]
        assert ask(lab, MAC)["ip"] == "10.77.0.103"

    inside(lab, work)


def test_a_part_is_not_enough_for_kea_that_lacks_a_subnet(lab: Lab, there: KeaHere) -> None:
    def work() -> None:
        with pytest.raises(ServerDiffers, match=r"has subnets less than it was told\.$"):
            there.driver.bring_some(Part(serving=serving(101), macs=frozenset({MAC})))
        there.driver.bring(serving(101))
        assert there.driver.bring_some(Part(serving=serving(101), macs=frozenset({MAC}))) == []

    inside(lab, work)


def test_kea_that_hangs_is_down_in_time_and_told_when_it_goes_on(lab: Lab, there: KeaHere) -> None:
    def work() -> None:
        there.driver.bring(serving(101))
        hasty = Kea(Server(url=f"http://127.0.0.1:{PORT}/", user="crowbar", password="secret", timeout=1))
        for one in there.running:
            os.kill(one.pid, signal.SIGSTOP)
        with pytest.raises(ServerDown, match=r"does not answer: no answer in time\.$"):
            hasty.bring(serving(104))
        for one in there.running:
            os.kill(one.pid, signal.SIGCONT)
        there.driver.bring(serving(104))
        assert ask(lab, MAC)["ip"] == "10.77.0.104"

    inside(lab, work)


NONSENSE = {
    "a page": b"<html>",
    "an empty list": b"[]",
    "a number": b"[5]",
    "no configuration": b'[{"result": 0}]',
    "another configuration": b'[{"result": 0, "arguments": {"Dhcp4": 5, "Dhcp6": []}}]',
}


@pytest.mark.parametrize("what", NONSENSE)
def test_whoever_answers_nonsense_is_said_to_be_no_kea(lab: Lab, what: str) -> None:
    text = NONSENSE[what]
    said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)

    def work() -> None:
        driver = Kea(Server(url="http://10.77.0.1:5390/", user="crowbar", password="secret", timeout=30))
        with saying(lab, "10.77.0.1", 5390, said):
            for told in (lambda: driver.bring(serving(101)), lambda: driver.differences(serving(101))):
                with pytest.raises(ServerDown, match=r"^What answers at http://10\.77\.0\.1:5390/ is no Kea.*\.$"):
                    told()

    inside(lab, work)


class Tight(KeaHere):
    """The configuration of its server of DHCPv4 is on a disk of its own, which is small."""

    def command(self, program: str, file: str) -> list[str]:
        if program != "kea-dhcp4":
            return super().command(program, file)
        disk = self.directory / "disk"
        disk.mkdir(exist_ok=True)
        own = f"mount -t tmpfs -o size=128k none {disk} && cp {file} {disk}/file && exec {program} -c {disk}/file"
        return ["unshare", "-m", "sh", "-c", own]

    def on_its_disk(self, command: str) -> str:
        its = f"cd {self.directory}/disk && {command}"
        words = ["nsenter", "-t", str(self.running[0].pid), "-m", "sh", "-c", its]
        return str(self.lab.exec(words, check=False, capture_output=True, text=True).stdout)


def test_kea_whose_disk_is_full_says_so_and_writes_it_down_when_there_is_room(lab: Lab, tmp_path: Path) -> None:
    def work() -> None:
        with Tight(lab, tmp_path / "kea") as one:
            one.driver.bring(serving(101))
            assert "10.77.0.101" in one.on_its_disk("cat file")
            one.on_its_disk("cat /dev/zero >filler")
            with pytest.raises(ServerRefuses, match=r"has no room for its configuration of DHCPv4\. It serves what"):
                one.driver.bring(serving(105, others=200))
            assert ask(lab, MAC)["ip"] == "10.77.0.105"
            one.on_its_disk("rm filler")
            assert one.driver.bring(serving(105)) == ["DHCPv4: subnet 10.77.0.0/16: reservations: 198 gone"]
            assert '"10.77.0.105"' in one.on_its_disk("cat file")

    inside(lab, work)
