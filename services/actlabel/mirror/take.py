"""A batch of merged records onto the mirror, in order, and nothing that is older than what is there."""

import asyncio
from collections.abc import Mapping, Sequence

import orjson

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.dataset.flat import Rank, flat, parse_merged, rank_of
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import Database, load_statements
from actlabel.runtime.log import get_log
from actlabel.stream.port import Producer, Record

_log = get_log(__name__)


class TakeMerged:
    """See ``follower.Taker``."""

    def __init__(self, *, campaign: Campaign, database: Database, producer: Producer, content: bool) -> None:
        """``content``: whether records carry text and images."""
        self._campaign = campaign
        self._database = database
        self._producer = producer
        self._content = content
        self._topic = topics.topic(topics.MERGED_JSON, campaign.uid)
        self._sql = load_statements("actlabel.mirror")

    def forget(self) -> None:
        """See ``follower.Taker``. Nothing is remembered."""

    async def take(self, records: Sequence[Record], /) -> None:
        """Write what is not older than what was written, wait for the log, then note the ranks.

        Killed in between, the same batch is written again: the same records once more, in the same order.
        """
        items = [item for record in records if (item := self._parsed(record)) is not None]
        ranks = await self._ranks(items)
        newer = []
        for item in items:
            if (rank := rank_of(item)) >= ranks.get(item.id, rank):
                ranks[item.id] = rank
                newer.append(item)
        await asyncio.gather(*(self._send(item) for item in newer))
        await self._database.execute_many(self._sql["raise"], [(self._campaign.uid, name, *ranks[name]) for name in sorted(ranks)])
        self._count("done", len(newer))
        self._count("skipped", len(records) - len(newer))

    def _parsed(self, record: Record) -> Item | None:
        item = parse_merged(record.value, self._campaign.uid)
        if item is None:  # no dead letter: the item itself, if there is one, is merged all the same
            _log.warning("A record on the merged topic is no item and is not mirrored.", campaign=self._campaign.uid, offset=record.offset)
        return item

    async def _ranks(self, items: Sequence[Item]) -> dict[str, Rank]:
        ids = sorted({item.id for item in items})
        rows = await self._database.fetch(self._sql["ranks"], self._campaign.uid, ids) if ids else ()
        return {row["item_id"]: (row["draw"], row["revision"], row["content_revision"]) for row in rows}

    async def _send(self, item: Item) -> None:
        try:
            await self._send_as(item, flat(item, self._campaign.name, content=self._content))
        except DeadLetter as error:
            if error.reason != "too-large":
                raise RetryLater(f"{self._topic} takes no record ({error.detail}); `actlabel campaign apply` makes it") from error
            await self._send_as(item, flat(item, self._campaign.name, content=False))

    async def _send_as(self, item: Item, row: Mapping[str, object]) -> None:
        await self._producer.send(self._topic, key=item.id.encode(), value=orjson.dumps(row))

    def _count(self, outcome: str, records: int) -> None:
        metrics.RECORDS.labels(topics.MIRROR, self._campaign.uid, outcome).inc(records)
