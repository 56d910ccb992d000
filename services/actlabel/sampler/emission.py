"""Exact mode: what a complete draw decided leaves for ``merged`` or ``review``, by any replica, a partition at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from google.protobuf.message import DecodeError

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import CampaignPaused, DeadLetter, RetryLater
from actlabel.runtime.campaigns import EVERY_STAGE, Campaigns
from actlabel.runtime.database.port import Row
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.log import get_log
from actlabel.runtime.tracing import begin, carried
from actlabel.sampler.draw_store import DrawStore, to_decision
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import Partition, Record, Stream

log = get_log(__name__)

_TURN_OFFSETS: Final = 20_000
"""Of one partition at a time, so that a campaign that was just drawn does not wait for the end of a large one."""

PutAside = Callable[[Record, Item, DeadLetter], Awaitable[None]]
"""Sends a record that can never be produced to the dead letters of its campaign."""


def emit(item: Item, decision: Row) -> Outgoing:
    """Fill the sampler's part of the record; the same item and decision are the same bytes.

    What an earlier draw had selected goes to the gateway whatever this one says: a reviewer may have it, or have answered it. The
    gateway sends it on, with the answer where there is one, and takes it off the queue where there is none.
    """
    item.decision.CopyFrom(to_decision(decision))
    kind = topics.REVIEW if item.decision.selected or decision["was_selected"] else topics.MERGED
    return Outgoing(topic=topics.topic(kind, item.campaign.uid), key=item.id.encode(), value=item.SerializeToString(deterministic=True))


class Emission:
    """Scans ``critiqued`` again and sends every item of a draw on its way with its stored decision."""

    def __init__(self, *, store: DrawStore, stream: Stream, campaigns: Campaigns, put_aside: PutAside, stop: asyncio.Event) -> None:
        """``stop``: set when the process shall end; a scan ends after the batch at hand."""
        self._store = store
        self._database = store.database
        self._stream = stream
        self._campaigns = campaigns
        self._put_aside = put_aside
        self._stop = stop

    async def step(self) -> None:
        """Emit a turn of what is due in every campaign that is not paused and that no other replica is at; campaigns go side by side."""
        paused = await self._campaigns.pauses()
        going = [
            campaign.uid
            for campaign in await self._campaigns.list()
            if not {(campaign.uid, topics.SAMPLER), (campaign.uid, EVERY_STAGE)} & paused.keys()
        ]
        await asyncio.gather(*(self._campaign(uid) for uid in going))

    async def _campaign(self, uid: str) -> None:
        for row in await self._database.fetch(self._store.sql["open_emissions"], uid):
            if self._stop.is_set():
                return
            try:
                await self._lead(uid, row["draw"], row["partition"])
            except (RetryLater, CampaignPaused) as error:
                log.warning("Emission waits.", campaign_uid=uid, draw=row["draw"], reason=str(error))
                return

    async def _lead(self, uid: str, draw: int, number: int) -> None:
        async with self._database.try_lock(f"emit:{uid}:{draw}:{number}") as leads:
            if leads and (rows := await self._database.fetch(self._store.sql["open_emission"], uid, draw, number)):
                failpoint("emission.leased")
                partition = Partition(topics.topic(topics.CRITIQUED, uid), number)
                await self._partition(uid, draw, partition, start=rows[0]["next_offset"], end=rows[0]["end_offset"])

    async def _partition(self, uid: str, draw: int, partition: Partition, *, start: int, end: int) -> None:
        end = min(end, start + _TURN_OFFSETS)
        async with _closed(self._stream.scan(partition, start=start, end=end)) as scan:
            async for records in scan:
                await self._batch(uid, draw, records)
                failpoint("emission.emitted")
                if self._stop.is_set() or not await self._advance(uid, draw, partition, start, records[-1].offset + 1):
                    return
                failpoint("emission.advanced")
                start = records[-1].offset + 1
        if start < end:  # the last offsets may hold no record
            await self._advance(uid, draw, partition, start, end)

    async def _advance(self, uid: str, draw: int, partition: Partition, start: int, to: int) -> bool:
        """Note progress; False where a newer draw of the same batch, or another replica, has taken over."""
        return bool(await self._database.execute(self._store.sql["advance_emission"], uid, draw, partition.number, to, start))

    async def _batch(self, uid: str, draw: int, records: Sequence[Record]) -> None:
        items = _newest(records)
        decisions = await self._store.decisions(uid, draw, list(items))
        due = ((item, record, decisions[item_id]) for item_id, (item, record) in items.items() if item_id in decisions)
        await asyncio.gather(*(self._send(record, item, row) for item, record, row in due if item.revision == row["revision"]))

    async def _send(self, record: Record, item: Item, decision: Row) -> None:
        outgoing = emit(item, decision)
        span = begin("emission", record)
        headers = carried(record) if span is None else span.headers()
        try:
            await self._stream.producer().send(outgoing.topic, key=outgoing.key, value=outgoing.value, headers=headers)
        except DeadLetter as error:
            await self._put_aside(record, item, error)
        if span is not None:
            span.end("emitted")
        failpoint("emission.sent")


@asynccontextmanager
async def _closed(scan: AsyncIterator[Sequence[Record]]) -> AsyncIterator[AsyncIterator[Sequence[Record]]]:
    """End a scan that is left early at once, with what it holds open."""
    try:
        yield scan
    finally:
        if isinstance(scan, AsyncGenerator):
            await scan.aclose()


def _newest(records: Sequence[Record]) -> Mapping[str, tuple[Item, Record]]:
    """Decode a batch and keep of each id the last record of its highest revision; what is no item was put aside by the stage loop."""
    items: dict[str, tuple[Item, Record]] = {}
    for record in records:
        item = _decoded(record)
        if item is not None and (item.id not in items or item.revision >= items[item.id][0].revision):
            items[item.id] = (item, record)
    return items


def _decoded(record: Record) -> Item | None:
    try:
        return Item.FromString(record.value)
    except DecodeError:
        return None
