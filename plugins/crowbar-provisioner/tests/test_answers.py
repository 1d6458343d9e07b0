"""Answers of installers: as whole texts, as the checkers of their formats read them, and whatever is put into them."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from crowbar_provisioner import scripts
from crowbar_provisioner.answers.choosing import FILES, answer, words
from crowbar_provisioner.answers.facts import Facts
from crowbar_provisioner.describing import Described, check_oses, read
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion

from crowbar_core import BadInput

GOLDEN = Path(__file__).parent / "golden"
PACKAGE = resources.files("crowbar_provisioner")
LAYOUTS, FIRMWARE = ("flat", "lvm", "raid1"), ("bios", "uefi")
OSES = ("debian-12-preseed", "ubuntu-24.04", "rocky-9")
EACH = [(name, layout, firmware) for name in OSES for layout in LAYOUTS for firmware in FIRMWARE]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake"
DISKS = (
    {"name": "vda", "size": 8 << 30, "serial": "DISK1", "wwn": "", "by_path": "pci-0000:00:05.0"},
    {"name": "nvme0n1", "size": 9 << 30, "serial": "", "wwn": "eui.01", "by_path": ""},
)


def described(name: str) -> Described:
    return read(PACKAGE.joinpath("oses", f"{name}.json").read_bytes(), name)


def facts(name: str, layout: str = "flat", firmware: str = "bios", **more: Any) -> Facts:
    mirror = "http://mirror.example.com/debian" if described(name).needs_mirror else None
    return Facts(**{
        "base": "http://10.0.0.1:8091", "token": "t" * 43, "work": "work-1", "firmware": firmware, "layout": layout,
        "fqdn": "d52-54-00-12-34-56.example.org", "mac": "52:54:00:12:34:56", "keys": [KEY, f"{KEY} ada@example.org"],
        "said": {"os": name, "mirror": mirror, **described(name).model_dump(exclude={"name"})},
        "disks": DISKS[: 2 if layout == "raid1" else 1], "arguments": ("console=ttyS0,115200",), **more,
    })  # fmt: skip


def whole(made: Facts) -> str:
    """All that the boot service says for one installation; of the hooks' script what is before the program itself."""
    said = made.said
    boot = scripts.installer(
        made.base, token=made.token, kernel=said["kernel"], initrd=said["initrd"], words=words(made)
    )
    texts = {"boot script": boot}
    for name in FILES[said["method"]]:
        texts[name] = answer(made, name) or ""
    known_by = PACKAGE.joinpath("sledgehammer", "root", "sbin", "disks.sh").read_text()
    program = known_by + "\n" + PACKAGE.joinpath("answers", "hook.sh").read_text()
    assert texts["hook.sh"].endswith(program)
    texts["hook.sh"] = texts["hook.sh"].removesuffix(program)
    return "".join(f"===== {name}\n{text}" for name, text in texts.items())


@pytest.mark.parametrize("name, layout, firmware", EACH)
def test_what_is_said_to_an_installer_as_whole_texts(name: str, layout: str, firmware: str) -> None:
    assert whole(facts(name, layout, firmware)) == (GOLDEN / f"{name}-{layout}-{firmware}.txt").read_text()


@pytest.mark.parametrize(
    "name, like, other",
    [
        ("ubuntu-12.04", "debian-12-preseed", ("precise", "bookworm")),
        ("ubuntu-22.04", "ubuntu-24.04", ()),
        ("alma-9", "rocky-9", ()),
    ],
)
def test_others_of_a_method_differ_in_what_their_files_say(name: str, like: str, other: tuple[str, ...]) -> None:
    text = whole(facts(name))
    assert (text.replace(*other) if other else text) == whole(facts(like))


# ---------------------------------------------------------------- as those who know the formats read them


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("firmware", FIRMWARE)
@pytest.mark.parametrize("name", ["debian-12-preseed", "ubuntu-12.04"])
@pytest.mark.xdist_group("debconf")  # it locks the host's own answers while it looks
def test_debconf_takes_each_line_of_a_preseed_file(name: str, layout: str, firmware: str) -> None:
    text = answer(facts(name, layout, firmware), "preseed.cfg") or ""
    done = subprocess.run(
        ["debconf-set-selections", "-c"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    wrong = text.replace("boolean", "bolean", 1).replace("d-i time/zone string", "d-i time/zone", 1)
    done = subprocess.run(
        ["debconf-set-selections", "-c"], input=wrong, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0 or done.stderr, "it notices what is wrong"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("firmware", FIRMWARE)
@pytest.mark.filterwarnings("ignore:A partition with the mountpoint biosboot has already")  # one on each disk
def test_a_kickstart_is_one_of_its_version(layout: str, firmware: str) -> None:
    made = facts("rocky-9", layout, firmware)
    text = (answer(made, "kickstart.cfg") or "").replace(
        "%include /tmp/crowbar.layout\n", answer(made, "layout.ks") or ""
    )
    parser = KickstartParser(makeVersion("RHEL9"), missingIncludeIsFatal=True, errorsAreFatal=True)
    parser.readKickstartFromString(text)
    only = parser.handler.ignoredisk.onlyuse
    assert only == parser.handler.clearpart.drives == [f"crowbar-disk-{n}" for n in range(len(made.disks))]
    assert {part.disk for part in parser.handler.partition.partitions} == set(only), "no other disk has a part of it"
    mounted = {one.mountpoint for kind in ("partition", "raid", "logvol") for one in _list(parser, kind)}
    assert {"/", "/boot"} <= mounted | ({"/boot"} if layout == "flat" else set())
    with pytest.raises(Exception, match="Unknown command"):
        parser.readKickstartFromString("nonsense\n")


def _list(parser: Any, kind: str) -> Any:
    names = {"partition": "partitions", "raid": "raidList", "logvol": "lvList"}
    return getattr(getattr(parser.handler, kind), names[kind])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("firmware", FIRMWARE)
def test_an_autoinstall_has_what_its_installer_documents_and_each_part_what_it_names(
    layout: str, firmware: str
) -> None:
    text = answer(facts("ubuntu-24.04", layout, firmware), "user-data") or ""
    first, _, rest = text.partition("\n")
    assert first == "#cloud-config"
    said = json.loads(rest)["autoinstall"]
    kinds = {
        "version": int, "early-commands": list, "locale": str, "keyboard": dict, "timezone": str,
        "refresh-installer": dict, "network": dict, "ssh": dict, "user-data": dict, "storage": dict, "updates": str,
        "shutdown": str, "late-commands": list, "error-commands": list, "packages": list, "apt": dict,
    }  # fmt: skip
    assert {name: type(value) for name, value in said.items()} == {name: kinds[name] for name in said}
    assert (said["version"], said["shutdown"], said["updates"]) == (1, "reboot", "security")
    assert said["timezone"] == "UTC", "its installer refuses what its timedatectl does not list: Etc/UTC, for one"
    for commands in ("early-commands", "late-commands", "error-commands"):
        assert all(isinstance(word, str) for command in said[commands] for word in command)
    assert set(said["ssh"]) == {"install-server", "allow-pw", "authorized-keys"}
    assert "identity" in said or "user-data" in said, "its installer wants one of both"
    known: set[str] = set()
    refers = {"partition": ["device"], "format": ["volume"], "mount": ["device"], "lvm_partition": ["volgroup"]}
    for one in said["storage"]["config"]:
        named = [one[key] for key in refers.get(one["type"], ())] + list(one.get("devices", ()))
        assert set(named) <= known, f"{one['id']} names what is not there yet"
        assert one["id"] not in known
        known.add(one["id"])
    disks = [one for one in said["storage"]["config"] if one["type"] == "disk"]
    assert [one["path"] for one in disks] == [f"/dev/crowbar-disk-{n}" for n in range(len(disks))]
    places = {one["path"] for one in said["storage"]["config"] if one["type"] == "mount"}
    assert places == {"/"} | ({"/boot"} if layout != "flat" else set()) | (
        {"/boot/efi"} if firmware == "uefi" else set()
    )


# ---------------------------------------------------------------- whatever is put into them

HOSTILE = (
    "", " ", "a b", "a\nb", "a\r", "a\0b", "$(id)", "`id`", "; reboot", "{{7*7}}", "<script>", "'", '"', "a'b", 'a"b',
    "\\", "${x}", "||shell", "&&x", "#x", "%end", "\u202e", "é", "../x", "x" * 5000, "d-i x y z", "a: b", "- a", "*",
)  # fmt: skip


@pytest.mark.parametrize("field", ["base", "token", "work", "firmware", "layout", "fqdn", "mac"])
def test_no_value_breaks_out_of_an_answer(field: str) -> None:
    made = facts("debian-12-preseed")
    good = getattr(made, field)
    for text in HOSTILE:
        for wrong in (text, f"{good}{text}\n", f"{good}\n{text}", f"{good} {text}"):
            with pytest.raises(BadInput):
                replace(made, **{field: wrong})


def test_no_key_and_no_mirror_breaks_out_of_an_answer() -> None:
    for text in HOSTILE:
        _breaks(text)


def _breaks(text: str) -> None:
    for key in (text, f"{KEY}\n{text}", f"{KEY} {text} x", f'command="{text}" {KEY}', f"{KEY}{text}\n"):
        with pytest.raises(BadInput) as refused:
            facts("rocky-9", keys=[key])
        assert key not in refused.value.detail or not key.strip()
    made = facts("debian-12-preseed")
    for mirror in (f"http://{text}\n", f"http://a/{text} b", f"ftp://a/{text}", f"http://a/\n{text}", "file:///etc"):
        with pytest.raises(BadInput):
            replace(made, said={**made.said, "mirror": mirror})
    for word in (f"console={text}", f"init={text}"):
        if word != "console=":
            with pytest.raises(BadInput):
                replace(made, arguments=[f"{word} x"])


@pytest.mark.parametrize("text", [one for one in HOSTILE if one.isprintable()])
def test_what_a_disk_says_of_itself_is_one_word_for_the_shell(text: str) -> None:
    disk = {"name": "vda", "size": 1 << 30, "serial": text, "wwn": text, "by_path": text}
    script = answer(facts("rocky-9", disks=[disk]), "hook.sh") or ""
    (line,) = [one for one in script.splitlines() if one.startswith("    disk vda ")]
    assert shlex.split(line)[1:] == ["vda", str(1 << 30), text, text, text]
    head = script[: script.index("\n# What installers run")]
    told = subprocess.run(
        ["sh", "-c", head + '\ndisk() { printf "%s\\n" "$@"; }\nthe_disks'], capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert told.stdout.split("\n")[:5] == ["vda", str(1 << 30), text, text, text]
    others = [answer(facts("rocky-9", disks=[disk]), name) or "" for name in ("kickstart.cfg", "layout.ks")]
    if text.strip():
        assert all(
            one == (answer(facts("rocky-9"), name) or "")
            for one, name in zip(others, ("kickstart.cfg", "layout.ks"), strict=True)
        )


def test_what_is_no_line_is_not_told_to_the_shell_at_all() -> None:
    for text in ("a\nb", "a\0b", "\u202e"):
        with pytest.raises(BadInput):
            facts("rocky-9", disks=[{"name": "vda", "size": 1, "serial": text}])
    with pytest.raises(BadInput):
        facts("rocky-9", disks=[{"name": "../vda", "size": 1}])


# ---------------------------------------------------------------- descriptions


def test_each_description_of_this_package_is_one() -> None:
    assert check_oses(PACKAGE.joinpath("oses")) == []


@pytest.mark.parametrize(
    "change, said",
    [
        ({"name": "other"}, "x.json describes other: a file is called after what it describes."),
        ({"method": "magic"}, "at method: Input should be 'image', 'preseed', 'autoinstall' or 'kickstart'"),
        ({"colour": "red"}, "at colour: Extra inputs are not permitted"),
        ({"kernel": "../vmlinuz"}, "at kernel: A path in a tree goes down from its top"),
        ({"kernel": "/vmlinuz"}, "at kernel: A path in a tree goes down from its top"),
        ({"kernel": None}, "The method kickstart needs kernel"),
        ({"method": "preseed"}, "The method preseed needs suite"),
        ({"method": "image"}, "The method image has nothing to do with initrd, kernel"),
        ({"arguments": ["a b"]}, "at arguments/0: String should match pattern"),
        ({"packages": ["a\nb"]}, "at packages/0: String should match pattern"),
        ({"title": "a\nb"}, "at title: This is one line of printable characters"),
        ({"layouts": ["zfs"]}, "at layouts/0: Input should be 'flat', 'lvm' or 'raid1'"),
        ({"disk_size": "1"}, "at disk_size: Input should be a valid integer"),
    ],
)
def test_a_description_that_is_none_says_where_and_why(change: dict[str, Any], said: str) -> None:
    good = {"name": "x", "title": "X", "method": "kickstart", "kernel": "vmlinuz", "initrd": "initrd.img"}
    read(json.dumps(good).encode(), "x")
    with pytest.raises(BadInput) as refused:
        read(json.dumps({**good, **change}).encode(), "x")
    assert said in refused.value.detail


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff", b'{"name": "x", "name": "x"}', b"[" * 60_000, b" " * 70_000]
)
def test_what_is_no_json_is_no_description(raw: bytes) -> None:
    with pytest.raises(BadInput, match=r"^x\.json"):
        read(raw, "x")
