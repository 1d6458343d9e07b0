"""GET /ipxe: a machine says what it is, and is given the script that it boots. With it a new boot begins."""

from __future__ import annotations

import time
from typing import Any

from werkzeug.wrappers import Request, Response

from crowbar_core import BadInput, Refused, cluster
from crowbar_provisioner import boots, installs, scripts
from crowbar_provisioner.answers.choosing import words
from crowbar_provisioner.boot.answer_file import facts_of
from crowbar_provisioner.boot.answers import base_of, script, source_of
from crowbar_provisioner.choosing import Asking, Choice, choose
from crowbar_provisioner.claims import Claim, claim
from crowbar_provisioner.machines import Machine, find, living, refuse_others
from crowbar_provisioner.settings import Settings

_LOOK_AGAIN = 10.0


class Scripts:
    """``addresses``: whose address one is, as nodes that are alive have them; looked up again after ten seconds."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._looked = float("-inf")

    def give(self, request: Request) -> Response:
        said = claim_of(request)
        firmware = "uefi" if request.args.get("platform") == "efi" else "bios"
        base, source = base_of(request), source_of(request)
        with cluster().read() as session:
            machine = find(session, said)
            choice = chosen(session, machine)
            quiet = machine is None or not (
                machine.kexec_since
                or boots.has_valid(session, machine.id)
                or installs.open_of(session, machine.node_id)
            )
        if not choice.image and not choice.installer:
            assert machine is not None
            if not quiet:
                self._refuse_others(machine, source)
                with cluster().change() as change:
                    boots.note_local(change, machine, firmware=firmware, source=source)
            return script(scripts.local(base, firmware))
        if machine is not None:
            self._refuse_others(machine, source)
        settings = cluster().settings(Settings)
        with cluster().change() as change:
            machine = find(change.session, said)
            choice = chosen(change.session, machine)
            token = boots.begin(
                change, machine, said, env=choice.env, firmware=firmware, source=source,
                seconds=settings.token_hours * 3600,
            )  # fmt: skip
        if choice.installer:
            return script(self._installer(token, base))
        return script(
            scripts.image(base, token=token, mac=said.macs[0], env=choice.env, arguments=settings.kernel_arguments)
        )

    def _installer(self, token: str, base: str) -> str:
        with cluster().read() as session:
            boot = boots.of_token(session, token)
            facts = facts_of(session, boot, token=token, base=base) if boot is not None else None
        if facts is None:
            raise Refused("This installation is over: ask once more.")
        said = facts.said
        return scripts.installer(
            base, token=token, kernel=said["kernel"], initrd=said["initrd"], words=words(facts)
        )  # fmt: skip

    def _refuse_others(self, machine: Machine, source: str) -> None:
        """Raises ``Refused``."""
        if time.monotonic() - self._looked > _LOOK_AGAIN:
            with cluster().read() as session:
                self._known, self._looked = living(session), time.monotonic()
        refuse_others(machine, source, self._known)


def claim_of(request: Request) -> Claim:
    """Raises ``BadInput`` without a card."""
    asked = request.args
    said = claim(uuid=asked.get("uuid", ""), serial=asked.get("serial", ""), macs=[asked.get("mac", "")])
    if not said.macs:
        raise BadInput("A machine asks with the MAC of the card that it boots from: mac=52:54:00:12:34:56.")
    return said


def chosen(session: Any, machine: Machine | None) -> Choice:
    if machine is None:
        return choose(Asking())
    found = installs.open_of(session, machine.node_id)
    waits = found is not None and found.to_write and f"{found.os}-install" == machine.bootenv
    installing = found.method if found is not None and waits else ""
    return choose(Asking(state=machine.state, bootenv=machine.bootenv, installing=installing))
