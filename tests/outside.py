"""What tests need that start Crowbar as people do, in processes of its own: of the core's insides it knows nothing."""

import functools
import os
from importlib.metadata import entry_points
from pathlib import Path


def python_path(*places: Path) -> str:
    """PYTHONPATH for a process that is to find modules in ``places`` too: what stands there already still counts."""
    return os.pathsep.join([*map(str, places), *filter(None, [os.environ.get("PYTHONPATH")])])


@functools.cache
def installed_barclamps() -> tuple[str, ...]:
    """Whatever else is installed here must not take part in these tests."""
    return tuple(sorted({entry.name for entry in entry_points(group="crowbar.barclamps")}))
