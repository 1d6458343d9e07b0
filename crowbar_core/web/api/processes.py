"""The processes of this installation: which live, what they do, how busy they are."""

from __future__ import annotations

from crowbar_core.web.api.collection import reading
from crowbar_core.web.api.nouns import PROCESSES
from crowbar_core.web.api.routes import v2

reading(v2, PROCESSES, parameter="process")
