"""A whole running gateway: stream loop, queue, outbox, page and API, in this process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.review_gateway.main import run
from actlabel.review_gateway.reviewers import Reviewers
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock, SystemClock
from actlabel.runtime.database.port import Database
from actlabel.runtime.health import Health
from actlabel.runtime.settings import Settings
from actlabel.stream.port import Stream, TopicSettings

OPERATOR_TOKEN = "operator-token-of-this-test-only"


@dataclass(kw_only=True)
class Gateway:
    """What a test needs of it."""

    url: str
    host: Host
    running: "asyncio.Task[None]"

    async def apply(self, file: CampaignFile) -> Campaign:
        """Store a campaign and make its topics."""
        campaign = await self.host.campaigns.apply(file)
        settings = TopicSettings(partitions=campaign.partitions)
        await self.host.stream.create_topics({topics.topic(kind, campaign.uid): settings for kind in topics.KINDS})
        return campaign

    async def send(self, campaign: Campaign, items: Sequence[Item]) -> None:
        """Produce items as the sampler would, and wait until the queue has them all."""
        producer = self.host.stream.producer()
        topic = topics.topic(topics.REVIEW, campaign.uid)
        await asyncio.gather(*(producer.send(topic, key=item.id.encode(), value=item.SerializeToString()) for item in items))
        want = {item.id for item in items}
        while not want <= {  # noqa: ASYNC110 - what is waited for has no event
            row["item_id"] for row in await self.host.database.fetch("SELECT item_id FROM review WHERE uid = $1", campaign.uid)
        }:
            await asyncio.sleep(0.02)

    async def reviewer(self, name: str, *, is_lead: bool = False) -> str:
        """Register somebody; returns the token."""
        return await Reviewers(database=self.host.database, clock=self.host.clock).add(name, is_lead=is_lead)

    async def merged(self, campaign: Campaign) -> list[Item]:
        """Read the merged topic."""
        found = []
        for partition, end in (await self.host.stream.end_offsets(topics.topic(topics.MERGED, campaign.uid))).items():
            async for batch in self.host.stream.scan(partition, start=0, end=end):
                found += [Item.FromString(record.value) for record in batch]
        return found

    async def until_merged(self, campaign: Campaign, number: int) -> list[Item]:
        """Wait until so many records are on the merged topic."""
        while len(found := await self.merged(campaign)) < number:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)
        return found

    async def stop(self) -> None:
        """End it as SIGTERM would."""
        self.host.stop.set()
        await self.running


@asynccontextmanager
async def running_gateway(
    *, database: Database, stream: Stream, folder: Path, clock: Clock | None = None, has_operator: bool = True
) -> AsyncIterator[Gateway]:
    """Run it on a free port while the block runs; ends it by ``stop``, or by cancelling where the block failed."""
    token_file = folder / "operator-token"
    token_file.write_text(OPERATOR_TOKEN)
    settings = Settings(review_port=0, review_token_file=token_file if has_operator else None, storage=str(folder / "storage"))
    clock = clock or SystemClock()
    campaigns = Campaigns(database, clock)
    host = Host(
        settings=settings, clock=clock, database=database, stream=stream, campaigns=campaigns, health=Health(), stop=asyncio.Event()
    )
    bound: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(run(host, started=bound.set_result))
    await asyncio.wait([bound, running], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    gateway = Gateway(url=await bound, host=host, running=running)
    try:
        yield gateway
    finally:
        await gateway.stop()
