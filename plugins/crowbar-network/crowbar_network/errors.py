"""How this barclamp says what is wrong with an input."""

from __future__ import annotations

from crowbar_core import BadInput, FieldError, Refused


def refused(field: str, detail: str) -> Refused:
    """Of one field, when it is right in itself and cannot be as things are."""
    return Refused(detail, errors=[FieldError(pointer=f"/{field}", detail=detail)])


def bad(field: str, detail: str) -> BadInput:
    """The error of one field of a body; ``field`` may be a path, as ``ranges/0/first``."""
    return BadInput(detail, errors=[FieldError(pointer=f"/{field}", detail=detail)])
