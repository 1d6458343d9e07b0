"""The hammer ``ipmi``: IPMI 2.0 over LAN, by ipmitool, which takes the password from its environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from crowbar_bmc import sol
from crowbar_bmc.hammer import BmcHammer, Busy, Device, NotNow, Order, Power, schema
from crowbar_core import CancelFlag, ConfigError, CrowbarError, Json, Refused, TemporaryError

_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_RETRIES = 1


class IpmiHammer(BmcHammer):
    """A password has at most 20 bytes, as IPMI says."""

    schema: ClassVar[Mapping[str, Json]] = schema(
        user={"type": "string", "minLength": 1, "maxLength": 16, "pattern": "^[!-~]+$"},
        password={"type": "string", "maxLength": 20, "pattern": "^[ -~]*$", "writeOnly": True},
        privilege={
            "enum": ["ADMINISTRATOR", "OPERATOR"], "default": "ADMINISTRATOR",
            "description": "What the session asks for: a user that may only operate takes OPERATOR.",
        },
        cipher={"enum": [3, 17], "description": "The cipher suite; without, the best that the BMC offers."},
        console={
            "type": "boolean", "default": True,
            "description": "Whether its console may be listened to (serial over LAN): one session at a time can.",
        },
    )  # fmt: skip

    def read(self) -> Power:
        said = self._ipmitool(("chassis", "power", "status"))
        if said.endswith("is on"):
            return "on"
        if said.endswith("is off"):
            return "off"
        raise TemporaryError(f"{self._whose} says neither on nor off, but {said[:200]!r}.")

    def order(self, order: Order) -> None:
        self._ipmitool(("chassis", "power", order))

    def boot(self, device: Device, *, once: bool) -> None:
        self._ipmitool(bootdev(device, once=once, uefi=self.config.get("boot_mode") == "uefi"))

    def console(self, heard: Callable[[bytes], None], stopped: CancelFlag) -> bool:
        """What comes from now on. Raises ``TemporaryError`` where another session has it, which is not thrown out."""
        if not self.config.get("console", True):
            return False
        said = sol.listen(
            command(self.config, ("sol", "activate"), timeout=self._timeout), environment(self.config), heard, stopped,
            patience=4 * self._timeout,
        )  # fmt: skip
        if said is not None:
            raise self._unheard(said)
        return True

    def _unheard(self, said: str) -> Exception:
        if "already active" in said.lower():
            return TemporaryError(f"{self._whose} gives its console to another session: this one waits for its end.")
        found = failure(self._whose, self.config["user"], said)
        return found if isinstance(found, CrowbarError) else TemporaryError(f"{self._whose} gives no console: {found}.")

    def _ipmitool(self, words: Sequence[str]) -> str:
        """What it prints. Raises as ``failure`` says."""
        patience = 4 * self._timeout
        try:
            done = subprocess.run(
                command(self.config, words, timeout=self._timeout), env=environment(self.config),
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=patience,
            )  # fmt: skip
        except FileNotFoundError:
            raise ConfigError("The hammer ipmi calls ipmitool, which is not here: install ipmitool.") from None
        except subprocess.TimeoutExpired:
            raise TemporaryError(f"{self._whose} did not come to an end within {patience:g} s.") from None
        if done.returncode != 0:
            raise failure(self._whose, self.config["user"], done.stderr)
        return done.stdout.strip()


def command(config: Mapping[str, Any], words: Sequence[str], *, timeout: float) -> list[str]:
    """ipmitool's line; ``-v`` has it say why a session is not to be had, ``-E`` take the password from outside.

    What is not answered is sent again: late enough not to be done twice by a BMC that is slow.
    """
    line = ["ipmitool", "-v", "-I", "lanplus", "-H", config["address"], "-p", str(config.get("port", 623))]
    line += ["-U", config["user"], "-L", config.get("privilege", "ADMINISTRATOR"), "-E"]
    line += ["-C", str(config["cipher"])] if "cipher" in config else []
    return [*line, "-N", str(max(1, round(timeout / 2))), "-R", str(_RETRIES), *words]


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    return {"PATH": f"{os.environ.get('PATH', '')}:{_PATH}", "LC_ALL": "C", "IPMITOOL_PASSWORD": config["password"]}


def bootdev(device: Device, *, once: bool, uefi: bool) -> tuple[str, ...]:
    options = [word for word, said in (("persistent", not once), ("efiboot", uefi)) if said]
    return ("chassis", "bootdev", device, *([f"options={','.join(options)}"] if options else []))


def failure(whose: str, user: str, errors: str) -> Exception:
    """What it means that ipmitool printed this."""
    lower = errors.lower()
    if "present state" in lower:
        return NotNow("the state of the machine does not allow it")
    if "node busy" in lower or "insufficient resources" in lower:
        return Busy("it says that it is busy")
    if "no valid response" in lower or "error sending request" in lower or "close session" in lower:
        return Busy("it ended the session without an answer")
    if "rakp 2 hmac is invalid" in lower:
        return Refused(f"{whose} has another password for {user}: change the hammer's.")
    if "unauthorized name" in lower:
        return Refused(f"{whose} does not know the user {user}: change the hammer's.")
    if "no response from rakp 1" in lower:
        return TemporaryError(f"{whose} broke off the log-in of {user}: it may not know that user.")
    if "no matching cipher suite" in lower:
        return Refused(f"{whose} does not take this cipher suite: set the hammer's cipher to 3 or 17.")
    if "insufficient privilege" in lower or "privilege level" in lower:
        return Refused(f"{whose} does not allow it to {user}: set the hammer's privilege, or give the user more.")
    if "address lookup" in lower:
        return TemporaryError(f"{whose} has a name that nobody knows: give its address.")
    if "authentication capabilities" in lower or "auth capabilities" in lower or "unable to establish" in lower:
        return TemporaryError(f"{whose} does not answer: is the address right, and is IPMI over LAN switched on?")
    last = (errors.strip() or "it did not say why").splitlines()[-1]
    return Refused(f"{whose} refused: {last[:300]}.")
