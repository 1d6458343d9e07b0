"""Name filters: for which addresses one is meant (its matcher), and how they are called (its template).

network.category == "admin" and node.role == "web"     ->     {{node.shortname}}.web.example.org
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from crowbar_core import BadInput, FieldError

FIELDS = ("network.name", "network.category", "range.name", "deployment.name", "node.name", "node.role")
WORDS: Mapping[str, Callable[[Host, Address], str]] = {
    "node.name": lambda host, _: host.name,
    "node.shortname": lambda host, _: host.name.partition(".")[0],
    "node.domain": lambda host, _: host.name.partition(".")[2],
    "network.name": lambda _, address: address.network,
    "network.category": lambda _, address: address.category,
    "range.name": lambda _, address: address.range,
    "deployment.name": lambda host, _: host.deployment,
}
_CONDITION = re.compile(
    r"""\s*(?:(?P<field>[a-z]+\.[a-z]+)(?:\[\s*"(?P<key>[^"]{1,64})"\s*\])?)\s*(?P<how>==|!=)\s*"(?P<value>[^"]*)"\s*"""
)
_WORD = re.compile(r"\{\{\s*([a-z.]+)\s*\}\}")
_LITERAL = re.compile(r"[A-Za-z0-9.-]*")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A node as names see it. ``attributes`` are its hints and, below them, what was discovered of it."""

    id: int
    name: str
    deployment: str
    roles: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address (``ip``, without a prefix) of a node; network and range are '' where nobody keeps networks."""

    node_id: int
    ip: str
    network: str = ""
    category: str = "admin"
    range: str = ""


@dataclass(frozen=True, kw_only=True)
class Condition:
    field: str
    key: str
    equal: bool
    value: str

    def holds(self, host: Host, address: Address) -> bool:
        match self.field:
            case "node.role":
                found = self.value in host.roles
            case "node.attribute":
                found = _text(_at(host.attributes, self.key)) == self.value
            case _:
                found = WORDS[self.field](host, address) == self.value
        return found is self.equal


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Those with a lower ``priority`` come first: the first that names an address says what it is called in reverse."""

    id: int
    name: str
    matcher: str
    template: str
    priority: int = 50
    ttl: int = 300

    def matches(self, host: Host, address: Address) -> bool:
        return all(one.holds(host, address) for one in conditions(self.matcher))

    def render(self, host: Host, address: Address) -> str:
        """The name, in small letters; whether it is a host name is for others to say."""

        def word(found: re.Match[str]) -> str:
            known = WORDS.get(found[1])
            return known(host, address) if known is not None else ""

        return _WORD.sub(word, self.template).lower()


@lru_cache(maxsize=1000)
def conditions(matcher: str) -> tuple[Condition, ...]:
    """What a matcher asks for. Raises ``BadInput``."""
    if not matcher.strip():
        return ()
    found, at = [], 0
    while True:
        one = _CONDITION.match(matcher, at)
        if one is None:
            raise _bad("matcher", f'{matcher[at:].strip()!r} is no condition: write it as network.category == "admin".')
        name = one["field"].replace("net.", "network.", 1) if one["field"].startswith("net.") else one["field"]
        if name not in (*FIELDS, "node.attribute"):
            raise _bad("matcher", f"{one['field']} is nothing to ask for; there are {', '.join(FIELDS)} "
                       'and node.attribute["NAME"].')  # fmt: skip
        if (name == "node.attribute") != (one["key"] is not None):
            raise _bad("matcher", 'Write node.attribute["NAME"], and all else without brackets.')
        found.append(Condition(field=name, key=one["key"] or "", equal=one["how"] == "==", value=one["value"]))
        at = one.end()
        if at == len(matcher):
            return tuple(found)
        if not matcher.startswith("and ", at):
            raise _bad("matcher", f"{matcher[at:].strip()!r}: conditions are joined with the word and.")
        at += 4


def check_template(template: str) -> None:
    """Raises ``BadInput`` for what can never become a host name."""
    for word in _WORD.findall(template):
        if word not in WORDS:
            known = ", ".join("{{" + one + "}}" for one in WORDS)
            raise _bad("template", f"{{{{{word}}}}} stands for nothing; there are {known}.")
    rest = _WORD.sub("", template)
    if not _LITERAL.fullmatch(rest):
        odd = next(one for one in rest if not _LITERAL.fullmatch(one))
        raise _bad("template", f"No host name has {odd!r} in it: letters, digits, hyphens and dots are left.")
    if not template or template.endswith(".") or template.startswith(".") or ".." in template:
        raise _bad("template", "A host name has a part before and after each dot: write {{node.name}}, for example.")


def _bad(pointer: str, detail: str) -> BadInput:
    return BadInput(detail, errors=[FieldError(pointer=f"/{pointer}", detail=detail)])


def _at(tree: Any, path: str) -> Any:
    """What lies at a slash path, as attributes have it; None where there is nothing."""
    for part in path.split("/"):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
