"""What cannot be processed: put aside with its reason and its bytes, and paused where there is too much of it."""

import asyncio
from collections import defaultdict

from google.protobuf.timestamp_pb2 import Timestamp

from actlabel.contracts.v1.item_pb2 import CampaignRef
from actlabel.contracts.v1.item_pb2 import DeadLetter as Letter
from actlabel.core import topics
from actlabel.core.errors import CampaignPaused, DeadLetter, RetryLater
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import EVERY_STAGE, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, load_statements
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.log import get_log
from actlabel.runtime.tracing import Headers, carried
from actlabel.stream.port import Partition, Record, Stream

_log = get_log(__name__)
_PERIOD_S = 60.0
_DETAIL_CHARACTERS = 500


class DeadLetters:
    """The dead topic and the table ``dead`` of every campaign. One instance per process; safe beside those of other processes."""

    def __init__(self, *, database: Database, stream: Stream, campaigns: Campaigns, clock: Clock, per_minute: int) -> None:
        """``per_minute``: more than this at one stage of one campaign, in all processes together, pauses the campaign there."""
        self._database = database
        self._stream = stream
        self._campaigns = campaigns
        self._clock = clock
        self._per_minute = per_minute
        self._sql = load_statements("actlabel.stream", "dead_letters.sql")
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._paused: set[tuple[str, str]] = set()
        self._since: dict[tuple[str, str], float] = {}

    async def put(
        self, record: Record, *, stage: str, version: int, reason: str, detail: str, uid: str | None = None, item_id: str | None = None
    ) -> None:
        """Put a record aside: first the message with its bytes, then the row that makes it count. Repeating it changes nothing.

        ``uid``, ``item_id``: of a record of somebody else's topic, where name and key do not say them.

        Raises ``CampaignPaused`` when the campaign is paused at the stage, by this very letter's predecessor perhaps: the record is then
        not put aside but waits. Raises ``RetryLater`` when stream or database are out of reach.
        """
        uid = uid or topics.campaign_of(record.partition.topic)
        async with self._turns[uid]:
            await self._refuse_when_paused(uid, stage)
            name = item_id or record.key.decode(errors="replace")
            letter = self._letter(record, item_id=name, uid=uid, version=version, stage=stage, reason=reason, detail=detail)
            await self._produce(letter, record.key if item_id is None else item_id.encode(), carried(record))
            failpoint("dead.produced")
            await self._insert(letter)
            failpoint("dead.stored")
            metrics.DEAD_LETTERS.labels(stage, uid, reason).inc()
            await self._pause_when_many(letter)

    async def _refuse_when_paused(self, uid: str, stage: str) -> None:
        pauses = await self._campaigns.pauses()
        why = pauses.get((uid, stage)) or pauses.get((uid, EVERY_STAGE))
        if why is not None:
            self._paused.add((uid, stage))
            raise CampaignPaused(why)
        if (uid, stage) in self._paused:
            self._paused.discard((uid, stage))
            self._since[uid, stage] = self._clock.now()

    def _letter(self, record: Record, *, item_id: str, uid: str, version: int, stage: str, reason: str, detail: str) -> Letter:
        return Letter(
            campaign=CampaignRef(uid=uid, version=version),
            item_id=_plain(item_id),
            stage=stage,
            reason=reason,
            detail=_plain(" ".join(detail.split()))[:_DETAIL_CHARACTERS],
            topic=record.partition.topic,
            partition=record.partition.number,
            offset=record.offset,
            key=record.key,
            value=record.value,
            created_at=Timestamp(seconds=int(self._clock.now())),
        )

    async def _produce(self, letter: Letter, key: bytes, headers: Headers) -> None:
        """Append the message; where it has become too large with its envelope, without the bytes, which stay where they were read."""
        try:
            await self._send(letter, key, headers)
        except DeadLetter as error:
            if error.reason != "too-large":
                raise RetryLater(f"the dead topic takes no record ({error.detail})") from error
            letter = Letter.FromString(letter.SerializeToString())
            letter.ClearField("value")
            await self._send(letter, key, headers)

    async def _send(self, letter: Letter, key: bytes, headers: Headers) -> None:
        topic = topics.topic(topics.DEAD, letter.campaign.uid)
        await self._stream.producer().send(topic, key=key, value=letter.SerializeToString(), headers=headers)

    async def _insert(self, letter: Letter) -> None:
        place = (letter.topic, letter.partition, letter.offset)
        what = (letter.campaign.uid, letter.item_id, letter.stage, letter.reason, letter.detail)
        async with self._database.transaction() as session:
            await session.fetch(self._sql["hold_decisions"], letter.campaign.uid)
            await session.execute(self._sql["put"], *what, *place, self._clock.now())

    async def _pause_when_many(self, letter: Letter) -> None:
        uid, stage = letter.campaign.uid, letter.stage
        since = max(self._clock.now() - _PERIOD_S, self._since.get((uid, stage), 0.0))
        letters = (await self._database.fetch(self._sql["recent"], uid, stage, since))[0]["letters"]
        if letters <= self._per_minute:
            return
        why = f"{letters} dead letters in a minute, more than {self._per_minute}; the last one: {letter.reason}: {letter.detail}"
        await self._campaigns.pause(uid, stage, why)
        metrics.PAUSES.labels(stage, uid).inc()
        _log.warning("too many dead letters, the campaign is paused at this stage", campaign=uid, stage=stage, letters=letters)

    async def offsets(self, partition: Partition, start: int, *, uid: str | None = None) -> frozenset[int]:
        """Return the offsets of a partition, from ``start`` on, whose records have been put aside: that decision stands.

        ``uid``: of the campaign, where the topic is somebody else's.
        """
        uid = uid or topics.campaign_of(partition.topic)
        rows = await self._database.fetch(self._sql["offsets"], uid, partition.topic, partition.number, start)
        return frozenset(row["record_offset"] for row in rows)

    async def buried(self, partition: Partition) -> dict[bytes, int]:
        """Return the keys of all records of a partition of ours that have been put aside, each with its offset."""
        rows = await self._database.fetch(self._sql["buried"], topics.campaign_of(partition.topic), *partition)
        return {row["item_id"].encode(): row["record_offset"] for row in rows}

    async def is_copy_of_dead(self, record: Record) -> bool:
        """Say whether the same bytes under the same key have been put aside in this partition, and nothing sends them round again.

        A stage that is killed between produce and commit writes an item twice. One of the copies must not die while the other goes on.
        Raises ``RetryLater`` when stream or database are out of reach.
        """
        uid = topics.campaign_of(record.partition.topic)
        async with self._turns[uid]:  # a copy that is being put aside now counts
            rows = await self._database.fetch(self._sql["place"], uid, record.key.decode(errors="replace"), *record.partition)
        for row in rows:
            offset = row["record_offset"]
            async for records in self._stream.scan(record.partition, start=offset, end=offset + 1):
                if any(dead.key == record.key and dead.value == record.value for dead in records):
                    return True
        return False


def _plain(text: str) -> str:
    """PostgreSQL keeps no NUL in a text, protobuf no lone surrogate."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
