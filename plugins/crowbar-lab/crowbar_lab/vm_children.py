"""The keeper's side of virtual machines: it starts a process for each and knows what they are; the rest they do
themselves. Standard library only."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crowbar_lab.nodes import BadRequest
from crowbar_lab.vm_plan import VmPlan

READY_SECONDS = 60.0


class VmChildren:
    """``directory`` gets one of its own for each machine. ``network`` is the lab's namespace as a file."""

    def __init__(self, directory: Path, wanted: Mapping[str, Any], network: str) -> None:
        self.directory = directory
        self.wanted = wanted
        self.network = network
        self.plans: dict[str, VmPlan] = {}
        self.pids: dict[str, int] = {}

    def describe(self) -> dict[str, Any]:
        """Of lab.json: the machines, and the processes that hold them as the host counts."""
        return {"vms": [plan.as_json() for plan in self.plans.values()], "vm_processes": self.pids}

    def add(self, told: Sequence[dict[str, Any]], tools: Mapping[str, str]) -> dict[str, Any]:
        """Make machines, which are off, and return when their BMCs answer. All of them, or none: ``BadRequest``."""
        plans = [VmPlan.of(one) for one in told]
        if taken := next((plan.name for plan in plans if plan.name in self.plans), None):
            raise BadRequest(f"There is a machine {taken} in this lab already.")
        started: list[subprocess.Popen[bytes]] = []
        try:
            for plan in plans:
                started.append(self._start(plan, tools))
            pids = {plan.name: self._await(plan, process) for plan, process in zip(plans, started, strict=True)}
        except BaseException:
            for process in started:
                process.kill()
                process.wait()
            raise
        self.plans |= {plan.name: plan for plan in plans}
        self.pids |= pids
        return {"vms": [plan.as_json() for plan in plans]}

    def _start(self, plan: VmPlan, tools: Mapping[str, str]) -> subprocess.Popen[bytes]:
        place = self.directory / plan.name
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        process = subprocess.Popen(
            [sys.executable, "-m", "crowbar_lab.vm_process", str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        prefixes = [self.wanted[key].partition("/")[2] for key in ("ipv4", "ipv6")]
        programs = {"ip": self.wanted["ip"], "nsenter": self.wanted["nsenter"], "tools": dict(tools)}
        told = {"plan": plan.as_json(), "prefixes": prefixes, "network": self.network, **programs}
        assert process.stdin is not None
        try:
            with process.stdin as stream:
                stream.write(json.dumps(told).encode())
        except BrokenPipeError:
            pass  # what it says, or does not, is read afterwards
        return process

    @staticmethod
    def _await(plan: VmPlan, process: subprocess.Popen[bytes]) -> int:
        assert process.stdout is not None
        deadline, said = time.monotonic() + READY_SECONDS, bytearray()
        with process.stdout as stream, selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if not ready.select(deadline - time.monotonic()) or not (part := os.read(stream.fileno(), 4096)):
                    break
                said += part
        try:
            answer = json.loads(said)
        except ValueError:
            answer = {"error": f"The BMC of {plan.name} does not start; keeper.log in the lab's directory may say why."}
        if "error" in answer:
            raise BadRequest(answer["error"])
        return int(answer["pid"])
