"""POST /v1/source: a machine that is being written an image asks from whom to take it: another one, or the service."""

from __future__ import annotations

from dataclasses import asdict

from werkzeug.wrappers import Request, Response

from crowbar_core import Refused, cluster
from crowbar_provisioner import sharing
from crowbar_provisioner.boot.answers import answer, authorized, source_of
from crowbar_provisioner.boot.work import installed_in
from crowbar_provisioner.boots import machine_of
from crowbar_provisioner.inventory import Source, read
from crowbar_provisioner.settings import Settings


def give(request: Request) -> Response:
    """Raises ``Refused`` for an installation that is not this boot's, and where nobody passes images on."""
    boot = authorized(request)
    said = read(Source, request.get_data())
    settings = cluster().settings(Settings)
    with cluster().change() as change:
        machine, found = machine_of(change.session, boot), installed_in(change.session, boot)
        if machine is None or found is None or said.id != found.work or not found.to_write:
            raise Refused("This is not an installation of this boot.")
        if sharing.offered(settings, found.image) is None:
            raise Refused("This image is fetched from the boot service by each machine for itself.")
        peer = sharing.ask(
            change, found, boot, node=machine.node, address=source_of(request), without=said.without,
            port=settings.share_port,
        )  # fmt: skip
    return answer({"peer": asdict(peer) if peer is not None else None})
