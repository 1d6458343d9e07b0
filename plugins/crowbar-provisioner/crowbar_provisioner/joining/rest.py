"""/api/v2/machines/host_key, join, join_command: a machine that runs already becomes a node."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Annotated, Any

from crowbar_jig_script.guest import Login, shown_key
from crowbar_jig_script.remote import public_key
from flask import Blueprint
from pydantic import AfterValidator, Field

from crowbar_core import Refused, cluster
from crowbar_core.rest import Answer, Body, NodeName, api, created
from crowbar_provisioner.answering import files
from crowbar_provisioner.joining import tokens
from crowbar_provisioner.joining.over_ssh import join_over_ssh
from crowbar_provisioner.joining.script import by_itself
from crowbar_provisioner.listings import MACHINES
from crowbar_provisioner.rest import decided
from crowbar_provisioner.scripts import base_url

rest = Blueprint("provisioner_joining_rest", __name__, url_prefix="/api/v2")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("This is an IP address: 10.0.0.21 or fd00::21.") from None


Address = Annotated[str, Field(max_length=45), AfterValidator(_address)]
HostKey = Annotated[
    str,
    Field(
        max_length=2048, pattern=r"^(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]+={0,2}( .*)?$"
    ),
]


class Where(Body):
    address: Address


class NewJoin(Body):
    """The password, or the private key, is used for this one login and kept nowhere."""

    address: Address
    host_key: HostKey
    name: NodeName | None = None
    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")] = "root"
    password: Annotated[str, Field(max_length=255, pattern=r"^[^\n\r\x00]*$")] = ""
    private_key: Annotated[str, Field(max_length=16384)] = ""


class NewCommand(Body):
    """``url``: where the machine reaches the boot service; without, as machines are told that boot from it."""

    name: NodeName | None = None
    minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    url: Annotated[str, Field(max_length=300)] = ""


@rest.post("/machines/host_key")
@api(
    permission="operator", body=Where, returns=dict[str, str],
    summary="The host key that the SSH server at an address shows: for a person to compare, before the machine joins",
)  # fmt: skip
def host_key(body: Where) -> Answer:
    key, fingerprint = shown_key(body.address)
    return Answer(value={"address": body.address, "host_key": key, "fingerprint": fingerprint})


@rest.post("/machines/join")
@api(
    permission="operator", body=NewJoin, listing=MACHINES, status=201, sensitive=True,
    summary="Join a machine that runs already, over SSH: it is a node, neither rebooted nor reinstalled",
)  # fmt: skip
def join_machine(body: NewJoin) -> Answer:
    return created(MACHINES, order(body))


def order(body: NewJoin, by: str = "an operator") -> int:
    login = Login(user=body.user, password=body.password, private_key=body.private_key)
    return join_over_ssh(body.address, login, host_key=body.host_key, name=body.name or "", by=by)


@rest.post("/machines/join_command")
@api(
    permission="operator", body=NewCommand, returns=dict[str, str], status=201, sensitive=True,
    summary="A command that joins the machine on which it is run; it counts once",
)  # fmt: skip
def join_command(body: NewCommand) -> Answer:
    return Answer(value=command(body))


def command(body: NewCommand, by: str = "an operator") -> dict[str, str]:
    """Raises ``Refused`` where it is not known at which address the boot service is reached."""
    with cluster().read() as session:
        url = body.url.rstrip("/") or _url(files(session))
    base_url(url)
    key = public_key()
    with cluster().change() as change:
        token, until = tokens.make(change, name=body.name or "", url=url, by=by, minutes=body.minutes)
        change.audit("machine.join_command", f"node {body.name or 'that joins'}", until=until.isoformat())
    checksum = hashlib.sha256(by_itself(key, url=url, token=token).encode()).hexdigest()
    line = (
        f"f=$(mktemp) && {{ curl -fsS -o $f {url}/join/{token} || wget -qO $f {url}/join/{token}; }} && "
        f"echo '{checksum}  '$f | sha256sum -c --quiet && "
        "$([ $(id -u) = 0 ] || echo sudo) sh $f; rm -f $f"
    )
    return {"command": line, "until": until.isoformat(), "url": url, "sha256": checksum}


def _url(found: Any) -> str:
    for family in ("dhcp4", "dhcp6"):
        if hit := re.match(r"(.+)/ipxe\.efi$", str((found.get(family) or {}).get("uefi-http", ""))):
            return hit[1]
    raise Refused(
        "It is not known where machines reach the boot service: bind provisioner-server, or give its address (url)."
    )


@rest.put("/machines/<machine>/release")
@api(
    permission="operator", listing=MACHINES,
    summary="Release a machine that joined: roles that destroy what is on its disks can be bound to it",
)  # fmt: skip
def release_machine(machine: str) -> Answer:
    return decided(machine, "release")


@rest.put("/machines/<machine>/protect")
@api(permission="operator", listing=MACHINES, summary="Protect a machine that joined, as it was before its release")
def protect_machine(machine: str) -> Answer:
    return decided(machine, "protect")
