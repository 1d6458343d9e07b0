"""``crowbar lab`` as an operator types it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import yaml
from crowbar_lab.lab import Lab
from crowbar_lab.seat import Owner, Seat

from crowbar_core import CrowbarError
from crowbar_core.client import save_profile

pytestmark = pytest.mark.lab

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def crowbar_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Calls the commands, each in a process of its own, with labs in a directory of the test's."""
    state_dir = tmp_path_factory.mktemp("labs")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "crowbar_lab.commands", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "CROWBAR_LAB_STATE_DIR": str(state_dir)},
        )

    try:
        yield run
    finally:
        for name in ("lab", "other"):
            run("down", "--name", name)
    assert list(state_dir.iterdir()) == []


def test_virtual_machines_from_up_to_down(crowbar_lab: Run) -> None:
    up = crowbar_lab("up", "--nodes", "0", "--vms", "1", "--firmware", "uefi", "--vm-memory", "128", "--vm-disk", "1")
    assert (up.returncode, up.stderr.splitlines()[-1]) == (0, "Virtual machines, off: vm-1.lab.test.")
    header, line = crowbar_lab("status").stdout.splitlines()[-2:]
    assert header.split() == ["NAME", "FIRMWARE", "MACS", "MEMORY", "DISKS", "POWER", "BOOT", "IPMI", "REDFISH"]
    assert line.split()[:3] == ["vm-1.lab.test", "uefi", "52:54:00:77:00:01"]
    assert line.split()[-4:] == ["off", "Pxe", "10.77.255.254", "http://10.77.255.254"]
    assert json.loads(crowbar_lab("status", "--format", "json").stdout)["vms"][0]["disk_serials"][0].endswith("-D0")

    assert crowbar_lab("power", "vm-1", "on").stdout == "on\n"
    assert crowbar_lab("power", "vm-1", "status").stdout == "on\n"
    assert crowbar_lab("power", "vm-1", "off").stdout == "off\n"
    assert crowbar_lab("console", "vm-1").returncode == 0
    refused = crowbar_lab("console", "vm-7")
    assert (refused.returncode, refused.stderr) == (
        1,
        "Error: There is no virtual machine vm-7 in the lab lab, which has: vm-1.lab.test.\n",
    )
    assert crowbar_lab("down").stderr == "The lab lab is gone.\n"


def test_a_lab_from_up_to_down(crowbar_lab: Run, tmp_path: Path) -> None:
    up = crowbar_lab("up", "--nodes", "1")
    assert (up.returncode, up.stderr) == (0, "The lab lab is up: 2 nodes, admin.lab.test and 1 more.\n")
    lines = crowbar_lab("status").stdout.splitlines()
    assert lines[0].split() == ["NAME", "IPV4", "IPV6", "MAC", "POWER", "PID"]
    assert lines[2].split()[:5] == ["node-1.lab.test", "10.77.0.17", "fd00:77::11", "02:77:00:00:00:11", "on"]
    as_json = json.loads(crowbar_lab("status", "--format", "json").stdout)
    assert as_json == yaml.safe_load(crowbar_lab("status", "--format", "yaml").stdout)
    assert [node["name"] for node in as_json["nodes"]] == ["admin.lab.test", "node-1.lab.test"]

    assert crowbar_lab("ssh", "node-1", "--", "hostname", "-f").stdout == "node-1.lab.test\n"
    assert crowbar_lab("ssh", "node-1", "exit 7").returncode == 7
    assert crowbar_lab("exec", "--", "ping", "-c1", "-W2", "fd00:77::11").returncode == 0
    assert "lab0" in crowbar_lab("exec", "ip", "-br", "link").stdout

    assert crowbar_lab("power", "node-1", "off").stdout == "off\n"
    assert crowbar_lab("power", "node-1", "status").stdout == "off\n"
    assert crowbar_lab("status").stdout.splitlines()[2].split()[4:] == ["off", "-"]
    assert crowbar_lab("power", "node-1", "on").stdout == "on\n"
    assert crowbar_lab("add").stdout == "node-2.lab.test\n"
    assert crowbar_lab("list").stdout == "lab\n"

    assert crowbar_lab("down").stderr == "The lab lab is gone.\n"
    again = crowbar_lab("down")
    assert (again.returncode, again.stderr) == (0, "There is no lab lab.\n")


@pytest.mark.parametrize(
    "arguments, code, sentence",
    [
        ("status", 1, "There is no lab lab: make it with `crowbar lab up --name lab`.\n"),
        ("power node-1 on --name x", 1, "There is no lab x: make it with `crowbar lab up --name x`.\n"),
        ("up --name ../x", 1, "A lab cannot be called '../x': use up to 63 letters, digits, '-' and '_'.\n"),
        ("up --domain test", 1, "A node cannot be called 'admin.test': "),
        ("up --ipv4 10.77.0.0/33", 1, "'10.77.0.0/33' is not an IPv4 subnet "),
        ("up --ipv4 10.77.0.0/27 --nodes 20", 1, "The subnets 10.77.0.0/27 and fd00:77::/64 have no address"),
        ("up --nodes 1000", 2, "1000 is not in the range"),
        ("power node-1 explode", 2, "'explode' is not one of"),
        ("register --url http://127.0.0.1:1", 1, "There is no lab lab"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(crowbar_lab: Run, arguments: str, code: int, sentence: str) -> None:
    done = crowbar_lab(*arguments.split())
    assert done.returncode == code
    assert f"Error: {sentence}" in done.stderr or (code == 2 and sentence in done.stderr)
    assert "Traceback" not in done.stderr


def test_an_unknown_node_is_named_with_those_that_there_are(crowbar_lab: Run) -> None:
    crowbar_lab("up", "--nodes", "0", "--name", "other")
    done = crowbar_lab("power", "node-9", "off", "--name", "other")
    assert done.stderr == "Error: There is no node node-9 in the lab other, which has: admin.lab.test.\n"
    second = crowbar_lab("up", "--name", "other")
    assert second.stderr.startswith("Error: There is a lab other already: remove it")
    refused = crowbar_lab("register", "--url", "http://127.0.0.1:1", "--name", "other")
    assert refused.stderr.startswith("Error: No server answers at http://127.0.0.1:1 ")
    assert crowbar_lab("down", "--name", "other").returncode == 0


def test_a_lab_with_a_server_leaves_a_profile_and_takes_it_away(tmp_path: Path) -> None:
    env = {**os.environ, "CROWBAR_LAB_STATE_DIR": str(tmp_path / "labs"), "HOME": str(tmp_path)}
    config = tmp_path / ".config" / "crowbar" / "config.toml"

    def crowbar(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("crowbar")), *arguments],
            env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done

    try:
        up = crowbar("lab", "up", "--nodes", "0", "--name", "seat", "--serve")
        assert f"The profile seat in {config} leads there: crowbar finds it by itself." in up.stderr
        assert config.stat().st_mode & 0o777 == 0o600
        assert crowbar("lab", "register", "--name", "seat").stderr.startswith("1 nodes of the lab seat are registered")
        assert "admin.lab.test" in crowbar("nodes", "list").stdout

        # Another profile is current by now: the lab's nodes still become known to the lab's own server.
        text = config.read_text()
        config.write_text(
            text.replace('profile = "seat"', 'profile = "other"') + '[profiles.other]\nurl = "http://[::1]:1"\n'
        )
        crowbar("lab", "add", "--name", "seat")
        assert crowbar("lab", "register", "--name", "seat").stderr.startswith("1 nodes of the lab seat are registered")
        elsewhere = crowbar("lab", "register", "--name", "seat", "--profile", "other", code=1)
        assert "http://[::1]:1" in elsewhere.stderr

        # Started anew it is where it was, and knows what it knew.
        again = crowbar("lab", "serve", "--name", "seat")
        assert "crowbar finds it with --profile seat" in again.stderr
        url = tomllib.loads(config.read_text())["profiles"]["seat"]["url"]
        assert f"The server of the lab seat is at {url}.\n" in again.stderr
        assert "node-1.lab.test" in crowbar("nodes", "list", "--profile", "seat").stdout

        seat = Seat.of(tmp_path / "labs" / "seat")
        assert seat is not None
        assert (seat.url, seat.lives()) == (url, True)
        crowbar("lab", "down", "--name", "seat")
        assert not seat.lives()
        assert tomllib.loads(config.read_text()) == {
            "profile": "other", "profiles": {"other": {"url": "http://[::1]:1"}}
        }  # fmt: skip
        # The port is free for anybody's server now: one that answers there does not know the lab's token.
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(f"{url}/api/v2/nodes", headers={"Authorization": f"Bearer {seat.token}"}, timeout=5)
            assert answer.status_code >= 400

        config.write_text('[profiles.seat]\nurl = "https://crowbar.example.com"\n')
        refused = crowbar("lab", "up", "--nodes", "0", "--name", "seat", "--serve", code=1)
        assert "There is a profile seat in" in refused.stderr
        assert "give the lab another name with --name" in refused.stderr
        assert crowbar("lab", "list").stdout == ""
    finally:
        Lab.remove("seat", state_dir=tmp_path / "labs")


def test_the_profile_of_sudo_crowbar_belongs_to_the_user_of_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = pwd.getpwnam("nobody")
    home = tmp_path / "home"
    monkeypatch.setattr(sys, "argv", ["/opt/bin/crowbar", "lab"])
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd((*nobody[:5], str(home), nobody[6])))
    ran = {"HOME": "/root", "SUDO_UID": str(nobody.pw_uid), "SUDO_COMMAND": "/opt/bin/crowbar lab up --serve"}
    owner = Owner.asking(ran)
    assert owner == Owner(config=f"{home}/.config/crowbar/config.toml", uid=nobody.pw_uid, gid=nobody.pw_gid)
    assert Owner.asking({**ran, "SUDO_COMMAND": "/bin/bash"}).config == "/root/.config/crowbar/config.toml"


def test_a_profile_is_written_with_its_owners_rights_alone() -> None:
    with tempfile.TemporaryDirectory(prefix="crowbar-owner-") as directory:
        nobody = pwd.getpwnam("nobody")
        base = Path(directory)
        base.chmod(0o755)
        for name, uid in (("theirs", nobody.pw_uid), ("roots", 0)):
            (base / name).mkdir(mode=0o755)
            os.chown(base / name, uid, nobody.pw_gid)
        owner = Owner(config=str(base / "theirs" / "config.toml"), uid=nobody.pw_uid, gid=nobody.pw_gid)
        with owner.acting() as config:
            save_profile(config, "lab", {"url": "http://127.0.0.1:3000"})
        assert (os.geteuid(), config.stat().st_uid, config.stat().st_mode & 0o777) == (0, nobody.pw_uid, 0o600)
        (base / "theirs" / "link").symlink_to(base / "roots")
        stray = replace(owner, config=str(base / "theirs" / "link" / "config.toml"))
        with stray.acting() as config, pytest.raises(CrowbarError, match="cannot be written: Permission denied"):
            save_profile(config, "lab", {"url": "http://127.0.0.1:3000"})
        assert list((base / "roots").iterdir()) == []
