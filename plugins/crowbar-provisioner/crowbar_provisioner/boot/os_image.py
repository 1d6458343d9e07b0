"""GET /v1/images/FILE: the image of an operating system, for the machine that is being installed with it; from a byte
on, where a wire broke. GET /v1/images/FILE/sums: the checksums of the pieces of its content, and where in it each of
them is compressed.
"""

from __future__ import annotations

import os
from io import FileIO

from werkzeug.wrappers import Request, Response

from crowbar_core import BadInput, Refused, cluster
from crowbar_provisioner import catalogue
from crowbar_provisioner.boot.answers import NotHere, authorized
from crowbar_provisioner.boot.files import opened, sent
from crowbar_provisioner.boot.work import installed_in
from crowbar_provisioner.catalogue import Image, Tarball
from crowbar_provisioner.images.pieces import places
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.sharing import Sums


def give(request: Request, name: str) -> Response:
    part = _part(request)
    file, image = _asked(request, name)
    return sent(request, file, etag=image.sha256, part=part)


class Summed:
    def __init__(self) -> None:
        self._sums = Sums()

    def give(self, request: Request, name: str) -> Response:
        file, image = _asked(request, name)
        with file:
            if isinstance(image, Image) and image.pieces:
                lines = places(image.pieces).encode()
            else:
                status = os.fstat(file.fileno())
                version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
                lines = self._sums.of(file, version)
        headers = {"Cache-Control": "no-store", "ETag": f'"{image.sha256}"'}
        return Response(lines, mimetype="text/plain", headers=headers)


def _asked(request: Request, name: str) -> tuple[FileIO, Image | Tarball]:
    """The image of the installation under way."""
    boot = authorized(request)
    with cluster().read() as session:
        found = installed_in(session, boot)
    if found is None or not found.to_write or found.image.get("file") != name:
        raise NotHere("No installation of this machine asks for this image.")
    root = cluster().settings(Settings).root
    there = [one for one in catalogue.get(root, found.os).images if one.file == name]
    if [one.sha256 for one in there] != [found.image["sha256"]]:
        raise Refused(f"The image {name} is another one than when this installation began: begin it again.")
    return opened(root, "images", name), there[0]


def _part(request: Request) -> tuple[int, int | None]:
    """Where the machine goes on, and how much it takes: for clients that cannot ask for ranges."""
    given = [request.args.get(name, "") for name in ("from", "count")]
    if not all(len(one) < 16 and (not one or (one.isascii() and one.isdigit())) for one in given):
        raise BadInput("from and count are numbers of bytes.")
    first, count = given
    return int(first or 0), int(count) if count else None
