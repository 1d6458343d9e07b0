"""GET /v1/images/FILE: the image of an operating system, for the machine that is being installed with it."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import cluster
from crowbar_provisioner.boot.answers import NotHere, authorized
from crowbar_provisioner.boot.files import opened, sent
from crowbar_provisioner.boot.work import installed_in
from crowbar_provisioner.settings import Settings


def give(request: Request, name: str) -> Response:
    boot = authorized(request)
    with cluster().read() as session:
        found = installed_in(session, boot)
    if found is None or not found.to_write or found.image.get("file") != name:
        raise NotHere("No installation of this machine asks for this image.")
    file = opened(cluster().settings(Settings).root, "images", found.image["file"])
    return sent(request, file, etag=found.image["sha256"])
