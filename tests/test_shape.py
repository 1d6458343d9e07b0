"""The shape of the code: who may write what, how modules begin, what no text may say."""

from __future__ import annotations

import ast
import re
import subprocess
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = sorted([*ROOT.glob("crowbar_core/**/*.py"), *ROOT.glob("plugins/*/crowbar_*/**/*.py")])
STATE_WRITERS = ("crowbar_core/store/transitions.py",)
LONG, TOO_LONG = 400, 500


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def of_each(paths: list[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """A rule about files becomes one test of all of these, which names every one that breaks it."""

    def over(rule: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            assert paths
            broken: list[str] = []
            for path in paths:
                try:
                    rule(path)
                except AssertionError as error:
                    broken.append(str(error).split("\nassert")[0])
            assert not broken, "\n".join(broken)

        test.__name__, test.__doc__ = rule.__name__, rule.__doc__
        return test

    return over


def tracked() -> list[Path]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return sorted({ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})


# ---------------------------------------------------------------- states have one writer


def values_keywords(call: ast.Call) -> set[str]:
    """The columns that `.values(...)` names: keywords, and the keys of dicts given to it."""
    found = {keyword.arg for keyword in call.keywords if keyword.arg}
    for argument in [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg is None)]:
        for item in ast.walk(argument):
            if isinstance(item, ast.Dict):
                found |= {
                    key.value for key in item.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
                }
                found |= {key.attr for key in item.keys if isinstance(key, ast.Attribute)}
    return found


def written_table(statement: ast.expr) -> str:
    """The table in `update(TABLE)…` or `insert(TABLE)…`, however long the chain of calls; '' if there is none."""
    while True:
        if isinstance(statement, ast.Call):
            if isinstance(statement.func, ast.Name) and statement.func.id in ("update", "insert"):
                return ast.unparse(statement.args[0]) if statement.args else ""
            if isinstance(statement.func, ast.Name) and statement.func.id.endswith("insert"):
                return ast.unparse(statement.args[0]) if statement.args else ""
            statement = statement.func
        elif isinstance(statement, ast.Attribute):
            statement = statement.value
        else:
            return ""


def aliases_of_node_roles(module: ast.Module) -> set[str]:
    """Names by which a module knows the table node_roles."""
    found = {"NodeRole", "NodeRole.__table__"}
    for item in ast.walk(module):
        if isinstance(item, ast.Assign):
            pairs = [(target, item.value) for target in item.targets]
            for target, value in pairs:
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    pairs += list(zip(target.elts, value.elts, strict=False))  # either may have a *rest
                elif isinstance(target, ast.Name) and ast.unparse(value) in ("table(NodeRole)", "NodeRole.__table__"):
                    found.add(target.id)
    return found


def writes_to_node_roles(module: ast.Module) -> Iterator[tuple[int, set[str]]]:
    """(line, columns) of each statement that writes the table; columns `*` when it cannot be seen which."""
    names = aliases_of_node_roles(module)
    for item in ast.walk(module):
        if isinstance(item, ast.Call) and isinstance(item.func, ast.Attribute) and item.func.attr == "values":
            if written_table(item.func.value) in names:
                yield item.lineno, values_keywords(item)
        elif isinstance(item, ast.Call) and isinstance(item.func, ast.Attribute) and item.func.attr in NOTING:
            yield item.lineno, {keyword.arg for keyword in item.keywords if keyword.arg}
        elif isinstance(item, ast.Assign | ast.AugAssign):
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and target.attr in ("state", "blockers"):
                    yield item.lineno, {target.attr}


GUARDED = {"state", "blockers"}
NOTING = ("note", "note_many")
"""Of ``store/noderoles.py``: they write whatever columns they are given."""


@of_each([path for path in CODE if name_of(path) not in STATE_WRITERS])
def test_only_transitions_writes_the_state_of_a_noderole_and_its_blockers(path: Path) -> None:
    found = [
        f"line {line}: {', '.join(sorted(columns & GUARDED))}"
        for line, columns in writes_to_node_roles(tree(path))
        if columns & GUARDED
    ]
    assert not found, f"{name_of(path)} writes node_roles by itself: {'; '.join(found)}. Use store/transitions.py."


@of_each(CODE)
def test_no_sql_text_writes_node_roles(path: Path) -> None:
    if "migrations" in path.parts:
        return
    for item in ast.walk(tree(path)):
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            assert not re.search(r"(?i)\b(update|insert\s+into|delete\s+from)\s+\"?node_roles\b", item.value), (
                f"{name_of(path)}, line {item.lineno}: node_roles is written by SQL text"
            )


@of_each(CODE)
def test_fields_of_nodes_have_one_writer(path: Path) -> None:
    """``services/values/nodes.py`` checks and tells; the statement itself stands in ``store/node_fields.py``."""
    found = [
        item.lineno
        for item in ast.walk(tree(path))
        if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.func.id == "update"
        and item.args and isinstance(item.args[0], ast.Name) and item.args[0].id in ("Node", "nodes", "node_rows")
    ]  # fmt: skip
    wrong = found if name_of(path) != "crowbar_core/store/node_fields.py" else []
    assert not wrong, f"{name_of(path)} writes nodes by itself, in line {wrong[0]}: use services/values/nodes.py"


def test_writing_a_state_elsewhere_would_be_noticed() -> None:
    for text in (
        "update(NodeRole).values(state=1)",
        "node_roles = table(NodeRole)\nsession.execute(update(node_roles).where(x).values(state=1))",
        "a, nr = table(Run), table(NodeRole)\nsession.execute(update(nr).where(x).values({'blockers': 0}))",
        "nr = table(NodeRole)\ninsert(nr).values([{'state': 4, 'node_id': 1}])",
        "noderoles.note_many(session, store, ids, state=4)",
        "node_role.state = State.ACTIVE",
        "node_role.blockers += 1",
    ):
        assert any(columns & GUARDED for _, columns in writes_to_node_roles(ast.parse(text))), text
    for text in (
        "runs = table(Run)\nupdate(runs).values(state='lost')",
        "node_roles = table(NodeRole)\nupdate(node_roles).values(status='', rerun=True)",
    ):
        assert not any(columns & GUARDED for _, columns in writes_to_node_roles(ast.parse(text))), text


def test_transitions_does_write_them() -> None:
    """The test above looks in the right place: what it forbids elsewhere is found here."""
    columns: set[str] = set()
    for name in STATE_WRITERS:
        for _, written in writes_to_node_roles(tree(ROOT / name)):
            columns |= written
    assert columns >= GUARDED


# ---------------------------------------------------------------- SQL stands in the store


def sql_of(module: ast.Module) -> set[str]:
    """What a module has of SQLAlchemy besides a session's type and the errors of a database."""
    found: set[str] = set()
    for item in ast.walk(module):
        if isinstance(item, ast.ImportFrom) and (item.module or "").split(".")[0] == "sqlalchemy":
            if item.module != "sqlalchemy.exc":
                found |= {one.name for one in item.names} - {"Session"}
        elif isinstance(item, ast.Import):
            found |= {one.name for one in item.names if one.name.split(".")[0] == "sqlalchemy"}
    return found


WITHOUT_SQL = ("crowbar_core/web/", "crowbar_core/services/")
LOOKS_AT_THE_SCHEMA = "crowbar_core/services/turns/conflicts.py"
"""Whatever table a constraint is in, a barclamp's too, it is told in words."""
PLAIN = [path for path in CODE if name_of(path).startswith(WITHOUT_SQL) and name_of(path) != LOOKS_AT_THE_SCHEMA]


@of_each(PLAIN)
def test_sql_stands_in_the_store(path: Path) -> None:
    found = sql_of(tree(path))
    assert not found, f"{name_of(path)} has {', '.join(sorted(found))} of SQLAlchemy: ask crowbar_core/store."


def test_sql_elsewhere_would_be_noticed() -> None:
    assert sql_of(ast.parse("from sqlalchemy import select, update")) == {"select", "update"}
    assert sql_of(ast.parse("import sqlalchemy as sa")) == {"sqlalchemy"}
    assert not sql_of(ast.parse("from sqlalchemy.orm import Session\nfrom sqlalchemy.exc import DataError"))


# ---------------------------------------------------------------- how the code is built


ENGINE_EVENTS = {"connect", "begin"}
"""What may be listened to: a connection being opened, a transaction being begun. Nothing that the ORM says."""


@of_each(CODE)
def test_nothing_hangs_on_orm_events(path: Path) -> None:
    for item in ast.walk(tree(path)):
        if not isinstance(item, ast.Call):
            continue
        called = ast.unparse(item.func)
        if called.endswith(("event.listen", "event.listens_for")):
            what = item.args[1]
            assert getattr(what, "value", None) in ENGINE_EVENTS, (
                f"{name_of(path)}, line {item.lineno}: it listens to {ast.unparse(what)}"
            )
        assert not called.endswith((".validates", "signals.connect", "listens_for_all")), (
            f"{name_of(path)}, line {item.lineno}: {called}"
        )


@of_each(CODE)
def test_a_module_opens_with_a_sentence(path: Path) -> None:
    said = ast.get_docstring(tree(path))
    if not tree(path).body:
        return
    assert said, f"{name_of(path)} does not say what it is for"
    first = said.split("\n\n")[0].strip()
    assert first.endswith((".", ":", "?")), f"{name_of(path)} opens with what is no sentence: {first!r}"


@of_each(CODE)
def test_no_import_inside_a_function(path: Path) -> None:
    for item in ast.walk(tree(path)):
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            for below in ast.walk(item):
                assert not isinstance(below, ast.Import | ast.ImportFrom), f"{name_of(path)}, line {below.lineno}"


def test_long_files_are_seen_and_no_file_is_too_long() -> None:
    """From ``LONG`` on a question: is it still one idea? Beyond ``TOO_LONG`` it is not."""
    long = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in CODE}
    too_long = {name: lines for name, lines in long.items() if lines > TOO_LONG}
    assert not too_long, f"longer than {TOO_LONG} lines: {too_long}"
    for name, lines in sorted(long.items(), key=lambda item: -item[1]):
        if lines > LONG and "migrations" not in name:
            warnings.warn(LongFile(f"{name} has {lines} lines"), stacklevel=1)


class LongFile(UserWarning):
    """A file that has grown past what is read in one go."""


pytestmark = pytest.mark.filterwarnings("default::UserWarning")


# ---------------------------------------------------------------- plugins are ordinary packages


@pytest.mark.parametrize("plugin", sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")))
def test_a_plugin_has_all_that_a_package_has(plugin: str) -> None:
    home = ROOT / "plugins" / plugin
    for needed in ("pyproject.toml", "README.md"):
        assert (home / needed).is_file(), f"plugins/{plugin} has no {needed}"
    assert list(home.glob("tests/**/test_*.py")), f"plugins/{plugin} has no tests"
    packages = [path.parent for path in home.glob("crowbar_*/__init__.py")]
    assert plugin.replace("-", "_") in {package.name for package in packages}
    for package in packages:
        assert (package / "py.typed").is_file(), f"{package.name} has types, and no py.typed that says so"


def test_every_directory_of_plugins_is_a_package() -> None:
    for path in ROOT.glob("plugins/*/"):
        if any(path.rglob("*.py")):
            assert (path / "pyproject.toml").is_file(), f"{name_of(path)} has no pyproject.toml"


# ---------------------------------------------------------------- what is committed


VENDORED = "crowbar_core/web/ui/static/vendor/"


def test_nothing_binary_is_committed() -> None:
    for path in tracked():
        content = path.read_bytes()
        assert b"\0" not in content, f"{name_of(path)} is binary"
        try:
            content.decode()
        except UnicodeDecodeError:
            pytest.fail(f"{name_of(path)} is no UTF-8")


def test_vendored_files_come_with_their_licence() -> None:
    for package in (ROOT / VENDORED).glob("*/"):
        names = {path.name.upper() for path in package.iterdir()}
        assert any(name.startswith("LICEN") for name in names), f"{name_of(package)} has no licence"


FORBIDDEN = {
    r"/wor[k]/(?:main|shared|lane)": "a path of one machine",
    r"/hom[e]/[a-z]+/": "somebody's home directory",
    r"shared/desig[n]": "a paper that is not in this repository",
    r"(?i)\bfiles\.pythonhoste[d]\.org|\bpypi\.or[g]/simple": "the address of a registry",
    r"(?i)index-ur[l]\s*=|\bPIP_INDEX_UR[L]=": "the address of a registry",
    r"(?i)\bas an A[I]\b|\blanguage mode[l]\b|\bco-authored-b[y]\b": "how it was made",
}


def test_no_file_says_what_belongs_to_one_machine() -> None:
    found = []
    for path in tracked():
        if name_of(path).startswith(VENDORED):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for pattern, what in FORBIDDEN.items():
            if hit := re.search(pattern, text):
                line = text[: hit.start()].count("\n") + 1
                found.append(f"{name_of(path)}, line {line}: {hit[0]!r} is {what}")
    assert not found, "\n".join(found)


def test_the_changelog_and_the_licence_go_with_the_source() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("CHANGELOG.md", "LICENSE", "README.md"):
        assert (ROOT / name).is_file()
        assert f"/{name}" in text, f"the source distribution leaves out {name}"


# ---------------------------------------------------------------- where things are


def places() -> list[tuple[str, str, str]]:
    """The rows of the table "Where is it done"."""
    text = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (.+?) \| `([\w/]+\.py)` \| `(\w+)` \|$", text, flags=re.MULTILINE)


def test_the_table_of_places_has_twenty_rows_at_least() -> None:
    assert len(places()) >= 20


@pytest.mark.parametrize("question,file,name", places())
def test_what_the_table_of_places_names_is_defined_there(question: str, file: str, name: str) -> None:
    defined = {
        one.name
        for one in tree(ROOT / "crowbar_core" / file).body
        if isinstance(one, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    }
    assert name in defined, f"Where {question}? Not in {file}: there is no {name}."
