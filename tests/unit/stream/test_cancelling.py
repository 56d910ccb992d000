"""Ending tasks that lose or ignore a cancellation."""

import asyncio
from contextlib import suppress

from actlabel.stream.cancelling import cancel_all


async def test_a_task_that_loses_cancellations_is_cancelled_again() -> None:
    async def loses_two() -> None:
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = asyncio.create_task(loses_two())
    await asyncio.sleep(0)
    assert await cancel_all([task], patience_s=20) == 0
    assert task.cancelled()


async def test_a_task_that_ignores_them_is_left_after_a_while() -> None:
    ends = asyncio.Event()

    async def ignores() -> None:
        while not ends.is_set():
            with suppress(asyncio.CancelledError):
                await ends.wait()

    task = asyncio.create_task(ignores())
    await asyncio.sleep(0)
    assert await cancel_all([task], patience_s=0.2) == 1
    ends.set()
    await task


async def test_what_a_task_died_of_is_not_raised() -> None:
    async def dies() -> None:
        raise ValueError

    task = asyncio.create_task(dies())
    await asyncio.wait([task])
    assert await cancel_all([task], patience_s=1) == 0
