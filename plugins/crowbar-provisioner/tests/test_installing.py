"""An installation: in steps, each of which waits for the fact that it needs; the light machine is the installer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from .conftest import Bmc, Site
from .light import LOCAL, Machine, host_key

IMAGE = bytes(range(256)) * 4096
ROLE = "provisioner-os-install"
BUILD = "crowbar images build debian-12, where the boot service runs"
STEPS = ["serving", "booting", "installing", "leaving", "restarting"]


def describe(site: Site, **more: Any) -> None:
    said = {
        "os": "debian-12", "file": "debian-12.raw", "format": "raw", "sha256": hashlib.sha256(IMAGE).hexdigest(),
        "size": len(IMAGE), "disk_size": len(IMAGE), "root_partition": 3, "root_fs": "ext4", **more,
    }  # fmt: skip
    (site.root / "images" / "debian-12.json").write_text(json.dumps(said))


@pytest.fixture(autouse=True)
def image(site: Site) -> None:
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE)
    describe(site)


@pytest.fixture
def machine(site: Site) -> Iterator[Machine]:
    """Accepted, managed, with a hammer."""
    for made in site.managed():
        yield made
        Bmc.broken = False


def name_of(machine: Machine) -> str:
    return f"d{machine.macs[0].replace(':', '-')}.example.org"


@dataclass
class Installation:
    """``step``: the one that its run waits in."""

    site: Site
    machine: Machine
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = name_of(self.machine)

    def begin(self, **values: Any) -> None:
        """From power-on, unless ``reset`` is said to be False."""
        self.site.bed.bind(ROLE, self.name)
        for attribute, value in {"reset": True, **values}.items():
            self.site.bed.set(f"provisioner-{attribute}", value, node=self.name, role=ROLE)
        self.site.bed.commit()
        self.settle()

    def settle(self) -> None:
        self.site.bed.anneal_until_quiet()

    @property
    def run(self) -> dict[str, Any]:
        last = self.site.bed.runs(ROLE, self.name)[-1]
        found: dict[str, Any] = self.site.web.get(f"/api/v2/runs/{last.id}").json
        return found

    @property
    def step(self) -> str:
        found = self.run
        return str(found["timeline"][-1]["name"]) if found["pending"] else str(found["state"])

    @property
    def state(self) -> str:
        return self.site.bed.state(ROLE, self.name)

    def says(self, step: str, state: str = "done", *, status: int = 200, **more: Any) -> None:
        body = {"id": self.machine.work()["work"]["id"], "step": step, "state": state, **more}
        answer = self.machine.ask("POST", "/v1/steps", body)
        assert answer.status == status, answer.text

    def write(self) -> dict[str, Any]:
        """As the installer does; what it was told."""
        work: dict[str, Any] = self.machine.work()["work"]
        path = "/v1/images/" + work["image"]["url"].rpartition("/")[2]
        got = self.machine.ask("GET", path)
        assert hashlib.sha256(got.body).hexdigest() == work["image"]["sha256"] == got.headers["Etag"].strip('"')
        for step in ("disk", "image", "grow", "identity"):
            self.says(step, "begun")
            self.says(step)
        return work

    def comes_and_is_written(self) -> None:
        """From its power-on to the end of its installer."""
        self.machine.power_on()
        self.machine.registered()
        self.settle()
        self.write()
        self.says("installed", host_keys=[host_key()])
        self.settle()


@pytest.fixture
def installation(site: Site, machine: Machine) -> Installation:
    return Installation(site, machine)


def test_a_machine_is_installed_and_goes_on_under_the_host_key_that_its_token_vouches_for(
    site: Site, installation: Installation
) -> None:
    one, machine = installation, installation.machine
    one.begin()
    assert (one.step, Bmc.told) == ("booting", [(one.name, "reset")])
    node = site.bed.node(one.name)
    assert node.bootenv == node.served_bootenv == "debian-12-install"
    discovery_key = machine.key
    machine.power_on()
    assert machine.env == "debian-12-install"
    assert machine.registered()["accepted"], "the reset was ordered: its boot is its own"
    one.settle()
    assert one.step == "installing"
    work = one.write()
    assert (work["do"], work["os"], work["disk"]["name"]) == ("install", "debian-12", "vda")
    assert (work["fqdn"], work["hostname"]) == (one.name, one.name.partition(".")[0])
    one.settle()
    assert one.step == "installing", "nothing has been written yet"
    new = host_key()
    one.says("installed", host_keys=[new])
    one.settle()
    assert one.step == "restarting"
    node = site.bed.node(one.name)
    assert (node.bootenv, node.served_bootenv, node.alive, node.host_keys) == ("local", "local", False, (new,))
    assert new not in (discovery_key, machine.key)
    assert machine.work()["work"]["do"] == "reboot"
    installer = machine.token
    assert site.machines(name=one.name)[0]["booted"] == "debian-12-install"
    assert machine.power_on() == LOCAL
    assert machine.ask("GET", "/v1/work", token=installer).status == 401, "from its disk, no token is valid"
    site.bed.change_node(one.name, alive=True)  # it is probed, and shows the new key
    one.settle()
    for role in (ROLE, "crowbar-installed-node", "crowbar-managed-node"):
        assert site.bed.state(role, one.name) == "ACTIVE", role
    assert len(site.bed.runs("provisioner-discovered", one.name)) == 2, "it was discovered again, on the new system"
    assert [each["name"] for each in one.run["timeline"]] == STEPS
    (row,) = site.web.get(f"/api/v2/installations?node={one.name}").json
    assert (row["state"], row["percent"], row["os"]) == ("done", 100, "debian-12")
    assert site.machines(name=one.name)[0]["expected_until"] is None, "no further boot is expected"
    lines = site.web.get(f"/api/v2/machines/{one.name}?fields=timeline").json["timeline"]
    told = [line["what"] for line in lines if line["what"].startswith("install")]
    assert told == [
        "install: begins", "install: disk begun", "install: disk done", "install: image begun", "install: image done",
        "install: grow begun", "install: grow done", "install: identity begun", "install: identity done",
        "install: installed done", "install: restarts", "install: done",
    ]  # fmt: skip
    assert row["ended_at"] is not None
    shown = site.browser.open(f"/machines/{row['node_id'] and site.machines(name=one.name)[0]['id']}")
    assert "install: restarts" in shown


def test_a_machine_that_a_bmc_has_boot_from_its_disk_has_booted_that_last(
    site: Site, installation: Installation
) -> None:
    """It asks nobody then."""
    one, machine = installation, installation.machine

    def booted() -> str:
        return str(site.machines(name=one.name)[0]["booted"])

    one.begin()
    one.comes_and_is_written()
    assert booted() == "debian-12-install"
    site.bed.change_node(one.name, alive=True)
    one.settle()
    assert (one.state, booted()) == ("ACTIVE", "local")
    assert site.web.put(f"/api/v2/machines/{one.name}/debug").status_code == 200
    site.bed.clock.advance(1)  # type: ignore[attr-defined]
    machine.power_on()
    assert booted() == "sledgehammer"


def test_a_plan_says_what_is_erased(site: Site, machine: Machine) -> None:
    name = name_of(machine)
    site.bed.bind(ROLE, name)
    plan = site.web.put("/api/v2/deployments/system/commit?dry_run=true")
    assert f"{name}: vda, 8.0 GiB, QEMU, serial number DISK1 is ERASED, and debian-12 written to it." in plan.text
    site.bed.set("provisioner-os", "windows", node=name, role=ROLE, now=False)
    plan = site.web.put("/api/v2/deployments/system/commit?dry_run=true")
    assert f"{name}: There is no operating system windows; there are: alma-9, debian-12, " in plan.text


@pytest.mark.parametrize(
    "values, said",
    [
        ({"disk": "sdz"}, "There is no disk called sdz"),
        ({"os": "windows"}, "There is no operating system windows"),
    ],
)
def test_what_cannot_be_installed_touches_nothing(
    site: Site, installation: Installation, values: dict[str, str], said: str
) -> None:
    installation.begin(**values)
    assert installation.state == "ERROR"
    assert said in site.bed.why(ROLE, installation.name)
    assert (site.bed.node(installation.name).bootenv, Bmc.told) == ("sledgehammer", [])


@pytest.mark.parametrize(
    "change, said",
    [
        ({"size": 1}, f"its image debian-12.raw has 1048576 bytes, not 1: {BUILD}"),
        ({"file": "missing.raw"}, f"its image missing.raw is not there: {BUILD}"),
        ({"file": "../secret"}, "does not describe an image"),
        ({"sha256": "x"}, "does not describe an image"),
        ({"os": "ubuntu"}, "describes ubuntu"),
    ],
)
def test_an_image_that_is_not_what_is_said_of_it_is_not_installed(
    site: Site, change: dict[str, Any], said: str
) -> None:
    describe(site, **change)
    (shown,) = [one for one in site.web.get("/api/v2/oses").json if one["name"] == "debian-12"]
    assert (shown["image"], said in shown["problem"]) == ("", True), shown
    assert said.partition(": ")[0] in site.browser.open("/oses")


def test_of_an_image_that_is_not_there_the_command_that_makes_it_is_named(site: Site) -> None:
    (site.root / "images" / "debian-12.json").rename(site.root / "images" / "debian-12.gone")
    try:
        said = site.web.get("/api/v2/oses/debian-12").json["problem"]
    finally:
        (site.root / "images" / "debian-12.gone").rename(site.root / "images" / "debian-12.json")
    path = site.root / "images" / "debian-12.json"
    assert said == f"there is no image of it ({path}): {BUILD}"


def test_an_image_with_another_checksum_than_is_said_of_it_erases_nothing(
    site: Site, installation: Installation
) -> None:
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE[:-1] + b"x")
    installation.begin()
    assert installation.state == "ERROR"
    assert "The image debian-12.raw has the SHA-256" in site.bed.why(ROLE, installation.name)
    assert (site.bed.node(installation.name).bootenv, Bmc.told) == ("sledgehammer", [])


def test_an_image_is_given_from_a_byte_on_and_not_when_it_has_changed(site: Site, installation: Installation) -> None:
    one, machine = installation, installation.machine
    one.begin()
    machine.power_on()
    machine.registered()
    path = "/v1/images/debian-12.raw"
    for query, wanted in (("from=1000&count=50", IMAGE[1000:1050]), ("from=9", IMAGE[9:]), ("count=7", IMAGE[:7])):
        answer = machine.ask("GET", f"{path}?{query}")
        assert (answer.status, answer.body == wanted) == (200, True), query
    assert machine.ask("GET", f"{path}?from=-1").status == machine.ask("GET", f"{path}?count=x").status == 422
    describe(site, sha256="0" * 64)
    answer = machine.ask("GET", f"{path}?from=1000")
    assert (answer.status, "is another one than when this installation began" in answer.text) == (409, True)


def test_a_compressed_image_is_installed_where_the_checksum_of_its_content_is_known(site: Site) -> None:
    def problem() -> str:
        (shown,) = [one for one in site.web.get("/api/v2/oses").json if one["name"] == "debian-12"]
        return str(shown["problem"])

    describe(site, format="raw.zst")
    assert "does not describe an image" in problem()
    describe(site, format="raw.zst", blake2b=hashlib.blake2b(IMAGE).hexdigest())
    assert problem() == ""


def test_an_installer_that_fails_says_where_and_a_retry_begins_from_the_start(
    site: Site, installation: Installation
) -> None:
    one, machine = installation, installation.machine
    one.begin()
    machine.power_on()
    machine.registered()
    one.settle()
    one.says("disk")
    one.says("image", "failed", detail="the checksum is wrong")
    one.settle()
    assert one.state == "ERROR"
    assert "The installer failed in image: the checksum is wrong" in site.bed.why(ROLE, one.name)
    listed = site.bed.cli("installations", "list", "--node", one.name, "--state", "failed", user="viewer")
    [line] = [text for text in listed.stdout.splitlines() if one.name in text]
    for word in ("debian-12", "failed", "image", "the checksum is wrong"):
        assert word in line, listed.stdout
    assert "the checksum is wrong" in site.bed.cli("installations", "show", line.split()[0], user="viewer").stdout
    assert machine.work()["work"] is None
    key = site.bed.node_role(ROLE, one.name).id
    assert site.web.put(f"/api/v2/node_roles/{key}/retry").status_code == 200
    one.settle()
    assert one.step == "booting"
    assert len(Bmc.told) == 2, "it is reset once more"


def test_a_machine_that_runs_the_discovery_image_is_installed_from_there_and_not_twice(
    site: Site, installation: Installation
) -> None:
    one, machine = installation, installation.machine
    site.bed.bind(ROLE, one.name)
    site.bed.commit()
    one.settle()
    assert (one.step, Bmc.told) == ("installing", [])
    one.write()
    one.says("image", "failed", detail="the disk is full")
    one.settle()
    assert one.state == "ERROR"
    key = site.bed.node_role(ROLE, one.name).id
    assert site.web.put(f"/api/v2/node_roles/{key}/retry").status_code == 200
    one.settle()
    assert (one.step, Bmc.told) == ("booting", [(one.name, "reset")]), "once it failed there, it is begun from power-on"
    assert machine.work()["work"] is None
    one.comes_and_is_written()
    assert one.step == "restarting"


def test_a_machine_whose_discovery_image_is_older_than_the_one_served_is_reset(
    site: Site, installation: Installation
) -> None:
    image = site.root / "sledgehammer" / "initrd.img"
    before = image.stat()
    os.utime(image, times=(site.bed.clock().timestamp() + 5,) * 2)
    try:
        installation.begin(reset=False)
    finally:
        os.utime(image, times=(before.st_atime, before.st_mtime))
    assert (installation.step, Bmc.told) == ("booting", [(installation.name, "reset")])


def test_what_does_not_run_the_discovery_image_is_reset_whatever_is_wished(
    site: Site, installation: Installation
) -> None:
    site.bed.change_node(installation.name, alive=False)
    installation.begin(reset=False)
    site.bed.change_node(installation.name, alive=True)
    installation.settle()
    machine = installation.machine
    assert (installation.step, Bmc.told) == ("installing", []), "alive again in the same boot"
    machine.power_on()
    assert machine.registered()["accepted"]
    assert machine.work()["work"]["do"] == "install", "who is switched off in the middle boots the installer"


@pytest.mark.parametrize(
    "step, why",
    [
        ("booting", "it did not boot the installer"),
        ("installing", "the installer did not end; the installer was in image, 40 %"),
        ("restarting", "it did not come up from its disk; the installer was in installed, 100 %"),
    ],
)
def test_a_machine_that_stays_away_fails_its_run_with_the_step_and_a_retry_installs_it(
    site: Site, installation: Installation, step: str, why: str
) -> None:
    one, machine = installation, installation.machine
    one.begin()
    if step == "installing":
        machine.power_on()
        machine.registered()
        one.settle()
        one.says("image", "begun", percent=40)
    elif step == "restarting":
        one.comes_and_is_written()
    assert one.step == step
    site.bed.clock.advance(7200)  # type: ignore[attr-defined]
    one.settle()
    assert one.state == "ERROR"
    assert f"In the step {step}: {why}" in site.bed.why(ROLE, one.name)
    machine.power_on()
    assert machine.env == "sledgehammer", "nothing is installed, and it has nothing else to boot from"
    assert machine.registered()["accepted"]
    assert machine.work()["work"] is None
    machine.ask("POST", "/v1/alive", {"alive": True})
    assert site.web.put(f"/api/v2/node_roles/{site.bed.node_role(ROLE, one.name).id}/retry").status_code == 200
    one.settle()
    assert (one.step, len(Bmc.told)) == ("booting", 2)
    one.comes_and_is_written()
    machine.power_on()
    site.bed.change_node(one.name, alive=True)
    one.settle()
    assert one.state == "ACTIVE"


def test_what_was_cancelled_is_not_installed_whatever_boots_then(site: Site, installation: Installation) -> None:
    one, machine = installation, installation.machine
    one.begin()
    machine.power_on()
    machine.registered()
    one.settle()
    assert site.web.put(f"/api/v2/runs/{one.run['id']}/cancel", json={}).status_code == 200
    one.settle()
    assert machine.work()["work"] is None
    machine.power_on()
    assert (machine.env, machine.registered()["accepted"], one.state) == ("sledgehammer", True, "TODO")


def test_what_an_installer_did_before_anybody_looked_is_seen(site: Site, installation: Installation) -> None:
    """As when the annealer is away for a while."""
    one, machine = installation, installation.machine
    one.begin()
    machine.power_on()
    machine.registered()
    one.write()
    one.says("installed", host_keys=[host_key()])
    one.settle()
    assert one.step == "restarting"
    assert [each["name"] for each in one.run["timeline"]] == STEPS


def test_a_reset_is_ordered_once_however_often_the_run_is_woken(site: Site, installation: Installation) -> None:
    installation.begin()
    for _ in range(3):
        assert site.web.put(f"/api/v2/runs/{installation.run['id']}/wake").status_code == 200
        installation.settle()
    assert (installation.step, Bmc.told) == ("booting", [(installation.name, "reset")])
    timeline = installation.run["timeline"]
    assert [each["name"] for each in timeline] == ["serving", "booting"], "waking moves no deadline"


def test_a_hammer_that_cannot_fails_the_run_with_its_reason(site: Site, installation: Installation) -> None:
    Bmc.broken = True
    installation.begin()
    assert installation.state == "ERROR"
    assert "could not be reset" in site.bed.why(ROLE, installation.name)


def test_other_machines_have_no_part_in_an_installation(site: Site, installation: Installation) -> None:
    """Other nodes' tokens, images and steps; an old boot's token."""
    one, machine = installation, installation.machine
    other = site.machine()
    other.power_on()
    other.registered()
    before = machine.token
    one.begin()
    assert machine.ask("GET", "/v1/images/debian-12.raw", token=before).status == 404
    machine.power_on()
    machine.registered()
    one.settle()
    work = machine.work()["work"]
    assert other.work()["work"] is None
    assert other.ask("GET", "/v1/images/debian-12.raw").status == 404
    for token, status in ((other.token, 409), (before, 401), ("x" * 43, 401), ("", 401)):
        body = {"id": work["id"], "step": "installed", "state": "done", "host_keys": [host_key()]}
        assert machine.ask("POST", "/v1/steps", body, token=token or "-").status == status
    wrong = {"id": "x", "step": "installed", "state": "done", "host_keys": [host_key()]}
    assert machine.ask("POST", "/v1/steps", wrong).status == 409
    for bad in ({"step": "reboot"}, {"state": "x"}, {"percent": 101}, {"detail": "a\nb"}, {"host_keys": ["; x"]}):
        assert (
            machine.ask("POST", "/v1/steps", {"id": work["id"], "step": "disk", "state": "done", **bad}).status == 422
        )
    one.says("installed", status=422)
    one.settle()
    assert one.step == "installing"
