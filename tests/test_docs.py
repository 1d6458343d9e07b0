"""The documentation says what the code says: every name is there, every example runs, every link leads somewhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import crowbar_core
from crowbar_core import errors, hookspecs
from crowbar_core.cli.root import COMMANDS, root
from crowbar_core.domain.states import TRANSITIONS, RunState, State
from crowbar_core.errors import CrowbarError
from crowbar_core.settings import Settings
from crowbar_core.testing import check_barclamp
from crowbar_core.web.api.openapi import document
from crowbar_core.web.app import create_app
from tests import public_names

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
)
RUN_THESE = [page for page in PAGES if page.is_relative_to(ROOT / "docs") or page == ROOT / "README.md"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def reference(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


# ---------------------------------------------------------------- blocks of code in pages


@dataclass(frozen=True)
class Block:
    """A fenced block. ``file`` is what the comment `<!-- file: PATH -->` before it says.

    With `<!-- makes: PATH -->` the page's reader makes that file; tests/acceptance has the test that does.
    """

    language: str
    text: str
    line: int
    file: str = ""
    made: bool = False


def blocks(page: Path) -> Iterator[Block]:
    language, started, file, made = "", 0, "", False
    body: list[str] = []
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if fence:
            if line.strip() == fence:
                yield Block(language, "\n".join(body) + "\n", started, file, made)
                fence, file, made, body = "", "", False, []
            else:
                body.append(line)
        elif found := re.match(r"\s*(`{3,})(\w*)", line):
            fence, language, started = found[1], found[2], number
        elif found := re.match(r"<!-- (file|makes): (.+?) -->", line):
            file, made = found[2], found[1] == "makes"
        elif line.strip():
            file, made = "", False
    assert not fence, f"{name_of(page)}, line {started}: a block of code does not end"


# ---------------------------------------------------------------- examples run


@dataclass
class Reader:
    """Somebody who follows a page: writes the files that it shows into a room of their own, and runs its examples."""

    page: Path
    room: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "example"})
    packages: set[str] = field(default_factory=set)

    def follow(self) -> int:
        followed = 0
        for block in blocks(self.page):
            followed += self._follow(block)
        return followed

    def _follow(self, block: Block) -> bool:
        if block.made:
            if block.language == "python":
                compile("\n" * block.line + block.text, str(self.page), "exec")
        elif block.file:
            there = ROOT / block.file
            if there.is_file():
                assert without_indent(block.text) in without_indent(there.read_text(encoding="utf-8")), (
                    f"{name_of(self.page)}, line {block.line}: this is not what is in {block.file}"
                )
            elif " " not in block.file:
                shown = self.room / block.file
                shown.parent.mkdir(parents=True, exist_ok=True)
                shown.write_text(block.text, encoding="utf-8")
                self.packages.add(Path(block.file).parts[0])
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language != "python" or block.file:
            return False
        # With its place in the page, so that a traceback leads there.
        code = compile("\n" * block.line + block.text, str(self.page), "exec")
        exec(code, self.names)
        return True


def without_indent(text: str) -> str:
    return inspect.cleandoc("\n" + text).strip()


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield Reader(request.param, tmp_path)
    for module in set(sys.modules) - known:
        if is_below(sys.modules[module], tmp_path):
            del sys.modules[module]
    importlib.invalidate_caches()


def is_below(module: ModuleType, directory: Path) -> bool:
    return Path(getattr(module, "__file__", None) or "/").is_relative_to(directory)


@pytest.mark.parametrize("reader", RUN_THESE, ids=name_of, indirect=True)
def test_the_examples_of_a_page_run(reader: Reader) -> None:
    reader.follow()
    for package in sorted(reader.packages):
        if (reader.room / package / "__init__.py").exists():
            # It is shown, not installed: nobody finds its entry points.
            not_installed = re.compile(r"entry point|which no installed package brings")
            problems = check_barclamp(importlib.import_module(package))
            wrong = [one.detail for one in problems if one.severity == "error" and not not_installed.search(one.detail)]
            assert not wrong, f"{name_of(reader.page)} shows a barclamp with faults: {' '.join(wrong)}"


def test_the_readme_shows_a_barclamp_and_tests_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "README.md"
    shown = {block.file for block in blocks(page)}
    assert {"crowbar_motd/__init__.py", "crowbar_motd/scripts/motd/10-write.sh"} <= shown
    assert any(block.language == "python" and not block.file and "assert" in block.text for block in blocks(page))


def test_the_two_commands_are_on_the_first_screen_of_the_readme() -> None:
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:24]
    for command in ("./dev demo", "./dev test"):
        assert any(line.startswith(command) for line in first_screen), f"{command} is further down"


# ---------------------------------------------------------------- commands exist


def shell_lines(page: Path) -> Iterator[tuple[str, int]]:
    """Command lines in a page: those of blocks of shell, and `crowbar …` in running text."""
    for block in blocks(page):
        if block.language in ("sh", "bash", "console", "shell") and not block.file:
            text = block.text.replace("\\\n", " ")
            for line in text.splitlines():
                yield line.removeprefix("$ ").strip(), block.line
    running = re.sub(r"(`{3,}).*?\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for found in re.finditer(r"`(crowbar [^`]+)`", running):
        yield found[1], running[: found.start()].count("\n") + 1


def crowbar_calls(line: str) -> Iterator[list[str]]:
    """The arguments of each call of `crowbar` in a line, as far as they are spelt out."""
    words = shlex.split(line, comments=True)
    while words and (words[0] in ("sudo", "./dev") or re.match(r"[A-Z_]+=", words[0])):
        words = words[1:]
    if not words or Path(words[0]).name != "crowbar":
        return
    call: list[str] = []
    for word in words[1:]:
        if word in ("|", "||", "&&", ">", "<", ";", "&"):
            break
        call.append(word)
    yield call


def check_call(call: list[str]) -> str:
    """What is wrong with a call, or ''. Nothing is carried out: it is parsed as click would, to the last option."""
    words = [word for word in call if word not in ("…", "...")]
    elided = len(words) != len(call) or any(re.search(r"[<>…]|\bNOUN\b|\bVERB\b|^NAME$", word) for word in words)
    command: click.Command = root
    context = click.Context(root, info_name="crowbar")
    while isinstance(command, click.Group):
        options = [word for word in words if word.startswith("-")]
        if words and words[0].startswith("-"):
            words = words[1:]
            continue
        if not words:
            return "" if options or elided or command is root or call else "no command"
        if re.search(r"[<>…]|\bNOUN\b|\bVERB\b", words[0]):
            return ""
        found = command.get_command(context, words[0])
        if found is None:
            return f"there is no command {words[0]!r}"
        command, words = found, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    known = {
        name for one in command.params if isinstance(one, click.Option) for name in (*one.opts, *one.secondary_opts)
    }
    for word in words[: words.index("--")] if "--" in words else words:
        if word.startswith("--") and word.partition("=")[0] not in {*known, "--help"}:
            return f"{command.name} has no option {word}"
    if elided or "--help" in words or len(call) <= 2:
        return ""  # `crowbar noderoles retry` in running text names the command, and does not call it
    try:
        command.make_context(command.name, words, parent=context.parent)
    except click.exceptions.Exit:
        return ""
    except click.ClickException as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_in_a_page_can_be_called_so(page: Path) -> None:
    wrong = []
    for line, number in shell_lines(page):
        for call in crowbar_calls(line):
            if problem := check_call(call):
                wrong.append(f"line {number}: `{line}`: {problem}")
    assert not wrong, f"{name_of(page)}: " + "\n".join(wrong)


def test_a_wrong_command_would_be_noticed() -> None:
    assert check_call(["nodes", "shwo", "n1"])
    assert check_call(["frobnicate"])
    assert check_call(["nodes", "create", "--colour", "red", "n1.example.com"])
    assert check_call(["runs", "cancel", "42", "--hold=maybe"])
    assert not check_call(["nodes", "create", "n1.example.com", "--ip", "10.0.0.1"])


def test_every_verb_of_dev_is_in_its_usage() -> None:
    done = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, timeout=30, check=True)
    for command in ("demo", "test", "bench", "mutants", "lint", "crowbar", "setup"):
        assert re.search(rf"^\./dev {command}\b", done.stdout, re.MULTILINE)
    for page in RUN_THESE:
        for line, number in shell_lines(page):
            if found := re.match(r"\./dev (\w+)", line):
                assert found[0] in done.stdout, f"{name_of(page)}, line {number}: there is no {found[0]}"


# ---------------------------------------------------------------- links lead somewhere


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found: set[str] = set()
    text = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        slug = "".join(
            char for char in plain.replace(" ", "-") if char in "-_" or unicodedata.category(char)[0] in ("L", "N", "M")
        )
        number = 0
        while (one := slug if number == 0 else f"{slug}-{number}") in found:
            number += 1
        found.add(one)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            dead.append(f"{target}: there is no such file")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            dead.append(f"{target}: there is no such heading")
    assert not dead, f"{name_of(page)}: {'; '.join(dead)}"


def test_every_page_of_the_manual_is_in_its_table_of_contents() -> None:
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/**/*.md"):
        where = page.relative_to(ROOT / "docs")
        assert where.name == "README.md" or f"({where})" in contents, f"docs/README.md does not lead to {where}"


# ---------------------------------------------------------------- the reference is complete, and current


def test_the_generated_parts_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nWrite them anew: python docs/generate.py"


def all_hooks() -> list[str]:
    return [
        name
        for name, value in inspect.getmembers(hookspecs, inspect.isfunction)
        if value.__module__ == hookspecs.__name__
    ]


@pytest.mark.parametrize("hook", all_hooks())
def test_a_hook_is_documented(hook: str) -> None:
    function = getattr(hookspecs, hook)
    assert (function.__doc__ or "").strip().endswith("."), f"{hook} needs a docstring in hookspecs.py"
    assert re.search(rf"^### {hook}$", reference("hooks.md"), re.MULTILINE), f"docs/reference/hooks.md has no {hook}"


def defined_under(*patterns: str) -> Iterator[tuple[Path, ast.FunctionDef]]:
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(item, ast.FunctionDef):
                    yield path, item


def implemented_in(*patterns: str) -> set[str]:
    """Names of functions marked with ``hookimpl``."""
    found = set()
    for _, item in defined_under(*patterns):
        marks = [mark.func if isinstance(mark, ast.Call) else mark for mark in item.decorator_list]
        if any(isinstance(mark, ast.Name) and mark.id == "hookimpl" for mark in marks):
            found.add(item.name)
    return found


def test_a_hook_has_an_implementation_in_plugins() -> None:
    implemented = implemented_in("plugins/*/crowbar_*/**/*.py")
    missing = set(all_hooks()) - implemented
    assert not missing, f"no package under plugins/ implements {', '.join(sorted(missing))}"


KITS = ("crowbar_core", *sorted(public_names.KITS))
OF_THE_CORE = {
    "client": ("resolve",),
    "commands": (
        "ask", "read_json", "read_value", "verb",
    ),
    "pages": ("Rows", "field", "found", "number"),
    "rest": (
        "Choice", "GROUPS", "NODE_ROLES", "ROLES", "RUNS", "Where", "checked", "match", "sample", "to_change",
    ),
}  # fmt: skip
"""The core's own commands, pages and API are made with these; no package here has needed them."""
NO_PACKAGE_USES: Mapping[str, str] = {
    **{f"crowbar_core.{kit}.{name}": "the core itself does" for kit, names in OF_THE_CORE.items() for name in names},
    "crowbar_core.CreateNode": "machines here register in a request, where change.create_node answers with the node",
    "crowbar_core.POWER_ACTIONS": "the names that hammers may use; a hammer writes out those that it has",
    "crowbar_core.Require": "of all required roles here, none must be on another node",
    "crowbar_core.Rerun": "what runs anew here is refreshed, or runs anew as its values change",
    "crowbar_core.__version__": "for people",
    "crowbar_core.testing.BrokenJig": "jigs here are tried on nodes that really break",
    "crowbar_core.testing.NotQuiet": "raised where a testbed does not come to rest: seen by people",
    "crowbar_core.testing.check_package": "`crowbar barclamps check` calls it",
}


def used_in(*patterns: str) -> set[str]:
    """Public names, with their modules, that are imported from the core or read of its imported modules."""
    found = set[str]()
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        code = ast.parse(path.read_text(encoding="utf-8"))
        modules: dict[str, str] = {}
        for item in ast.walk(code):
            if isinstance(item, ast.ImportFrom) and item.module in KITS:
                found |= {f"{item.module}.{name.name}" for name in item.names}
                modules |= {name.asname or name.name: f"{item.module}.{name.name}" for name in item.names}
        for item in ast.walk(code):
            if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name) and item.value.id in modules:
                found.add(f"{modules[item.value.id]}.{item.attr}")
    return found


def test_each_public_name_has_a_user_in_plugins() -> None:
    """Intents, kits and the rest. What a package's tests use counts for the kit of tests alone."""
    used = used_in("plugins/*/crowbar_*/**/*.py")
    used |= {name for name in used_in("plugins/*/tests/**/*.py") if name.startswith("crowbar_core.testing.")}
    public = {f"{kit}.{name}" for kit in KITS for name in importlib.import_module(kit).__all__}
    assert public - used == set(NO_PACKAGE_USES)


def test_a_hook_has_a_test_named_after_it() -> None:
    tests = {item.name for _, item in defined_under("tests/**/test_*.py", "plugins/*/tests/**/test_*.py")}
    named = {hook for hook in all_hooks() if any(is_named_after(test, hook) for test in tests)}
    missing = set(all_hooks()) - named - set(NOBODY_ASKS_YET)
    assert not missing, f"no test has the name of {', '.join(sorted(missing))} in its own"


NOBODY_ASKS_YET: Mapping[str, str] = {}


@pytest.mark.parametrize("hook", all_hooks())
def test_a_hook_is_called(hook: str) -> None:
    """A hook that nothing calls is a promise that nobody keeps."""
    callers = [
        path
        for path in (ROOT / "crowbar_core").rglob("*.py")
        if path.name != "hookspecs.py" and re.search(rf"[\".]{hook}\b", path.read_text(encoding="utf-8"))
    ]
    assert bool(callers) != (hook in NOBODY_ASKS_YET)


def is_named_after(test: str, hook: str) -> bool:
    return test.startswith("test_") and bool(re.search(rf"(?:^|_){hook}(?:_|$)", test.removeprefix("test_")))


@pytest.mark.parametrize("setting", [item.name for item in fields(Settings)])
def test_a_setting_is_documented(setting: str) -> None:
    item = next(item for item in fields(Settings) if item.name == setting)
    assert item.metadata["help"].endswith(".")
    assert f"\n| `{setting}` |" in reference("settings.md")


@pytest.mark.parametrize("setting", [item.name for item in fields(Settings)])
def test_a_setting_is_heeded(setting: str) -> None:
    """A setting that nothing reads is a promise that nobody keeps."""
    used_by = {"data_dir": "data_path", "database_url": "url", "admin_ranges": "admin_networks"}.get(setting, setting)
    for path in (ROOT / "crowbar_core").rglob("*.py"):
        if path.name != "settings.py" and re.search(rf"\bsettings\.{used_by}\b", path.read_text(encoding="utf-8")):
            return
    pytest.fail(f"nothing reads the setting {setting}")


def commands_of_core() -> Iterator[tuple[str, click.Command]]:
    top = click.Context(root, info_name="crowbar")
    for name in COMMANDS:
        command = root.get_command(top, name)
        assert command is not None
        yield from subcommands(f"crowbar {name}", command, top)


def commands_of_barclamps() -> Iterator[tuple[str, click.Command]]:
    """Those of the packages in plugins/, the examples apart."""
    top = click.Context(root, info_name="crowbar")
    for one in metadata.entry_points(group="crowbar.commands"):
        package = one.dist.name if one.dist is not None else ""
        if (ROOT / "plugins" / package).is_dir() and not package.startswith("crowbar-example"):
            yield from subcommands(f"crowbar {one.name}", one.load(), top)


def subcommands(name: str, command: click.Command, parent: click.Context) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, parent=parent, info_name=name)
        for verb in command.list_commands(context):
            below = command.get_command(context, verb)
            assert below is not None
            yield from subcommands(f"{name} {verb}", below, context)


@pytest.mark.parametrize(
    "page, commands",
    [("cli.md", commands_of_core), ("cli-of-barclamps.md", commands_of_barclamps)],
    ids=["core", "barclamps"],
)
def test_every_command_is_documented(page: str, commands: Callable[[], Iterator[tuple[str, click.Command]]]) -> None:
    parts = re.split(r"^#+ (crowbar .*)$", reference(page), flags=re.MULTILINE)
    text = dict(zip(parts[1::2], parts[2::2], strict=True))
    everywhere = reference("cli.md").partition("## crowbar")[0]
    found = list(commands())
    assert len(found) > 50, "there are many, here and there"
    for name, command in found:
        assert name in text, f"docs/reference/{page} has no {name}"
        assert command.help, f"{name} needs a help text"
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{name} {option.opts[0]} needs a help text"
                said = f"`{option.opts[0]}`"
                assert said in text[name] or said in everywhere, f"docs/reference/{page}: {name} has no {said}"


def test_every_rest_operation_is_documented(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=str(tmp_path), safe_mode=True))
    try:
        described = document(app, crowbar_core.__version__)["paths"]
        routes = {
            (method, re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule))
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            if rule.rule.startswith("/api/")
        }
    finally:
        app.extensions["crowbar"].close()
    text = reference("rest.md")
    operations = {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert routes <= operations, f"not in the OpenAPI document: {sorted(routes - operations)}"
    for method, path in operations:
        assert f"`{method} {path}`" in text, f"docs/reference/rest.md has no {method} {path}"


def test_every_state_and_every_transition_is_documented() -> None:
    text = reference("states.md")
    picture = (ROOT / "docs" / "explanation" / "states.md").read_text(encoding="utf-8")
    for state in State:
        assert f"| {state.name} | {int(state)} |" in text
        assert f"\n| {state.name} | " in picture, f"docs/explanation/states.md does not say what {state.name} is"
    for run_state in RunState:
        assert f"| `{run_state}` |" in text
    for (start, end), why in TRANSITIONS.items():
        assert f"| {start.name} | {end.name} | {why} |" in text
        assert f"{start.name} --> {end.name}:" in picture


def public_errors() -> list[str]:
    return [name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, CrowbarError)]


@pytest.mark.parametrize("error", public_errors())
def test_an_error_is_documented(error: str) -> None:
    tree, rows = reference("errors.md").split("| class |")
    assert re.search(rf"^[ │├└─]*{error} ", tree, re.MULTILINE), f"the tree at the top of errors.py has no {error}"
    assert f"| `{error}` | `{getattr(errors, error).code}` |" in rows


def test_every_public_name_is_documented() -> None:
    known = reference("barclamp.md") + reference("errors.md")
    aliases = {"Intent", "Json", "Outcome", "hookspec", "__version__"}
    for name in set(crowbar_core.__all__) - aliases:
        assert re.search(rf"^## {name}$|^\| `{name}` \|", known, re.MULTILINE), f"no page of the reference has {name}"


def test_every_environment_variable_is_documented() -> None:
    text = reference("environment.md")
    known = {f"CROWBAR_{item.name.upper()}" for item in fields(Settings)}
    unknown = set()
    for path in [*ROOT.glob("crowbar_core/**/*.py"), *ROOT.glob("plugins/*/crowbar_*/**/*.py")]:
        for name in re.findall(r"\bCROWBAR_[A-Z][A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")):
            spelt = name in text or name in known or name.startswith(("CROWBAR_JIG_SCRIPT_", "CROWBAR_PLUGINS_"))
            if not spelt and name not in INTERNAL:
                unknown.add(f"{name} ({name_of(path)})")
    assert not unknown, f"docs/reference/environment.md has no {', '.join(sorted(unknown))}"


INTERNAL = {
    "CROWBAR_COMPLETE",  # click's, set by the completion script
    "CROWBAR_LAB_ID",  # tells a lab's processes from others
    "CROWBAR_LAST", "CROWBAR_LIB", "CROWBAR_RUN",  # between the script jig and its own shell functions
}  # fmt: skip


def test_the_changelog_has_a_section_for_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## .*\b{re.escape(crowbar_core.__version__)}\b", text, re.MULTILINE)
    assert re.search(r"^### (Added|Changed|Deprecated|Removed|Fixed|Security)$", text, re.MULTILINE)
