"""Ansible's side: ``ansible-playbook`` with a task per script, linear, pipelining, and ControlPersist as it comes."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.sides.work import Figures, Order, answer

PR_SET_CHILD_SUBREAPER = 36
HANG_SECONDS = 1800.0


def play(order: Order) -> Figures:
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
        f"[defaults]\nforks = {order.concurrency}\nstrategy = linear\nhost_key_checking = True\nhome = {folder}\n"
        f"[ssh_connection]\npipelining = True\ncontrol_path_dir = {folder}/cp\n"
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
    answer(play)
