"""Attributes: values in layers, merged with provenance, checked by JSON Schema. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain.names import some
from crowbar_core.errors import BadInput, FieldError

SECRET = "$secret"
"""A secret rests in a tree as ``{"$secret": "<ciphertext>"}``."""
DIFFERING = "$differing"
"""Where the input of a run says what several parents say that differ: attribute -> list of ``{"node", "value"}``."""
MASK = "***"
MAX_VALUE_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_REPORT_VALUES = 10_000

GENERATED: Mapping[str, int] = {"token": 43}
"""What can be generated -> how many characters it has."""

Tree = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of values. ``subject`` names the object, e.g. ``deployment_role 4``."""

    source: str
    subject: str
    data: Tree


@dataclass(frozen=True, slots=True)
class Found:
    """What one layer says of an attribute. ``wins``: it decides the value (or, for objects, a part of it)."""

    layer: Layer
    is_set: bool
    value: Json
    wins: bool


def merge(low: Json, high: Json) -> Json:
    """Objects are merged deeply; anything else is replaced. Neither argument is changed."""
    if isinstance(low, Mapping) and isinstance(high, Mapping) and SECRET not in high and SECRET not in low:
        merged = dict(low)
        for key, value in high.items():
            merged[key] = merge(merged[key], value) if key in merged else value
        return merged
    return high


def lookup(tree: Json, path: Sequence[str]) -> tuple[bool, Json]:
    """(is it there, the value) at a path of object keys."""
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return False, None
        tree = tree[key]
    return True, tree


def place(tree: Tree, path: Sequence[str], value: Json) -> dict[str, Json]:
    """The tree with ``value`` at ``path``; whatever stood in the way is replaced."""
    head, rest = path[0], path[1:]
    if not rest:
        return {**tree, head: value}
    below = tree.get(head)
    return {**tree, head: place(below if isinstance(below, Mapping) else {}, rest, value)}


def remove(tree: Tree, path: Sequence[str]) -> dict[str, Json]:
    """The tree without the value at ``path``; objects left empty by it go too."""
    head, rest = path[0], path[1:]
    if head not in tree:
        return dict(tree)
    others = {key: value for key, value in tree.items() if key != head}
    if rest and isinstance(tree[head], Mapping):
        below = remove(tree[head], rest)
        return {**others, head: below} if below else others
    return others if not rest else dict(tree)


def resolve(attribute: Attribute, layers: Sequence[Layer]) -> tuple[bool, Json]:
    """The attribute's value from layers, low to high, above its default. (False, None) when nothing says anything."""
    is_set, value = attribute.default is not None, attribute.default
    for layer in layers:
        found, here = lookup(layer.data, attribute.path)
        if found:
            value = merge(value, here) if is_set else here
            is_set = True
    return is_set, value


def explain(attribute: Attribute, layers: Sequence[Layer]) -> list[Found]:
    """Every layer's word on the attribute, low to high, starting with its default."""
    said: list[tuple[Layer, bool, Json]] = [
        (Layer("default", f"attribute {attribute.name}", {}), attribute.default is not None, attribute.default)
    ]
    for layer in layers:
        found, value = lookup(layer.data, attribute.path)
        said.append((layer, found, value))
    result: list[Found] = []
    covered = False
    for layer, found, value in reversed(said):
        result.append(Found(layer, found, value, found and not covered))
        # An object lets the objects below it show through; anything else hides them.
        covered = covered or (found and not (isinstance(value, Mapping) and SECRET not in value))
    return result[::-1]


def resolve_tree(attributes: Iterable[Attribute], layers: Sequence[Layer]) -> dict[str, Json]:
    """The values of several attributes, each at its place in one tree."""
    tree: dict[str, Json] = {}
    for attribute in attributes:
        is_set, value = resolve(attribute, layers)
        if is_set:
            tree = place(tree, attribute.path, value)
    return tree


def check_declared(role: str, attributes: Sequence[Attribute], template: Tree) -> None:
    """Raise ``BadInput`` unless these can be a role's attributes (``""``: those that live on nodes), and the role's
    template says of them what their schemas allow.
    """
    for attribute in attributes:
        check_schema(attribute)
        if attribute.generate and not role:
            raise BadInput(f"Attribute {attribute.name} lives on nodes: only what a role has is generated.")
        found, value = lookup(template, attribute.path)
        if found:
            try:
                check_value(attribute, value)
            except BadInput as error:
                raise BadInput(f"The template of role {role} does not fit. {error.detail}") from error


def check_schema(attribute: Attribute) -> None:
    """Raise ``BadInput`` if the attribute's schema is not JSON Schema 2020-12, its default breaks it, or a value of it
    is to be generated that cannot be.
    """
    try:
        Draft202012Validator.check_schema(attribute.schema)
    except SchemaError as error:
        raise BadInput(f"Attribute {attribute.name} has an invalid schema: {error.message}.") from error
    if (strange := _unknown_keyword(attribute.schema)) is not None:
        near = difflib.get_close_matches(strange, sorted(_KEYWORDS), n=1)
        raise BadInput(
            f"Attribute {attribute.name} has a schema with the keyword {strange!r}, which JSON Schema 2020-12 does not "
            f"know{f'; did you mean {near[0]}?' if near else '.'}"
        )
    if _remote_reference(attribute.schema):
        raise BadInput(f"Attribute {attribute.name} has a schema with a $ref out of itself. Write the schema in full.")
    if attribute.default is not None:
        check_value(attribute, attribute.default)
    if attribute.generate:
        _check_generated(attribute)


def _check_generated(attribute: Attribute) -> None:
    wrong = ""
    if attribute.generate not in GENERATED:
        wrong = f"generate={attribute.generate!r}; there is {', '.join(map(repr, GENERATED))}"
    elif attribute.per not in ("deployment", "node"):
        wrong = f"per={attribute.per!r}; a value is made for each 'deployment' or each 'node'"
    elif not attribute.secret or attribute.default is not None:
        wrong = "generate, and so must be secret and have no default"
    if wrong:
        raise BadInput(f"Attribute {attribute.name} has {wrong}.")
    check_value(attribute, "x" * GENERATED[attribute.generate])


_OF_SCHEMA = frozenset(
    ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames", "unevaluatedItems",
     "unevaluatedProperties", "contentSchema")
)  # fmt: skip
_OF_SCHEMAS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_OF_NAMED_SCHEMAS = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_KEYWORDS = frozenset(
    ("$schema", "$id", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$comment",
     "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
     "maxLength", "minLength", "pattern", "format", "contentEncoding", "contentMediaType",
     "maxItems", "minItems", "uniqueItems", "maxContains", "minContains",
     "maxProperties", "minProperties", "required", "dependentRequired",
     "title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples",
     *_OF_SCHEMA, *_OF_SCHEMAS, *_OF_NAMED_SCHEMAS)
)  # fmt: skip


def _unknown_keyword(schema: Json) -> str | None:
    """The first keyword that no validator would heed; what begins with ``x-`` is a note of the author's."""
    if not isinstance(schema, Mapping):
        return None
    for key, value in schema.items():
        if key not in _KEYWORDS and not key.startswith("x-"):
            return str(key)
        below: Iterable[Json] = ()
        if key in _OF_SCHEMA:
            below = (value,)
        elif key in _OF_SCHEMAS:
            below = value
        elif key in _OF_NAMED_SCHEMAS:
            below = value.values()
        for one in below:
            if (found := _unknown_keyword(one)) is not None:
                return found
    return None


def _remote_reference(schema: Json) -> bool:
    if isinstance(schema, Mapping):
        reference = schema.get("$ref") or schema.get("$dynamicRef")
        if isinstance(reference, str) and not reference.startswith("#"):
            return True
        return any(_remote_reference(value) for value in schema.values())
    return isinstance(schema, list) and any(_remote_reference(value) for value in schema)


def check_value(attribute: Attribute, value: Json) -> None:
    """Raise ``BadInput`` unless the schema allows ``value``; says where and which rule, and the value unless it is
    secret.
    """
    check_size(attribute.name, value)
    validator: Validator = Draft202012Validator(attribute.schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    errors = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    if not errors:
        return
    details = [
        FieldError(
            pointer="/" + "/".join(str(part) for part in error.absolute_path),
            detail=_rule(attribute, str(error.validator), error.validator_value)
            + ("" if attribute.secret else f"; it is {json.dumps(error.instance, default=str)[:100]}"),
        )
        for error in errors[:20]
    ]
    first = details[0]
    where = f" at {first.pointer}" if first.pointer != "/" else ""
    raise BadInput(f"The value of {attribute.name}{where} {first.detail}.", errors=details)


def check_given(role: str, own: Iterable[Attribute], wanted: Iterable[tuple[Attribute, bool]], given: Tree) -> None:
    """Raise ``BadInput`` unless a run of the role can begin with what it is given: its ``own`` attributes, and those
    that it wants (with whether they are gathered). The values fit their schemas, and those that are required are
    there; but what is its own and not writable it has yet to report.
    """
    for attribute, gathered, needed in (
        *((one, False, one.required and one.writable) for one in own),
        *((one, gathered, one.required) for one, gathered in wanted),
    ):
        found, value = lookup(given, attribute.path)
        for each in [item["value"] for item in value] if found and gathered and isinstance(value, list) else [value]:
            if found:
                check_value(attribute, each)
        if needed and (not found or (gathered and not value)):
            raise BadInput(f"Role {role} is given no value of {attribute.name}, which must have one.")


def differing(role: str, attribute: Attribute, owner: str, said: Sequence[tuple[str, Json]]) -> str | None:
    """What is wrong with one value that a role wants of several parents (node, value; secrets in the clear); None: they
    agree.
    """
    if all(value == said[0][1] for _, value in said):
        return None
    if attribute.secret:
        told = f"{_all_of([node for node, _ in said])} have different values"
    else:
        told = _all_of([f"{node} has {json.dumps(value, default=str)[:100]}" for node, value in said])
    return (
        f"Role {role} wants {attribute.name} of role {owner}, of which {told}. Give them one value, or let the role "
        f'want all of them: Want("{attribute.name}", gather=True).'
    )


def _all_of(texts: Sequence[str]) -> str:
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) <= 10 else some(texts, 9)


def missing(attributes: Iterable[Attribute], layers: Sequence[Layer], *, writable: bool) -> list[str]:
    """The names of those that must have a value and have none: of those that people set (but what is generated), or of
    those that are reported.
    """
    return [
        one.name
        for one in attributes
        if one.required and one.writable is writable and not one.generate and not resolve(one, layers)[0]
    ]


def _rule(attribute: Attribute, rule: str, wanted: Json) -> str:
    if rule == "pattern":  # which says nothing to most people
        meant = f" ({attribute.description.rstrip('.')})" if attribute.description else ""
        return f"does not have the form that is needed{meant}"
    return f"breaks the rule {rule}: {json.dumps(wanted, default=str)[:200]}"


def check_report_size(role: str, tree: Tree) -> None:
    """The same for what a run reports, which comes from a node: it is bounded in its number of values, too."""
    check_size(f"the report of {role}", dict(tree), most_values=MAX_REPORT_VALUES)


def check_size(name: str, value: Json, *, most_values: int | None = None) -> None:
    """Raise ``BadInput`` for a value that is too deep or too large, or pretends to be a secret."""
    stack: list[tuple[Json, int]] = [(value, 1)]
    size = values = 0
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise BadInput(f"The value of {name} is nested more than {MAX_DEPTH} deep.")
        values += len(item) if isinstance(item, Mapping | list | tuple) else 0
        if most_values is not None and values > most_values:
            raise BadInput(f"The value of {name} holds more than {most_values} values.")
        if isinstance(item, Mapping):
            if SECRET in item:
                raise BadInput(f"The value of {name} has a key {SECRET!r}, which is reserved.")
            size += sum(len(str(key)) for key in item)
            stack.extend((below, depth + 1) for below in item.values())
        elif isinstance(item, list | tuple):
            stack.extend((below, depth + 1) for below in item)
        else:
            size += len(item) if isinstance(item, str) else 8
        if size > MAX_VALUE_BYTES:
            raise BadInput(f"The value of {name} is larger than {MAX_VALUE_BYTES} bytes.")


def changed_attributes(attributes: Iterable[Attribute], before: Tree, after: Tree) -> set[str]:
    """The names of those whose value differs between two trees."""
    return {
        attribute.name for attribute in attributes if lookup(before, attribute.path) != lookup(after, attribute.path)
    }


def leaves(tree: Json, prefix: tuple[str, ...] = ()) -> list[tuple[str, Json]]:
    """(slash path, value) of everything in the tree that is not a non-empty object."""
    if isinstance(tree, Mapping) and tree and SECRET not in tree:
        return [leaf for key, value in tree.items() for leaf in leaves(value, (*prefix, str(key)))]
    return [("/".join(prefix), tree)] if prefix else []


def undeclared(attributes: Iterable[Attribute], tree: Tree) -> list[str]:
    """The paths of what is in the tree and at or below the place of none of these attributes."""
    declared: dict[str, Json] = {}
    for attribute in attributes:
        here = declared
        for key in attribute.path[:-1]:
            here = here.setdefault(key, {})
            if here is True:  # an attribute lies below another: all of it is declared
                break
        else:
            here[attribute.path[-1]] = True
    return _beside(declared, tree, ())


def _beside(declared: Mapping[str, Json], tree: Tree, prefix: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for key, value in tree.items():
        known, path = declared.get(key), (*prefix, str(key))
        if known is True:
            continue
        if known is not None and isinstance(value, Mapping):
            found += _beside(known, value, path)
        else:
            found.append("/".join(path))
    return found


def map_secrets(tree: Json, change: Callable[[str], Json]) -> Json:
    """The tree with every resting secret replaced by ``change(ciphertext)``."""
    if isinstance(tree, Mapping):
        if SECRET in tree:
            return change(tree[SECRET])
        return {key: map_secrets(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [map_secrets(value, change) for value in tree]
    return tree


def masked(tree: Json) -> Json:
    """The tree as it may be shown to those without the right to see secrets."""
    if not tree:
        return tree
    return map_secrets(tree, lambda _: MASK)
