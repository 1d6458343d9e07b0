"""hussh's side: a connection per node and a channel per script, in Rust below Python's asyncio.

It checks no host key, for it cannot.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from hussh.aio import AsyncConnection

from benchmarks.sides.work import Figures, Order, Target, answer


def loop(order: Order) -> Figures:
    return asyncio.run(_all(order))


async def _all(order: Order) -> Figures:
    begun, cpu = time.perf_counter(), time.process_time()
    free = asyncio.Semaphore(order.concurrency)
    opened: list[AsyncConnection] = []

    async def one(target: Target) -> None:
        async with free:
            connection = AsyncConnection(target.address, username="root", private_key=order.key_file)
            await connection.connect()
            opened.append(connection)
            for script in order.scripts:
                done = await connection.execute(script)
                if done.status:
                    raise SystemExit(f"a script exited with {done.status}: {done.stderr}")

    await asyncio.gather(*(one(target) for target in order.targets))
    # The others keep their connections, too.
    figures = Figures(seconds=time.perf_counter() - begun, cpu=time.process_time() - cpu)
    await asyncio.gather(*(connection.close() for connection in opened))
    return figures


if __name__ == "__main__":
    answer(loop)
    # Not by the interpreter's own end, which does not come off with this library now and then.
    sys.stdout.flush()
    os._exit(0)
