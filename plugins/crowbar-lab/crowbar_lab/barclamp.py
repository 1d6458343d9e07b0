"""The lab as a barclamp: no roles, but the commands ``crowbar lab`` and ``crowbar demo`` and, by its entry point, the
hammer ``lab``.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from crowbar_core import Barclamp, hookimpl
from crowbar_lab.commands import lab
from crowbar_lab.demo import demo


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(name="lab", help="Light nodes made of namespaces, for demos, tests and benchmarks.")


@hookimpl
def register_commands() -> Iterable[click.Command]:
    return (lab, demo)
