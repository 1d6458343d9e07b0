"""Reading JSON without generosity: what is refused wherever it stands, and the last that is still taken."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import AwareDatetime, BaseModel, Field

from crowbar_core.errors import BadInput
from crowbar_core.web.api import strict


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"a": 9223372036854775808}', id="an integer over 63 bits"),
        pytest.param(b'{"a": -9223372036854775809}', id="one below them"),
        pytest.param(b'{"a": {"b": 1, "b": 1}}', id="a key twice"),
        pytest.param(b'{"a": [NaN]}', id="NaN"),
        pytest.param(b'{"a": -Infinity}', id="infinity"),
        pytest.param(b'{"a": 1e400}', id="more than a double holds"),
        pytest.param(b'{"a": "x\\u0000"}', id="NUL"),
        pytest.param(b'{"x\\u0000": 1}', id="NUL in a key"),
        pytest.param(b'{"a": "\\ud800"}', id="half of a surrogate pair"),
        pytest.param(b'{"a": "\xff"}', id="no UTF-8"),
        pytest.param(nested(101), id="101 levels"),
        pytest.param(b'{"a": "]", "b": ' + nested(100) + b"}", id="101 levels beside a bracket in a string"),
        pytest.param(b'{"a": ' * 101 + b"1" + b"}" * 101, id="101 levels of objects"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_readers_could_understand_differently_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput):
        strict.parse(text)


@pytest.mark.parametrize(
    "text,value",
    [
        (b'{"a": 9223372036854775807, "b": -9223372036854775808}', {"a": 2**63 - 1, "b": -(2**63)}),
        (b'{"a": {"b": 1}, "c": {"b": 1}}', {"a": {"b": 1}, "c": {"b": 1}}),
        (b'{"a": 1.7e308}', {"a": 1.7e308}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'"' + b"[" * 500 + b'"', "[" * 500),
        (b"null", None),
    ],
    ids=[
        "integers",
        "the same key in two objects",
        "a large number",
        "a surrogate pair",
        "brackets in a string",
        "null",
    ],
)
def test_what_is_plain_is_taken(text: bytes, value: Any) -> None:
    assert strict.parse(text) == value


def test_a_hundred_levels_are_taken() -> None:
    value = strict.parse(nested(100))
    for _ in range(99):
        (value,) = value
    assert value == []


NO_MOMENT = "This is no moment with its offset, for example 2026-12-31T18:00:00+00:00."


class Asked(BaseModel):
    password: str = Field(default="long enough", min_length=8, max_length=16)
    expires_at: AwareDatetime | None = None


@pytest.mark.parametrize(
    "field,value,said",
    [
        ("password", "short", "password: This is too short: 8 characters at least."),
        ("password", "x" * 17, "password: This is too long: 16 characters at most."),
        *(
            ("expires_at", text, f"expires_at: {NO_MOMENT}")
            for text in ("tomorrow", "2027-01-01", "2027-13-01T00:00:00Z", "2027-01-01T00:00:00")
        ),
    ],
)
def test_one_thing_that_is_wrong_is_the_sentence_in_words_of_people(field: str, value: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        strict.model(Asked, {field: value})
    assert refused.value.detail == said


def test_of_several_things_that_are_wrong_each_is_told() -> None:
    with pytest.raises(BadInput, match="see errors") as refused:
        strict.model(Asked, {"password": "short", "expires_at": "tomorrow"})
    assert [item.pointer for item in refused.value.errors] == ["/password", "/expires_at"]
