"""What the tests of the stage stand on: a stream in memory, a database in memory, real campaigns, and stages over them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from actlabel.contracts.v1.item_pb2 import CampaignRef, Content, Item, Part
from actlabel.core import topics
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock, FakeClock
from actlabel.runtime.database.port import Database
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.dead_records import DeadRecords
from actlabel.stream.handling import Handle, Places
from actlabel.stream.limits import Limits
from actlabel.stream.memory import MemoryStream
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import Partition, TopicSettings
from actlabel.stream.stage import Stage

STAGE = topics.ANNOTATOR
GROUP = topics.group(STAGE)
_FILE = """
name: {name}
task: {{question: "Which?", labels: [bird, plane]}}
annotator: {{endpoint: "http://127.0.0.1:1", model: m}}
criticizer: {{endpoint: "http://127.0.0.1:1", model: m}}
sampler: {{budget: 10}}
spend_cap_usd: 1
partitions: {partitions}
"""
FAST = Limits(
    lend_to_campaign=8, retry_first_s=0.01, retry_most_s=0.01, learn_s=0.02, poll_s=0.01, commit_interval_s=0.01, drain_deadline_s=5.0
)


async def until(condition: Callable[[], bool | Awaitable[object]]) -> None:
    """Let the loop run until something is so; fail after long. The condition may ask the database."""
    async with asyncio.timeout(20):
        while not (await answer if isinstance(answer := condition(), Awaitable) else answer):  # noqa: ASYNC110 - many things, no event
            await asyncio.sleep(0.001)


def outgoing(item: Item) -> Outgoing:
    """What every handler of these tests answers: the item, on the next topic."""
    topic = topics.topic(topics.ANNOTATED, item.campaign.uid)
    return Outgoing(topic=topic, key=item.id.encode(), value=item.SerializeToString())


class Handler:
    """Answers at once, but for items that a test holds, fails or hangs; counts its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0

    def hold(self, *ids: str) -> asyncio.Event:
        """Let these items wait in the handler until the event is set."""
        gate = asyncio.Event()
        self.held |= dict.fromkeys(ids, gate)
        return gate

    async def __call__(self, item: Item, campaign: Campaign) -> Sequence[Outgoing]:
        assert campaign.uid == item.campaign.uid
        self.calls.append(item.id)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(item)
        except asyncio.CancelledError:
            self.cancelled.append(item.id)
            raise
        finally:
            self.in_flight -= 1

    async def _answer(self, item: Item) -> Sequence[Outgoing]:
        if item.id in self.held:
            await self.held[item.id].wait()
        if item.id in self.failing:
            raise self.failing[item.id]
        return [outgoing(item)]


class Bed:
    """Campaigns, their topics, and what became of their items."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.stream = MemoryStream()
        self.campaigns = Campaigns(database, clock)
        self.dead = DeadRecords(database=database, stream=self.stream, clock=clock)

    async def campaign(self, name: str = "birds", *, partitions: int = 3) -> Campaign:
        """Apply a campaign and make its topics."""
        made = await self.campaigns.apply(parse_campaign(_FILE.format(name=name, partitions=partitions), where=name))
        await self.stream.create_topics({topics.topic(kind, made.uid): TopicSettings(partitions=partitions) for kind in topics.KINDS})
        return made

    def item(self, campaign: Campaign, item_id: str) -> bytes:
        content = Content(parts=[Part(name="text", text=f"the text of {item_id}")])
        return Item(id=item_id, campaign=CampaignRef(uid=campaign.uid, version=1), batch=1, content=content).SerializeToString()

    async def send(self, campaign: Campaign, ids: Sequence[str], value: bytes | None = None) -> None:
        """Append items, or the same bytes under each of these keys."""
        for item_id in ids:
            sent = self.item(campaign, item_id) if value is None else value
            await self.stream.producer().send(topics.topic(topics.ITEMS, campaign.uid), key=item_id.encode(), value=sent)

    def dead_letters(self, per_minute: int = 1000) -> DeadLetters:
        return DeadLetters(database=self.database, stream=self.stream, campaigns=self.campaigns, clock=self.clock, per_minute=per_minute)

    def stage(self, handle: Handle, *, limits: Limits = FAST, per_minute: int = 1000, places: Places | None = None) -> Stage:
        """Make a stage over everything."""
        return Stage(
            name=STAGE,
            stream=self.stream,
            source_kind=topics.ITEMS,
            handle=handle,
            campaigns=self.campaigns,
            dead_letters=self.dead_letters(per_minute),
            limits=limits,
            clock=self.clock,
            places=places,
        )

    @asynccontextmanager
    async def running(self, handle: Handle, **options: Any) -> AsyncIterator[Stage]:
        """Run a stage, and stop it in the end as SIGTERM does. What it dies of is raised."""
        stage, stop = self.stage(handle, **options), asyncio.Event()
        task = asyncio.create_task(stage.run(stop))
        try:
            yield stage
        except BaseException:
            task.cancel()
            raise
        stop.set()
        await task

    @asynccontextmanager
    async def killed(self, handle: Handle, **options: Any) -> AsyncIterator[Stage]:
        """Run a stage, and end it in the end without drain and last commit, as a kill does."""
        stage = self.stage(handle, **options)
        task = asyncio.create_task(stage.run(asyncio.Event()))
        yield stage
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def out(self, campaign: Campaign) -> list[str]:
        """The ids on the next topic, each as often as it is there."""
        return [record.key.decode() for record in self.stream.records(topics.topic(topics.ANNOTATED, campaign.uid))]

    def committed(self, campaign: Campaign) -> dict[int, int]:
        """What the group has, per partition number."""
        topic = topics.topic(topics.ITEMS, campaign.uid)
        return {p.number: offset for p, offset in self.stream.group(GROUP).committed.items() if p.topic == topic}

    def offsets(self, campaign: Campaign) -> dict[str, tuple[Partition, int]]:
        """Where each item lies."""
        return {r.key.decode(): (r.partition, r.offset) for r in self.stream.records(topics.topic(topics.ITEMS, campaign.uid))}

    async def pauses(self, campaign: Campaign) -> dict[str, str]:
        """Stage → why it is paused there."""
        return dict((await self.campaigns.status(campaign.uid)).pauses)

    def at_rest(self, campaign: Campaign) -> bool:
        """Whether everything that was sent is committed."""
        ends: dict[int, int] = {}
        for partition, offset in self.offsets(campaign).values():
            ends[partition.number] = max(ends.get(partition.number, 0), offset + 1)
        committed = self.committed(campaign)
        return all(committed.get(number) == end for number, end in ends.items())


def fake_clock(bed: Bed) -> FakeClock:
    """The clock of a bed whose time a test turns."""
    assert isinstance(bed.clock, FakeClock)
    return bed.clock
