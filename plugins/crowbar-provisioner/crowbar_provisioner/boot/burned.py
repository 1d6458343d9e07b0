"""POST /v1/burned: a machine says how far its burn-in is, and what came of it."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import Refused, Wake, cluster
from crowbar_provisioner import boots
from crowbar_provisioner.boot.answers import answer, authorized
from crowbar_provisioner.burning import burn_ins
from crowbar_provisioner.inventory import Burned, read
from crowbar_provisioner.machines import BURN_ROLE, happened


def hear(request: Request) -> Response:
    """Said again, it changes nothing. Raises ``Refused`` for one that is not this boot's, or is over."""
    boot = authorized(request)
    said = read(Burned, request.get_data())
    with cluster().change() as change:
        machine = boots.at_work(change.session, boot)
        one = burn_ins.open_of(change.session, machine.node_id) if machine is not None else None
        if machine is None or one is None or one.work != said.id or one.boot_id not in (None, boot.id):
            raise Refused("This is no burn-in of this boot.")
        if said.state != "done":
            burn_ins.keep(change, one, state=burn_ins.RUNNING, percent=said.percent, boot_id=boot.id)
            return answer({})
        why = burn_ins.end(change, one, said)
        happened(change, machine.id, f"burn-in: {'failed' if why else 'passed'}", why)
        change.apply(Wake(node=machine.node, role=BURN_ROLE))
    return answer({})
