"""The wizard on a core in this process: answers, what is wrong with them, and what is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import crowbar_dhcp
import crowbar_dns
import crowbar_jig_script
import crowbar_network
import crowbar_provisioner
import crowbar_wizard
import pytest
from crowbar_wizard.tables import answers as table
from sqlalchemy import select

from crowbar_core import Barclamp, Change, hookimpl
from crowbar_core.testing import Testbed, check_barclamp

ADMIN = "admin.rack2.example.com"
WIZARD = "/api/v2/wizard"
KEY = f"ssh-ed25519 {'A' * 68} ada@example.com"
ANSWERS = {
    "machine": {"name": ADMIN, "address": "10.124.0.2/24"},
    "network": {"first": "10.124.0.16/24", "last": "10.124.0.99/24", "dhcp_first": "10.124.0.100/24",
                "dhcp_last": "10.124.0.200/24", "router": "10.124.0.1/24"},
    "dns": {"forwarders": "192.0.2.53"},
    "dhcp": {}, "discovery": {"accept_subnet": "10.124.0.0/24", "os": "rocky-9", "keys": KEY},
}  # fmt: skip

STEPS = ("account", "machine", "ssh", "network", "dns", "dhcp", "discovery")
ALL = (crowbar_jig_script, crowbar_network, crowbar_dns, crowbar_dhcp, crowbar_provisioner, crowbar_wizard)


@pytest.fixture
def bed() -> Iterator[Testbed]:
    with Testbed(*ALL) as made:
        yield made


@pytest.fixture(scope="module")
def idle() -> Iterator[Testbed]:
    """For tests that make nothing."""
    with Testbed(*ALL) as made:
        yield made


@pytest.fixture(scope="module")
def asked(idle: Testbed) -> Any:
    """An administrator of it."""
    return idle.web("admin")


def machines(web: Any) -> list[str]:
    return [one["name"] for one in web.get("/api/v2/nodes?system=false").json]


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_wizard) == []


def test_answers_in_one_go_make_the_admin_node_its_network_and_its_servers(bed: Testbed) -> None:
    web = bed.web("admin")
    made = web.post(f"{WIZARD}/answers", json={"answers": ANSWERS, "carry_out": True})
    assert made.status_code == 200, made.text
    print(made.json)
    assert made.json["made"][0] == f"The admin node {ADMIN}, reached at 10.124.0.2."
    roles = {one["role"]: one["state_name"] for one in web.get(f"/api/v2/node_roles?node={ADMIN}").json}
    assert {"network-server", "network-admin", "dns-server", "dhcp-server", "provisioner-server"} <= set(roles)
    assert [one["subnet"] for one in web.get("/api/v2/accept_rules").json] == ["10.124.0.0/24"]
    assert web.get("/api/v2/os_defaults").json == {"os": "rocky-9", "keys": [KEY]}
    assert "PROPOSED" not in roles.values()
    system = {one["role"]: one["state_name"] for one in web.get("/api/v2/node_roles").json}
    assert {"dns-database", "dhcp-database"} <= set(system)
    assert "PROPOSED" not in system.values()
    allocations = {one["address"] for one in web.get(f"/api/v2/network_allocations?node={ADMIN}").json}
    assert "10.124.0.2/24" in allocations
    again = web.post(f"{WIZARD}/answers", json={"answers": ANSWERS})
    assert (again.status_code, "were answered, and carried out" in again.json["detail"]) == (409, True)


def test_beside_another_dhcp_server_the_machine_is_made_one_that_gives_no_addresses(bed: Testbed) -> None:
    web = bed.web("admin")
    answers = {**ANSWERS, "dhcp": {"mode": "proxy"}}
    made = web.post(f"{WIZARD}/answers", json={"answers": answers, "carry_out": True})
    assert made.status_code == 200, made.text
    assert f"dhcp-server on {ADMIN}, which gives no addresses." in made.json["made"]
    data = {one.role: one.data.get("dhcp", {}) for one in bed.node_roles() if one.role.startswith("dhcp-")}
    assert data["dhcp-database"]["mode"] == "proxy"
    assert data["dhcp-server"]["program"] == "dnsmasq"


def test_addresses_of_ipv6_alone_will_do(bed: Testbed) -> None:
    web = bed.web("admin")
    answers = {"machine": {"name": ADMIN, "address": "fd00:1::2/64"}, "network": {}, "dns": {}, "dhcp": {}}
    made = web.post(f"{WIZARD}/answers", json={"answers": answers, "carry_out": True})
    assert made.status_code == 200, made.text
    there = {one["address"] for one in web.get(f"/api/v2/network_allocations?node={ADMIN}").json}
    assert there == {"fd00:1::2/64"}
    assert web.get("/api/v2/networks/admin").json["v6prefix"] == "fd00:1::/64"


@pytest.mark.parametrize(
    "step, given, pointer, said",
    [
        ("account", {"name": "a b", "password": "long enough"}, "/account/name", "name"),
        ("account", {"password": "short"}, "/account/password", "at least 8 characters"),
        ("machine", {"name": ADMIN, "address": " "}, "/machine/address", "must be answered"),
        ("machine", {"name": ADMIN, "address": "10.0.0"}, "/machine/address", "is no address; write it as"),
        ("machine", {"name": ADMIN, "address": "127.0.0.1"}, "/machine/address", "no address that other machines"),
        ("machine", {"name": "admin", "address": "10.124.0.2"}, "/machine/name", "at least 3 labels"),
        ("machine", {"nme": ADMIN}, "/machine/nme", "asks nothing called 'nme'; it asks name, address"),
        ("network", {"first": "10.124.1.10/24", "last": "10.124.1.20/24"}, "/network/first", "not in 10.124.1.0/24"),
        ("network", {"dhcp_first": "10.124.0.70/24"}, "/network/dhcp_first", "overlaps"),
        ("network", {"dhcp_last": "10.124.0.255/24"}, "/network/dhcp_last", "broadcast"),
        ("network", {"router": "10.9.0.1/24"}, "/network/router", "10.9.0.1"),
        ("network", {"v6prefix": "fd00::/48"}, "/network/v6prefix", "/64"),
        ("network", {"conduit": "eleven"}, "/network/conduit", "eleven"),
        ("network", {"configure": "perhaps"}, "/network/configure", "is one of yes, no"),
        ("dns", {"forwarders": "192.0.2.53, dns.example.com"}, "/dns/forwarders", "'dns.example.com' is no address"),
        ("discovery", {"accept_mac": "5254"}, "/discovery/accept_mac", "52"),
        ("discovery", {"keys": "ssh-ed25519 x"}, "/discovery/keys", "A public key of SSH is one line"),
        ("discovery", {"accept_subnet": "10.124.0.1/24"}, "/discovery/accept_subnet", "A subnet is an address with"),
        ("dhcp", {"mode": "theirs"}, "/dhcp/mode", "is one of own, proxy, none"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_and_nothing_is_kept(
    asked: Any, step: str, given: dict[str, str], pointer: str, said: str
) -> None:
    web = asked
    if step not in ("account", "machine"):
        assert web.put(f"{WIZARD}/steps/machine", json={"answers": ANSWERS["machine"]}).status_code == 200
    answer = web.put(f"{WIZARD}/steps/{step}", json={"answers": given})
    assert answer.status_code == 422, answer.text
    told = answer.json["errors"]
    assert any(said in one["detail"] for one in told), told
    assert pointer in [one["pointer"] for one in told], told
    assert {one["name"]: one["state"] for one in web.get(WIZARD).json["steps"]}[step] == "open"
    assert (web.get("/api/v2/networks").json, machines(web)) == ([], [])


def test_trying_makes_nothing_and_tells_what_would_be_made(bed: Testbed) -> None:
    web = bed.web("admin")
    assert web.put(f"{WIZARD}/carry_out").json["detail"].startswith("The step account (Who administers) is neither")
    assert web.put(f"{WIZARD}/steps/account", json={"skip": True}).status_code == 200
    told = web.put(f"{WIZARD}/steps/machine", json={"answers": ANSWERS["machine"]}).json["would_make"]
    assert told == [f"The admin node {ADMIN}, reached at 10.124.0.2."]
    assert web.get(WIZARD).json["next"] == "ssh"
    network = {one["name"]: one for one in web.get(WIZARD).json["steps"]}["network"]
    assert network["answers"]["first"] == "10.124.0.64/24", "its ranges are proposed in the machine's own subnet"
    assert web.put(f"{WIZARD}/steps/ssh", json={"answers": {}}).status_code == 200
    for name in ("network", "dns"):
        assert web.put(f"{WIZARD}/steps/{name}", json={"answers": {}}).status_code == 200
    for name in ("dhcp", "discovery"):
        web.put(f"{WIZARD}/steps/{name}", json={"skip": True})
    lines = web.put(f"{WIZARD}/try").json["would_make"]
    assert (len(lines), machines(web), web.get("/api/v2/networks").json) == (5, [], [])
    assert web.put(f"{WIZARD}/carry_out").json["made"] == lines
    assert machines(web) == [ADMIN]
    assert not any(one["role"].startswith("dhcp") for one in web.get("/api/v2/node_roles").json)


def test_an_administrator_of_one_s_own_takes_the_place_of_the_printed_password(bed: Testbed) -> None:
    web = bed.web("admin")
    chosen = {"name": "ada", "password": "ada's own words"}
    told = web.put(f"{WIZARD}/steps/account", json={"answers": chosen}).json["would_make"]
    assert told == ["The administrator ada."]
    assert "ada" not in [one["name"] for one in web.get("/api/v2/users").json], "tried, and undone"
    for name in STEPS[1:]:
        web.put(f"{WIZARD}/steps/{name}", json={"skip": True})
    assert web.put(f"{WIZARD}/carry_out").status_code == 200
    assert {one["name"]: one["role"] for one in web.get("/api/v2/users").json}["ada"] == "admin"
    with bed.read() as session:
        kept = session.execute(select(table.c.answers).where(table.c.step == "account")).scalar_one()
    assert kept == {"name": "ada"}, "nobody needs the password any more"


def test_only_an_administrator_answers(bed: Testbed) -> None:
    assert bed.web("operator").put(f"{WIZARD}/steps/dhcp", json={"skip": True}).status_code == 403
    page = bed.browser("operator").open("/wizard")
    assert "Only an administrator may answer." in page
    assert "Go on" not in page


def test_a_step_at_a_time_on_the_page(bed: Testbed) -> None:
    person = bed.browser("admin")
    assert "This server has no machine yet." in person.open("/")
    assert "<h2>Who administers</h2>" in person.open("/wizard")
    assert "<h2>This machine</h2>" in person.send("/wizard/steps/account", do="skip")
    wrong = person.send("/wizard/steps/machine", do="keep", name="typed.example.com", address="nowhere")
    assert "&#39;nowhere&#39; is no address" in wrong
    assert 'value="typed.example.com"' in wrong, "what was typed stays"
    person.open("/wizard")
    assert "The admin node x.example.com" in person.send(
        "/wizard/steps/machine/try", name="x.example.com", address="10.124.0.2"
    )
    person.open("/wizard")
    assert "<h2>How Crowbar logs in</h2>" in person.send("/wizard/steps/machine", do="keep", **ANSWERS["machine"])
    assert "The first questions are not all answered yet; the next is: How Crowbar logs in" in person.open("/")
    assert "<h2>The admin network</h2>" in person.send("/wizard/steps/ssh", do="keep")
    assert "overlaps" in person.send("/wizard/steps/network/try", **{**ANSWERS["network"], "last": "10.124.0.150/24"})
    assert "<b>135</b> for nodes" in person.page
    person.open("/wizard")
    person.send("/wizard/steps/network", do="keep", **ANSWERS["network"])
    person.send("/wizard/steps/dns", do="skip")
    person.send("/wizard/steps/dhcp", do="skip")
    assert "What will be made" in person.send("/wizard/steps/discovery", do="skip")
    assert "10.124.0.16 to 10.124.0.99/24 (host)" in person.page
    assert "<h2>Who administers</h2>" in person.send("/wizard/forget")
    person.send("/wizard/steps/machine", do="keep", **ANSWERS["machine"])
    for name in ("account", *STEPS[2:]):
        person.send(f"/wizard/steps/{name}", do="skip")
    assert "1 things are made" in person.send("/wizard/carry-out")
    assert "Register your first machine" in person.page
    assert "root there must accept Crowbar&#39;s key" in person.page or "must accept Crowbar's key" in person.page
    assert ADMIN in person.page
    assert "This server has no machine yet." not in person.open("/")


def test_the_step_of_machines_that_boot_says_when_there_is_nothing_to_boot(tmp_path: Path) -> None:
    with Testbed(*ALL, config={"provisioner": {"files": str(tmp_path)}}) as bed:
        person = bed.browser("admin")
        assert "What machines boot is not there yet." in person.open("/wizard?step=discovery")
        (tmp_path / "sledgehammer").mkdir()
        for name in ("vmlinuz", "initrd.img"):
            (tmp_path / "sledgehammer" / name).touch()
        assert "not there yet." not in person.open("/wizard?step=discovery")


def test_the_last_page_leads_to_where_machines_are_accepted(bed: Testbed) -> None:
    web = bed.web("admin")
    assert web.post(f"{WIZARD}/answers", json={"answers": ANSWERS, "carry_out": True}).status_code == 200
    bed.add_node("waits.rack2.example.com", available=False)
    page = bed.browser("admin").open("/wizard")
    assert re.search(r'href="/machines\?name=waits\.rack2\.example\.com">waits to be accepted', page)
    assert '<a href="/machines">Machines</a>' in page.partition('id="machines"')[2]


def test_the_file_of_the_example_can_be_answered(bed: Testbed, tmp_path: Path) -> None:
    example = bed.cli("init", "--example").stdout
    lines = [line for line in example.splitlines() if line and not line.lstrip().startswith("#")]
    assert [line.rstrip(":") for line in lines if not line.startswith(" ")] == [*STEPS]
    file, web = tmp_path / "answers.yaml", bed.web("viewer")
    file.write_text(re.sub(r"(?m)^  address: .*$", "  address: 10.124.0.2/24", example))
    told = bed.cli("init", "--answers", str(file), "--plan")
    assert (told.exit_code, machines(web)) == (0, [])
    assert "10.124.0.64 to 10.124.0.191/24 (host)" in told.stdout, "the ranges follow from the address"
    assert "answered" in bed.cli("init").stdout
    made = bed.cli("init", "--answers", str(file))
    assert (made.exit_code, len(machines(web))) == (0, 1)
    assert "Nothing begins yet, for" in made.stderr
    assert "nowhere.yaml cannot be read: No such file" in bed.cli("init", "--answers", "nowhere.yaml").stderr
    assert "carried out at" in bed.cli("init").stderr
    assert bed.cli("init", "--answers", str(file)).exit_code == 1


@pytest.mark.parametrize(
    "text, said",
    [
        ("machine: [1, 2]", "step machine must have fields with their answers"),
        ("machine: {name: {a: b}}", "machine/name is a text, a number, yes, no or a list"),
        ("- machine", "must have steps with their answers"),
        ("machine: {", "is no YAML: line 1"),
        ("machin: {}", "The wizard has no step 'machin'; it has account, machine, ssh, network, dns, dhcp, discovery."),
    ],
)
def test_a_file_that_cannot_be_is_one_sentence(idle: Testbed, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "answers.yaml"
    file.write_text(text)
    told = idle.cli("init", "--answers", str(file))
    assert told.exit_code != 0
    assert said in told.stderr.replace("\n", " "), told.stderr


class Keeper:
    """A barclamp whose step has a secret."""

    def __init__(self, **more: Any) -> None:
        self.more = more
        self.heard: list[str] = []

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="keeper")

    @hookimpl(optional=True)
    def wizard_steps(self, session: Any, place: Mapping[str, str]) -> list[dict[str, Any]]:
        fields = ({"name": "word", "label": "Password", "secret": True}, {"name": "plain", "label": "Not one"})
        return [
            {"name": "keeper", "title": "A secret", "order": 50, "fields": fields, "carry_out": self.make, **self.more}
        ]

    def make(self, values: Mapping[str, str], change: Change, place: Mapping[str, str]) -> list[str]:
        self.heard.append(values["word"])
        return ["It is kept."]


def test_a_secret_answer_is_sealed_masked_and_need_not_be_typed_again() -> None:
    keeper = Keeper()
    with Testbed(crowbar_jig_script, crowbar_wizard, keeper) as bed:
        web = bed.web("admin")
        assert (
            web.put(f"{WIZARD}/steps/keeper", json={"answers": {"word": "hush-hush", "plain": "one"}}).status_code
            == 200
        )
        assert "hush-hush" not in web.get(WIZARD).text
        assert "hush-hush" not in bed.browser("admin").open("/wizard?step=keeper")
        with bed.read() as session:
            assert "hush-hush" not in str(session.execute(select(table.c.answers)).all())
        web.put(f"{WIZARD}/steps/keeper", json={"answers": {"word": "", "plain": "two"}})
        for name in ("account", "machine", "ssh"):
            web.put(f"{WIZARD}/steps/{name}", json={"skip": True})
        assert web.put(f"{WIZARD}/carry_out").json["made"] == ["It is kept."]
        assert set(keeper.heard) == {"hush-hush"}


def test_a_step_that_is_none_is_told_with_who_brings_it() -> None:
    with Testbed(crowbar_jig_script, crowbar_wizard, Keeper(colour="red")) as bed:
        told = bed.web("admin").get(WIZARD)
        assert told.status_code == 500
        assert "Barclamp keeper brings a step of the wizard that is none" in told.json["detail"]
