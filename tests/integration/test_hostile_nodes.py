"""A node is an enemy: what it reports of itself is bounded, parsed and its own, and its token opens nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert

from crowbar_core import Barclamp, Hint, NodeView, Probe, hookimpl
from crowbar_core.cli.output import visible
from crowbar_core.domain import reports
from crowbar_core.errors import BadInput
from crowbar_core.services.cluster import liveness, nodes, steering
from crowbar_core.services.data import addresses as service
from crowbar_core.services.data.addresses import is_own
from crowbar_core.services.turns.turn import SYSTEM
from crowbar_core.store.models import RunLog, table
from tests.integration.api import PASSWORDS, SECRET, Api, populate, serving, set_run

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFirst000000000000000000000000000000000000000"
EVERYTHING = ("0.0.0.0/0", "::/0")
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAISecond00000000000000000000000000000000000000"


class Gullible:
    """A barclamp that answers whatever it was told, and probes without looking."""

    shown: tuple[str, ...] = (KEY,)

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        families: tuple[Literal["ipv4", "ipv6"], ...] = ("ipv4", "ipv6")
        return Barclamp(name="gullible", hints=tuple(Hint(name=f"hint-admin-v{of[-1]}addr", of=of) for of in families))

    @hookimpl
    def node_addresses(self, node: NodeView) -> Iterable[Any]:
        reported: Any = node.discovery.get("addresses") or ()
        said = [
            node.hint.get("hint-admin-v4addr"),
            node.hint.get("hint-admin-v6addr"),
            node.hint.get("wild"),
            *reported,
        ]
        return [str(one).partition("/")[0] for one in said if one]

    @hookimpl
    def probe_node(self, node: NodeView) -> Probe | None:
        if not node.addresses:
            return None
        return Probe(alive=True, address=node.addresses[0], host_keys=self.shown)


Serve = Callable[..., Api]


@pytest.fixture
def serve(ready_database: str, tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda **more: stack.enter_context(
            serving(ready_database, tmp_path, plugins=[("gullible", Gullible())], **more)
        )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One application, which believes every range, for the many things that are refused."""
    directory = tmp_path_factory.mktemp("shared")
    url = f"sqlite:///{directory}/crowbar.db"
    with serving(url, directory, plugins=[("gullible", Gullible())], admin_ranges=EVERYTHING) as served:
        yield served


@pytest.fixture
def fresh(shared: Api) -> Iterator[int]:
    """A node in it that has said nothing yet; it goes with the test."""
    made = node(shared, f"n{uuid4().hex[:12]}")
    yield made
    assert shared.delete(f"nodes/{made}").status_code == 204


def node(api: Api, name: str, **values: Any) -> int:
    return int(api.made("nodes", {"name": f"{name}.rack.example.com", **values})["id"])


def report(api: Api, node_id: int, status: int = 200, **discovery: Any) -> Any:
    answer = api.put(f"nodes/{node_id}/discovery", {"discovery": discovery}, who=f"node:{node_id}")
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_json()


def addresses(api: Api, node_id: int) -> list[str]:
    found: list[str] = api.get(f"nodes/{node_id}/addresses").get_json()
    return found


def refused(api: Api, node_id: int) -> dict[str, str]:
    """Address -> why it does not count, of one node."""
    return {one["address"]: one["refused"] for one in api.get(f"nodes/{node_id}/address_claims").get_json()}


def signed_in(api: Api) -> FlaskClient:
    api.token("admin")
    browser = api.browser()
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', browser.get("/login").get_data(as_text=True))
    assert token is not None
    form = {"name": "admin", "password": PASSWORDS["admin"], "csrf_token": token[1]}
    assert browser.post("/login", data=form, headers={"Origin": "http://localhost"}).status_code in (302, 303)
    return browser


def hostvars(api: Api, name: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get("status/inventory").get_json()["_meta"]["hostvars"][f"{name}.rack.example.com"]
    return found


# ---------------------------------------------------------------- whatever is reported has a type


NO_ADDRESSES = (
    "fd00::1%{{ lookup('pipe', 'touch /tmp/owned') }}", "fd00::1%eth0\nEVIL=1", "10.0.0.1\n10.0.0.2",
    "10.0.0.1; reboot",
    "010.0.0.1", "10.0.0.1/33", "10.0.0.1/+8", "10.0.0.1/ 8", "10.0.0.1/٨", "١٠.0.0.1", " 10.0.0.1", "fd00::1%", "",
    "10.0.0.1/", "web1", 7, None, True, ["10.0.0.1"], {"address": "10.0.0.1"}, "1" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("bad", NO_ADDRESSES, ids=lambda bad: repr(bad)[:24])
def test_what_is_no_address_is_refused_and_named_by_its_place(shared: Api, fresh: int, bad: Any) -> None:
    answer = report(shared, fresh, status=422, addresses=["10.0.0.1", bad])
    assert answer["errors"][0]["pointer"] == "/discovery/addresses/1"
    assert "lookup" not in str(answer)
    assert shared.get(f"nodes/{fresh}").get_json()["discovery"] == {}
    assert shared.post("nodes", {"name": "b.rack.example.com", "discovery": {"addresses": [bad]}}).status_code == 422
    for field in ({"ip": bad}, {"hint": {"hint-admin-v4addr": bad}}):
        if bad is None and "ip" in field:
            continue
        assert shared.post("nodes", {"name": "b.rack.example.com", **field}).status_code == 422, field


@pytest.mark.parametrize(
    "said, place",
    [
        ({"macs": ["52:54:00:12:34:5g"]}, "/discovery/macs/0"),
        ({"macs": ["01:00:5e:00:00:01"]}, "/discovery/macs/0"),
        ({"macs": "52:54:00:12:34:56"}, "/discovery/macs"),
        ({"addresses": "10.0.0.1"}, "/discovery/addresses"),
        ({"hostname": "web1\n"}, "/discovery/hostname"),
        ({"hostname": "$(id)"}, "/discovery/hostname"),
        ({"hostname": 7}, "/discovery/hostname"),
        ({"bios": {"vendor": "one\nline"}}, "/discovery/bios/vendor"),
        ({"bios": {"vendor": "\x1b[2Jgone"}}, "/discovery/bios/vendor"),
        ({"bios": {"vendor": "line\u2028line"}}, "/discovery/bios/vendor"),
        ({"bios": {"vendor": "\u202egpj.exe"}}, "/discovery/bios/vendor"),
        ({"bios": ["fine", "\r"]}, "/discovery/bios/1"),
        ({"bios": {"a\nb": 1}}, "/discovery/bios"),
        ({"disks": {"x" * (reports.LONGEST_NAME + 1): 1}}, "/discovery/disks"),
        ({"text": "x" * (reports.LONGEST_TEXT + 1)}, "/discovery/text"),
    ],
    ids=lambda said: str(said)[:30],
)
def test_what_could_be_more_than_a_value_is_refused(shared: Api, fresh: int, said: dict[str, Any], place: str) -> None:
    answer = report(shared, fresh, status=422, **said)
    assert answer["errors"][0]["pointer"] == place


def test_what_has_a_type_is_kept_in_its_one_written_form(shared: Api, fresh: int) -> None:
    report(
        shared, fresh, addresses=["FD00:0::1/64", "10.0.0.1", "fd00::1/64"], macs=["52-54-00-12-34-AB"],
        hostname="Web1", cpus=4, bios={"vendor": "Größe & {{ braces }}", "ok": None},
    )  # fmt: skip
    assert shared.get(f"nodes/{fresh}").get_json()["discovery"] == {
        "addresses": ["fd00::1/64", "10.0.0.1"], "macs": ["52:54:00:12:34:ab"], "hostname": "web1", "cpus": 4,
        "bios": {"vendor": "Größe & {{ braces }}", "ok": None},
    }  # fmt: skip


def test_a_barclamp_that_answers_no_address_is_shown_and_nothing_of_it_gets_on(serve: Serve) -> None:
    api = serve()
    made = node(api, "web1", ip="10.0.0.1", hint={"wild": "fd00::1%{{ lookup('pipe', 'id') }}"})
    assert addresses(api, made) == ["10.0.0.1"]
    noted = api.parts.registry.questions.take()
    assert [(one.plugin, one.hook, one.subject) for one in noted] == [("gullible", "node_addresses", f"node {made}")]


def test_the_inventory_marks_what_it_takes_from_elsewhere_unsafe(serve: Serve) -> None:
    api = serve(admin_ranges=("10.0.0.0/24",))
    report(api, node(api, "web1"), addresses=["10.0.0.1/24"])
    known = hostvars(api, "web1")
    assert known["ansible_host"] == {"__ansible_unsafe": "10.0.0.1"}
    assert known["crowbar_deployment"] == {"__ansible_unsafe": "system"}


# ---------------------------------------------------------------- a reported address is the node's own, or none


def test_without_ranges_only_what_an_operator_gave_counts(serve: Serve) -> None:
    api = serve()
    made = node(api, "web1", ip="10.0.0.1/24")
    report(api, made, addresses=["10.0.0.1", "10.0.0.2"])
    assert addresses(api, made) == ["10.0.0.1"]
    assert refused(api, made) == {
        "10.0.0.1": "",
        "10.0.0.2": "no admin_ranges are set, and only the node itself says so: give it as a hint",
    }
    assert api.patch(f"nodes/{made}", {"hint": {"hint-admin-v4addr": "10.0.0.2"}}).status_code == 200
    assert addresses(api, made) == ["10.0.0.2"]


def test_a_reported_address_counts_in_the_admin_ranges_only(serve: Serve) -> None:
    api = serve(admin_ranges=("10.0.0.0/24", "fd00::/64"))
    made = node(api, "web1")
    report(api, made, addresses=["10.0.0.1", "10.0.1.1", "fd00::1", "fd00:1::1"])
    assert addresses(api, made) == ["10.0.0.1", "fd00::1"]
    assert refused(api, made)["10.0.1.1"].startswith("it lies outside admin_ranges")


@pytest.mark.parametrize(
    "reported, why",
    [
        ("127.0.0.1", "loopback"), ("127.8.8.8", "loopback"), ("::1", "loopback"), ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"), ("224.0.0.1", "multicast"), ("ff02::1", "multicast"), ("0.0.0.0", "unspecified"),
        ("::", "unspecified"), ("255.255.255.255", "broadcast"), ("::ffff:10.0.0.1", "IPv4-mapped"),
        ("::ffff:127.0.0.1", "IPv4-mapped"), ("::10.0.0.1", "IPv4-mapped"), ("64:ff9b::10.0.0.1", "IPv4-mapped"),
        ("2002:a00:1::1", "IPv4-mapped"),
    ],
)  # fmt: skip
def test_what_no_node_may_say_of_itself_never_counts(shared: Api, fresh: int, reported: str, why: str) -> None:
    report(shared, fresh, addresses=[reported])
    assert addresses(shared, fresh) == []
    assert list(refused(shared, fresh).values()) == [f"it is {why}"]


def test_an_address_of_the_controller_itself_never_counts(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    assert is_own("127.0.0.1")
    assert is_own("::1")
    assert not is_own("198.51.100.1")
    api = serve(admin_ranges=EVERYTHING)
    monkeypatch.setattr(service, "is_own", lambda address: address == "198.51.100.7")
    made = node(api, "web1")
    report(api, made, addresses=["198.51.100.7", "198.51.100.8"])
    assert addresses(api, made) == ["198.51.100.8"]
    assert refused(api, made)["198.51.100.7"] == "it is an address of this machine"


def test_a_node_that_reports_anothers_address_does_not_get_it(serve: Serve) -> None:
    api = serve(admin_ranges=EVERYTHING)
    victim, thief = node(api, "victim", ip="198.51.100.1/24"), node(api, "thief")
    report(api, thief, addresses=["198.51.100.1/32", "198.51.100.2"])
    assert addresses(api, victim) == ["198.51.100.1"]
    assert addresses(api, thief) == ["198.51.100.2"]
    assert refused(api, thief)["198.51.100.1"] == "node victim.rack.example.com has it"
    assert hostvars(api, "thief")["ansible_host"] == {"__ansible_unsafe": "198.51.100.2"}


def test_the_older_report_goes_before_the_younger_and_a_hint_before_both(serve: Serve) -> None:
    api = serve(admin_ranges=EVERYTHING)
    first, second, third = node(api, "first"), node(api, "second"), node(api, "third")
    report(api, second, addresses=["198.51.100.1"])
    report(api, first, addresses=["198.51.100.1"])
    assert (addresses(api, first), addresses(api, second)) == ([], ["198.51.100.1"])
    report(api, second, cpus=4)
    report(api, second, addresses=["198.51.100.1", "198.51.100.9"])  # a claim that stays keeps its age
    assert addresses(api, second) == ["198.51.100.1", "198.51.100.9"]
    assert api.patch(f"nodes/{third}", {"hint": {"hint-admin-v4addr": "198.51.100.1"}}).status_code == 200
    assert (addresses(api, second), addresses(api, third)) == (["198.51.100.9"], ["198.51.100.1"])
    assert refused(api, second)["198.51.100.1"] == "node third.rack.example.com has it"
    assert api.delete(f"nodes/{third}").status_code == 204
    assert addresses(api, second) == ["198.51.100.1", "198.51.100.9"]
    assert api.delete(f"nodes/{second}/discovery").status_code == 204
    assert (addresses(api, second), addresses(api, first)) == ([], ["198.51.100.1"])


def test_a_conflict_is_shown_to_those_who_may_see_it(serve: Serve) -> None:
    api = serve(admin_ranges=("198.51.100.0/24",))
    victim, thief = node(api, "victim", ip="198.51.100.1"), node(api, "thief")
    for each in (victim, thief):
        report(api, each, addresses=["172.17.0.1"])  # as each node with containers has it

    def found() -> str:
        return str(api.get("/readyz", who="").get_json()["checks"]["addresses"])

    assert found() == "ok"
    report(api, thief, addresses=["198.51.100.1"])
    assert found() == "1 address is claimed by more than one node"
    page = signed_in(api).get("/processes").get_data(as_text=True)
    assert "198.51.100.1: victim.rack.example.com, thief.rack.example.com" in page


def test_the_node_page_shows_what_does_not_count(serve: Serve) -> None:
    api = serve(admin_ranges=EVERYTHING)
    node(api, "victim", ip="198.51.100.1")
    thief = node(api, "thief")
    report(api, thief, addresses=["198.51.100.1"])
    page = signed_in(api).get(f"/nodes/{thief}").get_data(as_text=True)
    assert "198.51.100.1" in page
    assert "node victim.rack.example.com has it" in page


# ---------------------------------------------------------------- host keys


def keys(api: Api, node_id: int) -> list[str]:
    found: list[str] = api.get(f"nodes/{node_id}").get_json()["host_keys"]
    return found


def test_an_unknown_key_is_taken_where_an_operator_said_and_nowhere_else(serve: Serve) -> None:
    api = serve(admin_ranges=EVERYTHING)
    given, claimed = node(api, "given", ip="198.51.100.1"), node(api, "claimed")
    report(api, claimed, addresses=["198.51.100.2"])
    for each in (claimed, given):
        assert api.put(f"nodes/{each}/probe").get_json()["alive"]
    assert (keys(api, claimed), keys(api, given)) == ([], [KEY])


def test_a_key_that_is_another_nodes_is_not_taken(serve: Serve) -> None:
    api = serve()
    first, second = node(api, "first", ip="198.51.100.1"), node(api, "second", ip="198.51.100.2")
    for each in (first, second):
        api.put(f"nodes/{each}/probe")
    assert (keys(api, first), keys(api, second)) == ([KEY], [])


def test_a_nodes_token_brings_the_first_keys_and_no_others(serve: Serve) -> None:
    api = serve()
    one, other = node(api, "one"), node(api, "other", host_keys=[OTHER_KEY])

    def bring(node_id: int, *given: str, who: int | None = None) -> int:
        answer = api.put(f"nodes/{node_id}/host_keys", {"host_keys": list(given)}, who=f"node:{who or node_id}")
        return answer.status_code

    assert bring(other, KEY, who=one) == 403
    assert bring(one, OTHER_KEY) == 409, "it would be the other one"
    assert bring(one, f"{OTHER_KEY}") == 409
    assert bring(one, KEY) == 200
    assert bring(one, KEY) == 200, "again changes nothing"
    assert bring(one, OTHER_KEY, KEY) == 409
    assert bring(other, KEY) == 409
    assert (keys(api, one), keys(api, other)) == ([KEY], [OTHER_KEY])
    assert api.patch(f"nodes/{one}", {"host_keys": []}).status_code == 200
    assert bring(one, KEY) == 200


def test_a_node_that_takes_anothers_address_over_is_not_seen_there(serve: Serve) -> None:
    """The whole attack: no key is pinned, and nothing is said of the thief."""
    api = serve(admin_ranges=EVERYTHING)
    victim, thief = node(api, "victim", ip="198.51.100.1"), node(api, "thief")
    report(api, thief, addresses=["198.51.100.1"])
    found = liveness.probe(api.parts, thief)
    assert found.reason == "no barclamp can tell"
    assert found.address is None
    assert (keys(api, thief), keys(api, victim)) == ([], [])


# ---------------------------------------------------------------- bounded


def deep(levels: int) -> Any:
    tree: Any = 1
    for _ in range(levels):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize(
    "said, limit",
    [
        ({"list": [1] * (reports.MOST_VALUES + 1)}, f"at most {reports.MOST_VALUES} values"),
        ({"a": {str(at): 1 for at in range(reports.MOST_VALUES)}}, f"at most {reports.MOST_VALUES} values"),
        ({str(at): 1 for at in range(reports.MOST_AT_TOP + 1)}, f"at most {reports.MOST_AT_TOP} names"),
        ({"a": deep(reports.MOST_DEEP)}, f"at most {reports.MOST_DEEP} deep"),
        ({"a": ["x" * 4000] * 140}, f"at most {reports.MOST_BYTES} bytes"),
        ({"addresses": [f"10.0.{at}.1" for at in range(reports.MOST_ADDRESSES + 1)]}, "at most 64 addresses"),
    ],
    ids=("values", "keys", "names", "depth", "bytes", "addresses"),
)
def test_a_report_that_is_too_much_is_refused_with_the_limit(
    shared: Api, fresh: int, said: dict[str, Any], limit: str
) -> None:
    answer = report(shared, fresh, status=422, **said)
    assert limit in answer["errors"][0]["detail"]


def test_many_reports_together_are_no_more_than_one_may_be(serve: Serve) -> None:
    api = serve()
    made = node(api, "web1")
    chunk = ["x" * 4000] * 30
    sizes = [
        api.put(f"nodes/{made}/discovery", {"discovery": {f"part-{at}": chunk}}, who=f"node:{made}").status_code
        for at in range(6)
    ]
    assert sizes == [200, 200, 200, 200, 422, 422]
    answer = report(api, made, status=422, more=chunk)
    assert f"What is known of web1.rack.example.com, with this report, has at most {reports.MOST_BYTES} bytes" in str(
        answer["errors"]
    )
    assert api.delete(f"nodes/{made}/discovery", who=f"node:{made}").status_code == 403
    assert api.delete(f"nodes/{made}/discovery").status_code == 204
    report(api, made, more=chunk)


def test_a_report_is_looked_at_before_anybody_must_wait_for_it(shared: Api, fresh: int) -> None:
    """Refused while another holds the graph's lock: it never asked for it."""
    for bad in ({"list": [1] * (reports.MOST_VALUES + 1)}, {"addresses": ["fd00::1%x"]}):
        with shared.parts.store.write(), pytest.raises(BadInput):
            nodes.change_node(shared.parts, SYSTEM, fresh, {"discovery": bad})


# ---------------------------------------------------------------- what a node's token opens


@pytest.fixture
def two(serve: Serve) -> tuple[Api, int, int, int]:
    """An application with its usual things: the thief's id, the victim's, and a run of the victim's."""
    api = serve()
    made = populate(api)
    victim, thief = made.nodes
    run = next(row["id"] for row in api.get("runs").get_json() if row["node_id"] == victim)
    return api, thief, victim, run


def test_another_node_cannot_be_reached_under_any_of_its_names(two: tuple[Api, int, int, int]) -> None:
    api, thief, victim, run = two
    api.token(f"node:{thief}")
    before = api.dump()
    for name in (victim, "web1.rack.example.com", "WEB1.rack.example.COM", f"0{victim}", f"%3{victim}", f"{victim}%20"):
        for method, path, body in (
            ("GET", "", None), ("GET", "/why", None), ("GET", "/attribs", None), ("GET", "/attribs/rack-unit", None),
            ("PUT", "/alive", {"alive": False}), ("PUT", "/discovery", {"discovery": {"cpus": 1}}),
            ("PUT", "/host_keys", {"host_keys": [KEY]}),
        ):  # fmt: skip
            answer = api.call(method, f"nodes/{name}{path}", who=f"node:{thief}", json=body)
            assert answer.status_code == 403, (method, name, path)
            assert "web1" not in answer.get_data(as_text=True).replace(f"nodes/{name}", "")
    assert api.put(f"runs/{run}/finish", {"succeeded": True}, who=f"node:{thief}").status_code == 403
    assert api.dump() == before


def test_a_node_sees_none_of_its_secrets_and_cannot_wish(two: tuple[Api, int, int, int]) -> None:
    api, thief, _, _ = two
    who = f"node:{thief}"
    for path in (f"nodes/{thief}/attribs?reveal=true", f"nodes/{thief}/attribs/rack-unit?reveal=true"):
        assert api.get(path, who=who).status_code == 403, path
    assert SECRET not in api.get(f"nodes/{thief}", who=who).get_data(as_text=True)
    for method, path, body in (
        ("PATCH", f"nodes/{thief}", {"hint": {"hint-admin-v4addr": "10.0.0.2"}}),
        ("PATCH", f"nodes/{thief}", {"available": True}),
        ("PUT", f"nodes/{thief}/attribs/rack-unit", {"value": 1}),
        ("PUT", f"nodes/{thief}/commit", {}),
        ("POST", "tokens", {"node_id": thief}),
        ("GET", f"nodes/{thief}/address_claims", None),
        ("GET", "status/inventory", None),
        ("GET", "nodes", None),
    ):  # fmt: skip
        assert api.call(method, path, who=who, json=body).status_code == 403, (method, path)


@pytest.mark.parametrize(
    "wall, says",
    [
        ({"base": {str(at): 1 for at in range(10_001)}}, "holds more than 10000 values"),
        ({"base": ["x" * 1000] * 1001}, "larger than 1000000 bytes"),
    ],
    ids=("values", "bytes"),
)
def test_the_end_of_a_run_is_bounded_before_anybody_must_wait_for_it(
    shared: Api, fresh: int, wall: dict[str, Any], says: str
) -> None:
    with shared.parts.store.write(), pytest.raises(BadInput, match=says):
        steering.finish_pending(shared.parts, SYSTEM, 1, succeeded=True, wall=wall)


HOSTILE = "<script>document.title='stolen'</script>\x1b]0;stolen\x07\x1b[2J\u202egpj.exe {{7*7}} ${7*7} "


def test_hostile_lines_are_shown_and_do_nothing(two: tuple[Api, int, int, int]) -> None:
    api, _, victim, run = two
    set_run(api, run, exit_reason=HOSTILE)
    long = HOSTILE + "x" * 100_000
    with api.parts.store.write(graph=False) as session:
        for seq, line in ((101, HOSTILE), (102, long)):
            session.execute(
                insert(table(RunLog)).values(run_id=run, seq=seq, at=datetime.now(UTC), stream="stdout", line=line)
            )
    report(api, victim, bios={"vendor": "<script>document.title='stolen'</script>"})
    browser = signed_in(api)
    for path in (f"/runs/{run}", "/runs", f"/nodes/{victim}", "/"):
        page = browser.get(path).get_data(as_text=True)
        assert "<script>document" not in page, path
        assert not {"\x1b", "\x07", "\u202e"} & set(page), path
        assert "49 49" not in page, path
    assert len(browser.get(f"/runs/{run}").get_data()) < 1_000_000
    stored = api.get(f"runs/{run}/log").get_json()[-1]["line"]
    assert visible(stored).isprintable()
