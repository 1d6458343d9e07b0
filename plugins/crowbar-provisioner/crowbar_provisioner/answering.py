"""Answers to those who serve DHCP: which boot loader a machine is to fetch. It is the same for all of them: what each
boots is decided when it asks for its script.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from crowbar_core import Intent, Json, NodeRoleView, NodeView, Refresh, ServedBootEnv, cluster, hookimpl
from crowbar_provisioner import rescue, rescues, scripts
from crowbar_provisioner.choosing import is_ours
from crowbar_provisioner.machines import of_node, waking_all
from crowbar_provisioner.sleeping import sleep
from crowbar_provisioner.tables import machines, macs, servers

SERVER, DHCP = "provisioner-server", "dhcp-database"


@hookimpl
def boots_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Mapping[str, Json]]:
    """Nothing of a boot environment that is not known here."""
    said = files(session)
    return {one.id: said for one in nodes if is_ours(one.bootenv)}


@hookimpl(optional=True)
def dhcp_strangers(session: Any) -> Mapping[str, Json]:
    return files(session)


@hookimpl
def addresses_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Sequence[str]]:
    """The address from which a machine registered, with the token of its boot: there it was, whatever it says. In IPv6
    those beside it that its cards make themselves, too: DHCPv6 may give each system that it boots another address.
    """
    found: dict[int, list[str]] = {}
    for one in session.execute(_REGISTERED_FROM, {"ids": [node.id for node in nodes]}).all():
        own = [one.source, beside(one.source, one.mac)] if one.mac else [one.source]
        found[one.node_id] = list(dict.fromkeys([*found.get(one.node_id, []), *filter(None, own)]))
    return found


# Built once: each run that begins asks it.
_REGISTERED_FROM = (
    select(machines.c.node_id, machines.c.source, macs.c.mac)
    .join(macs, macs.c.machine_id == machines.c.id, isouter=True)
    .where(machines.c.node_id.in_(bindparam("ids", expanding=True)), machines.c.source != "")
    .order_by(machines.c.node_id, macs.c.mac)
)


def beside(source: str, mac: str) -> str:
    """The address that a card with this MAC makes itself (EUI-64) in the subnet of an IPv6 address; '' of another."""
    known = ipaddress.ip_address(source)
    if known.version == 4 or known.is_link_local or known.is_loopback:
        return ""
    raw = bytes.fromhex(mac.replace(":", ""))
    card = bytes([raw[0] ^ 2, *raw[1:3], 0xFF, 0xFE, *raw[3:]])
    return str(ipaddress.IPv6Address(known.packed[:8] + card))


def files(session: Any) -> dict[str, Json]:
    """By family and firmware, at the first server that has an address of the family; {} without one."""
    found: dict[str, Json] = {}
    for one in session.execute(select(servers).order_by(servers.c.id)).all():
        for family, host in hosts(one.addresses).items():
            script = _script_of(family)
            found.setdefault(f"dhcp{family}", of_host(host, one.port, script=script if script in one.scripts else ""))
    return found


def hosts(addresses: Iterable[str]) -> dict[str, str]:
    """The first one of each family, "4" and "6", as URLs have it; none that is of one wire alone."""
    found: dict[str, str] = {}
    for one in addresses:
        if not one.startswith("fe80:"):
            found.setdefault("6" if ":" in one else "4", f"[{one}]" if ":" in one else one)
    return found


def of_host(host: str, port: int, *, script: str = "") -> dict[str, Json]:
    """``script``: the file by TFTP that iPXE begins with; without one it begins at the boot service."""
    at = f"http://{host}:{port}"
    return {
        "bios": f"tftp://{host}/undionly.kpxe", "uefi": f"tftp://{host}/ipxe.efi", "uefi-http": f"{at}/ipxe.efi",
        "ipxe": f"tftp://{host}/{script}" if script else f"{at}/boot.ipxe",
    }  # fmt: skip


@hookimpl(roles=(SERVER,))
def data_of(node_roles: Sequence[NodeRoleView]) -> Mapping[int, Mapping[str, Json]]:
    """The scripts that a server gives by TFTP, by their file's name; none where iPXE is to begin over HTTP."""
    return {one.id: {"provisioner": {"scripts": _scripts(one)}} for one in node_roles}


def _scripts(server: NodeRoleView) -> dict[str, Json]:
    own = server.data.get("provisioner", {})
    if own.get("first-script") == "http":
        return {}
    return {
        _script_of(family): scripts.before_loader(f"http://{host}:{_port(own)}")
        for family, host in hosts(server.node.addresses).items()
    }


def _script_of(family: str) -> str:
    return f"boot{family}.ipxe"


def _port(own: Mapping[str, Any]) -> int:
    return int(own.get("port", 8091))


@hookimpl(roles=(SERVER,))
def on_active(node_role: NodeRoleView) -> Iterable[Intent]:
    """From now on DHCP names it."""
    own = node_role.data.get("provisioner", {})
    port = _port(own)
    addresses = [one for one in node_role.node.addresses if not one.startswith("fe80:")]
    # Those that its run has put there, if they name these addresses.
    given = [name for name, text in _scripts(node_role).items() if own.get("scripts", {}).get(name) == text]
    values = {"addresses": addresses, "port": port, "scripts": given}
    with cluster().change() as change:
        known = change.session.execute(select(servers).where(servers.c.node_role_id == node_role.id)).first()
        if known is None:
            change.session.execute(insert(servers).values(node_role_id=node_role.id, **values))
        elif (known.addresses, known.port, known.scripts) == (addresses, port, given):
            return []
        else:
            change.session.execute(update(servers).where(servers.c.id == known.id).values(**values))
    return [Refresh(role=DHCP)] if serves_dhcp() else []


@hookimpl
def on_node_change(node: NodeView, changed: frozenset[str]) -> Iterable[Intent]:
    """Boot files are made when they are asked for: where nobody serves DHCP here, what is wanted is served at once."""
    found: list[Intent] = []
    if "bootenv" in changed and node.served_bootenv != node.bootenv and is_ours(node.bootenv) and not serves_dhcp():
        found.append(ServedBootEnv(node=node.name, bootenv=node.bootenv))
    if changed & {"served_bootenv", "alive"}:
        found += waking_all(node.name)
    if "switched_off" in changed:
        with cluster().change() as change:
            if (machine := of_node(change.session, node.name)) is not None:
                sleep.was_switched(change, machine)
    if "alive" in changed and node.alive:
        _is_back(node)
    return found


def _is_back(node: NodeView) -> None:
    with cluster().read() as session:
        leaves = rescues.is_leaving(session, node.id)
    if leaves:
        with cluster().change() as change:
            if (machine := of_node(change.session, node.name)) is not None:
                rescue.is_back(change, machine)


@hookimpl
def on_node_create(node: NodeView) -> Iterable[Intent]:
    return on_node_change(node, frozenset(("bootenv",)))


def serves_dhcp() -> bool:
    """Whether servers of DHCP are told what machines boot, and who tells them states what is served."""
    return any(cluster().node_roles(role=DHCP))
