"""`crowbar export` and `crowbar apply`: what was declared of the cluster as a file, and a file made true.

Which collections a file holds, by which fields, the server says (`/api/v2/declared`); the core's own are declared like
those of any barclamp. Applying only makes and changes: what a file does not name stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from crowbar_core.cli import output as out
from crowbar_core.cli.client import Client
from crowbar_core.cli.connection import connect
from crowbar_core.cli.context import output, verb
from crowbar_core.cli.later import later
from crowbar_core.cli.verbs import read_file
from crowbar_core.errors import BadInput, Refused

yaml = later("yaml")
MASK = "***"
"""What stands for a secret: it is neither exported nor compared."""
Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A collection that a file holds: a ``Declared`` as the server tells of it."""

    noun: str
    order: int
    key: tuple[str, ...]
    fields: tuple[str, ...]
    fixed: tuple[str, ...]
    refers: Mapping[str, str]
    shown: Mapping[str, str]
    where: Mapping[str, str]
    merges: tuple[str, ...]

    def word(self, field: str) -> str:
        """What a field is called in the file."""
        return field.removesuffix("_id") if field in self.refers else field

    @property
    def words(self) -> dict[str, str]:
        """Word in the file -> field, key first."""
        return {self.word(field): field for field in (*self.key, *self.fields)}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One object that is made or changed. ``old`` and ``new`` are by the words of the file."""

    section: Section
    what: str
    id: int | None
    old: Mapping[str, Any]
    new: Mapping[str, Any]

    def shown(self) -> dict[str, Any]:
        changed = {word: {"old": self.old.get(word), "new": value} for word, value in self.new.items()}
        return {"do": "change" if self.id is not None else "create", "in": self.section.noun, "what": self.what, **(
            {"fields": changed} if self.id is not None else {"fields": dict(self.new)}
        )}  # fmt: skip

    def line(self) -> str:
        if self.id is None:
            return f"create  {self.section.noun}  {self.what}"
        parts = [f"{word}: {_short(self.old.get(word))} -> {_short(value)}" for word, value in self.new.items()]
        return f"change  {self.section.noun}  {self.what}  {'; '.join(parts)}"


@verb("export")
def export() -> None:
    """Print what was declared: deployments, nodes, hammers, groups, values, bindings, and what barclamps add.

    No secrets, nothing that was only reported. `crowbar apply` reads it.

    YAML unless --format json.
    """
    client = connect()
    found = {}
    for section in sections(client):
        rows = [_plain(section, row) for _, row in held(client, section).values()]
        if rows:
            found[section.noun] = rows
    out.data(found, "json" if output() == "json" else "yaml")


@verb("apply")
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Do nothing: show what would be made and changed.")
def apply(file: str, dry_run: bool) -> None:
    """Make true what FILE declares (- is standard input).

    What is missing is made, what differs is changed, all else stays. What it binds and sets is proposed, until its
    deployments are committed.
    """
    client = connect()
    known = sections(client)
    wanted = read_declared(file, known)
    done: list[Step] = []
    for section in known:
        for step in steps(
            section, wanted.get(section.noun, {}), held(client, section) if section.noun in wanted else {}
        ):
            if not dry_run:
                perform(client, step)
            done.append(step)
            if output() == "table":
                out.line(step.line())
    if output() != "table":
        out.data([step.shown() for step in done], output())
    count = sum(len(objects) for objects in wanted.values())
    out.say(f"{len(done)} of {count} {'would be' if dry_run else 'were'} made or changed; the rest is so already.")


def sections(client: Client) -> list[Section]:
    """What a file may hold, in the order to apply it."""
    return [
        Section(
            noun=row["noun"],
            order=row["order"],
            key=tuple(row["key"]),
            fields=tuple(row["fields"]),
            fixed=tuple(row["fixed"]),
            refers=row["refers"],
            shown=row["shown"],
            where=row["where"],
            merges=tuple(row["merges"]),
        )
        for row in client.get("declared")
    ]


def held(client: Client, section: Section) -> dict[Key, tuple[int, dict[str, Any]]]:
    """The objects there are: key in lower case -> id, values by the words of the file. Raises ``Refused`` for two of
    one key: a file would have one of them, and nobody would know which.
    """
    names = {noun: _names(client, noun) for noun in dict.fromkeys(section.refers.values())}
    read = {field: section.shown.get(field, field) for field in (*section.key, *section.fields)}
    query = {**section.where, "fields": ",".join(dict.fromkeys(("id", *read.values())))}
    found: dict[Key, tuple[int, dict[str, Any]]] = {}
    for row in client.rows(section.noun, query=query):
        values = {}
        for field, seen in read.items():
            value = row.get(seen)
            noun = section.refers.get(field)
            values[section.word(field)] = value if noun is None else names[noun].get(value or 0)
        key, number = _key(section, values), int(row["id"])
        if key in found:
            by = " and ".join(map(section.word, section.key))
            raise Refused(
                f"Of {section.noun} both {found[key][0]} and {number} are {'/'.join(key)}, and a file tells them apart "
                f"by {by} alone: change that of one, and try again."
            )
        found[key] = (number, values)
    return found


def steps(section: Section, wanted: Mapping[Key, Mapping[str, Any]], there: Mapping[Key, Any]) -> Iterable[Step]:
    """What has to be made and changed. Raises ``BadInput`` for a change of what is fixed."""
    for key, values in wanted.items():
        what = "/".join(str(values[section.word(field)]) for field in section.key)
        if key not in there:
            yield Step(section=section, what=what, id=None, old={}, new=values)
            continue
        number, old = there[key]
        new = {
            word: value
            for word, value in values.items()
            if word not in map(section.word, section.key)
            and not _same(old.get(word), value, merges=word in section.merges)
        }
        for word in map(section.word, section.fixed):
            if word in new:
                raise BadInput(
                    f"{section.noun} {what} has the {word} {_short(old.get(word))}, which "
                    "cannot be changed. Remove the object first, or take what it has."
                )
        if new:
            yield Step(section=section, what=what, id=number, old=old, new=new)


def perform(client: Client, step: Step) -> None:
    words = step.section.words
    body = {words[word]: value for word, value in step.new.items()}
    if step.id is None:
        client.post(step.section.noun, body=body)
    else:
        client.patch(step.section.noun, step.id, body=body)


def read_declared(file: str, known: Sequence[Section]) -> dict[str, dict[Key, dict[str, Any]]]:
    """The objects of a file, section by section. Raises ``BadInput``, which says where something is wrong."""
    try:
        tree = yaml.load(read_file(file), Loader=_strict_loader())
    except yaml.YAMLError as error:
        raise BadInput(f"The file {file} is not YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise BadInput(f"The file {file} is nested too deeply.") from error
    if not isinstance(tree, dict):
        raise BadInput(f"The file {file} holds no sections: {', '.join(one.noun for one in known)}.")
    by_noun = {section.noun: section for section in known}
    found: dict[str, dict[Key, dict[str, Any]]] = {}
    for noun, listed in tree.items():
        section = by_noun.get(str(noun))
        if section is None:
            raise BadInput(f"Nothing is declared as {noun!r}; the sections of a file are {', '.join(by_noun)}.")
        if not isinstance(listed, list):
            raise BadInput(f"The section {noun} must be a list of objects.")
        found[section.noun] = {}
        for place, values in enumerate(listed, start=1):
            where = f"Object {place} of {noun}"
            if not isinstance(values, dict):
                raise BadInput(f"{where} must be an object with {', '.join(section.words)}.")
            if unknown := [word for word in values if word not in section.words]:
                raise BadInput(f"{where} has no field {unknown[0]!r}; it may have {', '.join(section.words)}.")
            for field in section.key:
                if not isinstance(values.get(section.word(field)), str):
                    raise BadInput(f"{where} needs a {section.word(field)}, which is a text.")
            key = _key(section, values)
            if key in found[section.noun]:
                raise BadInput(f"{where} is there twice: {'/'.join(key)}.")
            found[section.noun][key] = values
    return found


def _strict_loader() -> Any:
    class Strict(yaml.SafeLoader):  # type: ignore[misc,name-defined]
        """A key that stands twice in an object is an error, not the last one's."""

    def mapping(loader: Any, node: Any) -> Any:
        keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor("tag:yaml.org,2002:map", mapping)
    return Strict


def _names(client: Client, noun: str) -> dict[int, str]:
    query: dict[str, Any] = {"fields": "id,name"}
    if noun == "nodes":
        query["system"] = ["true", "false"]  # work is bound to the system's own, too
    return {int(row["id"]): str(row["name"]) for row in client.rows(noun, query=query)}


def _key(section: Section, values: Mapping[str, Any]) -> Key:
    return tuple(str(values[section.word(field)]).lower() for field in section.key)


def _plain(section: Section, values: Mapping[str, Any]) -> dict[str, Any]:
    keys = {section.word(field) for field in section.key}
    told = {word: _without_secrets(value) for word, value in values.items()}
    return {word: value for word, value in told.items() if word in keys or value not in (None, "", [], {}, False)}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if inner != MASK}
    return None if value == MASK else value


def _same(old: Any, new: Any, *, merges: bool = False) -> bool:
    """Whether a value is as it should be: lists of names are the same in any order, and what is secret is as it should
    be. ``merges``: keys that are not wanted do not count.
    """
    if old == MASK:
        return True  # nobody can tell
    if isinstance(old, dict) and isinstance(new, dict):
        shown = set() if merges else {key for key, value in old.items() if value != MASK}
        return shown <= set(new) <= set(old) and all(_same(old[key], new[key]) for key in new)
    if isinstance(old, list) and isinstance(new, list) and all(isinstance(one, str) for one in (*old, *new)):
        return sorted(old) == sorted(new)
    return bool(old == new) and type(old) is type(new)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
