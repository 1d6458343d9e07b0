"""Real BMCs of a lab, each way in: what they are told happens, and what they do that BMCs do is said.

One virtual machine for the module, with 128 MiB and nothing to boot: some seconds of processor time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from crowbar_bmc.hammer import BmcHammer
from crowbar_bmc.ipmi import IpmiHammer
from crowbar_bmc.redfish import RedfishHammer
from crowbar_lab.hammer import LabHammer
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from crowbar_lab.vms import LabVm

from crowbar_core import CrowbarError, NodeView, Refused, TemporaryError

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-bmcs")]
NODE = NodeView(id=1, name="n1.example.org")


@dataclass
class Way:
    """The machine's BMC by one protocol."""

    kind: type[BmcHammer]
    lab: Lab
    vm: LabVm
    more: dict[str, Any]

    def hammer(self, **more: Any) -> BmcHammer:
        config = {"address": self.vm.plan.bmc_ipv4, "user": "admin", "password": "crowbar", "settle": 0, "timeout": 8}
        made = self.kind({**config, **self.more, **more})
        made.node = NODE
        return made

    def do(self, action: str, **more: Any) -> str:
        hammer = self.hammer(**more)
        return inside(self.lab, lambda: hammer.perform(action))

    def fails(self, action: str, **more: Any) -> CrowbarError:
        with pytest.raises(CrowbarError) as caught:
            self.do(action, **more)
        return caught.value

    @property
    def power(self) -> str:
        return self.vm.power("status")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create("bmcs", nodes=0, state_dir=tmp_path_factory.mktemp("labs"), owner=os.getpid()) as made:
        made.add_vms(1, firmware="bios", memory=128, disks=(1,))
        yield made


@pytest.fixture(params=[(IpmiHammer, {}), (RedfishHammer, {"certificate": "plain-http"})], ids=["ipmi", "redfish"])
def way(request: pytest.FixtureRequest, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    monkeypatch.setattr("crowbar_bmc.hammer.PAUSE", 0.1)
    kind, more = request.param
    vm = lab.vm("vm-1")
    yield Way(kind, lab, vm, more)
    vm.quirks()
    vm.power("off")
    vm.boot_from(None)


def test_power_is_as_it_was_told_and_as_the_machine_says(way: Way) -> None:
    assert (way.do("status"), way.do("off")) == ("off", "it is off")
    assert (way.do("on"), way.power, way.do("on"), way.do("status")) == ("it is on", "on", "it is on", "on")
    for action in ("reset", "cycle"):
        assert (way.do(action), way.power) == (f"{action}: it is on", "on")
    assert way.vm.state()["starts"] >= 2
    # There is no system that would answer its button.
    assert (way.do("soft"), way.power) == ("its system is asked to shut down", "on")
    assert (way.do("off"), way.power, way.do("soft")) == ("it is off", "off", "it is off")


@pytest.mark.parametrize("action", ["reset", "cycle"])
def test_a_restart_of_a_machine_that_is_off_switches_it_on(way: Way, action: str) -> None:
    assert (way.do(action), way.power) == ("it was off, and is switched on", "on")


def test_what_it_boots_from_holds_once_or_from_now_on(way: Way) -> None:
    way.vm.power("on")
    for action, boot, override in (
        ("boot-disk", "Hdd", "Continuous"),
        ("boot-once-pxe", "Pxe", "Once"),
        ("boot-once-disk", "Hdd", "Once"),
        ("boot-pxe", "Pxe", "Continuous"),
    ):
        assert "boots from" in way.do(action)
        found = way.vm.state()
        assert (found["boot"], found["boot_override"]) == (boot, override), action
    assert "boots from disk the next time" in way.do("boot-once-disk", boot_mode="bios")


@pytest.mark.parametrize("quirk", ["refuses", "drops"])
def test_one_that_refuses_or_hangs_up_is_asked_once_more_and_no_more(way: Way, quirk: str) -> None:
    def times(count: int) -> None:
        way.vm.quirks(refuses=count if quirk == "refuses" else 0, drops=count if quirk == "drops" else 0)

    times(1)
    assert (way.do("on"), way.power) == ("it is on", "on")
    if (way.kind, quirk) == (IpmiHammer, "drops"):
        return  # ipmitool waits five seconds each time
    times(9)
    problem = way.fails("off", timeout=2)
    assert isinstance(problem, TemporaryError)
    assert "was asked twice: it " in problem.detail
    assert way.power == "on"


def test_one_that_is_slow_is_waited_for(way: Way) -> None:
    way.vm.quirks(slow=0.2)
    began = time.monotonic()
    assert (way.do("on"), way.power) == ("it is on", "on")
    assert time.monotonic() - began > 0.4
    way.vm.quirks(slow=5.0)
    assert isinstance(way.fails("status", timeout=2), TemporaryError)


@pytest.mark.parametrize("action, says", [("off", "on"), ("on", "off"), ("reset", "off")])
def test_one_that_says_what_is_not_so_is_called_by_name(way: Way, action: str, says: str) -> None:
    way.vm.power("on" if action != "on" else "off")
    way.vm.quirks(says=says)
    problem = way.fails(action)
    assert isinstance(problem, TemporaryError), "the next hammer is to be tried"
    assert f"still says 0 s later that the machine is {says}" in problem.detail
    assert way.hammer().config["address"] in problem.detail
    assert NODE.name in problem.detail


def test_a_machine_that_comes_to_its_power_late_is_waited_for(way: Way) -> None:
    way.vm.quirks(says="off")

    def tell_the_truth() -> str:
        hammer = way.hammer(settle=30)
        first, read = [True], hammer.read

        def later() -> Any:
            found = read()
            if first.pop() if first else False:
                way.vm.quirks()
            return found

        hammer.read = later  # type: ignore[method-assign]
        return hammer.perform("on")

    assert inside(way.lab, tell_the_truth) == "it is on"


def test_another_password_user_or_address_is_said_and_the_password_is_not(way: Way) -> None:
    for more, kind in (
        ({"password": "other-Pw"}, Refused),
        ({"user": "nobody", "timeout": 2}, CrowbarError),
        ({"address": "10.77.200.1", "timeout": 2}, TemporaryError),
    ):
        problem = way.fails("status", **more)
        assert isinstance(problem, kind), problem
        assert "n1.example.org" in problem.detail
        assert "other-Pw" not in problem.detail
    assert "change the hammer's" in way.fails("status", password="other-Pw").detail


def test_it_is_reached_over_ipv6(way: Way) -> None:
    assert way.do("status", address=way.vm.plan.bmc_ipv6) == "off"


# ---- Redfish alone


@pytest.fixture
def redfish(lab: Lab) -> Way:
    return Way(RedfishHammer, lab, lab.vm("vm-1"), {})


def test_a_certificate_that_nobody_signed_is_refused_until_its_fingerprint_or_any_is_taken(redfish: Way) -> None:
    problem = redfish.fails("status")
    assert isinstance(problem, Refused)
    assert "shows a certificate that is none that this system trusts. If it is the right one, set" in problem.detail
    fingerprint = problem.detail.rpartition(" ")[2].rstrip(".")
    assert redfish.do("status", certificate=fingerprint) == "off"
    assert redfish.do("status", certificate=fingerprint.replace(":", "").lower()) == "off"
    other = ("00" if fingerprint[:2] != "00" else "11") + fingerprint[2:]
    problem = redfish.fails("status", certificate=other)
    assert "shows a certificate that is another one." in problem.detail
    assert fingerprint in problem.detail
    assert redfish.do("status", certificate="unchecked") == "off"


def test_what_a_bmc_does_not_offer_is_named_with_what_it_does(redfish: Way) -> None:
    said = redfish.fails("boot-once-http", certificate="plain-http").detail
    assert "does not boot from UefiHttp; it offers Hdd, None, Pxe." in said
    assert (
        "refused with 404: There is no /redfish/v1/Systems/9 here."
        in redfish.fails("status", certificate="plain-http", system="9").detail
    )


# ---------------------------------------------------------------- its console


@dataclass
class Listener:
    """Hears a console in a thread, as long as the block lasts."""

    way: Way
    more: dict[str, Any] = field(default_factory=dict)
    heard: bytearray = field(default_factory=bytearray)
    stopped: threading.Event = field(default_factory=threading.Event)
    ended: Any = None

    def __enter__(self) -> Listener:
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join(120)
        assert not self.thread.is_alive()

    def _listen(self) -> None:
        hammer = self.way.hammer(**self.more)
        try:
            self.ended = inside(self.way.lab, lambda: hammer.console(self.heard.extend, self.stopped))
        except CrowbarError as problem:
            self.ended = problem

    def hears(self, what: bytes) -> None:
        until = time.monotonic() + 60
        while what not in self.heard:
            assert time.monotonic() < until, (bytes(self.heard), self.ended)
            time.sleep(0.1)


@pytest.fixture
def ipmi(lab: Lab) -> Iterator[Way]:
    vm = lab.vm("vm-1")
    yield Way(IpmiHammer, lab, vm, {})
    vm.power("off")


def test_a_console_is_heard_by_one_at_a_time_and_given_back(ipmi: Way) -> None:
    with Listener(ipmi) as first:
        ipmi.vm.power("on")
        first.hears(b"iPXE")
        with Listener(ipmi) as second:
            second.thread.join(120)
        assert isinstance(second.ended, TemporaryError)
        assert "gives its console to another session" in second.ended.detail
        assert ipmi.do("reset") == "reset: it is on", "orders go on meanwhile"
        first.heard.clear()
        first.hears(b"iPXE")
    assert first.ended is True
    assert b"SOL Session" not in first.heard
    with Listener(ipmi) as third:
        ipmi.vm.power("reset")
        third.hears(b"iPXE")


def test_a_console_that_is_not_to_be_had_is_told(ipmi: Way) -> None:
    with Listener(ipmi, {"password": "wrong"}) as one:
        one.thread.join(120)
    assert isinstance(one.ended, Refused)
    assert "has another password for admin" in one.ended.detail
    with Listener(ipmi, {"address": "192.0.2.1", "timeout": 1}) as one:
        one.thread.join(120)
    assert isinstance(one.ended, TemporaryError), one.ended
    with Listener(ipmi, {"console": False}) as one:
        one.thread.join(120)
    assert one.ended is False


def test_the_hammer_of_a_lab_hears_the_serial_port_of_its_machines(lab: Lab) -> None:
    vm = lab.vm("vm-1")
    hammer = LabHammer({"lab": lab.name, "node": "vm-1", "state_dir": str(lab.directory.parent)})
    heard, stopped = bytearray(), threading.Event()
    thread = threading.Thread(target=hammer.console, args=(heard.extend, stopped))
    thread.start()
    before = len(vm.console())
    vm.power("reset")
    vm.await_console("iPXE", after=before)
    vm.power("off")
    until = time.monotonic() + 60
    while not bytes(heard).endswith(vm.console_log.read_bytes()[-200:]):
        assert time.monotonic() < until, bytes(heard)
        time.sleep(0.1)
    stopped.set()
    thread.join(60)
    assert not thread.is_alive()
