"""A sampler in parts, on a real database and a stream in memory, driven a step at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from actlabel.contracts.v1.item_pb2 import Annotation, CampaignRef, Critique, Item
from actlabel.core import topics
from actlabel.core.errors import DeadLetter
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.port import Database, Row, Session
from actlabel.sampler.block_closer import BlockCloser
from actlabel.sampler.blocks import Blocks
from actlabel.sampler.candidates import Candidates
from actlabel.sampler.draw_store import DrawStore
from actlabel.sampler.draws import Draws
from actlabel.sampler.emission import Emission
from actlabel.sampler.handle import SamplerHandle
from actlabel.sampler.parameters import CampaignKeys
from actlabel.stream.memory import MemoryStream
from actlabel.stream.port import Record, TopicSettings

KEY = b"k" * 32
PARTITIONS = 3


def campaign_file(name: str = "doubt", *, seed: int = 1, **sampler: Any) -> CampaignFile:
    """A valid campaign with this ``sampler`` section."""
    model = {"endpoint": "http://127.0.0.1:1/v1", "model": "m"}
    return CampaignFile.model_validate(
        {
            "name": name,
            "task": {"question": "Which?", "labels": ["a", "b"]},
            "annotator": model,
            "criticizer": model,
            "sampler": {"budget": 40, **sampler},
            "spend_cap_usd": 1,
            "seed": seed,
            "partitions": PARTITIONS,
        }
    )


def epsilons(count: int, *, first: int = 0) -> dict[str, float]:
    """Ids with error probabilities, many of them tied, as verbalised ones are."""
    return {f"item-{number:05d}": (number * 7919 % 21) / 20 for number in range(first, first + count)}


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what other tasks bring about; fails after 20 s."""
    async with asyncio.timeout(20):
        while not await _truth(condition):  # noqa: ASYNC110 - databases and logs have no event to wait for
            await asyncio.sleep(0.002)


async def _truth(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    answer = condition()
    return answer if isinstance(answer, bool) else await answer


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Fuse:
    """Kills at the statement (or send) with this number, counted from 1; 0: never."""

    at: int = 0
    count: int = 0

    def burn(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Killed


class MortalSession:
    """Statements that a fuse may cut off."""

    def __init__(self, session: Session, fuse: Fuse) -> None:
        self._session = session
        self._fuse = fuse

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        self._fuse.burn()
        return await self._session.fetch(statement, *values)

    async def execute(self, statement: str, *values: Any) -> int:
        self._fuse.burn()
        return await self._session.execute(statement, *values)

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._fuse.burn()
        await self._session.execute_many(statement, rows)


class MortalDatabase(MortalSession):
    """A real database, seen by a process that dies when the fuse says so."""

    def __init__(self, database: Database, fuse: Fuse) -> None:
        super().__init__(database, fuse)
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        async with self._database.transaction() as session:
            yield MortalSession(session, self._fuse)
            self._fuse.burn()  # before the commit

    def try_lock(self, name: str) -> Any:
        return self._database.try_lock(name)

    async def close(self) -> None:
        await self._database.close()


@dataclass
class Replica:
    """One sampler process."""

    handle: SamplerHandle
    draws: Draws
    emission: Emission
    blocks: Blocks
    closer: BlockCloser
    store: DrawStore
    keys: CampaignKeys


@dataclass
class Sampling:
    """A deployment with any number of sampler replicas."""

    database: Database
    stream: Any = field(default_factory=MemoryStream)
    clock: FakeClock = field(default_factory=FakeClock)
    put_aside: list[tuple[Record, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.campaigns = Campaigns(self.database, self.clock)

    def replica(self, *, fuse: Fuse | None = None, key: bytes = KEY, database: Database | None = None) -> Replica:
        """Start a process; with a ``fuse``, one that dies; with a ``database``, on connections of its own."""
        database = database or self.database
        campaigns = Campaigns(database, self.clock)
        if fuse is not None:
            database = MortalDatabase(database, fuse)
        store, keys = DrawStore(database), CampaignKeys(campaigns, key)
        closer = BlockCloser(store=store, keys=keys, clock=self.clock)
        blocks = Blocks(store=store, campaigns=campaigns, closer=closer, patience_s=60.0)
        return Replica(
            handle=SamplerHandle(candidates=Candidates(database, self.clock), blocks=blocks, campaigns=campaigns),
            draws=Draws(store=store, stream=self.stream, campaigns=campaigns, keys=keys, clock=self.clock),
            emission=Emission(store=store, stream=self.stream, campaigns=campaigns, put_aside=self._put_aside, stop=asyncio.Event()),
            blocks=blocks,
            closer=closer,
            store=store,
            keys=keys,
        )

    async def _put_aside(self, record: Record, item: Item, error: DeadLetter) -> None:
        self.put_aside.append((record, item.id, error.reason))

    async def apply(self, file: CampaignFile) -> Campaign:
        """Store a campaign (version) and make its topics."""
        campaign = await self.campaigns.apply(file)
        await self.stream.create_topics({topics.topic(kind, campaign.uid): TopicSettings(partitions=PARTITIONS) for kind in topics.KINDS})
        return campaign

    async def register(self, campaign: Campaign, ids: Iterable[str]) -> int:
        """Register items in the present batch, as an ingest does; returns the batch."""
        batch = (await self.campaigns.status(campaign.uid)).batch
        await self.database.execute_many(
            "INSERT INTO item (uid, item_id, content_sha256, revision, batch, gold, produced, created_at) "
            "VALUES ($1, $2, $3, 1, $4, NULL, $5, 0)",
            [(campaign.uid, item_id, b"h", batch, True) for item_id in ids],
        )
        return batch

    async def critique(self, campaign: Campaign, epsilons: Mapping[str, float], *, batch: int = 1, revision: int = 1) -> list[Item]:
        """Put items on ``critiqued`` as the criticizer does."""
        items = [
            Item(
                id=item_id,
                campaign=CampaignRef(uid=campaign.uid, version=campaign.version),
                batch=batch,
                revision=revision,
                annotation=Annotation(label="a"),
                critique=Critique(error_probability=probability),
            )
            for item_id, probability in epsilons.items()
        ]
        for item in items:
            await self.stream.producer().send(
                topics.topic(topics.CRITIQUED, campaign.uid), key=item.id.encode(), value=item.SerializeToString()
            )
        return items

    async def bury(self, campaign: Campaign, item_id: str) -> None:
        """Put an item aside at an earlier stage."""
        await self.database.execute(
            "INSERT INTO dead (uid, item_id, stage, reason, detail, topic, partition, record_offset, created_at) "
            "VALUES ($1, $2, 'annotator', 'x', 'x', 't', 0, 0, 0)",
            campaign.uid,
            item_id,
        )

    async def take_in(self, replica: Replica, campaign: Campaign, items: Iterable[Item]) -> list[Any]:
        """Let a replica handle items at the same time, as its stage loop does."""
        return await asyncio.gather(*(replica.handle(item, campaign) for item in items))

    async def ready_to_draw(self, file: CampaignFile, doubts: Mapping[str, float]) -> Campaign:
        """Apply, register, critique, take in and seal: everything that comes before an exact draw."""
        campaign = await self.apply(file)
        await self.register(campaign, doubts)
        await self.take_in(self.replica(), campaign, await self.critique(campaign, doubts))
        await self.campaigns.seal(campaign.uid)
        return campaign

    def emitted(self, campaign: Campaign, kind: str) -> list[Item]:
        """Everything on a topic of the campaign."""
        return [Item.FromString(record.value) for record in self.stream.records(topics.topic(kind, campaign.uid))]

    def outcome(self, campaign: Campaign) -> dict[str, tuple[Any, ...]]:
        """The latest decision of every item that was emitted; raises when an item was emitted to the wrong topic."""
        latest: dict[str, tuple[Any, ...]] = {}
        for kind in (topics.MERGED, topics.REVIEW):
            for item in self.emitted(campaign, kind):
                decision = item.decision
                assert decision.selected == (kind == topics.REVIEW)
                found = (decision.draw, decision.block, decision.cell, decision.cell_selected, decision.cell_size, decision.epsilon_q16)
                latest[item.id] = max(latest.get(item.id, (0,)), (*found, decision.selected))
        return latest

    async def budget(self, campaign: Campaign) -> tuple[int, int, int]:
        """(budget, taken, seen) as stored; zeros while nothing is."""
        rows = await self.database.fetch("SELECT budget, taken, seen FROM budget WHERE uid = $1", campaign.uid)
        return (rows[0]["budget"], rows[0]["taken"], rows[0]["seen"]) if rows else (0, 0, 0)

    async def pause(self, campaign: Campaign) -> str | None:
        """Why the campaign is paused at the sampler."""
        return (await self.campaigns.pauses()).get((campaign.uid, topics.SAMPLER))
