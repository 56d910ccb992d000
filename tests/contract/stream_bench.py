"""A stream, its members and what they have read, for the promises that every stream keeps."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import uuid4

from actlabel.stream.partitioner import partition_of
from actlabel.stream.port import Consumer, Handover, Partition, Record, Stream, TopicSettings

PATIENCE_S = 60.0  # a hang fails the test; nothing here measures time
PARTITIONS = 4


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what other tasks do behind the port
            await asyncio.sleep(0.02)


class Owner:
    """Owns partitions as the stage loop does, and checks what it is told."""

    def __init__(self, starts: Mapping[Partition, int] | None = None, last: Mapping[Partition, int] | None = None) -> None:
        self.held: set[Partition] = set()
        self.committed: dict[Partition, int] = {}
        self.log: list[str] = []
        self._starts = starts or {}
        self._last = last if last is not None else {}

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        assert partitions
        assert not self.held & set(partitions), "given twice"
        self.held |= set(partitions)
        self.committed.update(partitions)
        self.log.append("assigned")
        return {partition: self._starts.get(partition, offset) for partition, offset in partitions.items()}

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        assert partitions
        assert set(partitions) <= self.held, "taken without having been given"
        self.held -= set(partitions)
        self.log.append("revoked")
        return {p: self._last[p] for p in partitions if p in self._last}


class Member:
    """A consumer with its owner, and what it has read."""

    def __init__(self, consumer: Consumer, owner: Owner) -> None:
        self.consumer = consumer
        self.owner = owner
        self.records: list[Record] = []

    async def poll(
        self, wanted: Collection[Partition] | None = None, *, max_records: int = 100, timeout_s: float = 0.2
    ) -> Sequence[Record]:
        asked = self.consumer.assignment() if wanted is None else wanted
        records = await self.consumer.poll(asked, max_records=max_records, timeout_s=timeout_s)
        assert len(records) <= max_records
        assert {record.partition for record in records} <= self.owner.held & set(asked), "a record of a partition that is not ours"
        self.records += records
        return records

    async def read(self, count: int) -> Sequence[Record]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.records) < count:
                await self.poll()
        return self.records

    async def hold(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.consumer.assignment()) != count:
                await self.poll((), max_records=1)
        assert self.consumer.assignment() == self.owner.held


class Bench:
    """A stream with one topic of a campaign of the test's own."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.uid = uuid4().hex
        self.prefix = f"actlabel.items.{self.uid}"
        self.topic = f"{self.prefix}.a"
        self.group = f"actlabel.test.{self.uid}"

    async def create(self, name: str = "", partitions: int = PARTITIONS) -> str:
        await self.stream.create_topics({name or self.topic: TopicSettings(partitions=partitions)})
        return name or self.topic

    async def send(self, count: int, *, topic: str = "", first: int = 0) -> None:
        producer = self.stream.producer()
        await asyncio.gather(
            *(producer.send(topic or self.topic, key=b"item-%d" % i, value=b"value %d" % i) for i in range(first, first + count))
        )

    async def fill(self, each: int) -> None:
        """Put ``each`` records into every partition."""
        keys: dict[int, bytes] = {}
        number = 0
        while len(keys) < PARTITIONS:
            key = b"k%d" % (number := number + 1)
            keys.setdefault(partition_of(key, PARTITIONS), key)
        producer = self.stream.producer()
        await asyncio.gather(*(producer.send(self.topic, key=key, value=b"%d" % i) for i in range(each) for key in keys.values()))

    async def join(self, owner: Owner | None = None, *, handover: Handover | None = None) -> Member:
        owner = owner or Owner()
        consumer = await self.stream.consumer(self.group, topic_prefix=self.prefix, rebalance=owner, handover=handover)
        return Member(consumer, owner)

    def partitions(self, topic: str = "", count: int = PARTITIONS) -> list[Partition]:
        return [Partition(topic or self.topic, number) for number in range(count)]
