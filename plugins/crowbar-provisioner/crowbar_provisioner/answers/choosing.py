"""Which answer is which: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crowbar_provisioner.answers import autoinstall, kickstart, preseed
from crowbar_provisioner.answers.facts import Facts
from crowbar_provisioner.answers.hook import hook

Rendered = Callable[[Facts], str]
FILES: Mapping[str, Mapping[str, Rendered]] = {
    "preseed": {"preseed.cfg": preseed.preseed, "hook.sh": hook},
    "autoinstall": {
        "user-data": autoinstall.user_data, "meta-data": autoinstall.meta_data, "vendor-data": lambda _facts: "",
        "hook.sh": hook,
    },
    "kickstart": {"kickstart.cfg": kickstart.kickstart, "layout.ks": kickstart.layout, "hook.sh": hook},
}  # fmt: skip
_WORDS: Mapping[str, Callable[[Facts], list[str]]] = {
    "preseed": preseed.words, "autoinstall": autoinstall.words, "kickstart": kickstart.words,
}  # fmt: skip


def answer(facts: Facts, name: str) -> str | None:
    """The file of that name; None where the method has none of that name."""
    made = FILES.get(str(facts.said["method"]), {}).get(name)
    return None if made is None else made(facts)


def words(facts: Facts) -> list[str]:
    """What the installer's kernel is told."""
    return _WORDS[str(facts.said["method"])](facts)
