"""The settings of the core and of barclamps, as the process that answers has them, and where each comes from."""

from __future__ import annotations

from typing import Any

from crowbar_core.settings import describe
from crowbar_core.web.api.operation import api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import parts


@v2.get("/settings")
@api(permission="admin", summary="The settings of the core and of barclamps, each with its origin; secrets masked")
def settings() -> list[dict[str, Any]]:
    found = describe(parts().settings)
    for one in parts().registry.barclamps:
        for own in one.own_settings:
            found.append(
                {
                    "barclamp": one.name,
                    "name": own.name,
                    "value": own.value,
                    "default": own.default,
                    "origin": own.origin,
                    "variable": own.variable,
                    "help": own.help,
                }
            )
    return found
