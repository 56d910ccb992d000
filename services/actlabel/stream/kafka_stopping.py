"""How an aiokafka consumer is stopped."""

import asyncio
from typing import Any


async def stop_consumer(client: Any) -> None:
    """Stop it, in a task of its own.

    aiokafka cancels its fetches and awaits them bare: one that waits after an error (the broker is away) raises that cancellation out of
    ``stop``, which here would read as our own: the process would end with it, or the task silently.
    """
    stopping = asyncio.create_task(client.stop())
    stopping.add_done_callback(_seen)
    await asyncio.wait([stopping])
    if stopping.cancelled():
        await client._client.close()  # noqa: SLF001 - what `stop` did not come to
    else:
        stopping.result()


def _seen(stopping: "asyncio.Task[None]") -> None:
    if not stopping.cancelled():
        stopping.exception()
