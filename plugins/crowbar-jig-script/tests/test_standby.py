"""One shell stands by on a node and carries run after run, each alone in its session; what goes wrong ends it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import paramiko
import pytest
from crowbar_jig_script.payload import STANDBY_COMMAND, run_frame, standby_program
from crowbar_jig_script.scripts import Script
from crowbar_jig_script.standby import NO_SETSID, Standby
from crowbar_lab.testing import inside

from crowbar_core import PermanentError
from crowbar_core.testing import wait_until

from .conftest import RUNS, Site

WHO = "read -r standby _ _ _ _ session _ </proc/$PPID/stat; echo $standby $session"
"""The shell that stands by, and the session of the run."""


def channels(site: Site) -> int:
    """How many channels the kept connection has had."""
    session = site.jig.connections.kept(site.name, site.node.ipv4).live()
    return int(session._channel_counter)  # type: ignore[attr-defined]


def stands_by(site: Site) -> Standby | None:
    return site.jig.connections.kept(site.name, site.node.ipv4).standby


@pytest.mark.lab
def test_runs_on_a_node_share_one_channel_and_each_is_alone_in_its_session(site: Site) -> None:
    first = site.run(WHO).out[0].split()
    opened = channels(site)
    in_session = "for each in /proc/[0-9]*; do read -r pid _ _ _ _ session _ <$each/stat; echo $pid $session; done"
    for _ in range(4):
        standby, session = site.run(WHO).out[0].split()
        assert standby == session == first[0]
        of_run = [line for line in site.run(in_session).out if line.endswith(f" {session}")]
        assert len(of_run) == 2, "the shell that stands by, and the script"
    assert channels(site) == opened, "no further channel, so no further round trip"
    assert site.remains() == []


@pytest.mark.lab
def test_a_run_is_not_joined_by_what_an_earlier_one_left_behind(site: Site) -> None:
    """However it left its parent's side; and a later run that is ended takes nothing along but its own."""
    for left in ("sleep 642 &", "(sleep 642 &) &", "set -m; sleep 642 &", "timeout 642 sleep 641 &"):
        before = site.run(WHO).out[0]
        site.run(f"{{\n{left}\n}} >/dev/null 2>&1")
        assert site.run(WHO).out[0] != before, left
        site.fail("exit 3")
        started = site.start("sleep 643")
        wait_until(lambda: site.on_node("pgrep -f 'sleep 64[3]'"))
        started.cancelled.set()
        started.error()
        assert site.on_node("pgrep -f 'sleep 64[12]'").split(), left
        site.on_node("pkill -f 'sleep 64[12]'")


@pytest.mark.lab
def test_what_a_run_has_put_into_its_folder_is_gone_before_the_next_one(site: Site) -> None:
    site.run("cd $CROWBAR_DIR && touch a .b ..c 'd e' && mkdir -p f/g && ln -s /etc h && ls -A")
    assert site.remains() == []
    assert site.run("ls -A $CROWBAR_DIR").out == ["10-only.sh", "call", "lib"]
    site.run("rm -rf $CROWBAR_DIR")
    assert site.run("ls -A $CROWBAR_DIR").out == ["10-only.sh", "call", "lib"]
    assert site.on_node("ls -d /etc/ssh").split() == ["/etc/ssh"]


@pytest.mark.lab
def test_what_stays_in_the_background_writes_into_no_other_run(site: Site) -> None:
    site.run("(while [ ! -e /tmp/speak ]; do sleep 0.05; done; echo from the past; touch /tmp/spoke) & :")
    try:
        started = site.start("touch /tmp/speak; while [ ! -e /tmp/spoke ]; do sleep 0.05; done; echo mine")
        # The channel of the old run is closed, so that what writes to it ends, and never comes to its last deed.
        wait_until(lambda: site.on_node("sleep 0.3; touch /tmp/spoke; echo x"))
        started.result()
        assert started.out == ["mine"]
    finally:
        site.on_node("rm -f /tmp/speak /tmp/spoke")


@pytest.mark.lab
def test_a_shell_that_was_killed_while_it_stood_by_is_replaced_on_the_same_connection(site: Site) -> None:
    standby = site.run(WHO).out[0].split()[0]
    logins = site.jig.connections.logins
    site.on_node(f"kill -9 {standby}")
    wait_until(lambda: (shell := stands_by(site)) is not None and not shell.usable)
    assert site.run(WHO).out[0].split()[0] != standby
    assert site.jig.connections.logins == logins


@pytest.mark.lab
def test_a_run_given_to_a_shell_that_is_just_leaving_is_done_once_by_another(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.on_node("rm -f /root/ledger")
    site.run("sleep 641 &")
    monkeypatch.setattr(Standby, "usable", property(lambda self: True))
    site.run("echo $CROWBAR_RUN_ID >>/root/ledger", run_id=(number := next(RUNS)))
    assert site.on_node("cat /root/ledger").split() == [str(number)]
    site.on_node("pkill -f 'sleep 641'")


@pytest.mark.lab
@pytest.mark.parametrize("script", ["exit 3", "exit 75", "kill -9 $PPID; sleep 0.1"])
def test_a_run_that_does_not_end_well_ends_its_shell(site: Site, script: str) -> None:
    site.run("true")
    site.fail(script)
    assert stands_by(site) is None
    assert site.run("echo next").out == ["next"]
    assert site.remains() == []


@pytest.mark.lab
def test_nothing_waits_on_the_node_once_the_connection_is_closed(site: Site) -> None:
    standby = site.run(WHO).out[0].split()[0]
    for _ in range(3):
        site.run("true")
    assert emptied(site)
    site.jig.close()
    wait_until(lambda: not site.on_node(f"ls -d /proc/{standby} 2>/dev/null"))
    wait_until(lambda: not site.on_node(f"ls -d /run/crowbar/shell-{standby}-* 2>/dev/null"))
    assert site.remains() == []
    assert emptied(site) == []


def emptied(site: Site) -> list[str]:
    """The files of runs that are over, none of which holds anything."""
    return site.on_node("find /run/crowbar -type f -empty").split()


@pytest.mark.lab
def test_what_a_run_was_given_is_gone_with_it_and_no_file_stays_for_long(site: Site) -> None:
    most = 0
    for number in range(20):
        site.run({f"{number}.sh": "echo $CROWBAR_DIR", "last.sh": "true"})
        assert site.on_node("find /run/crowbar -type f ! -empty") == ""
        most = max(most, len(emptied(site)))
    assert 0 < most <= 7 * 4, "of seven runs at most: claim, both scripts, and the two that all have"


@pytest.mark.lab
@pytest.mark.parametrize(
    "script",
    [
        "echo secret >$CROWBAR_DIR/mine",
        "echo secret >$CROWBAR_DIR/.mine",
        "mkdir $CROWBAR_DIR/folder; echo secret >$CROWBAR_DIR/folder/mine",
        "echo kept >/root/elsewhere; ln -sf /root/elsewhere $CROWBAR_LIB",
        "ln -s /root/nowhere $CROWBAR_DIR/link",
    ],
)
def test_what_a_script_puts_beside_its_own_is_removed_at_once(site: Site, script: str) -> None:
    site.on_node("rm -f /root/elsewhere")
    site.run(script)
    assert site.on_node("find /run/crowbar -mindepth 1 ! -name 'shell-*'") == ""
    assert site.on_node("cat /root/elsewhere 2>/dev/null") in ("", "kept\n")
    assert site.run("echo next").out == ["next"]
    site.on_node("rm -f /root/elsewhere")


@pytest.mark.lab
def test_a_folder_that_a_script_has_put_elsewhere_takes_nothing_along_that_lies_there(site: Site) -> None:
    site.on_node("mkdir -p /root/precious/more; echo kept | tee /root/precious/lib >/root/precious/more/file")
    site.run("rm -rf $CROWBAR_DIR; ln -s /root/precious $CROWBAR_DIR")
    assert site.run("echo $CROWBAR_DIR; ls -A $CROWBAR_DIR").out[1:] == ["10-only.sh", "call", "lib"]
    assert site.on_node("cd /root/precious; cat lib more/file; ls -A; rm -r /root/precious").split() == [
        "kept", "kept", "lib", "more",
    ]  # fmt: skip


@pytest.mark.lab
@pytest.mark.parametrize("given", ["chown -R nobody $CROWBAR_DIR", "chown nobody $CROWBAR_LIB"])
def test_a_run_has_no_file_that_an_earlier_one_gave_away(site: Site, given: str) -> None:
    site.run(f"chmod -R a+rwX $CROWBAR_DIR; {given}")
    assert stands_by(site), "by the same shell"
    own = site.run("stat -c '%U %a %n' $CROWBAR_DIR/*; stat -c '%U' $CROWBAR_DIR").out
    assert [line.rpartition("/")[2] for line in own] == ["10-only.sh", "call", "lib", "root"]
    assert all(line.startswith("root 600") for line in own[:3])


@pytest.mark.lab
def test_a_service_that_still_reads_its_script_reads_it_to_its_end(site: Site) -> None:
    site.on_node("rm -f /root/served")
    filler = "\n".join(f": {'x' * 70}" for _ in range(1000))
    site.run(
        f'[ "${{1-}}" = serve ] || {{ setsid sh "$0" serve </dev/null >/dev/null 2>&1 & sleep 0.3; exit 0; }}\n'
        f"sleep 1\n{filler}\necho served >/root/served"
    )
    wait_until(lambda: site.on_node("cat /root/served 2>/dev/null") == "served\n")


@pytest.mark.lab
def test_a_role_larger_than_any_pipe_goes_to_the_same_shell(site: Site) -> None:
    opened = [site.run(f"echo {len(text)} # {text}").out for text in ("x", "y" * 300_000, "z")]
    assert opened == [["1"], ["300000"], ["1"]]
    assert stands_by(site) is not None


@pytest.mark.lab
def test_a_connection_that_has_just_answered_stands_for_the_node_and_an_old_one_does_not(
    sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = sites(idle_close=303.0)
    view = site.view()
    holds = lambda **given: inside(site.lab, lambda: site.jig.holds(site.view(**given)), timeout=60)  # noqa: E731
    assert holds() is None, "there is no connection yet"
    site.run("true")
    assert holds() == view.addresses[0]
    assert holds(host_keys=(site.lab.nodes[2].host_key,)) is None, "another key is known by now"
    kept = site.jig.connections.kept(site.name, site.node.ipv4)
    kept.heard -= site.jig.connections.settings.connect_timeout
    assert holds() is None, "that was too long ago"
    site.run("true")
    kept.live().close()
    assert holds() is None, "it has been closed"


def test_a_node_without_setsid_is_told_of_before_anything_is_begun(tmp_path: Path) -> None:
    """Where the server starts no session for a command; this shell is in that of the tests."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    ended = subprocess.run(
        ["/bin/sh", "-c", STANDBY_COMMAND], input=standby_program() + b"echo never\n", capture_output=True,
        env={"PATH": str(tmp_path)}, timeout=30, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (NO_SETSID, b"")


@pytest.mark.lab
def test_where_setsid_is_missing_the_reason_names_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowbar_jig_script.standby.STANDBY_COMMAND", f"exit {NO_SETSID}")
    problem = site.fail("touch /tmp/begun")
    assert isinstance(problem, PermanentError)
    assert "it needs setsid" in problem.detail
    assert site.on_node("ls /tmp/begun 2>/dev/null") == ""


@pytest.mark.lab
def test_a_shell_that_ends_while_a_run_is_sent_to_it_says_why(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowbar_jig_script.standby.STANDBY_COMMAND", f"exit {NO_SETSID}")

    def too_late(channel: paramiko.Channel, data: bytes) -> None:
        channel.status_event.wait(10)
        raise OSError("Socket is closed")

    monkeypatch.setattr(paramiko.Channel, "sendall", too_late)
    problem = site.fail("touch /tmp/begun")
    assert isinstance(problem, PermanentError)
    assert "it needs setsid" in problem.detail


@pytest.mark.parametrize("shell", [["dash"], ["bash"], ["busybox", "sh"]], ids=lambda shell: str(shell[0]))
def test_a_frame_that_arrives_in_part_does_nothing(shell: list[str]) -> None:
    script = Script(name="a.sh", text="echo it is\n")
    task = SimpleNamespace(
        run_id=1, installation="i", once="", node_role_id=1, node=SimpleNamespace(name="n"),
        role=SimpleNamespace(name="r"), deployment="d", attempt=1, refresh=False, data={"a": "'b"},
    )  # fmt: skip
    frame = run_frame(task, [script], token="t", grace=1)  # type: ignore[arg-type]
    # What would begin the run says so instead.
    told = b"crowbar_run() { crowbar_put() { :; }; crowbar_unpack; echo $run $token; }\n"
    whole = standby_program().removesuffix(b"crowbar_stand\n") + told
    for cut in range(0, len(frame) - 1, 9):
        ended = subprocess.run(shell, input=whole + frame[:cut], capture_output=True, timeout=30, check=False)
        assert ended.stdout == b"", frame[:cut]
    ended = subprocess.run(shell, input=whole + frame, capture_output=True, timeout=30, check=False)
    assert ended.stdout == b"1 t\n"
