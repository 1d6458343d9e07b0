"""What is sent to a server: the difference, and nothing that is not Crowbar's. A table of cases."""

from __future__ import annotations

import pytest
from crowbar_dns.comparing import Edit, Key, Owned, RecordSet, compare, gather, sign
from crowbar_dns.names import Record

X: Key = ("x.example.org", "A")
SIGN: Key = ("_crowbar-a.x.example.org", "TXT")


def values(*several: str, ttl: int = 300) -> RecordSet:
    return RecordSet(values=frozenset(several), ttl=ttl)


def edit(*several: str, new: bool = False, ttl: int = 300) -> Edit:
    return Edit(name=X[0], type=X[1], values=frozenset(several), ttl=ttl, new=new)


def mine(*confirmed: str, sent: tuple[str, ...] = (), gone: tuple[str, ...] = ()) -> Owned:
    return Owned(confirmed=frozenset(confirmed), sent=frozenset(sent), gone=frozenset(gone))


CASES: dict[str, tuple[RecordSet | None, Owned | None, RecordSet | None, object]] = {
    "nothing yet": (values("1"), mine(sent=("1",)), None, edit("1", new=True)),
    "as it should be": (values("1"), mine("1"), values("1"), "fine"),
    "another address": (values("2"), mine("1", sent=("2",)), values("1"), edit("2")),
    "another life": (values("1", ttl=60), mine("1"), values("1"), edit("1", ttl=60)),
    "edited by hand": (values("1"), mine("1"), values("9"), edit("1")),
    "one more by hand": (values("1"), mine("1"), values("1", "9"), edit("1")),
    "removed by hand": (values("1"), mine("1"), None, edit("1", new=True)),
    "cut off after it was sent": (values("1"), mine(sent=("1",)), values("1"), "fine"),
    "cut off, and wanted otherwise since": (values("2"), mine(sent=("1", "2")), values("1"), edit("2")),
    "somebody else's": (values("1"), mine(sent=("1",)), values("9"), "foreign"),
    "somebody else's, of whom nothing is known": (values("1"), None, values("9"), "foreign"),
    "what we wanted is there already": (values("1"), None, values("1"), "fine"),
    "no longer wanted": (None, mine("1"), values("1"), edit()),
    "no longer wanted, with one that is not ours": (None, mine("1"), values("1", "9"), edit("9")),
    "no longer wanted, and gone": (None, mine("1"), None, None),
    "back from a backup": (None, mine(gone=("1",)), values("1"), edit()),
    "gone, and somebody else's since": (None, mine(gone=("1",)), values("9"), None),
    "never sent, and somebody else's": (None, mine(sent=("1",)), values("9"), None),
}


@pytest.mark.parametrize("case", CASES)
def test_only_the_difference_is_sent_and_nothing_of_others(case: str) -> None:
    want, own, have, expected = CASES[case]
    wanted, owned, there = ({X: one} if one is not None else {} for one in (want, own, have))
    found = compare(wanted, owned, there)  # type: ignore[arg-type]
    said: object = found.edits[0] if found.edits else "fine" if found.fine else "foreign" if found.foreign else None
    assert said == expected


def test_in_a_shared_zone_only_what_is_signed_is_crowbars() -> None:
    us, them = values("crowbar=1"), values("crowbar=2")
    wanted = sign({X: values("1")}, "crowbar=1")
    assert wanted == {X: values("1"), SIGN: us}
    fresh = compare(wanted, {}, {}, owner="crowbar=1")
    assert [one.key for one in fresh.edits] == [X, SIGN]
    assert compare(wanted, {}, {X: values("1"), SIGN: us}, owner="crowbar=1").edits == []
    for there in ({X: values("1")}, {X: values("9"), SIGN: them}):
        found = compare(wanted, {X: mine("1")}, there, owner="crowbar=1")
        assert X in found.foreign
        assert found.edits == [], "nor is it signed for them: it would be taken for ours the next time"
    assert compare(wanted, {}, {X: values("9"), SIGN: us}, owner="crowbar=1").edits == [edit("1")]


def test_in_a_shared_zone_what_is_signed_and_unknown_goes_and_nothing_else() -> None:
    other = ("y.example.org", "A")
    there = {X: values("1"), SIGN: values("crowbar=1"), other: values("3")}
    found = compare({}, {}, there, owner="crowbar=1")
    assert sorted(one.key for one in found.edits) == [SIGN, X]
    assert all(one.values == frozenset() for one in found.edits)


def test_records_are_gathered_with_the_shortest_life() -> None:
    found = gather([Record("x", "A", "1", 300), Record("x", "A", "2", 60), Record("x", "AAAA", "::1", 300)])
    assert found == {("x", "A"): values("1", "2", ttl=60), ("x", "AAAA"): values("::1")}
