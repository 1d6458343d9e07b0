"""What files take from the core, and whether it is public: crowbar_core itself and its kits."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import crowbar_core

ROOT = Path(__file__).parent.parent
KITS = frozenset(f"crowbar_core.{name}" for name in ("client", "commands", "pages", "rest", "tables", "testing"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name that is taken from it, "" where it is imported itself) of a file."""
    for item in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(item, ast.Import):
            yield from ((alias.name, "") for alias in item.names)
        elif isinstance(item, ast.ImportFrom) and item.module:
            yield from ((item.module, alias.name) for alias in item.names)


def insides(paths: Iterable[Path], public: frozenset[str] = KITS) -> dict[str, list[str]]:
    """What these files import of the core's that is not public."""
    found = {}
    for path in paths:
        taken = list(imports(path))
        hidden = {module for module, _ in taken if module.startswith("crowbar_core.")}
        hidden |= {f"crowbar_core.{name}" for module, name in taken if module == "crowbar_core" and name} - {
            f"crowbar_core.{name}" for name in crowbar_core.__all__
        }
        if hidden - public:
            found[path.name] = sorted(hidden - public)
    return found


def reached(paths: Iterable[Path]) -> set[Path]:
    """These tests, and what they import of the tests' own, directly or through others."""
    found: set[Path] = set()
    left = list(paths)
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            names = {name for module, taken in imports(path) for name in (module, f"{module}.{taken}")}
            files = (ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("tests."))
            left += [file for file in files if file.is_file()]
    return found
