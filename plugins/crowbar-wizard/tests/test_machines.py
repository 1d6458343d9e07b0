"""From an empty database to a machine: answers in a file, a bare virtual machine switched on, and nothing else done."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml
from crowbar_lab.vm_plan import BMC_PASSWORD, BMC_USER
from crowbar_lab.vms import LabVm
from crowbar_provisioner.claims import uuid_of

from .conftest import Place, place_in

pytestmark = [pytest.mark.vms, pytest.mark.timeout(2400)]
SOME = 32 << 20
MANAGED_CPU, INSTALLED_CPU = 40.0, 110.0
"""Seconds of QEMU's processor time since power-on. On a host with other work 11 to 30, and 52 (BIOS), 47 (BIOS with a
BMC, which has it boot from its disk), 60 (UEFI with one) and 86 (UEFI over IPv6 alone)."""
WAITING_CPU = {"managed": 90.0, "installed": 200.0}
"""Where there is IPv6 alone: for its addresses the firmware waits half a minute at each start, and iPXE, which asks by
IPv4 first, a quarter of one, both busily. On an idle host 54 and 127, of which 90 are these."""
BOOT_SECONDS = 900.0  # of a busy host; an idle one takes a tenth of it


@pytest.mark.parametrize("firmware, bmc", [("bios", False), ("bios", True), ("uefi", True)])
def test_a_machine_is_installed_and_managed_from_its_disk(
    with_image: Path, tmp_path: Path, firmware: str, bmc: bool
) -> None:
    with place_in(tmp_path, **settings_of(with_image)) as place:
        ready(place, tmp_path)
        [vm] = place.lab.add_vms(1, firmware=firmware, disks=(2,), memory=768)
        node = discovered(place, vm)
        if bmc:
            bind_bmc(place, vm, node)
        install(place, node)
        check_installed(place, vm, node)
        lines = [one["detail"] for one in place.api.get("machines", node, query={"fields": "timeline"})["timeline"]]
        asked = [line for line in lines if line.startswith("local, ")]
        assert len(asked) == (0 if bmc else 1), "a BMC has it boot from its disk, without a way over the network"
        assert (vm.state()["boot"], vm.state()["boot_override"]) == ("Pxe", "Disabled"), "once, and no more"


def test_a_machine_is_installed_and_managed_where_there_is_ipv6_alone(with_image: Path, tmp_path: Path) -> None:
    with place_in(tmp_path, **settings_of(with_image)) as place:
        ready(place, tmp_path, family=6)
        assert [one["name"] for one in place.api.get("networks", "admin")["ranges"]] == ["host-v6"]
        [vm] = place.lab.add_vms(1, ipv6_only=True, disks=(2,), memory=768)
        node = discovered(place, vm, most=WAITING_CPU["managed"])
        assert ":" in place.api.get("machines", node)["source"]
        install(place, node)
        check_installed(place, vm, node, cpu=WAITING_CPU["installed"])
        addresses = place.api.get("nodes", node)["discovery"]["inventory"]["addresses"]
        assert [one for one in addresses if ":" in one] == addresses != []


def test_a_machine_that_is_redeployed_is_installed_anew_once_and_its_roles_run_on_the_new_system(
    with_image: Path, tmp_path: Path
) -> None:
    with place_in(tmp_path, **settings_of(with_image)) as place:
        ready(place, tmp_path)
        [vm] = place.lab.add_vms(1, firmware="uefi", disks=(2,), memory=768)
        node = discovered(place, vm)
        bind_bmc(place, vm, node)
        install(place, node)
        check_installed(place, vm, node)
        first = place.api.get("nodes", node)["host_keys"]
        assert on_machine(place, node, "hostname >/root/first && cat /root/first") == node.partition(".")[0]
        before = runs_on(place, node)
        said = place.crowbar("nodes", "redeploy", node, "--plan")
        assert f"{node}: vda" in said.stdout, said.stdout + said.stderr
        assert "is ERASED, and debian-12 written to it" in said.stdout
        assert place.crowbar("nodes", "redeploy", node).returncode == 2, "nobody has typed its name"
        done = place.crowbar("nodes", "redeploy", node, "--yes")
        assert done.returncode == 0, done.stderr
        awaited(lambda: not is_active(place, "crowbar-installed-node", node), lambda: told(place, vm))
        check_installed(place, vm, node, times=2, cpu=2 * INSTALLED_CPU)
        assert set(place.api.get("nodes", node)["host_keys"]).isdisjoint(first)
        assert on_machine(place, node, "ls /root") == "", "nothing of the first system is left"
        after = runs_on(place, node)
        assert after[-1] != "provisioner-os-install"
        assert after[len(before) :].count("provisioner-os-install") == 1
        installed = len(after) - 1 - after[::-1].index("provisioner-os-install")
        assert "provisioner-discovered" in after[installed:]
        row = place.api.get("machines", node, query={"fields": "timeline"})
        lines = [one["what"] for one in row["timeline"]]
        assert [lines.count(f"install: {one}") for one in ("begins", "installed done", "done")] == [2, 2, 2]


def test_power_cut_while_the_image_is_written_and_a_server_killed_while_the_machine_restarts(
    with_image: Path, tmp_path: Path
) -> None:
    with place_in(tmp_path, **settings_of(with_image)) as place:
        ready(place, tmp_path)
        [vm] = place.lab.add_vms(1, firmware="bios", disks=(2,), memory=768)
        node = discovered(place, vm)
        install(place, node)

        def row() -> dict[str, Any]:
            found: list[dict[str, Any]] = list(place.api.rows("installations", query={"node": node}))
            return found[-1] if found else {"state": "", "step": "", "percent": 0}

        def in_the_midst() -> bool:
            return row()["step"] == "image" and vm.disk().stat().st_blocks * 512 > SOME

        awaited(in_the_midst, lambda: f"{row()} {told(place, vm)}")
        vm.power("off")
        assert (row()["state"], row()["step"]) == ("writing", "image"), "it was in the midst of it"
        vm.power("on")
        awaited(lambda: row()["state"] == "restarting", lambda: f"{row()} {told(place, vm)}")
        place.kill_server()
        place.start_server()
        check_installed(place, vm, node)
        lines = [one["what"] for one in place.api.get("machines", node, query={"fields": "timeline"})["timeline"]]
        assert [lines.count(f"install: {one}") for one in ("begins", "image begun", "installed done", "done")] == [
            1, 2, 1, 1,
        ]  # fmt: skip


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_machine_that_is_switched_on_is_a_managed_node(files: Path, tmp_path: Path, firmware: str) -> None:
    with place_in(tmp_path, **settings_of(files)) as place:
        ready(place, tmp_path)
        [vm] = place.lab.add_vms(1, firmware=firmware, disks=(1,))
        name = discovered(place, vm)
        machine = place.api.get("machines", name)
        assert (machine["state"], machine["firmware"], machine["uuid"]) == ("accepted", firmware, uuid_of(vm.plan.uuid))


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_machine_that_is_switched_on_while_the_server_is_down_comes_once_it_is_back(
    files: Path, tmp_path: Path, firmware: str
) -> None:
    with place_in(tmp_path, **settings_of(files)) as place:
        ready(place, tmp_path)
        [vm] = place.lab.add_vms(1, firmware=firmware, disks=(1,))
        place.kill_server()
        vm.power("on")
        # By then the server has been down for a minute since the machine asked first.
        vm.await_console("asked again in 10 s", seconds=BOOT_SECONDS)
        place.start_server()
        name = discovered(place, vm, most=inf)
        assert vm.state()["starts"] == 1, "nobody has reset it"
        assert place.api.get("machines", name)["firmware"] == firmware


@pytest.mark.parametrize("family", [4, 6])
def test_a_machine_whose_firmware_has_no_pxe_boots_over_http_and_is_a_managed_node(
    files: Path, tmp_path: Path, family: int
) -> None:
    """With 6, on a network that has IPv6 alone: which this firmware tries when nobody has answered over IPv4."""
    with place_in(tmp_path, **settings_of(files)) as place:
        ready(place, tmp_path, family=family)
        [vm] = place.lab.add_vms(1, http_boot=True, disks=(1,))
        name = discovered(place, vm, most=MANAGED_CPU if family == 4 else inf)
        row = place.api.get("machines", name)
        assert (row["state"], row["firmware"]) == ("accepted", "uefi")
        said = vm.console()
        assert f"Start HTTP Boot over IPv{family}" in said
        assert "Start PXE over" not in said


def settings_of(files: Path) -> dict[str, str]:
    return {
        "CROWBAR_PLUGINS__PROVISIONER__LISTEN": "0.0.0.0:8091,[::]:8091",
        "CROWBAR_PLUGINS__PROVISIONER__FILES": str(files),
        "CROWBAR_PLUGINS__PROVISIONER__KERNEL_ARGUMENTS": "console=ttyS0,quiet",
    }


def ready(place: Place, directory: Path, *, family: int = 4) -> None:
    """The first questions are answered, and what serves machines is set up. With 6, the network has IPv6 alone."""
    node, subnet = place.lab.nodes[0], str(place.lab.describe()[f"ipv{family}"])
    own = node.ipv4 if family == 4 else node.ipv6
    answers: dict[str, Any] = {
        "machine": {"name": node.name, "address": f"{own}/{subnet.partition('/')[2]}"},
        "network": {"conduit": "?1g1"}, "dhcp": None, "discovery": {"accept_subnet": subnet},
    }  # fmt: skip
    file = directory / "answers.yaml"
    file.write_text(yaml.safe_dump(answers))
    said = place.crowbar("init", "--answers", str(file))
    assert said.returncode == 0, said.stderr
    settled = place.crowbar("converge", "--timeout", "240")
    assert (settled.returncode, not_active(place)) == (0, []), settled.stderr


def discovered(place: Place, vm: LabVm, *, most: float = MANAGED_CPU) -> str:
    """Switched on; returns the managed node that it becomes. ``most``: seconds of QEMU's processor time."""
    vm.power("on")
    name = name_of(place, vm)
    awaited(lambda: is_active(place, "crowbar-managed-node", name), lambda: told(place, vm))
    used = vm.cpu_seconds()
    print(f"{vm.plan.firmware}: to managed {used:.1f} s of QEMU's processor time")
    assert used <= most
    return name


def install(place: Place, node: str) -> None:
    place.api.post("node_roles", body={"node_id": node, "role_id": "provisioner-os-install"})
    lines = [one["text"] for one in place.api.get("deployments", "system", "plan")["lines"]]
    assert any("is ERASED, and debian-12 written to it" in one for one in lines), lines
    place.api.put("deployments", "system", "commit")


def bind_bmc(place: Place, vm: LabVm, node: str) -> None:
    """As an operator says where its BMC is, and who logs in there: once that is committed, it powers the machine."""
    said = {"bmc-address": vm.plan.bmc_ipv4, "bmc-user": BMC_USER, "bmc-password": BMC_PASSWORD}
    place.api.post("node_roles", body={"node_id": node, "role_id": "provisioner-bmc", "data": {"provisioner": said}})


def check_installed(place: Place, vm: LabVm, name: str, *, times: int = 1, cpu: float = INSTALLED_CPU) -> None:
    """By one run each time, and from its disk."""
    awaited(lambda: is_active(place, "crowbar-installed-node", name), lambda: told(place, vm))
    used = vm.cpu_seconds()
    print(f"{vm.plan.firmware}: to installed {used:.1f} s of QEMU's processor time")
    assert used <= cpu
    awaited(lambda: not not_active(place), lambda: told(place, vm))
    node = place.api.get("nodes", name)
    assert (node["bootenv"], node["served_bootenv"], node["alive"]) == ("local", "local", True)
    runs = [one["state"] for one in place.api.rows("runs", query={"node": name, "role": "provisioner-os-install"})]
    assert runs == ["succeeded"] * times


def runs_on(place: Place, node: str) -> list[str]:
    """The roles that were run there with success, in their order."""
    runs = [one for one in place.api.rows("runs", query={"node": node}) if one["state"] == "succeeded"]
    return [one["role"] for one in sorted(runs, key=lambda one: int(one["id"]))]


def on_machine(place: Place, node: str, command: str) -> str:
    """What it prints there as root. The machine shows the host key that Crowbar knows."""
    row, known = place.api.get("nodes", node), place.directory / "known_hosts"
    address = row["addresses"][0]
    known.write_text("".join(f"{address} {key}\n" for key in row["host_keys"]))
    line = ["ssh", "-F", "none", "-i", str(place.lab.private_key), "-o", f"UserKnownHostsFile={known}"]
    line += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", f"root@{address}", command]
    done = place.lab.exec(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip())


def name_of(place: Place, vm: LabVm) -> str:
    return f"d{vm.plan.macs[0].replace(':', '-')}.{place.lab.nodes[0].name.partition('.')[2]}"


def is_active(place: Place, role: str, node: str) -> bool:
    found = place.api.rows("node_roles", query={"role": role})
    return any(one["node"] == node and one["state_name"] == "ACTIVE" for one in found)


def told(place: Place, vm: LabVm) -> str:
    return f"{not_active(place)}\n{vm.console()[-2500:]}"


def not_active(place: Place) -> list[str]:
    return [
        f"{one['node']} {one['role']} {one['state_name']}: {place.api.get('node_roles', one['id'], 'why')['summary']}"
        for one in place.api.rows("node_roles") if one["state_name"] != "ACTIVE"
    ]  # fmt: skip


def awaited(question: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while not question():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)
