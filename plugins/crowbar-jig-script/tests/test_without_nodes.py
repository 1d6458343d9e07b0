"""What needs no node: literals for shells, the cutting of streams, reports, settings, and the session's end in sh."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from importlib import resources
from typing import Any

import crowbar_jig_script
import pluggy
import pytest
from crowbar_jig_script.connections import connections_for
from crowbar_jig_script.jig import ScriptJig
from crowbar_jig_script.output import LONGEST, Output
from crowbar_jig_script.payload import as_text, helpers, quote
from crowbar_jig_script.probe import known_addresses
from crowbar_jig_script.report import read_report
from crowbar_jig_script.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st

from crowbar_core import NodeView, PermanentError

SHELLS = (["dash"], ["bash", "--posix"], ["busybox", "sh"])
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
WEIRD = st.sampled_from(
    ["'", "'\\''", "$(id)", "`id`", "\n", "\\", "\x81\x82", "\x01", "*", "!", "'; id #", "%s", "-n"]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT | WEIRD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | WEIRD, inner, max_size=3),
    max_leaves=8,
)


def shell(command: list[str], program: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command, input=program.encode(), capture_output=True, timeout=30, check=False, env=environment
    )


@pytest.mark.parametrize("command", SHELLS, ids=lambda command: command[0])
@settings(max_examples=25, deadline=None)
@given(texts=st.lists(TEXT | WEIRD, min_size=1, max_size=30))
def test_a_quoted_text_comes_out_of_any_shell_as_it_went_in(command: list[str], texts: list[str]) -> None:
    printed = shell(command, "".join(f"printf '%s\\000' {quote(text)}\n" for text in texts))
    assert printed.stderr == b""
    assert printed.stdout.decode().split("\0")[:-1] == texts


@pytest.mark.parametrize("command", SHELLS, ids=lambda command: command[0])
@settings(max_examples=25, deadline=None)
@given(tree=st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), VALUE, max_size=4))
def test_every_value_of_a_tree_is_read_back_as_it_is(command: list[str], tree: dict[str, Any]) -> None:
    program = helpers(tree)
    for name in tree:
        program += f"has_attribute {name} && echo yes || echo no\nread_attribute {name} 2>/dev/null; printf '\\000'\n"
    answers = shell(command, program)
    assert answers.stderr == b""
    for value, answer in zip(tree.values(), answers.stdout.decode().split("\0"), strict=False):
        assert answer == ("no\n" if value is None else f"yes\n{as_text(value)}\n")


def test_a_nul_in_the_data_is_refused() -> None:
    with pytest.raises(PermanentError, match="NUL"):
        helpers({"a": "b\0c"})


class Heard:
    def __init__(self, token: str = "t0ken", longest: int = 1000) -> None:
        self.lines: list[str] = []
        self.words: list[str] = []
        self.output = Output(token, line=self.lines.append, word=self.words.append, max_report=longest)


@given(st.data())
def test_a_stream_means_the_same_however_it_is_cut_into_pieces(data: st.DataObject) -> None:
    mark = b"\x1et0ken\x1e"
    whole = (
        b"one\ntw\x1eo\n\n"
        + mark
        + b" script 1\npart"
        + mark
        + b" report\n"
        + b"k\0p\0v\n\0"
        + mark
        + b" end 0 1\n"
        + b"la\x1et0"
    )
    heard = Heard()
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        heard.output.feed(whole[:size])
        whole = whole[size:]
    heard.output.end()
    assert heard.lines == ["one", "tw\x1eo", "", "part", "la\x1et0"]
    assert heard.words == ["script 1", "end 0 1"]
    assert heard.output.report == b"k\0p\0v\n\0"


def test_a_line_is_cut_at_its_bound_and_the_rest_counted_however_it_comes() -> None:
    for size in (1000, LONGEST, 10 * LONGEST):
        heard = Heard()
        text = b"first\n" + b"x" * (3 * LONGEST) + b"\nlast"
        for at in range(0, len(text), size):
            heard.output.feed(text[at : at + size])
        heard.output.end()
        assert heard.lines == ["first", "x" * LONGEST + f" [… {2 * LONGEST} bytes more]", "last"]


def test_a_report_beyond_its_bound_is_not_kept() -> None:
    heard = Heard(longest=10)
    heard.output.feed(b"\x1et0ken\x1e report\n")
    for _ in range(100):
        heard.output.feed(b"x" * 1000)
    assert len(heard.output.report) == 11
    with pytest.raises(PermanentError, match="more than 10 bytes"):
        read_report(heard.output.report, longest=10)


@pytest.mark.parametrize(
    "raw, says",
    [
        (b"text\0a\0b", "cut or mixed"),
        (b"text\0a\0", "cut or mixed"),
        (b"odd\0a\0b\0", "mixed with other output"),
        (b"text\0" + b"/".join([b"a"] * 33) + b"\0b\0", "is no path"),
        (b"text\0\0b\0", "is no path"),
        (b"text\0\xff\0b\0", "a path is not UTF-8"),
        (b'json\0a\0{"x": 1, "x": 2}\0', "same name twice"),
        (b"json\0a\0NaN\0", "NaN is not allowed"),
        (b"json\0a\0-Infinity\0", "not allowed"),
        (b"json\0a\0" + b"9" * 5000 + b"\0", "beyond 64 bits"),
        (b"json\0a\0" + b"[" * 10000 + b"]" * 10000 + b"\0", "nested too deeply"),
        (b"json\0a\0" + b"[" * 40 + b"]" * 40 + b"\0", "nested too deeply"),
        (b'json\0a\0"\\u0000"\0', "a NUL"),
        (b'json\0a\0{"\\ud800": 1}\0', "surrogate"),
    ],
)
def test_what_no_database_could_hold_is_refused_in_a_report(raw: bytes, says: str) -> None:
    with pytest.raises(PermanentError, match=re.escape(says)):
        read_report(raw, longest=1 << 20)


def test_addresses_come_from_hints_then_from_what_the_node_reports() -> None:
    node = NodeView(
        id=1,
        name="a.b.c",
        hint={"hint-admin-v4addr": "10.0.0.5/24", "hint-admin-v6addr": "fd00::5/64"},
        discovery={
            "addresses": [
                "10.0.0.5/24",
                "fd00::1%{{ x }}",
                "::ffff:10.0.0.7",
                "fe80::1/64",
                "127.0.0.1",
                "::1",
                "010.0.0.9",
                "; reboot",
                7,
                None,
                "10.0.0.6",
            ]
        },
    )
    assert known_addresses(node) == ["10.0.0.5", "fd00::5", "10.0.0.6"]
    assert (
        known_addresses(NodeView(id=1, name="a.b.c", hint={"hint-admin-v4addr": 5}, discovery={"addresses": "x"})) == []
    )


def test_the_package_is_a_plugin_with_these_hooks_and_no_others() -> None:
    manager = pluggy.PluginManager("crowbar")
    manager.register(crowbar_jig_script)
    hooks = {caller.name for caller in manager.get_hookcallers(crowbar_jig_script) or []}
    assert hooks == {"register_barclamp", "node_addresses", "on_wizard_end", "probe_node", "wizard_steps"}
    assert crowbar_jig_script.register_barclamp().name == "jig-script"
    assert crowbar_jig_script.register_barclamp().settings is Settings


@pytest.mark.parametrize("command", SHELLS, ids=lambda command: command[0])
def test_what_withstands_being_killed_is_named_and_the_wait_for_it_ends(command: list[str]) -> None:
    functions = (resources.files(crowbar_jig_script) / "shell" / "session.sh").read_text()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as victim:
        try:
            program = (
                f"{functions}\ncrowbar_look {victim.pid}\nmine=$started\n"
                # Stands in for a process in the kernel, which no signal reaches.
                "kill() { :; }\n"
                f"crowbar_end {victim.pid} $mine token 0 && echo gone || echo left $members\n"
                "unset -f kill\n"
                f"crowbar_end {victim.pid} $((mine + 1)) token 0 && echo a stranger, $ended ended\n"
                f"crowbar_end {victim.pid} $mine token 2 && echo gone, $ended ended\n"
            )
            ran = shell(command, program)
        finally:
            victim.send_signal(signal.SIGKILL)
    assert ran.stdout.decode().splitlines() == [f"left {victim.pid}", "a stranger, 0 ended", "gone, 1 ended"], (
        ran.stderr
    )


def test_the_jig_and_the_hooks_share_connections() -> None:
    assert ScriptJig({"port": 2299}).connections is connections_for(Settings(port=2299))
    assert ScriptJig({}).connections is connections_for(Settings())


def test_a_report_is_merged_from_its_records_in_order() -> None:
    raw = b"text\0a/b\0one\0json\0a/c\0" + json.dumps({"x": [1]}).encode() + b"\0text\0a/b\0two\0"
    assert read_report(raw, longest=1000) == {"a": {"b": "two", "c": {"x": [1]}}}
