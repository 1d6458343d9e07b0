"""What it takes to find out what should be served, among many nodes and among few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import crowbar_dhcp
import crowbar_jig_script
import crowbar_network
from crowbar_dhcp.database import wanted
from crowbar_dhcp.hosts import keep
from sqlalchemy import Engine, event

from crowbar_core import Barclamp, Json, NodeView, hookimpl
from crowbar_core.testing import FakeClock, Testbed


class Files:
    """Says at once what many nodes boot."""

    asked = 0

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="files", help="Boot files.")

    @hookimpl
    def boots_of(self, nodes: Sequence[NodeView]) -> Mapping[int, Mapping[str, Json]]:
        self.asked += 1
        return {one.id: {"dhcp4": {"ipxe": "http://10.0.0.1/boot.ipxe"}} for one in nodes}


@contextmanager
def statements() -> Iterator[list[str]]:
    said: list[str] = []

    def note(_: Any, __: Any, statement: str, *more: Any) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_a_refresh_asks_boots_of_once_and_as_often_for_many_nodes_as_for_few_and_writes_only_what_is_otherwise(
    fake_clock: FakeClock,
) -> None:
    files = Files()
    with Testbed(crowbar_jig_script, crowbar_network, crowbar_dhcp, files, clock=fake_clock) as bed:
        made = bed.web("operator").post("/api/v2/networks", json={
            "name": "admin", "category": "admin", "conduit": "?1g1",
            "ranges": [{"name": "host", "first": "10.0.0.10/16", "last": "10.0.9.0/16"}],
        })  # fmt: skip
        assert made.status_code == 201, made.json

        def refresh() -> list[str]:
            files.asked = 0
            with statements() as said, bed.serving():
                now = wanted({})
                with bed.change() as change:
                    keep(change, now.serving, now.machines)
            assert files.asked == 1
            return said

        def add(first: int, last: int) -> None:
            with bed.change() as change:
                for number in range(first, last):
                    mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
                    change.create_node(f"n{number}.lab.test", hint={"hint-admin-macs": [mac]})

        add(0, 2)
        refresh()
        few = refresh()
        add(2, 400)
        refresh()
        many = refresh()
        assert len(many) == len(few), [one for one in many if one not in few]
        assert not [one for one in many if "dhcp_" in one and one.startswith(("INSERT", "UPDATE", "DELETE"))]
        bed.change_node("n7.lab.test", bootenv="rescue")
        [written] = [one for one in refresh() if "dhcp_" in one and one.startswith(("INSERT", "UPDATE", "DELETE"))]
        assert written.startswith("UPDATE dhcp_hosts")
