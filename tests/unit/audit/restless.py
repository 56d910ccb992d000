"""A campaign that moves a little whenever somebody looks: the steps of all stages, in memory, in the order that the real ones keep."""

import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any
from zlib import crc32

from actlabel.contracts.v1.item_pb2 import CampaignRef, Item
from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.health import Health
from actlabel.runtime.settings import Settings
from actlabel.stream.dead_records import Choice
from actlabel.stream.port import Partition, Record
from tests.unit.stream.bed import Bed

Step = Callable[[], Coroutine[Any, Any, object]]
REGISTER = """
INSERT INTO item (uid, item_id, content_sha256, revision, batch, produced, created_at) VALUES ($1, $2, 'x', 1, 1, FALSE, 0)
"""
CANDIDATE = """
INSERT INTO candidate (uid, item_id, batch, draw_batch, revision, epsilon_q16, label, arrived_at, block)
VALUES ($1, $2, 1, 1, 1, 16384, 'a', 0, 1)
"""
DECISION = """
INSERT INTO decision (uid, draw, item_id, block, cell, cell_selected, cell_size, epsilon_q16, selected)
VALUES ($1, 1, $2, 1, 0, 1, 2, 16384, $3)
"""
DRAW = """
INSERT INTO draw (uid, draw, batch, mode, rule, budget, selected, calibration_version, population, raises, parameters, manifest, complete,
                  created_at)
VALUES ($1, 1, 0, 'streaming', 'uniform', 9, 9, 0, 9, 0, '', '', TRUE, 0)
"""
QUEUE = """
INSERT INTO review (uid, item_id, content_revision, draw, item, queue_order, state, revision, floor_revision, started_revision,
                    published_revision, published_draw) VALUES ($1, $2, 1, 1, 'x', 0, 'waiting', 0, 0, 0, 0, 0)
"""
ANSWER = """
INSERT INTO review_answer (uid, item_id, revision, label, comment, reviewer, seconds, suggestion_shown, answered_at, lease_token)
VALUES ($1, $2, 1, 'bird', '', 'ann', 1, FALSE, 0, '')
"""
SUBMITTED = "UPDATE review SET state = 'answered', revision = 1, publish_after = 1.0 WHERE uid = $1 AND item_id = $2"
PUBLISHED = "UPDATE review SET published_revision = 1, published_draw = 1, publish_after = NULL WHERE uid = $1 AND item_id = $2"


class Restless:
    """One campaign of one partition. ``host()`` is a host whose every answer takes a few steps of somebody's time."""

    def __init__(self, bed: Bed, campaign: Campaign, *, items: int, seed: int) -> None:
        self.bed, self.campaign, self.dice = bed, campaign, random.Random(seed)
        self.ids = [f"item-{number}" for number in range(items)]
        self.read = dict.fromkeys(topics.READS, 0)
        self.replayed: set[str] = set()
        self.queued: dict[str, Item] = {}
        self.workers: dict[str, Iterator[Step]] = {"ingest": self._ingest(), "replay": self._replays(), "reviewer": self._reviews()}
        self.workers |= {stage: self._stage(stage) for stage in topics.READS}

    async def steps(self, most: int = 2) -> None:
        """Let a random stage take its next step, up to ``most`` times."""
        for _ in range(self.dice.randrange(most + 1)):
            await next(self.workers[self.dice.choice(list(self.workers))])()

    async def execute(self, statement: str, *values: object) -> object:
        return await self.bed.database.execute(statement, self.campaign.uid, *values)

    def _ingest(self) -> Iterator[Step]:
        for item_id in self.ids:
            item = Item(id=item_id, campaign=CampaignRef(uid=self.campaign.uid, version=1), batch=1, revision=1)
            yield lambda item_id=item_id: self.execute(REGISTER, item_id)
            yield lambda item=item: self._send(topics.ITEMS, item)
            yield lambda item_id=item_id: self.execute("UPDATE item SET produced = TRUE WHERE uid = $1 AND item_id = $2", item_id)
        while True:
            yield _nothing

    async def _send(self, kind: str, item: Item) -> None:
        await self.bed.stream.producer().send(topics.topic(kind, self.campaign.uid), key=item.id.encode(), value=item.SerializeToString())

    def _stage(self, stage: str) -> Iterator[Step]:
        partition = Partition(topics.topic(topics.READS[stage], self.campaign.uid), 0)
        while True:
            records = self.bed.stream.read(partition, self.read[stage], 1)
            if not records:
                yield _nothing
                continue
            yield from self._record(stage, records[0])
            if self.dice.random() < 0.15:
                yield from self._record(stage, records[0])  # killed before the commit, and read again
            self.read[stage] = records[0].offset + 1
            committed = self.bed.stream.group(topics.group(stage)).committed
            yield lambda records=records, committed=committed: _set(committed, partition, records[0].offset + 1)

    def _record(self, stage: str, record: Record) -> Iterator[Step]:
        item = Item.FromString(record.value)
        dies = stage in {topics.ANNOTATOR, topics.CRITICIZER} and crc32(f"{item.id} {stage}".encode()) % 6 == 0
        if dies and item.id not in self.replayed:
            yield lambda: self.bed.dead_letters().put(record, stage=stage, version=1, reason="no-label", detail="")
            return
        yield from {
            topics.ANNOTATOR: self._annotate,
            topics.CRITICIZER: self._criticize,
            topics.SAMPLER: self._sample,
            topics.REVIEW_GATEWAY: self._queue,
        }[stage](item)

    def _annotate(self, item: Item) -> Iterator[Step]:
        item.annotation.label = item.annotation.result_id = "bird"
        yield lambda: self._send(topics.ANNOTATED, item)

    def _criticize(self, item: Item) -> Iterator[Step]:
        item.critique.error_probability, item.critique.result_id = 0.25, "r"
        yield lambda: self._send(topics.CRITIQUED, item)

    def _sample(self, item: Item) -> Iterator[Step]:
        selected = crc32(item.id.encode()) % 2 == 0
        yield lambda: self._once(CANDIDATE, item.id)
        yield lambda: self._once(DECISION, item.id, selected)
        decision = item.decision
        decision.draw, decision.block, decision.cell_selected, decision.cell_size = 1, 1, 1, 2
        decision.epsilon_q16, decision.selected = 16384, selected
        yield lambda: self._send(topics.REVIEW if selected else topics.MERGED, item)

    async def _once(self, statement: str, *values: object) -> None:
        await self.execute(statement.rstrip() + " ON CONFLICT DO NOTHING", *values)

    def _queue(self, item: Item) -> Iterator[Step]:
        yield lambda: self._once(QUEUE, item.id)
        self.queued.setdefault(item.id, item)

    def _reviews(self) -> Iterator[Step]:
        done: set[str] = set()
        while True:
            waiting = [item for item_id, item in self.queued.items() if item_id not in done]
            if not waiting or self.dice.random() < 0.5:
                yield _nothing
                continue
            item = waiting[0]
            done.add(item.id)
            item.review.outcome, item.review.label, item.review.reviewer, item.review.revision = 1, "bird", "ann", 1
            yield lambda item=item: self._submit(item)
            yield lambda item=item: self._send(topics.MERGED, item)
            yield lambda item=item: self.execute(PUBLISHED, item.id)

    async def _submit(self, item: Item) -> None:
        async with self.bed.database.transaction() as session:
            await session.execute(ANSWER, self.campaign.uid, item.id)
            await session.execute(SUBMITTED, self.campaign.uid, item.id)

    def _replays(self) -> Iterator[Step]:
        while True:
            yield self._replay if self.dice.random() < 0.1 else _nothing

    async def _replay(self) -> None:
        if dead := await self.bed.dead.list(self.campaign.uid):
            one = self.dice.choice(list(dead)).item_id
            self.replayed.add(one)
            await self.bed.dead.replay(self.campaign.uid, Choice(item_ids=[one]))

    def host(self) -> Host:
        """Return a host that never stands still."""
        moving: Any = Moving
        return Host(
            settings=Settings(),
            clock=self.bed.clock,
            database=moving(self.bed.database, self),
            stream=moving(self.bed.stream, self),
            campaigns=self.bed.campaigns,
            health=Health(),
            stop=None,  # type: ignore[arg-type]
        )


class Moving:
    """Stands before a stream or a database: the campaign moves before and after each answer."""

    def __init__(self, inner: Any, restless: Restless) -> None:
        self._inner, self._restless = inner, restless

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)

        async def answered(*values: Any, **named: Any) -> Any:
            most = 40 if name in {"end_offsets", "committed"} else 2  # where the order of looks matters most
            await self._restless.steps(most)
            answer = await inner(*values, **named)
            await self._restless.steps(most)
            return answer

        return answered

    async def scan(self, partition: Partition, *, start: int, end: int) -> AsyncIterator[Any]:
        """Read a record at a time."""
        for offset in range(start, end):
            await self._restless.steps()
            async for records in self._inner.scan(partition, start=offset, end=offset + 1):
                yield records


async def _nothing() -> None:
    """Take a turn without work."""


async def _set(committed: dict[Partition, int], partition: Partition, offset: int) -> None:
    committed[partition] = offset
