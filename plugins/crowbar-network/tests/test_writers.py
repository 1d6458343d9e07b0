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

PROCESSES, THREADS, TURNS = 2, 32, 2
AT_ONCE = {"few": 80, "full": 800}
"""By ``--addresses``: 10,240 or 102,400 in all, and just so many the network has."""

WRITER = f"""
import sys, threading
import crowbar_jig_script
import crowbar_network
from crowbar_network import allocating, releasing
from crowbar_network.telling import row_of
from crowbar_core import CrowbarError
from crowbar_core.testing import Testbed

process, url, network, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
failures = []

def take(bed, name):
    with bed.change() as change:
        row = row_of(change.session, network)
        taken = allocating.reserve(change, row, reserved_for=name, count=at_once)
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


@pytest.mark.timeout(1800)
def test_of_64_writers_none_gets_an_address_of_another_and_none_is_told_that_it_is_full(
    url: str, pytestconfig: pytest.Config
) -> None:
    at_once = AT_ONCE[pytestconfig.getoption("--addresses", "few")]
    first = 10 << 24 | 64 << 16 | 1
    count = PROCESSES * THREADS * TURNS * at_once
    last = of_key(f"4{first + count - 1:032x}")
    with Testbed(crowbar_jig_script, crowbar_network, database_url=url) as bed:
        with bed.change() as change:
            home = change.session.scalar(select(deployments.c.id).where(deployments.c.system))
            key = networks.create(
                change,
                {"name": "much", "description": "", "deployment_id": home, "category": "test", "group": "default",
                 "v6id": "name", "configure": True, "order": 1},
                given_ranges=[{"name": "host", "first": "10.64.0.1/8", "last": f"{last}/8"}],
            )  # fmt: skip
        with ExitStack() as stack:
            writers = [
                stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", WRITER, str(number), url, str(key), str(at_once)],
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
        assert {int(of_key(row.address)) for row in rows} == set(range(first, first + count))
        assert set(Counter(row.reserved_for for row in rows).values()) == {at_once}
        assert len(rows) == count
        with (
            pytest.raises(Refused, match=f"no address left: all {count:,} of host .* and {count - 5:,} more\\."),
            bed.change() as change,
        ):
            allocating.reserve(change, row_of(change.session, key), reserved_for="one more")
