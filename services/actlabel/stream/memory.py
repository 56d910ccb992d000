"""The stream in memory: the whole port, with rebalances and failures that a test starts when it likes. Nothing outlives the object."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence

from actlabel.core.errors import DeadLetter, UserError
from actlabel.stream.handover import handed_over
from actlabel.stream.memory_group import MemoryConsumer, MemoryFaults, MemoryGroup
from actlabel.stream.partitioner import partition_of
from actlabel.stream.port import Consumer, Earlier, Handover, Headers, Partition, Producer, Rebalance, Record, TopicSettings
from actlabel.stream.record_size import check_size

_SCAN_RECORDS = 1000


class MemoryStream:
    """See ``port.Stream``. The extra methods are the hands of a test: ``faults``, ``hold_acks``, ``revoke``, ``settle``, ``records``."""

    def __init__(self) -> None:
        """Begin without topics."""
        self._settings: dict[str, TopicSettings] = {}
        self._logs: dict[Partition, list[Record | None]] = {}
        self.faults = faults = MemoryFaults()
        self._groups: defaultdict[str, MemoryGroup] = defaultdict(lambda: MemoryGroup(faults))
        self._producer = MemoryProducer(self)
        self._unacknowledged: list[asyncio.Future[None]] = []
        self._holds_acks = False

    async def create_topics(self, topics: Mapping[str, TopicSettings]) -> None:
        """See ``port.Stream``."""
        for name, settings in topics.items():
            existing = self._settings.get(name, settings)
            if existing.partitions != settings.partitions:
                raise UserError(f"{name}: has {existing.partitions} partitions, not {settings.partitions}; delete it to change that")
        for name in topics.keys() - self._settings.keys():
            self._settings[name] = topics[name]
            self._logs |= {Partition(name, number): [] for number in range(topics[name].partitions)}
        self.settle()

    async def delete_topics(self, names: Collection[str]) -> None:
        """See ``port.Stream``."""
        for name in names & self._settings.keys():
            del self._settings[name]
        self.settle()
        for partition in [partition for partition in self._logs if partition.topic not in self._settings]:
            del self._logs[partition]
            for group in self._groups.values():
                group.committed.pop(partition, None)

    async def topics(self, prefix: str) -> Mapping[str, int]:
        """See ``port.Stream``."""
        return {name: settings.partitions for name, settings in self._settings.items() if name.startswith(prefix)}

    async def end_offsets(self, topic: str) -> Mapping[Partition, int]:
        """See ``port.Stream``."""
        return {partition: len(log) for partition, log in self._logs.items() if partition.topic == topic}

    async def committed(self, group: str, topic: str) -> Mapping[Partition, int | None]:
        """See ``port.Stream``."""
        return {partition: self._groups[group].committed.get(partition) for partition in self._logs if partition.topic == topic}

    async def commit_start(self, group: str, topic: str) -> None:
        """See ``port.Stream``."""
        for partition in await self.end_offsets(topic):
            self._groups[group].committed.setdefault(partition, 0)

    async def scan(self, partition: Partition, *, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """See ``port.Stream``."""
        for first in range(start, end, _SCAN_RECORDS):
            log = self._logs.get(partition, [])
            if batch := [record for record in log[first : min(first + _SCAN_RECORDS, end)] if record is not None]:
                yield batch
            await asyncio.sleep(0)

    def producer(self) -> Producer:
        """See ``port.Stream``."""
        return self._producer

    async def consumer(
        self,
        group: str,
        *,
        topic_prefix: str,
        rebalance: Rebalance,
        handover: Handover | None = None,
        earlier: Earlier | None = None,  # noqa: ARG002 - nothing is left out here
    ) -> Consumer:
        """See ``port.Stream``."""
        self.faults.check("join")
        joined = self._groups[group]
        member = MemoryConsumer(joined, topic_prefix=topic_prefix, rebalance=rebalance, handover=handover, read=self.read, end=self._end)
        joined.members.append(member)
        for loser in joined.withdraw(self._counts()):
            await handed_over(loser.handover, group=group)
        self.settle()
        return member

    def _end(self, partition: Partition) -> int:
        return len(self._logs.get(partition, ()))

    async def close_consumer(self, consumer: Consumer) -> None:
        """See ``port.Stream``."""
        for name, group in self._groups.items():
            leaving = [member for member in group.members if member is consumer]
            group.members = [member for member in group.members if member is not consumer]
            for member in leaving:
                await handed_over(member.handover, group=name)
        self.settle()

    async def close(self) -> None:
        """See ``port.Stream``."""
        self.release_acks()
        self._groups.clear()

    def append(self, topic: str, *, key: bytes, value: bytes, headers: Headers = ()) -> asyncio.Future[None]:
        """Append a record, or refuse it."""
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._append(topic, key, value, headers)
        except Exception as error:  # noqa: BLE001 - whoever awaits gets it
            acknowledged.set_exception(error)
        else:
            self._acknowledge(acknowledged)
        return acknowledged

    def _append(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        self.faults.check("send")
        check_size(topic, key=key, value=value, headers=headers)
        if topic not in self._settings:
            raise DeadLetter("unknown-topic", f"topic {topic} does not exist")
        partition = Partition(topic, partition_of(key, self._settings[topic].partitions))
        log = self._logs[partition]
        log.append(Record(partition, len(log), key, value, headers, time.time_ns() // 1_000_000))
        for group in self._groups.values():
            for member in group.members:
                member.wake()
        self.faults.check("acknowledge")

    def _acknowledge(self, acknowledged: asyncio.Future[None]) -> None:
        if self._holds_acks:
            self._unacknowledged.append(acknowledged)
        else:
            acknowledged.set_result(None)

    def read(self, partition: Partition, start: int, most: int) -> Sequence[Record]:
        """Return up to ``most`` records of a partition from an offset on."""
        log = self._logs.get(partition, [])
        records: list[Record] = []
        while start < len(log) and len(records) < most:
            record = log[start]
            start += 1
            if record is not None:
                records.append(record)
        return records

    def hold_acks(self) -> None:
        """Take records from now on without acknowledging them."""
        self._holds_acks = True

    def release_acks(self) -> None:
        """Acknowledge what was held."""
        self._holds_acks = False
        for acknowledged in self._unacknowledged:
            if not acknowledged.done():
                acknowledged.set_result(None)
        self._unacknowledged.clear()

    def compact(self, topic: str) -> None:
        """Remove all but the last record of each key: holes, as compaction leaves them."""
        for partition in [partition for partition in self._logs if partition.topic == topic]:
            log = self._logs[partition]
            last = {record.key: record.offset for record in log if record is not None}
            self._logs[partition] = [record if record is not None and last[record.key] == record.offset else None for record in log]

    def records(self, topic: str) -> Sequence[Record]:
        """Return everything on a topic, partition by partition."""
        logs = (log for partition, log in sorted(self._logs.items(), key=lambda pair: pair[0]) if partition.topic == topic)
        return [record for log in logs for record in log if record is not None]

    def group(self, name: str) -> MemoryGroup:
        """Return a group, for its commits and its members."""
        return self._groups[name]

    def revoke(self, group: str, *, commit: bool = True) -> None:
        """Take every partition from the members of a group, as an eager rebalance does; ``settle`` ends it."""
        self._groups[group].revoke(list(self._logs), commit=commit)

    def settle(self) -> None:
        """Share the partitions of every group anew."""
        for group in self._groups.values():
            group.settle(self._counts())

    def _counts(self) -> Mapping[str, int]:
        return {name: settings.partitions for name, settings in self._settings.items()}


class MemoryProducer:
    """See ``port.Producer``."""

    def __init__(self, stream: MemoryStream) -> None:
        """Append to ``stream``."""
        self._stream = stream
        self._pending: set[asyncio.Future[None]] = set()

    def send(self, topic: str, *, key: bytes, value: bytes, headers: Headers = ()) -> Awaitable[None]:
        """See ``port.Producer``."""
        acknowledged = self._stream.append(topic, key=key, value=value, headers=headers)
        if not acknowledged.done():
            self._pending.add(acknowledged)
            acknowledged.add_done_callback(self._pending.discard)
        return acknowledged

    async def flush(self) -> None:
        """See ``port.Producer``."""
        await asyncio.gather(*self._pending, return_exceptions=True)
