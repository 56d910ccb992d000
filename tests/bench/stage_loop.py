"""What the stage loop costs per item, against a bare task that parses and serializes the same record: ``python tests/bench/stage_loop.py``.

Both in one process and one run, in turns; CPU seconds of this process. The stream is the one in memory, so that the loop alone is seen;
the database is SQLite in memory. Prints the median ratio of the rounds.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.stream.outgoing import Outgoing
from tests.unit.stream.bed import FAST, Bed, outgoing

ITEMS = 20_000
ROUNDS = 5


async def handle(item: Item, _: Campaign) -> Sequence[Outgoing]:
    """Answer at once."""
    return [outgoing(item)]


async def bare(values: Sequence[bytes], campaign: Campaign) -> None:
    """One task per item: parse, handle."""

    async def one(value: bytes) -> None:
        await handle(Item.FromString(value), campaign)

    await asyncio.gather(*(one(value) for value in values))


async def through_the_stage(bed: Bed, campaign: Campaign, expected: int) -> None:
    """Run a stage until everything that was sent is out."""
    out = topics.topic(topics.ANNOTATED, campaign.uid)
    async with bed.running(handle, limits=replace(FAST, window_items=2000, calls_in_flight=512)):
        while sum((await bed.stream.end_offsets(out)).values()) < expected:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def cpu_us(work: Callable[[], Awaitable[None]]) -> float:
    """Return CPU microseconds per item of this process."""
    start = time.process_time()
    await work()
    return (time.process_time() - start) / ITEMS * 1e6


async def main() -> None:
    """Measure in turns and print."""
    bed = Bed(await open_database("sqlite:///:memory:"), SystemClock())
    ratios = []
    for number in range(ROUNDS):
        campaign = await bed.campaign(f"round-{number}")
        ids = [f"item-{index}" for index in range(ITEMS)]
        values = [bed.item(campaign, item_id) for item_id in ids]
        loop_us = await cpu_us(lambda values=values, campaign=campaign: bare(values, campaign))
        await bed.send(campaign, ids)
        stage_us = await cpu_us(lambda campaign=campaign: through_the_stage(bed, campaign, ITEMS))
        ratios.append(stage_us / loop_us)
        print(f"bare {loop_us:.1f} us, stage {stage_us:.1f} us per item, ratio {ratios[-1]:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")
    await bed.database.close()


if __name__ == "__main__":
    uvloop.run(main())
