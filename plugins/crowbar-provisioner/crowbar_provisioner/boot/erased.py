"""POST /v1/erased: a machine says how far a disk is erased, and what was read back of it."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import Refused, Wake, cluster
from crowbar_provisioner import boots
from crowbar_provisioner.boot.answers import answer, authorized
from crowbar_provisioner.erasing import erasures
from crowbar_provisioner.inventory import Erased, read
from crowbar_provisioner.machines import ERASE_ROLE, happened


def hear(request: Request) -> Response:
    """Said again, it changes nothing. Raises ``Refused`` for what is not to be erased in this boot."""
    boot = authorized(request)
    said = read(Erased, request.get_data())
    with cluster().change() as change:
        machine = boots.at_work(change.session, boot)
        there = erasures.open_of(change.session, machine.node_id) if machine is not None else []
        one = next((each for each in there if (each.work, each.disk) == (said.id, said.disk)), None)
        if machine is None or one is None:
            raise Refused("This disk is not to be erased in this boot.")
        if one.state not in erasures.OPEN:
            return answer({})
        if said.state in ("begun", "progress"):
            erasures.keep(change, one, state=erasures.ERASING, method=said.method, percent=said.percent)
            return answer({})
        why = (said.detail or "it did not say why") if said.state == "failed" else ""
        state = erasures.end(
            change, one, method=said.method, read=said.read, not_blank=said.not_blank, detail=why
        )  # fmt: skip
        happened(change, machine.id, f"erase: {state}", f"{one.disk}{f': {why}' if why else ''}")
        change.apply(Wake(node=machine.node, role=ERASE_ROLE))
    return answer({})
