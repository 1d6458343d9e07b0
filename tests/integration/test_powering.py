"""Powering nodes: after the commit and at most once, by the next hammer when the best fails, secrets sealed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import select, update

from crowbar_core import CancelFlag, Json, NodeView, Power, Rerun, Role, TemporaryError
from crowbar_core.barclamp import Hammer
from crowbar_core.domain.attributes import MASK
from crowbar_core.errors import BadInput, NotFound, Refused
from crowbar_core.services.cluster import hammers, powering
from crowbar_core.services.engine.engine import Engine
from crowbar_core.services.engine.intents import apply_intents
from crowbar_core.services.engine.seat import LiveCluster
from crowbar_core.services.turns.turn import Actor
from crowbar_core.store import events
from crowbar_core.store.models import Audit, HammerRow, PowerOrder, table
from tests.integration.cluster import OPERATOR, Cluster, audit_rows, everything_at_rest
from tests.integration.conftest import NewCluster
from tests.services import wait_until

orders, audits, hammer_rows = table(PowerOrder), table(Audit), table(HammerRow)
NAME = "n.test.example"
SOMEBODY = Actor("barclamp somebody")
PASSWORD = "the-bmc-password"


class Bmc(Hammer):
    """What was asked of all of them is kept in ``said``; ``fails`` are those that fail, and how."""

    schema: ClassVar[Mapping[str, Json]] = {
        "type": "object",
        "properties": {"address": {"type": "string"}, "password": {"type": "string", "writeOnly": True}},
        "required": ["address"],
        "additionalProperties": False,
    }
    said: ClassVar[list[tuple[str, str, str]]] = []
    fails: ClassVar[dict[str, Exception]] = {}
    held: ClassVar[threading.Event] = threading.Event()
    heard: ClassVar[list[str]] = []
    kind = "bmc"

    def actions(self) -> tuple[str, ...]:
        return ("on", "off", "reset", "status", "boot-once-pxe")

    def perform(self, action: str) -> str:
        type(self).said.append((self.kind, self.node.name, action))
        if self.kind in self.fails:
            raise self.fails[self.kind]
        if action == "on":
            assert self.held.wait(180)
        return f"{action} by {self.kind}"


class Ssh(Bmc):
    schema: ClassVar[Mapping[str, Json]] = {}
    kind = "ssh"


def on_node_create(node: NodeView) -> None:
    Bmc.heard.append(node.name)


@pytest.fixture
def c(new_cluster: NewCluster) -> Iterator[Cluster]:
    cluster = new_cluster(Role(name="r"), hooks={"on_node_create": on_node_create})
    cluster.parts.registry._hammers.update({"bmc": Bmc, "ssh": Ssh})
    Bmc.said.clear()
    Bmc.heard.clear()
    Bmc.fails.clear()
    Bmc.held.set()
    cluster.node("n")
    hammers.add_hammer(cluster.parts, OPERATOR, cluster.nodes["n"], name="ssh", priority=1, config={"x": PASSWORD})
    hammers.add_hammer(
        cluster.parts, OPERATOR, cluster.nodes["n"], name="bmc", priority=9,
        config={"address": "192.0.2.7", "password": PASSWORD},
    )  # fmt: skip
    yield cluster
    Bmc.held.set()


def perform(c: Cluster, *, died: bool = False) -> int:
    due = powering.due(c.parts, died=lambda worker: died)
    for one in due:
        powering.carry_out(c.parts, one, "me")
    return len(due)


def order(c: Cluster, *actions: str) -> None:
    apply_intents(c.parts, SOMEBODY, [Power(node=NAME, action=action) for action in actions])


def problems(c: Cluster) -> list[tuple[str, str, str]]:
    found = table_of_problems()
    return [(row.plugin, row.hook, row.error) for row in c.rows(select(found))]


def table_of_problems() -> Any:
    return events.hook_errors


# ---------------------------------------------------------------- after the commit, at most once


def test_power_is_performed_after_the_commit_once_and_in_order(c: Cluster) -> None:
    order(c, "reset", "boot-once-pxe")
    assert Bmc.said == []
    assert [perform(c), perform(c), perform(c)] == [1, 1, 0]
    assert Bmc.said == [("bmc", NAME, "reset"), ("bmc", NAME, "boot-once-pxe")]
    rows = c.rows(select(orders).order_by(orders.c.id))
    assert [(row.action, row.actor, row.result, row.error) for row in rows] == [
        ("reset", "barclamp somebody", "reset by bmc", ""),
        ("boot-once-pxe", "barclamp somebody", "boot-once-pxe by bmc", ""),
    ]


def test_intents_that_are_refused_power_nothing(c: Cluster) -> None:
    with pytest.raises(Refused, match="can 'explode'; they can: boot-once-pxe, off, on, reset, status"):
        apply_intents(c.parts, SOMEBODY, [Power(node=NAME, action="reset"), Power(node=NAME, action="explode")])
    with pytest.raises(NotFound):
        apply_intents(c.parts, SOMEBODY, [Power(node=NAME, action="reset"), Rerun(node=NAME, role="r")])
    assert perform(c) == 0
    assert Bmc.said == []


def test_an_order_that_somebody_has_begun_is_begun_by_nobody_else(c: Cluster) -> None:
    order(c, "reset")
    (one,) = powering.due(c.parts, died=lambda worker: False)
    powering.carry_out(c.parts, one, "me")
    powering.carry_out(c.parts, one, "another")
    assert len(Bmc.said) == 1


def test_an_order_whose_performer_died_is_not_performed_again_and_that_is_said(c: Cluster) -> None:
    order(c, "reset", "off")
    with c.parts.store.write() as session:
        first = select(orders.c.id).order_by(orders.c.id).limit(1).scalar_subquery()
        session.execute(update(orders).where(orders.c.id == first).values(begun_at=orders.c.ordered_at, worker="gone"))
    assert perform(c) == 0  # it may be at work
    perform(c, died=True)
    assert Bmc.said == [("bmc", NAME, "off")]
    assert problems(c) == [
        ("somebody", "power reset", f"{NAME}: whoever performed it has gone: nobody knows whether it was done")
    ]


def test_an_order_that_nobody_began_in_time_is_left_undone_and_that_is_said(c: Cluster) -> None:
    order(c, "reset")
    c.clock.advance(301.0)
    assert perform(c) == 0
    assert Bmc.said == []
    assert problems(c) == [
        ("somebody", "power reset", f"{NAME}: nobody could perform it within 300 s; it is left undone")
    ]


def test_a_failure_is_shown_until_it_succeeds_and_stands_in_the_audit_trail(c: Cluster) -> None:
    Bmc.fails.update(bmc=Refused("the BMC says no"))
    order(c, "reset")
    perform(c)
    assert problems(c) == [("somebody", "power reset", f"{NAME}: the BMC says no")]
    said = c.rows(select(audits.c.actor, audits.c.detail).where(audits.c.action == "node.power"))
    assert [(row.actor, row.detail) for row in said] == [
        ("barclamp somebody", {"action": "reset", "error": "the BMC says no"})
    ]
    Bmc.fails.clear()
    order(c, "reset")
    perform(c)
    assert problems(c) == []


def test_a_slow_hammer_holds_up_neither_events_nor_other_nodes(new_cluster: NewCluster, c: Cluster) -> None:
    c.node("o")
    hammers.add_hammer(c.parts, OPERATOR, c.nodes["o"], name="bmc", config={"address": "192.0.2.8"})
    Bmc.held.clear()
    engine = Engine(c.parts)
    engine.start(executor=False)
    try:
        order(c, "on")
        wait_until(lambda: Bmc.said, seconds=60, what="the slow one is at work")
        c.node("made-meanwhile")
        wait_until(lambda: "made-meanwhile.test.example" in Bmc.heard, seconds=60, what="its event is delivered")
        apply_intents(c.parts, SOMEBODY, [Power(node="o.test.example", action="reset")])
        wait_until(lambda: ("bmc", "o.test.example", "reset") in Bmc.said, seconds=60, what="the other is powered")
        assert c.rows(select(orders.c.finished_at).where(orders.c.action == "on"))[0].finished_at is None
        Bmc.held.set()
        wait_until(
            lambda: c.rows(select(orders.c.result).where(orders.c.action == "on"))[0].result == "on by bmc",
            seconds=60, what="the slow one has ended",
        )  # fmt: skip
    finally:
        Bmc.held.set()
        engine.stop(timeout=3.0)


# ---------------------------------------------------------------- the next hammer


def test_a_hammer_that_fails_for_the_moment_lets_the_next_one_try(c: Cluster) -> None:
    Bmc.fails.update(bmc=TemporaryError("the BMC does not answer"))
    assert hammers.power(c.parts, OPERATOR, c.nodes["n"], "reset") == "reset by ssh"
    Bmc.fails.update(ssh=TemporaryError("nor does sshd"))
    with pytest.raises(TemporaryError, match="bmc: the BMC does not answer; ssh: nor does sshd"):
        hammers.power(c.parts, OPERATOR, c.nodes["n"], "reset")


@pytest.mark.parametrize("failure", [Refused("not this one"), ValueError("a bug")])
def test_a_hammer_that_fails_for_good_is_not_stood_in_for(c: Cluster, failure: Exception) -> None:
    Bmc.fails.update(bmc=failure)
    with pytest.raises(Refused):
        hammers.power(c.parts, OPERATOR, c.nodes["n"], "reset")
    assert Bmc.said == [("bmc", NAME, "reset")]


def test_a_hammer_whose_package_is_gone_keeps_no_other_from_working(c: Cluster) -> None:
    del c.parts.registry._hammers["bmc"]
    assert hammers.power(c.parts, OPERATOR, c.nodes["n"], "reset") == "reset by ssh"


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize("config", [{}, {"address": 7}, {"address": "a", "colour": "red"}])
def test_a_configuration_that_breaks_the_schema_is_refused(c: Cluster, config: dict[str, Json]) -> None:
    c.node("o")
    with pytest.raises(BadInput, match="config of the hammer bmc") as caught:
        hammers.add_hammer(c.parts, OPERATOR, c.nodes["o"], name="bmc", config={"password": PASSWORD, **config})
    assert PASSWORD not in str((caught.value.detail, caught.value.errors)), "it has a secret: no value of it is told"


def configs(c: Cluster) -> dict[str, dict[str, Json]]:
    rows = c.rows(select(hammer_rows.c.id, hammer_rows.c.name))
    with c.parts.store.read() as session:
        shown = hammers.shown_configs(c.parts, session, [row.id for row in rows])
    return {row.name: shown[row.id] for row in rows}


def test_secrets_are_sealed_at_rest_and_shown_masked(c: Cluster, tmp_path: Path) -> None:
    assert configs(c) == {"bmc": {"address": "192.0.2.7", "password": MASK}, "ssh": {"x": MASK}}
    assert PASSWORD not in everything_at_rest(c, tmp_path)


def test_a_hammer_is_changed_key_by_key_and_a_masked_secret_stays(c: Cluster) -> None:
    ref = c.rows(select(hammer_rows.c.id).where(hammer_rows.c.name == "bmc"))[0].id
    hammers.change_hammer(
        c.parts, OPERATOR, ref, priority=0, config={"address": "192.0.2.9", "password": MASK}
    )  # fmt: skip
    found = [hammer for name, hammer in hammers._hammers(c.parts, c.nodes["n"])]
    assert [type(one) for one in found] == [Ssh, Bmc]
    assert found[1].config == {"address": "192.0.2.9", "password": PASSWORD}
    hammers.change_hammer(c.parts, OPERATOR, ref, config={"password": None})
    assert configs(c)["bmc"] == {"address": "192.0.2.9"}
    with pytest.raises(BadInput):
        hammers.change_hammer(c.parts, OPERATOR, ref, config={"address": None})
    assert ("hammer.change", f"node {NAME}", OPERATOR.name) in c.audited()


def test_the_audit_says_what_a_hammer_was_and_is_but_of_a_secret_only_that_it_changed(c: Cluster) -> None:
    ref = {row.name: row.id for row in c.rows(select(hammer_rows.c.id, hammer_rows.c.name))}
    more: dict[str, Json] = {"address": "192.0.2.9", "password": "an0ther-one"}
    hammers.change_hammer(c.parts, OPERATOR, ref["bmc"], priority=7, config=more)
    hammers.change_hammer(c.parts, OPERATOR, ref["bmc"], config={"address": "192.0.2.9", "password": MASK})
    hammers.change_hammer(c.parts, OPERATOR, ref["ssh"], config={"x": "hush-hush"})
    rows = c.rows(select(audit_rows.c.detail).where(audit_rows.c.action == "hammer.change").order_by(audit_rows.c.id))
    first, same, unknown = (row.detail for row in rows)
    assert first["changed"]["priority"]["new"] == 7
    assert first["changed"]["config/address"] == {"old": "192.0.2.7", "new": "192.0.2.9"}
    assert first["changed"]["config/password"] == {"old": MASK, "new": MASK}
    assert same["changed"] == {}
    assert unknown["changed"] == {"config/x": {"old": MASK, "new": MASK}}, "nothing says that it is no secret"
    for secret in (PASSWORD, "an0ther-one", "hush-hush"):
        assert secret not in str((first, same, unknown))


# ---------------------------------------------------------------- consoles


class Heard(Ssh):
    """Passes on one line, and waits for its end."""

    kind = "heard"

    def console(self, heard: Callable[[bytes], None], stopped: CancelFlag) -> bool:
        if self.kind in self.fails:
            raise self.fails[self.kind]
        heard(f"{self.node.name} says hello".encode())
        return stopped.wait(60)


def test_a_console_is_heard_by_the_best_hammer_that_can(c: Cluster) -> None:
    said: list[bytes] = []
    stopped = threading.Event()
    stopped.set()
    seat = LiveCluster(c.parts)
    assert not seat.console(NAME, said.append, stopped), "none of its hammers knows of a console"
    c.parts.registry._hammers["heard"] = Heard
    for priority in (2, 20):
        made = hammers.add_hammer(c.parts, OPERATOR, c.nodes["n"], name="heard", priority=priority)
        assert seat.console(NAME, said.append, stopped)
        assert said.pop() == f"{NAME} says hello".encode()
        Bmc.fails["heard"] = TemporaryError("it is another's")
        with pytest.raises(TemporaryError, match="it is another's"):
            seat.console(NAME, said.append, stopped)
        Bmc.fails["heard"] = ZeroDivisionError("oh")
        with pytest.raises(Refused, match=f"The hammer heard of {NAME} could not hear its console: .*oh"):
            seat.console(NAME, said.append, stopped)
        Bmc.fails.clear()
        hammers.remove_hammer(c.parts, OPERATOR, made)
    assert said == []
