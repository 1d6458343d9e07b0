"""Virtual machines with real firmware: from power-on through the boot service to a node that is managed over SSH."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import crowbar_jig_script
import crowbar_provisioner
import pytest
from crowbar_jig_script.hammer import SshHammer
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab
from crowbar_lab.netboot import NetBoot
from crowbar_lab.testing import begin_inside
from crowbar_provisioner.boot import loading
from crowbar_provisioner.sledgehammer import build

from crowbar_core import Hammer
from crowbar_core.testing import Testbed

from .light import listening
from .test_on_nodes import PORT, gateway_of

pytestmark = pytest.mark.vms
BOOT_SECONDS = 300.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the boot service serves: the discovery image, made of packages."""
    root = tmp_path_factory.mktemp("files")
    (root / "sledgehammer").mkdir()
    build.build(root / "sledgehammer", kernel="cloud", cache=Path(".cache/packages").absolute())
    return root


def awaited(question: Callable[[], Any], what: Callable[[], str]) -> Any:
    deadline = time.monotonic() + BOOT_SECONDS
    while not (answer := question()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)
    return answer


def bed_in(
    lab: Lab, files: Path, *, hammers: Mapping[str, type[Hammer]] | None = None, words: Sequence[str] = ()
) -> Testbed:
    keys = {"key_file": str(lab.private_key), "connect_timeout": 10.0, "ping_timeout": 5.0}
    provisioner = {
        "listen": [f"0.0.0.0:{PORT}", f"[::]:{PORT}"], "files": str(files), "domain": "lab.test",
        "kernel_arguments": ["console=ttyS0", "quiet", *words],
    }  # fmt: skip
    return Testbed(
        crowbar_jig_script, crowbar_provisioner, jigs={"script": ScriptJig(keys)},
        hammers={"ssh": SshHammer, **(hammers or {})},
        config={"provisioner": provisioner, "jig-script": keys},
    )  # fmt: skip


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_bare_machine_is_discovered_accepted_and_managed(files: Path, tmp_path: Path, firmware: str) -> None:
    with Lab.create(f"prov-vm-{firmware}", nodes=0, state_dir=tmp_path, owner=os.getpid()) as lab, NetBoot(lab) as dhcp:
        dhcp.files["/boot.ipxe"] = f"#!ipxe\nchain http://{gateway_of(lab)}:{PORT}/boot.ipxe\n"
        [vm] = lab.add_vms(1, firmware=firmware, disks=(1,))

        def inside() -> None:
            with bed_in(lab, files) as bed, bed.service("provisioner-boot"):
                listening(PORT)
                web: Any = bed.web("operator")
                vm.power("on")

                def machines() -> list[dict[str, Any]]:
                    found: list[dict[str, Any]] = web.get("/api/v2/machines").json
                    return [one for one in found if bed.node(one["name"]).host_keys]

                [machine] = awaited(machines, lambda: f"it did not register: {vm.console()[-2000:]}")
                name = machine["name"]
                assert (machine["state"], name) == (
                    "quarantined",
                    f"d{vm.plan.macs[0].replace(':', '-')}.lab.test",
                )
                discovered: Any = bed.node(name).discovery["inventory"]
                assert (discovered["uuid"], discovered["firmware"]) == (vm.plan.uuid, firmware)
                awaited(lambda: bed.node(name).alive, lambda: "it did not say that it is alive")
                assert web.put(f"/api/v2/machines/{name}/accept").status_code == 200
                bed.anneal_until_quiet(within=120)
                assert bed.state("crowbar-managed-node", name) == "ACTIVE", bed.why("provisioner-discovered", name)
                assert bed.value("provisioner-runs", name, role="provisioner-discovered") != "disk"
                print(f"{firmware}: from power-on to managed {vm.cpu_seconds():.1f} s of QEMU's processor time")

        begin_inside(lab, inside).result()


def test_a_loader_that_finds_no_system_on_the_disk_leads_back(tmp_path: Path) -> None:
    assert not [line for line in loading.prepare(tmp_path / "files") if "local.efi" in line]
    with Lab.create("prov-vm-back", nodes=0, state_dir=tmp_path, owner=os.getpid()) as lab, NetBoot(lab) as boot:
        boot.files["/local.efi"] = tmp_path / "files/loaders/local.efi"
        boot.files["/back"] = "#!ipxe\nsleep 1000\n"
        boot.files["/boot.ipxe"] = f"#!ipxe\nchain {boot.url}/local.efi ||\nchain {boot.url}/back\n"
        [vm] = lab.add_vms(1, firmware="uefi", disks=(1,))
        vm.power("on")
        boot.await_request("/local.efi", seconds=BOOT_SECONDS)
        boot.await_request("/back", seconds=BOOT_SECONDS)
        assert "Unknown command" not in vm.console()
