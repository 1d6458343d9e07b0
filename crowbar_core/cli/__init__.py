"""The command line, `crowbar NOUN VERB`: REST, except for the commands that start processes or own the database."""

from __future__ import annotations

from crowbar_core.cli.root import main, root

__all__ = ["main", "root"]
