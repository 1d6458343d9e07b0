"""For barclamp authors: a whole core for a test, jigs that do as they are told, a clock that stands still, a checker.

``Testbed`` is a real core on a temporary SQLite: no server, no thread of its own, no waiting.
Its annealing happens where ``anneal_until_quiet()`` is called. The pytest fixtures ``crowbar``, ``crowbar_database``,
``fake_jig`` and ``fake_clock`` come with crowbar-core.
"""

from crowbar_core.testing.at_work import NotQuiet
from crowbar_core.testing.browser import Browser
from crowbar_core.testing.checking import check_barclamp, check_package
from crowbar_core.testing.clock import FakeClock
from crowbar_core.testing.jigs import BrokenJig, FakeJig
from crowbar_core.testing.servers import PostgresServer, free_port
from crowbar_core.testing.testbed import Testbed
from crowbar_core.testing.waiting import wait_until

__all__ = [
    "BrokenJig",
    "Browser",
    "FakeClock",
    "FakeJig",
    "NotQuiet",
    "PostgresServer",
    "Testbed",
    "check_barclamp",
    "check_package",
    "free_port",
    "wait_until",
]
