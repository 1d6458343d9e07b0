"""The kit of pages: what the core's own pages are made of, for barclamps.

A page is a template that extends ``crowbar/base.html``; or ``list_page`` or ``object_page``, which need none. Forms
lead to a POST whose view does its work within ``act``: it says how it went and goes back. Every action and form shows
the API call and the command that do the same. What destroys asks first: ``ask_page``, and ``act_asked`` for its form.
"""

from crowbar_core.web.api.verbs import Action
from crowbar_core.web.ui.asking import act_asked, ask_page
from crowbar_core.web.ui.plans import act_planned
from crowbar_core.web.ui.shell import act, field, form_body, found, number, page
from crowbar_core.web.ui.tables import Column, Form, Input, Rows, fragment, list_page, object_page, row, rows

__all__ = [
    "Action",
    "Column",
    "Form",
    "Input",
    "Rows",
    "act",
    "act_asked",
    "act_planned",
    "ask_page",
    "field",
    "form_body",
    "found",
    "fragment",
    "list_page",
    "number",
    "object_page",
    "page",
    "row",
    "rows",
]
