"""The scripts that machines are given at boot: pure. Only what is known to be harmless goes into them.

iPXE expands ``${...}`` and ends a command at a newline, ``||`` or ``&&``; what is put in here has no such character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from crowbar_core import BadInput

BASE = re.compile(r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_ENV = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ARGUMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}(?:=[A-Za-z0-9_.,:/@+-]{1,200})?")
_WORD = re.compile(r"[A-Za-z0-9_.,:;/@+=\[\]-]{1,400}")
_BELOW = re.compile(r"[A-Za-z0-9._+~/-]{1,200}")
_OURS = ("crowbar.", "initrd", "init=", "rdinit", "root=", "BOOT_IMAGE")
KERNEL, INITRD, TOOLS = "vmlinuz", "initrd.img", "tools.img"
DRIVES = range(0x80, 0x88)
"""As BIOS counts disks. An empty one, or none, fails at once, and the next one is tried."""
_PAUSE, _LONGEST_PAUSE = 2, 30
"""Seconds before whoever gives no script is asked again."""


def loader(base: str) -> str:
    """The first script: the machine says what it is, and is given its own."""
    asked = "mac=${mac}&uuid=${uuid}&serial=${serial:uristring}&platform=${platform}"
    return "\n".join(["#!ipxe", *_until_answered(f"{base_url(base)}/ipxe?{asked}", base)]) + "\n"


def before_loader(base: str) -> str:
    """What iPXE is given by TFTP, which is served by a program that does not end with the boot service."""
    return "\n".join(["#!ipxe", *_until_answered(f"{base_url(base)}/boot.ipxe", base)]) + "\n"


def _until_answered(url: str, base: str) -> list[str]:
    """Whoever does not answer is asked again, for ever, after a pause that grows to half a minute: a service that
    starts anew is waited for, and a person at the screen sees it.
    """
    return [
        f"set wait:int32 {_PAUSE}",
        ":ask",
        f"chain --replace --autofree {url} ||",
        f"echo {base} gives no script: it is asked again in ${{wait}} s (Ctrl-C: a shell)",
        "sleep ${wait} || shell",
        f"iseq ${{wait}} {_LONGEST_PAUSE} || inc wait",
        "goto ask",
    ]


def _started(base: str, lines: Iterable[str]) -> str:
    """What fails before it has started begins from the first script, and with another token."""
    told = [
        "#!ipxe",
        *(f"{one} || goto again" for one in lines),
        ":again",
        "imgfree",
        *_until_answered(f"{base}/boot.ipxe", base),
    ]
    return "\n".join(told) + "\n"


def image(base: str, *, token: str, mac: str, env: str, arguments: Iterable[str] = ()) -> str:
    """The discovery image, told where it was booted from and by which token it is heard."""
    at = f"{base_url(base)}/b/{_whole(TOKEN, token, 'token')}"
    words = [
        f"initrd={INITRD}", f"crowbar.url={base}", f"crowbar.token={token}",
        f"crowbar.mac={_whole(_MAC, mac, 'MAC')}", f"crowbar.env={_whole(_ENV, env, 'boot environment')}",
        *(argument(one) for one in arguments),
    ]  # fmt: skip
    lines = [f"kernel {at}/vmlinuz {' '.join(words)}", f"initrd --name {INITRD} {at}/{INITRD}", "boot"]
    return _started(base, lines)


def installer(base: str, *, token: str, kernel: str, initrd: str, words: Iterable[str]) -> str:
    """An installer out of its tree, told ``words``."""
    at = f"{base_url(base)}/b/{_whole(TOKEN, token, 'token')}/tree"
    told = [f"initrd={INITRD}", *(_whole(_WORD, one, "word") for one in words)]
    lines = [
        f"kernel {at}/{_whole(_BELOW, kernel, 'kernel')} {' '.join(told)}",
        f"initrd --name {INITRD} {at}/{_whole(_BELOW, initrd, 'initrd')}",
        "boot",
    ]
    return _started(base, lines)


def local(base: str, firmware: str) -> str:
    """From its own disk: BIOS by the first drive that has a boot sector, UEFI by a loader that looks for the disk's
    own."""
    if firmware == "uefi":
        return f"#!ipxe\nchain --autofree {base_url(base)}/local.efi || exit 1\n"
    return "\n".join(["#!ipxe", *(f"sanboot --no-describe --drive {one:#x} ||" for one in DRIVES), "exit 1"]) + "\n"


def argument(text: str) -> str:
    """One argument of a kernel. Raises ``BadInput`` for what could be more than one, or is not for others to say."""
    if not _ARGUMENT.fullmatch(text):
        raise BadInput(
            "A kernel argument is a name, or a name with = and a value: of letters, digits and _ . , : / @ + - alone."
        )
    if text.startswith(_OURS):
        raise BadInput(f"The kernel argument {text.partition('=')[0]} is said by the provisioner itself.")
    return text


def base_url(text: str) -> str:
    return _whole(BASE, text, "address of the boot service")


def _whole(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise BadInput(f"This is no {what} that could stand in a boot script.")
    return text


GRUB = """\
search --no-floppy --set=root --file /efi/boot/bootx64.efi --hint-efi=hd0,gpt2
chainloader ($root)/efi/boot/bootx64.efi
boot
exit
"""
"""The configuration inside ``local.efi``, whose parser knows no conditions: where a line fails, the next one is done.
The last one is for a disk without a loader, and leads back to the firmware."""
GRUB_MODULES = (
    "part_gpt",
    "part_msdos",
    "fat",
    "search",
    "search_fs_file",
    "chain",
    "boot",
    "normal",
    "configfile",
    "minicmd",
)
