"""The API keeps what its own OpenAPI text says, whatever it is sent: schemathesis makes the requests from that text.

Good ones and bad ones, by chance that is the same each time, against a cluster with something of everything in it. No
answer may be a server's error, and each status and body must be one that the text names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.api import Api, populate, serving

EXAMPLES = 6
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def crowd(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path) as api:
        populate(api)
        yield api


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
def test_every_operation_answers_as_its_text_says(crowd: Api, mode: GenerationMode) -> None:
    headers = {"Authorization": f"Bearer {crowd.token('admin')}"}
    contract = schemathesis.openapi.from_wsgi("/api/v2/openapi.json", crowd.app, headers=headers)
    broken: list[str] = []
    count = 0
    for found in contract.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def answers(case: schemathesis.Case[Any]) -> None:
            nonlocal count
            count += 1
            case.call_and_validate(headers=headers, checks=CHECKS)

        try:
            answers()
        except Unsatisfiable:
            continue  # it takes nothing that could be wrong
        except FailureGroup as group:
            broken += [f"{operation.label}: {one.title}\n{one.message}" for one in group.exceptions]
    assert not broken, f"{len(broken)} failures in {count} requests:\n" + "\n\n".join(broken)
    assert count > 150
