"""An installation whose boot environment no DHCP server serves: it waits, and ends with the step in which it waited."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
import crowbar_provisioner
import paramiko
import pytest
from crowbar_jig_script.hammer import SshHammer

from crowbar_core import ServedBootEnv
from crowbar_core.testing import FakeJig, Testbed, free_port

from .conftest import Bmc, Site
from .light import listening
from .test_installing import IMAGE, ROLE, Installation, describe

HOUR = 3600.0


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Installation]:
    """It has begun. Servers of DHCP are told what is wanted here, and say nothing of themselves."""
    root = tmp_path / "files"
    for name in ("sledgehammer", "loaders", "images"):
        (root / name).mkdir(parents=True)
    (root / "images" / "debian-12.raw").write_bytes(IMAGE)
    paramiko.RSAKey.generate(2048).write_private_key_file(str(tmp_path / "key"))
    port = free_port()
    provisioner = {"listen": [f"127.0.0.1:{port}"], "files": str(root), "domain": "example.org"}
    barclamps = (crowbar_jig_script, crowbar_network, crowbar_dhcp, crowbar_provisioner)
    with (
        Testbed(
            *barclamps, jigs={name: FakeJig() for name in ("network", "script", "dhcp")},
            hammers={"bmc": Bmc, "ssh": SshHammer},
            config={"provisioner": provisioner, "jig-script": {"key_file": str(tmp_path / "key"), "ping": False}},
        ) as bed,
        bed.service("provisioner-boot"),
    ):  # fmt: skip
        listening(port)
        site = Site(bed=bed, port=port, root=root, numbers=itertools.count(1))
        describe(site)
        bed.bind("dhcp-database")
        bed.commit()
        for machine in site.managed():
            found = Installation(site, machine)
            found.begin()
            yield found


def serve(one: Installation, bootenv: str) -> None:
    one.site.bed.apply(ServedBootEnv(node=one.name, bootenv=bootenv))
    one.settle()


def wait(one: Installation, hours: float) -> None:
    one.site.bed.clock.advance(hours * HOUR)  # type: ignore[attr-defined]
    one.settle()


def write(one: Installation) -> None:
    serve(one, "debian-12-install")
    one.comes_and_is_written()


def test_nothing_is_reset_before_its_installer_is_served(one: Installation) -> None:
    assert (one.step, Bmc.told) == ("serving", [])
    wait(one, 2)
    assert one.state == "ERROR"
    assert "In the step serving: what it is to boot was not served" in one.site.bed.why(ROLE, one.name)
    assert Bmc.told == []
    assert one.site.web.put(f"/api/v2/node_roles/{one.site.bed.node_role(ROLE, one.name).id}/retry").status_code == 200
    one.settle()
    serve(one, "debian-12-install")
    assert (one.step, Bmc.told) == ("booting", [(one.name, "reset")])


def test_no_installer_leaves_before_local_boot_is_served(one: Installation) -> None:
    write(one)
    assert one.step == "leaving"
    assert one.machine.work()["work"] is None
    wait(one, 2)
    assert one.state == "ERROR"
    assert "In the step leaving: local boot was not served" in one.site.bed.why(ROLE, one.name)


def test_it_leaves_once_local_boot_is_served(one: Installation) -> None:
    write(one)
    serve(one, "local")
    assert one.step == "restarting"
    assert one.machine.work()["work"]["do"] == "reboot"
