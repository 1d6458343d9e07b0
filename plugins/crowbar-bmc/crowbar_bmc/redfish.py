"""The hammer ``redfish``, spoken by sushy. It logs in with each request, so that no session is left at a BMC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import sushy
from sushy import exceptions
from sushy.auth import BasicAuth
from sushy.connector import Connector

from crowbar_bmc import certificates
from crowbar_bmc.hammer import PAUSE, BmcHammer, Busy, Device, NotNow, Order, Power, schema
from crowbar_core import Json, Refused, TemporaryError

T = TypeVar("T")
AUTHORITY, UNCHECKED, PLAIN_HTTP = "authority", "unchecked", "plain-http"

_ORDERS: Mapping[Order, tuple[sushy.ResetType, ...]] = {
    "on": (sushy.ResetType.ON, sushy.ResetType.FORCE_ON),
    "off": (sushy.ResetType.FORCE_OFF,),
    "soft": (sushy.ResetType.GRACEFUL_SHUTDOWN, sushy.ResetType.PUSH_POWER_BUTTON),
    "reset": (sushy.ResetType.FORCE_RESTART, sushy.ResetType.POWER_CYCLE),
    "cycle": (sushy.ResetType.POWER_CYCLE, sushy.ResetType.FORCE_RESTART),
}
"""What is asked for, best first: makers offer one or another."""
_DEVICES: Mapping[Device, sushy.BootSource] = {
    "pxe": sushy.BootSource.PXE,
    "http": sushy.BootSource.UEFI_HTTP,
    "disk": sushy.BootSource.HDD,
}
_MODES = {"bios": sushy.BootSourceOverrideMode.LEGACY, "uefi": sushy.BootSourceOverrideMode.UEFI}


class RedfishHammer(BmcHammer):
    """``certificate`` says which one the BMC is to show; it is never left unchecked unless that is said."""

    devices: ClassVar[Mapping[str, Device]] = {"pxe": "pxe", "http": "http", "disk": "disk"}
    schema: ClassVar[Mapping[str, Json]] = schema(
        certificate={
            "type": "string", "pattern": "^(authority|unchecked|plain-http|[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31})$",
            "default": AUTHORITY,
            "description": (
                "authority: signed by one that this system trusts. A SHA-256 fingerprint: that certificate alone. "
                "unchecked: any. plain-http: without TLS, so that the password can be read on the way."
            ),
        },
        system={
            "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$",
            "description": "Which of its systems, where the BMC has several: the last part of its address.",
        },
    )  # fmt: skip

    def read(self) -> Power:
        state = self._asked(lambda system: system.power_state)
        if state in (sushy.PowerState.ON, sushy.PowerState.POWERING_OFF):
            return "on"
        if state in (sushy.PowerState.OFF, sushy.PowerState.POWERING_ON):
            return "off"
        raise TemporaryError(f"{self._whose} does not say whether the machine is on or off.")

    def order(self, order: Order) -> None:
        def tell(system: Any) -> None:
            offered = system.get_allowed_reset_system_values()
            fit = next((one for one in _ORDERS[order] if one in offered), None)
            if fit is None:
                known = ", ".join(sorted(one.value for one in offered))
                raise Refused(f"{self._whose} has no way to {order}; it offers {known or 'nothing'}.")
            system.reset_system(fit)

        self._asked(tell)

    def boot(self, device: Device, *, once: bool) -> None:
        target = _DEVICES[device]
        held = sushy.BootSourceOverrideEnabled.ONCE if once else sushy.BootSourceOverrideEnabled.CONTINUOUS

        def tell(system: Any) -> None:
            offered = system.get_allowed_system_boot_source_values()
            if target not in offered:
                known = ", ".join(sorted(one.value for one in offered))
                raise Refused(f"{self._whose} does not boot from {target.value}; it offers {known}.")
            system.set_system_boot_options(target, enabled=held, mode=_MODES.get(self.config.get("boot_mode", "")))

        self._asked(tell)

    # ---- how it is reached

    @property
    def _url(self) -> str:
        host, port = self.config["address"], self.config.get("port")
        scheme = "http" if self._certificate == PLAIN_HTTP else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"

    @property
    def _certificate(self) -> str:
        return str(self.config.get("certificate", AUTHORITY))

    def _connector(self) -> Connector:
        # One try at each request: what is asked once more is decided above.
        more = {
            "server_side_retries": 1, "server_side_retries_delay": PAUSE, "default_request_timeout": self._timeout,
            "connect_timeout": min(self._timeout, 10.0),
        }  # fmt: skip
        if self._certificate in (AUTHORITY, UNCHECKED, PLAIN_HTTP):
            return Connector(self._url, verify=self._certificate != UNCHECKED, **more)
        return certificates.PinnedConnector(self._url, certificates.plain(self._certificate), **more)

    def _asked(self, work: Callable[[Any], T]) -> T:
        """What ``work`` makes of the system. Raises ``Busy``, ``NotNow``, ``Refused``, ``TemporaryError``."""
        connector = self._connector()
        try:
            root = sushy.Sushy(
                self._url, auth=BasicAuth(username=self.config["user"], password=self.config["password"]),
                connector=connector,
            )  # fmt: skip
            name = self.config.get("system")
            return work(root.get_system(f"/redfish/v1/Systems/{name}" if name else None))
        except exceptions.SushyError as problem:
            raise self._failure(problem) from None
        finally:
            connector.close()

    def _failure(self, problem: Exception) -> Exception:
        if isinstance(problem, exceptions.AccessError):
            if problem.status_code == 403:
                return Refused(f"{self._whose} does not allow it to {self.config['user']}: give that user more.")
            return Refused(f"{self._whose} does not take {self.config['user']} and the password: change the hammer's.")
        if isinstance(problem, exceptions.HTTPError):
            said = str(problem.detail or problem.code)[:300].rstrip(".")
            if problem.status_code == 409:
                return NotNow(said)
            if isinstance(problem, exceptions.ServerSideError) or problem.status_code == 429:
                return Busy(f"it says: {said}")
            return Refused(f"{self._whose} refused with {problem.status_code}: {said}.")
        if isinstance(problem, exceptions.ConnectionError):
            return self._unreached(str(problem))
        return Refused(f"{self._whose} does not speak Redfish as it should: {str(problem)[:300]}.")

    def _unreached(self, said: str) -> Exception:
        if "certificate" in said.lower() or "fingerprint" in said.lower():
            host, port = self.config["address"], int(self.config.get("port", 443))
            found = certificates.fingerprint_of(host, port, timeout=self._timeout)
            why = "is none that this system trusts" if self._certificate == AUTHORITY else "is another one"
            way = f" If it is the right one, set the hammer's certificate to {found}." if found else ""
            return Refused(f"{self._whose} shows a certificate that {why}.{way}")
        if "aborted" in said.lower() or "reset by peer" in said.lower() or "disconnected" in said.lower():
            return Busy("it ended the connection without an answer")
        if "timed out" in said.lower():
            return TemporaryError(f"{self._whose} does not answer within {self._timeout:g} s.")
        return TemporaryError(f"{self._whose} does not answer: is the address right, and is Redfish switched on?")
