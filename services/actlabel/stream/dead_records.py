"""Dead letters as an operator sees them: listed, shown with their bytes, sent round again, given up."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from actlabel.contracts.v1.item_pb2 import DeadLetter as Letter
from actlabel.core import topics
from actlabel.core.errors import UserError
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Row, load_statements
from actlabel.runtime.tracing import Headers, carried
from actlabel.stream.port import Partition, Record, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRecord:
    """One record that was put aside."""

    uid: str
    item_id: str
    stage: str
    reason: str
    detail: str
    partition: Partition  # where it was read
    offset: int
    created_at: float  # seconds since 1970
    is_replaying: bool = False  # a replay has begun and was not seen to end
    purged_at: float | None = None  # seconds since 1970; given up for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which of a campaign's dead letters are meant; what is None leaves nothing out."""

    stage: str | None = None
    reason: str | None = None
    item_ids: Collection[str] | None = None
    purged: bool = False  # those that were purged, instead of the others

    def takes(self, dead: DeadRecord) -> bool:
        """Say whether one of them is meant."""
        is_named = self.item_ids is None or dead.item_id in self.item_ids
        is_kind = self.stage in {None, dead.stage} and self.reason in {None, dead.reason}
        return is_named and is_kind and (dead.purged_at is not None) == self.purged


EVERY: Final = Choice()
"""All that were not purged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The bytes of a record that was put aside, as they were read."""

    dead: DeadRecord
    key: bytes
    value: bytes
    headers: Headers  # of the item's trace


class DeadRecords:
    """Reads the table ``dead`` and the dead topics; any process may do it while stages run."""

    def __init__(self, *, database: Database, stream: Stream, clock: Clock) -> None:
        """Keep what is needed; nothing is read yet."""
        self._database = database
        self._stream = stream
        self._clock = clock
        self._sql = load_statements("actlabel.stream", "dead_letters.sql")

    async def list(self, uid: str, choice: Choice = EVERY) -> Sequence[DeadRecord]:
        """Return what a campaign has put aside, oldest first. Raises ``UserError`` for an item by name that is not among them."""
        chosen = [dead for dead in map(_dead, await self._database.fetch(self._sql["list"], uid)) if choice.takes(dead)]
        if missing := set(choice.item_ids or ()) - {dead.item_id for dead in chosen}:
            raise UserError(f"{min(missing)}: is not among the dead letters meant here; `actlabel dead list` names those that are")
        return chosen

    async def show(self, dead: DeadRecord) -> Original:
        """Return one with its bytes. Raises ``UserError`` when they are gone."""
        originals = [original async for batch in self.originals(dead.uid, [dead]) for original in batch]
        if not originals:
            raise UserError(f"{dead.item_id}: the bytes are neither on the dead topic nor at {place_of(dead)} any more")
        return originals[0]

    async def replay(self, uid: str, choice: Choice = EVERY) -> int:
        """Append the original bytes to the topics they were read from; return how many. Those of a source are left out:
        its topic is not ours to write to, and ``source/replay.py`` takes them.

        Each counts as in flight again. Interrupted, it may be repeated: an item that went round already is not among the dead any more,
        one that was just sent goes round twice, which the stages absorb. Raises ``UserError`` for an item that is not among them.
        """
        dead = [one for one in await self.list(uid, choice) if one.stage != topics.SOURCE]
        count = 0
        async for batch in self.originals(uid, dead):
            count += await self._send(uid, batch)
        return count

    async def purge(self, uid: str, choice: Choice = EVERY) -> int:
        """Give records up for good; return how many.

        Each stays a dead row, so that nothing counts it as lost, but none is replayed any more. The message stays on the dead topic,
        from which single records cannot be removed, until the campaign is deleted. What a replay has begun with is left out.
        """
        dead = [one for one in await self.list(uid, choice) if not one.is_replaying]
        now = self._clock.now()
        await self._database.execute_many(self._sql["purge"], [(uid, one.item_id, now) for one in dead])
        return len(dead)

    async def _send(self, uid: str, batch: Sequence[Original]) -> int:
        """The row says first that a replay has begun, and goes last: a kill in between leaves it to be replayed again, never lost."""
        begun = await self._begin(uid, [original.dead.item_id for original in batch])
        sent = [original for original in batch if original.dead.item_id in begun]
        producer = self._stream.producer()
        await asyncio.gather(*(producer.send(o.dead.partition.topic, key=o.key, value=o.value, headers=o.headers) for o in sent))
        ended = [(uid, o.dead.item_id, *o.dead.partition, o.dead.offset) for o in sent]
        await self._database.execute_many(self._sql["end_replay"], ended)
        return len(sent)

    async def _begin(self, uid: str, item_ids: Sequence[str]) -> frozenset[str]:
        now = self._clock.now()
        await self._database.execute_many(self._sql["begin_replay"], [(uid, item_id, now) for item_id in item_ids])
        begun = frozenset(row["item_id"] for row in await self._database.fetch(self._sql["replaying"], uid, list(item_ids)))
        if len(begun) < len(set(item_ids)):
            await self._database.execute(self._sql["keep_purged"], uid)
        return begun

    async def forget(self, dead: Sequence[DeadRecord]) -> None:
        """Take rows out whose records have gone their way after all."""
        now = self._clock.now()
        await self._database.execute_many(self._sql["begin_replay"], [(one.uid, one.item_id, now) for one in dead])
        await self._database.execute_many(self._sql["end_replay"], [(one.uid, one.item_id, *one.partition, one.offset) for one in dead])

    async def originals(self, uid: str, dead: Sequence[DeadRecord]) -> AsyncIterator[Sequence[Original]]:
        """Find the bytes: on the dead topic in one pass, and where they did not fit there, in the topic they were read from."""
        missing = {(one.partition, one.offset): one for one in dead}
        ends = await self._stream.end_offsets(topics.topic(topics.DEAD, uid)) if dead else {}
        for partition, end in ends.items():
            async for records in self._stream.scan(partition, start=0, end=end):
                if found := _take(records, missing):
                    yield found
        for (partition, offset), one in missing.items():
            if one.stage == topics.SOURCE:
                continue  # its topic may be in another Kafka
            async for records in self._stream.scan(partition, start=offset, end=offset + 1):
                yield [Original(dead=one, key=record.key, value=record.value, headers=carried(record)) for record in records]


def _take(records: Sequence[Record], missing: dict[tuple[Partition, int], DeadRecord]) -> Sequence[Original]:
    """Take those that are looked for, each once: a redelivery may have put the same record aside twice."""
    found = []
    for record in records:
        letter = Letter.FromString(record.value)
        place = Partition(letter.topic, letter.partition), letter.offset
        if letter.value and place in missing:
            found.append(Original(dead=missing.pop(place), key=letter.key, value=letter.value, headers=carried(record)))
    return found


def place_of(dead: DeadRecord) -> str:
    """Say where a record was read."""
    return f"{dead.partition.topic}/{dead.partition.number} offset {dead.offset}"


def _dead(row: Row) -> DeadRecord:
    return DeadRecord(
        uid=row["uid"],
        item_id=row["item_id"],
        stage=row["stage"],
        reason=row["reason"],
        detail=row["detail"],
        partition=Partition(row["topic"], row["partition"]),
        offset=row["record_offset"],
        created_at=row["created_at"],
        is_replaying=row["replayed_at"] is not None,
        purged_at=row["purged_at"],
    )
