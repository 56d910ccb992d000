"""What every stream promises about topics and records, on the fake, on SQLite and on Kafka alike."""

import asyncio
from collections import defaultdict

import pytest

from actlabel.core.errors import DeadLetter, UserError
from actlabel.stream.partitioner import partition_of
from actlabel.stream.port import MAX_RECORD_BYTES, Partition, Record
from tests.contract.stream_bench import PARTITIONS, Bench


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
        sent = [b"value %d" % i for i in range(300) if partition_of(b"item-%d" % i, PARTITIONS) == partition.number]
        assert [record.value for record in records] == sent
    assert await bench.stream.end_offsets(bench.topic) == {p: len(records) for p, records in by_partition.items()}


async def test_a_record_comes_back_as_it_was_sent(bench: Bench):
    await bench.create(partitions=1)
    headers = (("reason", b"\x00\xff"), ("detail", b""), ("reason", "wörter".encode()))
    await bench.stream.producer().send(bench.topic, key=b"\x00key", value=b"", headers=headers)
    (record,) = await (await bench.join()).read(1)
    assert (record.key, record.value, record.headers) == (b"\x00key", b"", headers)
    assert record.timestamp_ms > 1_700_000_000_000


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


async def test_topics_are_listed_by_prefix(bench: Bench):
    await bench.create()
    await bench.create(f"{bench.prefix}.b", partitions=1)
    await bench.create(f"actlabel.merged.{bench.uid}", partitions=1)
    assert await bench.stream.topics(bench.prefix) == {bench.topic: PARTITIONS, f"{bench.prefix}.b": 1}


async def test_making_a_topic_again_changes_nothing(bench: Bench):
    await bench.create()
    await bench.send(3)
    await bench.create()
    assert sum((await bench.stream.end_offsets(bench.topic)).values()) == 3
    with pytest.raises(UserError, match=rf"{bench.topic}\W+has {PARTITIONS} partitions"):
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
