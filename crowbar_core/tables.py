"""For barclamps with tables of their own: ``Database``, on which they are declared, the core's tables, to be read and
joined, column types that are alike on every database, and ``insert_many`` for thousands of rows.

The core's tables are for reading: ``update``, ``insert`` and ``delete`` do not take them. Nodes and noderoles are
changed by intents. A foreign key to one of them is written by its name (``ForeignKey("nodes.id",
ondelete="CASCADE")``), and goes along when the node goes: CASCADE or SET NULL.
"""

from crowbar_core.store.bulk import insert_many
from crowbar_core.store.models import Data as JsonType
from crowbar_core.store.models import UtcDateTime
from crowbar_core.store.own_tables import Database
from crowbar_core.store.published import deployment_roles, deployments, hammers, node_roles, nodes, roles

__all__ = [
    "Database",
    "JsonType",
    "UtcDateTime",
    "deployment_roles",
    "deployments",
    "hammers",
    "insert_many",
    "node_roles",
    "nodes",
    "roles",
]
