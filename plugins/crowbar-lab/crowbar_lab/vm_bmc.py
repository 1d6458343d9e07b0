"""The BMC of a virtual machine: IPMI 2.0 over LAN and Redfish, in front of the same power and boot order.

Redfish is a server of our own: that of sushy-tools calls an override for once a continuous one. IPMI is pyghmi's, which
forgets whether an override is for once, so that the boot options are answered here. The console is IPMI's alone.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import socket
import ssl
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pyghmi.ipmi import bmc as ipmi
from pyghmi.ipmi.private.session import Session

from crowbar_lab.vm_plan import BMC_PASSWORD, BMC_USER, TARGETS, VmPlan
from crowbar_lab.vm_qemu import ALWAYS, DISABLED, ONCE, PowerError, Vm

SYSTEM = "/redfish/v1/Systems/1"
BUSY = 0xC0
NOT_NOW = 0xD5
NO_SUCH_DEVICE = 0xCC
NO_SUCH_OPTION = 0x80
BOOT_FLAGS = 5
VALID, PERSISTENT = 0x80, 0x40
IPMI_DEVICES = {0: None, 1: "Pxe", 2: "Hdd"}
SILENT_SECONDS = 60.0
"""Whoever held the console and says nothing for so long has gone: its client asks for something every 15 s."""
SOL_BYTES = 1024
"""Of the console in one go; the next when they were received."""


@dataclass
class Quirks:
    """How a BMC can be as BMCs are. ``slow``: seconds before each answer; ``refuses``: how many of the next orders it
    refuses; ``says``: "on" or "off", whatever is true, or "" for the truth; ``drops``: how many of the next sessions
    it ends without an answer."""

    slow: float = 0.0
    refuses: int = 0
    says: str = ""
    drops: int = 0


class Refused(Exception):
    """The BMC refuses an order, though it could do it: a quirk."""


class Bmc:
    """What both protocols do. Orders raise ``PowerError`` when the machine is in no state for it, ``Refused`` when the
    BMC does not care to."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.quirks = Quirks()
        self._lock = threading.Lock()

    def pause(self) -> None:
        """Before each answer."""
        if self.quirks.slow:
            time.sleep(self.quirks.slow)

    def hangs_up(self) -> bool:
        """Whether the session ends now, without an answer."""
        with self._lock:
            drops = self.quirks.drops > 0
            self.quirks.drops = max(0, self.quirks.drops - 1)
        return drops

    def power_state(self) -> str:
        return self.quirks.says or ("on" if self.vm.on else "off")

    def order(self, action: str) -> None:
        """One of on, off, soft, reset, cycle. On a machine that is on and off on one that is off do nothing."""
        with self._granted():
            do: dict[str, Callable[[], None]] = {
                "on": self.vm.power_on,
                "off": self.vm.power_off,
                "soft": self.vm.press_button,
                "reset": self.vm.reset,
                "cycle": self._cycle,
            }
            do[action]()

    def _cycle(self) -> None:
        if not self.vm.on:
            raise PowerError(f"{self.vm.plan.name} is off.")
        self.vm.power_off()
        self.vm.power_on()

    def override(self, target: str | None, mode: str) -> None:
        with self._granted():
            self.vm.override(target, mode)

    @contextlib.contextmanager
    def _granted(self) -> Iterator[None]:
        with self._lock:
            refused = self.quirks.refuses > 0
            self.quirks.refuses = max(0, self.quirks.refuses - 1)
        if refused:
            raise Refused
        yield


# ---- IPMI


class Ipmi(ipmi.Bmc):  # type: ignore[misc]  # pyghmi has no types
    """One in a process: pyghmi keeps its sessions in the class. ``serve`` never returns. Serial over LAN gives what
    comes to the file ``console`` from its activation on, to one session at a time; what is typed goes nowhere.
    """

    def __init__(self, bmc: Bmc, plan: VmPlan, console: Path, *, address: str = "::", port: int = 623) -> None:
        super().__init__({BMC_USER: BMC_PASSWORD}, bmcuuid=uuid.UUID(plan.uuid), address=address, port=port)
        self.bmc = bmc
        self._ended: weakref.WeakSet[Any] = weakref.WeakSet()
        self.activated = False
        self.sol: Any = None
        self.iohandler = lambda typed: None
        self._console = console
        self._read_to = 0
        self._holder: Any = None
        self._holder_heard = 0.0

    def serve(self) -> None:
        while True:
            Session.wait_for_rsp(0.1 if self.activated else 5)
            self._pass_on()

    def is_active(self) -> bool:
        return True

    def activate_payload(self, request: Any, session: Any) -> None:
        if self.activated and time.monotonic() - self._holder_heard > SILENT_SECONDS:
            self.activated, self.sol = False, None
        before = self.sol
        super().activate_payload(request, session)
        if self.sol is not before:
            self._holder, self._holder_heard = session, time.monotonic()
            self._read_to = self._console.stat().st_size

    def _pass_on(self) -> None:
        if self.sol is None or self.sol.awaitingack:
            return
        with self._console.open("rb") as file:
            file.seek(self._read_to)
            said = file.read(SOL_BYTES)
        if said:
            self._read_to += len(said)
            self.sol.send_data(said)

    def handle_raw_request(self, request: Any, session: Any) -> None:
        if session is self._holder:
            self._holder_heard = time.monotonic()
        if session in self._ended or self.bmc.hangs_up():
            self._ended.add(session)
            return
        self.bmc.pause()
        super().handle_raw_request(request, session)

    def get_system_guid(self) -> uuid.UUID:
        guid: uuid.UUID = self.uuid
        return guid

    def get_power_state(self) -> str:
        return self.bmc.power_state()

    def power_on(self) -> int:
        return self._code("on")

    def power_off(self) -> int:
        return self._code("off")

    def power_cycle(self) -> int:
        return self._code("cycle")

    def power_reset(self) -> int:
        return self._code("reset")

    def power_shutdown(self) -> int:
        return self._code("soft")

    def _code(self, action: str) -> int:
        return _completion(lambda: self.bmc.order(action))

    def set_system_boot_options(self, request: Any, session: Any) -> None:
        option, *data = request["data"]
        code = 0
        if option & 0x7F == BOOT_FLAGS:
            device = (data[1] >> 2) & 15
            if device not in IPMI_DEVICES:
                code = NO_SUCH_DEVICE
            else:
                target = IPMI_DEVICES[device] if data[0] & VALID else None
                code = _completion(lambda: self.bmc.override(target, ALWAYS if data[0] & PERSISTENT else ONCE))
        session.send_ipmi_response(code=code)

    def get_system_boot_options(self, request: Any, session: Any) -> None:
        if request["data"][0] & 0x7F != BOOT_FLAGS:
            session.send_ipmi_response(code=NO_SUCH_OPTION)
            return
        vm = self.bmc.vm
        device = next(number for number, target in IPMI_DEVICES.items() if target == vm.target)
        flags = {DISABLED: 0, ONCE: VALID, ALWAYS: VALID | PERSISTENT}[vm.mode]
        session.send_ipmi_response(data=[1, BOOT_FLAGS, flags, device << 2, 0, 0, 0])


def _completion(do: Callable[[], None]) -> int:
    try:
        do()
    except Refused:
        return BUSY
    except PowerError as error:
        print(f"ipmi: {error}", flush=True)
        return NOT_NOW
    return 0


# ---- Redfish

RESETS = {
    "On": "on",
    "ForceOff": "off",
    "GracefulShutdown": "soft",
    "ForceRestart": "reset",
    "PowerCycle": "cycle",
}


class Redfish(http.server.ThreadingHTTPServer):
    """A service with one system, on all addresses: on port 80, or on 443 with a certificate."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def __init__(self, bmc: Bmc, plan: VmPlan, tls: ssl.SSLContext | None = None) -> None:
        self.bmc = bmc
        self.plan = plan
        super().__init__(("::", 443 if tls else 80), _RedfishRequest)
        if tls:
            # Hands are shaken where a request is read, in its own thread.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not like the certificate goes, and nothing is wrong."""
        if not isinstance(sys.exc_info()[1], ssl.SSLError):
            super().handle_error(request, client_address)


class _RedfishRequest(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Redfish

    def do_GET(self) -> None:
        found = self._resources().get(self._place)
        if found is None:
            self._refuse(404, "ResourceMissingAtURI", f"There is no {self._place} here.")
        elif self._place == "/redfish/v1" or self._is_signed_in():
            self._reply(200, {"@odata.id": self._place, **found()})

    def do_PATCH(self) -> None:
        given = self._given()
        if self._is_signed_in():
            self._change(given)

    def _change(self, given: dict[str, Any]) -> None:
        if self._place != SYSTEM or not isinstance(given.get("Boot"), dict):
            return self._refuse(400, "PropertyNotWritable", "Of a system the property Boot can be changed.")
        vm, boot = self.server.bmc.vm, given["Boot"]
        target = boot.get("BootSourceOverrideTarget", vm.target) or "None"
        mode = boot.get("BootSourceOverrideEnabled", ONCE)
        if target not in ("None", *TARGETS) or mode not in (ONCE, ALWAYS, DISABLED):
            return self._refuse(400, "PropertyValueNotInList", f"There is no boot override {target}, {mode}.")
        return self._do(lambda: self.server.bmc.override(None if target == "None" else target, mode))

    def do_POST(self) -> None:
        given = self._given()
        if self._is_signed_in():
            self._order(given)

    def _order(self, given: dict[str, Any]) -> None:
        if self._place != f"{SYSTEM}/Actions/ComputerSystem.Reset":
            return self._refuse(404, "ResourceMissingAtURI", f"There is no {self._place} here.")
        kind = given.get("ResetType")
        if kind not in RESETS:
            return self._refuse(400, "ActionParameterNotSupported", f"There is no ResetType {kind}.")
        return self._do(lambda: self.server.bmc.order(RESETS[kind]))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what matters is in the machine's state."""

    # ---- what there is

    @property
    def _place(self) -> str:
        return self.path.partition("?")[0].rstrip("/")

    def _resources(self) -> dict[str, Callable[[], dict[str, Any]]]:
        return {
            "/redfish/v1": lambda: {
                "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot",
                "Id": "RootService",
                "Name": "BMC of a lab's machine",
                "RedfishVersion": "1.15.0",
                "UUID": self.server.plan.uuid,
                "Systems": {"@odata.id": "/redfish/v1/Systems"},
                "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}},
            },
            "/redfish/v1/Systems": lambda: {
                "@odata.type": "#ComputerSystemCollection.ComputerSystemCollection",
                "Name": "Systems",
                "Members@odata.count": 1,
                "Members": [{"@odata.id": SYSTEM}],
            },
            SYSTEM: self._system,
        }

    def _system(self) -> dict[str, Any]:
        plan, bmc = self.server.plan, self.server.bmc
        mode = "UEFI" if plan.firmware == "uefi" else "Legacy"
        return {
            "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem",
            "Id": "1",
            "Name": plan.name,
            "Manufacturer": "Crowbar",
            "Model": "Lab machine",
            "SerialNumber": plan.serial,
            "UUID": plan.uuid,
            "PowerState": bmc.power_state().capitalize(),
            "ProcessorSummary": {"Count": plan.cpus},
            "MemorySummary": {"TotalSystemMemoryGiB": plan.memory / 1024},
            "Boot": {
                "BootSourceOverrideMode": mode,
                "BootSourceOverrideEnabled": bmc.vm.mode,
                "BootSourceOverrideTarget": bmc.vm.target or "None",
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", *TARGETS],
            },
            "Actions": {
                "#ComputerSystem.Reset": {
                    "target": f"{SYSTEM}/Actions/ComputerSystem.Reset",
                    "ResetType@Redfish.AllowableValues": list(RESETS),
                }
            },
        }

    # ---- how it is said

    def _given(self) -> dict[str, Any]:
        # Read even if it is refused afterwards: the connection goes on with the next request.
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            given = json.loads(text or b"{}")
        except ValueError:
            return {}
        return given if isinstance(given, dict) else {}

    def _is_signed_in(self) -> bool:
        if self.server.bmc.hangs_up():
            self.close_connection = True
            return False
        self.server.bmc.pause()
        secret = base64.b64encode(f"{BMC_USER}:{BMC_PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {secret}":
            return True
        self._refuse(401, "InsufficientPrivilege", "Name and password are not those of this BMC.")
        return False

    def _do(self, order: Callable[[], None]) -> None:
        try:
            order()
        except Refused:
            self._refuse(503, "ServiceTemporarilyUnavailable", "The BMC is busy: try again.")
        except PowerError as error:
            self._refuse(409, "ResourceInUse", str(error))
        else:
            self._reply(204, None)

    def _refuse(self, code: int, kind: str, message: str) -> None:
        error = {"code": f"Base.1.0.{kind}", "message": message, "@Message.ExtendedInfo": [{"Message": message}]}
        self._reply(code, {"error": error})

    def _reply(self, code: int, body: dict[str, Any] | None) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        if code == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="BMC"')
        if self.close_connection:  # the client wanted it so, and must not send its next request here
            self.send_header("Connection", "close")
        self.send_header("OData-Version", "4.0")
        self.send_header("Content-Type", "application/json")
        if code != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
