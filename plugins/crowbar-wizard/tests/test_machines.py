"""From an empty database to a machine: answers in a file, a bare virtual machine switched on, and nothing else done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from crowbar_provisioner.claims import uuid_of
from crowbar_provisioner.sledgehammer import build

from .conftest import Place, place_in

pytestmark = pytest.mark.vms
BOOT_SECONDS = 400.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the boot service serves: the discovery image, made of packages."""
    root = tmp_path_factory.mktemp("files")
    (root / "sledgehammer").mkdir()
    build.build(root / "sledgehammer", kernel="cloud", cache=Path(".cache/packages").absolute())
    return root


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_machine_that_is_switched_on_is_a_managed_node(files: Path, tmp_path: Path, firmware: str) -> None:
    settings = {
        "CROWBAR_PLUGINS__PROVISIONER__LISTEN": "0.0.0.0:8091,[::]:8091",
        "CROWBAR_PLUGINS__PROVISIONER__FILES": str(files),
        "CROWBAR_PLUGINS__PROVISIONER__KERNEL_ARGUMENTS": "console=ttyS0,quiet",
    }
    with place_in(tmp_path, **settings) as place:
        node, described = place.lab.nodes[0], place.lab.describe()
        subnet = described["ipv4"]
        answers: dict[str, Any] = {
            "machine": {"name": node.name, "address": f"{node.ipv4}/{subnet.partition('/')[2]}"},
            "network": {"conduit": "?1g1"}, "dhcp": None, "discovery": {"accept_subnet": subnet},
        }  # fmt: skip
        file = tmp_path / "answers.yaml"
        file.write_text(yaml.safe_dump(answers))
        told = place.crowbar("init", "--answers", str(file))
        assert told.returncode == 0, told.stderr
        settled = place.crowbar("converge", "--timeout", "240")
        assert (settled.returncode, not_active(place)) == (0, []), settled.stderr

        [vm] = place.lab.add_vms(1, firmware=firmware, disks=(1,))
        vm.power("on")
        name = f"d{vm.plan.macs[0].replace(':', '-')}.{node.name.partition('.')[2]}"

        def managed() -> bool:
            found = place.api.rows("node_roles", query={"role": "crowbar-managed-node"})
            return any(one["node"] == name and one["state_name"] == "ACTIVE" for one in found)

        awaited(managed, lambda: f"{not_active(place)}\n{vm.console()[-2000:]}")
        print(f"{firmware}: from power-on to managed {vm.cpu_seconds():.1f} s of QEMU's processor time")
        machine = place.api.get("machines", name)
        assert (machine["state"], machine["firmware"], machine["uuid"]) == ("accepted", firmware, uuid_of(vm.plan.uuid))


def not_active(place: Place) -> list[str]:
    return [
        f"{one['node']} {one['role']} {one['state_name']}: {place.api.get('node_roles', one['id'], 'why')['summary']}"
        for one in place.api.rows("node_roles") if one["state_name"] != "ACTIVE"
    ]  # fmt: skip


def awaited(question: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while not question():
        assert time.monotonic() < deadline, what()
        time.sleep(0.5)
