"""What systemd-networkd finds below /run while a change is tried, when it is kept, and when it is led back."""

from __future__ import annotations

import subprocess

import pytest
from crowbar_network.layers import Link
from crowbar_network.trials import trial

pytestmark = pytest.mark.lab

BEFORE = """
set -e
mount -t tmpfs none /run
mount -t tmpfs none /etc
mkdir -p /run/systemd/network /etc/systemd/network /run/change
printf '[NetDev]\\nName=bond0\\nKind=bond\\n' >/etc/systemd/network/10-crowbar-bond0.netdev
printf '[NetDev]\\nName=bond0.7\\nKind=vlan\\n' >/run/systemd/network/10-netplan-bond0.7.netdev
printf '[NetDev]\\nName=other\\nKind=bridge\\n' >/run/systemd/network/20-other.netdev
printf '[Match]\\nName=eth1\\n' >/run/systemd/network/05-crowbar-eth1.network
networkctl() { find /run/systemd/network -type f | sort | sed 's:.*network/::' | tr '\\n' ' '; echo; }
cd /run/change
set +e
"""
"""In a mount namespace of its own; ``networkctl reload`` tells what is there."""
NOTE = ".d/00-crowbar-trial.conf"


def told(*parts: str) -> list[str]:
    text = BEFORE + "".join(f"cat >part <<'END'\n{part}END\n. ./part\n" for part in parts)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", text], capture_output=True, text=True, timeout=60, check=True
    )
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def test_links_that_went_are_not_made_again_and_their_files_come_back_with_them() -> None:
    links = [Link(name="eth1", kind="nic", addresses=("10.0.0.1/24",))]
    made = trial("networkd", links, ["bond0.7", "bond0", "eth1"], networkd_runs=True)
    start = told("networkctl\n")
    notes = f"10-crowbar-bond0.netdev{NOTE} 10-netplan-bond0.7.netdev 10-netplan-bond0.7.netdev{NOTE} 20-other.netdev"
    during = f"00-crowbar-trial.network 05-crowbar-eth1.network {notes}"
    assert told(made.before, made.settle) == [during, f"05-crowbar-eth1.network {notes}"]
    back = told(made.before, made.settle, f"set -- first\n{made.undo}", f"set -- last\n{made.undo}")
    assert back[2:] == start
    assert told(made.before, made.settle, f"set --\n{made.undo}")[2:] == start
    # The next change has a bond of that name again.
    again = trial("networkd", [Link(name="bond0", kind="bond")], ["bond0"], networkd_runs=True)
    assert told(made.before, made.settle, again.before, again.settle)[-1] == (
        "05-crowbar-bond0.netdev 05-crowbar-bond0.network 05-crowbar-eth1.network"
        f" 10-netplan-bond0.7.netdev 10-netplan-bond0.7.netdev{NOTE} 20-other.netdev"
    )
    assert trial("networkd", links, ["eth1"], networkd_runs=False).before == ""


def test_what_is_not_touched_is_not_told_anew_and_what_others_set_up_stays_masked() -> None:
    links = [Link(name=name, kind="nic", addresses=(f"10.0.{name[-1]}.1/24",)) for name in ("eth1", "eth2")]
    at_first = trial("networkd", links, ["eth1", "eth2"], networkd_runs=True)
    second = trial("networkd", links, ["eth1"], networkd_runs=True)
    age = "sleep 0.1; touch now\n"
    newer = "find /run/systemd/network -type f -newer now\n"
    found = told(at_first.before, at_first.settle, age, second.before, second.settle, newer)
    assert found[-1:] == ["/run/systemd/network/05-crowbar-eth1.network"]
    others = trial("ifupdown", links, ["eth1"], networkd_runs=True)
    assert told(others.before, others.settle, "grep Name= /run/systemd/network/00-*\n")[-1] == "Name=eth1 eth2"
