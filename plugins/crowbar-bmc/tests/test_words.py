"""What ipmitool is told, what its answers mean, and what a hammer's configuration may be. No BMC is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from crowbar_bmc.hammer import Busy, Device, NotNow
from crowbar_bmc.ipmi import IpmiHammer, bootdev, command, environment, failure
from crowbar_bmc.redfish import RedfishHammer

from crowbar_core import ConfigError, Hammer, NodeView, Refused, TemporaryError
from crowbar_core.testing import Testbed

CONFIG = {"address": "192.0.2.7", "user": "admin", "password": "-S3cret "}


def made(kind: type[Hammer], **more: Any) -> Hammer:
    hammer = kind({**CONFIG, **more})
    hammer.node = NodeView(id=1, name="n1.example.org")
    return hammer


def test_the_password_is_in_the_environment_of_ipmitool_and_not_on_its_line() -> None:
    line = command({**CONFIG, "cipher": 17, "privilege": "OPERATOR"}, ("chassis", "power", "on"), timeout=20.0)
    assert line == [
        "ipmitool", "-v", "-I", "lanplus", "-H", "192.0.2.7", "-p", "623", "-U", "admin", "-L", "OPERATOR", "-E",
        "-C", "17", "-N", "10", "-R", "1", "chassis", "power", "on",
    ]  # fmt: skip
    assert CONFIG["password"] not in line
    assert environment(CONFIG)["IPMITOOL_PASSWORD"] == "-S3cret "


@pytest.mark.parametrize(
    "device, once, uefi, words",
    [
        ("pxe", True, False, ("chassis", "bootdev", "pxe")),
        ("pxe", True, True, ("chassis", "bootdev", "pxe", "options=efiboot")),
        ("disk", False, False, ("chassis", "bootdev", "disk", "options=persistent")),
        ("disk", False, True, ("chassis", "bootdev", "disk", "options=persistent,efiboot")),
    ],
)
def test_a_boot_device_holds_once_or_from_now_on_for_bios_or_uefi(
    device: Device, once: bool, uefi: bool, words: tuple[str, ...]
) -> None:
    assert bootdev(device, once=once, uefi=uefi) == words


@pytest.mark.parametrize(
    "errors, kind, said",
    [
        ("Set Chassis Power Control to Up/On failed: Node busy", Busy, "busy"),
        ("Error sending request.\nNo valid response received", Busy, "ended the session"),
        ("Set Chassis Power Control to Reset failed: Command not supported in present state", NotNow, "state"),
        ("> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session", Refused, "password for root"),
        ("> RAKP 2 message indicates an error : unauthorized name\nError: Unable to", Refused, "know the user root"),
        ("> Error: no response from RAKP 1 message\nError: Unable to establish", TemporaryError, "may not know"),
        ("Error in open session response message : no matching cipher suite", Refused, "cipher to 3 or 17"),
        ("Set Session Privilege Level to ADMINISTRATOR failed: Unknown (0x81)", Refused, "privilege"),
        ("Get Auth Capabilities error\nError: Unable to establish IPMI v2", TemporaryError, "does not answer"),
        ("Address lookup for x failed\nError: Unable to establish IPMI v2", TemporaryError, "give its address"),
        ("one\ntwo\n", Refused, "refused: two."),
        ("", Refused, "it did not say why"),
    ],
)
def test_what_ipmitool_prints_is_said_in_a_sentence_with_the_way_out(
    errors: str, kind: type[Exception], said: str
) -> None:
    found = failure("The BMC 192.0.2.7 of n1", "root", errors)
    assert type(found) is kind
    assert said in str(found)


def test_ipmitool_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowbar_bmc.ipmi._PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="install ipmitool"):
        made(IpmiHammer).perform("status")


@pytest.mark.parametrize(
    "name, config, said",
    [
        ("ipmi", {"address": "192.0.2.7", "user": "admin"}, "password"),
        ("ipmi", {**CONFIG, "password": "x" * 21}, "maxLength: 20"),
        ("ipmi", {**CONFIG, "address": "-H evil"}, "form that is needed"),
        ("ipmi", {**CONFIG, "cipher": 1}, "enum: [3, 17]"),
        ("ipmi", {**CONFIG, "certificate": "unchecked"}, "additionalProperties"),
        ("redfish", {**CONFIG, "certificate": "none"}, "form that is needed"),
        ("redfish", {**CONFIG, "system": "../1"}, "form that is needed"),
        ("redfish", {**CONFIG, "user": "a:b"}, "form that is needed"),
    ],
)
def test_a_configuration_is_kept_sealed_and_what_is_wrong_in_it_is_refused(
    bed: Testbed, name: str, config: dict[str, Any], said: str
) -> None:
    web: Any = bed.web("operator")
    answer = web.post("/api/v2/hammers", json={"node_id": "n1.example.org", "name": name, "config": config})
    assert answer.status_code == 422, answer.text
    assert said in answer.text
    assert str(config.get("password", "nothing")) not in answer.text
    good = {**CONFIG, "boot_mode": "uefi", "settle": 2}
    made = web.post("/api/v2/hammers", json={"node_id": "n1.example.org", "name": name, "config": good})
    assert made.json["config"] == {**good, "password": "***"}
    assert web.delete(f"/api/v2/hammers/{made.json['id']}").status_code == 204


@pytest.fixture(scope="module")
def bed() -> Iterator[Testbed]:
    with Testbed(hammers={"ipmi": IpmiHammer, "redfish": RedfishHammer}) as bed:
        bed.add_node("n1.example.org")
        yield bed
