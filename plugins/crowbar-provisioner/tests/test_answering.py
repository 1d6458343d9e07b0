"""Who serves DHCP states what is served; where nobody does, what is wanted is served at once."""

from __future__ import annotations

from pathlib import Path

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
import crowbar_provisioner
import paramiko
from crowbar_provisioner.answering import of_host
from crowbar_provisioner.tables import servers
from sqlalchemy import update

from crowbar_core import cluster
from crowbar_core.testing import FakeJig, Testbed


def test_what_is_wanted_is_served_at_once_unless_servers_of_dhcp_are_told() -> None:
    barclamps = (crowbar_jig_script, crowbar_network, crowbar_dhcp, crowbar_provisioner)
    with Testbed(*barclamps, jigs={name: FakeJig() for name in ("network", "script", "dhcp")}) as bed:
        bed.add_node("n1", bootenv="sledgehammer")
        bed.anneal_until_quiet()
        assert bed.node("n1").served_bootenv == "sledgehammer"
        bed.change_node("n1", bootenv="windows")
        bed.anneal_until_quiet()
        assert bed.node("n1").served_bootenv == "sledgehammer", "nobody here knows what that is"
        bed.bind("dhcp-database")
        bed.commit()
        bed.change_node("n1", bootenv="local")
        bed.anneal_until_quiet()
        assert bed.node("n1").served_bootenv == "sledgehammer", "no server has confirmed it"
        assert dict(bed.ask("dhcp_strangers")) == {"provisioner": {}}, "there is no boot server yet"


def test_ipxe_begins_by_tftp_where_the_server_has_been_given_its_script_and_at_the_boot_service_else(
    tmp_path: Path,
) -> None:
    paramiko.RSAKey.generate(2048).write_private_key_file(str(tmp_path / "key"))
    config = {"jig-script": {"key_file": str(tmp_path / "key"), "ping": False}}
    jig = FakeJig()
    with Testbed(crowbar_jig_script, crowbar_provisioner, jigs={"script": jig}, config=config) as bed:
        bed.add_node("admin.example.org", hint={"hint-admin-v4addr": "10.0.0.1/24"})
        bed.bind("provisioner-server", "admin.example.org")
        bed.commit()
        bed.anneal_until_quiet()

        def said() -> object:
            node = bed.node("admin.example.org")
            with bed.serving() as here:
                return dict(here.boots([node])[node.id])["provisioner"]

        by_tftp = {"dhcp4": of_host("10.0.0.1", 8091, script="boot4.ipxe")}
        assert said() == by_tftp
        with bed.serving(), cluster().change() as change:
            change.session.execute(update(servers).values(scripts=[]))
        assert said() == {"dhcp4": of_host("10.0.0.1", 8091)}, "its role has not run since an upgrade"
        made = bed.web("operator").post("/api/v2/machines/join_command", json={})
        assert made.json["url"] == "http://10.0.0.1:8091"
        bed.set("provisioner-port", 8092, node="admin.example.org", role="provisioner-server")
        bed.anneal_until_quiet()
        assert said() == {"dhcp4": of_host("10.0.0.1", 8092, script="boot4.ipxe")}
        given = bed.value("provisioner-scripts", "admin.example.org", role="provisioner-server")
        assert "http://10.0.0.1:8092/boot.ipxe" in given["boot4.ipxe"]
