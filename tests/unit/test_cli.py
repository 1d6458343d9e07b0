"""The command line against a real HTTP server that answers what a test says: requests, formats, errors, exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from crowbar_core.cli import profiles
from crowbar_core.cli.root import COMMANDS, root
from crowbar_core.errors import ConfigError


@dataclass
class Server:
    """Answers by (method, path), and remembers what it was asked."""

    url: str = ""
    answers: dict[tuple[str, str], list[Response]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], Any, str]] = field(default_factory=list)

    def on(self, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> None:
        """What ``method path`` is answered; said several times, one after the other, the last one for ever."""
        text = "" if body is None else json.dumps(body)
        kind = "application/problem+json" if status >= 400 else "application/json"
        response = Response(
            text, status=status, content_type=kind, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        self.answers.setdefault((method, path), []).append(response)

    def __call__(self, environ: Any, start: Any) -> Any:
        request = Request(environ)
        text = request.get_data(as_text=True)
        body = json.loads(text) if text else None
        self.asked.append(
            (request.method, request.path, dict(request.args), body, request.headers.get("Authorization", ""))
        )
        waiting = self.answers.get((request.method, request.path))
        if not waiting:
            missing = {"code": "not-found", "detail": f"There is no {request.path}.", "errors": []}
            return Response(json.dumps(missing), status=404, content_type="application/problem+json")(environ, start)
        response = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return response(environ, start)

    def requests(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, *_ in self.asked]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    http = make_server("127.0.0.1", 0, made, threaded=True)
    made.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield made
    http.shutdown()
    thread.join(5)
    http.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees, or writes to, the configuration of whoever runs it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


Run = Callable[..., Result]


@pytest.fixture
def run(server: Server, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("CROWBAR_URL", server.url)
    monkeypatch.setenv("CROWBAR_TOKEN", "cb_1_secret")

    def call(*args: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, args, input=stdin)

    return call


NODES = [
    {"id": 1, "name": "admin.a.test", "state": "ACTIVE", "alive": True, "available": True, "admin": True},
    {"id": 2, "name": "n1.a.test", "state": "ERROR", "alive": False, "available": True, "admin": False},
]


# ---------------------------------------------------------------- formats


def test_a_table_leaves_out_what_a_moment_has_beyond_its_seconds_and_json_does_not(server: Server, run: Run) -> None:
    rows = [{"id": 1, "name": "first.5", "created_at": "2026-01-02T03:04:05.678901+00:00"}]
    server.on("GET", "/api/v2/users", rows)
    assert run("users", "list").stdout.splitlines()[1].split() == [
        "1",
        "first.5",
        "-",
        "-",
        "2026-01-02T03:04:05+00:00",
    ]
    assert json.loads(run("users", "list", "--format", "json").stdout) == rows


def test_a_table_of_events_names_who_was_told_and_json_tells_the_rest(server: Server, run: Run) -> None:
    told = [{"plugin": name, "state": state, "error": "No."} for name, state in (("dns", "done"), ("dhcp", "failed"))]
    event = {"id": 84, "created_at": None, "hook": "on_active", "subject": "node 5", "deliveries": told}
    server.on("GET", "/api/v2/events", [event])
    server.on("GET", "/api/v2/events/84", event)
    assert run("events", "list").stdout.splitlines()[1].split("node 5")[1].strip() == "dns done, dhcp failed"
    assert json.loads(run("--format", "json", "events", "list").stdout) == [event]
    assert '"error": "No."' in run("events", "show", "84").stdout


@pytest.mark.parametrize("noun, path", [("noderoles", "node_roles"), ("deployments", "deployments")])
def test_a_table_says_the_word_for_a_state_that_is_a_number(server: Server, run: Run, noun: str, path: str) -> None:
    row = {"id": 1, "name": "web", "node": "n1.a.test", "role": "motd", "state": -1, "state_name": "ERROR"}
    server.on("GET", f"/api/v2/{path}", [row])
    title, line = run(noun, "list").stdout.splitlines()
    assert "STATE" in title.split()
    assert "✕ ERROR" in line
    assert "-1" not in line
    assert json.loads(run(noun, "list", "--format", "json").stdout) == [row]


def test_a_table_has_a_line_for_each_object_with_its_state_as_glyph_and_word(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/nodes", NODES)
    result = run("nodes", "list")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:3] == ["ID", "NAME", "STATE"]
    assert lines[1].split()[:4] == ["1", "admin.a.test", "✓", "ACTIVE"]
    assert lines[2].split()[:4] == ["2", "n1.a.test", "✕", "ERROR"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_json_and_yaml_are_the_objects_as_the_server_gave_them_and_nothing_else(
    server: Server, run: Run, where: str
) -> None:
    server.on("GET", "/api/v2/nodes", NODES)
    for name, parse in (("json", json.loads), ("yaml", yaml.safe_load)):
        args = ["--format", name, "nodes", "list"] if where == "before" else ["nodes", "list", "--format", name]
        result = run(*args)
        assert parse(result.stdout) == NODES
        assert result.stderr == ""


def test_what_does_not_show_is_escaped_in_every_format(server: Server, run: Run) -> None:
    evil = "a\x1b[31m\u202eb\x9bc"
    server.on("GET", "/api/v2/nodes", [{"id": 1, "name": evil}])
    for name in ("table", "json", "yaml"):
        printed = run("nodes", "list", "--format", name).stdout
        assert not {"\x1b", "\u202e", "\x9b"} & set(printed), name
    assert json.loads(run("nodes", "list", "--format", "json").stdout)[0]["name"] == evil
    assert yaml.safe_load(run("nodes", "list", "--format", "yaml").stdout)[0]["name"] == evil


def test_a_list_follows_the_pages_and_stops_at_the_limit(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/nodes", NODES[:1], Link='</api/v2/nodes?after=1&limit=500>; rel="next"')
    server.on("GET", "/api/v2/nodes", NODES[1:])
    assert [row["id"] for row in json.loads(run("nodes", "list", "--format", "json").stdout)] == [1, 2]
    assert [query.get("after") for _, _, query, _, _ in server.asked] == [None, "1"]
    server.answers.clear()
    server.asked.clear()
    server.on("GET", "/api/v2/nodes", NODES)
    assert len(json.loads(run("nodes", "list", "--limit", "1", "--format", "json").stdout)) == 1
    assert server.asked[0][2]["limit"] == "1"


def test_a_next_page_on_another_server_is_not_asked(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/nodes", NODES, Link='<http://127.0.0.1:1/steal>; rel="next"')
    result = run("nodes", "list")
    assert result.exit_code == 3
    assert "another server" in result.stderr


# ---------------------------------------------------------------- errors and exit codes


def one_sentence(result: Result) -> str:
    """The error, which stands alone on stderr: no traceback, nothing on stdout."""
    assert result.stdout == ""
    assert "Traceback" not in result.output
    assert result.stderr.startswith("Error: "), result.stderr
    assert len(result.stderr) < 2500
    assert result.stderr.count("\nError: ") == 0
    return result.stderr


def test_a_refusal_is_told_in_the_servers_words_with_each_fault_and_exits_1(server: Server, run: Run) -> None:
    errors = [{"pointer": "/name", "detail": "must have at least three labels"}]
    server.on("POST", "/api/v2/nodes", {"code": "invalid", "detail": "The node is not valid.", "errors": errors}, 422)
    result = run("nodes", "create", "x")
    assert result.exit_code == 1
    assert one_sentence(result) == "Error: The node is not valid.\n  /name: must have at least three labels\n"


def test_a_fault_that_the_sentence_tells_is_not_told_twice(server: Server, run: Run) -> None:
    said = "There is no group nope."
    server.on(
        "POST",
        "/api/v2/nodes",
        {"code": "invalid", "detail": said, "errors": [{"pointer": "/group", "detail": said}]},
        422,
    )
    assert one_sentence(run("nodes", "create", "n1.a.test")) == f"Error: {said}\n", "it names the place"
    said = "The value breaks the rule type: string."
    for noun, pointer, place in (("groups", "/", ""), ("deployments", "/web", "  (at /web)\n")):
        errors = [{"pointer": pointer, "detail": said}]
        server.on("POST", f"/api/v2/{noun}", {"code": "invalid", "detail": said, "errors": errors}, 422)
        assert one_sentence(run(noun, "create", "n1")) == f"Error: {said}\n{place}"


def test_wrong_usage_exits_2_and_names_the_help(run: Run) -> None:
    for args in (
        ("nodes", "create"),
        ("nodes", "list", "--nope"),
        ("noderoles", "show", "x"),
        ("nodes", "update", "n"),
    ):
        result = run(*args)
        assert result.exit_code == 2, args
        one_sentence(result)
    assert "Try `crowbar nodes create --help`." in run("nodes", "create").stderr


def test_an_unknown_command_is_told_with_the_nearest_one(run: Run) -> None:
    result = run("noeds", "list")
    assert result.exit_code == 2
    assert "Did you mean `nodes`?" in one_sentence(result)


def test_a_server_that_is_not_there_exits_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWBAR_URL", "http://127.0.0.1:1")
    result = run("nodes", "list")
    assert result.exit_code == 3
    assert one_sentence(result).startswith("Error: No server answers at http://127.0.0.1:1 (connection refused).")


def test_a_server_that_speaks_no_json_is_no_crowbar(server: Server, run: Run) -> None:
    server.answers[("GET", "/api/v2/nodes")] = [Response("<html>", content_type="text/html")]
    result = run("nodes", "list")
    assert result.exit_code == 3
    assert "no Crowbar server" in one_sentence(result)
    server.answers[("GET", "/api/v2/nodes")] = [Response("<html>", status=414, content_type="text/html")]
    result = run("nodes", "list")
    assert result.exit_code == 1
    assert "a name is too long" in one_sentence(result)


def test_reading_is_tried_again_while_the_server_cannot_answer_and_changing_is_not(server: Server, run: Run) -> None:
    busy = {"code": "unavailable", "detail": "The database does not answer."}
    server.on("GET", "/api/v2/nodes", busy, 503, Retry_After="0")
    server.on("GET", "/api/v2/nodes", NODES)
    assert run("nodes", "list").exit_code == 0
    assert len(server.asked) == 2
    server.asked.clear()
    server.on("PUT", "/api/v2/nodes/n/propose", busy, 503, Retry_After="0")
    result = run("nodes", "propose", "n")
    assert result.exit_code == 3
    assert one_sentence(result) == "Error: The database does not answer.\n"
    assert server.requests() == [("PUT", "/api/v2/nodes/n/propose")]


def test_a_missing_token_says_how_to_get_one(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/nodes", {"code": "unauthenticated", "detail": "Who are you?"}, 401)
    result = run("nodes", "list")
    assert result.exit_code == 1
    assert "crowbar login" in one_sentence(result)


def test_an_unexpected_error_is_a_sentence_and_a_traceback_only_with_debug(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/deployments/d/plan", {"unheard": "of"})
    result = run("deployments", "plan", "d")
    assert result.exit_code == 1
    assert "--debug" in one_sentence(result)
    result = run("deployments", "plan", "d", "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


HOSTILE = [
    "$(id)",
    "; reboot",
    "../../users",
    "{{7*7}}",
    "<script>",
    "a\u202eb",
    "a\nb",
    "a\x00b",
    "x" * 65536,
    "é" * 10,
    "'\"",
    "%2e%2e",
    "?a=b#c",
    "nodes/1",
    "\udc80",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_one_part_of_the_path_or_one_sentence(server: Server, run: Run, name: str) -> None:
    result = run("nodes", "show", "--", name)
    assert result.exit_code in (1, 3), result.output
    text = one_sentence(result)
    assert text.rstrip("\n").replace("\n", "").isprintable()
    for method, path, query, *_ in server.asked:
        assert (method, query) == ("GET", {})
        assert path == f"/api/v2/nodes/{name}"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_change_the_path_is_not_sent(server: Server, run: Run, name: str) -> None:
    result = run("nodes", "destroy", name)
    assert result.exit_code == 1
    assert "is no name" in one_sentence(result)
    assert server.asked == []


@pytest.mark.parametrize(
    "value, says",
    [("[" * 100_000, "nested"), ('{"a": 1, "a": 2}', "twice")],
)
def test_a_value_that_is_no_sane_json_is_refused_before_it_is_sent(
    server: Server, run: Run, value: str, says: str
) -> None:
    result = run("attribs", "set", "x", "--node", "n", "--", value)
    assert result.exit_code == 1
    assert says in one_sentence(result)
    assert server.asked == []


@pytest.mark.parametrize(
    "typed, sent",
    [("7", 7), ("true", True), ("hello", "hello"), ('["a"]', ["a"]), ("NaN", "NaN"), ("1e400x", "1e400x"), ("", "")],
)
def test_a_value_is_json_if_it_is_json_and_text_otherwise(server: Server, run: Run, typed: str, sent: Any) -> None:
    server.on("PUT", "/api/v2/nodes/n/attribs/x", {})
    assert run("attribs", "set", "x", typed, "--node", "n").exit_code == 0
    assert server.asked[-1][3] == {"value": sent}


def test_a_secret_value_comes_from_standard_input(server: Server, run: Run) -> None:
    server.on("PUT", "/api/v2/nodes/n/attribs/x", {})
    assert run("attribs", "set", "x", "--file", "-", "--string", "--node", "n", stdin="12 34\n").exit_code == 0
    assert server.asked[-1][3] == {"value": "12 34"}


# ---------------------------------------------------------------- verbs


def test_a_noderole_is_found_by_node_and_role(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/roles/web", {"id": 5, "name": "web"})
    server.on("GET", "/api/v2/nodes/n1.a.test/node_roles", [{"id": 77}])
    server.on("PUT", "/api/v2/node_roles/77/retry", {})
    assert run("noderoles", "retry", "n1.a.test/web").exit_code == 0
    assert server.asked[1][2]["role_id"] == "5"
    assert server.requests()[-1] == ("PUT", "/api/v2/node_roles/77/retry")
    server.answers[("GET", "/api/v2/nodes/n1.a.test/node_roles")] = [Response("[]", content_type="application/json")]
    assert "is not bound to node" in one_sentence(run("noderoles", "why", "n1.a.test/web"))


def test_a_commit_insists_on_the_plan_that_was_shown(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/deployments/d/losses", {**LOSS, "asks": False})
    server.on("PUT", "/api/v2/deployments/d/commit", {})
    assert run("deployments", "commit", "d", "--plan", "abc").exit_code == 0
    assert server.asked[-1][2] == {"plan": "abc"}


# ---------------------------------------------------------------- plans and drafts


def step(kind: str, role: str, node: str, wave: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": kind, "role": role, "node": node, "wave": wave, "destructive": False, "reboots": False, "anyway": False,
        "note": "", "codes": [], **more,
    }  # fmt: skip


PLAN = {
    "id": "0123456789abcdef", "title": "Commit deployment d", "empty": False, "seconds": 200.0, "unknown": ["disk"],
    "destroys": ["disk on n1"], "removed": [], "reboots": ["n1"], "unsteady": ["on_commit of net for deployment d"],
    "lines": [{"barclamp": "net", "text": "n1 takes 10.0.0.1"}],
    "values": [{"origin": "web in d", "attribute": "text", "old_set": False, "old": None, "new_set": True,
                "new": "hi", "reaches": ["web on n1", "web on n2", "web on n3", "web on n4"]}],
    "steps": [
        step("run", "disk", "n1", 1, destructive=True, reboots=True),
        *(step("run again", "web", f"n{number}", 2) for number in range(1, 6)),
        step("wait", "web", "n6", 0, note="Node n6 is not alive.", codes=["node dead node 6"]),
        step("wait", "web", "n7", 0, note="Node n7 is not alive.", codes=["node dead node 7"]),
        step("run", "ntp", "n9", 1, anyway=True),
    ],
}  # fmt: skip


def test_a_plan_has_its_summary_first_and_folds_what_many_nodes_do(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/deployments/d/plan", PLAN)
    result = run("deployments", "plan", "d")
    assert result.exit_code == 0
    assert result.stdout == (
        "Plan 0123456789abcdef: Commit deployment d\n"
        "  1 run, 5 run again, 2 wait. About 3 min 20 s (not known for disk).\n"
        "  DESTROYS what is on the disks: disk on n1\n"
        "  Reboots: n1\n"
        "  NOT STEADY: on_commit of net for deployment d answered otherwise when it was asked again, so the plan may "
        "not hold.\n"
        "Values\n"
        '  text of web in d: (not set) -> "hi"  (for web on n1, web on n2, web on n3 and 1 more)\n'
        "Wave 1\n"
        "  run  disk  n1  DESTROYS; reboots\n"
        "Wave 2\n"
        "  run again  web  5 nodes: n1, n2, n3 and 2 more\n"
        "Waits\n"
        "  wait  web  2 nodes: n6, n7  node dead\n"
        "Barclamps say\n"
        "  net: n1 takes 10.0.0.1\n"
        "Happens without this too: 1 run.\n"
    )
    assert result.stderr == "`crowbar deployments commit d --plan 0123456789abcdef` does just this.\n"
    every = run("deployments", "plan", "d", "--all").stdout.splitlines()
    assert [line.split()[-1] for line in every if line.startswith("  run again")] == [f"n{n}" for n in range(1, 6)]
    assert json.loads(run("deployments", "plan", "d", "--format", "json").stdout) == PLAN


PLANNED = [
    (("nodes", "destroy", "n1"), ("DELETE", "nodes/n1")),
    (("nodes", "commit", "n1"), ("PUT", "nodes/n1/commit")),
    (("nodes", "redeploy", "n1"), ("PUT", "nodes/n1/redeploy")),
    (("nodes", "propose", "n1"), ("PUT", "nodes/n1/propose")),
    (("nodes", "update", "n1", "--deployment", "d"), ("PATCH", "nodes/n1")),
    (("nodes", "bind", "n1", "web"), ("POST", "node_roles/bulk")),
    (("deployments", "bind", "d", "web", "n1"), ("POST", "node_roles/bulk")),
    (("deployments", "commit", "d"), ("PUT", "deployments/d/commit")),
    (("deployments", "destroy", "d"), ("DELETE", "deployments/d")),
    (("deployments", "propose", "d"), ("PUT", "deployments/d/propose")),
    (("deployments", "recall", "d"), ("PUT", "deployments/d/recall")),
    (("noderoles", "unbind", "7"), ("DELETE", "node_roles/7")),
    (("noderoles", "commit", "7"), ("PUT", "node_roles/7/commit")),
    (("noderoles", "rerun", "7"), ("PUT", "node_roles/7/rerun")),
    (("attribs", "set", "x", "1", "--node", "n1"), ("PUT", "nodes/n1/attribs/x")),
    (("attribs", "set", "x", "1", "--deployment", "d"), ("PUT", "deployments/d/attribs/x")),
    (("attribs", "unset", "x", "--noderole", "7"), ("DELETE", "node_roles/7/attribs/x")),
    (("attribs", "commit", "--node", "n1"), ("PUT", "nodes/n1/drafts/commit")),
]


@pytest.mark.parametrize("args, change", PLANNED, ids=[" ".join(one[0]) for one in PLANNED])
def test_plan_asks_for_nothing_but_the_plan(
    server: Server, run: Run, args: tuple[str, ...], change: tuple[str, str]
) -> None:
    server.on(change[0], f"/api/v2/{change[1]}", PLAN)
    result = run(*args, "--plan")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Plan 0123456789abcdef: ")
    assert [(one[0], one[1], one[2]) for one in server.asked] == [
        (change[0], f"/api/v2/{change[1]}", {"dry_run": "true"})
    ]


def test_a_value_is_a_draft_unless_now_is_said_and_the_ways_to_go_on_are_told(server: Server, run: Run) -> None:
    server.on("PUT", "/api/v2/nodes/n1/attribs/x", {})
    server.on("PUT", "/api/v2/deployments/d/attribs/x", {"attribute": "x", "roles": ["web"]})
    result = run("attribs", "set", "x", "1", "--node", "n1")
    assert result.exit_code == 0
    assert server.asked[-1][2] == {}
    assert "as a draft: nothing has changed yet" in result.stderr
    assert "`crowbar attribs commit --node n1`" in result.stderr
    assert "`crowbar attribs discard --node n1`" in result.stderr
    result = run("attribs", "set", "x", "1", "--deployment", "d", "--role", "web", "--now")
    assert result.stderr == "Attribute x is set.\n"
    assert server.asked[-1][2] == {"role": "web", "now": "true"}
    assert run("attribs", "set", "x", "1", "--node", "n1", "--wait").exit_code == 2


def test_drafts_are_shown_as_old_and_new(server: Server, run: Run) -> None:
    draft = {
        "name": "web in d", "attribute": "text", "path": "text", "old_set": True, "old": "a", "new_set": False,
        "new": None, "actor": "anna", "at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    server.on("GET", "/api/v2/deployments/d/drafts", [draft])
    server.on("PUT", "/api/v2/deployments/d/drafts/discard", {"discarded": 1})
    shown = run("attribs", "drafts", "--deployment", "d").stdout.splitlines()
    assert shown[1].startswith("web in d  text")
    assert '"a" -> (not set)' in shown[1]
    assert run("attribs", "discard", "--deployment", "d").stderr == "The drafts of 1 object are discarded.\n"
    assert run("attribs", "commit", "--deployment", "d").exit_code == 2


def test_a_hammer_is_changed_key_by_key_and_a_run_woken(server: Server, run: Run) -> None:
    server.on("PATCH", "/api/v2/hammers/3", {"id": 3})
    assert run("hammers", "update", "3", "--config", "address=192.0.2.7", "--config", "user=null").exit_code == 0
    assert run("hammers", "update", "3").exit_code == 2
    server.on("PUT", "/api/v2/runs/4/wake", {"id": 4})
    assert run("runs", "wake", "4").exit_code == 0
    assert server.requests() == [("PATCH", "/api/v2/hammers/3"), ("PUT", "/api/v2/runs/4/wake")]


def test_a_secret_of_a_hammer_is_read_from_standard_input_as_a_text(server: Server, run: Run) -> None:
    server.on("PATCH", "/api/v2/hammers/3", {"id": 3})
    assert run("hammers", "update", "3", "--secret", "password", stdin="1234\n").exit_code == 0
    assert server.asked[-1][3] == {"config": {"password": "1234"}}
    assert run("hammers", "update", "3", "--secret", "password", stdin="").exit_code == 2


# ---------------------------------------------------------------- destroying asks first

LOSS = {
    "act": "destroy", "subject": "the thing", "name": "n1.a.test", "asks": True, "summary": "It goes.",
    "sections": [{"title": "Noderoles that go", "count": 1204, "lines": ["web on n1.a.test and 1,203 more"]}],
}  # fmt: skip
DESTROYING = [
    (("nodes", "destroy", "n1"), "nodes/n1", "destroy", ("DELETE", "nodes/n1")),
    (("nodes", "redeploy", "n1"), "nodes/n1", "redeploy", ("PUT", "nodes/n1/redeploy")),
    (("nodes", "commit", "n1"), "nodes/n1", "commit", ("PUT", "nodes/n1/commit")),
    (("nodes", "power", "n1", "off"), "nodes/n1", "off", ("PUT", "nodes/n1/power")),
    (("nodes", "power", "n1", "cycle"), "nodes/n1", "cycle", ("PUT", "nodes/n1/power")),
    (("nodes", "power", "n1", "reset"), "nodes/n1", "reset", ("PUT", "nodes/n1/power")),
    (("hammers", "perform", "3", "off"), "hammers/3", "off", ("POST", "hammers/3/perform")),
    (("deployments", "destroy", "d"), "deployments/d", "destroy", ("DELETE", "deployments/d")),
    (("deployments", "commit", "d"), "deployments/d", "commit", ("PUT", "deployments/d/commit")),
    (("noderoles", "unbind", "7"), "node_roles/7", "unbind", ("DELETE", "node_roles/7")),
    (("noderoles", "commit", "7"), "node_roles/7", "commit", ("PUT", "node_roles/7/commit")),
    (("groups", "destroy", "g"), "groups/g", "destroy", ("DELETE", "groups/g")),
    (("users", "destroy", "eve"), "users/eve", "destroy", ("DELETE", "users/eve")),
    (("hammers", "destroy", "3"), "hammers/3", "destroy", ("DELETE", "hammers/3")),
]


@pytest.mark.parametrize("args, path, act, change", DESTROYING, ids=[" ".join(one[0]) for one in DESTROYING])
def test_what_destroys_is_refused_where_nobody_can_be_asked_and_done_with_yes(
    server: Server, run: Run, args: tuple[str, ...], path: str, act: str, change: tuple[str, str]
) -> None:
    method, changed = change
    server.on("GET", f"/api/v2/{path}/losses", LOSS)
    server.on(method, f"/api/v2/{changed}", {})
    result = run(*args, stdin="n1.a.test\n")  # a pipe is no person
    assert result.exit_code == 2
    shown, _, last = result.stderr.rstrip("\n").rpartition("\n")
    assert shown.splitlines() == ["It goes.", "  Noderoles that go (1,204):", "    web on n1.a.test and 1,203 more"]
    assert re.fullmatch(r"Error: This would .+ the thing, and nobody is here to be asked: give --yes if [^.]+\.", last)
    assert [(one[0], one[1], one[2]) for one in server.asked] == [("GET", f"/api/v2/{path}/losses", {"act": act})]
    server.asked.clear()
    assert run(*args, "--yes").exit_code == 0
    # Whether it is gone at once, or has to be torn down first, is looked up.
    looks = (
        [("GET", f"/api/v2/{changed}")]
        if changed in ("nodes/n1", "node_roles/7", "deployments/d") and method == "DELETE"
        else []
    )
    assert server.requests() == [(method, f"/api/v2/{changed}"), *looks]


def test_where_nothing_is_lost_nothing_is_asked(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/groups/g/losses", {**LOSS, "asks": False})
    server.on("DELETE", "/api/v2/groups/g")
    result = run("groups", "destroy", "g")
    assert result.exit_code == 0
    assert result.stderr == "Group g is gone.\n"


def test_a_person_at_a_terminal_sees_the_loss_of_all_and_types_each_name(server: Server) -> None:
    for name in ("n1", "n2"):
        server.on("GET", f"/api/v2/nodes/{name}/losses", {**LOSS, "name": f"{name}.a.test"})
        server.on("DELETE", f"/api/v2/nodes/{name}")
    for typed, code in ((["n1.a.test", "n1.a.test"], 1), (["N1.a.test", "n2.a.test"], 0)):
        server.asked.clear()
        said, ended = at_a_terminal(server, ["nodes", "destroy", "n1", "n2"], typed)
        assert ended == code, said
        assert said.index("Noderoles that go (1,204):") < said.index("Type n1.a.test to go on:")
        if code:
            assert "Error: Nothing was done: the name that you typed is not n2.a.test." in said
        done = [("DELETE", "/api/v2/nodes/n1"), ("DELETE", "/api/v2/nodes/n2")]
        assert [one for one in server.requests() if one[0] != "GET"] == ([] if code else done)


def at_a_terminal(server: Server, args: list[str], typed: list[str]) -> tuple[str, int]:
    """What a command shows on a terminal where ``typed`` is typed, a line at each question; and its exit code."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "crowbar_core.cli", *args], stdin=slave, stdout=slave, stderr=slave,
        env={**os.environ, "CROWBAR_URL": server.url, "CROWBAR_TOKEN": "cb_1_secret"},
    )  # fmt: skip
    os.close(slave)
    said, lines = "", list(typed)
    try:
        while True:
            try:
                read = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            if not read:
                break
            said += read.decode()
            if lines and said.endswith("to go on: "):
                os.write(master, f"{lines.pop(0)}\n".encode())
        return said, process.wait(60)
    finally:
        os.close(master)
        if process.poll() is None:
            process.kill()
            process.wait()


def test_converge_waits_until_settled_and_fails_with_names_when_something_did(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/anneal", {"state": "working", "working": 2, "errors": 0, "waiting": 0}, 202)
    server.on("GET", "/api/v2/anneal", {"state": "settled", "working": 0, "errors": 0, "waiting": 0})
    assert run("converge").exit_code == 0
    assert len(server.asked) == 2
    server.answers.clear()
    server.on("GET", "/api/v2/anneal", {"state": "failed", "working": 0, "errors": 1, "waiting": 0}, 409)
    server.on("GET", "/api/v2/node_roles", [{"id": 1, "node": "n1.a.test", "role": "web", "state_name": "ERROR"}])
    result = run("converge")
    assert result.exit_code == 1
    assert one_sentence(result) == "Error: Failed: n1.a.test/web. `crowbar noderoles why n1.a.test/web` says why.\n"


def test_converge_gives_up_after_its_timeout(server: Server, run: Run) -> None:
    server.on("GET", "/api/v2/anneal", {"state": "working", "working": 3}, 202)
    result = run("converge", "--timeout", "0.1")
    assert result.exit_code == 1
    assert "3 runs are open" in one_sentence(result)


@pytest.mark.parametrize(
    "status,body,code",
    [
        (200, {"status": "ready", "detail": "all is well"}, 0),
        (200, {"status": "degraded", "detail": "nobody works"}, 1),
        (503, {"status": "not ready", "detail": "database does not answer"}, 1),
    ],
)
def test_ping_is_content_only_when_all_is_well(
    server: Server, run: Run, status: int, body: dict[str, str], code: int
) -> None:
    server.on("GET", "/readyz", body, status)
    result = run("ping")
    assert result.exit_code == code
    assert result.stdout == ""
    if code:
        assert body["detail"] in one_sentence(result)
    asked = run("ping", "--format", "json")
    assert asked.exit_code == code
    assert json.loads(asked.stdout)["ready"] is (code == 0)


def test_a_followed_log_ends_with_its_run_and_misses_no_line(server: Server, run: Run) -> None:
    def line(seq: int) -> dict[str, Any]:
        return {"seq": seq, "at": "2026-01-01T00:00:00.000+00:00", "stream": "stdout", "line": f"line {seq}\x1b[2J"}

    server.on("GET", "/api/v2/runs/9", {"id": 9, "state": "running"})
    server.on("GET", "/api/v2/runs/9", {"id": 9, "state": "succeeded"})
    server.on("GET", "/api/v2/runs/9/log", [line(1), line(2)])
    server.on("GET", "/api/v2/runs/9/log", [line(3)])
    result = run("runs", "log", "-f", "9")
    assert result.exit_code == 0
    assert [text.split()[2:4] for text in result.stdout.splitlines()] == [["line", f"{n}\\x1b[2J"] for n in (1, 2, 3)]
    assert server.asked[-1][2]["after"] == "2"


def test_a_token_is_the_only_thing_on_stdout(server: Server, run: Run) -> None:
    server.on("POST", "/api/v2/tokens", {"id": 4, "token": "cb_4_xyz"}, 201)
    result = run("tokens", "create", "ci")
    assert result.stdout == "cb_4_xyz\n"


def test_a_password_is_read_from_standard_input_and_never_an_argument(server: Server, run: Run) -> None:
    server.on("POST", "/api/v2/users", {"id": 3, "name": "eve"}, 201)
    assert run("users", "create", "eve", "--role", "operator", stdin="long enough\n").exit_code == 0
    assert server.asked[-1][3] == {"name": "eve", "role": "operator", "password": "long enough"}
    assert run("users", "create", "eve", "--password-of", "x").exit_code == 2


# ---------------------------------------------------------------- who asks whom


def test_login_keeps_a_token_for_its_owner_alone_and_later_calls_use_it(
    server: Server, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROWBAR_TOKEN")
    server.on("POST", "/api/v2/tokens", {"id": 4, "token": "cb_4_xyz"}, 201)
    server.on("GET", "/api/v2/nodes", NODES)
    result = run("login", "--user", "admin", stdin="pass word\n")
    assert result.exit_code == 0, result.output
    assert server.asked[0][4].startswith("Basic ")
    path = home / ".config" / "crowbar" / "config.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "pass word" not in path.read_text()
    monkeypatch.delenv("CROWBAR_URL")
    assert run("nodes", "list").exit_code == 0
    assert server.asked[-1][4] == "Bearer cb_4_xyz"


def test_a_profiles_token_is_not_sent_to_another_server(
    server: Server, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROWBAR_TOKEN")
    monkeypatch.delenv("CROWBAR_URL")
    path = home / ".config" / "crowbar" / "config.toml"
    profiles.save_profile(path, "default", {"url": "http://crowbar.test:3000", "token": "cb_9_home"})
    server.on("GET", "/api/v2/nodes", NODES)
    assert run("nodes", "list", "--url", server.url).exit_code == 0
    assert server.asked[-1][4] == ""


def test_netrc_does_not_replace_the_token(server: Server, run: Run, home: Path) -> None:
    netrc = home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    server.on("GET", "/api/v2/nodes", NODES)
    assert run("nodes", "list").exit_code == 0
    assert server.asked[-1][4] == "Bearer cb_1_secret"


def test_flags_win_over_the_environment_and_that_over_the_profile(home: Path) -> None:
    path = home / ".config" / "crowbar" / "config.toml"
    profiles.save_profile(path, "lab", {"url": "http://lab:1", "token": "t-profile"})
    environ = {"HOME": str(home), "CROWBAR_PROFILE": "lab"}
    assert profiles.resolve({}, environ).token == "t-profile"
    assert profiles.resolve({}, environ | {"CROWBAR_TOKEN": "t-env"}).token == "t-env"
    assert profiles.resolve({"token": "t-flag"}, environ | {"CROWBAR_TOKEN": "t-env"}).token == "t-flag"
    asked = profiles.resolve({"user": "eve"}, environ | {"CROWBAR_PASSWORD": "pw"})
    assert (asked.token, asked.user, asked.password, asked.url) == ("", "eve", "pw", "http://lab:1")
    with pytest.raises(ConfigError, match="no profile 'nope'"):
        profiles.resolve({"profile": "nope"}, environ)


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://x", "http://", "http://eve:pw@host", "http://a b"])
def test_an_address_that_is_no_url_is_refused(home: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="is no URL"):
        profiles.resolve({"url": url}, {"HOME": str(home)})


@pytest.mark.parametrize("text", ["profiles = 3", "[profiles.x]\nurl = 3", "[profiles.x]\nunknown = 'y'", "= broken"])
def test_a_broken_configuration_is_one_sentence(run: Run, home: Path, text: str) -> None:
    path = home / ".config" / "crowbar" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    result = run("nodes", "list")
    assert result.exit_code == 1
    assert str(path) in one_sentence(result)


def test_a_profile_with_odd_characters_is_read_back_as_it_was_saved(home: Path) -> None:
    path = home / "c" / "config.toml"
    token = 'a"b\\c\n\x7fé'
    profiles.save_profile(path, 'na.me"', {"url": "http://x", "token": token})
    profiles.save_profile(path, "other", {"url": "http://y"})
    assert profiles.read_config(path)["profiles"]['na.me"']["token"] == token


def test_a_profile_becomes_the_current_one_only_where_no_other_is_and_goes_only_if_it_is_meant(home: Path) -> None:
    path = home / "c" / "config.toml"
    assert profiles.save_profile(path, "lab", {"url": "http://lab:1"}, if_free=True)
    assert not profiles.save_profile(path, "second", {"url": "http://lab:2"}, if_free=True)
    assert profiles.read_config(path)["profile"] == "lab"
    assert not profiles.forget_profile(path, "lab", url="http://lab:9")
    assert profiles.forget_profile(path, "lab", url="http://lab:1")
    assert profiles.read_config(path) == {"profiles": {"second": {"url": "http://lab:2"}}}
    assert not profiles.forget_profile(home / "none.toml", "lab", url="http://lab:1")
    profiles.save_profile(path, "default", {"url": "http://x"})
    assert not profiles.save_profile(path, "lab", {"url": "http://lab:1"}, if_free=True)
    assert "profile" not in profiles.read_config(path)


# ---------------------------------------------------------------- the process


def crowbar(*args: str, **extra: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "crowbar_core.cli", *args], capture_output=True, timeout=60, **extra)


def imported_by(*args: str, among: frozenset[str], **environment: str) -> str:
    """Which of these modules a call of the command line imports."""
    code = (
        "import sys\nfrom crowbar_core.cli import root\n"
        f"try:\n    root.main({list(args)!r})\nexcept SystemExit as ending:\n    assert not ending.code\n"
        f"print(sorted(sys.modules.keys() & {set(among)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


HEAVY = frozenset(
    (
        "crowbar_core.plugins", "crowbar_example", "crowbar_example_inventory", "crowbar_jig_script", "crowbar_lab",
        "crowbar_bmc", "crowbar_dhcp", "crowbar_dns", "crowbar_network", "crowbar_provisioner", "crowbar_wizard",
        "crowbar_core.barclamp", "flask", "gunicorn", "jsonschema", "pydantic", "requests", "rich.console",
        "rich.progress", "sqlalchemy", "stevedore", "yaml",
    )
)  # fmt: skip
"""What a server, a barclamp or a rarer command needs, and what makes `crowbar` slow to start."""


def test_a_command_of_the_core_imports_nothing_that_it_does_not_need(server: Server) -> None:
    server.on("GET", "/api/v2/nodes", NODES)
    assert imported_by("nodes", "list", among=HEAVY, CROWBAR_URL=server.url) == "[]"


def test_the_list_of_commands_imports_no_command_and_no_barclamp() -> None:
    more = {f"crowbar_core.cli.{name}" for name in ("client", "http", "nodes", "serve", "verbs")}
    assert imported_by("--help", among=HEAVY | more) == "[]"


def test_a_reader_that_goes_away_is_no_error(server: Server) -> None:
    server.on("GET", "/api/v2/nodes", [{"id": n, "name": "x" * 200} for n in range(5000)])
    process = subprocess.Popen(
        [sys.executable, "-m", "crowbar_core.cli", "nodes", "list"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "CROWBAR_URL": server.url},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_ctrl_c_ends_quietly_with_130(server: Server) -> None:
    server.on("GET", "/api/v2/anneal", {"state": "working", "working": 1}, 202)
    process = subprocess.Popen(
        [sys.executable, "-m", "crowbar_core.cli", "converge"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "CROWBAR_URL": server.url},
    )  # fmt: skip
    asked = threading.Event()
    answer = Server.__call__

    def noted(self: Server, environ: Any, start: Any) -> Any:
        asked.set()
        return answer(self, environ, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "__call__", noted)
        assert asked.wait(30)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_the_version_and_the_completion_scripts_are_printed() -> None:
    assert crowbar("--version").stdout.startswith(b"crowbar ")
    for shell in ("bash", "zsh", "fish"):
        assert b"_CROWBAR_COMPLETE" in crowbar("completion", shell).stdout
    words = {**os.environ, "_CROWBAR_COMPLETE": "bash_complete", "COMP_WORDS": "crowbar nod", "COMP_CWORD": "1"}
    assert crowbar(env=words).stdout.split() == [b"plain,noderoles", b"plain,nodes"]


def test_bytes_that_are_no_utf_8_are_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crowbar_core.cli", b"nodes", b"show", b"\xff\xfe"], capture_output=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == b"Error: A name must be valid UTF-8.\n"


# ---------------------------------------------------------------- the shape of it


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _commands(inner, (*path, name))


def test_every_command_says_what_it_does_and_every_option_has_help() -> None:
    context = click.Context(root)
    for name in COMMANDS:
        made = root.get_command(context, name)
        assert made is not None
        assert made.name == name
        for path, command in _commands(made, (name,)):
            assert command.help, path
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    assert parameter.help, (path, parameter.name)


def test_every_rest_command_takes_the_shared_options() -> None:
    context = click.Context(root)
    for name in COMMANDS:
        made = root.get_command(context, name)
        assert made is not None
        for path, command in _commands(made, (name,)):
            if not isinstance(command, click.Group) and name != "completion":
                known = {flag for parameter in command.params for flag in parameter.opts}
                assert {"--format", "--url", "--token", "--profile", "--debug"} <= known, path


def test_a_file_of_authorities_that_is_not_there_is_refused_over_plain_http_too(
    server: Server, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET", "/api/v2/nodes", NODES)
    there, missing = home / "there.pem", home / "missing.pem"
    there.write_text("")
    refused = "which is no file: name one with the authorities to trust. Try `crowbar nodes list --help`.\n"
    for path in (missing, home):
        result = run("nodes", "list", "--ca-file", str(path))
        assert (result.exit_code, result.stderr) == (2, f"Error: --ca-file names {path}, {refused}")
    monkeypatch.setenv("CROWBAR_CA_FILE", str(missing))
    result = run("nodes", "list")
    assert (result.exit_code, result.stderr) == (2, f"Error: CROWBAR_CA_FILE names {missing}, {refused}")
    assert server.requests() == []
    assert run("nodes", "list", "--ca-file", str(there)).exit_code == 0, "the option comes before the environment"
    assert run("nodes", "list", "--insecure").exit_code == 0, "it would trust anyone"
    monkeypatch.delenv("CROWBAR_CA_FILE")
    (home / "config.toml").write_text(f'[profiles.default]\nurl = "{server.url}"\nca_file = "{missing}"\n')
    monkeypatch.setenv("CROWBAR_CLI_CONFIG", str(home / "config.toml"))
    result = run("nodes", "list")
    assert (result.exit_code, result.stderr) == (2, f"Error: ca_file of profile default names {missing}, {refused}")
