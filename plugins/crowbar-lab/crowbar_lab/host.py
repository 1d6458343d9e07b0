"""What a lab needs of the machine: root, a few programs, a place for its directory."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from crowbar_lab.errors import LabUnavailable

STATE_DIR_VARIABLE = "CROWBAR_LAB_STATE_DIR"
RUN = Path("/run/crowbar-lab")
TOOLS = {"ip": "iproute2", "sshd": "openssh-server", "nsenter": "util-linux"}
RACK_TOOLS = {"linux.uml": "user-mode-linux", "modprobe": "kmod", "bridge": "iproute2"}
"""What a lab with a kernel of its own needs besides."""
SEARCH_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"


def default_state_dir() -> Path:
    """Where labs are kept: $CROWBAR_LAB_STATE_DIR, else /run/crowbar-lab.

    Where /run is not ours to write, it is below $XDG_RUNTIME_DIR.
    """
    if given := os.environ.get(STATE_DIR_VARIABLE):
        return Path(given).absolute()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and not os.access("/run", os.W_OK):
        return Path(runtime) / "crowbar-lab"
    return RUN


def find_tool(name: str, package: str) -> str:
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        raise LabUnavailable(f"The lab needs the program {name}, which is not installed: apt-get install {package}.")
    return found


def check_host(kernel: str = "host") -> dict[str, str]:
    """The paths of the tools that a lab needs. ``LabUnavailable`` when one is missing or this is not root."""
    if sys.platform != "linux":
        raise LabUnavailable(f"A lab is made of Linux namespaces, and this is {sys.platform}: run it on Linux.")
    check_root()
    tools = TOOLS | (RACK_TOOLS if kernel == "uml" else {})
    return {name: find_tool(name, package) for name, package in tools.items()}


def check_root() -> None:
    if os.geteuid() != 0:
        raise LabUnavailable(f"A lab needs root, and this is user id {os.geteuid()}: run the command with sudo.")


def missing_for_rack() -> list[str]:
    """The packages that a lab with a kernel of its own lacks here."""
    return sorted({package for name, package in RACK_TOOLS.items() if shutil.which(name, path=SEARCH_PATH) is None})
