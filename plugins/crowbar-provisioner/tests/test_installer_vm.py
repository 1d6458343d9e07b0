"""Debian's own installer in a virtual machine: booted with what the boot service says, as far as it gets without a
mirror.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import crowbar_jig_script
import crowbar_provisioner
import pytest
from crowbar_jig_script.hammer import SshHammer
from crowbar_lab.lab import Lab
from crowbar_lab.netboot import NetBoot
from crowbar_lab.testing import begin_inside
from crowbar_provisioner.describing import read
from crowbar_provisioner.sledgehammer import packages
from crowbar_provisioner.trees import add

from crowbar_core import SetHammer
from crowbar_core.testing import FakeJig, Testbed

from .conftest import Bmc
from .light import GIB, Machine, listening
from .test_on_nodes import PORT, gateway_of

pytestmark = [pytest.mark.vms, pytest.mark.timeout(1200)]
BOOT_SECONDS = 900.0
PACKAGE = "debian-installer-12-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
NAME, ROLE = "debian-12-preseed", "provisioner-os-install"


@pytest.fixture(scope="module")
def netboot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernel and the initrd of Debian's network installer, as its package brings them."""
    place = tmp_path_factory.mktemp("netboot")
    found = packages.fetch((), Path(".cache/packages").absolute(), alone=(PACKAGE,))
    packages.unpack([one for one in found if one.name.startswith(PACKAGE)], place)
    tree = place / "tree"
    tree.mkdir()
    for name in ("linux", "initrd.gz"):
        (place / IMAGES / name).rename(tree / name)
    return tree


def test_debians_installer_takes_its_answers_says_that_it_is_at_work_and_asks_its_mirror(
    netboot: Path, tmp_path: Path
) -> None:
    with Lab.create("prov-di", nodes=0, state_dir=tmp_path, owner=os.getpid()) as lab, NetBoot(lab) as dhcp:
        dhcp.files["/boot.ipxe"] = f"#!ipxe\nchain http://{gateway_of(lab)}:{PORT}/boot.ipxe\n"
        [vm] = lab.add_vms(1, firmware="bios", disks=(8,), memory=1024)
        root = tmp_path / "files"
        described = read(
            Path(crowbar_provisioner.__file__).with_name("oses").joinpath(f"{NAME}.json").read_bytes(), NAME
        )
        add(root, described, netboot, mirror=f"{dhcp.url}/debian")
        config = {
            "listen": [f"0.0.0.0:{PORT}"], "files": str(root), "domain": "lab.test",
            "kernel_arguments": ["console=ttyS0"],
        }  # fmt: skip

        def inside() -> None:
            keys = {"key_file": str(lab.private_key), "ping": False}
            with (
                Testbed(
                    crowbar_jig_script, crowbar_provisioner, jigs={"script": FakeJig()},
                    hammers={"bmc": Bmc, "ssh": SshHammer},
                    config={"provisioner": config, "jig-script": keys},
                ) as bed,
                bed.service("provisioner-boot"),
            ):  # fmt: skip
                listening(PORT)
                web: Any = bed.web("operator")
                disk = {"name": "vda", "size": 8 * GIB, "serial": vm.plan.disk_serials()[0], "transport": "virtio"}
                machine = Machine((gateway_of(lab), PORT), [vm.plan.macs[0]], uuid=vm.plan.uuid, more={"disks": [disk]})
                machine.power_on()
                name = machine.registered()["node"]
                machine.ask("POST", "/v1/alive", {"alive": True})
                assert web.put(f"/api/v2/machines/{name}/accept").status_code == 200
                bed.apply(SetHammer(node=name, name="bmc"))
                bed.bind(ROLE, name)
                bed.set("provisioner-os", NAME, node=name, role=ROLE)
                bed.commit()
                bed.anneal_until_quiet()
                vm.power("on")

                def step() -> bool:
                    bed.anneal_until_quiet()
                    run = web.get(f"/api/v2/runs/{bed.runs(ROLE, name)[-1].id}").json
                    return bool(run["timeline"][-1]["name"] == "installing")

                deadline = time.monotonic() + BOOT_SECONDS
                while not step():
                    assert time.monotonic() < deadline, f"it does not install: {vm.console()[-2000:]}"
                    time.sleep(0.2)
                [row] = web.get(f"/api/v2/machines?name={name}&fields=source,timeline").json
                assert row["source"] != gateway_of(lab), "the address of the installer is known"
                assert "install: installer done" in [line["what"] for line in row["timeline"]]
                dhcp.await_request("/debian/dists/bookworm/Release", seconds=BOOT_SECONDS)
                print(f"From power-on to its mirror {vm.cpu_seconds():.1f} s of QEMU's processor time")

        begin_inside(lab, inside).result()
