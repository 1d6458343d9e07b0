"""What a console said last is heard while something is under way, shown without secrets, and told by failures."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from crowbar_provisioner.consoles import listening
from crowbar_provisioner.consoles.tail import KEPT_BYTES, LONGEST, MOST_LINES, Tail, lines_of

from crowbar_core import SetHammer
from crowbar_core.testing import wait_until

from .conftest import Bmc, Site
from .light import Machine
from .test_installing import IMAGE, Installation, describe, name_of

TOKEN = "Ab3-_xYz" * 5 + "abc"


# ---------------------------------------------------------------- pure


@pytest.mark.parametrize(
    "text, lines",
    [
        ("one\r\ntwo\n\n\n two \x00\x07\x08\n", ["one", "two", " two"]),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07text\x1b(B", ["red text"]),
        ("\x1b[1;1Hfirst\x1b[2;10Hsecond\x1b[2Jthird", ["first", "second", "third"]),
        ("10 %\r20 %\r30 %\n", ["10 %", "20 %", "30 %"]),
        ("again\nagain\nagain\nother\n", ["again", "other"]),
        ("left\u202eright\u200b\ud800 \ue000end", ["leftright end"]),
        ("y." * 1000, ["y." * (LONGEST // 2)]),
        ("a\tb\x9bc", ["a bc"]),
    ],
)
def test_what_is_shown_are_lines_of_printable_characters(text: str, lines: list[str]) -> None:
    assert lines_of(text) == lines


@pytest.mark.parametrize(
    "text, shown",
    [
        (f"Command line: crowbar.token={TOKEN} crowbar.env=x", "Command line: crowbar.token=*** crowbar.env=x"),
        (f"http://10.0.0.1:8091/b/{TOKEN}/vmlinuz... ok", "http://10.0.0.1:8091/b/***/vmlinuz... ok"),
        (f"/b/{TOKEN[:20]}", "/b/***"),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer ***"),
        (f"wget '{TOKEN}' said", "wget '***' said"),
        ("root_password=hunter2 next", "root_password=*** next"),
        ('"password": "hunter2", "x": 1', '"password": *** "x": 1'),
        ("passphrase: hunter2", "passphrase: ***"),
        ("user-password-crypted password $6$abcdefgh$0123456789abcdef", "user-password-crypted password ***"),
        ("fetch ftp://ada:hunter2@10.0.0.1/x", "fetch ftp://ada:***@10.0.0.1/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "***"),
        ("A" * 64, "***"),
        ("sda: sda1 sda2", "sda: sda1 sda2"),
        ("ssh-ed25519 SHA256:abc", "ssh-ed25519 SHA256:abc"),
    ],
)
def test_tokens_and_secrets_are_masked(text: str, shown: str) -> None:
    assert lines_of(text) == [shown]


@pytest.mark.parametrize("at", range(len("crowbar.token="), len("crowbar.token=") + 44))
def test_a_token_that_a_terminal_has_broken_in_two_is_masked(at: int) -> None:
    text = f"crowbar.token={TOKEN} end"
    shown = " ".join(lines_of(f"{text[:at]}\r\n{text[at:]}"))
    assert "***" in shown
    assert not any(TOKEN[place : place + 8] in shown for place in range(36)), shown


def test_a_console_that_never_stops_is_bounded_and_no_half_of_a_token_is_left_of_what_was_cut() -> None:
    tail = Tail()
    for number in range(5000):
        tail.add(f"{number} crowbar.token={TOKEN}\n".encode())
    lines = tail.lines()
    assert (len(lines), lines[-1]) == (MOST_LINES, "4999 crowbar.token=***")
    for left in range(60):
        tail = Tail()
        tail.add(f"crowbar.token={TOKEN}\n".encode())
        tail.add(b"z" * (KEPT_BYTES - left))
        assert not any(TOKEN[-8:] in line for line in tail.lines())
    tail.add(b"\xff\xfe" * 100_000)
    assert len("".join(tail.lines())) <= LONGEST


@pytest.mark.parametrize(
    "piece",
    [
        "z",
        "token",
        "password  ",
        "a://",
        "a:",
        "\x1b[1;",
        "\x1b]",
        "-----BEGIN PRIVATE KEY-----",
        "$6$",
        "/b/",
        "\r",
        "A1",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    begun = time.process_time()
    lines_of(piece * (KEPT_BYTES // len(piece)))
    assert time.process_time() - begun < 1


# ---------------------------------------------------------------- in the core


@pytest.fixture
def one(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """Which is under way, and has been reset."""
    monkeypatch.setattr(listening, "EVERY", 0.05)
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE)
    describe(site)
    Bmc.writes.clear()
    for machine in site.managed():
        found = Installation(site, machine)
        found.begin()
        yield found
    Bmc.writes.clear()


def heard(site: Site, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.web.get(f"/api/v2/machines/{name}").json["console"]
    return found


def fail(site: Site, one: Installation) -> str:
    site.bed.clock.advance(2 * 3600)  # type: ignore[attr-defined]
    one.settle()
    assert one.state == "ERROR"
    return site.bed.why("provisioner-os-install", one.name)


def test_what_the_console_says_is_shown_and_the_failure_of_a_step_ends_with_it(site: Site, one: Installation) -> None:
    Bmc.writes.append(f"iPXE 1.21\r\nhttp://10.0.0.1/b/{TOKEN}/vmlinuz... Connection timed out\r\n".encode())
    Bmc.writes.append(b"<script>alert(1)</script>\n\x1b[31mNo bootable device.\n")
    wait_until(lambda: len(heard(site, one.name)) == 1 and len(heard(site, one.name)[0]["lines"]) == 4)
    lines = [
        "iPXE 1.21", "http://10.0.0.1/b/***/vmlinuz... Connection timed out", "<script>alert(1)</script>",
        "No bootable device.",
    ]  # fmt: skip
    assert (heard(site, one.name)[0]["from"], heard(site, one.name)[0]["lines"]) == ("console", lines)
    page = site.browser.open(f"/machines/{site.machines(name=one.name)[0]['id']}")
    assert "What its console said last" in page
    assert "No bootable device." in page
    raw = site.web.get(f"/machines/{site.machines(name=one.name)[0]['id']}").text
    assert "<script>alert" not in raw
    said = site.bed.cli("machines", "show", one.name).output
    assert "No bootable device." in said
    assert TOKEN not in said + page + raw
    why = fail(site, one)
    assert "In the step booting: it did not boot the installer. Its console ended with: " in why
    assert "timed out | <script>alert(1)</script> | No bootable device." in why


def test_what_a_machine_sends_itself_is_kept_and_told_of(site: Site, one: Installation) -> None:
    machine = one.machine
    machine.power_on()
    assert machine.registered()["accepted"]
    one.settle()
    lines = [f"Kernel command line: crowbar.token={machine.token}", "vda: I/O error\x1b[0m", "", "EXT4-fs error"]
    assert machine.ask("POST", "/v1/log", {"lines": lines}).status == 200
    one.says("image", "failed", detail="vda cannot be written to")
    one.settle()
    (found,) = [one for one in heard(site, name_of(machine)) if one["from"] == "machine"]
    assert found["lines"] == ["Kernel command line: crowbar.token=***", "vda: I/O error", "EXT4-fs error"]
    why = site.bed.why("provisioner-os-install", one.name)
    assert "The installer failed in image: vda cannot be written to. Its console ended with: " in why
    assert "*** | vda: I/O error | EXT4-fs error" in why
    assert "Its last lines, as it sent them" in site.browser.open(f"/machines/{site.machines(name=one.name)[0]['id']}")


def test_what_was_said_before_an_installation_is_none_of_its_end(site: Site, one: Installation) -> None:
    Bmc.writes.append(b"an old line\n")
    wait_until(lambda: len(heard(site, one.name)) == 1)
    fail(site, one)
    assert "an old line" in site.bed.why("provisioner-os-install", one.name)
    Bmc.writes.clear()
    site.bed.clock.advance(60)  # type: ignore[attr-defined]
    node_role = site.bed.node_role("provisioner-os-install", one.name)
    assert site.web.put(f"/api/v2/node_roles/{node_role.id}/retry").status_code == 200
    one.settle()
    assert "it did not boot the installer. Retry" in fail(site, one)


@pytest.mark.parametrize(
    "body, status",
    [
        ({"lines": ["x"] * 201}, 422), ({"lines": ["x" * 1001]}, 422), ({"lines": "x"}, 422), ({}, 422),
        ({"lines": ["x"], "node": "another"}, 422), ({"lines": [1]}, 422), ({"lines": []}, 200),
    ],
)  # fmt: skip
def test_what_a_machine_sends_is_bounded(site: Site, one: Installation, body: Any, status: int) -> None:
    one.machine.power_on()
    assert one.machine.registered()["accepted"]
    assert one.machine.ask("POST", "/v1/log", body).status == status


def test_nothing_is_kept_of_a_boot_that_is_not_the_machines_own(site: Site, one: Installation) -> None:
    machine: Machine = one.machine
    machine.power_on()
    assert machine.registered()["accepted"]
    own = machine.token
    site.bed.clock.advance(48 * 3600)  # type: ignore[attr-defined]
    stranger = site.machine()
    stranger.power_on()
    assert stranger.ask("POST", "/v1/log", {"lines": ["x"]}).status == 409, "nobody has accepted it"
    other = site.machine(macs=machine.macs)
    other.power_on()
    assert not other.registered()["accepted"]
    assert other.ask("POST", "/v1/log", {"lines": ["forged"]}).status == 409
    assert machine.ask("POST", "/v1/log", {"lines": ["forged"]}, token=own).status == 401
    assert heard(site, one.name) == []


def test_it_is_listened_to_as_long_as_something_is_under_way(site: Site, one: Installation) -> None:
    Bmc.writes.append(b"begins\n")
    wait_until(lambda: len(heard(site, one.name)) == 1)
    fail(site, one)
    before = heard(site, one.name)
    # Its boot is still expected, for a while; then nobody listens any more.
    with site.bed.change() as change:
        change.session.execute(listening.machines.update().values(expected_until=None))
    wait_until(lambda: f"console {one.name}" not in {thread.name for thread in threading.enumerate()})
    Bmc.writes.append(b"long afterwards\n")
    time.sleep(1)
    assert heard(site, one.name) == before


@pytest.mark.lab
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_real_machine_is_heard_by_its_bmc(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ipmitool and serial over LAN, from its firmware on, as it is shown."""
    monkeypatch.setattr(listening, "_wanted", lambda session: {})  # the service of the site is in another network
    with Lab.create("consoles", nodes=0, state_dir=tmp_path, owner=os.getpid()) as lab, site.bed.serving():
        (vm,) = lab.add_vms(1, firmware="bios", memory=128, disks=(1,))
        for machine in site.managed(hammer=False):
            config = {"address": vm.plan.bmc_ipv4, "user": "admin", "password": "crowbar"}
            site.bed.apply(SetHammer(node=name_of(machine), name="ipmi", config=config))
            here = contextvars.copy_context()
            ear = inside(lab, lambda: here.run(listening.Ear, name_of(machine)))  # noqa: B023
            for _ in range(6):  # what it says before it is listened to is heard by nobody
                vm.power("reset")
                if ear.stopped.wait(10) or ear.tail.lines():
                    break
            wait_until(lambda: any(line.startswith("iPXE") for line in ear.tail.lines()))  # noqa: B023
            ear.stopped.set()
            ear.thread.join(60)
            assert not ear.thread.is_alive()
