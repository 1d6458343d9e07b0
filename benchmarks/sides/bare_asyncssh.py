"""The bare loop: asyncssh, one connection per node and one channel per script, and nothing recorded."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import asyncssh

from benchmarks.sides.work import Figures, Order, Target, answer


def loop(order: Order) -> Figures:
    return asyncio.run(_all(order, order.write_known_hosts()))


async def _all(order: Order, known_hosts: str) -> Figures:
    begun, cpu = time.perf_counter(), time.process_time()
    # Made once: what each connection would make of them anew costs half as much as the connection itself.
    options = asyncssh.SSHClientConnectionOptions(
        username="root", client_keys=[order.key_file], known_hosts=known_hosts, config=None, agent_path=None
    )
    free = asyncio.Semaphore(order.concurrency)
    async with AsyncExitStack() as opened:

        async def one(target: Target) -> None:
            async with free:
                connection = await opened.enter_async_context(asyncssh.connect(target.address, options=options))
                for script in order.scripts:
                    await connection.run(script, check=True)

        await asyncio.gather(*(one(target) for target in order.targets))
        # The others keep their connections, too.
        return Figures(seconds=time.perf_counter() - begun, cpu=time.process_time() - cpu)


if __name__ == "__main__":
    answer(loop)
