"""Where Crowbar is, it is let in by itself, when that was wished."""

from __future__ import annotations

import stat
from pathlib import Path

import paramiko
import pytest
from crowbar_jig_script.first_questions import let_in

from crowbar_core import ConfigError

HERE = "127.0.0.1"


def test_the_key_is_made_once_and_root_accepts_it_once(tmp_path: Path) -> None:
    key, authorized = tmp_path / "own" / "id_ed25519", tmp_path / "root" / "authorized_keys"
    for _ in range(2):
        let_in(key, authorized, HERE)
    public = f"{paramiko.Ed25519Key.from_private_key_file(str(key)).get_name()} "
    [line] = authorized.read_text().splitlines()
    assert line == key.with_name("id_ed25519.pub").read_text().strip()
    assert line.startswith(public)
    assert line.split()[1] == paramiko.Ed25519Key.from_private_key_file(str(key)).get_base64()
    assert [stat.S_IMODE(one.stat().st_mode) for one in (key, authorized, key.parent)] == [0o600, 0o600, 0o700]


def test_keys_that_are_there_stay(tmp_path: Path) -> None:
    key, authorized = tmp_path / "id_ed25519", tmp_path / "authorized_keys"
    let_in(key, authorized, "::1")
    ours = authorized.read_text()
    authorized.write_text("ssh-ed25519 AAAA ada")
    before = key.read_bytes()
    let_in(key, authorized, HERE)
    assert (key.read_bytes(), authorized.read_text()) == (before, f"ssh-ed25519 AAAA ada\n{ours}")


@pytest.mark.parametrize("address", ["192.0.2.1", "", "nowhere"])
def test_nothing_is_touched_where_the_machine_is_another(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"by hand\.$"):
        let_in(tmp_path / "id", tmp_path / "authorized_keys", address)
    assert list(tmp_path.iterdir()) == []
