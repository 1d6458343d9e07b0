"""The roles and attributes of the provisioner."""

from __future__ import annotations

from typing import Any

from crowbar_core import Attribute, Done, Json, Role
from crowbar_provisioner import bmc, installing, making
from crowbar_provisioner.answering import SERVER
from crowbar_provisioner.burning import run as burning
from crowbar_provisioner.describing import LAYOUTS
from crowbar_provisioner.erasing import run as erasing
from crowbar_provisioner.machines import BURN_ROLE, ERASE_ROLE, INSTALL_ROLE
from crowbar_provisioner.sleeping.policies import MINUTES, SLEEP_ROLE


def _one(name: str, description: str, schema: dict[str, Json], default: Json = None, **more: Any) -> Attribute:
    path = f"provisioner/{name.removeprefix('provisioner-')}"
    return Attribute(name=name, description=description, map=path, schema=schema, default=default, **more)


_TEXT: dict[str, Json] = {"type": "string", "maxLength": 64}
_LONG: dict[str, Json] = {"type": "string", "maxLength": 255}
_SERVER = Role(
    name=SERVER,
    description="The node gives firmware its boot loader over TFTP, and is where the boot service is reached.",
    jig="script",
    timeout=600,
    attributes=(
        _one("provisioner-port", "Where the boot service listens, at the node's addresses.",
             {"type": "integer", "minimum": 1, "maximum": 65535}, 8091),
        _one("provisioner-first-script", "How iPXE fetches its first script: tftp, which asks for as long as the boot "
             "service is down, or http, from the boot service itself, where machines do not reach UDP port 69.",
             {"enum": ["tftp", "http"]}, "tftp"),
        _one("provisioner-scripts", "The scripts that it gives by TFTP.",
             {"type": "object", "additionalProperties": {"type": "string"}}, {}, writable=False),
    ),
)  # fmt: skip
_DISCOVERED = Role(
    name="provisioner-discovered",
    description="A machine that was discovered, and is reached over SSH: says what it runs.",
    jig="script",
    timeout=120,
    precedes=("crowbar-managed-node",),
    attributes=(
        _one("provisioner-runs", "What it runs from: disk, or the boot environment.", _TEXT, writable=False),
        _one("provisioner-kernel", "The kernel that it runs.", _LONG, writable=False),
    ),
)
_INSTALL = Role(
    name=INSTALL_ROLE,
    description="Erases a disk of the node and writes an operating system to it, from which the node runs then.",
    jig="python",
    run=installing.run,
    destructive=True,
    reboots=True,
    first_step=installing.PREPARING,
    timeout=600,
    requires=("provisioner-discovered", "crowbar-managed-node"),
    precedes=("crowbar-installed-node",),
    attributes=(
        _one("provisioner-os", "The operating system, as crowbar oses list names it. '': the default one.", _TEXT, ""),
        _one("provisioner-disk", "The disk: its name, serial number, WWN or path. '': the first that is suitable.",
             _LONG, ""),
        _one("provisioner-layout", "How the disk is divided: flat (one file system), lvm, or raid1 on two disks.",
             {"enum": list(LAYOUTS)}, "flat"),
        _one("provisioner-second-disk", "The second disk of raid1, named likewise. '': the next that is suitable.",
             _LONG, ""),
        _one("provisioner-reset", "true: reset before it is installed, even if it runs the discovery image.",
             {"type": "boolean"}, False),
        _one("provisioner-kexec", "true: what was written is started by kexec, without the firmware's self-test.",
             {"type": "boolean"}, False),
        _one("provisioner-keys", "Public keys of SSH that root lets in besides Crowbar's own and the default ones.",
             {"type": "array", "maxItems": 100, "items": {"type": "string", "maxLength": 4300}}, []),
    ),
)  # fmt: skip
_BMC = Role(
    name=bmc.BMC_ROLE,
    description="The node is powered by its BMC, whose address it has told.",
    jig="python",
    run=bmc.run,
    timeout=600,
    precedes=(INSTALL_ROLE,),
    attributes=(
        _one("provisioner-bmc-user", "Who logs in at the BMC.", _TEXT, ""),
        _one("provisioner-bmc-password", "That user's password.", _LONG, "", secret=True),
        _one("provisioner-bmc-kind", "How it is spoken to. '': as the node told, else ipmi.",
             {"enum": ["", "ipmi", "redfish", "both"]}, ""),
        _one("provisioner-bmc-address", "Where it is. '': where the node says.", _LONG, ""),
        _one("provisioner-bmc-networks", "The subnets in which a node is believed that its BMC is there. Empty: any.",
             {"type": "array", "maxItems": 64, "items": {"type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]+$"}}, []),
        _one("provisioner-bmc-certificate", "Which certificate Redfish is to show: as the hammer redfish takes it.",
             {"type": "string", "maxLength": 95}, "authority"),
        _one("provisioner-bmc-options", "What the hammers are told besides, by their names.",
             {"type": "object", "additionalProperties": False,
              "properties": {"ipmi": {"type": "object"}, "redfish": {"type": "object"}}}, {}),
        _one("provisioner-bmc-power", "Whether it said on or off.", _TEXT, writable=False),
    ),
)  # fmt: skip
_POWER_SAVE = Role(
    name=SLEEP_ROLE,
    description="A machine on which nothing is to be done is switched off, and on again when something is.",
    jig="python",
    run=lambda task: Done(),
    timeout=60,
    attributes=(
        _one("provisioner-power-save-minutes", "For how many minutes it has had nothing to do then. 0: it stays on.",
             {"type": "number", "minimum": 0, "maximum": 525600}, MINUTES),
    ),
)  # fmt: skip
_IMAGES = Role(
    name=making.IMAGES_ROLE,
    description="Makes the discovery image and the image of Debian where Crowbar is, if they are missing.",
    jig="python",
    run=making.run,
    timeout=7200,
    precedes=(SERVER,),
    attributes=(
        _one("provisioner-images-kernel", "full: with the drivers of real machines; cloud: smaller, for virtual ones.",
             {"enum": ["full", "cloud"]}, "full"),
    ),
)  # fmt: skip
_DISKS: dict[str, Json] = {"type": "array", "maxItems": 256, "items": {**_LONG, "minLength": 1}}
_ERASE = Role(
    name=ERASE_ROLE,
    description="Erases disks of the node, in the discovery image, and reads them back; each has a signed report.",
    jig="python",
    run=erasing.run,
    destructive=True,
    reboots=True,
    first_step=erasing.PREPARING,
    timeout=600,
    requires=("provisioner-discovered", "crowbar-managed-node"),
    conflicts=("crowbar-installed-node",),
    attributes=(
        _one("provisioner-erase-disks", "The disks: by name, serial number, WWN or path. None: all that are suitable.",
             _DISKS, []),
        _one("provisioner-erase-keep", "The disks that are not touched.", _DISKS, []),
        _one("provisioner-erase-method", "best: by the disk's own means, where it has any, else overwritten.",
             {"enum": ["best", "overwrite"]}, "best"),
        _one("provisioner-erase-sample", "How many MiB of each are read back, by chance. 0: all.",
             {"type": "integer", "minimum": 0, "maximum": 1 << 20}, 0),
        _one("provisioner-erased", "What was erased: serial numbers, or names.", {"type": "array"}, writable=False),
    ),
)  # fmt: skip
_BURN_IN = Role(
    name=BURN_ROLE,
    description="Keeps the node busy for a while, in the discovery image, and reports what went wrong meanwhile.",
    jig="python",
    run=burning.run,
    reboots=True,
    first_step=burning.PREPARING,
    timeout=600,
    requires=("provisioner-discovered", "crowbar-managed-node"),
    precedes=(ERASE_ROLE, INSTALL_ROLE),
    attributes=(
        _one("provisioner-burn-in-seconds", "For how long.", {"type": "integer", "minimum": 1, "maximum": 30 * 86400},
             3600),
        _one("provisioner-burn-in-parts", "What is tested; disks are only read.",
             {"type": "array", "minItems": 1, "maxItems": 3, "items": {"enum": list(burning.PARTS)}},
             list(burning.PARTS)),
    ),
)  # fmt: skip
ROLES = (_SERVER, _DISCOVERED, _INSTALL, _BMC, _POWER_SAVE, _IMAGES, _ERASE, _BURN_IN)
