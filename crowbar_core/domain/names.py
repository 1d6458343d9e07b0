"""What may be a name or a description: pure checks that answer with the clean form or raise ``BadInput``.

Rejected text is never repeated in a message: it may be a secret that was pasted into the wrong field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crowbar_core.errors import BadInput, FieldError

LABEL_MAX: Final = 63
NODE_NAME_MAX: Final = 253
NODE_NAME_LABELS: Final = 3
PLAIN_NAME_MAX: Final = 64
DESCRIPTION_MAX: Final = 4096

RESERVED: Final = frozenset({"sample", "match"})
"""Words that have their own address in every collection of the API."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_DIGITS = re.compile(r"[0-9]+")


def some(names: Sequence[str], most: int, count: int | None = None) -> str:
    """The first ``most`` of these names and how many more there are: of ``count``, where not all of them were read."""
    more = (len(names) if count is None else count) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def natural(name: str) -> str:
    """What names are ordered by, compared as bytes: node-2 comes before node-10, whatever the case.

    Each number is written with the count of its digits before it. Names that differ have keys that differ.
    """
    lower = name.lower()
    key = _DIGITS.sub(lambda hit: f"{len(hit[0].lstrip('0') or '0'):03d}{hit[0].lstrip('0') or '0'}", lower)
    return f"{key} {lower}" if _DIGITS.search(lower) else key


def keyed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns to write, with ``name_key`` beside ``name``, if that is among them."""
    return {**values, "name_key": natural(values["name"])} if "name" in values else dict(values)


def pattern(value: str, *, pointer: str = "/match") -> str:
    """A pattern of names as SQL's LIKE has it, with ``\\`` to escape: ``*`` is any text, ``?`` one character."""
    if not value or len(value) > 255 or not value.isprintable():
        raise _bad(pointer, "A pattern of names has 1 to 255 characters, of which * is any text and ? one character.")
    escaped = re.sub(r"([%_\\])", r"\\\1", value.lower())
    return escaped.replace("*", "%").replace("?", "_")


def _bad(pointer: str, detail: str) -> BadInput:
    return BadInput(detail, errors=(FieldError(pointer=pointer, detail=detail),))


def node_name(value: str, *, pointer: str = "/name") -> str:
    """A node's name in its one written form: an FQDN of three labels or more, in lower case, without a trailing dot."""
    example = "for example web1.rack2.example.com"
    if not value.strip():
        raise _bad(pointer, f"A node needs a name: a host name with its domain, {example}.")
    if value.endswith("."):
        raise _bad(pointer, "A node's name has no trailing dot: leave the last dot out.")
    if len(value) > NODE_NAME_MAX:
        raise _bad(pointer, f"A node's name has at most {NODE_NAME_MAX} characters; this one has {len(value)}.")
    name = value.lower()
    labels = name.split(".")
    if len(labels) < NODE_NAME_LABELS:
        raise _bad(pointer, f"A node's name has at least {NODE_NAME_LABELS} labels separated by dots, {example}.")
    for place, label in enumerate(labels, start=1):
        if not label:
            raise _bad(pointer, f"Label {place} of the node's name is empty: put one dot between labels.")
        if len(label) > LABEL_MAX:
            raise _bad(
                pointer,
                f"Label {place} of the node's name has {len(label)} characters; at most {LABEL_MAX} are allowed.",
            )
        if not _LABEL.fullmatch(label):
            raise _bad(
                pointer,
                f"Label {place} of the node's name may hold only the letters a to z, digits and hyphens, "
                "and neither begin nor end with a hyphen.",
            )
    if labels[-1].isdigit():
        raise _bad(
            pointer, "The last label of a node's name is not a number: names that look like addresses are refused."
        )
    return name


def plain_name(value: str, *, what: str, pointer: str = "/name") -> str:
    """The name of a deployment, user, group or hammer: 1 to 64 letters, digits, dots, hyphens, underscores.

    Not digits alone, because everything is found by its id or by its name.
    """
    if not value.strip():
        raise _bad(pointer, f"A {what} needs a name.")
    if len(value) > PLAIN_NAME_MAX:
        raise _bad(pointer, f"The name of a {what} has at most {PLAIN_NAME_MAX} characters; this one has {len(value)}.")
    if not _PLAIN.fullmatch(value):
        raise _bad(
            pointer,
            f"The name of a {what} may hold only the letters A to Z and a to z, digits, dots, hyphens and underscores, "
            "and begins with a letter or digit.",
        )
    if value.isdigit():
        raise _bad(pointer, f"The name of a {what} may not be digits alone: that would read like an id.")
    if value.lower() in RESERVED:
        raise _bad(
            pointer, f"A {what} may not be called {' or '.join(sorted(RESERVED))}: the API uses these words itself."
        )
    return value


def label(value: str, *, what: str, pointer: str = "/name") -> str:
    """A name that is only shown, never looked up (a token's): one printable line of at most 64 characters."""
    if len(value) > PLAIN_NAME_MAX:
        raise _bad(pointer, f"The name of a {what} has at most {PLAIN_NAME_MAX} characters; this one has {len(value)}.")
    if not value.isprintable():
        raise _bad(pointer, f"The name of a {what} is one line of printable characters.")
    return value


def description(value: str, *, pointer: str = "/description") -> str:
    """Free text for people, at most 4096 characters, without NUL."""
    if len(value) > DESCRIPTION_MAX:
        raise _bad(pointer, f"A description has at most {DESCRIPTION_MAX} characters; this one has {len(value)}.")
    if "\x00" in value:
        raise _bad(pointer, "A description may not hold a NUL character.")
    return value
