"""The guest book hears of the example's parties, of which it imports nothing, and works without them."""

from __future__ import annotations

import socket
import threading

import crowbar_example
import crowbar_guestbook
import pytest

from crowbar_core import Refused, SetAttribute
from crowbar_core.testing import Testbed, check_barclamp, free_port


def roles(bed: Testbed) -> list[str]:
    return [one["name"] for one in bed.web().get("/api/v2/roles?like=guest").json or ()]


def test_nothing_is_wrong_with_the_guest_book() -> None:
    assert check_barclamp(crowbar_guestbook) == []


def test_a_party_brings_a_role_for_its_guests_and_takes_it_along() -> None:
    with Testbed(crowbar_guestbook, crowbar_example) as bed:
        bed.add_node("n1")
        bed.add_deployment("party")
        bed.bind("example-hello", "n1", deployment="party")
        bed.deliver()
        assert roles(bed) == ["guest-party"]
        bed.bind("guest-party", "n1", deployment="party")
        bed.commit("party")
        bed.anneal_until_quiet()
        assert bed.log("guest-party", "n1")[-1] == "Welcome to party, n1.example.test."
        assert bed.value("guestbook-entry", "n1") == "was at party"
        for role in ("guest-party", "example-hello"):
            bed.unbind(role, "n1")
        bed.anneal_until_quiet()  # a member says goodbye first
        bed.delete_deployment("party")
        bed.anneal_until_quiet()
        assert roles(bed) == []
        assert bed.hook_failures() == []


def test_the_guest_book_works_without_the_example() -> None:
    with Testbed(crowbar_guestbook) as bed:
        bed.add_node("n1")
        assert bed.problems() == []
        with pytest.raises(Refused, match="abstract"):
            bed.bind("guest", "n1")


def test_the_service_reads_the_book_out_to_whoever_connects() -> None:
    port = free_port()
    with Testbed(crowbar_guestbook, config={"guestbook": {"port": port}}) as bed:
        bed.add_node("n1")
        bed.apply(SetAttribute(node="n1.example.test", attribute="guestbook-entry", value="was here"))
        with bed.service("guestbook"):
            assert read(port) == "n1.example.test was here\n"


def read(port: int) -> str:
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as line, line.makefile() as book:
                return book.read()
        except ConnectionRefusedError:
            threading.Event().wait(0.05)  # it is only about to listen
    raise AssertionError("nobody listens")
