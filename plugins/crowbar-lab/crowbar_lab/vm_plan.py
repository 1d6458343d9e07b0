"""What a virtual machine of a lab is: its parts, its names and addresses, and QEMU's command line, decided without
touching anything.

QEMU emulates the processor (TCG). A /dev/kvm may be there and still not boot a kernel, and a machine of a lab has
little to compute. Standard library only.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crowbar_lab.errors import LabError
from crowbar_lab.plan import Subnets, check_node_name

FIRMWARES = ("bios", "uefi")
MAX_VMS = 64
MAX_DISKS = 12
MAX_NICS = 8
FIRST_BMC_IPV6 = 0xB000
"""BMCs are from here on in the IPv6 subnet, and from the end of the IPv4 subnet down: nodes are counted from below."""
BMC_USER, BMC_PASSWORD = "admin", "crowbar"
"""Of every BMC: who is in the lab's network may power its machines anyway."""
NOBODY = 65534

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
    "nice": "coreutils",
}
FILES = {
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "/usr/share/OVMF/OVMF_VARS_4M.fd": "ovmf",
    "/usr/lib/ipxe/qemu/pxe-virtio.rom": "ipxe-qemu",
}
CODE, VARIABLES, _ = FILES


@dataclass(frozen=True, kw_only=True)
class VmPlan:
    """A virtual machine. ``disks`` are sizes in GiB; ``memory`` is in MiB; addresses of the BMC have no prefix."""

    number: int
    name: str
    firmware: str
    memory: int
    cpus: int
    disks: tuple[int, ...]
    macs: tuple[str, ...]
    uuid: str
    serial: str
    ipv6_only: bool
    http_boot: bool
    bmc_ipv4: str
    bmc_ipv6: str
    bmc_mac: str

    @property
    def redfish(self) -> str:
        return f"http://{self.bmc_ipv4}"

    def disk_serials(self) -> tuple[str, ...]:
        return tuple(f"{self.serial}-D{index}" for index in range(len(self.disks)))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> VmPlan:
        """What ``as_json`` made."""
        return cls(**{**told, "disks": tuple(told["disks"]), "macs": tuple(told["macs"])})


def plan_vms(
    count: int,
    nets: Subnets,
    *,
    lab: str,
    domain: str,
    first: int = 1,
    firmware: str | None = None,
    memory: int = 512,
    cpus: int = 1,
    disks: Sequence[int] = (4,),
    nics: int = 1,
    ipv6_only: bool = False,
    http_boot: bool = False,
) -> list[VmPlan]:
    """The next machines, from the number ``first`` on; without ``firmware``, BIOS and UEFI take turns.

    ``lab`` is the lab's name or id: machines of two labs differ in UUID and serial number. ``LabError`` says what
    cannot be.
    """
    if firmware not in (None, *FIRMWARES):
        raise LabError(f"A virtual machine has the firmware {' or '.join(FIRMWARES)}, and {firmware!r} is neither.")
    if http_boot and firmware == "bios":
        raise LabError("Firmware that boots over HTTP is UEFI: give no --firmware, or uefi, with --http-boot.")
    if ipv6_only and firmware == "bios":
        raise LabError("Firmware that leaves out PXE over IPv4 is UEFI: give no --firmware, or uefi, with --ipv6-only.")
    if not (1 <= nics <= MAX_NICS and len(disks) <= MAX_DISKS and cpus >= 1 and memory >= 128):
        raise LabError(
            f"A virtual machine has 1 to {MAX_NICS} cards, up to {MAX_DISKS} disks, at least one processor and 128 MiB."
        )
    if any(not 1 <= size <= 1024 for size in disks):
        raise LabError("A disk of a virtual machine has from 1 to 1024 GiB.")
    if first + count - 1 > MAX_VMS:
        raise LabError(f"A lab holds at most {MAX_VMS} virtual machines.")
    fixed = "uefi" if ipv6_only or http_boot else firmware
    made = []
    for number in range(first, first + count):
        four, six = _bmc_addresses(number, nets)
        made.append(
            VmPlan(
                number=number,
                name=check_node_name(f"vm-{number}.{domain}"),
                firmware=fixed or FIRMWARES[(number - 1) % 2],
                memory=memory,
                cpus=cpus,
                disks=tuple(disks),
                macs=tuple(f"52:54:00:77:{nic:02x}:{number:02x}" for nic in range(nics)),
                uuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"vm-{number}.{lab}")),
                serial=f"LAB{uuid.uuid5(uuid.NAMESPACE_DNS, lab).hex[:6].upper()}{number:03d}",
                ipv6_only=ipv6_only,
                http_boot=http_boot,
                bmc_ipv4=str(four),
                bmc_ipv6=str(six),
                bmc_mac=f"52:54:00:77:bc:{number:02x}",
            )
        )
    return made


def _bmc_addresses(number: int, nets: Subnets) -> tuple[ipaddress.IPv4Address, ipaddress.IPv6Address]:
    if nets.ipv4.num_addresses < 2 * MAX_VMS or nets.ipv6.num_addresses <= FIRST_BMC_IPV6 + MAX_VMS:
        raise LabError(
            f"The subnets {nets.ipv4} and {nets.ipv6} have no room for BMCs: "
            "virtual machines take an IPv4 subnet of /25 or larger and an IPv6 subnet of /111 or larger."
        )
    return nets.ipv4[-1 - number], nets.ipv6[FIRST_BMC_IPV6 + number]


# ---- QEMU


TARGETS = ("Pxe", "Hdd")
"""What a machine can boot from, as Redfish calls it: a card, or a disk."""


def boot_order(plan: VmPlan, first: str) -> dict[str, int]:
    """The ``bootindex`` of each device of QEMU's: cards first, or disks first. The disks' never change."""
    cards = 1 if first == "Pxe" else 200
    order = {f"nic{index}": cards + index for index in range(len(plan.macs))}
    return order | {f"disk{index}": 100 + index for index in range(len(plan.disks))}


def tap(plan: VmPlan, nic: int) -> str:
    return f"vm{plan.number}n{nic}"


CPU = "max,-erms,-la57,-svm"
"""Copying by one instruction is several times slower than a loop where instructions are translated. Without machines in
the machine, no kernel loads what they take."""


def qemu_command(plan: VmPlan, first: str, *, qemu: str, place: str) -> list[str]:
    """The machine, which boots from ``first``. In ``place`` are the files ``disk0`` and so on, with UEFI ``variables``,
    ``console.log`` and the socket ``qmp``.
    """
    order = boot_order(plan, first)
    line = [qemu, "-name", plan.name, "-nodefaults", "-display", "none", "-machine", "q35,graphics=off", "-cpu", CPU]
    line += ["-accel", "tcg,thread=multi,tb-size=128", "-smp", str(plan.cpus), "-m", str(plan.memory)]
    line += ["-uuid", plan.uuid, "-smbios", f"type=1,manufacturer=Crowbar,product=Lab machine,serial={plan.serial}"]
    line += ["-smbios", f"type=2,manufacturer=Crowbar,product=Lab board,serial={plan.serial}-B"]
    line += ["-chardev", f"file,id=console,path={place}/console.log,append=on", "-serial", "chardev:console"]
    line += ["-qmp", f"unix:{place}/qmp,server=on,wait=off", "-device", "virtio-rng-pci"]
    if plan.firmware == "uefi":
        line += ["-drive", f"if=pflash,format=raw,readonly=on,file={CODE}"]
        line += ["-drive", f"if=pflash,format=raw,file={place}/variables"]
    for family, lacking in ((4, plan.ipv6_only or plan.http_boot), (6, plan.http_boot)):
        line += ["-fw_cfg", f"name=opt/org.tianocore/IPv{family}PXESupport,string=n"] if lacking else []
    # UEFI has PXE of its own, as hardware has; BIOS has that of QEMU's card, which is iPXE.
    rom = ",romfile=" if plan.firmware == "uefi" else ""
    for index, mac in enumerate(plan.macs):
        device = f"nic{index}"
        line += ["-netdev", f"tap,id=net{index},ifname={tap(plan, index)},script=no,downscript=no"]
        line += ["-device", f"virtio-net-pci,id={device},netdev=net{index},mac={mac},bootindex={order[device]}{rom}"]
    for index, serial in enumerate(plan.disk_serials()):
        device = f"disk{index}"
        file = f"file={place}/{device},format=qcow2,cache=unsafe,discard=unmap"
        line += ["-drive", f"if=none,id=drive{index},{file}"]
        line += ["-device", f"virtio-blk-pci,id={device},drive=drive{index},serial={serial},bootindex={order[device]}"]
    return line
