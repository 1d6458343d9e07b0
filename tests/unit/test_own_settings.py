"""The settings that a barclamp declares: where they come from, what is refused, what is told of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from crowbar_core import BadInput, Barclamp, ConfigError, cluster, hookimpl, setting
from crowbar_core.errors import BarclampError
from crowbar_core.plugins.own_settings import read
from crowbar_core.testing import Testbed


@dataclass(frozen=True, kw_only=True)
class Mine:
    port: int = setting(22, "Where it listens.", above=0)
    grace: float = setting(10.0, "Seconds.", above=0)
    path: str = setting("", "A file.")
    ping: bool = setting(True, "Whether.")
    ranges: tuple[str, ...] = setting((), "Ranges.")
    password: str = setting("", "A password.", secret=True)

    def __post_init__(self) -> None:
        if self.port > 65535:
            raise ValueError("port is at most 65535")


def test_settings_come_from_the_environment_then_the_table_then_the_defaults() -> None:
    assert read("mine", Mine, {}, {})[0] == Mine()
    table = {"port": 2222, "grace": 3, "path": "/a", "ranges": ["10.0.0.0/8"]}
    over = {"CROWBAR_MINE_PATH": "/b", "CROWBAR_MINE_PING": "false", "CROWBAR_MINE_RANGES": "a, b"}
    assert read("mine", Mine, table, over)[0] == Mine(port=2222, grace=3.0, path="/b", ping=False, ranges=("a", "b"))
    as_text = {"port": "2222", "grace": "3", "ping": "false"}
    assert read("mine", Mine, as_text, {})[0] == Mine(port=2222, grace=3.0, ping=False)


@pytest.mark.parametrize(
    "table, environment, says",
    [
        ({"prot": 22}, {}, "[plugins.mine] has no setting 'prot'"),
        ({"port": "ssh"}, {}, "[plugins.mine] port must be a number, not 'ssh'"),
        ({"path": 7}, {}, "path must be of type str, not 7"),
        ({"port": True}, {}, "port must be of type int, not True"),
        ({"grace": -1}, {}, "grace must be more than 0"),
        ({"grace": float("nan")}, {}, "must be more than 0"),
        ({"port": 70000}, {}, "port is at most 65535"),
        ({}, {"CROWBAR_MINE_PORT": "x"}, "CROWBAR_MINE_PORT must be a number, not 'x'"),
        ({}, {"CROWBAR_MINE_PING": "maybe"}, "must be true or false"),
    ],
)
def test_a_wrong_setting_is_named(table: dict[str, Any], environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        read("mine", Mine, table, environment)


def test_what_is_no_dataclass_of_settings_is_refused() -> None:
    with pytest.raises(BarclampError, match="no dataclass"):
        read("mine", int, {}, {})

    @dataclass
    class Odd:
        things: dict[str, str] | None = None

    with pytest.raises(BarclampError, match="The setting things of barclamp mine has no default"):
        read("mine", Odd, {}, {})


def test_each_setting_tells_its_origin_and_no_secret() -> None:
    _, told = read("jig-x", Mine, {"port": 1, "password": "hush"}, {"CROWBAR_JIG_X_PATH": "/c"})
    assert {one.name: (one.value, one.origin) for one in told} == {
        "port": (1, "[plugins.jig-x]"), "grace": (10.0, "default"), "path": ("/c", "CROWBAR_JIG_X_PATH"),
        "ping": (True, "default"), "ranges": ([], "default"), "password": ("***", "[plugins.jig-x]"),
    }  # fmt: skip


class Reader:
    def __init__(self) -> None:
        self.seen: list[Mine] = []

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(name="reader", settings=Mine)

    @hookimpl
    def check_node(self, node: Any) -> None:
        self.seen.append(cluster().settings(Mine))
        with pytest.raises(LookupError, match="No loaded barclamp declares BadInput as its settings"):
            cluster().settings(BadInput)


def test_a_hook_reads_the_settings_of_its_barclamp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWBAR_READER_PORT", "2299")
    reader = Reader()
    with Testbed(reader) as bed:
        bed.add_node("n1")
        listed = bed.web("admin").get("/api/v2/settings").text
    assert reader.seen[0] == Mine(port=2299)
    assert "CROWBAR_READER_PORT" in listed
