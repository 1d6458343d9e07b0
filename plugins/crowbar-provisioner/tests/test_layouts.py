"""Disks that are divided on the machine: what is installed in which layout, on which disks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Bmc, Site
from .light import GIB, Machine
from .test_installing import IMAGE, ROLE, Installation, describe, name_of

TARBALL = b"tarball" * 1000
SAID = {
    "os": "debian-12", "file": "debian-12.tar.zst", "format": "tar.zst", "sha256": hashlib.sha256(TARBALL).hexdigest(),
    "size": len(TARBALL), "content_size": 1 << 20, "disk_size": 2 * GIB,
}  # fmt: skip
BUILD = "crowbar images build debian-12, where the boot service runs"


@pytest.fixture(autouse=True)
def images(site: Site) -> None:
    (site.root / "images/debian-12.raw").write_bytes(IMAGE)
    (site.root / "images/debian-12.tar.zst").write_bytes(TARBALL)
    (site.root / "sledgehammer/tools.img").write_bytes(b"tools" * 100)
    describe(site, tarball=SAID)


@pytest.fixture
def machine(site: Site) -> Iterator[Machine]:
    """Accepted and managed, with two disks of unequal sizes, and a small one."""
    disks = [
        {"name": name, "size": size, "serial": f"DISK{number}"}
        for number, (name, size) in enumerate((("vda", GIB), ("vdb", 8 * GIB), ("vdc", 4 * GIB)), 1)
    ]
    for made in site.managed(more={"disks": disks}):
        yield made
        Bmc.broken = False


@pytest.fixture
def installation(site: Site, machine: Machine) -> Installation:
    return Installation(site, machine)


def plan_of(site: Site, machine: Machine, **values: Any) -> str:
    site.bed.bind(ROLE, name_of(machine))
    for attribute, value in values.items():
        site.bed.set(f"provisioner-{attribute}", value, node=name_of(machine), role=ROLE, now=False)
    return str(site.web.put("/api/v2/deployments/system/commit?dry_run=true").text)


def the(site: Site) -> Any:
    return site.web.get("/api/v2/oses/debian-12").json


# ---------------------------------------------------------------- what is installed


def test_the_tarball_is_for_the_layouts_that_the_image_has_not(site: Site, installation: Installation) -> None:
    one = installation
    one.begin(layout="raid1")
    one.machine.power_on()
    one.machine.registered()
    work = one.machine.work()["work"]
    assert (work["layout"], work["disk"]["name"], [each["name"] for each in work["disk"]["others"]]) == (
        "raid1", "vdb", ["vdc"],
    )  # fmt: skip
    said = {name: work["image"][name] for name in ("format", "sha256", "size", "content_size")}
    assert said == {name: SAID[name] for name in said}
    assert work["image"]["peers"] is None, "disk to disk goes only what stands on it as it came"
    path = "/v1/images/" + work["image"]["url"].rpartition("/")[2]
    got = one.machine.ask("GET", f"{path}?from=7&count=7")
    assert (got.body, got.headers["Etag"]) == (b"tarball", f'"{SAID["sha256"]}"')
    assert one.machine.ask("GET", "/v1/images/debian-12.raw").status == 404, "that is not what it is installed with"
    got = one.machine.ask("GET", f"/b/{one.machine.token}/tools.img")
    assert (got.status, got.body) == (200, b"tools" * 100)
    assert one.machine.ask("GET", f"/b/{'x' * 43}/tools.img").status == 404
    for step in ("disk", "layout", "image", "check", "identity", "loader"):
        one.says(step, "begun")
        one.says(step)
    describe(site, tarball={**SAID, "sha256": "0" * 64})
    assert "is another one than when" in one.machine.ask("GET", path).text


def test_flat_stays_with_the_image_of_a_whole_disk(site: Site, installation: Installation) -> None:
    installation.begin()
    installation.machine.power_on()
    installation.machine.registered()
    work = installation.machine.work()["work"]
    assert (work["layout"], work["image"]["format"], work["disk"]["name"]) == ("flat", "raw", "vda")


def test_a_system_that_is_there_as_a_tarball_alone_has_all_layouts(site: Site, machine: Machine) -> None:
    (site.root / "images/debian-12.json").write_text(json.dumps(SAID))
    assert (the(site)["layouts"], the(site)["image"], the(site)["problem"]) == (
        ["flat", "lvm", "raid1"], "debian-12.tar.zst", "",
    )  # fmt: skip
    assert f"{name_of(machine)}: vdb, 8.0 GiB" in plan_of(site, machine)


@pytest.mark.parametrize(
    "values, said",
    [
        ({"layout": "lvm"}, "vdb, 8.0 GiB, serial number DISK2 is ERASED, and debian-12 written to it. The layout"),
        ({"layout": "raid1"}, "vdb, 8.0 GiB, serial number DISK2 and vdc, 4.0 GiB, serial number DISK3 are ERASED"),
        ({"layout": "raid1", "second-disk": "vdb"}, "vdc, 4.0 GiB, serial number DISK3 and vdb, 8.0 GiB"),
        ({"layout": "lvm", "disk": "vda"}, "No disk is suitable: vda (too small (1.0 GiB of 2.0))."),
        ({"layout": "raid1", "second-disk": "vda"}, "A second disk is needed beside vdb. No disk is"),
    ],
)  # fmt: skip
def test_a_plan_says_which_disks_are_erased_for_it(
    site: Site, machine: Machine, values: dict[str, str], said: str
) -> None:
    assert f"{name_of(machine)}: {said}" in plan_of(site, machine, **values)


def test_without_a_tarball_or_the_programs_for_it_the_command_that_makes_them_is_named(
    site: Site, machine: Machine
) -> None:
    (site.root / "sledgehammer/tools.img").unlink()
    said = "The discovery image has no programs for the layout lvm: make it anew (crowbar sledgehammer build, where"
    assert f"{name_of(machine)}: {said}" in plan_of(site, machine, layout="lvm")
    describe(site)
    assert the(site)["layouts"] == ["flat"]
    said = f"debian-12 is not installed in the layout lvm, but flat: make it anew ({BUILD})."
    assert f"{name_of(machine)}: {said}" in plan_of(site, machine, layout="lvm")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"file": "gone.tar.zst"}, f"its image gone.tar.zst is not there: {BUILD}"),
        ({"size": 1}, f"its image debian-12.tar.zst has 7000 bytes, not 1: {BUILD}"),
        ({"os": "another"}, "does not describe an image"),
        ({"format": "zip"}, "does not describe an image"),
    ],
)
def test_a_tarball_that_is_not_what_is_said_of_it_is_not_installed(
    site: Site, change: dict[str, Any], said: str
) -> None:
    describe(site, tarball={**SAID, **change})
    assert said in the(site)["problem"]


def test_a_tarball_with_another_checksum_than_is_said_of_it_erases_nothing(
    site: Site, installation: Installation
) -> None:
    (site.root / "images/debian-12.tar.zst").write_bytes(TARBALL[:-1] + b"x")
    installation.begin(layout="lvm")
    assert installation.state == "ERROR"
    assert "The image debian-12.tar.zst has the SHA-256" in site.bed.why(ROLE, installation.name)
    assert (site.bed.node(installation.name).bootenv, Bmc.told) == ("sledgehammer", [])


def test_pages_name_both_files_and_offer_all_layouts(site: Site, machine: Machine) -> None:
    shown = site.browser.open("/oses/debian-12")
    assert "debian-12.tar.zst" in shown
    assert str(SAID["sha256"]) in shown
    assert "flat, lvm, raid1" in shown
    key, name = site.machines(name=name_of(machine))[0]["id"], name_of(machine)
    assert '<option value="raid1"' in site.browser.open(f"/machines/{key}")
    for wrong in ({"layout": "raid1"}, {"layout": "flat", "second_disk": "vdc"}):
        shown = site.browser.send(f"/machines/{key}/install", os="debian-12", disk="vdb", name=name, **wrong)
        assert "takes a second disk, which is erased too: say which." in shown
    assert not site.bed.node_roles(role=ROLE, node=name)
    site.browser.send(
        f"/machines/{key}/install", os="debian-12", disk="vdc", layout="raid1", second_disk="vdb", name=name
    )
    site.bed.anneal_until_quiet()
    (row,) = site.web.get(f"/api/v2/installations?node={name}").json
    assert (row["disk"]["name"], row["disk"]["others"][0]["name"]) == ("vdc", "vdb")
