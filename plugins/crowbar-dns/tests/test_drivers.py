"""Each driver against real servers, with changes at random and kills: at the end nothing differs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowbar_dns.drivers import Server, ServerDenies, ServerDown, driver_of
from crowbar_dns.testing import REVERSE, check_dns_driver
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from .servers import KINDS

pytestmark = pytest.mark.lab

ZONE = "example.test"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(f"dnsd-{os.getpid()}", nodes=0, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()) as lab:
        yield lab


@pytest.mark.timeout(900)
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

    inside(lab, work, timeout=900)
