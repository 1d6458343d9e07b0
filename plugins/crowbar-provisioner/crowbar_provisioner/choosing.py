"""What a machine boots: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DISCOVERY, LOCAL, INSTALL = "sledgehammer", "local", "-install"
Firmware = Literal["bios", "uefi"]
QUARANTINED, ACCEPTED, REFUSED = "quarantined", "accepted", "refused"


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A machine that asks, as it is known. ``state`` is '' and ``bootenv`` means nothing for one that is not.

    ``installing``: by which method, where an installation of its own waits for it; else ''.
    """

    state: str = ""
    bootenv: str = ""
    installing: str = ""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """``env``: what it boots; ``image``: whether that is the discovery image; ``installer``: by which method, where
    it is the installer of an operating system; ``why`` in a sentence.
    """

    env: str
    image: bool
    why: str
    installer: str = ""


def choose(asking: Asking) -> Choice:
    """The discovery image for those that are not accepted; else what its node is to boot.

    Where that is not known here, or there is nothing to install, a machine is not kept from its disk.
    """
    if not asking.state:
        return Choice(env=DISCOVERY, image=True, why="It is not known: it is discovered, in quarantine.")
    if asking.state == REFUSED:
        return Choice(env=LOCAL, image=False, why="It was refused: it boots from its own disk.")
    if asking.state == QUARANTINED:
        return Choice(env=DISCOVERY, image=True, why="It is in quarantine: it waits in the discovery image.")
    if asking.bootenv == DISCOVERY:
        return Choice(env=DISCOVERY, image=True, why="Its boot environment is sledgehammer: the discovery image.")
    if is_install(asking.bootenv):
        if asking.installing not in ("", "image"):
            why = f"It is being installed, by an installer of its own: {asking.installing}."
            return Choice(env=asking.bootenv, image=False, installer=asking.installing, why=why)
        if asking.installing:
            return Choice(env=asking.bootenv, image=True, why="It is being installed, by the discovery image.")
        return Choice(
            env=LOCAL, image=False, why=f"Nothing is to be installed on it, though it is to boot {asking.bootenv}."
        )
    if asking.bootenv == LOCAL:
        return Choice(env=LOCAL, image=False, why="Its boot environment is local: it boots from its own disk.")
    return Choice(env=LOCAL, image=False, why=f"Nobody here knows {asking.bootenv}: it boots from its own disk.")


def is_ours(bootenv: str) -> bool:
    """Whether the boot files that are served here are those of this boot environment."""
    return bootenv in (DISCOVERY, LOCAL) or is_install(bootenv)


def is_install(bootenv: str) -> bool:
    return bootenv.endswith(INSTALL) and bootenv != INSTALL


def install_of(os: str) -> str:
    return f"{os}{INSTALL}"
