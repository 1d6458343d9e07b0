"""POST /v1/register: a machine reports what it is."""

from __future__ import annotations

from crowbar_jig_script.remote import public_key
from werkzeug.wrappers import Request, Response

from crowbar_core import cluster
from crowbar_provisioner.boot.answers import POLL, answer, authorized, source_of
from crowbar_provisioner.inventory import Registration, read
from crowbar_provisioner.registering import register


def hear(request: Request) -> Response:
    boot = authorized(request)
    said = read(Registration, request.get_data())
    keys = [public_key()]
    with cluster().change() as change:
        found = register(change, boot, said, source=source_of(request))
    return answer({
        "node": found.node, "accepted": found.accepted, "env": boot.env, "authorized_keys": keys, "poll": POLL,
    })  # fmt: skip
