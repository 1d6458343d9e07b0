"""/api/v2/dhcp: what each node should be told; the servers, and their leases."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from crowbar_core.rest import Answer, api, reading
from crowbar_dhcp import database, leases
from crowbar_dhcp.listings import FOREIGN, HOSTS, SERVERS

rest = Blueprint("dhcp_rest", __name__, url_prefix="/api/v2")

reading(rest, HOSTS, parameter="node")
reading(rest, SERVERS, parameter="dhcp_server")
reading(rest, FOREIGN, parameter="dhcp_foreign_server")


@rest.get("/dhcp_leases")
@api(permission="viewer", summary="The addresses that machines have now, as the servers say", returns=list[Any])
def all_leases() -> Answer:
    found, _ = leases.leases()
    return Answer(value=found)


@rest.post("/dhcp_servers/compare")
@api(permission="operator", summary="Compare what the servers have with what they should, now")
def compare() -> Answer:
    database.compare_everything()
    return Answer(value={"message": "What the servers have is compared."}, status=202)
