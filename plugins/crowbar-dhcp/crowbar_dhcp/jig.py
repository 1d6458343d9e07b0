"""The jig of DHCP: makes a node a DHCP server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crowbar_jig_script.remote import Remote

from crowbar_core import Done, Jig, NodeUnreachable, Outcome, PermanentError, Role, Task, cluster
from crowbar_dhcp import program
from crowbar_dhcp.kea import OURS
from crowbar_dhcp.services import SERVER, register
from crowbar_dhcp.serving import Subnet


class DhcpJig(Jig):
    touches_node = True
    begins = True

    def run(self, task: Task) -> Outcome:
        if task.address is None:
            raise NodeUnreachable(f"{task.node.name} has no address at which it could be set up.")
        if task.role.name != SERVER:
            raise PermanentError(f"The jig dhcp does not know the role {task.role.name}.")
        task.begin()
        if task.teardown:
            _ask(task, program.remove())
            return Done()
        return _server(task, task.address)

    def tears_down(self, role: Role, package: str) -> bool:
        return role.name == SERVER


def _server(task: Task, address: str) -> Outcome:
    said: Mapping[str, Any] = task.data.get("dhcp", {})
    port, password, room = int(said["port"]), str(said["password"]), int(said["receive-buffer"])
    looked = _ask(task, program.LOOK, quiet=True)
    there, lasting = program.interfaces(looked), program.interfaces(looked, lasting=True)
    subnets = [
        Subnet(id=0, network=one["network"], subnet=one["subnet"], routers=tuple(one["routers"] or ()), mtu=one["mtu"])
        for one in said.get("prefixes") or ()
    ]
    if said["program"] == "dnsmasq":
        wanted = program.install_dnsmasq(subnets=subnets, there=there, room=room)
        url = f"node://{task.node.id}{program.PLACE}"
    else:
        wanted = program.install(
            address=address, port=port, password=password, subnets=subnets, there=there, lasting=lasting,
            hosts=said.get("reservations") == "database", room=room,
        )  # fmt: skip
        url = f"http://{program.in_url(address)}:{port}/"
    done = _ask(task, wanted)
    last = (done.strip().splitlines() or [""])[-1]
    with cluster().change() as change:
        new = register(
            change, task.node_role_id, name=task.node.name, driver=said["program"], url=url, secret=password,
            database=program.hosts_url(done, address, password),
            options={
                "user": OURS, "interfaces": [list(one) for one in there], "prefixes": list(said.get("prefixes") or ()),
            },
        )  # fmt: skip
    task.log(f"{last}{', told to dhcp-database' if new else ''}")
    return Done(wall={"dhcp": {"version": last.removeprefix("serving ")}})


def _ask(task: Task, text: str, *, quiet: bool = False) -> str:
    """Run it on the node; what it says. Raises ``PermanentError`` with the last line of its errors."""
    assert task.address is not None
    answer = Remote.of_cluster().ask(task.node, task.address, text, timeout=task.timeout)
    for line in () if quiet else (answer.out + answer.err).splitlines():
        task.log(line)
    if answer.code != 0:
        last = (answer.err.strip() or answer.out.strip() or "it said nothing").splitlines()[-1]
        raise PermanentError(f"{task.node.name} could not be set up (exit code {answer.code}): {last}")
    return answer.out
