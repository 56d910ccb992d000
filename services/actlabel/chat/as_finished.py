"""Handle a stream of requests side by side and answer in the order in which they finish."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


async def as_finished(requests: AsyncIterator[Q], work: Callable[[Q], Awaitable[A]], *, at_once: int) -> AsyncIterator[A]:
    """Yield the answers. No request is read while ``at_once`` are being handled; the first error ends all."""

    async def one(request: Q) -> A:
        return await work(request)

    async def following() -> list[Q]:
        async for request in requests:
            return [request]
        return []

    reading: asyncio.Task[list[Q]] | None = asyncio.create_task(following())
    running: set[asyncio.Task[A]] = set()
    try:
        while reading is not None or running:
            may_read = reading is not None and len(running) < at_once
            awaited: set[asyncio.Task[A] | asyncio.Task[list[Q]]] = {*running, *([reading] if reading and may_read else [])}
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task in done]:
                running.remove(task)
                yield task.result()
            if reading is not None and reading in done:
                arrived = reading.result()
                running.update([asyncio.create_task(one(request)) for request in arrived])
                reading = asyncio.create_task(following()) if arrived else None
    finally:
        left = [*running, *([reading] if reading is not None else [])]
        for unfinished in left:
            unfinished.cancel()
        await asyncio.gather(*left, return_exceptions=True)
