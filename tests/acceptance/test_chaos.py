"""Workers killed and stopped, connections cut, nodes declared dead, at random: the nodes' own ledgers are the witness.

A few rounds of it run with the other tests. All of it, which takes some twenty minutes:
`./dev test -s --chaos=full tests/acceptance/test_chaos.py`, or `tox -e chaos`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from crowbar_lab.lab import Lab
from crowbar_lab.registration import register

from crowbar_core.client import Target
from tests.acceptance.processes import Process, Site, installed
from tests.services import PostgresServer, database_name

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(3600)]

FAULTS = {"few": 30, "full": 300}
"""How many faults are to hit destructive work."""
STOPS = {"few": 15, "full": 200}
"""How often a worker is stopped for longer than its lease."""
LEASE = 2.0
WORKERS = 3


@dataclass
class Arena:
    """Nodes, a server, workers to be harmed, and what was done to them."""

    site: Site
    lab: Lab
    nodes: list[str]
    amount: str
    chance: random.Random
    workers: list[Process] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def on(self, node: str, command: str) -> str:
        done = self.lab.exec(self.lab.ssh(node, [command]), capture_output=True, text=True, timeout=60)
        assert done.returncode != 255, done.stderr
        return str(done.stdout)

    def ledger(self, node: str) -> list[str]:
        return self.on(node, "cat /root/ledger 2>/dev/null").splitlines()

    def ledgers(self) -> dict[str, list[str]]:
        # Each look writes the file of known hosts, which must not be read half-written: so one after another.
        return {node: self.ledger(node) for node in self.nodes}

    def start_worker(self) -> None:
        self.workers.append(self.site.start("annealer", wait=False))

    def at_work(self) -> Counter[int]:
        """Worker's process -> how many runs it carries out, as the server knows it."""
        return Counter(int(run["worker"].split("/")[-3]) for run in self.site.all("runs", state="running"))

    def victim(self) -> tuple[Process, int]:
        """The busiest worker, at some moment of the second that its scripts take, and how many it has under way."""
        known = {worker.popen.pid: worker for worker in self.workers}
        until = time.monotonic() + 3
        while True:
            ((pid, count),) = self.at_work().most_common(1) or [(0, 0)]
            if pid in known and (count > 1 or time.monotonic() > until):
                time.sleep(self.chance.uniform(0.0, 0.7))
                return known[pid], self.at_work()[pid]
            if time.monotonic() > until:
                return self.chance.choice(self.workers), 0

    def kill_one(self) -> int:
        victim, hit = self.victim()
        self.workers.remove(victim)
        victim.kill()
        self.start_worker()
        return hit

    def stop_one(self) -> int:
        victim, hit = self.victim()
        stop(victim, self.chance.uniform(1.2, 2.2))
        return hit

    def declare_dead(self, node: str) -> int:
        self.site.ask("PATCH", f"nodes/{node}", {"alive": False})
        self.site.ask("PUT", f"nodes/{node}/probe")
        return 1


@pytest.fixture
def arena(request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory,
          postgres_server: PostgresServer, postgres_url: str) -> Iterator[Arena]:  # fmt: skip
    """Twenty nodes, and three workers that all may do everything."""
    settings = {
        "database_url": postgres_server.url(database_name(postgres_url)), "lease_seconds": LEASE,
        "heartbeat_seconds": 0.4, "sweep_seconds": 0.3, "probe_seconds": 2, "probe_grace": 3, "concurrency": 12,
        "jig_script_kill_grace": 10, "jig_script_retry_delay": 0.1, "jig_script_lost_after": 6,
    }  # fmt: skip
    state = tmp_path_factory.mktemp("lab")
    seed = request.config.getoption("--chaos-seed") or random.SystemRandom().randrange(1, 10**6)
    with (
        Lab.create(f"chaos-{os.getpid()}", nodes=21, state_dir=state, owner=os.getpid()) as lab,
        installed(tmp_path / "crowbar", lab=lab, **settings) as site,
    ):
        site.start("web")
        register(lab, Target(url=site.url, user="admin", password=site.password))
        nodes = [node.name for node in lab.nodes][1:]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda node: site.ask("PUT", f"nodes/{node}/probe"), nodes))
        one = Arena(site, lab, nodes, request.config.getoption("--chaos"), random.Random(seed))
        for _ in range(WORKERS):
            one.start_worker()
        for worker in one.workers:
            site.wait_ready(worker)
        site.ask("POST", "deployments", {"name": "work"})
        print(f"--chaos-seed={seed}")
        yield one


def test_destructive_work_is_never_done_again_after_a_success_nor_begun_again_without_a_word(arena: Arena) -> None:
    site, chance = arena.site, arena.chance
    ids = {site.bind(node, "s-erase"): node for node in arena.nodes}
    words: Counter[tuple[str, int]] = Counter()
    unknown: set[tuple[str, int]] = set()
    rounds = 0
    pool, redeploying = ThreadPoolExecutor(4), []
    site.commit()
    wanted = FAULTS[arena.amount]
    while sum(arena.faults.values()) < wanted or min(arena.faults[one] for one in ("kill", "stop", "cut")) < wanted / 5:
        if rounds:
            redeploying = [pool.submit(site.ask, "PUT", f"nodes/{node}/redeploy") for node in arena.nodes]
        rounds += 1
        for what in chance.choices(("kill", "stop", "dead"), k=chance.randint(1, 3)):
            if what == "kill":
                arena.faults[what] += arena.kill_one()
            elif what == "stop":
                arena.faults[what] += arena.stop_one()
            else:
                arena.faults[what] += sum(arena.declare_dead(node) for node in chance.sample(arena.nodes, 3))
        for asked in redeploying:
            asked.result()
        # Operators in a hurry retry what is of unknown fate as soon as they see it; others wait what becomes of it.
        patience = {node: chance.choice((0.0, 0.0, 4.0)) for node in arena.nodes}
        seen: dict[str, float] = {}
        until = time.monotonic() + 240
        while True:
            found = {ids[one["id"]]: one for one in site.all("node_roles") if one["id"] in ids}
            if {one["state_name"] for one in found.values()} == {"ACTIVE"} and not site.working():
                break
            assert time.monotonic() < until, f"round {rounds} does not end\n{site.story()}"
            for node, one in found.items():
                if one["state_name"] == "ERROR":
                    assert "fate unknown" in one["status"], (node, one["status"], site.story())
                    unknown.add((node, rounds))
                    if time.monotonic() - seen.setdefault(node, time.monotonic()) >= patience[node]:
                        words[node, rounds] += retried(site, one["id"])
            time.sleep(0.2)
        arena.faults["cut"] = sum(line.startswith("cut") for lines in arena.ledgers().values() for line in lines)
    pool.shutdown()
    ledgers = arena.ledgers()
    again = begun = 0
    for node, lines in ledgers.items():
        assert not [line for line in lines if line.startswith("two")], f"two at once on {node}: {lines}"
        by_token: dict[str, list[str]] = defaultdict(list)
        for line in lines:
            word, token, _ = line.split()
            if word != "cut":
                by_token[token].append(word)
        assert len(by_token) == rounds, f"{node}: {len(by_token)} bindings in {rounds} rounds"
        for number, (token, said) in enumerate(by_token.items(), 1):
            begun += said.count("begin")
            again += said.count("begin") - 1
            assert said.count("end") == 1, f"{node}, {token}: done {said.count('end')} times: {said}"
            assert said[-1] == "end", f"{node}, {token}: begun again after a success: {said}"
            assert said.count("begin") <= 1 + words[node, number], (
                f"{node}, {token}: begun {said.count('begin')} times with {words[node, number]} words: {said}"
            )
    print(
        f"{rounds} rounds on {len(ledgers)} nodes, faults {dict(arena.faults)}: {begun} times begun, of unknown fate"
        f" {len(unknown)}, {sum(words.values())} words of an operator, {again} times begun again by that"
    )
    assert unknown, "none was cut off: nothing has been tried"


def retried(site: Site, node_role: int) -> int:
    """Whether the operator's word was taken: it may have been found to be done in this very moment."""
    answer = site.request("PUT", f"api/v2/node_roles/{node_role}/retry")
    assert answer.status_code in (200, 409), answer.text
    return int(answer.ok)


def test_no_run_touches_a_node_after_a_newer_one_has_begun_there(arena: Arena) -> None:
    site, chance = arena.site, arena.chance
    for node in arena.nodes:
        site.bind(node, "s-touch")
    site.commit()
    stops = 0
    # On a busy machine a stopped worker may go on before anybody has found its leases ended: then there is more to try.
    while stops < STOPS[arena.amount] or (stops < 10 * STOPS[arena.amount] and not site.all("runs", state="lost")):
        # Two of three at once: the third takes over what they held.
        with ThreadPoolExecutor(WORKERS - 1) as pool:
            victims = chance.sample(arena.workers, WORKERS - 1)
            list(pool.map(lambda victim: stop(victim, chance.uniform(1.1, 2.2)), victims))
        stops += len(victims)
        time.sleep(chance.uniform(0.5, 1.5))
    for node in arena.nodes:
        arena.on(node, "touch /root/enough")
    site.wait_active(240.0)
    lost = len(site.all("runs", state="lost"))
    begun = refused = 0
    for node, lines in arena.ledgers().items():
        numbers = list(map(int, lines))
        assert numbers, f"nothing has happened on {node}"
        begun += len(set(numbers))
        older = [(a, b) for a, b in pairwise(numbers) if b < a]
        assert not older, f"on {node} an older run touched after a newer one: {older}"
    refused = sum(worker.log.count("outcome of a run that has ended is passed over") for worker in arena.workers)
    print(f"{stops} stops, {begun} runs begun, {lost} lost, {refused} outcomes told too late")
    assert lost, "no stop has cost a run its lease: nothing has been tried"


def stop(victim: Process, leases: float) -> None:
    """For longer than its lease; then it goes on as if nothing had been."""
    os.killpg(victim.popen.pid, signal.SIGSTOP)
    try:
        time.sleep(LEASE * leases)
    finally:
        os.killpg(victim.popen.pid, signal.SIGCONT)
