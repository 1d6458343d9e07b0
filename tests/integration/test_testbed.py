"""A testbed is given hammers, calls periodic jobs, is asked by the command line, and has twins on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import crowbar_example_inventory
import pytest
from sqlalchemy import select, text

from crowbar_core import (
    Attribute,
    Barclamp,
    DefineRole,
    Done,
    Hammer,
    Intent,
    Json,
    NodeRoleView,
    NotFound,
    Periodic,
    Power,
    Role,
    SetAttribute,
    SetHammer,
    cluster,
    hookimpl,
)
from crowbar_core.tables import nodes
from crowbar_core.testing import Testbed


class Lamp(Hammer):
    """Remembers what it was told, of all nodes."""

    told: ClassVar[list[tuple[str, str]]] = []
    schema: ClassVar[Mapping[str, Json]] = {
        "type": "object",
        "properties": {"socket": {"type": "integer"}},
        "required": ["socket"],
    }

    def actions(self) -> tuple[str, ...]:
        return ("on", "off")

    def perform(self, action: str) -> str:
        self.told.append((self.node.name, action))
        return action


SEEN = Attribute(name="seen", schema={"type": "string"})


def barclamp() -> ModuleType:
    @hookimpl
    def register_barclamp() -> Barclamp:
        guest = Role(name="guest", jig="python", run=lambda task: Done(), abstract=True)
        return Barclamp(name="trial", roles=(Role(name="work"), guest), attributes=(SEEN,), defines=("guest-*",))

    @hookimpl
    def register_periodic() -> Iterable[Periodic]:
        return [Periodic(name="look-around", seconds=60, run=look_around), Periodic(name="break", seconds=60, run=fail)]

    @hookimpl(roles=("work",))
    def on_active(node_role: NodeRoleView) -> Iterable[Intent]:
        return [Power(node=node_role.node.name, action="off")]

    module = ModuleType("barclamp_trial")
    for function in (register_barclamp, register_periodic, on_active):
        setattr(module, function.__name__, function)
    return module


def look_around() -> None:
    with cluster().change() as change:
        for name in change.session.scalars(select(nodes.c.name).where(nodes.c.system.is_(False))).all():
            change.apply(SetAttribute(node=name, attribute="seen", value="yes"))


def fail() -> None:
    raise RuntimeError("the glasses are broken")


@pytest.fixture
def bed(database_url: str) -> Iterator[Testbed]:
    Lamp.told.clear()
    with Testbed(barclamp(), hammers={"lamp": Lamp}, database_url=database_url) as made:
        made.add_node("n1")
        yield made


def test_a_hammer_that_a_testbed_is_given_is_performed_when_a_hook_asks_for_power(bed: Testbed) -> None:
    bed.apply(SetHammer(node="n1.example.test", name="lamp", config={"socket": 7}))
    bed.bind("work", "n1")
    bed.commit()
    bed.anneal_until_quiet()
    assert Lamp.told == [("n1.example.test", "off")]
    assert [one["name"] for one in bed.web().get("/api/v2/available_hammers").json or ()] == ["lamp"]


def test_a_periodic_job_is_called_where_the_test_asks_for_it(bed: Testbed) -> None:
    bed.periodic("look-around")
    assert bed.value("seen", "n1") == "yes"
    with pytest.raises(RuntimeError, match="glasses"):
        bed.periodic("break")
    with pytest.raises(NotFound, match="a periodic job 'nap'; there are: break, look-around"):
        bed.periodic("nap")


def test_the_command_line_asks_the_testbed(bed: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWBAR_URL", "http://127.0.0.1:1")  # what is exported here counts for nothing there
    listed = bed.cli("nodes", "list", "--format", "json")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert [one["name"] for one in json.loads(listed.stdout)] == ["n1.example.test"]
    refused = bed.cli("nodes", "create", "n2.example.test", user="viewer")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "operator" in refused.stderr
    assert bed.cli("nodes", "frobnicate").exit_code == 2
    users = json.loads(bed.cli("users", "list", "--format", "json").stdout)
    # This one asks no server: it is given the same database.
    told = bed.cli("admin", "password", users[-1]["name"], stdin="a-new-passphrase-7\n")
    assert told.exit_code == 0, told.stderr


def test_a_twin_is_another_process_on_the_same_database(bed: Testbed) -> None:
    twin = bed.twin()
    bed.apply(DefineRole(role=Role(name="guest-ann", like="guest")))
    twin.bind("guest-ann", "n1")
    twin.commit()
    bed.anneal_until_quiet()
    assert twin.state("guest-ann", "n1") == "ACTIVE"
    assert twin.clock is bed.clock
    twin.close()
    assert bed.node("n1").name == "n1.example.test"


def test_a_twin_reads_secrets_of_the_other_and_leaves_nothing(database_url: str) -> None:
    with Testbed(barclamp(), database_url=database_url) as bed:
        with bed.change() as change:
            sealed = change.seal("s3cret")
        twin = bed.twin()
        with twin.change() as change:
            assert change.unseal(sealed) == "s3cret"
        home = Path(twin.parts.settings.data_dir)
        assert home.is_dir()
    assert not home.exists()


def test_a_twin_may_have_other_barclamps(bed: Testbed) -> None:
    assert bed.twin(crowbar_example_inventory, barclamp()).cli("assets", "list").exit_code == 0
    assert bed.web().get("/api/v2/assets").status_code == 404


@pytest.mark.parametrize("crowbar_database", ["sqlite", "postgresql"], indirect=True)
def test_the_fixture_crowbar_is_on_the_database_that_a_test_asks_for(
    crowbar: Testbed, request: pytest.FixtureRequest
) -> None:
    wanted = "sqlite" if "sqlite" in request.node.name else "postgresql"
    with crowbar.read() as session:
        assert session.get_bind().dialect.name == wanted
        assert session.scalar(text("SELECT count(*) FROM nodes WHERE system")) == 1


@pytest.fixture
def crowbar_barclamps() -> list[ModuleType]:
    return [barclamp()]
