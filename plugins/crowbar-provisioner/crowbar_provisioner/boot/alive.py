"""POST /v1/alive: a machine says that it is up, or about to go down."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import MarkAlive, Refused, cluster
from crowbar_provisioner.boot.answers import answer, authorized
from crowbar_provisioner.inventory import Alive, read
from crowbar_provisioner.machines import get, happened


def hear(request: Request) -> Response:
    """Heard of a boot that is taken for the machine's own."""
    boot = authorized(request)
    said = read(Alive, request.get_data())
    if boot.machine_id is None or boot.registered_at is None:
        raise Refused("This machine has not registered yet.")
    if boot.trusted:
        with cluster().change() as change:
            machine = get(change.session, boot.machine_id)
            if machine.alive != said.alive:
                change.apply(MarkAlive(node=machine.node, alive=said.alive))
                happened(change, machine.id, "is up" if said.alive else "goes down")
    return answer({})
