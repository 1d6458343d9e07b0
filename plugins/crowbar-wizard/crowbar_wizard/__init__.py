"""The first questions: from an empty database to a server that is ready for machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from flask import Blueprint

from crowbar_core import Barclamp, NavItem, Panel, Schema, hookimpl
from crowbar_wizard import account, hooks, machine
from crowbar_wizard.pages import PANEL, pages
from crowbar_wizard.rest import rest


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(name="wizard", help="The first questions: from an empty database to a server for machines.")


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_wizard.migrations")


@hookimpl
def register_hookspecs() -> ModuleType:
    return hooks


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [rest, pages]


@hookimpl
def register_nav() -> Iterable[NavItem]:
    return [NavItem(label="Setup", url="/wizard", order=90)]


@hookimpl
def register_panels() -> Iterable[Panel]:
    return [PANEL]


@hookimpl(optional=True)
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    return [account.step(), machine.step(place)]
