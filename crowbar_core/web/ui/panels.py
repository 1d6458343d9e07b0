"""What barclamps add to the core's pages: one that raises is shown as a line, and noted beside other failures."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from flask import current_app
from markupsafe import Markup, escape

from crowbar_core.barclamp import Panel
from crowbar_core.errors import told
from crowbar_core.plugins import Failure
from crowbar_core.web import auth

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A panel as it stands on the page: a body of HTML, or facts, or what went wrong."""

    title: str
    barclamp: str
    body: Markup = field(default_factory=Markup)
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def panels(on: str, subject: Any = None) -> list[Shown]:
    """The panels of a page, in their order; those that give nothing back are left out."""
    found = []
    for barclamp, panel in _registered():
        if panel.on == on and (shown := _show(barclamp, panel, subject)) is not None:
            found.append(shown)
    return found


def _registered() -> list[tuple[str, Panel]]:
    kept: list[tuple[str, Panel]] | None = current_app.extensions.get("crowbar-panels")
    if kept is None:  # register_panels is called once, as register_nav is
        kept = current_app.extensions["crowbar-panels"] = auth.parts().registry.panels()
    return kept


def _show(barclamp: str, panel: Panel, subject: Any) -> Shown | None:
    try:
        answer = panel.render() if subject is None else panel.render(subject)
        if answer is None:
            return None
        if isinstance(answer, Mapping):
            return Shown(title=panel.title, barclamp=barclamp, facts={str(name): answer[name] for name in answer})
        if isinstance(answer, Markup):
            return Shown(title=panel.title, barclamp=barclamp, body=answer)
        if isinstance(answer, str):
            text = Markup('<p class="body">{}</p>').format(escape(answer))
            return Shown(title=panel.title, barclamp=barclamp, body=text)
        raise TypeError(f"render returned {type(answer).__name__}, not Markup, text, a mapping or None")
    except (Exception, SystemExit) as error:  # noqa: BLE001  a barclamp may raise anything, and the page is the core's
        log.warning("panel failed", barclamp=barclamp, panel=panel.title, on=panel.on, error=told(error))
        failure = Failure(barclamp, "register_panels", told(error), traceback.format_exc())
        auth.parts().registry.note_unanswered(failure, **{panel.on: subject})
        return Shown(title=panel.title, barclamp=barclamp, error=told(error))
