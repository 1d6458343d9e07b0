"""How names are said."""

from __future__ import annotations

from crowbar_core.domain.names import some


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    names = ["a", "b", "c"]
    assert some(names, 3) == some(names, 9) == "a, b, c"
    assert some(names, 2) == "a, b and 1 more"
    assert some([str(number) for number in range(3000)], 1) == "0 and 2,999 more"
    assert some(names, 3, 7) == "a, b, c and 4 more", "of seven, three were read"
    assert some([], 3) == ""
