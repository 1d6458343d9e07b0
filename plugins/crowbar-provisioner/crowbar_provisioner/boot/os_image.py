"""GET /v1/images/FILE: the image of an operating system, for the machine that is being installed with it; from a byte
on, where a wire broke.
"""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import BadInput, Refused, cluster
from crowbar_provisioner import catalogue
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
    part, root = _part(request), cluster().settings(Settings).root
    there = catalogue.get(root, found.os).image
    if there is None or there.sha256 != found.image["sha256"]:
        raise Refused(f"The image {name} is another one than when this installation began: begin it again.")
    return sent(request, opened(root, "images", name), etag=there.sha256, part=part)


def _part(request: Request) -> tuple[int, int | None]:
    """Where the machine goes on, and how much it takes: for clients that cannot ask for ranges."""
    given = [request.args.get(name, "") for name in ("from", "count")]
    if not all(len(one) < 16 and (not one or (one.isascii() and one.isdigit())) for one in given):
        raise BadInput("from and count are numbers of bytes.")
    first, count = given
    return int(first or 0), int(count) if count else None
