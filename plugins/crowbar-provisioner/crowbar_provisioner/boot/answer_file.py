"""GET /b/TOKEN/answers/NAME: what an installer asks, for the boot in which it installs."""

from __future__ import annotations

from typing import Any

from crowbar_jig_script.remote import public_key
from werkzeug.wrappers import Request, Response

from crowbar_core import cluster
from crowbar_provisioner.answers.choosing import answer
from crowbar_provisioner.answers.facts import Facts
from crowbar_provisioner.boot.answers import NotHere, base_of, boot_of, script
from crowbar_provisioner.boot.work import installed_in
from crowbar_provisioner.boots import Boot
from crowbar_provisioner.machines import get
from crowbar_provisioner.settings import Settings


def give(request: Request, token: str, name: str) -> Response:
    boot = boot_of(token)
    with cluster().read() as session:
        facts = facts_of(session, boot, token=token, base=base_of(request)) if boot is not None else None
    text = answer(facts, name) if facts is not None else None
    if text is None:
        raise NotHere("Nothing is here for this boot.")
    return script(text)


def facts_of(session: Any, boot: Boot, *, token: str, base: str) -> Facts | None:
    """None for a boot in which no installer installs. Raises ``BadInput``."""
    found = installed_in(session, boot)
    if boot.machine_id is None or found is None or found.method == "image" or not found.to_write:
        return None
    machine = get(session, boot.machine_id)
    return Facts(
        base=base, token=token, work=found.work, firmware=boot.firmware, layout=found.image["layout"],
        fqdn=machine.node, mac=boot.mac, said=found.image, disks=found.disks,
        keys=[_plain(public_key()), *found.image["keys"]],
        arguments=cluster().settings(Settings).kernel_arguments,
    )  # fmt: skip


def _plain(key: str) -> str:
    """Without the name, which may be anything."""
    return " ".join(key.split()[:2])
