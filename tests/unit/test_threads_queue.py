"""The in-process queue."""

from __future__ import annotations

from crowbar_core.queues.threads import ThreadsQueue
from crowbar_core.settings import load_settings


def test_what_is_rung_is_taken_in_order_and_no_more_of_it_than_is_asked_for() -> None:
    queue = ThreadsQueue(load_settings(environ={}))
    queue.ring([1])
    assert queue.take(0, 5) == [], "nobody listened"
    queue.listening = True
    queue.ring([])
    assert queue.take(0, 5) == []
    queue.ring([1, 2, 3])
    queue.ring([4])
    queue.ring([5, 6, 7])
    assert queue.take(0, 2) == [1, 2]
    assert queue.take(0, 3) == [3, 4, 5]
    queue.ring([8])
    assert queue.take(0, 10) == [6, 7, 8]
    assert queue.take(0, 10) == []
