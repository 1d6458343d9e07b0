"""Types that request bodies share: names, descriptions, references by id or name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from crowbar_core.domain import names
from crowbar_core.errors import BadInput, FieldError, NotFound
from crowbar_core.store.listing import ID_MAX, Listing, find_ids
from crowbar_core.web.api.collection import found_id
from crowbar_core.web.auth import parts


def checked(check: Callable[[str], str]) -> Callable[[str], str]:
    """A check of ``domain.names`` as a pydantic validator: its refusal is one of several errors of a body."""

    def validate(value: str) -> str:
        try:
            return check(value)
        except BadInput as error:
            raise ValueError(error.detail) from None

    return validate


def formed(pattern: str, words: str) -> AfterValidator:
    """Text of a form that is told in words: a pattern is no help to whoever got it wrong."""
    compiled = re.compile(pattern, re.ASCII)

    def validate(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(words)
        return value

    return AfterValidator(validate)


Name = Annotated[str, AfterValidator(checked(lambda value: names.plain_name(value, what="thing")))]
NodeName = Annotated[str, AfterValidator(checked(names.node_name))]
Description = Annotated[str, AfterValidator(checked(names.description))]
DeploymentName = Annotated[str, AfterValidator(checked(lambda value: names.plain_name(value, what="deployment")))]
GroupName = Annotated[str, AfterValidator(checked(lambda value: names.plain_name(value, what="group")))]
UserName = Annotated[str, AfterValidator(checked(lambda value: names.plain_name(value, what="user")))]
BootEnv = Annotated[str, AfterValidator(checked(lambda value: names.plain_name(value, what="boot environment")))]
TokenName = Annotated[str, AfterValidator(checked(lambda value: names.label(value, what="token")))]

Small = Annotated[int, Field(ge=-ID_MAX, le=ID_MAX)]


def _reference(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("This is an id (a number) or a name.")
    if isinstance(value, int) and not 0 <= value <= ID_MAX:
        raise ValueError(f"An id is a number from 0 to {ID_MAX}.")
    if isinstance(value, str) and not 0 < len(value) <= 255:
        raise ValueError("A name has 1 to 255 characters.")
    return value


# A plain check, not a union of types: pydantic would name the members of a union in the pointer.
Reference = Annotated[
    int | str,
    PlainValidator(_reference),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}], "description": "An id, or a name."}),
]


def resolve(listing: Listing, reference: int | str, field: str) -> int:
    """The id behind a reference in a body. Raises ``BadInput`` with a pointer when there is no such object."""
    try:
        return found_id(listing, reference)
    except NotFound as error:
        raise BadInput(error.detail, errors=(FieldError(pointer=f"/{field}", detail=error.detail),)) from None


def resolve_all(listing: Listing, references: Sequence[int | str], field: str) -> list[int]:
    """The ids behind a list of references in a body, each once, in their order. Raises ``BadInput`` as ``resolve``."""
    try:
        with parts().store.read() as session:
            return list(dict.fromkeys(find_ids(session, listing, references)))
    except NotFound as error:
        raise BadInput(error.detail, errors=(FieldError(pointer=f"/{field}", detail=error.detail),)) from None


def given(body: Any) -> dict[str, Any]:
    """The fields that the client sent, not those with defaults."""
    fields: dict[str, Any] = body.model_dump(exclude_unset=True)
    return fields
