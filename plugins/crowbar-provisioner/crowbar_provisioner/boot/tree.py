"""GET /b/TOKEN/tree/PATH: the tree of an installer, for the boot in which it installs."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import cluster
from crowbar_provisioner import installs
from crowbar_provisioner.boot.answers import NotHere, boot_of
from crowbar_provisioner.boot.files import opened, sent
from crowbar_provisioner.boot.work import is_of
from crowbar_provisioner.machines import get
from crowbar_provisioner.settings import Settings


def give(request: Request, token: str, path: str) -> Response:
    """What its links lead to lies in the same tree."""
    boot = boot_of(token)
    found = None
    if boot is not None and boot.machine_id is not None:
        with cluster().read() as session:
            found = installs.open_of(session, get(session, boot.machine_id).node_id)
    if boot is None or found is None or found.method == "image" or not is_of(boot, found):
        raise NotHere("Nothing is here for this boot.")
    return sent(request, opened(cluster().settings(Settings).root / "trees" / found.os, *path.split("/")))
