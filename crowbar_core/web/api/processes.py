"""The processes of this installation: which live, how busy they are; the jobs that one of them does now and then."""

from __future__ import annotations

from crowbar_core.web.api.collection import reading
from crowbar_core.web.api.nouns import JOBS, PROCESSES
from crowbar_core.web.api.routes import v2

reading(v2, PROCESSES, parameter="process")
reading(v2, JOBS, parameter="periodic_job")
