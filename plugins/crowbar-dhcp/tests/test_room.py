"""Room for what many machines ask at once: what the kernel gives each socket, on a kernel of its own (UML)."""

from __future__ import annotations

from pathlib import Path

import pytest
from crowbar_dhcp import program
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside, rack_fixture

from .site import Site

pytestmark = pytest.mark.lab

rack = rack_fixture(nodes=2, cards=1)
MUCH = 4 << 20
ROOMS = Path(__file__).with_name("rooms.py").read_text(encoding="utf-8")


def first(rack: Lab, script: str) -> str:
    """It in the first network namespace of the rack's kernel, whose setting it is."""
    done = rack.run_in_switch(["nsenter", "-t", "1", "-n", "unshare", "-m", "sh", "-eu"], given=script, check=True)
    assert done.stderr == ""
    return done.stdout


def has(rack: Lab) -> int:
    return int(first(rack, "cat /proc/sys/net/core/rmem_default"))


def put(rack: Lab, value: int) -> None:
    first(rack, f"echo {value} >/proc/sys/net/core/rmem_default")


def run(rack: Lab, *steps: tuple[int, str]) -> list[str]:
    """What the role does with so much ``room``, each after another command; what is kept after each for the machine's
    next start, and whether servers are to be started anew."""
    made = "".join(
        f"{before}\nroom={room}\n{program._text('room.sh')}\ncat $file 2>/dev/null || echo none\n"
        "echo $reopened; echo --\n"
        for room, before in steps
    )
    return first(rack, "mount -t tmpfs none /etc/sysctl.d\n" + made).split("--\n")[:-1]


def test_the_kernel_gives_more_and_what_it_gave_before_when_it_is_no_longer_asked(rack: Lab) -> None:
    before = has(rack)
    assert before < MUCH
    says = f"# Written by Crowbar (dhcp-server); it was {before}\nnet.core.rmem_default = "
    assert run(rack, (MUCH, ""), (MUCH, ""), (2 * MUCH, ""), (MUCH, ""), (0, "")) == [
        f"{says}{MUCH}\nyes\n", f"{says}{MUCH}\nno\n", f"{says}{2 * MUCH}\nyes\n",
        f"{says}{MUCH}\nyes\n", "none\nyes\n",
    ]  # fmt: skip
    assert has(rack) == before


def test_what_somebody_else_has_set_is_never_made_less(rack: Lab) -> None:
    before = has(rack)
    other = f"echo {3 * MUCH} >/proc/sys/net/core/rmem_default"
    try:
        assert run(rack, (MUCH, other)) == ["none\nno\n"]
        assert run(rack, (4 * MUCH, ""), (MUCH, "")) == [
            f"# Written by Crowbar (dhcp-server); it was {3 * MUCH}\nnet.core.rmem_default = {4 * MUCH}\nyes\n",
            "none\nyes\n",
        ]
        assert has(rack) == 3 * MUCH
    finally:
        put(rack, before)


def rooms(rack: Lab) -> set[int]:
    """What the sockets of Kea on the first node have room for."""
    asked = rack.ssh(rack.nodes[0].name, ["python3 - 0 $(pidof kea-dhcp4 kea-dhcp6)"])
    said = rack.exec(asked, input=ROOMS, capture_output=True, text=True, timeout=60, check=True)
    return {int(line) for line in said.stdout.split()}


def test_where_the_kernel_is_not_the_nodes_to_rule_it_is_said_and_kea_has_what_there_is(rack: Lab) -> None:
    """Nodes of a rack are network namespaces of its kernel."""
    before = has(rack)

    def work() -> None:
        server = rack.nodes[0].name
        with Site(rack) as site:
            site.bind("dhcp-server", server)
            assert site.bed.state("dhcp-server", server) == "ACTIVE", site.bed.why("dhcp-server", server)
            said = f"net.core.rmem_default cannot be changed from here: let it be {MUCH} at least"
            assert any(line.startswith(said) for line in site.bed.log("dhcp-server", server))
            assert rooms(rack) == {before}
            put(rack, MUCH)
            site.bed.unbind("dhcp-server", server)
            site.settle()
            site.bind("dhcp-server", server)
            assert rooms(rack) == {MUCH}

    try:
        inside(rack, work)
    finally:
        put(rack, before)
