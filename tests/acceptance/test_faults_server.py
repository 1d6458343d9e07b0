"""The server is killed or stopped, or its work fails: everything in one process, on the embedded database."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

from crowbar_core.cli.root import root
from tests.acceptance.processes import Site


def states(runs: list[dict[str, Any]]) -> list[str]:
    return [run["state"] for run in runs]


def answers(site: Site) -> bool:
    try:
        return site.request("GET", "healthz").ok
    except requests.ConnectionError:
        return False


def test_a_server_killed_in_the_middle_goes_on_where_it_was(site: Site) -> None:
    server = site.start("serve", lease_seconds=120)
    nodes = site.build(3, "after")
    site.commit()
    for node in nodes:
        site.wait_begun("slow", node)
    site.open(nodes[0])
    site.wait(lambda: site.node_role(nodes[0], "after")["state_name"] == "ACTIVE", "the first node is done")
    server.kill()
    site.start("serve", lease_seconds=120)
    # Long before the leases end: a process that died on this machine is known to be dead.
    for node in nodes[1:]:
        site.wait_begun("slow", node, times=2)
    site.open()
    site.wait_active()
    site.check()
    assert states(site.runs_of(nodes[1], "slow")) == ["lost", "succeeded"]
    assert states(site.runs_of(nodes[0], "slow")) == ["succeeded"]


def test_a_server_process_killed_below_its_master_is_replaced_and_goes_on(site: Site) -> None:
    server = site.start("serve", lease_seconds=120)
    (node,) = site.build(1, "after")
    site.commit()
    site.wait_begun("slow", node)
    (worker,) = server.children()
    os.kill(worker, signal.SIGKILL)
    site.wait_begun("slow", node, times=2)
    site.open()
    site.wait_active()
    site.check()


def test_a_run_whose_fate_is_unknown_is_not_repeated_when_it_is_destructive(site: Site) -> None:
    server = site.start("serve")
    (node,) = site.build(1, "once")
    site.commit()
    site.wait_begun("once", node)
    server.kill()
    site.start("serve")
    site.wait(lambda: site.node_role(node, "once")["state_name"] == "ERROR", "once is in ERROR")
    assert "fate unknown" in site.node_role(node, "once")["status"]
    assert len(site.journal("begin", node, "once")) == 1


@pytest.mark.slow
def test_a_server_told_to_stop_lets_runs_finish_and_hands_back_what_does_not(site: Site) -> None:
    server = site.start("serve")
    short, long = site.build(2, "after")
    site.commit()
    site.wait_begun("slow", short)
    site.wait_begun("slow", long)
    server.signal(signal.SIGTERM)
    site.wait(lambda: not answers(site), "the server takes no more requests")
    site.open(short)
    code, seconds = server.terminate()
    assert code == 0, server.log
    assert seconds < 60
    assert site.journal("end", short, "slow")
    assert site.journal("cancelled", long, "slow")
    # Nothing new was begun after the order to stop.
    assert not site.journal("begin", short, "after")
    site.start("serve")
    site.open()
    site.wait_active()
    site.check()
    assert states(site.runs_of(short, "slow")) == ["succeeded"]
    handed_back, again = site.runs_of(long, "slow")
    assert (handed_back["state"], again["state"]) == ("cancelled", "succeeded")
    assert again["attempt"] == 1, "handing back does not count as an attempt"


def test_a_function_that_hangs_is_given_up_and_what_it_says_later_changes_nothing(site: Site) -> None:
    site.start("serve")
    stuck, other = site.build(2)
    site.bind(stuck, "hang")
    site.bind(other, "after")
    site.open(other)
    site.commit()
    site.wait(lambda: site.node_role(stuck, "hang")["state_name"] == "ERROR", "hang is in ERROR")
    assert "timed out after 1 s" in site.node_role(stuck, "hang")["status"]
    site.wait(lambda: site.node_role(other, "after")["state_name"] == "ACTIVE", "the other node goes on")
    site.open("hang")
    site.wait(lambda: site.journal("late", stuck, "hang"), "the function ends after all")
    site.ask("PUT", f"node_roles/{site.node_role(stuck, 'hang')['id']}/retry")
    site.wait_active()
    (late, again) = site.runs_of(stuck, "hang")
    assert (late["state"], again["state"]) == ("failed", "succeeded")
    site.check()


def test_a_failure_that_passes_is_tried_again_after_its_delay(site: Site) -> None:
    site.start("serve")
    (node,) = site.build(1, "flaky")
    site.commit()
    site.wait_active()
    assert states(site.runs_of(node, "flaky")) == ["failed", "failed", "succeeded"]
    site.check()


def test_a_hook_that_raises_stops_nobody_else_and_is_shown_and_tried_again(site: Site) -> None:
    site.start("serve")
    (site.room / "hook-raises").touch()
    site.open()
    (node,) = site.build(1, "after")
    site.commit()
    site.wait(lambda: site.journal("witnessed", node, "after"), "the other plugin hears all of it")
    (failing,) = [one for one in site.all("events/deliveries") if one["plugin"] == "faults"]
    assert "the hook is broken" in failing["error"]
    assert {one["state_name"] for one in site.all("node_roles")} == {"ACTIVE"}
    (site.room / "hook-raises").unlink()
    site.wait(lambda: site.journal("heard", node, "quick"), "the hook is called again")
    site.wait_active()
    site.check()


def test_a_hook_that_hangs_holds_up_nobody_but_its_own_plugin(site: Site) -> None:
    site.start("serve")
    (site.room / "hook-hangs").touch()
    site.open()
    nodes = site.build(2, "after")
    site.commit()
    for node in nodes:
        site.wait_noted("witnessed", node, "after")
    assert {one["state_name"] for one in site.all("node_roles")} == {"ACTIVE"}

    def overrun() -> bool:
        return any("took longer than 1 s" in (one["error"] or "") for one in site.all("events/deliveries"))

    site.wait(overrun, "the overrun is shown")
    (site.room / "hook-hangs").unlink()
    for node in nodes:
        site.wait_noted("heard", node, "quick")
    site.wait_active()
    site.check()


def test_a_hook_that_hangs_for_ever_is_quarantined_until_an_operator_says_so(site: Site) -> None:
    site.start("serve")
    (site.room / "hook-hangs").touch()
    nodes = site.build(5, "quick")
    site.commit()
    told = crowbar(site, "converge", "--timeout", "60")
    assert told.exit_code == 0, told.output

    for node in nodes:
        assert site.journal("witnessed", node, "quick"), "the other plugin has heard all of it"
    failed = crowbar(site, "hooks", "list", "--format", "json")
    assert len(json.loads(failed.stdout)) == len(nodes)
    assert "in quarantine: 3 calls in a row took longer than 1 s" in failed.stdout
    (faults,) = [one for one in site.all("barclamps") if one["name"] == "faults"]
    assert (faults["left_behind"], "3 calls" in faults["quarantine"]) == (3, True)
    (site.room / "hook-hangs").unlink()
    before = len(site.journal("heard"))
    assert "5 of its failed hooks" in crowbar(site, "hooks", "retry", "--barclamp", "faults").output
    site.wait(lambda: len(site.journal("heard")) >= before + len(nodes), "it is called again")
    assert crowbar(site, "hooks", "list", "--format", "json").stdout.strip() == "[]"


def crowbar(site: Site, *args: str) -> Result:
    return CliRunner().invoke(root, args, env=site.as_admin)


@pytest.mark.slow
def test_a_server_told_to_stop_hands_back_what_does_not_listen_and_leaves_what_must_not_be_cut(site: Site) -> None:
    server = site.start("serve", lease_seconds=120)
    deaf, once = site.build(2)
    site.bind(deaf, "deaf")
    site.bind(once, "once")
    site.commit()
    site.wait_begun("deaf", deaf)
    site.wait_begun("once", once)
    code, _ = server.terminate()
    assert code == 0, server.log
    assert not site.journal("cancelled", once, "once"), "nobody told it to stop halfway"
    site.start("serve", lease_seconds=120)
    # Long before any lease ends: both are known not to be held any more.
    site.wait_begun("deaf", deaf, times=2)
    left = site.node_role(once, "once")
    assert (left["state_name"], "fate unknown" in left["status"]) == ("ERROR", True), left
    site.open()
    site.wait(lambda: site.node_role(deaf, "deaf")["state_name"] == "ACTIVE", "it is done by the next server")
    assert len(site.journal("begin", once, "once")) == 1
    assert states(site.runs_of(deaf, "deaf")) == ["cancelled", "succeeded"]


def test_a_node_deleted_during_a_run_takes_the_run_with_it(site: Site) -> None:
    site.start("serve")
    gone, other = site.build(2, "after")
    site.commit()
    site.wait_begun("slow", gone)
    run = site.runs_of(gone, "slow")[0]["id"]
    assert site.request("DELETE", f"api/v2/nodes/{gone}").status_code == 204
    assert site.journal("cancelled", gone, "slow"), "the run had ended before the node went"
    assert site.request("GET", f"api/v2/nodes/{gone}").status_code == 404
    assert site.request("GET", f"api/v2/runs/{run}").status_code == 404
    site.open()
    site.wait_active()
    assert {one["node"] for one in site.all("node_roles")} == {other}
    site.check()


def test_a_cancelled_run_stops_and_waits_until_it_is_released(site: Site) -> None:
    site.start("serve")
    (node,) = site.build(1, "after")
    site.commit()
    site.wait_begun("slow", node)
    run = site.runs_of(node, "slow")[0]["id"]
    site.ask("PUT", f"runs/{run}/cancel", {})
    site.wait(lambda: site.journal("cancelled", node, "slow"), "the run stops")
    site.wait(lambda: site.ask("GET", f"runs/{run}")["state"] == "cancelled", "and has ended")
    slow = site.node_role(node, "slow")["id"]
    assert "held" in site.ask("GET", f"node_roles/{slow}/why")["summary"]
    site.open()
    site.ask("PUT", f"node_roles/{slow}/release")
    site.wait_active()
    site.check()
