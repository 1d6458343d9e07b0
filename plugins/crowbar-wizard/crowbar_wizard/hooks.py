"""What other barclamps answer: the steps that they bring. Whoever answers imports nothing of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crowbar_core import hookspec


@hookspec
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:  # type: ignore[empty-body]
    """Steps of the wizard, each as ``{"name", "title", "text", "order", "fields", "picture", "carry_out"}``.

    ``name`` is a word, ``order`` a number (the machine's own step is 10), ``text`` what a person should know first.
    ``fields`` are ``{"name", "label", "help", "default", "choices", "required", "secret"}``: answers are text, and with
    ``choices``, pairs of value and what is shown, one of those. ``carry_out(values, change, place)`` makes what was
    answered in a change of the core and returns a line for each thing made; it may raise ``BadInput`` with pointers to
    fields, and ``Refused``. It is also called to find out what is wrong with answers, and all of it undone then. By
    ``values`` each field has a text; ``place`` has ``machine``, the name of the node where Crowbar is, ``address``,
    where it is reached, with prefix length or without ('' both while that is not answered), and ``system``, the name
    of the system node. What it does beside the change waits for ``on_wizard_end``. ``picture(values)``, which
    may be left out, is shown below the fields, of answers that may be wrong: HTML as ``markupsafe.Markup``, or text.
    """


@hookspec
def on_wizard_end(place: Mapping[str, str], answers: Mapping[str, Mapping[str, str]]) -> None:
    """All was carried out: of each step that was not skipped the answers, but no secret ones. ``place``: see above."""
