"""`crowbar` as a person types it, against a core in this process: over HTTP, on a port of the loopback address."""

from __future__ import annotations

import os
import threading
from contextvars import Context
from pathlib import Path
from wsgiref.types import WSGIApplication

from click.testing import CliRunner, Result
from werkzeug.serving import WSGIRequestHandler, make_server

from crowbar_core.cli.root import root
from crowbar_core.settings import Settings


class CommandLine:
    """A server of ``app`` while it is open, and commands that ask it. What works without a server (`crowbar db`) is
    given the same database.
    """

    def __init__(self, app: WSGIApplication, settings: Settings, home: Path) -> None:
        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)
        self._environ = {
            "HOME": str(home), "CROWBAR_URL": f"http://127.0.0.1:{self._server.server_port}",
            "CROWBAR_DATA_DIR": settings.data_dir, "CROWBAR_DATABASE_URL": settings.database_url,
        }  # fmt: skip
        self._thread = threading.Thread(target=self._server.serve_forever, name="commands-are-answered", daemon=True)
        self._thread.start()

    def call(self, *args: str, token: str, stdin: str | None = None) -> Result:
        """Nothing that is exported in the caller's shell counts."""
        unset = dict.fromkeys(name for name in os.environ if name.startswith(("CROWBAR_", "XDG_")))
        environ = {**unset, **self._environ, "CROWBAR_TOKEN": token}
        # In a context of its own: elsewhere, no cluster() answers in a command.
        return Context().run(CliRunner().invoke, root, args, input=stdin, env=environ, prog_name="crowbar")

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Requests are no news to a test."""
