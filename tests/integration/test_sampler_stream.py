"""The sampler process on the real streams: the same decisions on SQLite and on Kafka, two replicas, one record per item."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.health import Health
from actlabel.runtime.settings import Settings
from actlabel.sampler import main
from actlabel.stream.port import Stream
from tests.unit.sampler.sampling import KEY, Sampling, campaign_file, epsilons

DOUBTS = epsilons(300)
FILE = campaign_file(budget=60, audit_share=0.4)


@pytest.fixture
async def sampling(stream: Stream) -> AsyncIterator[Sampling]:
    database = await open_database("sqlite:///:memory:")
    yield Sampling(database, stream=stream)
    await database.close()


async def _emitted(stream: Stream, campaign: Campaign, kind: str) -> list[Item]:
    ends = await stream.end_offsets(topics.topic(kind, campaign.uid))
    batches = [batch for partition, end in ends.items() async for batch in stream.scan(partition, start=0, end=end)]
    return [Item.FromString(record.value) for batch in batches for record in batch]


async def _everything_emitted(sampling: Sampling) -> None:
    async with asyncio.timeout(60):
        while True:
            row = (
                await sampling.database.fetch("SELECT COUNT(*) AS all_, COALESCE(SUM(end_offset - next_offset), 1) AS left FROM emission")
            )[0]
            if row["all_"] and not row["left"]:
                return
            await asyncio.sleep(0.1)


async def test_two_processes_decide_as_the_mathematics_says(sampling: Sampling, tmp_path) -> None:
    whole = Sampling(await open_database("sqlite:///:memory:"))
    twin = await whole.ready_to_draw(FILE, DOUBTS)
    replica = whole.replica()
    await replica.draws.step()
    await replica.emission.step()
    key_file = tmp_path / "key"
    key_file.write_bytes(KEY)
    settings = Settings(secret_key_file=key_file, commit_interval_s=0.1)
    campaign = await sampling.apply(FILE)
    await sampling.register(campaign, DOUBTS)
    await sampling.critique(campaign, DOUBTS)
    await sampling.campaigns.seal(campaign.uid)
    stop = asyncio.Event()
    hosts = [
        Host(
            settings=settings,
            clock=SystemClock(),
            database=sampling.database,
            stream=sampling.stream,
            campaigns=sampling.campaigns,
            health=Health(),
            stop=stop,
        )
        for _ in range(2)
    ]
    processes = [asyncio.create_task(main.run(host, serve_grpc=False)) for host in hosts]
    await _everything_emitted(sampling)
    stop.set()
    await asyncio.gather(*processes)
    outcome = {}
    for kind in (topics.MERGED, topics.REVIEW):
        for item in await _emitted(sampling.stream, campaign, kind):
            assert item.id not in outcome
            d = item.decision
            outcome[item.id] = (d.draw, d.block, d.cell, d.cell_selected, d.cell_size, d.epsilon_q16, d.selected)
    assert outcome == whole.outcome(twin)
    await whole.database.close()
