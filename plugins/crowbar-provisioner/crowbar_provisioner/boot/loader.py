"""GET /boot.ipxe: the first script, the same for all; and the boot loaders, of which none is anybody's own."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from crowbar_core import cluster
from crowbar_provisioner import scripts
from crowbar_provisioner.boot.answers import base_of, script
from crowbar_provisioner.boot.files import opened, sent
from crowbar_provisioner.settings import Settings


def first(request: Request) -> Response:
    return script(scripts.loader(base_of(request)))


def loader(request: Request, name: str) -> Response:
    """One of ``LOADERS``."""
    return sent(request, opened(cluster().settings(Settings).root, "loaders", name))
