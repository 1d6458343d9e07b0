"""What `crowbar export` carries of names, and `crowbar apply` makes true."""

from __future__ import annotations

from collections.abc import Iterable

from crowbar_core import Declared, hookimpl


@hookimpl
def register_declared() -> Iterable[Declared]:
    return [Declared(noun="dns_name_filters", order=19, fields=("matcher", "template", "priority", "ttl"))]
