"""The settings of the script jig: the table ``[plugins.jig-script]`` and the environment ``CROWBAR_JIG_SCRIPT_...``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crowbar_core import setting


@dataclass(frozen=True, kw_only=True)
class Settings:
    key_file: str = setting(
        "", "The private key with which nodes let root in. Empty: ~/.ssh/id_ed25519, else ~/.ssh/id_rsa."
    )
    port: int = setting(22, "Where the nodes' sshd listens.", above=0)
    connect_timeout: float = setting(
        5.0, "Seconds for each step of a login, and for an answer on a kept connection.", above=0
    )
    ping: bool = setting(True, "Whether a node must answer ICMP echo to be alive. Off only where a firewall drops it.")
    ping_timeout: float = setting(1.0, "Seconds to wait for the answer to each of two pings.", above=0)
    kill_grace: float = setting(10.0, "Seconds between TERM and KILL when a script is ended.", above=0)
    idle_close: float = setting(300.0, "A connection that carried no run for so many seconds is closed.", above=0)
    keep_at_most: int = setting(500, "Connections kept between runs; the longest unused is closed first.", above=0)
    lost_after: float = setting(15.0, "Seconds without an answer after which a connection in use is given up.", above=0)
    retry_delay: float = setting(10.0, "Seconds until a script that exited with 75 is tried again.", above=0)
    max_payload: int = setting(8 << 20, "Bytes of scripts and data pushed for one role.", above=0)
    max_report: int = setting(1 << 20, "Bytes that the scripts of a role may report with write_attribute.", above=0)

    def key_path(self) -> Path:
        if self.key_file:
            return Path(self.key_file).expanduser()
        ssh = Path("~/.ssh").expanduser()
        ed25519 = ssh / "id_ed25519"
        return ed25519 if ed25519.exists() or not (ssh / "id_rsa").exists() else ssh / "id_rsa"
