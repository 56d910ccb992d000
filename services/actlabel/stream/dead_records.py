"""Dead letters as an operator sees them: listed, shown with their bytes, sent round again."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass

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

    async def list(self, uid: str) -> Sequence[DeadRecord]:
        """Return what a campaign has put aside, oldest first."""
        return [_dead(row) for row in await self._database.fetch(self._sql["list"], uid)]

    async def show(self, uid: str, item_id: str) -> Original:
        """Return one of them with its bytes. Raises ``UserError`` when this item is not among them, or its bytes are gone."""
        dead = await self._chosen(uid, [item_id])
        originals = [original async for batch in self._originals(uid, dead) for original in batch]
        if not originals:
            raise UserError(f"{item_id}: the bytes are neither on the dead topic nor at {_place(dead[0])} any more")
        return originals[0]

    async def replay(self, uid: str, item_ids: Collection[str] | None = None) -> int:
        """Append the original bytes to the topics they were read from, all or the named items; return how many.

        Each counts as in flight again. Interrupted, it may be repeated: an item that went round already is not among the dead any more,
        one that was just sent goes round twice, which the stages absorb. Raises ``UserError`` for an item that is not among them.
        """
        dead = await self._chosen(uid, item_ids)
        count = 0
        async for batch in self._originals(uid, dead):
            await self._send(batch)
            count += len(batch)
        return count

    async def _chosen(self, uid: str, item_ids: Collection[str] | None) -> Sequence[DeadRecord]:
        every = await self.list(uid)
        if item_ids is None:
            return every
        chosen = [dead for dead in every if dead.item_id in set(item_ids)]
        if missing := set(item_ids) - {dead.item_id for dead in chosen}:
            raise UserError(f"{min(missing)}: is not among the dead letters of this campaign; `actlabel dead list` names those that are")
        return chosen

    async def _send(self, batch: Sequence[Original]) -> None:
        """The row says first that a replay has begun, and goes last: a kill in between leaves it to be replayed again, never lost."""
        now = self._clock.now()
        dead = [original.dead for original in batch]
        await self._database.execute_many(self._sql["begin_replay"], [(one.uid, one.item_id, now) for one in dead])
        producer = self._stream.producer()
        await asyncio.gather(*(producer.send(o.dead.partition.topic, key=o.key, value=o.value, headers=o.headers) for o in batch))
        ended = [(one.uid, one.item_id, *one.partition, one.offset) for one in dead]
        await self._database.execute_many(self._sql["end_replay"], ended)

    async def _originals(self, uid: str, dead: Sequence[DeadRecord]) -> AsyncIterator[Sequence[Original]]:
        """Find the bytes: on the dead topic in one pass, and where they did not fit there, in the topic they were read from."""
        missing = {(one.partition, one.offset): one for one in dead}
        ends = await self._stream.end_offsets(topics.topic(topics.DEAD, uid)) if dead else {}
        for partition, end in ends.items():
            async for records in self._stream.scan(partition, start=0, end=end):
                if found := _take(records, missing):
                    yield found
        for (partition, offset), one in missing.items():
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


def _place(dead: DeadRecord) -> str:
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
    )
