"""POST /v1/steps: an installer says how far it is; last, which host keys the new system has."""

from __future__ import annotations

from typing import Any

from werkzeug.wrappers import Request, Response

from crowbar_core import BadInput, Change, Refused, cluster
from crowbar_provisioner import installs, sharing
from crowbar_provisioner.boot.answers import answer, authorized, source_of
from crowbar_provisioner.boot.work import installed_in
from crowbar_provisioner.boots import Boot, machine_of, note
from crowbar_provisioner.installs import Install
from crowbar_provisioner.inventory import Step, read
from crowbar_provisioner.machines import Machine, change_machine, happened, waking


def hear(request: Request) -> Response:
    """Said again, it changes nothing. Raises ``Refused`` for an installation that is not this boot's."""
    boot = authorized(request)
    said = read(Step, request.get_data())
    with cluster().change() as change:
        machine, found = machine_of(change.session, boot), installed_in(change.session, boot)
        if machine is None or found is None or said.id != found.work:
            raise Refused("This is not an installation of this boot.")
        if said.step == "kexec":
            _goes_on(change, found, said, machine)
        if said.step == "kexec" or not found.to_write:
            return answer({})
        if boot.registered_at is None:
            _arrived(change, boot, machine.id, source_of(request))
            change.apply(waking(machine.node))
        values: dict[str, Any] = {"step": said.step, "detail": said.detail, "state": installs.WRITING}
        if said.percent is not None:
            values["percent"] = said.percent
        if said.state == "failed":
            values |= {"state": installs.FAILED, "ended_at": change.now}
        elif (said.step, said.state) == ("installed", "done"):
            if not said.host_keys:
                raise BadInput("The new system has host keys: host_keys names them.")
            values |= {"state": installs.WRITTEN, "percent": 100, "host_keys": list(said.host_keys)}
        installs.keep(change, found, **values)
        if said.step in sharing.STEPS:
            ended = (said.step, said.state) == ("image", "done")
            sharing.heard(change, found, boot, said.detail if ended else "")
        if said.percent is None or said.state != "begun":
            happened(change, machine.id, f"install: {said.step} {said.state}", said.detail)
        if values["state"] != installs.WRITING:
            change.apply(waking(machine.node))
    return answer({})


def _goes_on(change: Change, install: Install, said: Step, machine: Machine) -> None:
    if said.state == "begun" and said.boot is None:
        raise BadInput("Who goes on by kexec says which boot it leaves: boot is its boot id.")
    if install.state != installs.RESTARTING or not install.to_jump:
        return
    if said.state == "failed":
        installs.keep(change, install, kexec=installs.REFUSED, detail=f"No kexec: {said.detail}"[:500])
        change.apply(waking(machine.node))
    else:
        installs.keep(change, install, kexec=installs.BEGUN, left_boot=said.boot)
    happened(change, machine.id, f"install: kexec {said.state}", said.detail)


def _arrived(change: Change, boot: Boot, machine_id: int, source: str) -> None:
    """An installer of its own does not register: its first step says that it is there, and at which address."""
    note(change, boot, registered_at=change.now)
    change_machine(change, machine_id, source=source, last_seen=change.now)
