"""The moment between losing partitions and somebody else getting them."""

import asyncio
from typing import Final

from actlabel.runtime.log import get_log
from actlabel.stream.port import Handover

_PATIENCE_S: Final = 2.0
_log = get_log(__name__)
_late: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references


async def handed_over(handover: Handover | None, *, group: str) -> None:
    """Await what the owner does at a handover, at most for two seconds: the group goes on whatever becomes of it.

    What is late is left to end by itself: cancelling a statement waits for a database that does not answer.
    """
    if handover is None:
        return
    task = asyncio.create_task(_run(handover), name=f"{group} hands over")
    _late.add(task)
    task.add_done_callback(_late.discard)
    done, _ = await asyncio.wait([task], timeout=_PATIENCE_S)
    if not done:
        _log.warning("A handover takes too long; calls that go on here may be paid again elsewhere", group=group, patience_s=_PATIENCE_S)
    elif not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("A handover failed; calls that go on here may be paid again elsewhere", group=group, error=str(error))


async def _run(handover: Handover) -> None:
    await handover()
