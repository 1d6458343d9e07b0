"""Crowbar's own PostgreSQL is killed while a real BIND is told: nothing is lost, and it goes on where it was."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import crowbar_dns
import pytest
from crowbar_dns import database, entries, services
from crowbar_dns.comparing import gather
from crowbar_dns.drivers import driver_of
from crowbar_dns.tables import entries as table
from crowbar_dns.testing import REVERSE
from crowbar_lab.lab import Lab
from crowbar_lab.testing import inside
from sqlalchemy import event, select

from crowbar_core.testing import FakeClock, PostgresServer, Testbed

from .servers import KEY, Bind

pytestmark = [pytest.mark.lab, pytest.mark.postgres]

ADDRESS, ZONE = "10.77.0.1", "one.test"


@contextmanager
def killed_at(bed: Testbed, server: PostgresServer, at: int) -> Iterator[list[str]]:
    """The statements; before that of this number the database is killed (0: never)."""
    said: list[str] = []
    dead = threading.Event()

    def note(_: Any, __: Any, statement: str, *more: Any) -> None:
        said.append(statement)
        if len(said) == at:  # in whichever thread: others may notice before it has ended
            server.kill()
            dead.set()

    event.listen(bed.parts.store.engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(bed.parts.store.engine, "before_cursor_execute", note)
        assert at == 0 or dead.wait(60)


def follow(bed: Testbed) -> None:
    """All that is heard of a change, and what is told of it."""
    bed.deliver()
    with bed.serving():
        database.tell(lambda line: None)


@pytest.mark.timeout(3000)
def test_nothing_is_lost_and_nothing_differs_after_kills_of_the_database_at_any_place_of_a_refresh(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    kills = pytestconfig.getoption("--dns-kills")

    def names() -> dict[Any, Any]:
        with bed.read() as session:
            rows = session.execute(select(table.c.name, table.c.type, table.c.value, table.c.ttl)).all()
        return gather(entries.record_of(one) for one in rows)

    def there() -> dict[Any, Any]:
        driver = driver_of("rfc2136", bind.server)
        found = {key: one for zone in bind.zones for key, one in gather(driver.read(zone)).items()}
        return {key: one for key, one in found.items() if key[1] in ("A", "AAAA", "PTR")}

    def rename(number: int) -> str:
        new = f"r{number}.{ZONE}"
        answer = bed.web("operator").patch(f"/api/v2/nodes/{bed.node(node).name}", json={"name": new})
        assert answer.status_code == 200, answer.json
        return new

    def work() -> None:
        nonlocal node
        assert isinstance(bed.clock, FakeClock)
        bind.start()
        [bound] = bed.node_roles(role="dns-service")
        with bed.change() as change:
            services.register(
                change, bound.id, name="own", driver="rfc2136", addresses=[ADDRESS], port=bind.port,
                zones=sorted(bind.zones), shared=[], resolves=False, secret=KEY,
                options={"key_name": "crowbar", "algorithm": "hmac-sha256", "timeout": 5.0},
            )  # fmt: skip
        for at in range(3):
            bed.add_node(f"n{at}.{ZONE}", hint={"hint-admin-v4addr": f"10.9.0.{at + 1}/16"})
        node = f"n0.{ZONE}"
        follow(bed)
        assert there() == names() != {}
        node = rename(0)
        with killed_at(bed, server, 0) as every:
            follow(bed)
        places = random.Random(3).sample(range(1, len(every) + 1), min(kills, len(every)))
        for number, at in enumerate(sorted(places), start=1):
            node = rename(number)
            with killed_at(bed, server, at), pytest.raises(Exception, match=r"database|connection"):
                follow(bed)
            server.start()
            for _ in range(2):  # whoever could not hear of it is told again a little later
                bed.clock.advance(10)
                follow(bed)
            assert (node, "A") in names()
            assert there() == names(), every[at - 1]
        bed.deliver()
        with bed.serving():
            assert not list(database.problems())[1:]  # but that nobody keeps networks

    node = ""
    with (
        PostgresServer(durable=True) as server,
        Testbed("jig-script", crowbar_dns, database_url=server.create_database()) as bed,
        Lab.create(f"dnsk-{os.getpid()}", nodes=0, state_dir=tmp_path / "labs", owner=os.getpid()) as lab,
    ):
        bed.bind("dns-service")
        bed.bind("dns-database")
        bed.commit()
        bind = Bind(lab, tmp_path / "named", ADDRESS, (ZONE, *REVERSE), 5360)
        try:
            inside(lab, work, timeout=3000)
        finally:
            bind.stop()
