"""The example does what its README says, on a core in this process and with a jig that only records."""

from __future__ import annotations

import crowbar_example
import pytest
from crowbar_example import node_role_data, on_active

from crowbar_core import NodeRoleView, NodeView, Refused, SetAttribute
from crowbar_core.testing import FakeJig, Testbed, check_barclamp


def party(crowbar: Testbed, *members: str, report: str = "") -> None:
    for name in dict.fromkeys((*members, *filter(None, [report]))):
        crowbar.add_node(name)
    crowbar.add_deployment("party")
    for name in members:
        crowbar.bind("example-hello", name, deployment="party")
    if report:
        crowbar.bind("example-report", report, deployment="party")


def known_members(fake_jig: FakeJig, node: str) -> list[str]:
    """Whom the node's last run of example-hello was told of."""
    members = fake_jig.ran("example-hello", node)[-1].data["example"]["members"]
    return [member["name"].partition(".")[0] for member in members]


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_example) == []


def test_a_member_is_told_of_all_members_by_name_and_address() -> None:
    peers = (NodeView(id=1, name="a.b.c", addresses=("10.0.0.1", "fd00::1")), NodeView(id=2, name="d.b.c"))
    me = NodeRoleView(id=1, node=peers[0], role="example-hello", deployment="party", state="TODO", peers=peers)
    members = [{"name": "a.b.c", "address": "10.0.0.1"}, {"name": "d.b.c", "address": ""}]
    assert node_role_data(me) == {"example": {"members": members}}


def test_the_hook_returns_an_intent_and_does_nothing_else() -> None:
    node = NodeView(id=1, name="a.b.c")
    data = {"example": {"members": [], "kernel": "6.1"}}
    me = NodeRoleView(id=1, node=node, role="example-hello", deployment="party", state="ACTIVE", data=data)
    expected = SetAttribute(node="a.b.c", attribute="example-summary", value="a member in party, on kernel 6.1")
    assert on_active(me) == [expected]


def test_the_report_waits_for_every_member_on_whichever_node(crowbar: Testbed, fake_jig: FakeJig) -> None:
    party(crowbar, "n1", "n2", "n3", report="admin")
    crowbar.change_node("n2", alive=False)
    crowbar.commit("party")
    crowbar.anneal_until_quiet()
    assert crowbar.state("example-report", "admin") == "BLOCKED"
    assert "example-hello on n2.example.test" in crowbar.why("example-report", "admin")
    assert fake_jig.ran("example-report") == []
    crowbar.change_node("n2", alive=True)
    crowbar.anneal_until_quiet()
    assert set(crowbar.states().values()) == {"ACTIVE"}
    assert known_members(fake_jig, "n1") == ["admin", "n1", "n2", "n3"]
    (report,) = fake_jig.ran("example-report")
    assert [one["name"].partition(".")[0] for one in report.data["example"]["members"]] == ["admin", "n1", "n2", "n3"]


def test_the_report_is_given_the_kernels_of_all_members(crowbar: Testbed, fake_jig: FakeJig) -> None:
    for name, kernel in (("n1", "6.1"), ("n2", "6.12")):
        fake_jig.always({"example": {"kernel": kernel}}, role="example-hello", node=name)
    party(crowbar, "n1", "n2", report="n1")
    crowbar.commit("party")
    crowbar.anneal_until_quiet()
    assert fake_jig.ran("example-report")[-1].data["example"]["kernel"] == [
        {"node": "n1.example.test", "value": "6.1"}, {"node": "n2.example.test", "value": "6.12"},
    ]  # fmt: skip


def test_a_new_member_refreshes_the_lists_of_the_others(crowbar: Testbed, fake_jig: FakeJig) -> None:
    party(crowbar, "n1", "n2")
    crowbar.commit("party")
    crowbar.anneal_until_quiet()
    crowbar.add_node("n3")
    crowbar.bind("example-hello", "n3", deployment="party")
    crowbar.commit("party")
    assert crowbar.state("example-hello", "n1") == "ACTIVE"
    crowbar.anneal_until_quiet()
    assert [known_members(fake_jig, name) for name in ("n1", "n2", "n3")] == [["n1", "n2", "n3"]] * 3
    assert [run.refresh for run in crowbar.runs("example-hello", "n1")] == [False, True]


def test_a_member_that_leaves_is_on_no_list_any_more(crowbar: Testbed, fake_jig: FakeJig) -> None:
    party(crowbar, "n1", "n2", "n3")
    crowbar.commit("party")
    crowbar.anneal_until_quiet()
    crowbar.unbind("example-hello", "n2")
    crowbar.anneal_until_quiet()
    assert [task.teardown for task in fake_jig.ran("example-hello", "n2")] == [False, True]
    assert ("example-hello", "n2") not in crowbar.states()
    assert known_members(fake_jig, "n1") == ["n1", "n3"]


def test_a_new_greeting_of_one_node_reaches_that_node_alone(crowbar: Testbed, fake_jig: FakeJig) -> None:
    party(crowbar, "n1", "n2")
    crowbar.commit("party")
    crowbar.anneal_until_quiet()
    crowbar.set("example-greeting", "Moin", node="n1")
    crowbar.anneal_until_quiet()
    assert [task.data["example"]["greeting"] for task in fake_jig.ran("example-hello", "n1")] == ["Hello", "Moin"]
    assert len(fake_jig.ran("example-hello", "n2")) == 1


def test_what_a_member_reports_is_put_down_on_its_node(crowbar: Testbed, fake_jig: FakeJig) -> None:
    fake_jig.always({"example": {"kernel": "6.1.0"}}, role="example-hello")
    party(crowbar, "n1")
    crowbar.commit("party")
    crowbar.anneal_until_quiet()
    assert crowbar.value("example-kernel", "n1", role="example-hello") == "6.1.0"
    assert crowbar.value("example-summary", "n1") == "a member in party, on kernel 6.1.0"
    assert crowbar.hook_failures() == []


def test_the_page_and_the_api_show_the_members(crowbar: Testbed, fake_jig: FakeJig) -> None:
    fake_jig.always({"example": {"kernel": "<b>6.1</b>"}}, role="example-hello")
    party(crowbar, "n1", "n2")
    crowbar.commit("party")
    crowbar.anneal_until_quiet()
    viewer = crowbar.web("viewer")
    answer = viewer.get("/api/v2/example/members")
    assert answer.status_code == 200
    assert answer.json is not None
    assert [(one["name"], one["state"]) for one in answer.json] == [
        ("n1.example.test", "ACTIVE"), ("n2.example.test", "ACTIVE"),
    ]  # fmt: skip
    page = viewer.get("/example")
    assert page.status_code == 200
    assert "n2.example.test" in page.text
    assert "&lt;b&gt;6.1&lt;/b&gt;" in page.text, "what a node says is text, not markup"
    assert '<a href="/example"' in viewer.get("/").text, "the page is in the navigation"


def test_who_is_not_signed_in_sees_no_members(crowbar: Testbed) -> None:
    nobody = crowbar.web("viewer").application.test_client()
    assert nobody.get("/api/v2/example/members").status_code == 401
    assert nobody.get("/example").status_code == 302


def test_the_page_of_a_member_tells_of_its_membership(crowbar: Testbed, fake_jig: FakeJig) -> None:
    fake_jig.always({"example": {"kernel": "6.1"}}, role="example-hello")
    party(crowbar, "n1", "n2")
    other = crowbar.add_node("n3")
    crowbar.commit("party")
    crowbar.anneal_until_quiet()
    viewer = crowbar.web("viewer")
    page = viewer.get("/nodes/n1.example.test").text
    assert "<dt>Knows</dt><dd>2 members</dd><dt>Kernel</dt><dd>6.1</dd>" in page
    assert "Membership" not in viewer.get(f"/nodes/{other.id}").text


def test_a_machine_is_announced_once_and_given_a_token_for_each_boot(crowbar: Testbed) -> None:
    web = crowbar.web("operator")
    first = web.post("/api/v2/example/machines", json={"name": "n1.example.test", "serial": "S1"})
    again = web.post("/api/v2/example/machines", json={"name": "other.example.test", "serial": "S1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.get_json()["node"] == again.get_json()["node"] == "n1.example.test"
    assert web.post("/api/v2/example/machines", json={"name": 1}).status_code == 422
    boot = "/api/v2/example/boot/n1.example.test"
    tokens = [{"Authorization": f"Bearer {one.get_json()['token']}"} for one in (first, again)]
    assert [web.get(boot, headers=token).status_code for token in tokens] == [401, 200]


def test_what_a_machine_boots_is_stated_when_it_changes(crowbar: Testbed) -> None:
    crowbar.add_node("n1")
    crowbar.change_node("n1", bootenv="debian-13")
    crowbar.anneal_until_quiet()
    assert crowbar.node("n1").served_bootenv == "debian-13"
    assert crowbar.web().get("/api/v2/example/boot/n1.example.test").get_json() == {"bootenv": "debian-13"}


def test_a_machine_that_is_to_be_kept_is_kept(crowbar: Testbed) -> None:
    crowbar.add_node("n1", hint={"example-keep": "it has the only floppy drive"})
    with pytest.raises(Refused, match="only floppy drive"):
        crowbar.delete_node("n1")
    crowbar.change_node("n1", hint={})
    crowbar.delete_node("n1")


def test_who_leaves_is_written_down(crowbar: Testbed) -> None:
    party(crowbar, "n1")
    crowbar.unbind("example-hello", "n1")
    (row,) = crowbar.web().get("/api/v2/audits?action=example.farewell").get_json()
    assert (row["subject"], row["detail"]) == ("node n1.example.test", {"deployment": "party"})
