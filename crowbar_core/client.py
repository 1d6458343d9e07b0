"""The client of the REST API: what `crowbar` itself and every other program asks a server with.

``Client(Target(url=..., token=...))``, or ``connect()`` inside a command: the server, profile and user of that call.
"""

from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect, target
from crowbar_core.cli.errors import ApiError, Unreachable
from crowbar_core.cli.profiles import Target, config_path, forget_profile, read_config, resolve, save_profile

__all__ = [
    "ApiError",
    "Client",
    "Target",
    "Unreachable",
    "config_path",
    "connect",
    "forget_profile",
    "read_config",
    "resolve",
    "save_profile",
    "target",
]
