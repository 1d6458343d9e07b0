"""The example's scripts on real nodes: every member's file lists all members, and the report waits for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import crowbar_example
import crowbar_jig_script
import pytest
from crowbar_jig_script.jig import ScriptJig
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside

from crowbar_core.testing import Testbed

pytestmark = pytest.mark.lab


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.create(
        f"example-{os.getpid()}", nodes=3, state_dir=tmp_path_factory.mktemp("lab"), owner=os.getpid()
    ) as lab:
        yield lab


def content(lab: Lab, node: str, path: str) -> list[str]:
    shown = lab.exec(lab.ssh(node, ["cat", path]), capture_output=True, text=True, timeout=30)
    assert shown.returncode == 0, shown.stderr
    return str(shown.stdout).splitlines()


def test_members_know_each_other_and_the_report_lists_them(lab: Lab) -> None:
    config = {"key_file": str(lab.private_key)}
    inside(lab, lambda: annealed(lab, config))
    members = [f"{node.ipv4} {node.name}" for node in sorted(lab.nodes, key=lambda node: node.name)]
    for node in lab.nodes:
        assert content(lab, node.name, "/etc/crowbar-example/members") == members
    greeting, *names = content(lab, lab.nodes[0].name, "/etc/crowbar-example/report")
    assert greeting == f"Moin from {lab.nodes[0].name} to:"
    assert names == sorted(node.name for node in lab.nodes)


def annealed(lab: Lab, config: dict[str, Any]) -> None:
    """The whole way on a core in this process, with the real jig and the real probe."""
    jigs, tables = {"script": ScriptJig(config)}, {"jig-script": config}
    with Testbed(crowbar_jig_script, crowbar_example, jigs=jigs, config=tables) as crowbar:
        for node in lab.nodes:
            hint = {"hint-admin-v4addr": f"{node.ipv4}/24"}
            crowbar.add_node(node.name, hint=hint, host_keys=[node.host_key])
            crowbar.bind("example-hello", node.name)
        admin = lab.nodes[0].name
        crowbar.bind("example-report", admin)
        crowbar.set("example-greeting", "Moin", node=admin)
        crowbar.commit()
        crowbar.anneal_until_quiet(within=60)
        assert set(crowbar.states().values()) == {"ACTIVE"}, crowbar.log("example-report", admin)
        kernel = os.uname().release
        assert crowbar.value("example-kernel", admin, role="example-hello") == kernel
        assert crowbar.value("example-count", admin, role="example-report") == len(lab.nodes)
        assert crowbar.value("example-summary", admin) == f"a member in system, on kernel {kernel}"
        assert f"{admin} runs {kernel}" in crowbar.log("example-report", admin)
        assert f"Moin, {admin} ({lab.nodes[0].ipv4})" in crowbar.log("example-hello", admin)
