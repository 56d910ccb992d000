"""The traps of Kafka producers, each on the real broker."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.stream import kafka_client
from actlabel.stream.kafka_client import BATCH_BYTES
from actlabel.stream.kafka_producer import KafkaProducer
from actlabel.stream.kafka_stream import KafkaStream, open_kafka_stream
from actlabel.stream.port import Consumer, Partition, Producer, TopicSettings
from tests.services.kafka_broker import KafkaBroker

_PATIENCE_S = 90.0


class Owner:
    """Owns nothing in particular."""

    def assigned(self, partitions, /):
        return partitions

    def revoked(self, partitions, /):
        return {}


@pytest.fixture
async def stream(kafka_address: str) -> AsyncIterator[KafkaStream]:
    opened = await open_kafka_stream(kafka_address, session_timeout_s=6.0)
    yield opened
    await opened.close()


async def _topic(stream: KafkaStream, partitions: int = 1) -> str:
    name = f"actlabel.items.{uuid4().hex}"
    await stream.create_topics({name: TopicSettings(partitions=partitions)})
    return name


async def _values(stream: KafkaStream, topic: str, number: int = 0) -> list[bytes]:
    partition = Partition(topic, number)
    end = (await stream.end_offsets(topic))[partition]
    return [record.value async for batch in stream.scan(partition, start=0, end=end) for record in batch]


async def test_a_producer_that_can_never_send_again_is_replaced(stream: KafkaStream):
    """After a lost sequence number Kafka answers OutOfOrderSequenceNumber to everything that the same producer sends."""
    topic = await _topic(stream)
    producer = stream._producer
    await producer.send(topic, key=b"k", value=b"0")
    wedged = producer._client
    wedged._txn_manager.increment_sequence_number(next(iter(wedged._txn_manager._sequence_numbers)), 5)
    with pytest.raises(RetryLater, match="OutOfOrderSequenceNumber"):
        await producer.send(topic, key=b"k", value=b"1")
    await producer.send(topic, key=b"k", value=b"2")
    assert producer._client is not wedged
    assert await _values(stream, topic) == [b"0", b"2"]


async def test_a_record_too_large_for_a_topic_of_somebody_else_is_put_aside_and_the_next_goes_on(stream: KafkaStream, kafka_address: str):
    """The broker refuses it, which also costs a sequence number; records for other topics are not lost by that."""
    topic, other = f"actlabel.items.{uuid4().hex}", await _topic(stream)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_address)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "10000"})])
    await admin.close()
    producer = stream.producer()
    await producer.send(topic, key=b"k", value=b"small")
    with pytest.raises(DeadLetter) as refused:
        await producer.send(topic, key=b"k", value=bytes(20_000))
    assert refused.value.reason == "too-large"
    await asyncio.gather(*(producer.send(name, key=b"k", value=b"next") for name in (topic, other)))
    assert await _values(stream, topic) == [b"small", b"next"]


async def test_records_larger_than_a_batch_and_a_fetch_are_carried(stream: KafkaStream):
    topic = await _topic(stream)
    sizes = [BATCH_BYTES * 5, 10, BATCH_BYTES + 1, BATCH_BYTES * 3]
    for size in sizes:
        await stream.producer().send(topic, key=b"k", value=bytes(size))
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Owner())
    seen: list[int] = []
    async with asyncio.timeout(_PATIENCE_S):
        while len(seen) < len(sizes):
            seen += [len(r.value) for r in await consumer.poll(consumer.assignment(), max_records=10, timeout_s=0.2)]
    assert seen == sizes


async def test_a_topic_deleted_under_a_producer_is_said_so_and_others_go_on(stream: KafkaStream):
    gone, other = await _topic(stream), await _topic(stream)
    producer = stream.producer()
    await asyncio.gather(*(producer.send(topic, key=b"k", value=b"0") for topic in (gone, other)))
    await stream.delete_topics([gone])
    lost = producer.send(gone, key=b"k", value=b"1")
    await producer.send(other, key=b"k", value=b"1")
    assert not lost.done()  # type: ignore[attr-defined]  # a future
    with pytest.raises(DeadLetter) as refused:
        await lost
    assert refused.value.reason == "unknown-topic"
    assert await _values(stream, other) == [b"0", b"1"]


class Adopter:
    """Takes up a partition that comes back where it left off, as the stage loop does."""

    def __init__(self) -> None:
        self.seen: dict[Partition, list[int]] = {}

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        return {partition: max(offset, len(self.seen.get(partition, []))) for partition, offset in partitions.items()}

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        return {partition: len(self.seen.get(partition, [])) for partition in partitions}

    @property
    def total(self) -> int:
        return sum(map(len, self.seen.values()))

    async def read(self, consumer: Consumer, until: int) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while self.total < until:
                for record in await consumer.poll(consumer.assignment(), max_records=200, timeout_s=0.2):
                    self.seen.setdefault(record.partition, []).append(int(record.value))


async def _persistent(producer: Producer, topic: str, number: int) -> None:
    while True:
        try:
            await producer.send(topic, key=b"%d" % (number % 7), value=b"%d" % number)
        except RetryLater:
            continue
        return


async def test_a_broker_that_dies_and_comes_back_costs_no_record_no_order_and_no_duplicate(killable_kafka: KafkaBroker):
    """SIGKILL while 3,000 records are on their way; the same consumer and producer go on by themselves."""
    stream = await open_kafka_stream(killable_kafka.address, session_timeout_s=6.0)
    topic = await _topic(stream, partitions=3)
    owner = Adopter()
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=owner)

    async def produce() -> None:
        for first in range(0, 3000, 100):
            await asyncio.gather(*(_persistent(stream.producer(), topic, number) for number in range(first, first + 100)))

    producing = asyncio.create_task(produce())
    await owner.read(consumer, 500)
    assert not producing.done()
    await asyncio.to_thread(killable_kafka.kill)
    await asyncio.to_thread(killable_kafka.start)
    await owner.read(consumer, 3000)
    await producing
    assert sorted(number for numbers in owner.seen.values() for number in numbers) == list(range(3000))
    for numbers in owner.seen.values():
        for key in range(7):
            mine = [number for number in numbers if number % 7 == key]
            assert mine == sorted(mine)
    expected = {partition: len(numbers) for partition, numbers in owner.seen.items()}
    async with asyncio.timeout(_PATIENCE_S):
        while await stream.committed(f"g.{topic}", topic) != expected:  # at once, or after a rebalance
            await consumer.commit(expected)
            await consumer.poll((), max_records=1, timeout_s=0.1)
    await stream.close()


async def test_every_wait_ends_when_the_broker_stays_away(killable_kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kafka_client, "_ANSWER_TIMEOUT_S", 2.0)
    stream = await open_kafka_stream(killable_kafka.address, session_timeout_s=6.0)
    topic = await _topic(stream)
    producer = KafkaProducer(stream._cluster, stream._topics, timeout_s=2.0)
    await producer.send(topic, key=b"k", value=b"0")
    await asyncio.to_thread(killable_kafka.kill)
    async with asyncio.timeout(_PATIENCE_S):
        with pytest.raises(RetryLater):
            await producer.send(topic, key=b"k", value=b"1")
        with pytest.raises(RetryLater):
            await producer.send(topic, key=b"k", value=b"2")
        with pytest.raises(RetryLater):
            await stream.end_offsets(topic)
    await asyncio.to_thread(killable_kafka.start)
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                await producer.send(topic, key=b"k", value=b"3")
            except RetryLater:
                continue
            break
        await producer.close()
    assert (await _values(stream, topic))[-1] == b"3"
    await stream.close()


async def test_closing_does_not_wait_for_a_broker_that_stays_away(killable_kafka: KafkaBroker):
    """Neither for records that a client holds, nor for those that wait for one; a process that is told to end does."""
    stream = await open_kafka_stream(killable_kafka.address, session_timeout_s=6.0)
    topic = await _topic(stream)
    connected, fresh = (KafkaProducer(stream._cluster, stream._topics, timeout_s=3600.0) for _ in range(2))
    await connected.send(topic, key=b"k", value=b"0")
    fresh._known[topic] = 1
    await asyncio.to_thread(killable_kafka.kill)
    sent = [asyncio.ensure_future(producer.send(topic, key=b"k", value=b"1")) for producer in (connected, fresh)]
    async with asyncio.timeout(60):
        await asyncio.gather(connected.close(), fresh.close())
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RetryLater, RetryLater]
    await stream.close()
