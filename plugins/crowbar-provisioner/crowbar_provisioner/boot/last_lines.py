"""POST /v1/log: a machine sends its last lines, when something on it has failed."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import Refused, cluster
from crowbar_provisioner.boot.answers import answer, authorized
from crowbar_provisioner.boots import machine_of
from crowbar_provisioner.choosing import ACCEPTED
from crowbar_provisioner.consoles.keeping import ITSELF, keep
from crowbar_provisioner.consoles.tail import lines_of
from crowbar_provisioner.inventory import Log, read


def hear(request: Request) -> Response:
    """In the place of those that it sent before. Raises ``Refused`` in a boot that is not an accepted machine's own."""
    boot = authorized(request)
    lines = lines_of("\n".join(read(Log, request.get_data()).lines))
    with cluster().change() as change:
        machine = machine_of(change.session, boot)
        if machine is None or machine.state != ACCEPTED or not boot.trusted:
            raise Refused("Nothing is kept of a boot that is not an accepted machine's own.")
        keep(change, machine.node_id, ITSELF, lines)
    return answer({})
