"""What it takes to tell servers of a change, among many nodes and among few; and that what is told of some nodes, in
whichever order things happen and whoever fails in between, is what would be told of all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_dhcp import database, marks, services
from crowbar_dhcp.drivers import Lease, Part, ServerDiffers, ServerDown
from crowbar_dhcp.looking import look
from crowbar_dhcp.serving import Reservation, Serving
from crowbar_dhcp.tables import faults, hosts, state, told
from sqlalchemy import Engine, event, select
from sqlalchemy.engine.cursor import CursorFetchStrategy

from crowbar_core import Barclamp, Json, NodeView, hookimpl
from crowbar_core.testing import FakeClock, FakeJig, PostgresServer, Testbed

API = "/api/v2"


class Files:
    """Says at once what many nodes boot."""

    asked: list[int]

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="files", help="Boot files.")

    @hookimpl
    def boots_of(self, nodes: Sequence[NodeView]) -> Mapping[int, Mapping[str, Json]]:
        self.asked.append(len(nodes))
        at = {"wrong": "no URL"}
        return {
            one.id: {"dhcp4": {"ipxe": at.get(one.bootenv, f"http://10.0.0.1/{one.bootenv}.ipxe")}} for one in nodes
        }


class Memory:
    """A DHCP server that keeps what it is told here. ``fails``: before or after it has taken it."""

    proxies = False

    def __init__(self) -> None:
        self.base: Serving | None = None
        self.has: frozenset[Reservation] = frozenset()
        self.told: list[str] = []
        self.fails: list[tuple[str, type[BaseException]]] = []

    def bring(self, wanted: Serving) -> Sequence[str]:
        return self._take("all", wanted, frozenset(wanted.reservations))

    def bring_some(self, part: Part) -> Sequence[str]:
        assert {one.mac for one in part.serving.reservations} <= part.macs
        if self.base is None:
            raise ServerDiffers("It has been made anew.")
        others = frozenset(one for one in self.has if one.mac not in part.macs)
        return self._take(f"{len(part.macs)}", part.serving, others.union(part.serving.reservations))

    def _take(self, what: str, base: Serving, has: frozenset[Reservation]) -> Sequence[str]:
        self.told.append(what)
        when, how = self.fails.pop() if self.fails else ("", OSError)
        if when == "before":
            raise how("It fails.")
        self.base, self.has = base, has
        if when == "after":
            raise how("It fails.")
        return []

    def differences(self, wanted: Serving) -> Sequence[str]:
        return []

    def check(self) -> None:
        pass

    def leases(self) -> Sequence[Lease]:
        return []


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements; of each row that is read there is an empty one more."""
    said: list[str] = []

    def note(_: Any, __: Any, statement: str, *more: Any) -> None:
        said.append(statement)

    fetch: Callable[..., Any] = CursorFetchStrategy.fetchall
    one: Callable[..., Any] = CursorFetchStrategy.fetchone
    patched = pytest.MonkeyPatch()

    def fetchall(self: Any, *given: Any) -> Any:
        found = fetch(self, *given)
        said.extend([""] * len(found))
        return found

    def fetchone(self: Any, *given: Any, **named: Any) -> Any:
        said.append("")
        return one(self, *given, **named)

    patched.setattr(CursorFetchStrategy, "fetchall", fetchall)
    patched.setattr(CursorFetchStrategy, "fetchone", fetchone)
    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        patched.undo()


class There:
    """A cluster with a network, a server that it tells, and barclamps that say what nodes boot."""

    def __init__(self, bed: Testbed, files: Files) -> None:
        self.bed, self.files, self.server, self.web = bed, files, Memory(), bed.web("operator")
        files.asked = []
        made = self.web.post(f"{API}/networks", json={
            "name": "admin", "category": "admin", "conduit": "?1g1",
            "ranges": [{"name": "host", "first": "10.0.0.10/16", "last": "10.0.9.0/16"}],
        })  # fmt: skip
        assert made.status_code == 201, made.json
        bed.bind("dhcp-database")
        bed.bind("dhcp-service")
        [bound] = bed.node_roles(role="dhcp-service")
        with bed.change() as change:
            services.register(change, bound.id, secret="", name="it", driver="kea", url="http://[::1]:1/", options={})
        bed.deliver()

    def add(self, first: int, last: int) -> None:
        with self.bed.change() as change:
            for number in range(first, last):
                mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
                change.create_node(f"n{number}.lab.test", hint={"hint-admin-macs": [mac]})

    def refresh(self) -> list[str]:
        """The statements that it takes, and an empty one for each row."""
        self.bed.deliver()
        self.files.asked.clear()
        with counted() as said, self.bed.serving():
            database.tell({}, print, connect=lambda _: self.server)  # type: ignore[return-value]
        return said

    def whole(self) -> Serving:
        with self.bed.serving():
            return look({}, None).serving

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that is kept of nodes, but for the numbers of rows."""
        with self.bed.read() as session:
            return {
                table.name: sorted(
                    (tuple(getattr(one, column.name) for column in table.c if (table, column.name) != (faults, "id"))
                     for one in session.execute(select(table)).all()), key=repr,
                )
                for table in (hosts, told, state, faults)
            }  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    files = Files()
    made: dict[str, Any] = {"jigs": {"network": FakeJig()}, "clock": FakeClock()}
    barclamps = (crowbar_jig_script, crowbar_network, crowbar_dhcp, files)
    if request.param == "sqlite":
        with Testbed(*barclamps, **made) as bed:
            yield There(bed, files)
        return
    with PostgresServer() as server, Testbed(*barclamps, database_url=server.create_database(), **made) as bed:
        yield There(bed, files)


def test_to_tell_of_one_node_takes_as_many_statements_and_rows_among_many_nodes_as_among_few(there: There) -> None:
    def one(what: str) -> list[str]:
        there.bed.change_node("n1.lab.test", bootenv=what)
        said = there.refresh()
        assert (there.server.told.pop(), there.files.asked) == ("1", [1])
        assert there.bed.node("n1.lab.test").served_bootenv == what
        return said

    there.add(0, 4)
    there.refresh()
    assert there.server.told.pop() == "all"
    one("rescue")
    few = one("debian-13")
    there.add(4, 300)
    there.refresh()
    assert there.server.told.pop() == "296"
    one("rescue")
    many = one("debian-13")
    assert len(many) == len(few), [one for one in many if one not in few]
    with there.bed.serving():
        marks.follow(marks.EVERYBODY)
    every = there.refresh()
    assert there.files.asked == [300]
    assert len(every) > 900  # all nodes, all that is kept of them, and all that was told of them
    assert not [one for one in every if one.startswith(("INSERT", "UPDATE", "DELETE")) and "dhcp_hosts" in one]
    assert len([one for one in every if one]) <= len([one for one in few if one])  # boots are asked of all at once
    assert there.server.told == []  # nothing is otherwise


def test_what_is_told_of_some_nodes_is_what_would_be_told_of_all(there: There) -> None:
    """Nodes come, go, are called, addressed and booted otherwise, and have MACs of others; the network changes; telling
    fails, or is cut off before and after the server has taken it; what is heard is heard twice, and late.
    """
    chance, web, bed = random.Random(5), there.web, there.bed
    for one in _nodes(bed)[8:]:
        bed.delete_node(one.name)
    names: list[str] = []

    def create(step: int) -> None:
        names.append(f"n{step}.d{chance.choice('aaab')}.test")
        bed.add_node(names[-1], hint={"hint-admin-macs": macs()}, alive=False)

    def macs() -> list[str]:
        return [f"52:54:00:09:00:{chance.randrange(16):02x}" for _ in range(chance.randrange(3))]

    def rename(step: int) -> None:
        name = chance.choice(names)
        names[names.index(name)] = new = chance.choice([f"r{step}.da.test", f"r_{step}.da.test"])
        answer = web.patch(f"{API}/nodes/{name}", json={"name": new})
        if answer.status_code != 200:
            names[names.index(new)] = name

    def address(step: int) -> None:
        given = {"node_id": chance.choice(names), "suggestion": f"10.0.1.{step}"}
        web.post(f"{API}/networks/admin/allocate_ip", json=given)

    def free(step: int) -> None:
        for one in web.get(f"{API}/nodes/{chance.choice(names)}/network_allocations").json[:1]:
            web.delete(f"{API}/network_allocations/{one['id']}")

    def cards(step: int) -> None:
        bed.change_node(chance.choice(names), hint={"hint-admin-macs": macs()})

    def boot(step: int) -> None:
        bed.change_node(chance.choice(names), bootenv=chance.choice(["local", "rescue", "wrong"]))

    def delete(step: int) -> None:
        bed.delete_node(names.pop(chance.randrange(len(names))))

    def network(step: int) -> None:
        assert web.patch(f"{API}/networks/admin", json={"mtu": 1400 + step}).status_code == 200

    def again(step: int) -> None:
        with bed.change() as change:
            marks.note(change, [one.id for one in _nodes(bed)][:2])

    deeds = [create, create, create, rename, rename, address, free, cards, cards, boot, boot, delete, network, again]
    whats = []
    for step in range(70):
        deed = create if len(names) < 3 else chance.choice(deeds)
        deed(step)
        if chance.random() < 0.3:
            continue  # the next is heard together with it
        for how in (ServerDown, KeyboardInterrupt):
            if chance.random() < 0.1:
                there.server.fails.append((chance.choice(["before", "after"]), how))
        try:
            there.refresh()
        except KeyboardInterrupt:  # as one that is killed
            continue
        there.server.fails.clear()
        if "is not told" in str(bed.problems()):
            assert there.server.told[-1:]
            continue
        whats.append(there.server.told[-1] if there.server.told else "")
        _all_is_told(there, f"step {step}: {deed.__name__}")
    there.server.fails.clear()
    there.refresh()
    assert len([one for one in whats if one.isdigit()]) > 20, whats
    assert "all" in whats


def _nodes(bed: Testbed) -> list[NodeView]:
    with bed.serving() as here:
        return [one for one in here.nodes() if not one.system]


def _all_is_told(there: There, when: str) -> None:
    wanted, server = there.whole(), there.server
    assert server.has == frozenset(wanted.reservations), when
    assert server.base is not None
    for name in ("subnets", "boots", "strangers", "options"):
        assert getattr(server.base, name) == getattr(wanted, name), (when, name)
    kept = there.tables()
    with there.bed.change() as change:
        marks.note(change, [marks.EVERYBODY])
    before = len(server.told)
    there.refresh()
    assert (there.tables(), server.told[before:]) == (kept, []), when


def test_a_server_that_lost_what_it_had_is_told_all_at_once(there: There) -> None:
    there.bed.add_node("lost.lab.test", hint={"hint-admin-macs": ["52:54:00:0a:00:01"]}, alive=False)
    there.refresh()
    there.server.base = None
    there.bed.change_node("lost.lab.test", bootenv="rescue")
    there.refresh()
    assert there.server.told[-1] == "all"
    assert there.bed.node("lost.lab.test").served_bootenv == "rescue"
    assert there.server.has == frozenset(there.whole().reservations)


def test_what_was_told_by_a_run_that_was_killed_and_is_wanted_no_more_is_taken_back(there: There) -> None:
    macs = [f"52:54:00:0b:00:0{number}" for number in range(3)]
    there.bed.add_node("cut.lab.test", hint={"hint-admin-macs": macs[:1]}, alive=False)
    there.refresh()
    there.bed.change_node("cut.lab.test", hint={"hint-admin-macs": [macs[1]]})
    there.server.fails.append(("after", KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        there.refresh()
    there.bed.change_node("cut.lab.test", hint={"hint-admin-macs": [macs[2]]})
    there.refresh()
    assert {one.mac for one in there.server.has if one.mac in macs} == {macs[2]}
