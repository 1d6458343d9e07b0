"""The disk under the embedded database is full, and then it is not."""

from __future__ import annotations

import subprocess

import pytest

from tests.acceptance.processes import Site
from tests.services import find_program

pytestmark = pytest.mark.lab  # a mount of its own, which takes root

MOUNT = 'mkdir -p "$CROWBAR_DATA_DIR" && mount -t tmpfs -o size=6m crowbar-test "$CROWBAR_DATA_DIR" && exec "$@"'


def test_a_full_disk_is_said_and_what_was_under_way_goes_on_when_there_is_room(site: Site) -> None:
    server = site.start("serve", wrapper=(find_program("unshare"), "--mount", "sh", "-c", MOUNT, "sh"))
    (node,) = site.build(1, "after")
    inside = [find_program("nsenter"), f"--mount=/proc/{server.popen.pid}/ns/mnt", "--", "sh", "-c"]
    filler = f"{site.home}/data/filler"
    site.commit()
    site.wait_begun("slow", node)
    subprocess.run([*inside, f"cat /dev/zero >{filler} 2>/dev/null; true"], check=True, timeout=60)
    refused = site.wait(lambda: refusal(site), "a change is refused")
    assert "cannot write: database or disk is full" in refused
    assert site.ready().status_code == 503
    assert "disk" in site.ready().json()["detail"]
    site.open()
    site.wait(lambda: site.journal("end", node, "slow"), "the run ends")
    server.find("database or disk is full")
    assert site.request("GET", "healthz").status_code == 200
    subprocess.run([*inside, f"rm {filler}"], check=True, timeout=60)
    site.wait(lambda: site.ready().status_code == 200, "readiness")
    site.wait_active()
    site.check()
    assert {run["state"] for run in site.all("runs")} == {"succeeded"}


def refusal(site: Site) -> str:
    """What the API says to a change that finds no room; empty while there is some left."""
    body = {"name": f"big{len(site.all('deployments'))}", "description": "x" * 4000}
    answer = site.request("POST", "api/v2/deployments", body)
    assert answer.status_code in (201, 503), answer.text
    return "" if answer.ok else str(answer.json()["detail"])
