"""Writes the parts of the reference that are made from the code: `python docs/generate.py` (`--check`: only compares).

A page says where such a part stands, with two comments around it; everything outside of them is written by hand.
Nothing here depends on the machine, the time, or which barclamps of others are installed: the same code gives the same
pages.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import of_commands
import of_settings
from markdown_parts import code, prose, table

import crowbar_core
from crowbar_core import barclamp, client, errors, hookspecs, pages, rest, testing
from crowbar_core import commands as command_kit
from crowbar_core.barclamp import declared, extensions, extras, hammers, intents, jigs, seat, views
from crowbar_core.domain.states import (
    OPEN_RUN_STATES,
    TRANSITIONS,
    DeploymentState,
    NodeState,
    RunState,
    State,
)
from crowbar_core.errors import CrowbarError
from crowbar_core.settings import Settings
from crowbar_core.store.listing import Listing
from crowbar_core.web.api.openapi import document
from crowbar_core.web.app import create_app

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BEGIN, END = "<!-- generated from the code: {name} -->", "<!-- end of what is generated -->"
_REGION = re.compile(r"<!-- generated from the code: ([a-z-]+) -->\n(.*?)<!-- end of what is generated -->", re.DOTALL)


# ---------------------------------------------------------------- hooks


def hooks() -> dict[str, Callable[..., Any]]:
    """Every hook of the core, in the order of hookspecs.py."""
    found = {
        name: value
        for name, value in vars(hookspecs).items()
        if inspect.isfunction(value) and value.__module__ == hookspecs.__name__
    }
    return dict(sorted(found.items(), key=lambda item: item[1].__code__.co_firstlineno))


def hook_sections() -> dict[str, list[str]]:
    """The headings between the hooks in hookspecs.py -> the hooks below them."""
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in inspect.getsource(hookspecs).splitlines():
        if found := re.match(r"# -{10,} (.+)", line):
            heading = found[1]
            sections[heading] = []
        elif found := re.match(r"def (\w+)\(", line):
            sections[heading].append(found[1])
    return sections


def implementing_packages(hook: str) -> list[str]:
    """The packages of this checkout that implement a hook."""
    return sorted({path.relative_to(ROOT).parts[1] for path in implementations_of(hook)})


def implementations_of(hook: str) -> list[Path]:
    """The modules under plugins/ (their tests apart) with an implementation of the hook."""
    found = []
    for path in sorted(ROOT.glob("plugins/*/crowbar_*/**/*.py")):
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(item, ast.FunctionDef) and item.name == hook and _is_hookimpl(item):
                found.append(path)
    return found


def _is_hookimpl(function: ast.FunctionDef) -> bool:
    marks = [mark.func if isinstance(mark, ast.Call) else mark for mark in function.decorator_list]
    return any(isinstance(mark, ast.Name) and mark.id == "hookimpl" for mark in marks)


def hooks_page() -> str:
    known = hooks()
    parts = []
    for heading, names in hook_sections().items():
        parts.append(f"## {heading[0].upper()}{heading[1:]}\n")
        for name in names:
            signature = str(inspect.signature(known[name])).replace("'", "")
            parts.append(
                f"### {name}\n\n```text\n{name}{_short_types(signature)}\n```\n\n{prose(known[name].__doc__ or '')}\n"
            )
            if packages := implementing_packages(name):
                parts.append(f"Implemented by {', '.join(f'[{one}](../../plugins/{one})' for one in packages)}.\n")
    return "\n".join(parts)


def _short_types(text: str) -> str:
    return re.sub(r"\b(?:crowbar_core\.\w+|collections\.abc|typing|types)\.", "", text)


# ---------------------------------------------------------------- REST


def api_document() -> dict[str, Any]:
    """The OpenAPI document of the core alone."""
    with tempfile.TemporaryDirectory(prefix="crowbar-docs-") as directory:
        app = create_app(Settings(data_dir=directory, safe_mode=True))
        try:
            return document(app, crowbar_core.__version__)
        finally:
            app.extensions["crowbar"].close()


def rest_page() -> str:
    described = api_document()
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(_resource(path), []).append((method.upper(), path, operation))
    parts = []
    for resource, operations in sorted(groups.items()):
        parts.append(f"## {resource}\n")
        rows = []
        for method, path, operation in operations:
            rows.append(
                (
                    code(f"{method} {path}"),
                    operation["x-crowbar-permission"],
                    operation["summary"],
                    _takes(operation, described),
                )
            )
        parts.append(table(("operation", "who", "what it does", "what it takes"), rows))
        shown = {_answered(operation) for _, _, operation in operations} - {""}
        for name in sorted(shown):
            if _plain_name(name) == _plain_name(resource.removesuffix("s")):
                names = ", ".join(code(one) for one in described["components"]["schemas"][name]["properties"])
                parts.append(f"Fields: {names}.\n")
    return "\n".join(parts)


def _plain_name(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower()).replace("attribute", "attrib").replace("auditentry", "audit")


def _resource(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v2"]:
        return parts[2].partition(".")[0]
    return "status" if parts[:2] == ["api", "status"] else "outside /api/v2"


def _answered(operation: Mapping[str, Any]) -> str:
    for response in operation["responses"].values():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if "$ref" in schema:
            return str(schema["$ref"]).rpartition("/")[2]
    return ""


def _takes(operation: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    """Body fields (those that must be there in bold), then query parameters beyond those that every list has."""
    said = []
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in body:
        model = described["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        must = model.get("required", [])
        names = [f"**{code(name)}**" if name in must else code(name) for name in model.get("properties", {})]
        said.append(", ".join(names))
    elif body:
        said.append("any fields of the object")
    query = [item["name"] for item in operation["parameters"] if item["in"] == "query"]
    own = [name for name in query if name not in ("limit", "after", "sort", "count", "fields")]
    if own:
        said.append("?" + ", ".join(code(name) for name in own))
    return "; ".join(said)


# ---------------------------------------------------------------- states


def state_diagram() -> str:
    """TRANSITIONS as a Mermaid state diagram, one arrow for each edge."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> PROPOSED: bound to a node"]
    lines += [f"    {start.name} --> {end.name}: {_label(why)}" for (start, end), why in TRANSITIONS.items()]
    return "\n".join([*lines, "```", ""])


def _label(text: str) -> str:
    """Mermaid takes a semicolon for the end of a statement and a colon for the start of a label."""
    return text.replace(";", ",").replace(":", ",")


def transitions_table() -> str:
    rows = [(start.name, end.name, why) for (start, end), why in TRANSITIONS.items()]
    return table(("from", "to", "when"), rows)


def numbers_table() -> str:
    return table(("state", "in the API"), [(state.name, str(int(state))) for state in sorted(State)])


def run_states_table() -> str:
    rows = [(code(state), "open" if state in OPEN_RUN_STATES else "finished") for state in RunState]
    return table(("state of a run", ""), rows)


def derived_states() -> str:
    nodes = ", ".join(code(state.name) for state in NodeState)
    deployments = ", ".join(f"{code(state.name)} ({int(state)})" for state in DeploymentState)
    return f"A node is, in this order of precedence: {nodes}. A deployment is {deployments}.\n"


# ---------------------------------------------------------------- errors


def error_classes() -> list[type[CrowbarError]]:
    """Every error class of the core, the public ones first."""
    for module in pkgutil.walk_packages(crowbar_core.__path__, "crowbar_core."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[type[CrowbarError], None] = {}
    todo: list[type[CrowbarError]] = [CrowbarError]
    while todo:
        one = todo.pop(0)
        if one.__module__.startswith("crowbar_core"):
            found[one] = None
            todo += sorted(one.__subclasses__(), key=lambda kind: kind.__name__)
    return sorted(found, key=lambda one: one.__module__ != errors.__name__)


def errors_page() -> str:
    tree = inspect.cleandoc(errors.__doc__ or "").partition("\n\n")[2]
    rows = []
    for one in error_classes():
        status = str(one.status) if "status" in vars(one) or one.status != CrowbarError.status else ""
        where = "" if one.__module__ == errors.__name__ else code(one.__module__)
        own = (one.__doc__ or "").strip() if one.__doc__ != one.__mro__[1].__doc__ else ""
        rows.append((code(one.__name__), code(one.code), status, where, prose(own).replace("\n", " ")))
    return f"```text\n{tree}\n```\n\n" + table(("class", "code", "HTTP", "module", ""), rows)


# ---------------------------------------------------------------- the vocabulary of barclamps


def _with_code(text: str) -> str:
    """A docstring as Markdown that ends with an example: what is indented after a double colon."""
    words, colons, example = inspect.cleandoc(text).partition("::\n\n")
    return f"{prose(words)}:\n\n```py\n{inspect.cleandoc(example)}\n```" if colons else prose(text)


def vocabulary_page() -> str:
    parts = []
    for item in _vocabulary():
        if not isinstance(item, ast.ClassDef) or item.name.startswith("_") or not hasattr(crowbar_core, item.name):
            continue
        kind = getattr(barclamp, item.name)
        parts.append(f"## {item.name}\n")
        if item.body and (doc := ast.get_docstring(item)):
            parts.append(f"{prose(doc)}\n")
        if dataclasses.is_dataclass(kind):
            if rows := _fields_of(item):
                parts.append(table(("field", "type", "default", ""), rows))
        elif methods := [one for one in item.body if isinstance(one, ast.FunctionDef)]:
            rows = [
                (code(f"{one.name}({_arguments(one)})"), prose(ast.get_docstring(one) or "").replace("\n", " "))
                for one in methods
            ]
            parts.append(table(("method", ""), [row for row in rows if not row[0].startswith("`__")]))
            if rows := _fields_of(item):
                parts.append(table(("attribute of the class", "type", "default", ""), rows))
    for name in ("hookimpl", "requires", "setting", "cluster", "differences"):
        function = getattr(crowbar_core, name)
        signature = _short_types(re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function))))
        parts.append(f"## {name}\n\n```text\n{name}{signature}\n```\n\n{_with_code(function.__doc__ or '')}\n")
    actions = table(("action", ""), [(code(name), what) for name, what in barclamp.POWER_ACTIONS.items()])
    parts.append(f"## POWER_ACTIONS\n\n{actions}")
    return "\n".join(parts)


def _vocabulary() -> Iterator[ast.stmt]:
    """The statements of the modules that the vocabulary is written down in, in the order in which one reads them."""
    for module in (declared, views, jigs, hammers, intents, extras, extensions, seat):
        yield from ast.parse(inspect.getsource(module)).body


def _arguments(function: ast.FunctionDef) -> str:
    text = ast.unparse(function.args)
    return re.sub(r"^self(, )?", "", text)


def _fields_of(item: ast.ClassDef) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for one, following in zip(item.body, [*item.body[1:], None], strict=True):
        if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name):
            continue
        said = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            said = prose(str(following.value.value)).replace("\n", " ")
        default = ast.unparse(one.value) if one.value is not None else ""
        default = {"field(default_factory=dict)": "{}", "field(default=(), init=False, repr=False)": "()"}.get(
            default, default
        )
        rows.append((code(one.target.id), code(ast.unparse(one.annotation)), code(default), said))
    return rows


# ---------------------------------------------------------------- the kits


def kit_page(kit: ModuleType) -> str:
    """Every public name of a kit, with its signature and what it is for; the core's listings on a line of their own."""
    parts, listings = [], []
    for name in sorted(kit.__all__, key=str.lower):
        value = getattr(kit, name)
        if isinstance(value, Listing):
            listings.append(code(name))
        elif inspect.isclass(value) and dataclasses.is_dataclass(value):
            source = ast.parse(inspect.cleandoc(inspect.getsource(value))).body[0]
            assert isinstance(source, ast.ClassDef)
            doc = prose(ast.get_docstring(source) or "")
            rows = _fields_of(source)
            parts.append(f"### {name}\n\n{doc}\n\n{table(('field', 'type', 'default', ''), rows)}")
        elif inspect.isfunction(value) or inspect.isclass(value):
            told = "" if inspect.isclass(value) else str(inspect.signature(value))
            signature = _short_types(re.sub(r"(: |-> )'([^']*)'", r"\1\2", told))
            parts.append(f"### {name}\n\n```text\n{name}{signature}\n```\n\n{prose(value.__doc__ or '')}\n")
            if inspect.isclass(value):
                parts.append(_methods_of(value))
        else:
            parts.append(f"### {name}\n\n{TYPES.get(name, 'A type for the fields of bodies.')}\n")
    if listings:
        parts.append(f"Listings of the core, for `found_id`, `resolve` and `listed`: {', '.join(listings)}.\n")
    return "\n".join(parts)


TYPES: Mapping[str, str] = {
    "DRY": "The query of a request that changes nothing and answers with the plan: `?dry_run=true`.",
    "Filters": '`{"colour": "Only those of this colour."}`: options of a list, each with its help. What is given with '
    "one goes into the query under the same name, in which the listing must be able to filter.",
    "Where": 'Conditions of SQLAlchemy, all of which have to hold: `(labels.c.colour == "red",)`. They narrow what a '
    "list or a look-up sees, whatever the client asks for.",
    "Description": "Free text for people, at most 4,096 characters, without NUL.",
    "Name": "1 to 64 letters, digits, dots, hyphens, underscores; not digits alone, which would read like an id.",
    "NodeName": "The fully qualified name of a node.",
    "Reference": "An id (a number) or a name; `resolve` finds the id behind it.",
}


def _methods_of(kind: type) -> str:
    """The public methods that a class of ours has of its own."""
    rows = []
    for name, value in vars(kind).items():
        doc = inspect.getdoc(value) if inspect.isfunction(value) and not name.startswith("_") else None
        if doc is not None:
            signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(value)))
            told = _short_types(re.sub(r"^\(self(, )?", "(", signature))
            rows.append((code(f"{name}{told}"), prose(doc).replace("\n", " ")))
    return table(("method", ""), rows) if rows else ""


# ---------------------------------------------------------------- the script jig's own README


def scripts_page() -> str:
    text = (ROOT / "plugins" / "crowbar-jig-script" / "README.md").read_text(encoding="utf-8")
    start = text.index("## A role with scripts")
    return text[start:]


REGIONS: Mapping[str, Callable[[], str]] = {
    "hooks": hooks_page,
    "settings": of_settings.of_core,
    "settings-of-barclamps": of_settings.of_barclamps,
    "command-line": of_commands.page,
    "command-line-of-barclamps": of_commands.page_of_barclamps,
    "rest": rest_page,
    "state-diagram": state_diagram,
    "transitions": transitions_table,
    "state-numbers": numbers_table,
    "run-states": run_states_table,
    "derived-states": derived_states,
    "errors": errors_page,
    "vocabulary": vocabulary_page,
    "scripts": scripts_page,
    "kit-rest": functools.partial(kit_page, rest),
    "kit-pages": functools.partial(kit_page, pages),
    "kit-commands": functools.partial(kit_page, command_kit),
    "kit-client": functools.partial(kit_page, client),
    "kit-testing": functools.partial(kit_page, testing),
}


def renewed(text: str) -> str:
    """A page with all its generated parts as the code says them now."""

    def make(found: re.Match[str]) -> str:
        name = found[1]
        if name not in REGIONS:
            raise SystemExit(f"There is no part {name!r}; there are: {', '.join(sorted(REGIONS))}.")
        return f"{BEGIN.format(name=name)}\n\n{REGIONS[name]().strip()}\n\n{END}"

    return _REGION.sub(make, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is not as the code says")
    check = parser.parse_args().check
    stale = []
    for path in sorted(DOCS.rglob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = renewed(old)
        if new != old:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"{'not as the code says' if check else 'written'}: {name}")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
