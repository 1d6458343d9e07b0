"""64 writers in two processes take addresses of one network at once: each address once, all of them, no more."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import crowbar_jig_script
import crowbar_network
import pytest
from crowbar_network import allocating, networks
from crowbar_network.addressing import of_key
from crowbar_network.tables import allocations, gaps
from crowbar_network.telling import row_of
from sqlalchemy import select

from crowbar_core import Refused
from crowbar_core.tables import deployments
from crowbar_core.testing import PostgresServer, Testbed

PROCESSES, THREADS, TURNS, AT_ONCE = 2, 32, 2, 80
ALL = PROCESSES * THREADS * TURNS * AT_ONCE
"""10,240: just so many addresses the network has."""

WRITER = f"""
import sys, threading
import crowbar_jig_script
import crowbar_network
from crowbar_network import allocating, releasing
from crowbar_network.telling import row_of
from crowbar_core import CrowbarError
from crowbar_core.testing import Testbed

process, url, network = sys.argv[1], sys.argv[2], int(sys.argv[3])
failures = []

def take(bed, name):
    with bed.change() as change:
        row = row_of(change.session, network)
        taken = allocating.reserve(change, row, reserved_for=name, count={AT_ONCE})
        # Some are given back, in another order, and as many are taken again.
        for one in taken[::-40]:
            releasing.release(change, one.id)
        for one in taken[::-40]:
            allocating.reserve(change, row, reserved_for=name)

def write(bed, thread):
    turn = 0
    while turn < {TURNS}:
        try:
            take(bed, f"{{process}}/{{thread}}/{{turn}}")
            turn += 1
        except CrowbarError as error:
            if error.status != 503:  # 503: the others have kept it waiting for so long that it should ask again
                failures.append(repr(error))
                return

with Testbed(crowbar_jig_script, crowbar_network, database_url=url) as bed:
    print("ready", flush=True)
    if sys.stdin.readline() == "go\\n":
        threads = [threading.Thread(target=write, args=(bed, thread)) for thread in range({THREADS})]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
print(failures, flush=True)
sys.exit(bool(failures))
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/crowbar.db"
        return
    server: PostgresServer = request.getfixturevalue("crowbar_postgres")
    made = server.create_database()
    yield made
    server.drop_database(made)


def test_of_64_writers_none_gets_an_address_of_another_and_none_is_told_that_it_is_full(url: str) -> None:
    with Testbed(crowbar_jig_script, crowbar_network, database_url=url) as bed:
        with bed.change() as change:
            home = change.session.scalar(select(deployments.c.id).where(deployments.c.system))
            key = networks.create(
                change,
                {"name": "much", "description": "", "deployment_id": home, "category": "test", "group": "default",
                 "v6id": "name", "configure": True, "order": 1},
                given_ranges=[{"name": "host", "first": "10.64.0.1/16", "last": f"10.64.{ALL >> 8}.{ALL & 255}/16"}],
            )  # fmt: skip
        with ExitStack() as stack:
            writers = [
                stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", WRITER, str(number), url, str(key)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
                for number in range(PROCESSES)
            ]
            for one in writers:
                stack.callback(one.kill)
            assert [one.stdout.readline() for one in writers if one.stdout] == ["ready\n"] * PROCESSES
            for one in writers:
                assert one.stdin is not None
                one.stdin.write("go\n")
                one.stdin.flush()
            assert [one.stdout.read().splitlines()[-1] for one in writers if one.stdout] == ["[]"] * PROCESSES
        with bed.read() as session:
            rows = session.execute(select(allocations.c.address, allocations.c.reserved_for)).all()
            assert session.execute(select(gaps)).all() == []
        assert {int(of_key(row.address)) for row in rows} == {(10 << 24) + (64 << 16) + at for at in range(1, ALL + 1)}
        assert set(Counter(row.reserved_for for row in rows).values()) == {AT_ONCE}
        assert len(rows) == ALL
        with (
            pytest.raises(Refused, match=r"no address left: all 10,240 of host .* and 10,235 more\."),
            bed.change() as change,
        ):
            allocating.reserve(change, row_of(change.session, key), reserved_for="one more")
