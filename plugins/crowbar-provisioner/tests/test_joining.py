"""Machines that run already join over SSH and by themselves: real nodes of a lab, neither rebooted nor reinstalled."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crowbar_jig_script
import crowbar_provisioner
import pytest
from crowbar_jig_script.connections import fingerprint
from crowbar_jig_script.hammer import SshHammer
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab, LabNode
from crowbar_lab.testing import begin_inside
from crowbar_provisioner.joining import script
from crowbar_provisioner.joining.facts import registration

from crowbar_core import BadInput
from crowbar_core.testing import Testbed

from .light import host_key, listening
from .test_on_nodes import PORT, gateway_of

JOINED, ERASES = "crowbar-joined-node", "provisioner-os-install"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create("join", nodes=2, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()) as lab:
        yield lab


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crowbar's own, which no node knows yet."""
    made = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)], check=True)
    return made


def bed_in(key: Path, root: Path, **jig: Any) -> Testbed:
    keys = {"key_file": str(key), "connect_timeout": 5.0, **jig}
    provisioner = {"listen": [f"0.0.0.0:{PORT}"], "files": str(root), "domain": "lab.test"}
    return Testbed(
        crowbar_jig_script, crowbar_provisioner, jigs={"script": ScriptJig(keys)}, hammers={"ssh": SshHammer},
        config={"provisioner": provisioner, "jig-script": keys},
    )  # fmt: skip


def on(lab: Lab, node: LabNode, program: str) -> str:
    done = lab.exec(lab.ssh(node.name, ["sh", "-s"]), input=program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.mark.lab
def test_a_machine_joins_over_ssh_keeps_its_disks_until_it_is_released_and_is_one_node_however_often(
    lab: Lab, key: Path, tmp_path: Path
) -> None:
    node, before = lab.nodes[0], lab.nodes[0].boots

    def inside() -> None:
        with bed_in(key, tmp_path) as bed:
            web = bed.web("operator")
            shown = web.post("/api/v2/machines/host_key", json={"address": node.ipv4}).json
            assert shown == {
                "address": node.ipv4, "host_key": node.host_key, "fingerprint": fingerprint(node.host_key)
            }  # fmt: skip
            body: dict[str, Any] = {"address": node.ipv4, "host_key": node.host_key}
            body["private_key"] = lab.private_key.read_text()  # type: ignore[union-attr]
            for wrong, status, said in (
                ({"host_key": host_key()}, 409, "it is another machine, or somebody stands between"),
                ({"private_key": ""}, 409, "does not let root in with Crowbar's key"),
                ({"private_key": "x"}, 422, "That is no private key"),
                ({"address": "node-1"}, 422, "This is an IP address"),
                ({"user": "root; reboot"}, 422, "user"),
                ({"address": "127.0.0.9"}, 409, "does not answer as an SSH server"),
            ):
                refused = web.post("/api/v2/machines/join", json={**body, **wrong})
                assert (refused.status_code, said in refused.text) == (status, True), refused.text
            assert web.get("/api/v2/machines").json == []
            assert on(lab, node, "cat /root/.ssh/authorized_keys || :").count("crowbar") == 0

            answer = web.post("/api/v2/machines/join", json=body)
            assert answer.status_code == 201, answer.text
            one = answer.json
            assert (one["name"], one["state"], one["joined"], one["bootenv"]) == (node.name, "accepted", True, "local")
            bed.anneal_until_quiet(within=60)
            assert bed.state(JOINED, node.name) == "ACTIVE", bed.why("provisioner-discovered", node.name)
            assert bed.value("provisioner-runs", node.name, role="provisioner-discovered") == "disk"
            found = bed.node(node.name)
            assert (found.alive, found.available, found.host_keys) == (True, True, (node.host_key,))
            assert found.discovery["macs"] == [node.mac]
            assert [one["name"] for one in web.get(f"/api/v2/nodes/{node.name}/hammers").json] == ["ssh"]
            assert lab.node(node.name).boots == before, "it was not rebooted"

            again = web.post("/api/v2/machines/join", json={**body, "private_key": ""})
            assert (again.status_code, again.json["id"]) == (201, one["id"]), "by Crowbar's own key now"
            assert on(lab, node, "cat /root/.ssh/authorized_keys").count(" crowbar\n") == 1
            other = web.post("/api/v2/machines/join", json={**body, "name": "another.lab.test"})
            assert (other.status_code, f"It has joined already, as {node.name}" in other.text) == (409, True)

            path = f"/api/v2/machines/{node.name}"
            bind = {"node_id": node.name, "role_id": ERASES}
            refused = web.post("/api/v2/node_roles", json=bind)
            assert (refused.status_code, f"crowbar machines release {node.name}" in refused.text) == (409, True)
            assert web.put(f"{path}/install", json={}).status_code == 409
            assert web.put(f"{path}/release").json["released"]
            refused = web.post("/api/v2/node_roles", json=bind)
            assert f"crowbar noderoles unbind {node.name}/{JOINED}" in refused.text
            bed.unbind(JOINED, node.name)
            bound = web.post("/api/v2/node_roles", json=bind)
            assert bound.status_code == 201, bound.text
            assert web.delete(f"/api/v2/node_roles/{bed.node_role(ERASES, node.name).id}").status_code < 300
            assert not web.put(f"{path}/protect").json["released"]
            assert web.post("/api/v2/node_roles", json=bind).status_code == 409

    begin_inside(lab, inside).result()


USER = """
useradd -m ops && echo ops:right | chpasswd
echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/ops
mkdir -p /run/sshd
/usr/sbin/sshd -o Port=2222 -o PasswordAuthentication=yes
"""


@pytest.mark.lab
def test_a_machine_joins_by_a_user_with_a_password_who_may_use_sudo(lab: Lab, key: Path, tmp_path: Path) -> None:
    node = lab.nodes[0]
    on(lab, node, USER)

    def inside() -> None:
        with bed_in(key, tmp_path, port=2222) as bed:
            web = bed.web("operator")
            body = {"address": node.ipv4, "host_key": node.host_key, "user": "ops", "password": "right"}
            wrong = web.post("/api/v2/machines/join", json={**body, "password": "wrong"})
            assert (wrong.status_code, "does not let ops in with its password" in wrong.text) == (409, True), wrong.text
            answer = web.post("/api/v2/machines/join", json=body)
            assert answer.status_code == 201, answer.text
            assert answer.json["name"] == node.name
            assert "right" not in str(web.get("/api/v2/audits").json)
            on(lab, node, "echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops")
            assert web.post("/api/v2/machines/join", json=body).status_code == 201, "nobody is asked there"
            on(lab, node, "rm /etc/sudoers.d/ops")
            refused = web.post("/api/v2/machines/join", json=body)
            assert "does not let ops become root with that password" in refused.text

    begin_inside(lab, inside).result()


@pytest.mark.lab
def test_a_machine_joins_by_a_command_that_counts_once(lab: Lab, key: Path, tmp_path: Path) -> None:
    node = lab.nodes[1]

    def inside() -> None:
        with bed_in(key, tmp_path) as bed, bed.service("provisioner-boot"):
            listening(PORT)
            web = bed.web("operator")
            unknown = web.post("/api/v2/machines/join_command", json={})
            assert (unknown.status_code, "bind provisioner-server, or give its address" in unknown.text) == (409, True)
            url = f"http://{gateway_of(lab)}:{PORT}"
            for wrong in ({"url": "file:///etc/passwd"}, {"minutes": 0}, {"name": "short"}):
                assert web.post("/api/v2/machines/join_command", json=wrong).status_code in (409, 422), wrong
            made = bed.cli("machines", "join-command", "--at", url, "--name", "two.lab.test", user="operator")
            assert made.exit_code == 0, made.stderr
            command = made.stdout.strip()
            forged = re.sub(r"'[0-9a-f]{64} ", f"'{'0' * 64} ", command)
            assert "did NOT match" in on(lab, node, f"({forged}) 2>&1 || :"), "what was changed on the way is not run"
            assert "is two.lab.test" in on(lab, node, command)
            bed.anneal_until_quiet(within=60)
            assert bed.state(JOINED, "two.lab.test") == "ACTIVE", bed.why("provisioner-discovered", "two.lab.test")
            assert (bed.node("two.lab.test").host_keys, bed.node("two.lab.test").addresses) == (
                (node.host_key,), (node.ipv4,),
            )  # fmt: skip
            again = lab.exec(lab.ssh(node.name, [command]), capture_output=True, text=True, timeout=60)
            assert (again.returncode, "404" in again.stderr) == (0, True), again.stderr
            assert [one["name"] for one in web.get("/api/v2/machines").json] == ["two.lab.test"]

            second = web.post("/api/v2/machines/join_command", json={"url": url}).json["command"]
            assert "is two.lab.test" in on(lab, node, second), "the same machine is one node"
            late = web.post("/api/v2/machines/join_command", json={"url": url, "minutes": 5}).json["command"]
            bed.clock.advance(301)  # type: ignore[attr-defined]
            over = lab.exec(lab.ssh(node.name, [late]), capture_output=True, text=True, timeout=60)
            assert "404" in over.stderr, over.stderr

    begin_inside(lab, inside).result()


def test_the_page_makes_a_command_and_says_what_is_wrong(key: Path, tmp_path: Path) -> None:
    with bed_in(key, tmp_path) as bed:
        browser = bed.browser("operator")
        assert "neither rebooted nor reinstalled" in browser.open("/machines/join")
        made = browser.send("/machines/join/command", name="", url="http://10.0.0.1:8091")
        assert "f=$(mktemp)" in made
        assert "http://10.0.0.1:8091/join/" in made
        browser.open("/machines/join")
        assert "bind provisioner-server, or give its address" in browser.send("/machines/join/command", name="", url="")
        for address, said in (("nobody", "This is an IP address"), ("127.0.0.9", "does not answer as an SSH server")):
            browser.open("/machines/join")
            assert said in browser.send("/machines/join/look", address=address)


def test_the_facts_of_a_machine_are_what_the_discovery_image_would_tell(tmp_path: Path) -> None:
    """The inventory script once with jq, as in the image, and once without."""
    whole = tmp_path / "inventory"
    whole.write_text(script.inventory().replace("${RAW:-/run}", f"${{RAW:-{tmp_path}}}"))
    mac = next(Path("/sys/class/net").glob("*/device"), Path("/none")).parent / "address"
    card = mac.read_text().strip() if mac.exists() else ""
    (tmp_path / "raw").mkdir()
    image, facts = (
        subprocess.run(["sh", str(whole), card], capture_output=True, text=True, check=True, env={**os.environ, **more})
        for more in ({}, {"RAW": str(tmp_path / "raw")})
    )
    key = host_key()
    if not card:
        pytest.skip("this host has no card of its own")
    found = registration(facts.stdout, [key]).inventory.model_dump_json(exclude={"nics": {"__all__": {"speed"}}})
    told = crowbar_provisioner.inventory.Inventory.model_validate_json(image.stdout)
    assert found == told.model_dump_json(exclude={"nics": {"__all__": {"speed"}}})


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "is refused at macs"),
        ("nics\t0\teth0\tnone\t\tvirtio\t-1\t1\n", "is refused at macs"),
        (
            "nics\t0\teth0\t52:54:00:00:00:01\t\tvirtio\t-1\t1\ndisks\t../etc\t9" + "\t" * 12,
            "at disks/0/name",
        ),
        ("nics\t0\teth0\t52:54:00:00:00:01\t\tvirtio\t-1\t1\nhost_key\tssh-rsa ;x\n", "is refused at host_keys"),
    ],
)
def test_facts_that_cannot_be_are_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        registration(text)


def test_of_a_container_what_the_hardware_says_is_not_its_own() -> None:
    facts = (
        "nics\t0\teth0\t52:54:00:00:00:01\t\t\t-1\t1\nfact\tproduct_uuid\t11111111-2222-3333-4444-555555555555\n"
        "fact\tfqdn\tct1.example.org\ndisks\tvda\t16" + "\t" * 12
    )
    found = registration(facts, [host_key()]).inventory
    assert (found.uuid, found.disks, found.hostname) == ("", [], "ct1.example.org")
