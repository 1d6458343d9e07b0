"""A barclamp that tells of its bottles, and makes a role of each cask."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType

from crowbar_core import Attribute, Barclamp, DefineRole, Done, RemoveRole, Role, Task, cluster, hookimpl, hookspec


@dataclass(frozen=True, kw_only=True)
class Bottle:
    name: str
    years: tuple[int, ...] = ()


@hookspec
def on_bottle_open(bottle: Bottle) -> None: ...


def fill(task: Task) -> Done:
    return Done(wall={"filled": f"{task.role.name} of {task.role.template['wine']}"})


@hookimpl
def register_barclamp() -> Barclamp:
    cask = Role(name="cask", jig="python", run=fill, abstract=True)
    return Barclamp(name="cellar", roles=(cask,), defines=("cask-*",))


@hookimpl
def register_hookspecs() -> ModuleType:
    return sys.modules[__name__]


def open_bottles(*names: str) -> None:
    with cluster().change() as change:
        for name in names:
            change.publish("on_bottle_open", "bottle", bottle=Bottle(name=name, years=(1998, 2001)))


def define(name: str, wine: str, *, undo: bool = False) -> None:
    filled = Attribute(name=f"{name}-filled", map="filled", schema={"type": "string"})
    with cluster().change() as change:
        change.apply(DefineRole(role=Role(name=name, like="cask", template={"wine": wine}, attributes=(filled,))))
        if undo:
            raise KeyboardInterrupt


def try_define(name: str) -> str:
    try:
        define(name, "air", undo=True)
    except KeyboardInterrupt:
        return "undone"
    return "defined"


def remove(name: str) -> None:
    cluster().apply([RemoveRole(name=name)])
