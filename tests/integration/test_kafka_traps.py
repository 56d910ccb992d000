"""What Kafka and aiokafka do that the stream room is built around. Where one of these fails after an upgrade, something can go."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalGenerationError, KafkaError, OutOfOrderSequenceNumber, for_code
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from actlabel.stream.kafka_consumer import KafkaConsumer
from actlabel.stream.kafka_stream import KafkaStream, open_kafka_stream
from actlabel.stream.port import Partition, TopicSettings

_PATIENCE_S = 60.0


class Owner:
    """Owns nothing in particular."""

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        return partitions

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        return {}


@pytest.fixture
async def stream(kafka_address: str) -> AsyncIterator[KafkaStream]:
    opened = await open_kafka_stream(kafka_address, session_timeout_s=6.0)
    yield opened
    await opened.close()


async def _topic(stream: KafkaStream, partitions: int) -> str:
    name = f"actlabel.items.{uuid4().hex}"
    await stream.create_topics({name: TopicSettings(partitions=partitions)})
    return name


async def _together(members: list[KafkaConsumer], until: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not until():
            await asyncio.gather(*(member.poll(member.assignment(), max_records=10, timeout_s=0.05) for member in members))


async def test_kafka_takes_a_commit_for_a_partition_of_somebody_else_and_we_send_none(stream: KafkaStream):
    """Of a member of a classic group only the generation counts: so nothing may be on its way when partitions change hands."""
    topic = await _topic(stream, 2)
    members = []
    for _ in range(2):
        member = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Owner())
        assert isinstance(member, KafkaConsumer)
        members.append(member)
    await _together(members, lambda: sorted(len(member.assignment()) for member in members) == [1, 1])
    me, other = members
    (theirs,) = other.assignment()
    await me.commit({theirs: 7})
    assert (await stream.committed(f"g.{topic}", topic))[theirs] == 0, "ours leaves out what is not its own"
    coordinator = me._client._coordinator

    async def commit(offset: int, generation: int) -> type[KafkaError]:
        offsets = [(theirs.topic, [(theirs.number, offset, "")])]
        request = OffsetCommitRequest(coordinator.group_id, generation, coordinator.member_id, -1, offsets)
        response = await coordinator._send_req(request)
        return for_code(response.topics[0][1][0][1])

    assert (await commit(9, coordinator.generation)).errno == 0
    assert (await stream.committed(f"g.{topic}", topic))[theirs] == 9, "Kafka checks the owner now: kafka.md 2.2, trap 10"
    assert await commit(11, coordinator.generation - 1) is IllegalGenerationError
    assert (await stream.committed(f"g.{topic}", topic))[theirs] == 9


async def test_a_lost_sequence_number_ends_a_producer_of_aiokafka_for_good(stream: KafkaStream, kafka_address: str):
    """Ours is replaced then (test_kafka_producer): were this to heal by itself, it need not be."""
    topic = await _topic(stream, 1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_address, enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait(topic, b"0")
    producer._txn_manager.increment_sequence_number(TopicPartition(topic, 0), 5)
    with pytest.raises(OutOfOrderSequenceNumber):
        await producer.send_and_wait(topic, b"1")
    for _ in range(3):
        with pytest.raises(KafkaError):
            async with asyncio.timeout(_PATIENCE_S):
                await producer.send_and_wait(topic, b"2")
    assert await stream.end_offsets(topic) == {Partition(topic, 0): 1}
    await producer.stop()


class _Forged:
    """A batch of aiokafka whose first header's name is made invalid when it is built."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def build(self) -> bytes:
        data = bytearray(self._real.build())
        start = data.index(b"a-name")
        data[start : start + 2] = b"\xff\xfe"
        struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
        return bytes(data)


async def _send_forged(address: str, topic: str) -> None:
    """Send five records to each partition; the third of each has a header that aiokafka can neither write nor read."""
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        for number in range(2):
            for value in (b"0", b"1"):
                await producer.send_and_wait(topic, value, partition=number, headers=[("null", None)])
            batch = producer.create_batch()
            batch.append(key=None, value=b"2", timestamp=None, headers=[("a-name", b"v")])
            batch._builder = _Forged(batch._builder)
            batch.close()
            await (await producer.send_batch(batch, topic, partition=number))
            for value in (b"3", b"4"):
                await producer.send_and_wait(topic, value, partition=number)


async def test_a_record_that_cannot_be_read_holds_up_nobody_and_loses_no_other(stream: KafkaStream, kafka_address: str):
    topic = await _topic(stream, 2)
    await _send_forged(kafka_address, topic)
    wanted = {Partition(topic, number): [(0, b"0"), (1, b"1"), (2, b""), (3, b"3"), (4, b"4")] for number in range(2)}
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Owner())
    got: dict[Partition, list[tuple[int, bytes]]] = {partition: [] for partition in wanted}
    async with asyncio.timeout(_PATIENCE_S):
        while sum(map(len, got.values())) < 10:
            for record in await consumer.poll(consumer.assignment(), max_records=10, timeout_s=0.2):
                got[record.partition].append((record.offset, record.value))
                assert record.headers in {(), (("null", b""),)}
    assert got == wanted
    for partition, records in wanted.items():
        scanned = [(r.offset, r.value) async for batch in stream.scan(partition, start=0, end=5) for r in batch]
        assert scanned == records


async def test_a_member_that_asks_for_a_deleted_topic_still_hears_of_new_ones(stream: KafkaStream):
    """aiokafka would ask for the deleted topic and no other from then on: a stage deaf to every campaign that comes after the deletion."""
    first = await _topic(stream, 1)
    prefix = first[:-8]
    member = await stream.consumer(f"g.{first}", topic_prefix=prefix, rebalance=Owner())
    assert isinstance(member, KafkaConsumer)
    await _together([member], lambda: member.assignment() == {Partition(first, 0)})
    await stream.delete_topics([first])
    await _together([member], lambda: not member.assignment())
    with suppress(TimeoutError):
        await asyncio.wait_for(member._client.end_offsets([TopicPartition(first, 0)]), 3.0)  # as the lag is asked for
    second = f"{prefix}{uuid4().hex[:8]}"
    await stream.create_topics({second: TopicSettings(partitions=1)})
    await _together([member], lambda: member.assignment() == {Partition(second, 0)})
    await member.close()
