"""The settings of the provisioner: the table ``[plugins.provisioner]``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crowbar_core import setting


@dataclass(frozen=True, kw_only=True)
class Settings:
    listen: tuple[str, ...] = setting(
        (),
        "Where the boot service listens: addresses with ports, as 10.0.0.1:8091 or [fd00::1]:8091. Empty: it does not"
        " run here.",
    )
    files: str = setting(
        "/var/lib/crowbar/boot", "The directory with the discovery image, images of operating systems and boot loaders."
    )
    domain: str = setting("", "The domain of discovered machines. Empty: that of the first admin node.")
    kernel_arguments: tuple[str, ...] = setting(
        (), "What the kernel of the discovery image is told besides, as console=ttyS0,115200."
    )
    discovered_roles: tuple[str, ...] = setting(
        ("provisioner-discovered", "crowbar-managed-node"),
        "The roles that a machine is given when it is accepted; name network-admin to have it given its addresses.",
    )
    joined_roles: tuple[str, ...] = setting(
        ("provisioner-discovered", "crowbar-joined-node"),
        "The roles that a machine is given that joins with what it runs.",
    )
    token_hours: float = setting(24.0, "For how many hours the token of a boot is valid.", above=0)
    expected_minutes: float = setting(
        30.0, "For how many minutes a boot that was ordered, or announced, is taken for the machine's own.", above=0
    )
    late_hours: float = setting(
        24.0,
        "For how many hours a boot that was ordered, and has not come, is waited for: it is taken for the machine's own"
        " if it says all that is known of that, UUID, serial number and card.",
        above=0,
    )
    boot_minutes: float = setting(20.0, "How many minutes a machine may take from its reset to its report.", above=0)
    install_minutes: float = setting(60.0, "How many minutes the writing of an operating system may take.", above=0)
    downloads: int = setting(200, "How many connections the boot service keeps at once.", above=0)
    share_port: int = setting(
        8093,
        "At which port a machine that is being written an image passes on what stands on its disk already, to others"
        " that are being written the same. 0: each fetches it from the boot service.",
        above=-1,
    )

    @property
    def root(self) -> Path:
        return Path(self.files)
