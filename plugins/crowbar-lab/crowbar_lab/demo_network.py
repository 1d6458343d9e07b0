"""What ``crowbar demo --network`` shows besides: a second network on two bonded cards of each node, with a VLAN; and a
change of it that cannot work, which every node takes back by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from crowbar_core.client import Client
from crowbar_lab.lab import Lab

CARDS = 2
"""What each node has for it, besides the card by which it is reached."""
NETWORK = "storage"
ROLE = f"network-{NETWORK}"
VLAN = 100
WRONG = 200
MODE = 4
"""802.3ad, for which the switch must speak LACP."""
ROUTER = "10.100.0.1"
PREFIX6 = "fd00:100::"
SETTINGS = {"CROWBAR_NETWORK_KEEP_WITHIN": "30"}
"""All nodes have one slow processor together, and are changed at once."""
PAUSE = 0.4
_TOLD = ("link add link bond", "was tried: bond", "led back ", "is again: bond")


class Scene:
    """On a lab whose nodes have cards at a switch. ``tell`` is given what happens, line by line."""

    def __init__(self, lab: Lab, api: Client, tell: Callable[[str], None]) -> None:
        self.lab = lab
        self.api = api
        self.tell = tell

    def prepare(self) -> Mapping[str, Any]:
        """Sets the switch, and makes the network; returns it."""
        for node in self.lab.nodes:
            for card in node.cards:
                self.lab.port(node.name, card["name"], vlan=0, tagged=[VLAN], lacp=True)
        lines = [
            f"link add link sw0 name sw0.{VLAN} type vlan id {VLAN}",
            f"link set sw0.{VLAN} up",
            f"addr add {ROUTER}/24 dev sw0.{VLAN}",
            f"addr add {PREFIX6}1/64 dev sw0.{VLAN} nodad",
        ]
        self.lab.run_in_switch(["bridge", "vlan", "add", "dev", "sw0", "self", "vid", str(VLAN)], check=True)
        self.lab.run_in_switch(["ip", "-batch", "-"], given="\n".join(lines) + "\n", check=True)
        conduit = ",".join(f"?1g{number}" for number in range(2, 2 + CARDS))
        hosts = {"name": "host", "first": "10.100.0.10/24", "last": "10.100.0.250/24"}
        made: Mapping[str, Any] = self.api.post("networks", body={
            "name": NETWORK, "category": NETWORK, "conduit": conduit, "use_team": True, "team_mode": MODE,
            "use_vlan": True, "vlan": VLAN, "v6prefix": f"{PREFIX6}/64", "ranges": [hosts],
            "router": {"address": f"{ROUTER}/24", "pref": 20},
        })  # fmt: skip
        self.tell(
            f"Made the network {NETWORK}: {ROUTER}/24 and {PREFIX6}/64, tagged with VLAN {VLAN}, on a bond (802.3ad) of"
            f" each node's other {CARDS} cards."
        )
        return made

    def look(self, names: Sequence[str]) -> None:
        """Shows that the nodes reach each other."""
        first, *others = names
        for address in self._addresses(others[-1] if others else first):
            said = "answers" if self._answers(first, address) else "does not answer"
            self.tell(f"Asked from {first} over {NETWORK}, {others[-1] if others else first} {said} at {address}.")

    def break_it(self, names: Sequence[str]) -> bool:
        """Gives the network a VLAN that the switch does not carry, and follows the last of the nodes: True when its run
        has failed and it is as it was.
        """
        node = names[-1]
        runs = {run["id"] for run in self.api.rows("runs", query={"node": node, "role": ROLE})}
        four = self._addresses(node)[0]
        before = self._interfaces(node)
        self.tell(f"Now a change that cannot work: {NETWORK} gets VLAN {WRONG}, which the switch does not carry.")
        self.tell(f"Before it, {node} has {before}, and answers at {four}.")
        self._change(WRONG)
        run = self._follow(node, four, runs)
        if run is None:
            self.tell(f"No run of {ROLE} on {node} has ended.")
            return False
        after = self._interfaces(node)
        alive = self.api.put("nodes", node, "probe")["alive"]
        self.tell(f"The run {run['id']} failed: {run['exit_reason']}")
        self.tell(f"{node} is {'still there, and has' if alive else 'not reached, with'} {after}, as before.")
        return bool(alive) and after == before and run["state"] == "failed"

    def mend(self) -> None:
        self.tell(f"Put right again: {NETWORK} gets VLAN {VLAN}.")
        self._change(VLAN)

    def _change(self, vlan: int) -> None:
        self.api.patch("networks", NETWORK, body={"vlan": vlan})
        self.api.put("networks", NETWORK, "commit")

    # ---- one's eyes

    def _follow(self, node: str, address: str, known: set[int]) -> Mapping[str, Any] | None:
        """Tells what happens on the node until its next run has ended; returns that."""
        deadline = time.monotonic() + 120
        shown: dict[str, Any] = {"has": self._interfaces(node), "answers": True}
        seen, run = 0, None
        while time.monotonic() < deadline:
            new = [one for one in self.api.rows("runs", query={"node": node, "role": ROLE}) if one["id"] not in known]
            run = max(new, key=lambda one: int(one["id"])) if new else None
            has = self._interfaces(node)
            if has != shown["has"]:
                self.tell(f"{node} has {has}.")
            answers = self._answers_switch(address)
            if answers != shown["answers"]:
                self.tell(f"It {'answers again' if answers else 'does not answer any more'} at {address}.")
            shown = {"has": has, "answers": answers}
            if run is not None:
                for line in self.api.get("runs", run["id"], "log", query={"after": seen}):
                    seen = line["seq"]
                    if any(word in line["line"] for word in _TOLD):
                        self.tell(f"    {line['line'].strip()}")
                if run["finished_at"]:
                    return run
            time.sleep(PAUSE)
        return run

    def _addresses(self, node: str) -> list[str]:
        rows = self.api.rows("nodes", node, "network_allocations")
        return [row["address"].partition("/")[0] for row in rows if row["network"] == NETWORK]

    def _interfaces(self, node: str) -> str:
        """The node's bond and what stands over it, asked at its console."""
        said = self.lab.console(node, ["ip", "-br", "link"]).stdout.splitlines()
        return ", ".join(sorted(name for name in _first_words(said) if name.startswith("bond"))) or "no bond"

    def _answers(self, node: str, address: str) -> bool:
        return self.lab.console(node, ["ping", "-n", "-c1", "-W2", address]).returncode == 0

    def _answers_switch(self, address: str) -> bool:
        return self.lab.run_in_switch(["ping", "-n", "-c1", "-W1", address]).returncode == 0


def _first_words(lines: Iterable[str]) -> list[str]:
    return [words[0].partition("@")[0] for line in lines if (words := line.split())]
