"""Images of operating systems: whole disks that boot with BIOS and UEFI."""
