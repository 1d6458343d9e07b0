"""GET /b/TOKEN/tree/PATH: the tree of an installer, for the boot in which it installs."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import cluster
from crowbar_provisioner.boot.answers import NotHere, boot_of
from crowbar_provisioner.boot.files import opened, sent
from crowbar_provisioner.boot.work import installed_in
from crowbar_provisioner.settings import Settings


def give(request: Request, token: str, path: str) -> Response:
    """What its links lead to lies in the same tree."""
    boot = boot_of(token)
    with cluster().read() as session:
        found = installed_in(session, boot) if boot is not None else None
    if found is None or found.method == "image":
        raise NotHere("Nothing is here for this boot.")
    return sent(request, opened(cluster().settings(Settings).root / "trees" / found.os, *path.split("/")))
