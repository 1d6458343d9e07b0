"""Ansible's side: ``ansible-playbook`` with a task per script, linear, pipelining, and ControlPersist as it comes; or
with mitogen in the place of these.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.sides.work import Figures, Order, answer

PR_SET_CHILD_SUBREAPER = 36
HANG_SECONDS = 1800.0


def play(order: Order) -> Figures:
    """Ansible as it comes."""
    return _play(
        order, f"strategy = linear\n[ssh_connection]\npipelining = True\ncontrol_path_dir = {order.folder}/cp\n"
    )


def play_with_mitogen(order: Order) -> Figures:
    """Ansible with mitogen's strategy, which keeps a Python on each node."""
    found = find_spec("ansible_mitogen")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("mitogen is not installed: ./dev setup bench")
    plugins = Path(found.submodule_search_locations[0]) / "plugins" / "strategy"
    return _play(order, f"strategy = mitogen_linear\nstrategy_plugins = {plugins}\n")


def _play(order: Order, how: str) -> Figures:
    folder = Path(order.folder)
    known_hosts = order.write_known_hosts()
    hosts: dict[str, dict[str, str]] = {target.address: {} for target in order.targets}
    settings = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": order.key_file,
        "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=none",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    tasks = [{"name": f"script {n}", "ansible.builtin.shell": text} for n, text in enumerate(order.scripts)]
    playbook = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    # JSON is YAML, too.
    (folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": settings}}))
    (folder / "playbook.yml").write_text(json.dumps(playbook))
    (folder / "ansible.cfg").write_text(
        f"[defaults]\nforks = {order.concurrency}\ntimeout = 120\nhost_key_checking = True\nhome = {folder}\n{how}"
    )
    # The rest of the environment has the lab's mark in it, by which it ends what is left.
    given = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = given | {"HOME": str(folder), "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(folder / "ansible.cfg")}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventory.yml", "playbook.yml"]
    # The ssh masters, which stay after the playbook, become ours: their time counts, and the next round starts cold.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begun = time.perf_counter()
    with (folder / "output").open("w+") as output:
        played = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            timeout=HANG_SECONDS, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        output.seek(0)
        said = output.read()
    _end_children()
    if played.returncode:
        raise SystemExit(f"ansible-playbook exited with {played.returncode}:\n{said[-2000:]}")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Figures(seconds=seconds, cpu=spent.ru_utime + spent.ru_stime)


def _end_children() -> None:
    for line in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        os.kill(int(line), signal.SIGTERM)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    answer(play_with_mitogen if sys.argv[1:] == ["--mitogen"] else play)
