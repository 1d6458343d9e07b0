"""Asking first, for barclamps: a page that says what is lost and wants a name typed, and the act that wants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import TypeVar

from flask import Response, flash, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.services.cluster.losses import Loss
from crowbar_core.web.api.verbs import Action
from crowbar_core.web.ui.shell import act, page

T = TypeVar("T")


def ask_page(action: Action, name: str, *, lost: str, leave: str, subject: str = "") -> Response:
    """The page that an ``Action.asks`` leads to: what is ``lost``, in a sentence, and a form that wants ``name`` typed
    and is sent to the action's ``url``, whose view is ``act_asked``. ``leave`` is the page of those who do not;
    ``subject`` what it is about, in words, else the name.
    """
    loss = Loss(act=action.label, subject=subject or name, name=name, summary=lost, asks=True, sections=())
    return page(
        "ask.html", loss=loss, verb=action, fields=action.fields or {}, url=action.url, leave=leave,
        same=[replace(action, asks="")],
    )  # fmt: skip


def act_asked(name: str, work: Callable[[], T], done: str | Callable[[T], str], to: str, *, asks: str) -> BaseResponse:
    """As ``act``, once ``name`` was typed. A form without it, or with another, does nothing and leads to ``asks``, the
    page that asks: so no click alone destroys anything, from wherever the form is sent.
    """
    typed = request.form.get("typed", "").strip()
    if typed.casefold() == name.casefold():
        return act(work, done, to)
    if typed:
        flash(f"Nothing was done: the name that you typed is not {name}.", "refused")
    return redirect(asks, code=HTTPStatus.SEE_OTHER)
