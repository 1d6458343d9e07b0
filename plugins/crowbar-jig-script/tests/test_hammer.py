"""The hammer ``ssh`` on a node of a lab: it calls the node's own programs, or says why it cannot."""

from __future__ import annotations

from dataclasses import asdict

import crowbar_jig_script
import pytest
from crowbar_jig_script.hammer import SshHammer
from crowbar_jig_script.settings import Settings

from crowbar_core import NodeUnreachable, NodeView, Refused
from crowbar_core.testing import Testbed, wait_until

from .conftest import Site


def perform(node: NodeView, action: str, settings: Settings) -> str:
    made = SshHammer({})
    made.node = node
    with Testbed(crowbar_jig_script, config={"jig-script": asdict(settings)}) as bed, bed.serving():
        return made.perform(action)


def programs(site: Site) -> None:
    """In place of the node's: they say that they were called, and do nothing else."""
    for name in ("reboot", "poweroff"):
        site.on_node(
            f"mkdir -p /usr/local/sbin; printf '#!/bin/sh\\necho {name} >>/tmp/called\\n' >/usr/local/sbin/{name}; "
            f"chmod 755 /usr/local/sbin/{name}; rm -f /tmp/called"
        )


@pytest.mark.lab
@pytest.mark.parametrize(
    "action, program", [("cycle", "reboot"), ("reset", "reboot"), ("off", "poweroff"), ("soft", "poweroff")]
)
def test_a_node_restarts_or_shuts_down_through_its_own_system(site: Site, action: str, program: str) -> None:
    programs(site)
    assert perform(site.view(), action, site.jig.connections.settings) == f"{program} is under way"
    wait_until(lambda: site.on_node("cat /tmp/called") == f"{program}\n", seconds=30.0)


def test_a_node_without_an_address_is_out_of_reach() -> None:
    with pytest.raises(NodeUnreachable, match="n1 has no address"):
        perform(NodeView(id=1, name="n1"), "cycle", Settings())


@pytest.mark.lab
def test_a_node_without_the_program_is_told_of(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowbar_jig_script.hammer.COMMANDS", {"off": "no-such-program"})
    with pytest.raises(Refused, match="no program 'no-such-program'"):
        perform(site.view(), "off", site.jig.connections.settings)
