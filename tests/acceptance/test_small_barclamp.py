"""A barclamp of less than 250 lines with a table, resource, page, panel, command, periodic job and service, at work."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import requests
from sqlalchemy import create_engine, text

from crowbar_core.testing import free_port
from tests.acceptance.processes import Site, installed
from tests.outside import installed_barclamps

NODE = "n1.example.test"


def page(site: Site, path: str) -> str:
    answer = requests.get(f"{site.url}/{path}", auth=("admin", site.password), timeout=60)
    assert answer.ok, answer.text
    return answer.text


def told(port: int, name: str) -> str:
    """What the service answers; nothing while there is none."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(f"{name}\n".encode())
        return line.makefile().readline()
    return ""


def service_pid(site: Site) -> int:
    """Its process on this machine, as everybody sees it; none while it is being begun again."""
    found = [one["pid"] for one in site.all("processes") if one["kinds"] == ["service asset-desk"]]
    alive = [pid for pid in found if Path(f"/proc/{pid}").exists()]
    return int(alive[0]) if alive else 0


def test_a_small_barclamp_has_all_the_parts_and_they_are_at_work(tmp_path: Path, database_url: str) -> None:
    others = ",".join(name for name in installed_barclamps() if name != "inventory")
    port = free_port()
    with installed(tmp_path / "crowbar", database_url=database_url, inventory_port=port, inventory_seconds=1) as site:
        site.start("serve", disabled_barclamps=others)
        site.ask("POST", "nodes", {"name": NODE})
        # the command makes one, the resource shows and changes it
        made = site.crowbar("assets", "create", "S-1", "--node", NODE, "--place", "rack 2")
        assert site.ask("GET", "assets/S-1") == made
        assert site.ask("PATCH", f"assets/{made['id']}", {"place": "rack 3"})["place"] == "rack 3"
        assert [one["place"] for one in site.crowbar("assets", "list")] == ["rack 3"]
        assert [one["action"] for one in site.all("audits") if one["subject"] == "asset S-1"] == [
            "asset.change", "asset.create",
        ]  # fmt: skip
        # the page and the panel
        assert "rack 3" in page(site, "assets")
        assert "<h2>Asset</h2>" in page(site, f"nodes/{NODE}")
        # the service, a process of its own, which is begun again when it dies
        site.wait(lambda: told(port, "S-1") == "S-1: rack 3\n", "the service answers")
        first = site.wait(lambda: service_pid(site), "the service is a process")
        os.kill(first, signal.SIGKILL)
        site.wait(lambda: service_pid(site) not in (0, first), "it is begun again")
        site.wait(lambda: told(port, "S-1") == "S-1: rack 3\n", "it answers again")
        # the periodic job: what was covered yesterday is not today
        engine = create_engine(database_url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE inventory_assets SET warranty_until = '2001-02-03'"))
        engine.dispose()
        site.wait(lambda: site.ask("GET", "assets", covered="false"), "the job notes it")
        assert site.crowbar("assets", "show", "S-1")["covered"] is False
        site.crowbar("assets", "destroy", "S-1", "--yes")
        assert site.all("assets") == []
