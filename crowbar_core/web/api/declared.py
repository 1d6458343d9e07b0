"""What `crowbar export` and `crowbar apply` carry: which collections, in which order, by which fields."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from crowbar_core.web.api.operation import api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import parts


@v2.get("/declared")
@api(permission="viewer", summary="The collections that a file of declared state holds, in the order to apply them")
def declared() -> list[dict[str, Any]]:
    return [asdict(one) for one in parts().registry.declared()]
