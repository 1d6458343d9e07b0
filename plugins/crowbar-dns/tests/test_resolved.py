"""A whole machine with systemd-resolved asks the cluster's server by that, and no longer when it is unbound."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import crowbar_dns
import crowbar_jig_script
import pytest
from crowbar_dns.jig import DnsJig
from crowbar_dns.resolving import RESOLVED
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.testing import inside

from crowbar_core.testing import Testbed

from .servers import KEY, Bind

pytestmark = [pytest.mark.machines, pytest.mark.lab, pytest.mark.timeout(1200)]

ROUTER, ZONE = "10.77.0.1", "one.test"
RESOLVE = "/usr/sbin/nologin"
USER = {
    "/etc/passwd": f"systemd-resolve:x:991:991::/:{RESOLVE}\n", "/etc/group": "systemd-resolve:x:991:\n",
}  # fmt: skip
NAME = f"machine.{ZONE}"
ASK = "resolvectl query --cache=no --legend=no -4"


def _machines() -> Any:
    """The whole machine of the tests of networks."""
    path = Path(__file__).parents[2] / "crowbar-network/tests/machine.py"
    spec = importlib.util.spec_from_file_location("network_machine", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_a_machine_asks_the_clusters_server_by_resolved_also_after_a_power_cut_and_no_longer_when_it_is_unbound() -> (
    None
):
    machines = _machines()
    files = {
        **{path: Path(path).read_text(encoding="utf-8") + line for path, line in USER.items()},
        "/etc/systemd/system/lab.target.d/resolved.conf": "[Unit]\nWants=systemd-resolved.service\n",
        "/etc/systemd/network/50-first.network": (
            f"[Match]\nName=eth0\n[Network]\nAddress={machines.ADDRESS}/16\nAddress={machines.ADDRESS6}/64\n"
            "IPv6AcceptRA=no\n"
        ),
        "/etc/resolv.conf": "nameserver 127.0.0.53\noptions edns0\n",
    }
    with tempfile.TemporaryDirectory(prefix="crowbar-resolved-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        with machines.started(place, files) as machine:
            bind = Bind(machine.lab, place / "named", ROUTER, (ZONE,), 53)
            inside(machine.lab, bind.start)
            try:
                _asks(machine, str(machine.lab.private_key), machines)
            finally:
                bind.stop()


def _asks(machine: Any, key_file: str, machines: Any) -> None:
    config = {"key_file": key_file, "connect_timeout": 20.0}
    jigs = {"script": ScriptJig(config), "dns": DnsJig({})}
    with Testbed(crowbar_jig_script, crowbar_dns, jigs=jigs, config={"jig-script": config}) as bed:
        hint = {"hint-admin-v4addr": f"{machines.ADDRESS}/16"}
        bed.add_node(NAME, hint=hint, host_keys=[machine.host_key])

        def settle() -> None:
            inside(machine.lab, lambda: bed.anneal_until_quiet(within=300), timeout=400)

        def asks() -> None:
            assert machine.run(f"{ASK} {NAME}").startswith(f"{NAME}: {machines.ADDRESS}")
            for name in (NAME, "machine"):  # in the domain to search, too
                assert machine.run(f"getent -s dns ahostsv4 {name}").startswith(machines.ADDRESS)

        assert machine.ssh(f"{ASK} {NAME}").returncode != 0
        phantom = "system-phantom.internal.local"
        bed.bind("dns-service")  # first: dns-database, on the same node, waits for it
        bed.bind("dns-database")
        for what, value in {"addresses": [ROUTER], "zones": [ZONE], "key-name": "crowbar", "key": KEY}.items():
            bed.set(f"dns-service-{what}", value, node=phantom, role="dns-service")
        bed.bind("dns-client", NAME)
        bed.set("dns-client-servers", [ROUTER], node=NAME, role="dns-client")
        bed.commit()
        settle()
        way = bed.value("dns-client-resolver", NAME, role="dns-client")
        assert way == "resolved", bed.why("dns-client", NAME)
        asks()
        assert machine.run("cat /etc/resolv.conf") == "nameserver 127.0.0.53\noptions edns0\n"
        machine.power_cycle()
        machine.run(f"until {ASK} {NAME} >/dev/null 2>&1; do sleep 0.2; done")  # its link may not be up yet
        asks()
        bed.unbind("dns-client", NAME)
        settle()
        assert machine.ssh(f"test -e {RESOLVED}").returncode == 1
        assert machine.ssh(f"{ASK} {NAME}").returncode != 0
