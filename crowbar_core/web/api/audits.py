"""The audit trail: who did what, from where."""

from __future__ import annotations

from crowbar_core.web.api.collection import reading
from crowbar_core.web.api.nouns import AUDITS
from crowbar_core.web.api.routes import v2

reading(v2, AUDITS, parameter="audit", permission="operator")
