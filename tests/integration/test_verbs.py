"""The table of verbs: what it names can be called, sent as a form and typed, and all that destroys is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from crowbar_core.cli.root import root
from crowbar_core.services.cluster import losses
from crowbar_core.web.api.verbs import CANCEL, VERBS, Verb, power
from tests.integration.api import Api, serving


@pytest.fixture
def api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path) as served:
        yield served


def test_each_verb_is_a_call_of_the_api_and_of_a_page_if_it_says_something_afterwards(api: Api) -> None:
    rules = {
        (method, re.sub(r"<[^>]+>", "7", rule.rule))
        for rule in api.app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    for verb in (*VERBS, power("off")):
        method, path, *_ = verb.api(7).split(" ")
        assert (method, path) in rules
        assert (("POST", verb.url(7).replace("/off", "/power")) in rules) is bool(verb.said), verb


@pytest.mark.parametrize(
    "verb", [one for one in (*VERBS, power("off")) if one.said], ids=lambda verb: f"{verb.noun}-{verb.name}"
)
def test_the_command_that_a_page_shows_for_a_verb_exists(verb: Verb) -> None:
    _, noun, word, _ = verb.command("NAME").removesuffix(" off").split(" ")
    context = click.Context(root)
    group = root.get_command(context, noun)
    assert isinstance(group, click.Group)
    assert word in group.list_commands(context)


def test_what_may_destroy_asks_and_nothing_else_does() -> None:
    asking = {(one.noun, one.name) for one in VERBS if one.asks}
    assert asking == {(noun, act) for noun, acts in losses.ACTS.items() for act in acts}


def test_a_button_shows_the_call_and_the_command_that_do_just_the_same() -> None:
    off = power("off").action(3, "web1")
    assert (off.api, off.cli) == ('PUT /api/v2/nodes/3/power {"action": "off"}', "crowbar nodes power web1 off")
    assert (off.asks, off.fields) == ("/ask/nodes/3/off", {"action": "off"})
    assert power("on").action(3).asks == "", "what stops nothing is done at once"
    assert CANCEL.action(5).cli == "crowbar runs cancel 5"
