"""An installation that goes on by kexec: what proves it, what follows where it fails, and what is not proven by it."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import crowbar_provisioner
import pytest
from crowbar_provisioner import standing
from crowbar_provisioner.sledgehammer import build
from crowbar_provisioner.standing import Standing
from crowbar_provisioner.tables import boots
from sqlalchemy import func, select

from crowbar_core import NodeUnreachable, NodeView

from .conftest import Bmc, Ear, Site, programs_of_the_image, script_of_the_image
from .light import host_key
from .test_installing import ROLE, STEPS, Installation
from .test_late import offer_image

SBIN = Path(build.__file__).parent / "root/sbin"
IN_IMAGE = str(uuid.uuid4())
BOOT = f"{uuid.uuid4()}\n"
LINE = "root=LABEL=root rw console=ttyS0,115200 quiet"


class Kernel:
    """What the machine's kernel says over SSH: its boot id, and how it was started."""

    def __init__(self) -> None:
        self.boot, self.line, self.silent = str(uuid.uuid4()), f"{LINE} crowbar.kexec", False

    def start(self, line: str) -> None:
        self.boot, self.line = str(uuid.uuid4()), line

    def ask(self, node: NodeView) -> Standing:
        if self.silent:
            raise NodeUnreachable("nobody is there")
        return standing.read(f"{self.boot}\n{self.line}\n")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(standing, "ask", made.ask)
    return made


@pytest.fixture
def one(site: Site, kernel: Kernel) -> Iterator[Installation]:
    """Its disk is written, and it is to go on by kexec."""
    offer_image(site)
    for machine in site.managed(uuid=str(uuid.uuid4()), serial=f"S-{uuid.uuid4()}"):
        made = Installation(site, machine)
        made.begin(kexec=True)
        machine.power_on()
        machine.registered()
        made.settle()
        assert made.write()["kexec"] is True
        made.says("installed", host_keys=[host_key()])
        made.settle()
        assert (made.step, machine.work()["work"]["do"]) == ("jumping", "kexec")
        yield made
        Bmc.broken = False


def comes(site: Site, one: Installation) -> None:
    site.bed.change_node(one.name, alive=True)
    one.settle()


def row(site: Site, one: Installation) -> dict[str, Any]:
    (found,) = site.machines(name=one.name)
    return found


def timeline(site: Site, one: Installation) -> list[str]:
    lines = site.web.get(f"/api/v2/machines/{one.name}?fields=timeline").json["timeline"]
    return [f"{line['what']} {line['detail']}".strip() for line in lines]


def look(site: Site) -> None:
    with site.bed.serving():
        standing.look()


def lost(site: Site) -> list[str]:
    with site.bed.serving() as here, here.read() as session:
        return standing.problems(session, site.bed.clock())


def count_local(site: Site, one: Installation) -> int:
    """Boots from its disk, of which it is known."""
    mine = (boots.c.machine_id == row(site, one)["id"], boots.c.env == "local")
    with site.bed.serving() as here, here.read() as session:
        return int(session.scalar(select(func.count()).where(*mine)) or 0)


def jumped(site: Site, one: Installation) -> None:
    one.says("kexec", "begun", boot=IN_IMAGE)
    comes(site, one)
    assert one.state == "ACTIVE"


def kexec_of(site: Site, one: Installation) -> str:
    return str(site.web.get(f"/api/v2/installations?node={one.name}").json[0]["kexec"])


def test_who_goes_on_by_kexec_is_proven_by_boot_id_and_host_key_and_not_said_to_start_from_its_disk(
    site: Site, one: Installation, kernel: Kernel
) -> None:
    told = list(Bmc.told)
    one.says("kexec", "begun", boot=IN_IMAGE)
    one.settle()
    assert one.step == "jumping", "that it has gone is no proof"
    comes(site, one)
    assert (one.state, Bmc.told) == ("ACTIVE", told), "nobody has reset it"
    assert [each["name"] for each in one.run["timeline"]] == [*STEPS[:-1], "jumping"]
    assert timeline(site, one)[-3:] == [
        "install: goes on by kexec",
        "install: kexec begun",
        "install: done debian-12 is alive from vda, 8.0 GiB, QEMU, serial number DISK1 by kexec, boot"
        f" {kernel.boot}; not yet started from there by its firmware",
    ]
    assert (row(site, one)["by_kexec"], kexec_of(site, one)) == (True, "came")
    shown = site.browser.open(f"/machines/{row(site, one)['id']}")
    assert "not yet started from disk by its firmware" in shown
    assert one.name in site.bed.cli("machines", "list", "--by-kexec", "true", user="viewer").stdout


def test_only_another_boot_from_its_disk_that_no_kexec_has_started_proves_its_firmware(
    site: Site, one: Installation, kernel: Kernel
) -> None:
    jumped(site, one)
    site.bed.change_node(one.name, bootenv="local")
    for line, silent in ((kernel.line, False), (f"crowbar.env=sledgehammer {LINE}", False), (LINE, True)):
        kernel.silent = silent
        if line != kernel.line:
            kernel.start(line)
        look(site)
        assert row(site, one)["by_kexec"], line
    kernel.silent = False
    kernel.start(f"{LINE} crowbar.kexec")
    look(site)
    assert row(site, one)["by_kexec"], "it was started by kexec once more"
    kernel.line = LINE
    look(site)
    assert row(site, one)["by_kexec"], "it is still that boot"
    kernel.start(LINE)
    look(site)
    assert not row(site, one)["by_kexec"]
    assert timeline(site, one)[-1].startswith("started by its firmware")
    assert "not yet started from disk" not in site.browser.open(f"/machines/{row(site, one)['id']}")


def test_a_kernel_that_cannot_be_loaded_has_the_machine_restarted_instead_and_that_is_told(
    site: Site, one: Installation, kernel: Kernel
) -> None:
    one.says("kexec", "failed", detail="its /boot/vmlinuz is not there", boot=IN_IMAGE)
    assert one.machine.work()["work"] is None, "until what it boots next is said"
    one.settle()
    assert (one.step, one.machine.work()["work"]["do"]) == ("restarting", "reboot")
    assert "install: kexec failed its /boot/vmlinuz is not there" in timeline(site, one)
    one.machine.power_on()
    assert one.machine.env == "local"
    kernel.start(LINE)
    comes(site, one)
    assert (one.state, row(site, one)["by_kexec"], kexec_of(site, one)) == ("ACTIVE", False, "over")
    assert timeline(site, one)[-1].endswith(", started by its firmware")


def test_who_does_not_come_in_time_is_reset_by_its_hammer_and_that_is_told(
    site: Site, one: Installation, kernel: Kernel
) -> None:
    one.says("kexec", "begun", boot=IN_IMAGE)
    told = len(Bmc.told)
    site.bed.clock.advance(7200)  # type: ignore[attr-defined]
    one.settle()
    assert (one.step, Bmc.told[told:]) == ("restarting", [(one.name, "reset")])
    assert timeline(site, one)[-1] == "install: reset it did not come up within 20 min by kexec"
    one.machine.power_on()
    assert one.machine.env == "local"
    kernel.start(LINE)
    comes(site, one)
    assert (one.state, row(site, one)["by_kexec"]) == ("ACTIVE", False)


def test_who_does_not_come_and_cannot_be_reset_fails_with_the_step_and_a_retry_installs_it(
    site: Site, one: Installation, kernel: Kernel
) -> None:
    one.says("kexec", "begun", boot=IN_IMAGE)
    Bmc.broken = True
    site.bed.clock.advance(7200)  # type: ignore[attr-defined]
    one.settle()
    assert one.state == "ERROR"
    why = site.bed.why(ROLE, one.name)
    assert "In the step jumping: it did not come up within 20 min by kexec, and could not be reset" in why
    Bmc.broken = False
    one.machine.power_on()
    assert one.machine.registered()["accepted"]
    one.machine.ask("POST", "/v1/alive", {"alive": True})
    assert site.web.put(f"/api/v2/node_roles/{site.bed.node_role(ROLE, one.name).id}/retry").status_code == 200
    one.settle()
    assert one.step == "booting", "from power-on"
    one.comes_and_is_written()
    jumped(site, one)


def test_whose_boot_id_is_the_discovery_images_has_not_come(site: Site, one: Installation, kernel: Kernel) -> None:
    one.says("kexec", "begun", boot=IN_IMAGE)
    kernel.boot = IN_IMAGE
    comes(site, one)
    assert one.step == "jumping"
    site.bed.clock.advance(7200)  # type: ignore[attr-defined]
    one.settle()
    assert (one.step, Bmc.told[-1]) == ("restarting", (one.name, "reset"))


def test_who_does_not_say_which_boot_it_is_is_looked_for_again(site: Site, one: Installation, kernel: Kernel) -> None:
    one.says("kexec", "begun", boot=IN_IMAGE)
    kernel.silent = True
    comes(site, one)
    assert (one.step, site.bed.node(one.name).alive) == ("jumping", False)
    kernel.silent = False
    comes(site, one)
    assert one.state == "ACTIVE"


def test_who_came_through_its_firmware_after_all_is_proven_at_once(
    site: Site, one: Installation, kernel: Kernel
) -> None:
    """As one whose power was cut just then."""
    one.says("kexec", "begun", boot=IN_IMAGE)
    one.machine.power_on()
    assert one.machine.env == "local"
    kernel.start(LINE)
    comes(site, one)
    assert (one.state, row(site, one)["by_kexec"], kexec_of(site, one)) == ("ACTIVE", False, "over")


def test_who_asks_what_to_boot_and_does_not_come_from_its_disk_is_named_as_a_problem(
    site: Site, one: Installation, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumped(site, one)
    site.bed.change_node(one.name, alive=False)
    site.bed.clock.advance(7200)  # type: ignore[attr-defined]
    assert not lost(site), "it has not asked: it may be switched off"
    for _ in range(3):
        one.machine.power_on()
        assert one.machine.env == "local"
    assert timeline(site, one)[-1].startswith("boots local")
    assert count_local(site, one) == 1, "however often one asks in its name"
    site.bed.clock.advance(60)  # type: ignore[attr-defined]
    assert not lost(site), "it may still come"
    site.bed.clock.advance(7200)  # type: ignore[attr-defined]
    [said] = lost(site)
    assert said.startswith(f"{one.name} does not come up from its disk")
    assert said.endswith(f"crowbar nodes redeploy {one.name} installs it again.")
    monkeypatch.setattr(standing, "_patience", lambda: timedelta(days=-36500))  # its clock is ahead of the dashboard's
    with site.bed.serving():
        assert said in [each.detail for each in crowbar_provisioner.status_checks()]
    assert said in site.browser.open(f"/machines/{row(site, one)['id']}")
    kernel.start(LINE)
    site.bed.change_node(one.name, alive=True)
    assert not lost(site)
    look(site)
    assert not row(site, one)["by_kexec"]


def test_steps_that_are_none_of_the_moment_change_nothing(site: Site, one: Installation) -> None:
    one.says("kexec", "begun", status=422)
    one.says("kexec", "begun", boot="not one", status=422)
    one.says("kexec", "failed", detail="first", boot=IN_IMAGE)
    body = {"id": "x" * 22, "step": "kexec", "state": "begun", "boot": IN_IMAGE}
    assert one.machine.ask("POST", "/v1/steps", body).status == 409
    assert kexec_of(site, one) == "refused"


def test_without_the_choice_nothing_is_said_of_kexec(site: Site, kernel: Kernel) -> None:
    offer_image(site)
    for machine in site.managed():
        one = Installation(site, machine)
        one.begin()
        machine.power_on()
        machine.registered()
        one.settle()
        assert one.write()["kexec"] is False
        body = {"id": machine.work()["work"]["id"], "step": "kexec", "state": "begun", "boot": IN_IMAGE}
        assert machine.ask("POST", "/v1/steps", body).status == 200
        assert kexec_of(site, one) == ""


def test_it_is_chosen_by_command_shown_in_the_plan_and_refused_to_installers_of_their_own(site: Site) -> None:
    offer_image(site)
    for machine in site.managed():
        name = Installation(site, machine).name
        plan = site.bed.cli("machines", "install", name, "--kexec", "--plan", user="operator").stdout
        assert "It goes on by kexec, without its firmware." in " ".join(plan.split())
        site.bed.bind(ROLE, name)
        for attribute, value in (("provisioner-kexec", True), ("provisioner-os", "debian-12-preseed")):
            site.bed.set(attribute, value, node=name, role=ROLE, now=False)
        told = site.web.put("/api/v2/deployments/system/commit?dry_run=true").text
        assert "debian-12-preseed comes with an installer of its own, which restarts the machine" in told


# ---- the scripts of the discovery image


LOCKED = " (under Secure Boot, and lockdown, a kernel goes on in none but one whose signature it trusts)"


class Root:
    """A root file system as an image has it, and a kernel that notes what it is to load."""

    def __init__(self, home: Path) -> None:
        self.home, self.root, self.programs = home, home / "root", programs_of_the_image(home / "bin")
        self.lockdown = home / "lockdown"
        self.file("boot/vmlinuz-6", "kernel")
        self.file("boot/initrd.img-6", "initrd")
        self.file(
            "boot/grub/grub.cfg", f"menuentry x {{\n linux /boot/vmlinuz-6 {LINE}\n initrd /boot/initrd.img-6\n}}\n"
        )
        (self.programs / "kexec").unlink(missing_ok=True)
        self.loads(0)

    def file(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def loads(self, code: int) -> None:
        (self.programs / "kexec").write_text(
            f'#!{self.programs}/sh\nfor word; do echo "$word"; done >{self.home}/told\n'
            f'cat {self.home}/initrd >{self.home}/kept 2>/dev/null\nprintf "says\\t so\\n" >&2\nexit {code}\n'
        )
        (self.programs / "kexec").chmod(0o755)

    def load(self) -> str:
        """Why not."""
        said = f"notes={self.home} lockdown={self.lockdown}\nmount() {{ :; }}\n. {SBIN}/kexec.sh\n"
        program = f'{said}load_system {self.root}\necho "$? $why"\n'
        done = subprocess.run(
            [self.programs / "sh", "-c", program], env={"PATH": str(self.programs)}, capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        code, _, why = done.stdout.strip().partition(" ")
        assert (code == "0") == (why == ""), done
        return why

    @property
    def told(self) -> list[str]:
        return (self.home / "told").read_text().splitlines()


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_what_the_boot_loader_would_start_first_is_loaded_with_its_own_words(root: Root) -> None:
    second = " linux /boot/vmlinuz-5 root=/dev/sdz\n initrd /boot/initrd.img-5\n"
    with (root.root / "boot/grub/grub.cfg").open("a") as file:
        file.write(second)
    assert root.load() == ""
    assert root.told == [
        "-l", "-a", f"{root.root}/boot/vmlinuz-6", f"--command-line={LINE} crowbar.kexec",
        f"--initrd={root.home}/initrd",
    ]  # fmt: skip
    assert (root.home / "kept").read_text() == "initrd"
    assert not (root.home / "initrd").exists()


def test_several_initrds_are_one_and_a_system_may_have_none(root: Root) -> None:
    root.file("boot/ucode", "first ")
    root.file("boot/grub/grub.cfg", f"linux /vmlinuz-6 {LINE}\ninitrd /ucode /boot/initrd.img-6\n")
    assert root.load() == ""
    assert (root.home / "kept").read_text() == "first initrd"
    root.file("boot/grub/grub.cfg", f"linux /vmlinuz-6 {LINE}\n")
    assert root.load() == ""
    assert not any(word.startswith("--initrd") for word in root.told)


@pytest.mark.parametrize(
    "menu, why",
    [
        (None, "it has no /boot/grub/grub.cfg"),
        ("linux /boot/gone root=x\n", "its /boot/gone, which its grub.cfg names, is not there"),
        ("linux /boot/vmlinuz-6 root=x\ninitrd /gone\n", "its /gone, which its grub.cfg names, is not there"),
        ("linux /boot/vmlinuz-6 quiet\n", "its grub.cfg names no kernel with a root="),
        ("set timeout=0\n", "its grub.cfg names no kernel with a root="),
        ("linux $kernel root=x\n", "its grub.cfg says what only GRUB understands"),
        ("linux /boot/vmlinuz-6 root='x y'\n", "its grub.cfg says what only GRUB understands"),
    ],
)
def test_what_cannot_be_started_so_is_not_loaded_and_says_why(root: Root, menu: str | None, why: str) -> None:
    if menu is None:
        (root.root / "boot/grub/grub.cfg").unlink()
    else:
        root.file("boot/grub/grub.cfg", menu)
    assert root.load() == why
    assert not (root.home / "told").exists()


def test_a_kernel_that_is_refused_says_why(root: Root) -> None:
    root.loads(1)
    assert root.load() == "its kernel was refused: says so"
    for mode in ("none [integrity] confidentiality", "none integrity [confidentiality]"):
        root.lockdown.write_text(f"{mode}\n")
        assert root.load() == f"its kernel was refused: says so{LOCKED}"
    root.lockdown.write_text("[none] integrity confidentiality\n")
    assert root.load() == "its kernel was refused: says so"


@pytest.mark.parametrize(
    "loaded, why", [("", "the kernel does not let go: says so"), ("no menu", "no menu"), (None, "")]
)
def test_who_jumps_says_so_before_with_its_boot_id_and_who_comes_back_says_why(
    root: Root, ear: Ear, loaded: str | None, why: str
) -> None:
    if loaded is not None:
        (root.home / "loaded").write_text(f"{loaded}\n")
    (root.home / "work").write_text('{"do": "kexec", "id": "the-work"}')
    text = script_of_the_image("jump").replace("export PATH=/bin:/sbin", f"PATH={root.programs}")
    text = text.replace("notes=/run", f"notes={root.home}").replace("/run/", f"{root.home}/")
    text = text.replace("/dev/console", "/dev/null").replace("/sys/class/net", f"{root.home}/net")
    (root.programs / "ip").unlink()
    (root.programs / "ip").symlink_to("true")
    url = f"http://127.0.0.1:{ear.server_address[1]}"
    subprocess.run(
        [root.programs / "sh", "-c", text, "jump", root.home / "work", url, "t"], env={"PATH": os.defpath},
        timeout=60, check=True, capture_output=True,
    )  # fmt: skip
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    begun = [{"id": "the-work", "step": "kexec", "state": "begun", "detail": "", "boot": boot}] if loaded == "" else []
    failed = {"id": "the-work", "step": "kexec", "state": "failed", "detail": why or "nothing was loaded", "boot": boot}
    assert ear.heard == [*begun, failed]
    assert (root.home / "told").exists() == (loaded == "")
