"""The catalogue: what describes it, trees of installers, an installation by an installer, whose hooks run for real."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import crowbar_provisioner
import pytest
from crowbar_provisioner.describing import read
from crowbar_provisioner.trees import add

from crowbar_core import Barclamp, CrowbarError, hookimpl
from crowbar_core.testing import Testbed

from .conftest import Bmc, Site
from .light import GIB, LOCAL
from .test_installing import ROLE, Installation

MIRROR = "http://mirror.example.com/debian"
PACKAGE = resources.files("crowbar_provisioner")


def sources(place: Path) -> Path:
    """What an operator has fetched for the installer of Debian."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "linux").write_bytes(b"kernel" * 100)
    (place / "initrd.gz").write_bytes(b"initrd" * 1000)
    return place


@pytest.fixture(scope="module")
def tree(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trees of all installers."""
    place = sources(tmp_path_factory.mktemp("sources"))
    added(site, "debian-12-preseed", place)
    for name in (
        "casper/vmlinuz",
        "casper/initrd",
        "live-server.iso",
        "images/pxeboot/vmlinuz",
        "images/pxeboot/initrd.img",
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"x" * 100)
    for name in ("ubuntu-24.04", "rocky-9"):
        added(site, name, place)


def added(site: Site, name: str, place: Path) -> None:
    done = site.bed.cli("oses", "add-tree", name, str(place), "--mirror", MIRROR, "--files", str(site.root))
    assert done.exit_code == 0, done.stderr


def the(site: Site, name: str) -> Any:
    return site.web.get(f"/api/v2/oses/{name}").json


# ---------------------------------------------------------------- trees


def test_without_a_tree_the_command_that_adds_one_is_named(site: Site, tmp_path: Path) -> None:
    said = the(site, "ubuntu-12.04")
    assert said["problem"].endswith(
        "crowbar oses add-tree ubuntu-12.04 DIRECTORY --mirror URL, where the boot service runs"
    )
    assert (said["method"], said["layouts"]) == ("preseed", ["flat", "lvm", "raid1"])
    added(site, "ubuntu-12.04", sources(tmp_path / "tree"))
    said = the(site, "ubuntu-12.04")
    assert (said["problem"], said["mirror"], sorted(said["files"])) == ("", MIRROR, ["initrd.gz", "linux"])
    checksum = hashlib.sha256(b"kernel" * 100).hexdigest()
    assert said["files"]["linux"] == {"sha256": checksum, "size": 600}
    assert "6.4 KiB" in site.browser.open("/oses")
    shown = site.browser.open("/oses/ubuntu-12.04")
    for text in (checksum, said["sha256"], MIRROR, "can be installed"):
        assert text in shown
    assert said["sha256"] in site.bed.cli("oses", "show", "ubuntu-12.04").stdout
    (site.root / "trees" / "ubuntu-12.04" / "linux").write_bytes(b"less")
    problem = the(site, "ubuntu-12.04")["problem"]
    again = "crowbar oses add-tree ubuntu-12.04 DIRECTORY --mirror URL"
    assert problem == f"linux of its tree has 4 bytes, not 600: {again}"
    shutil.rmtree(site.root / "trees" / "ubuntu-12.04")
    (site.root / "trees" / "ubuntu-12.04.json").unlink()


def test_checksums_are_read_from_a_file_or_from_standard_input(site: Site, tmp_path: Path) -> None:
    place = sources(tmp_path / "tree")

    def add(sums: str, stdin: str | None = None) -> str:
        words = ("oses", "add-tree", "debian-12-preseed", str(place), "--mirror", MIRROR, "--files", str(tmp_path))
        done = site.bed.cli(*words, "--sums", sums, stdin=stdin)
        assert done.exit_code == 1
        return str(done.stderr)

    assert f"The file {tmp_path}/none cannot be read: No such file or directory." in add(f"{tmp_path}/none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert f"The file {tmp_path}/binary is not UTF-8 text." in add(f"{tmp_path}/binary")
    assert "lines as sha256sum writes them" in add("-", "x")


@pytest.mark.parametrize(
    "name, more, said",
    [
        ("debian-12", {}, "has no tree"),
        ("debian-12-preseed", {}, "say which, with --mirror URL"),
        ("debian-12-preseed", {"mirror": "ftp://a/b"}, "A mirror is said as"),
        ("debian-12-preseed", {"mirror": MIRROR, "sha256": "a" * 64}, "A checksum is said of an ISO image"),
        ("debian-12-preseed", {"mirror": MIRROR, "sums": "x"}, "lines as sha256sum writes them"),
        ("debian-12-preseed", {"mirror": MIRROR, "sums": f"{'a' * 64}  linux\n"}, "say nothing of initrd.gz"),
        ("debian-12-preseed", {"mirror": MIRROR, "sums": f"{'b' * 64}  ./linux\n{'b' * 64} *initrd.gz\n"},
         f"linux has the checksum {hashlib.sha256(b'kernel' * 100).hexdigest()}, not {'b' * 64}"),
        ("rocky-9", {}, "The tree has no images/pxeboot/vmlinuz, which rocky-9 boots from"),
    ],
)  # fmt: skip
def test_a_tree_that_is_not_what_is_said_is_not_added(tmp_path: Path, name: str, more: Any, said: str) -> None:
    place = sources(tmp_path / "tree")
    described = read(PACKAGE.joinpath("oses", f"{name}.json").read_bytes(), name)
    with pytest.raises(CrowbarError) as refused:
        add(tmp_path / "files", described, place, **more)
    assert said in refused.value.detail
    assert not list((tmp_path / "files").rglob("linux")), "nothing of it is there"


def test_a_link_does_not_lead_out_of_a_tree(tmp_path: Path) -> None:
    place = sources(tmp_path / "tree")
    (place / "secret").symlink_to("/etc/shadow")
    described = read(PACKAGE.joinpath("oses", "debian-12-preseed.json").read_bytes(), "debian-12-preseed")
    with pytest.raises(CrowbarError, match="secret is a link that leads out of the tree"):
        add(tmp_path / "files", described, place, mirror=MIRROR)


def test_an_iso_image_is_checked_unpacked_and_kept(tmp_path: Path) -> None:
    place = tmp_path / "iso"
    (place / "casper").mkdir(parents=True)
    for name in ("vmlinuz", "initrd"):
        (place / "casper" / name).write_bytes(name.encode() * 100)
    iso = tmp_path / "live.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(iso), str(place)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    described = read(PACKAGE.joinpath("oses", "ubuntu-24.04.json").read_bytes(), "ubuntu-24.04")
    for checksum, said in (("", "--sha256 CHECKSUM"), ("a" * 64, f"not {'a' * 64}")):
        with pytest.raises(CrowbarError, match=said):
            add(tmp_path / "files", described, iso, sha256=checksum)
    checksum = hashlib.sha256(iso.read_bytes()).hexdigest()
    for _ in range(2):  # a second time, what is there is replaced
        made = add(tmp_path / "files", described, iso, sha256=checksum)
        assert made.files["live-server.iso"].sha256 == checksum
        assert made.files["casper/vmlinuz"].size == 700
        home = tmp_path / "files" / "trees"
        assert sorted(one.name for one in home.iterdir()) == ["ubuntu-24.04", "ubuntu-24.04.json"]
        assert (home / "ubuntu-24.04" / "casper" / "initrd").read_bytes() == b"initrd" * 100


# ---------------------------------------------------------------- where nothing else is said


def test_what_is_installed_and_who_is_let_in_where_nothing_else_is_said(site: Site, installation: Installation) -> None:
    web, key = site.web, f"ssh-ed25519 {'A' * 68} ada@example.org"
    assert web.get("/api/v2/os_defaults").json == {"os": "debian-12", "keys": []}
    done = site.bed.cli("oses", "defaults", "--os", "rocky-9", "--key", key, "--key", key)
    assert (done.exit_code, key in done.stdout) == (0, True), done.stderr
    assert web.get("/api/v2/os_defaults").json == {"os": "rocky-9", "keys": [key]}
    told = web.get("/api/v2/audits?action=os_defaults.change").json[0]["detail"]["changed"]
    assert told == {"os": {"old": "debian-12", "new": "rocky-9"}, "keys": {"old": [], "new": [key]}}
    for body, status in (
        ({"os": "windows"}, 404),
        ({"keys": ["x"]}, 422),
        ({"keys": [f"{key}\n{key}"]}, 422),
        ({"a": 1}, 422),
    ):
        assert web.patch("/api/v2/os_defaults", json=body).status_code == status, body
    site.bed.bind(ROLE, installation.name)
    plan = site.web.put("/api/v2/deployments/system/commit?dry_run=true").text
    assert "rocky-9 written to it" in plan, plan
    browser = site.browser
    assert key in browser.open("/oses")
    assert "One line" not in browser.send("/oses/defaults", os="debian-12", keys="")
    assert web.get("/api/v2/os_defaults").json == {"os": "debian-12", "keys": []}
    assert "A public key of SSH is one line" in browser.send("/oses/defaults", os="debian-12", keys="nonsense")


# ---------------------------------------------------------------- who describes them


class Others:
    """A barclamp that brings operating systems: one that is right, one that is not, and one that there is already."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="others", help="Operating systems of others.")

    @hookimpl(optional=True)
    def operating_systems(self) -> Path:
        return self.place


def test_a_barclamp_and_the_operator_bring_operating_systems_and_hear_what_is_wrong(tmp_path: Path) -> None:
    brought, own = tmp_path / "brought", tmp_path / "files" / "oses"
    brought.mkdir()
    own.mkdir(parents=True)
    good = {"name": "x-1", "title": "X 1", "method": "kickstart", "kernel": "vmlinuz", "initrd": "initrd.img"}
    (brought / "x-1.json").write_text(json.dumps(good))
    (brought / "x-2.json").write_text(json.dumps({**good, "name": "x-2", "method": "magic"}))
    (brought / "rocky-9.json").write_text(json.dumps({**good, "name": "rocky-9"}))
    (own / "x-3.json").write_text(json.dumps({**good, "name": "x-3"}))
    with Testbed(
        "jig-script", crowbar_provisioner, Others(brought), config={"provisioner": {"files": str(tmp_path / "files")}}
    ) as bed:
        web = bed.web("viewer")
        found = {one["name"]: one for one in web.get("/api/v2/oses").json}
        assert found["x-1"]["problem"].startswith("there is no tree of it")
        assert found["x-1"]["described_by"] == "others"
        assert found["x-3"]["described_by"] == str(own)
        said = "x-2.json is refused at method: Input should be 'image', 'preseed', 'autoinstall' or 'kickstart'."
        assert found["x-2"]["problem"] == said
        assert found["rocky-9"]["described_by"] == "crowbar-provisioner"
        status = bed.browser("operator").open("/")
        for line in (f"others: {said}", "rocky-9 is described by crowbar-provisioner and by others"):
            assert line in status.replace("&#39;", "'"), line
    for file, code, told in (("x-1", 0, "is right"), ("x-2", 1, "x-2.json is refused at method")):
        with Testbed("jig-script", crowbar_provisioner) as bed:
            done = bed.cli("oses", "check", str(brought / f"{file}.json"))
            assert (done.exit_code, told in done.stderr) == (code, True), done.stderr


# ---------------------------------------------------------------- an installation by an installer of its own

DISKS = [
    {"name": "vda", "size": 4 * GIB, "serial": "SMALL-1", "transport": "virtio"},
    {"name": "vdb", "size": 12 * GIB, "serial": 'IT\'S "ONE" $(id)', "transport": "virtio"},
    {"name": "vdc", "size": 12 * GIB, "serial": "DISK3", "transport": "virtio"},
]


@pytest.fixture
def installation(site: Site, tree: None) -> Iterator[Installation]:
    """Of a machine with three disks, accepted, managed, with a hammer."""
    for made in site.managed(more={"disks": DISKS}):
        yield Installation(site, made)


def boot(one: Installation) -> str:
    """The token of the installer's boot."""
    script = one.machine.power_on()
    token = script.partition("/b/")[2][:43]
    one.machine.token = token
    return token


def test_a_plan_says_the_layout_and_both_disks(site: Site, installation: Installation) -> None:
    name = installation.name
    site.bed.bind(ROLE, name)
    for attribute, value in (("os", "debian-12-preseed"), ("layout", "raid1"), ("disk", "DISK3")):
        site.bed.set(f"provisioner-{attribute}", value, node=name, role=ROLE, now=False)
    plan = site.web.put("/api/v2/deployments/system/commit?dry_run=true").text
    assert (
        f"{name}: vdc, 12.0 GiB, serial number DISK3 and vda, 4.0 GiB, serial number SMALL-1 are ERASED, and " in plan
    )
    assert "debian-12-preseed written to them. The layout is raid1." in plan
    site.bed.set("provisioner-second-disk", "vdc", node=name, role=ROLE, now=False)
    plan = site.web.put("/api/v2/deployments/system/commit?dry_run=true").text
    assert f"{name}: A second disk is needed beside vdc. There is no disk called vdc" in plan
    site.bed.set("provisioner-os", "debian-12", node=name, role=ROLE, now=False)
    plan = site.web.put("/api/v2/deployments/system/commit?dry_run=true").text
    assert f"{name}: debian-12 cannot be installed" in plan or "in the layout raid1, but flat" in plan


@pytest.mark.parametrize("keys", [["ssh-ed25519 AAAA\nevil"], ['command="x" ssh-ed25519 ' + "A" * 40], [""]])
def test_a_key_that_is_none_is_not_installed(installation: Installation, keys: list[str]) -> None:
    installation.begin(os="debian-12-preseed", keys=keys)  # type: ignore[arg-type]
    assert installation.state == "ERROR"
    assert "A public key of SSH is one line" in installation.site.bed.why(ROLE, installation.name)
    assert Bmc.told == []


def test_only_the_boot_that_installs_is_given_answers_and_the_tree(site: Site, installation: Installation) -> None:
    one, machine = installation, installation.machine
    other = site.machine()
    other.power_on()
    other.registered()
    before = machine.token
    one.begin(os="debian-12-preseed")
    paths = ("answers/preseed.cfg", "answers/hook.sh", "tree/linux", "tree/initrd.gz")
    for token in (before, other.token, "x" * 43):
        assert [machine.ask("GET", f"/b/{token}/{path}").status for path in paths] == [404] * 4
    token = boot(one)
    assert [machine.ask("GET", f"/b/{token}/{path}").status for path in paths] == [200] * 4
    assert f"/b/{token}/answers/preseed.cfg" in machine.script
    assert machine.ask("GET", f"/b/{token}/tree/linux").body == b"kernel" * 100
    for path in (
        "answers/user-data", "answers/kickstart.cfg", "answers/..", "answers/", "tree/", "tree/nothing", "tree/.",
        "tree/../rocky-9.json", "tree/%2e%2e/rocky-9.json", "tree/../../images/debian-12.json", "tree//etc/passwd",
        "tree/linux/x", "tree/casper",
    ):  # fmt: skip
        answer = machine.ask("GET", f"/b/{token}/{path}")
        assert answer.status == 404, path
    assert machine.ask("POST", f"/b/{token}/answers/preseed.cfg", {}).status == 405
    boot(one)
    assert [machine.ask("GET", f"/b/{token}/{path}").status for path in paths] == [404] * 4, "another boot has begun"


class Installer:
    """Stands for the installer of a method: its files over those of this machine, disks of its own in ``/sys`` and
    ``/dev``, its shell and its way to ask; what it runs is what it was served.
    """

    def __init__(self, one: Installation, home: Path, *, busybox: bool) -> None:
        self.one, self.home, self.busybox = one, home, busybox
        token = boot(one)
        for part in ("upper", "work", "root", "block", "dev"):
            (home / part).mkdir()
        self.hook = one.machine.ask("GET", f"/b/{token}/answers/hook.sh").text
        (home / "upper/tmp").mkdir(mode=0o1777)
        (home / "upper/tmp/hook.sh").write_text(self.hook)
        # Called otherwise than in the discovery image: the disk that is meant is found by its serial number.
        for name, disk in zip(("sda", "sdb", "sdc"), (DISKS[2], DISKS[0], DISKS[1]), strict=True):
            about = home / "block" / name
            (about / "device").mkdir(parents=True)
            said = {"size": int(disk["size"]) // 512, "ro": 0, "removable": 0, "device/serial": f"  {disk['serial']} "}
            for file, value in said.items():
                (about / file).write_text(f"{value}\n")
            with (home / "dev" / name).open("wb") as made:
                made.truncate(disk["size"])
                made.write(b"old")
        for name in ("null", "console", "zero"):
            (home / "dev" / name).touch()
        (home / "dev" / "urandom").write_bytes(b"r" * 4096)

    def command(self, *arguments: str) -> list[str]:
        programs = "/usr/sbin:/usr/bin:/sbin:/bin"
        shell = "sh"
        if self.busybox:
            programs, shell = "/tmp/bin", "/tmp/bin/sh"
        runs = " && ".join(f"sh /tmp/hook.sh {one}" for one in arguments)
        script = f"""set -e
            cd {self.home}
            mount -t overlay overlay -o lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work root
            mkdir -p root/tmp/bin root/target
            mount --rbind /proc root/proc
            mount -t tmpfs none root/sys
            mkdir root/sys/block
            mount --bind block root/sys/block
            mount --bind /dev/zero dev/zero
            mount --rbind dev root/dev
            busybox --install -s root/tmp/bin
            ln -sf /usr/bin/ssh-keygen root/tmp/bin/ssh-keygen
            printf '#!/bin/sh\\necho "$@" >>/tmp/debconf\\n' >root/tmp/bin/debconf-set
            chmod 755 root/tmp/bin/debconf-set
            rm -f root/etc/ssh/ssh_host_*
            mkdir -p root/target root/etc/dhcp root/etc/cloud root/etc/NetworkManager/conf.d
            mount --rbind root root/target
            exec env PATH={programs} /usr/sbin/chroot root {shell} -c '{runs}'
        """
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def until(self, step: str, process: subprocess.Popen[str]) -> None:
        until = time.monotonic() + 120
        while True:
            self.one.settle()
            if self.one.step == step:
                return
            over = process.poll() not in (None, 0) or self.one.state == "ERROR"
            if over or time.monotonic() > until:
                process.kill()
                pytest.fail(f"{self.one.step}, {self.one.site.bed.why(ROLE, self.one.name)} {process.communicate()[0]}")
            time.sleep(0.05)


@pytest.fixture
def let_in(site: Site) -> Iterator[str]:
    """A key that is let in where nothing else is said."""
    key = f"ssh-ed25519 {'A' * 68} ada@example.org"
    site.web.patch("/api/v2/os_defaults", json={"keys": [key]})
    yield key
    site.web.patch("/api/v2/os_defaults", json={"keys": []})


@pytest.fixture
def home() -> Iterator[Path]:
    """In memory: an overlay's upper directory may not be on another one."""
    with tempfile.TemporaryDirectory(prefix="crowbar-installer-", dir="/dev/shm") as made:
        yield Path(made)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "os, busybox",
    [("debian-12-preseed", True), ("ubuntu-24.04", False), ("rocky-9", False)],
    ids=["preseed", "autoinstall", "kickstart"],
)
def test_an_installers_hooks_erase_what_was_chosen_and_vouch_for_the_new_keys(
    site: Site, installation: Installation, home: Path, let_in: str, os: str, busybox: bool
) -> None:
    one, key = installation, let_in
    one.begin(os=os, disk="vdb", layout="lvm", keys=[key])  # type: ignore[arg-type]
    assert (one.step, Bmc.told) == ("booting", [(one.name, "reset")])
    installer = Installer(one, home, busybox=busybox)
    (home / "upper/autoinstall.yaml").write_text("path: /dev/crowbar-disk-0\n")
    with installer.running("begun", "disk", "late /target") as process:
        installer.until("restarting", process)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    upper = home / "upper"
    if os == "debian-12-preseed":
        assert (upper / "tmp/debconf").read_text() == "partman-auto/disk /dev/sdc\ngrub-installer/bootdev /dev/sdc\n"
    elif os == "ubuntu-24.04":
        assert (upper / "autoinstall.yaml").read_text() == "path: /dev/sdc\n"
    else:
        assert "ignoredisk --only-use=sdc\n" in (upper / "tmp/crowbar.layout").read_text()
        assert "crowbar-disk" not in (upper / "tmp/crowbar.layout").read_text()
    begins = dict(zip(("sda", "sdb", "sdc"), map(start_of, sorted(home.glob("dev/sd*"))), strict=True))
    assert begins == {"sda": b"old", "sdb": b"old", "sdc": b"\0\0\0" if busybox else b"old"}, "others are untouched"
    lines = (upper / "root/.ssh/authorized_keys").read_text().splitlines()
    assert (len(lines), lines[1]) == (2, key)
    assert (upper / "etc/hostname").read_text() == f"{one.name.partition('.')[0]}\n"
    kinds = sorted(line.split()[0] for line in site.bed.node(one.name).host_keys)
    assert kinds == ["ecdsa-sha2-nistp256", "ssh-ed25519", "ssh-rsa"]
    assert one.machine.power_on() == LOCAL
    site.bed.change_node(one.name, alive=True)
    one.settle()
    assert site.bed.state("crowbar-installed-node", one.name) == "ACTIVE"
    told = [each["what"] for each in the_timeline(site, one.name) if each["what"].startswith("install")]
    assert told == [
        "install: begins", "install: installer done", "install: disk begun", "install: disk done",
        "install: identity begun", "install: identity done", "install: installed done", "install: restarts",
        "install: done",
    ]  # fmt: skip


def the_timeline(site: Site, name: str) -> Any:
    return site.web.get(f"/api/v2/machines/{name}?fields=timeline").json["timeline"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_installer_that_does_not_find_its_disk_touches_none_and_says_so(
    site: Site, installation: Installation, home: Path
) -> None:
    one = installation
    one.begin(os="debian-12-preseed", disk="vdb")
    installer = Installer(one, home, busybox=True)
    (home / "block/sdc/device/serial").write_text("another\n")
    (home / "upper/var/log").mkdir(parents=True)
    syslog = f'old\n{"x" * 900}\ndebconf: "odd" \\ \xe9 \x1b[31m text\nfetches /b/{one.machine.token}/preseed.cfg\n'
    (home / "upper/var/log/syslog").write_text(syslog)
    with installer.running("begun", "disk") as process:
        installer.until("failed", process)
    assert "The installer failed in disk: 0 disks are like vdb, which was chosen" in site.bed.why(ROLE, one.name)
    assert [start_of(disk) for disk in home.glob("dev/sd*")] == [b"old"] * 3
    (console,) = site.web.get(f"/api/v2/machines/{one.name}").json["console"]
    assert console["from"] == "machine"
    assert console["lines"][0] == "old"
    assert console["lines"][2:] == ["debconf: 'odd' /  [31m text", "fetches /b/***/preseed.cfg"]


def start_of(disk: Path) -> bytes:
    with disk.open("rb") as file:
        return file.read(3)
