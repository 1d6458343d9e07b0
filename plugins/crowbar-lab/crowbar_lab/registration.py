"""Makes a lab's nodes known to a running Crowbar server, through its REST API; a second time is harmless."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import requests

from crowbar_lab.errors import LabError
from crowbar_lab.host import default_state_dir
from crowbar_lab.lab import Lab, LabNode

ANSWER_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where the server is and who asks: a token, or a user with a password."""

    url: str
    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)


class _Api:
    def __init__(self, server: Server) -> None:
        self._root = f"{server.url.rstrip('/')}/api/v2"
        self._session = requests.Session()
        # Neither ~/.netrc nor a proxy of the environment has a say in a lab.
        self._session.trust_env = False
        if server.token:
            self._session.headers["Authorization"] = f"Bearer {server.token}"
        elif server.user:
            self._session.auth = (server.user, server.password)

    def ask(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        """The answer's JSON; None for a 404 when ``missing`` is allowed."""
        try:
            response = self._session.request(
                method, f"{self._root}/{path}", json=body, timeout=ANSWER_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise LabError(
                f"No Crowbar server answers at {self._root}: "
                "start one in the lab with `crowbar lab exec -- crowbar serve`, or give --url."
            ) from error
        if missing and response.status_code == 404:
            return None
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not response.ok or answer is None:
            detail = answer.get("detail") if isinstance(answer, dict) else None
            raise LabError(f"The server refused {method} {path} ({response.status_code}): {detail or response.reason}")
        return answer

    def close(self) -> None:
        self._session.close()


def register(lab: Lab, server: Server) -> list[str]:
    """Register each node with its address, host key and hammer; the names of those that were not known before."""
    api = _Api(server)
    try:
        return [node.name for node in lab.nodes if _register_node(api, lab, node)]
    finally:
        api.close()


def _register_node(api: _Api, lab: Lab, node: LabNode) -> bool:
    hammer = {"name": "lab", "priority": 10, "config": _hammer_config(lab, node)}
    known = api.ask("GET", f"nodes/{node.name}", missing=True)
    if known is None:
        body = {"name": node.name, "admin": node.admin, "ip": node.ipv4, "mac": node.mac, "host_keys": [node.host_key]}
        # One request, so that a node is never without its power; its second address is a hint as the first one is.
        more = {"hint": {"hint-admin-v6addr": node.ipv6}, "hammers": [hammer], "available": True}
        api.ask("POST", "nodes", body | more)
        return True
    # A lab made anew has the same names and addresses, and other host keys.
    api.ask("PATCH", f"nodes/{node.name}", {"host_keys": [node.host_key]})
    if not any(one["name"] == "lab" for one in api.ask("GET", f"nodes/{node.name}/hammers")):
        api.ask("POST", "hammers", {"node_id": known["id"], **hammer})
    return False


def _hammer_config(lab: Lab, node: LabNode) -> dict[str, str]:
    config = {"lab": lab.name, "node": node.name}
    if lab.directory.parent != default_state_dir():
        config["state_dir"] = str(lab.directory.parent)
    return config
