"""Waiting, and ending tasks, without losing a cancellation."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final

_AGAIN_S: Final = 0.05


async def wait_at_most(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until ``event`` is set, at most for ``timeout_s``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


async def cancel_all(tasks: Collection[asyncio.Task[Any]], *, patience_s: float) -> int:
    """Cancel until every task has ended, at most for ``patience_s``; return how many go on in spite of it.

    Once is not enough: ``asyncio.wait_for`` loses a cancellation that comes at the moment when what it waits for is done
    (python/cpython#86296), and a handler may ignore one.
    """
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + patience_s
    while (alive := [task for task in tasks if not task.done()]) and loop.time() < give_up_s:
        for task in alive:
            task.cancel()
        await asyncio.wait(alive, timeout=_AGAIN_S)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # it is known already, or of no more interest
    return len(alive)
