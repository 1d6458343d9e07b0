"""The boot service's loop: it ends as it began, whatever it was doing."""

from __future__ import annotations

import contextlib
import http.client
import logging
import threading

import pytest
from crowbar_provisioner.boot.server import NAME, listening, serving


def test_nothing_is_closed_under_the_loop_or_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(60):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(listening(one)) for one in ("127.0.0.1:0", "[::1]:0")]
            with serving(sockets, connections=20):
                for one in sockets:
                    asked = http.client.HTTPConnection(*one.getsockname()[:2], timeout=60)
                    asked.request("GET", "/nothing")
                    assert asked.getresponse().status == 404
                    asked.close()
    assert NAME not in {one.name for one in threading.enumerate()}
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []
