"""What is called as something of another installed barclamp is told by the check; the inventory is installed here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Blueprint

from crowbar_core import Attribute, Barclamp, Declared, Periodic, Role, hookimpl, requires
from crowbar_core.testing import check_barclamp, check_package


def plugin(*roles: Role, **hooks: Any) -> Any:
    definition = Barclamp(name="tests", roles=roles)
    found = {name: hookimpl(lambda answer=answer: answer) for name, answer in hooks.items()}
    return SimpleNamespace(register_barclamp=hookimpl(lambda: definition), **found)


def page(path: str, name: str = "tests") -> Blueprint:
    blueprint = Blueprint(name, __name__)
    blueprint.get(path)(requires("viewer")(lambda **_: ""))
    return blueprint


def said(what: Any) -> list[str]:
    return [problem.detail for problem in check_barclamp(what)]


@pytest.mark.parametrize(
    "what, says",
    [
        (
            plugin(register_blueprints=[page("/assets")]),
            "a route /assets, which overlaps with barclamp inventory's",
        ),
        (plugin(register_blueprints=[page("/api/v2/assets/<ref>")]), "overlaps with barclamp inventory's /api/v2/asse"),
        (
            plugin(register_blueprints=[page("/mine", "inventory")]),
            "'inventory' is called as one of barclamp inv",
        ),
        (plugin(register_blueprints=[page("/mine", "ui")]), "'ui' is called as one of the core"),
        (plugin(register_periodic=[Periodic(name="warranties", seconds=9, run=print)]), "job 'warranties', which bar"),
        (
            plugin(register_declared=[Declared(noun="assets", order=60)]),
            "collection 'assets', which barclamp inv",
        ),
        (
            plugin(Role(name="a", attributes=(Attribute(name="example-greeting"),))),
            "bring the attribute 'example-gr",
        ),
    ],
)
def test_what_another_barclamp_has_already_is_told_with_its_name(what: Any, says: str) -> None:
    (problem,) = said(what)
    assert says in problem


def test_an_address_that_begins_as_anothers_is_nobodys_but_its_own() -> None:
    assert said(plugin(register_blueprints=[page("/assets-of-mine"), page("/api/v2/my-assets", "tests_rest")])) == []


def test_a_command_that_another_package_brings_is_told_and_one_of_its_own_is_not(tmp_path: Path) -> None:
    (tmp_path / "clashing.py").write_text(
        "import click\nfrom crowbar_core import Barclamp, hookimpl\n"
        "assets = click.Group('assets')\n\n@hookimpl\ndef register_barclamp():\n    return Barclamp(name='clashing')\n"
    )
    project = '[project]\nname = "{}"\n[project.entry-points."crowbar.barclamps"]\nclashing = "clashing"\n'
    project += '[project.entry-points."crowbar.commands"]\nassets = "clashing:assets"\n'
    for name, says in (
        ("clashing", ["It brings a command 'assets', which the package crowbar-example-inventory brings already."]),
        ("crowbar_example.inventory", []),
    ):
        (tmp_path / "pyproject.toml").write_text(project.format(name))
        assert [problem.detail for problem in check_package(tmp_path)["clashing"]] == says
