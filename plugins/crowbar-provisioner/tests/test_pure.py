"""What a machine boots, its scripts, whom it means, which disk it is written to: decided without any machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from crowbar_provisioner import answering, disks, scripts
from crowbar_provisioner.choosing import Asking, choose
from crowbar_provisioner.claims import Known, claim, name_of, same, uuid_of
from crowbar_provisioner.inventory import Inventory, Registration, read

from crowbar_core import BadInput, Refused

from .light import ASKING, LOCAL

BASE, TOKEN, MAC = "http://10.0.0.1:8091", "t" * 43, "52:54:00:12:34:56"
UUID, OTHER = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"


@pytest.mark.parametrize(
    "state, bootenv, installing, env, image",
    [
        ("", "", "", "sledgehammer", True),
        ("quarantined", "local", "", "sledgehammer", True),
        ("quarantined", "debian-12-install", "image", "sledgehammer", True),
        ("quarantined", "rocky-9-install", "kickstart", "sledgehammer", True),
        ("refused", "sledgehammer", "", "local", False),
        ("accepted", "sledgehammer", "", "sledgehammer", True),
        ("accepted", "local", "", "local", False),
        ("accepted", "local", "image", "local", False),
        ("accepted", "debian-12-install", "image", "debian-12-install", True),
        ("accepted", "debian-12-install", "", "local", False),
        ("accepted", "-install", "image", "local", False),
        ("accepted", "windows", "", "local", False),
    ],
)
def test_what_a_machine_boots(state: str, bootenv: str, installing: str, env: str, image: bool) -> None:
    found = choose(Asking(state=state, bootenv=bootenv, installing=installing))
    assert (found.env, found.image, found.installer) == (env, image, "")
    assert found.why.endswith(".")


@pytest.mark.parametrize("method", ["preseed", "autoinstall", "kickstart"])
def test_a_machine_that_an_installer_of_its_own_installs_boots_that(method: str) -> None:
    found = choose(Asking(state="accepted", bootenv="x-install", installing=method))
    assert (found.env, found.image, found.installer) == ("x-install", False, method)
    assert choose(Asking(state="refused", bootenv="x-install", installing=method)).installer == ""


def test_the_scripts_as_whole_texts() -> None:
    base = "http://[fd00::1]:8091"
    asked = f"{base}/ipxe?mac=${{mac}}&uuid=${{uuid}}&serial=${{serial:uristring}}&platform=${{platform}}"
    assert scripts.loader(base) == "#!ipxe\n" + ASKING.format(url=asked, base=base)
    assert scripts.before_loader(base) == "#!ipxe\n" + ASKING.format(url=f"{base}/boot.ipxe", base=base)
    assert scripts.image(BASE, token=TOKEN, mac=MAC, env="sledgehammer", arguments=["console=ttyS0,115200"]) == (
        "#!ipxe\n"
        f"kernel {BASE}/b/{TOKEN}/vmlinuz initrd=initrd.img crowbar.url={BASE} crowbar.token={TOKEN} crowbar.mac={MAC} "
        "crowbar.env=sledgehammer console=ttyS0,115200 || goto again\n"
        f"initrd --name initrd.img {BASE}/b/{TOKEN}/initrd.img || goto again\n"
        "boot || goto again\n"
        ":again\n"
        "imgfree\n" + ASKING.format(url=f"{BASE}/boot.ipxe", base=BASE)
    )
    assert scripts.local(BASE, "bios") == LOCAL
    assert scripts.local(BASE, "uefi") == f"#!ipxe\nchain --autofree {BASE}/local.efi || exit 1\n"


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "quiet splash", "a=b\nboot", "a=${mac}", "a=b||shell", "a=b&&shell", "a=b;reboot", "init=/bin/sh",
        "rdinit=/bin/sh", "crowbar.token=x", "crowbar.url=http://evil", "root=/dev/sda", "initrd=x", "a='b'", 'a="b"',
        "a=b#c", "a=\0", "a=\u202eb", "a=" + "b" * 201, "é=1", "a=b\r", "a=$(id)", "a={{7*7}}",
    ],
)  # fmt: skip
def test_a_kernel_argument_that_could_be_more_than_one_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        scripts.image(BASE, token=TOKEN, mac=MAC, env="sledgehammer", arguments=[text])


@pytest.mark.parametrize(
    "change",
    [
        {"token": "t" * 42}, {"token": "t" * 42 + "\n"}, {"mac": "52:54:00:12:34:5g"}, {"mac": MAC + "\n"},
        {"env": "a b"}, {"env": "a\nshell"}, {"env": "../x"}, {"env": ""},
    ],
)  # fmt: skip
def test_nothing_that_is_not_known_to_be_harmless_goes_into_a_script(change: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        scripts.image(BASE, **{"token": TOKEN, "mac": MAC, "env": "sledgehammer", **change})


@pytest.mark.parametrize("base", ["http://a b", "http://a/\nshell", "file:///etc", "http://${x}", "http://a:1/x", ""])
def test_the_address_in_a_script_is_one(base: str) -> None:
    with pytest.raises(BadInput):
        scripts.loader(base)
    with pytest.raises(BadInput):
        scripts.before_loader(base)


A = Known(id=1, uuid=UUID, serial="S-1", macs=frozenset((MAC, "52:54:00:12:34:57")))
B = Known(id=2, uuid=OTHER, serial="S-2", macs=frozenset(("52:54:00:00:00:02",)))


@pytest.mark.parametrize(
    "said, found",
    [
        ({"uuid": UUID, "serial": "S-1", "macs": [MAC]}, 1),
        ({"uuid": UUID.upper(), "macs": ["52-54-00-99-99-99"]}, 1),  # another card
        ({"uuid": "99999999-0000-1111-2222-333333333333", "serial": "S-1", "macs": [MAC]}, 1),  # another board
        ({"macs": ["52:54:00:12:34:57"]}, 1),  # by its second card
        ({"uuid": "99999999-0000-1111-2222-333333333333", "macs": [MAC]}, 1),  # another board, no serial number
        ({"uuid": "99999999-0000-1111-2222-333333333333", "serial": "S-9", "macs": [MAC]}, None),  # its card moved
        ({"uuid": OTHER, "serial": "S-2", "macs": [MAC]}, 2),  # its card is in another machine now
        ({"uuid": "", "serial": "To be filled by O.E.M.", "macs": ["52:54:00:99:99:99"]}, None),
        ({"uuid": "00000000-0000-0000-0000-000000000000", "serial": "0123456789", "macs": []}, None),
    ],
)
def test_whom_a_machine_means(said: dict[str, Any], found: int | None) -> None:
    one = same(claim(**said), [A, B])
    assert (one.id if one else None) == found


def test_firmware_tells_a_uuid_in_two_orders() -> None:
    swapped = "33221100-5544-7766-8899-aabbccddeeff"
    assert uuid_of("00112233-4455-6677-8899-aabbccddeeff") == uuid_of(swapped)


def test_numbers_that_many_have_are_none() -> None:
    said = claim(
        uuid="ffffffff-ffff-ffff-ffff-ffffffffffff", serial="none", macs=["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "x"]
    )
    assert (said.uuid, said.serial, said.macs) == ("", "", ())
    assert name_of(MAC, "example.org") == "d52-54-00-12-34-56.example.org"


def disk(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "size": 8 << 30, "serial": f"S-{name}", **more}


@pytest.mark.parametrize(
    "there, wanted, found",
    [
        ([disk("vda"), disk("vdb")], "", "vda"),
        ([disk("sda", removable=True), disk("sdb", holders=True), disk("sdc", read_only=True), disk("sdd")], "", "sdd"),
        ([disk("sda", transport="usb"), disk("sdb", size=1), disk("nvme0n1")], "", "nvme0n1"),
        ([disk("vda"), disk("vdb")], "S-vdb", "vdb"),
    ],
)
def test_the_disk_that_is_written_to(there: list[dict[str, Any]], wanted: str, found: str) -> None:
    assert disks.choose(there, wanted=wanted, at_least=1 << 30)["name"] == found


@pytest.mark.parametrize(
    "there, wanted, said",
    [
        ([], "", "The machine has reported no disk."),
        ([disk("sda", removable=True)], "", "No disk is suitable: sda (removable)."),
        ([disk("sda", removable=True)], "sda", "No disk is suitable: sda (removable)."),
        ([disk("vda", size=1 << 29)], "", "No disk is suitable: vda (too small (0.5 GiB of 1.0))."),
        ([disk("vda")], "vdz", "There is no disk called vdz; there are: vda (suitable)."),
        ([disk("vda", wwn="w"), disk("vdb", wwn="w")], "w",
         "There are 2 disks called w; there are: vda (suitable), vdb (suitable)."),
    ],
)  # fmt: skip
def test_a_disk_that_is_not_written_to_says_why(there: list[dict[str, Any]], wanted: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        disks.choose(there, wanted=wanted, at_least=1 << 30)
    assert refused.value.detail == said


# ---------------------------------------------------------------- what machines report


def body(**more: Any) -> bytes:
    return json.dumps({"inventory": {"macs": [MAC], **more}, "host_keys": ["ssh-ed25519 AAAA"]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xff\xfe", b"[]", b"null", b'{"a": 1}', b"[" * 100_000,
        b'{"inventory": {}, "inventory": {}, "host_keys": []}',
        b'{"inventory": {"macs": []}, "host_keys": ["ssh-ed25519 AAAA"]}',
        b'{"inventory": {"macs": ["52:54:00:12:34:56"]}, "host_keys": ["ssh-ed25519 AAAA\\nroot"]}',
        b'{"inventory": {"macs": ["52:54:00:12:34:56"]}, "host_keys": ["; reboot"]}',
        body(memory=None), body(memory=1 << 63), body(memory="1"), body(memory=1.5), body(unknown=1),
        body().replace(b'["52', b'[NaN, "52'), body(serial="a\nb"), body(serial="a\u202eb"), body(vendor="x" * 501),
        body(disks=[{"name": "../sda", "size": 1}]), body(disks=[{"name": "sda", "size": -1}]),
        body(disks=[{"name": "sda", "size": 1}] * 257), body(addresses=["x"] * 65), body(firmware="coreboot"),
        body(memory=True), body(cpu=[]), body(nics=[{"name": "eth0", "mac": "no"}]),
    ],
)  # fmt: skip
def test_a_report_that_is_none_is_refused_and_not_repeated(raw: bytes) -> None:
    with pytest.raises(BadInput) as refused:
        read(Registration, raw)
    assert "root" not in refused.value.detail
    assert "reboot" not in refused.value.detail


def test_what_is_reported_is_kept_as_discovery() -> None:
    said = Inventory(macs=[MAC], serial="<script>alert(1)</script>", addresses=["10.0.0.7/24"])
    found = said.discovery()
    assert (found["macs"], found["inventory"]["addresses"]) == ([MAC], ["10.0.0.7/24"])
    assert said.claim().serial == "<script>alert(1)</script>", "it is a text, which pages escape"


@pytest.mark.parametrize(
    "source, wanted",
    [
        ("fd00:77::dcdc:3", "fd00:77::5054:ff:fe77:1"),
        ("2001:db8:0:7::1", "2001:db8:0:7:5054:ff:fe77:1"),
        ("10.77.0.9", ""), ("::1", ""), ("fe80::1", ""),
    ],
)  # fmt: skip
def test_the_address_that_a_card_makes_itself_is_known_by_its_mac(source: str, wanted: str) -> None:
    assert answering.beside(source, "52:54:00:77:00:01") == wanted
