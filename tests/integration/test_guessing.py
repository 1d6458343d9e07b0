"""Guessing passwords: counted before they are looked at, however many come at once, and others go on meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crowbar_core.errors import Unavailable
from crowbar_core.services.people import users
from crowbar_core.web import door
from tests.integration.api import PASSWORDS, Api, serving

MANY = 100


@pytest.fixture
def api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    with serving(sqlite_url, tmp_path) as made:
        made.token("viewer")
        made.token("operator")
        yield made


class Hashes:
    """Counts the passwords that are looked at, and how many at once; each takes until ``release``d, if it is to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.now = 0
        self.most = 0
        self.go = threading.Event()
        self.go.set()
        self._lock = threading.Lock()
        self._hasher = users._HASHER
        monkeypatch.setattr(users, "_HASHER", self)

    def hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def verify(self, hashed: str, password: str) -> bool:
        with self._lock:
            self.count += 1
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            self.go.wait(30)
            return self._hasher.verify(hashed, password)
        finally:
            with self._lock:
                self.now -= 1


@pytest.fixture
def hashes(api: Api, monkeypatch: pytest.MonkeyPatch) -> Hashes:
    return Hashes(monkeypatch)


def ask(api: Api, name: str, password: str, source: str = "192.0.2.1") -> int:
    answer = api.client().get("/api/v2/whoami", auth=(name, password), headers={"X-Forwarded-For": source})
    if answer.status_code in (429, 503):
        assert int(answer.headers["Retry-After"]) > 0
    return answer.status_code


def at_once(work: Callable[[int], int], many: int = MANY) -> Counter[int]:
    found: Counter[int] = Counter()
    gate = threading.Barrier(many)

    def one(number: int) -> None:
        gate.wait(60)
        found[work(number)] += 1

    threads = [threading.Thread(target=one, args=(number,)) for number in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sum(found.values()) == many
    return found


def test_a_hundred_guesses_at_once_are_no_more_than_one_after_the_other(api: Api, hashes: Hashes) -> None:
    found = at_once(lambda number: ask(api, "viewer", f"guess-{number}"))
    assert hashes.count <= door.OF_NAME_FROM_SOURCE
    assert found[401] <= door.OF_NAME_FROM_SOURCE
    assert found[200] == 0
    # Whoever was too much for the machine has not had a try; the others' tries are spent one after the other.
    while ask(api, "viewer", "guess") == 401:
        pass
    assert hashes.count <= door.OF_NAME_FROM_SOURCE
    assert ask(api, "viewer", PASSWORDS["viewer"]) == 429


def test_many_sources_together_do_not_guess_more_often(api: Api, hashes: Hashes) -> None:
    statuses = [ask(api, "viewer", f"guess-{n}", f"198.51.{n % 50}.7") for n in range(door.OF_NAME + 20)]
    assert statuses == [401] * door.OF_NAME + [429] * 20
    assert hashes.count == door.OF_NAME


def test_one_source_guesses_no_more_often_by_taking_many_names(api: Api, hashes: Hashes) -> None:
    statuses = [ask(api, f"user{n}", "guess") for n in range(door.OF_SOURCE + 20)]
    assert statuses == [401] * door.OF_SOURCE + [429] * 20
    assert hashes.count == door.OF_SOURCE
    assert ask(api, "viewer", PASSWORDS["viewer"], "192.0.2.2") == 200


def test_one_customers_network_of_ipv6_is_one_source(api: Api) -> None:
    statuses = [ask(api, "viewer", f"guess-{n}", f"2001:db8::{n:x}") for n in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert ask(api, "viewer", "guess", "2001:db8:0:1::1") == 401


def test_signing_in_oneself_buys_no_more_guesses_of_others(api: Api) -> None:
    statuses = []
    for number in range(door.OF_SOURCE + 5):
        statuses.append(ask(api, f"user{number}", "guess"))
        ask(api, "operator", PASSWORDS["operator"])
    assert statuses[door.OF_SOURCE :] == [429] * 5


def test_who_has_signed_in_from_here_is_not_kept_out_by_guesses_elsewhere(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "REMEMBER_SECONDS", 0.0)
    assert ask(api, "viewer", PASSWORDS["viewer"], "192.0.2.9") == 200
    for number in range(door.OF_NAME):
        ask(api, "viewer", f"guess-{number}", f"198.51.{number}.7")
    assert ask(api, "viewer", PASSWORDS["viewer"], "203.0.113.1") == 429
    assert ask(api, "viewer", PASSWORDS["viewer"], "192.0.2.9") == 200
    assert ask(api, "viewer", "wrong", "192.0.2.9") == 401


def test_the_right_password_many_times_at_once_is_looked_at_once(api: Api, hashes: Hashes) -> None:
    assert at_once(lambda _: ask(api, "viewer", PASSWORDS["viewer"])) == {200: MANY}
    assert hashes.count == 1


def test_few_passwords_are_hashed_at_once_and_nobody_else_waits(api: Api, hashes: Hashes) -> None:
    hashes.go.clear()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: statuses.append(ask(api, f"user{n}", "guess", f"198.51.{n}.7")))
        for n in range(MANY)
    ]
    for thread in threads:
        thread.start()
    waiting = users.HASHES_AT_ONCE + users.HASHES_WAITING
    for thread in threads:
        if len(statuses) >= MANY - waiting:
            break
        thread.join(60 / MANY)
    assert statuses == [503] * (MANY - waiting)  # at once, while the hashes are still being made
    assert api.get("whoami", who="viewer").status_code == 200
    hashes.go.set()
    for thread in threads:
        thread.join(60)
    assert Counter(statuses) == {503: MANY - waiting, 401: waiting}
    assert hashes.most == users.HASHES_AT_ONCE


def test_an_attempt_that_was_not_looked_at_does_not_count(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_args: Any) -> Any:
        raise Unavailable("busy")

    with monkeypatch.context() as patch:
        patch.setattr(users, "_verify", busy)
        assert {ask(api, "viewer", f"guess-{n}") for n in range(20)} == {503}
    assert ask(api, "viewer", PASSWORDS["viewer"]) == 200


def test_attempts_are_forgotten_after_a_while_and_the_tables_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "TABLE_SIZE", 100)
    now = 1000.0
    made = door.Door(clock=lambda: now)
    for _ in range(door.OF_NAME_FROM_SOURCE):
        made.knock("viewer", "192.0.2.1")
    with pytest.raises(door.TooManyAttempts):
        made.knock("viewer", "192.0.2.1")
    now += door.WINDOW_SECONDS
    made.knock("viewer", "192.0.2.1")
    for number in range(500):
        made.knock(f"user{number}", f"198.51.{number % 250}.7").succeed()
    assert len(made.attempts) <= 100
    assert len(made.at_home) <= 100
