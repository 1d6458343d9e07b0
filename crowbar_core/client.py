"""The client of the REST API: what `crowbar` itself and every other program asks a server with.

``Client(Target(url=..., token=...))``, or ``connect()`` inside a command: the server, profile and user of that call.
"""

from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect
from crowbar_core.cli.errors import ApiError, Unreachable
from crowbar_core.cli.profiles import Target, resolve, save_profile

__all__ = ["ApiError", "Client", "Target", "Unreachable", "connect", "resolve", "save_profile"]
