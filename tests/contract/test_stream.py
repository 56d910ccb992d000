"""What every stream promises, on the fake, on SQLite and on Kafka alike."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from uuid import uuid4

import pytest

from actlabel.core.errors import DeadLetter, RetryLater, UserError
from actlabel.runtime.settings import Settings
from actlabel.stream.memory import MemoryStream
from actlabel.stream.open import open_stream
from actlabel.stream.partitioner import partition_of
from actlabel.stream.port import MAX_RECORD_BYTES, Consumer, Handover, Partition, Record, Stream, TopicSettings, only

_PATIENCE_S = 60.0  # a hang fails the test; nothing here measures time
_PARTITIONS = 4


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
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
        async with asyncio.timeout(_PATIENCE_S):
            while len(self.records) < count:
                await self.poll()
        return self.records

    async def hold(self, count: int) -> None:
        async with asyncio.timeout(_PATIENCE_S):
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

    async def create(self, name: str = "", partitions: int = _PARTITIONS) -> str:
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
        while len(keys) < _PARTITIONS:
            key = b"k%d" % (number := number + 1)
            keys.setdefault(partition_of(key, _PARTITIONS), key)
        producer = self.stream.producer()
        await asyncio.gather(*(producer.send(self.topic, key=key, value=b"%d" % i) for i in range(each) for key in keys.values()))

    async def join(self, owner: Owner | None = None, *, handover: Handover | None = None) -> Member:
        owner = owner or Owner()
        consumer = await self.stream.consumer(self.group, topic_prefix=self.prefix, rebalance=owner, handover=handover)
        return Member(consumer, owner)

    def partitions(self, topic: str = "", count: int = _PARTITIONS) -> list[Partition]:
        return [Partition(topic or self.topic, number) for number in range(count)]


_ADDRESSES: Mapping[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": lambda request: f"sqlite:///{request.getfixturevalue('tmp_path')}/stream.db",
    "kafka": lambda request: f"kafka://{request.getfixturevalue('kafka_address')}",
    "kafka-scram": lambda request: request.getfixturevalue("secured_kafka").scram(),  # login over TLS, as every client must manage
}


@pytest.fixture(params=["memory", *(pytest.param(k, marks=[pytest.mark.kafka] if "kafka" in k else []) for k in _ADDRESSES)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        stream: Stream = MemoryStream()
    else:
        address = _ADDRESSES[request.param](request)
        stream = await open_stream(Settings(stream=address, session_timeout_s=6.0), runs_stages=True)
    yield Bench(stream)
    await stream.close()


async def test_offsets_are_dense_from_0_in_the_order_of_send_and_partitions_follow_from_keys(bench: Bench):
    await bench.create()
    await bench.send(300)
    member = await bench.join()
    by_partition: dict[Partition, list[Record]] = defaultdict(list)
    for record in await member.read(300):
        by_partition[record.partition].append(record)
    assert set(by_partition) == set(bench.partitions())
    for partition, records in by_partition.items():
        assert [record.offset for record in records] == list(range(len(records)))
        sent = [b"value %d" % i for i in range(300) if partition_of(b"item-%d" % i, _PARTITIONS) == partition.number]
        assert [record.value for record in records] == sent
    assert await bench.stream.end_offsets(bench.topic) == {p: len(records) for p, records in by_partition.items()}


async def test_a_member_knows_where_its_partitions_end(bench: Bench):
    await bench.create()
    member = await bench.join()
    assert await member.consumer.ends() == dict.fromkeys(member.consumer.assignment(), 0)
    await member.hold(_PARTITIONS)
    await bench.fill(5)
    assert await member.consumer.ends() == dict.fromkeys(bench.partitions(), 5)
    await member.read(20)
    assert await member.consumer.ends() == dict.fromkeys(bench.partitions(), 5)


async def test_a_record_comes_back_as_it_was_sent(bench: Bench):
    await bench.create(partitions=1)
    headers = (("reason", b"\x00\xff"), ("detail", b""), ("reason", "wörter".encode()))
    await bench.stream.producer().send(bench.topic, key=b"\x00key", value=b"", headers=headers)
    (record,) = await (await bench.join()).read(1)
    assert (record.key, record.value, record.headers) == (b"\x00key", b"", headers)
    assert record.timestamp_ms > 1_700_000_000_000


async def test_a_group_resumes_where_it_committed(bench: Bench):
    await bench.create(partitions=1)
    await bench.send(10)
    first = await bench.join()
    await first.read(10)
    (partition,) = first.owner.held
    await first.consumer.commit({partition: 7})
    await bench.stream.close_consumer(first.consumer)
    assert await bench.stream.committed(bench.group, bench.topic) == {partition: 7}
    second = await bench.join()
    assert [record.offset for record in await second.read(3)] == [7, 8, 9]
    assert second.owner.committed == {partition: 7}


async def test_what_was_read_and_not_committed_comes_again(bench: Bench):
    await bench.create(partitions=1)
    await bench.send(5)
    first = await bench.join()
    await first.read(5)
    await bench.stream.close_consumer(first.consumer)
    second = await bench.join()
    assert [record.offset for record in await second.read(5)] == [0, 1, 2, 3, 4]


async def test_members_commit_their_start_so_that_lag_is_visible(bench: Bench):
    await bench.create()
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions())
    member = await bench.join()
    await member.hold(_PARTITIONS)
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions(), 0)


async def test_the_owner_says_where_to_read_from(bench: Bench):
    await bench.create(partitions=1)
    await bench.send(10)
    partition = Partition(bench.topic, 0)
    member = await bench.join(Owner(starts={partition: 6}))
    assert [record.offset for record in await member.read(4)] == [6, 7, 8, 9]


async def test_topics_made_later_are_read_too(bench: Bench):
    await bench.create()
    member = await bench.join()
    await member.hold(_PARTITIONS)
    later = await bench.create(f"{bench.prefix}.later", partitions=2)
    await bench.send(5, topic=later)
    await member.hold(_PARTITIONS + 2)
    assert {record.partition.topic for record in await member.read(5)} == {later}


async def test_a_member_without_topics_waits_for_the_first(bench: Bench):
    member = await bench.join()
    assert not await member.poll(())
    assert member.owner.log == []
    await bench.create(partitions=1)
    await bench.send(1)
    await member.read(1)


async def test_members_share_partitions_and_take_over(bench: Bench):
    await bench.create()
    first, second = await bench.join(), None
    await first.hold(_PARTITIONS)
    second = await bench.join()
    await asyncio.gather(first.hold(2), second.hold(2))
    assert first.owner.held | second.owner.held == set(bench.partitions())
    assert first.owner.log[:3] == ["assigned", "revoked", "assigned"] or first.owner.log == ["assigned", "revoked"]
    await bench.stream.close_consumer(second.consumer)
    await first.hold(_PARTITIONS)


async def test_what_a_member_keeps_stays_with_it(bench: Bench):
    """Sticky: who has two of four partitions keeps one of its own when a third member comes."""
    await bench.create()
    first = await bench.join()
    await first.hold(_PARTITIONS)
    second = await bench.join()
    await asyncio.gather(first.hold(2), second.hold(2))
    before = {id(member): set(member.owner.held) for member in (first, second)}
    third = await bench.join()
    members = (first, second, third)
    async with asyncio.timeout(_PATIENCE_S):
        while sorted(len(member.owner.held) for member in members) != [1, 1, 2] or not third.owner.held:
            await asyncio.gather(*(member.poll((), max_records=1) for member in members))
    for member in (first, second):
        assert member.owner.held & before[id(member)]


async def test_a_handover_is_awaited_before_another_member_gets_what_was_revoked(bench: Bench):
    await bench.create()
    first, second = Owner(), Owner()

    async def hand_over() -> None:
        assert first.log[-1] == "revoked"
        for _ in range(20):  # whoever did not wait would be assigned meanwhile
            await asyncio.sleep(0.02)
        assert second.log == []
        first.log.append("handed over")

    one = await bench.join(first, handover=hand_over)
    await one.hold(_PARTITIONS)
    joining = asyncio.create_task(bench.join(second))
    async with asyncio.timeout(_PATIENCE_S):
        while not joining.done() or not second.held:
            await asyncio.gather(one.poll((), max_records=1), *([joining.result().poll((), max_records=1)] if joining.done() else []))
    await asyncio.gather(one.hold(2), joining.result().hold(2))
    assert first.log[:3] == ["assigned", "revoked", "handed over"]


async def test_a_member_that_leaves_hands_over_first(bench: Bench):
    await bench.create()
    left: list[str] = []

    async def hand_over() -> None:
        await asyncio.sleep(0.05)
        left.append("handed over")

    member = await bench.join(handover=hand_over)
    await member.hold(_PARTITIONS)
    await bench.stream.close_consumer(member.consumer)
    assert left == ["handed over"]


async def test_a_handover_that_fails_or_does_not_end_stops_nobody(bench: Bench):
    await bench.create()
    begun: list[str] = []
    never = asyncio.Event()

    async def hang() -> None:
        begun.append("hangs")
        await never.wait()

    async def fail() -> None:
        begun.append("fails")
        raise RetryLater

    members = [await bench.join(handover=hang)]
    await members[0].hold(_PARTITIONS)
    joining = asyncio.create_task(bench.join(handover=fail))
    async with asyncio.timeout(_PATIENCE_S):
        while not joining.done():
            await members[0].poll((), max_records=1)
    await asyncio.gather(members[0].hold(2), joining.result().hold(2))
    await bench.stream.close_consumer(joining.result().consumer)
    await members[0].hold(_PARTITIONS)
    assert {"hangs", "fails"} <= set(begun)
    never.set()


async def test_nothing_is_lost_while_members_come_and_go(bench: Bench):
    """Each member commits what it has read; when all have, every record was read by somebody."""
    await bench.create()
    read: set[bytes] = set()

    async def work(member: Member, stop: asyncio.Event) -> None:
        while not stop.is_set():
            last = {record.partition: record.offset + 1 for record in await member.poll(max_records=7)}
            read.update(record.key for record in member.records)
            await member.consumer.commit(last)
        await bench.stream.close_consumer(member.consumer)

    async def begin() -> tuple[Member, asyncio.Event, asyncio.Task[None]]:
        member, stop = await bench.join(), asyncio.Event()
        return member, stop, asyncio.create_task(work(member, stop))

    running = [await begin()]
    for round_ in range(3):
        await bench.send(200, first=200 * round_)
        running.append(await begin())
        await _until(lambda: bool(running[-1][0].owner.held))
        _, stop, task = running.pop(0)
        stop.set()
        await task
    await _until(lambda: len(read) == 600)
    _, stop, task = running.pop()
    stop.set()
    await task
    ends = await bench.stream.end_offsets(bench.topic)
    assert await bench.stream.committed(bench.group, bench.topic) == ends


async def test_the_last_offsets_of_a_revocation_are_committed(bench: Bench):
    await bench.create()
    await bench.fill(3)
    last = dict.fromkeys(bench.partitions(), 2)
    first = await bench.join(Owner(last=last))
    await first.hold(_PARTITIONS)
    second = await bench.join()
    await asyncio.gather(first.hold(2), second.hold(2))
    assert {second.owner.committed[partition] for partition in second.owner.held} == {2}


async def test_a_commit_for_a_partition_of_somebody_else_is_left_out(bench: Bench):
    await bench.create()
    await bench.fill(1)
    first = await bench.join()
    await first.hold(_PARTITIONS)
    second = await bench.join()
    await asyncio.gather(first.hold(2), second.hold(2))
    await first.consumer.commit(dict.fromkeys(bench.partitions(), 1))
    committed = await bench.stream.committed(bench.group, bench.topic)
    assert committed == {p: 1 if p in first.owner.held else 0 for p in bench.partitions()}


async def test_partitions_that_are_not_wanted_keep_their_records(bench: Bench):
    await bench.create()
    await bench.fill(20)
    member = await bench.join()
    await member.hold(_PARTITIONS)
    one = bench.partitions()[1]
    async with asyncio.timeout(_PATIENCE_S):
        while len(member.records) < 20:
            await member.poll([one])
    assert not await member.poll([one])
    everything = await member.read(20 * _PARTITIONS)
    offsets: dict[Partition, list[int]] = defaultdict(list)
    for record in everything:
        offsets[record.partition].append(record.offset)
    assert dict(offsets) == {partition: list(range(20)) for partition in bench.partitions()}


async def test_partitions_take_turns(bench: Bench):
    await bench.create()
    await bench.fill(200)
    member = await bench.join()
    await member.hold(_PARTITIONS)
    everything = await member.read(200 * _PARTITIONS)  # warm: whatever a backend fetches ahead is there
    assert len(everything) == 200 * _PARTITIONS
    await bench.fill(200)
    seen: dict[Partition, int] = defaultdict(int)
    async with asyncio.timeout(_PATIENCE_S):
        while sum(seen.values()) < 400:
            for record in await member.poll(max_records=8):
                seen[record.partition] += 1
    assert set(seen) == set(bench.partitions())


async def test_a_poll_that_waits_is_woken_by_a_send(bench: Bench):
    await bench.create(partitions=1)
    member = await bench.join()
    await member.hold(1)
    waiting = asyncio.create_task(member.poll(timeout_s=_PATIENCE_S * 10))
    await asyncio.sleep(0)
    await bench.send(1)
    async with asyncio.timeout(_PATIENCE_S):
        assert len(await waiting) == 1


async def test_a_poll_that_waits_for_nothing_is_woken_by_partitions(bench: Bench):
    member = await bench.join()
    waiting = asyncio.create_task(member.poll((), timeout_s=_PATIENCE_S * 10))
    await asyncio.sleep(0)
    await bench.create(partitions=1)
    async with asyncio.timeout(_PATIENCE_S):
        assert not await waiting


async def test_scan_reads_a_frozen_range_outside_any_group(bench: Bench):
    await bench.create(partitions=1)
    await bench.send(2500)
    partition = Partition(bench.topic, 0)

    async def offsets(start: int, end: int) -> list[int]:
        return [record.offset async for batch in bench.stream.scan(partition, start=start, end=end) for record in batch]

    end = (await bench.stream.end_offsets(bench.topic))[partition]
    assert end == 2500
    assert await offsets(0, end) == list(range(2500))
    assert await offsets(1200, 1203) == [1200, 1201, 1202]
    assert await offsets(7, 7) == []
    assert await bench.stream.committed(bench.group, bench.topic) == {partition: None}


async def test_commit_start_shows_the_lag_of_a_group_without_members_and_moves_nobody(bench: Bench):
    await bench.create(partitions=2)
    await bench.stream.commit_start(bench.group, bench.topic)
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions(count=2), 0)
    await bench.send(20)
    member = await bench.join()
    await member.read(20)
    await member.consumer.commit(dict.fromkeys(bench.partitions(count=2), 3))
    await bench.stream.commit_start(bench.group, bench.topic)
    await bench.stream.close_consumer(member.consumer)
    await bench.stream.commit_start(bench.group, bench.topic)
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions(count=2), 3)


async def test_topics_are_listed_by_prefix(bench: Bench):
    await bench.create()
    await bench.create(f"{bench.prefix}.b", partitions=1)
    await bench.create(f"actlabel.merged.{bench.uid}", partitions=1)
    assert await bench.stream.topics(bench.prefix) == {bench.topic: _PARTITIONS, f"{bench.prefix}.b": 1}


async def test_making_a_topic_again_changes_nothing(bench: Bench):
    await bench.create()
    await bench.send(3)
    await bench.create()
    assert sum((await bench.stream.end_offsets(bench.topic)).values()) == 3
    with pytest.raises(UserError, match=rf"{bench.topic}\W+has {_PARTITIONS} partitions"):
        await bench.create(partitions=5)


async def test_a_deleted_topic_takes_everything_with_it(bench: Bench):
    await bench.create()
    await bench.send(10)
    member = await bench.join()
    await member.read(10)
    await member.consumer.commit(dict.fromkeys(bench.partitions(), 1))
    await bench.stream.delete_topics([bench.topic, f"{bench.prefix}.never"])
    await member.hold(0)
    assert await bench.stream.topics(bench.prefix) == {}
    assert await bench.stream.end_offsets(bench.topic) == {}
    assert await bench.stream.committed(bench.group, bench.topic) == {}
    await bench.stream.close_consumer(member.consumer)
    await bench.create()
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions())
    assert set((await bench.stream.end_offsets(bench.topic)).values()) == {0}


async def test_the_largest_record_is_taken_and_one_byte_more_is_refused_by_name(bench: Bench):
    await bench.create(partitions=1)
    producer = bench.stream.producer()
    key, header = b"key", ("h", b"12")
    value = bytes(MAX_RECORD_BYTES - len(key) - 3)
    await producer.send(bench.topic, key=key, value=value, headers=(header,))
    with pytest.raises(DeadLetter) as refused:
        await producer.send(bench.topic, key=key, value=value + b"x", headers=(header,))
    assert refused.value.reason == "too-large"
    await producer.send(bench.topic, key=key, value=b"next")
    records = await (await bench.join()).read(2)
    assert [len(record.value) for record in records] == [len(value), 4]


async def test_a_record_for_a_topic_that_does_not_exist_is_refused_by_name(bench: Bench):
    await bench.create()
    producer = bench.stream.producer()
    lost = producer.send(f"{bench.prefix}.never", key=b"k", value=b"v")
    kept = producer.send(bench.topic, key=b"k", value=b"v")
    await kept
    with pytest.raises(DeadLetter) as refused:
        await lost
    assert refused.value.reason == "unknown-topic"


async def test_flush_waits_for_everything_handed_over(bench: Bench):
    await bench.create()
    producer = bench.stream.producer()
    sends = [producer.send(bench.topic, key=b"%d" % i, value=bytes(1000)) for i in range(500)]
    await producer.flush()
    assert sum((await bench.stream.end_offsets(bench.topic)).values()) == 500
    await asyncio.gather(*sends)


async def test_a_member_may_read_one_topic_only_and_one_that_comes_later_too(bench: Bench):
    await bench.create(f"{bench.topic}-v2")
    owner = Owner()
    member = Member(await bench.stream.consumer(bench.group, topic_prefix=only(bench.topic), rebalance=owner), owner)
    await bench.create()
    await bench.send(5, topic=f"{bench.topic}-v2")
    await bench.send(7)
    assert {record.partition.topic for record in await member.read(7)} == {bench.topic}
    assert member.consumer.assignment() == frozenset(bench.partitions())
