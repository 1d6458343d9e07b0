"""The lab as a barclamp: no roles, but, by its entry points, the commands ``crowbar lab`` and ``crowbar demo`` and the
hammer ``lab``.
"""

from __future__ import annotations

from crowbar_core import Barclamp, hookimpl


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(name="lab", help="Light nodes made of namespaces, for demos, tests and benchmarks.")
