"""What a role's author may rely on: order, output as it comes, data that stays data, exit codes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from crowbar_core import PermanentError, TemporaryError
from crowbar_core.testing import wait_until

from .conftest import RUNS, Log, Site

pytestmark = pytest.mark.lab

NASTY = {
    "substitution": "$(touch /tmp/pwned)`touch /tmp/pwned`${HOME}",
    "quotes": "it's \"both\" '; touch /tmp/pwned; '",
    "reboot": "'; reboot",
    "newlines": "one\n\n  two\ttabs\r\nthree",
    "unicode": "żółć ☃ \u202e 🦊 \x01\x1b[31m",
    "percent": "%s %d \\n \\0 %",
    "dashes": "--json",
    "glob": "* ? [a-z] ~root",
    "empty": "",
    "long": "x" * 200_000,
}


def test_scripts_run_in_lexical_order_as_root_in_one_directory_of_their_own(site: Site) -> None:
    ran = site.run(
        {
            "20-second.sh": "echo second; cat $CROWBAR_DIR/note",
            "10-first.sh": "echo first; id -u; pwd; echo from-first >$CROWBAR_DIR/note; stat -c %a $CROWBAR_DIR",
            "notes.txt": "echo never",
        }
    )
    assert ran.out == ["first", "0", "/", "700", "second", "from-first"]
    assert ran.log.of("crowbar") == ["10-first.sh: begins", "20-second.sh: begins"]
    assert site.remains() == []


def test_both_streams_arrive_line_by_line_while_the_script_runs(site: Site) -> None:
    ran = site.start(
        "echo out; echo err >&2; printf partial; while [ ! -e /tmp/go ]; do sleep 0.05; done; rm /tmp/go; exit 0"
    )
    wait_until(lambda: ran.out == ["out"] and ran.log.of("stderr") == ["err"])
    assert not ran.outcome.done()
    site.on_node("touch /tmp/go")
    ran.result()
    assert ran.out == ["out", "partial"]


def test_data_is_never_code_whatever_is_in_it(site: Site) -> None:
    copy = 'for key in $(get_keys nasty); do write_attribute out/$key "$(read_attribute nasty/$key)"; done'
    assert site.run(copy, data={"nasty": NASTY}).result().wall == {"out": NASTY}
    assert site.on_node("ls /tmp/pwned 2>/dev/null") == ""


def test_attributes_are_read_by_path_and_absent_ones_fail(site: Site) -> None:
    data = {
        "dns": {
            "domain": "a.test",
            "servers": ["10.0.0.1", "10.0.0.2"],
            "on": True,
            "ttl": 3600,
            "none": None,
            "no": {},
        }
    }
    ran = site.run(
        """
        read_attribute dns/domain; read_attribute /dns/servers/1; read_attribute dns/servers; read_attribute dns/ttl
        read_attribute dns/on; get_keys dns/servers/; get_keys dns; get_keys dns/no; get_keys ''
        has_attribute dns/ttl && echo has; has_attribute dns/none || echo none; has_attribute dns/x || echo absent
        read_attribute dns/x || echo failed $?; get_keys dns/ttl || echo failed $?
        sh $CROWBAR_CALL read_attribute dns/domain; (set -eu; . $CROWBAR_LIB; read_attribute dns/on)
        """,
        data=data,
    )
    assert ran.out == [
        "a.test", "10.0.0.2", '["10.0.0.1","10.0.0.2"]', "3600", "true", "0", "1",
        "domain", "servers", "on", "ttl", "none", "no", "dns", "has", "none", "absent", "failed 1", "failed 1",
        "a.test", "true",
    ]  # fmt: skip
    assert ran.log.of("stderr") == [
        "read_attribute: this role has no value for 'dns/x'",
        "get_keys: 'dns/ttl' is no object or list",
    ]


def test_what_scripts_write_comes_back_as_a_tree(site: Site) -> None:
    ran = site.run(
        {
            "1.sh": "write_attribute a/b/c 5; write_attribute e ''",
            "2.sh": 'write_attribute --json a/b/d \'{"x": [1, null, 2.5], "ü": true}\'; write_attribute /a/b/c six',
            "3.sh": "write_attribute nothing || echo usage $?; write_attribute --json x || echo usage $?",
        }
    )
    assert ran.result().wall == {"a": {"b": {"c": "six", "d": {"x": [1, None, 2.5], "ü": True}}}, "e": ""}
    assert ran.out == ["usage 2", "usage 2"]


@pytest.mark.parametrize(
    "script, says",
    [
        ("write_attribute --json a nope", "the value of 'a' is not JSON"),
        ("write_attribute --json a 1e999", "out of range"),
        ("write_attribute a 1; write_attribute a/b 2", "'a/b' lies below 'a'"),
        ("write_attribute a//b 1", "'a//b' is no path"),
        ("write_attribute a \"$(printf '\\377')\"", "is not UTF-8"),
        (
            "dd if=/dev/zero bs=1M count=2 2>/dev/null | tr '\\0' a >/tmp/big; write_attribute a \"$(cat /tmp/big)\"",
            "max_report",
        ),
    ],
)
def test_a_report_that_cannot_be_is_refused_in_words(site: Site, script: str, says: str) -> None:
    problem = site.fail(script)
    assert isinstance(problem, PermanentError)
    assert says in problem.detail
    assert site.remains() == []


def test_the_first_failing_script_ends_the_role(site: Site) -> None:
    problem = site.fail({"10-a.sh": "true", "20-foo.sh": "write_attribute a b; exit 3", "30-c.sh": "touch /tmp/third"})
    assert isinstance(problem, PermanentError)
    assert problem.detail == f"script 20-foo.sh of role r on node {site.name} exited with 3"
    assert site.on_node("ls /tmp/third 2>/dev/null") == ""
    assert site.remains() == []


def test_a_script_gives_its_own_reason_with_fail(site: Site) -> None:
    what = f"script 10-only.sh of role r on node {site.name}"
    script = "trap 'echo tidied up >&2' EXIT; [ -b /dev/sdz ] || fail 'There is no disk' /dev/sdz.; echo not reached"
    ran = site.start(script)
    assert ran.error().detail == f"{what} failed: There is no disk /dev/sdz."
    assert ran.log.of("stderr") == ["There is no disk /dev/sdz.", "tidied up"]
    assert ran.out == []
    long = site.fail("fail \"$(printf 'one\\ntwo\\n')\"").detail
    assert long == f"{what} failed: one", "a reason has one line; the rest is in the log"
    assert site.fail('sh "$CROWBAR_CALL" fail "as a program" || exit 4').detail == f"{what} failed: as a program"
    assert site.run("(fail 'only in here') || true; echo goes on").out == ["goes on"]


def test_the_reason_of_a_failure_has_the_last_line_of_the_scripts_error_output(site: Site) -> None:
    scripts = {
        "10-a.sh": "echo an older story >&2",
        "20-b.sh": "echo one >&2; echo 'E: no such package' >&2; echo >&2; echo told >&1; exit 3",
    }
    what = f"script 20-b.sh of role r on node {site.name}"
    assert site.fail(scripts).detail == f"{what} exited with 3: E: no such package"
    scripts["20-b.sh"] = "exit 3"
    assert site.fail(scripts).detail == f"{what} exited with 3", "the error output of another script says nothing"
    assert site.fail("echo the mirror is away >&2; exit 75").detail.endswith("(exit code 75): the mirror is away")


def test_exit_code_75_asks_to_be_tried_again_later(sites: Callable[..., Site]) -> None:
    problem = sites(retry_delay=42.0).fail("exit 75")
    assert isinstance(problem, TemporaryError)
    assert problem.delay == 42.0
    assert "exit code 75" in problem.detail


def test_a_script_that_kills_itself_is_named_with_its_signal(site: Site) -> None:
    assert "was ended by SIGKILL" in site.fail("kill -9 $$").detail


def test_the_first_line_of_a_script_chooses_its_interpreter(site: Site) -> None:
    ran = site.run(
        {
            "1.sh": "#!/bin/bash\ndeclare -a list=(a b); echo ${list[1]} $(read_attribute x)",
            "2.sh": "#!/usr/bin/env -S bash -u\necho ${BASH_VERSION:+bash} $(read_attribute x)",
            "3.sh": '#!/usr/bin/awk -f\nBEGIN { "sh $CROWBAR_CALL read_attribute x" | getline v; print "awk", v }',
            "4.sh": "#!/bin/sh -e\necho $0 | sed 's,.*/,,'; nosuchcommand || echo went on",
        },
        data={"x": "y"},
    )
    assert ran.out == ["b y", "bash y", "awk y", "4.sh", "went on"]
    assert "4.sh: 2: nosuchcommand: not found" in ran.log.of("stderr")[0]
    assert "exited with 127" in site.fail("#!/bin/sh -e\nnosuchcommand\necho not reached").detail


def test_scripts_know_their_node_role_and_run(site: Site) -> None:
    ran = site.run(
        "echo $CROWBAR_NODE $CROWBAR_ROLE $CROWBAR_DEPLOYMENT; umask; cat\n"
        "echo $CROWBAR_RUN_ID $CROWBAR_ATTEMPT-$CROWBAR_REFRESH",
        run_id=(number := next(RUNS)),
    )
    assert ran.out == [f"{site.name} r d", "0022", f"{number} 1-"]


def test_a_role_without_scripts_says_where_they_are_expected(site: Site) -> None:
    assert f"{site.package.name}/scripts/r/*.sh" in site.fail({}).detail
    assert "is no name for a script" in site.fail({"10 foo.sh": "true"}).detail


def test_output_that_is_no_text_and_lines_without_end_are_held_in_bounds(site: Site) -> None:
    ran = site.run("printf 'a\\377b\\n\\0c\\r\\n'; head -c 300000 /dev/zero | tr '\\0' z; echo; printf end >&2")
    assert ran.out[:2] == ["a\ufffdb", "\0c"]
    assert ran.out[2] == "z" * 65536 + f" [… {300000 - 65536} bytes more]"
    assert ran.log.of("stderr") == ["end"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["yes a line as long as lines are on the whole, not much shorter, not much longer", "tr '\\0' a </dev/zero"]
)
def test_a_flood_of_output_does_not_fill_the_memory(site: Site, text: str) -> None:
    seen = [0]

    class Counting(Log):
        def __call__(self, line: str, /, *, stream: str = "crowbar") -> None:
            seen[0] += len(line) + 1

    site.run("echo warm")
    before = _memory(reset=True)
    site.run(f"{text} | head -c 50000000; echo; echo done", log=Counting())
    assert _memory() - before < 40 << 20
    assert seen[0] > 65536, "the flood was not seen"


def _memory(*, reset: bool = False) -> int:
    """The most that this process has held since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def test_a_node_whose_clock_is_off_says_so_once_for_each_login(site: Site) -> None:
    assert site.run("echo right").log.of("crowbar") == ["10-only.sh: begins"]
    site.on_node(
        'printf \'#!/bin/sh\nexec /usr/bin/date -d "90 seconds ago" "$@"\n\' >/usr/local/bin/date;'
        " chmod 755 /usr/local/bin/date"
    )
    try:
        site.jig.close()
        warned = site.run("echo slow").log.of("crowbar")
        assert re.fullmatch(r"warning: the node's clock is (89|90|91) s behind this machine's", warned[0])
        assert site.run("echo slow").log.of("crowbar") == ["10-only.sh: begins"]
    finally:
        site.on_node("rm /usr/local/bin/date")
    site.jig.close()
    assert site.run("echo right").log.of("crowbar") == ["10-only.sh: begins"]


def test_what_a_script_leaves_in_the_background_does_not_hold_up_the_run(site: Site) -> None:
    site.run("sleep 611 & write_attribute a b")
    assert len(site.running("sleep 611")) == 1
    site.run("true")
    assert len(site.running("sleep 611")) == 1, "a service that a finished run has started is not a leftover"
    site.on_node("pkill -f 'sleep 611'")


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_any_of_the_usual_shells_will_do(sites: Callable[..., Site], shell: str) -> None:
    site = sites(node=2)
    site.on_node(f"ln -sfn {shell} /usr/bin/sh")
    try:
        copy = 'for key in $(get_keys nasty); do write_attribute out/$key "$(read_attribute nasty/$key)"; done'
        assert site.run(copy, data={"nasty": NASTY}).result().wall == {"out": NASTY}
        assert "exited with 4" in site.fail("exit 4").detail
        started = site.start("trap '' TERM; echo on; sh -c 'sleep 612; true' & sleep 613")
        wait_until(lambda: started.out)
        started.cancelled.set()
        assert "was cancelled" in started.error().detail
        assert site.running("sleep 61[23]") == []
        assert site.remains() == []
    finally:
        site.on_node("ln -sfn dash /usr/bin/sh")
