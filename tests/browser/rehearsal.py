"""A barclamp for the pages' tests: roles whose runs wait, talk and fail as files in a directory say."""

from __future__ import annotations

import os
import time
from pathlib import Path

from crowbar_core.barclamp import Attribute, Barclamp, Done, Hammer, NavItem, NodeView, Probe, Role, Task, hookimpl
from crowbar_core.errors import PermanentError, RunCancelled

ROOM = Path(os.environ["REHEARSAL_ROOM"])
HOSTILE = "<script>document.title='stolen'</script>\x1b[31mred\x1b[0m"


def talk(task: Task) -> Done:
    """Log a line every tenth of a second until the file ``curtain`` is there."""
    task.log(HOSTILE, stream="stdout")
    spoken = 0
    while not (ROOM / "curtain").exists():
        spoken += 1
        task.log(f"line {spoken} of the play", stream="stdout")
        if task.cancelled.wait(0.1):
            raise RunCancelled("stopped in the middle of the play")
    return Done(wall={"play": {"lines": spoken}})


def stumble(task: Task) -> None:
    """Fail as long as the file ``trapdoor`` is there."""
    task.log("walking across the stage")
    if (ROOM / "trapdoor").exists():
        task.log("the floor gave way", stream="stderr")
        raise PermanentError("The actor fell through the trapdoor.")


def bow(task: Task) -> None:
    time.sleep(0.2)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="rehearsal",
        help="Roles for trying out the pages",
        roles=(
            Role(name="stage", jig="noop", description="Somewhere to stand"),
            Role(
                name="play",
                jig="python",
                requires=("stage",),
                run=talk,
                attributes=(
                    Attribute(name="play-title", schema={"type": "string"}, default="Hamlet", map="play/title"),
                    Attribute(name="play-lines", schema={"type": "integer"}, map="play/lines", writable=False),
                ),
            ),
            Role(name="walk", jig="python", requires=("stage",), run=stumble),
            Role(name="bow", jig="python", requires=("walk",), run=bow),
            Role(name="strike", destructive=True, description="Take the stage apart"),
        ),
    )


class Lever(Hammer):
    """Writes each pull into the file ``lever``."""

    def actions(self) -> tuple[str, ...]:
        return ("off", "on", "reset", "status")

    def perform(self, action: str) -> str:
        with (ROOM / "lever").open("a") as file:
            file.write(f"{action}\n")
        return f"the lever was pulled: {action}"


@hookimpl
def probe_node(node: NodeView) -> Probe:
    return Probe(alive=True, address="192.0.2.1")


@hookimpl
def register_nav() -> list[NavItem]:
    return [NavItem(label="Playbill", url="/barclamps/rehearsal")]
