"""GET /b/TOKEN/FILE: the discovery image, for the boot that has that token."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import cluster
from crowbar_provisioner.boot.answers import NotHere, boot_of
from crowbar_provisioner.boot.files import opened, sent
from crowbar_provisioner.scripts import INITRD, KERNEL, TOOLS
from crowbar_provisioner.settings import Settings

FILES = (KERNEL, INITRD, TOOLS)


def give(request: Request, token: str, name: str) -> Response:
    if name not in FILES or boot_of(token) is None:
        raise NotHere("Nothing is here for this boot.")
    return sent(request, opened(cluster().settings(Settings).root, "sledgehammer", name))
