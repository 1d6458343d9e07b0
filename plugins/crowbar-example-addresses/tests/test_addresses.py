"""The addresses on a core in this process, on both databases: what each hook is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import crowbar_example_addresses
import pytest
from crowbar_example_addresses.following import on_blocked
from crowbar_example_addresses.pool import held
from sqlalchemy import select

from crowbar_core import Json, PermanentError, Refused
from crowbar_core.testing import FakeJig, Testbed, check_barclamp

NETWORK = "10.7.0.0/29"  # six addresses


def core(fake_jig: FakeJig, **values: Any) -> Testbed:
    config: Mapping[str, Json] = {"network": NETWORK, **values.pop("config", {})}
    return Testbed(crowbar_example_addresses, jig=fake_jig, config={"example-addresses": config}, **values)


@pytest.fixture(params=["sqlite", "postgresql"])
def crowbar_database(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
    else:
        server = request.getfixturevalue("crowbar_postgres")
        url = server.create_database()
        yield url
        server.drop_database(url)


@pytest.fixture
def bed(fake_jig: FakeJig, crowbar_database: str) -> Iterator[Testbed]:
    with core(fake_jig, database_url=crowbar_database) as made:
        yield made
        assert made.hook_failures() == []
        assert made.problems() == []


def use(bed: Testbed) -> dict[str, str]:
    """Address -> what it is used for."""
    with bed.read() as session:
        return {row.address: row.use for row in session.execute(select(held))}


def add(bed: Testbed, *names: str) -> None:
    for name in names:
        bed.add_node(name)
        bed.bind("example-address", name)


def test_nothing_is_wrong_with_the_barclamp() -> None:
    assert check_barclamp(crowbar_example_addresses) == []


def test_on_node_bind_takes_the_first_address_that_is_free_and_on_node_unbind_gives_it_back(bed: Testbed) -> None:
    add(bed, "n1", "n2")
    assert list(use(bed)) == ["10.7.0.1", "10.7.0.2"]
    bed.unbind("example-address", "n1")
    add(bed, "n3")
    assert sorted(use(bed)) == ["10.7.0.1", "10.7.0.2"]


def test_check_binding_objects_when_no_address_is_free(bed: Testbed) -> None:
    add(bed, *(f"n{number}" for number in range(6)))
    bed.add_node("late")
    with pytest.raises(Refused, match=r"All addresses of 10\.7\.0\.0/29 are taken"):
        bed.bind("example-address", "late")


def test_check_node_objects_to_a_wish_that_cannot_be_had(bed: Testbed) -> None:
    add(bed, "n1")
    for wish, says in (
        ("10.8.0.1", "which no node of 10.7.0.0/29 can have"),
        ("10.7.0.7", "which no node of 10.7.0.0/29 can have"),
        ("10.7.0.1", "which another node has"),
    ):
        with pytest.raises(Refused, match=says):
            bed.add_node("n2", hint={"example-wish": wish})


def test_on_node_create_binds_a_node_that_comes_with_a_wish(bed: Testbed) -> None:
    bed.add_node("n1", hint={"example-wish": "10.7.0.5"})
    bed.add_node("n2")
    bed.deliver()
    assert use(bed) == {"10.7.0.5": "reserved"}
    assert bed.states() == {("example-address", "n1"): "PROPOSED"}


def test_on_commit_writes_down_since_when_an_address_is_held(bed: Testbed) -> None:
    add(bed, "n1", "n2")
    bed.commit()
    page = bed.browser("viewer").open("/nodes/n1.example.test")
    assert f"<dt>Held since</dt><dd>{bed.clock():%Y-%m-%dT%H:%M}" in page


def test_check_commit_objects_to_addresses_of_another_subnet(fake_jig: FakeJig, crowbar_database: str) -> None:
    with core(fake_jig, database_url=crowbar_database) as bed:
        add(bed, "n1")
        later = bed.twin(config={"example-addresses": {"network": "10.8.0.0/29"}})
        with pytest.raises(Refused, match=r"n1\.example\.test has 10\.7\.0\.1, which is not in 10\.8\.0\.0/29"):
            later.commit()


def test_the_table_follows_on_proposed_on_todo_on_transition_and_on_active(bed: Testbed) -> None:
    add(bed, "n1", "n2")
    bed.change_node("n2", alive=False)
    bed.deliver()
    assert use(bed) == {"10.7.0.1": "reserved", "10.7.0.2": "reserved"}
    bed.commit()
    bed.deliver()
    assert use(bed) == {"10.7.0.1": "being set up", "10.7.0.2": "waiting"}
    bed.anneal_until_quiet()
    assert use(bed) == {"10.7.0.1": "in use", "10.7.0.2": "waiting"}


def test_the_table_follows_on_error_and_on_run_finished_says_why(bed: Testbed, fake_jig: FakeJig) -> None:
    fake_jig.will(PermanentError("no such card"), role="example-address")
    add(bed, "n1")
    bed.commit()
    bed.anneal_until_quiet()
    assert use(bed) == {"10.7.0.1": "faulty"}
    assert "no such card" in bed.browser("viewer").open("/nodes/n1.example.test").partition("<h2>Address</h2>")[2]
    bed.retry("example-address", "n1")
    bed.anneal_until_quiet()
    assert use(bed) == {"10.7.0.1": "in use"}
    assert "<dt>Problem</dt>" not in bed.browser("viewer").open("/nodes/n1.example.test")


def test_the_table_follows_on_blocked(bed: Testbed) -> None:
    """The role waits for none here; with one that it requires it could."""
    add(bed, "n1")
    bed.commit()
    bed.anneal_until_quiet()
    with bed.serving():
        on_blocked(replace(bed.node_role("example-address", "n1"), state="BLOCKED"))
    assert use(bed) == {"10.7.0.1": "waiting"}


def test_on_node_change_moves_who_wishes_another_address_and_tells_the_roles_that_are_bound(
    bed: Testbed, fake_jig: FakeJig
) -> None:
    add(bed, "n1", "n2")
    bed.change_node("n1", hint={"example-wish": "10.7.0.5"})
    bed.deliver()
    assert use(bed) == {"10.7.0.5": "reserved", "10.7.0.2": "reserved"}, "what is only proposed has nothing to refresh"
    bed.bind("example-hosts", "n2")
    bed.commit()
    bed.anneal_until_quiet()
    before = len(fake_jig.ran("example-address", "n2"))
    bed.change_node("n1", hint={"example-wish": "10.7.0.6"})
    bed.anneal_until_quiet()
    assert fake_jig.ran("example-address", "n1")[-1].data["example-addresses"] == {"own": "10.7.0.6"}
    assert len(fake_jig.ran("example-address", "n2")) == before
    listed = "10.7.0.6 n1.example.test\n10.7.0.2 n2.example.test\n"
    assert fake_jig.ran("example-hosts", "n2")[-1].data == {"example-addresses": {"all": listed}}


def test_addresses_of_answers_for_nodes_that_have_theirs(bed: Testbed) -> None:
    add(bed, "n1", "n2")
    bed.change_node("n2", alive=False)
    bed.commit()
    bed.anneal_until_quiet()
    assert bed.node("n1").addresses == ("10.7.0.1",)
    assert bed.node("n2").addresses == ()


def test_data_of_lists_all_and_on_node_delete_has_the_list_written_anew(bed: Testbed, fake_jig: FakeJig) -> None:
    add(bed, "n1", "n2")
    bed.bind("example-hosts", "n1")
    bed.commit()
    bed.anneal_until_quiet()
    assert fake_jig.ran("example-address", "n2")[-1].data == {"example-addresses": {"own": "10.7.0.2"}}
    listed = {"all": "10.7.0.1 n1.example.test\n10.7.0.2 n2.example.test\n"}
    assert fake_jig.ran("example-hosts", "n1")[-1].data == {"example-addresses": listed}
    bed.delete_node("n2")
    bed.anneal_until_quiet()
    assert fake_jig.ran("example-hosts", "n1")[-1].data == {"example-addresses": {"all": "10.7.0.1 n1.example.test\n"}}


def test_jig_run_touches_no_node_where_the_settings_say_dry(fake_jig: FakeJig) -> None:
    with core(fake_jig, config={"dry": True}) as bed:
        add(bed, "n1")
        bed.commit()
        bed.anneal_until_quiet()
        assert bed.state("example-address", "n1") == "ACTIVE"
        assert fake_jig.ran("example-address", "n1") == []
        said = "\n".join(bed.log("example-address", "n1"))
        assert "dry: example-address would be set up on n1.example.test" in said


def test_a_subnet_that_is_none_is_said_at_the_start() -> None:
    with pytest.raises(Exception, match=r"network is no IPv4 subnet like 10\.7\.0\.0/24"):
        Testbed(crowbar_example_addresses, config={"example-addresses": {"network": "10.7.0.1/24"}})
