"""The role dhcp-service: a DHCP server of one's own, which Crowbar is allowed to change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from crowbar_core import CrowbarError, Done, PermanentError, Task, TemporaryError, cluster
from crowbar_dhcp.drivers import ServerDown
from crowbar_dhcp.services import Service, register
from crowbar_dhcp.serving import NOTHING


def run(task: Task) -> Done:
    """Look whether it lets itself be asked, and have dhcp-database tell it."""
    said: Mapping[str, Any] = task.data.get("dhcp", {}).get("service", {})
    url = str(said["url"])
    if not urlsplit(url).hostname and not url.startswith("/"):
        raise PermanentError("It is not said where it is: set dhcp-service-url, as http://10.0.0.5:8000/.")
    interfaces = [one.split() for one in said["interfaces"]]
    if any(len(one) != 2 for one in interfaces):
        raise PermanentError('dhcp-service-interfaces names each with an address: "eth0 fd00::5/64".')
    secret, database = str(said.get("password") or ""), str(said.get("database") or "")
    if database and urlsplit(database).scheme not in ("postgresql", "postgres"):
        raise PermanentError("dhcp-service-database is no URL as postgresql://kea:password@10.0.0.5/kea.")
    values: dict[str, Any] = {
        "name": f"of {task.deployment}", "driver": said["driver"], "url": url,
        "options": {"user": said["user"], "interfaces": interfaces},
    }  # fmt: skip
    try:
        driver = Service(id=0, node_role_id=0, secret=secret, database=database, **values).connect()
        driver.check()
        driver.differences(NOTHING)
    except ServerDown as problem:
        raise TemporaryError(problem.detail) from None
    except CrowbarError as problem:
        raise PermanentError(problem.detail) from None
    with cluster().change() as change:
        register(change, task.node_role_id, secret=secret, database=database, **values)
    task.log(f"{url} lets itself be asked")
    return Done()
