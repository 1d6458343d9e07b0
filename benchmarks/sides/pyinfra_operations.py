"""pyinfra's side: one operation per script through its API, its default order (all nodes, then the next operation)."""

from __future__ import annotations

# pyinfra asks for this before anything else is imported, as its own command does it.
from gevent import monkey  # type: ignore[import-untyped]

monkey.patch_all()

import time  # noqa: E402

from pyinfra.api.config import Config  # noqa: E402
from pyinfra.api.connect import connect_all, disconnect_all  # noqa: E402
from pyinfra.api.inventory import Inventory  # noqa: E402
from pyinfra.api.operation import add_op  # noqa: E402
from pyinfra.api.operations import run_ops  # noqa: E402
from pyinfra.api.state import State  # noqa: E402
from pyinfra.operations import server  # noqa: E402

from benchmarks.sides.work import Figures, Order, answer  # noqa: E402


def operate(order: Order) -> Figures:
    data = {
        "ssh_user": "root", "ssh_key": order.key_file, "ssh_known_hosts_file": order.write_known_hosts(),
        "ssh_strict_host_key_checking": "yes", "ssh_allow_agent": False, "ssh_look_for_keys": False,
    }  # fmt: skip
    begun, cpu = time.perf_counter(), time.process_time()
    inventory = Inventory(([(target.address, {}) for target in order.targets], data))  # type: ignore[no-untyped-call]
    config = Config(PARALLEL=order.concurrency, FAIL_PERCENT=0)  # type: ignore[no-untyped-call]
    state = State(inventory, config)
    connect_all(state)
    for number, script in enumerate(order.scripts):
        add_op(state, server.shell, name=f"script {number}", commands=[script])
    run_ops(state)
    figures = Figures(seconds=time.perf_counter() - begun, cpu=time.process_time() - cpu)
    disconnect_all(state)
    return figures


if __name__ == "__main__":
    answer(operate)
