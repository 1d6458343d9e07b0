"""The processes of this installation, and what is well or not with the whole."""

from __future__ import annotations

from flask import Response

from crowbar_core.barclamp import requires
from crowbar_core.services.watch.health import CHECKS, gather
from crowbar_core.services.watch.processes import processes
from crowbar_core.web import auth
from crowbar_core.web.ui.shell import page, ui


@ui.get("/processes")
@requires("viewer")
def processes_page() -> Response:
    parts = auth.parts()
    with parts.store.read() as session:
        found = processes(session, parts.store)
    return page("processes.html", live="_processes.html", processes=found, health=gather(parts), checks=CHECKS)
