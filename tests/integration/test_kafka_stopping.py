"""A member that leaves while the broker is away leaves; nobody else's cancellation comes out of it."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from uuid import uuid4

import uvloop

from actlabel.core.errors import RetryLater
from actlabel.stream.kafka_consumer import KafkaConsumer
from actlabel.stream.kafka_stream import open_kafka_stream
from actlabel.stream.port import Partition, TopicSettings
from tests.services.kafka_broker import KafkaBroker
from tests.services.secured_kafka import SecuredKafka


class Owner:
    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        return partitions

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        return {}


async def test_leaving_while_the_broker_is_away_raises_nothing(killable_kafka: KafkaBroker):
    stream = await open_kafka_stream(killable_kafka.address, session_timeout_s=6.0)
    topic = f"actlabel.items.{uuid4().hex}"
    await stream.create_topics({topic: TopicSettings(partitions=6)})
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Owner())
    async with asyncio.timeout(60):
        while len(consumer.assignment()) < 6:
            await consumer.poll((), max_records=1, timeout_s=0.1)
    assert isinstance(consumer, KafkaConsumer)
    fetches = consumer._client._fetcher
    fetches._retry_backoff = 60.0  # a tenth of a second can pass unseen on a busy machine
    await asyncio.to_thread(killable_kafka.kill)
    async with asyncio.timeout(60):
        while not any(_waits_after_an_error(task) for task in fetches._pending_tasks):
            with suppress(RetryLater):  # where it takes long: there is no broker, it says
                await consumer.poll(consumer.assignment(), max_records=1, timeout_s=0.01)
    await stream.close_consumer(consumer)
    assert not consumer._client._client._conns, "connections are closed too"


def _waits_after_an_error(task: "asyncio.Task[object]") -> bool:
    """Whether a fetch of aiokafka sleeps before the next attempt, which is when its cancellation comes out of ``stop``."""
    frames = task.get_stack(limit=1)
    return not task.done() and bool(frames) and frames[0].f_code.co_name == "_proc_fetch_request" and "err" in frames[0].f_locals


def test_a_connection_that_is_lost_while_metadata_is_asked_for_is_an_outage(kafka_address: str):
    """On uvloop: the write to it raises no ``OSError``, and the task that asks, and a process that stopped just then, ended with it."""

    async def lose_connections() -> None:
        stream = await open_kafka_stream(kafka_address, session_timeout_s=6.0)
        topic = f"actlabel.items.{uuid4().hex}"
        await stream.create_topics({topic: TopicSettings(partitions=1)})
        consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Owner())
        async with asyncio.timeout(60):
            while not consumer.assignment():
                await consumer.poll((), max_records=1, timeout_s=0.1)
            client = consumer._client._client
            for connection in client._conns.values():
                connection._writer.write = _gone  # between the loss and the moment when aiokafka hears of it
            assert not await client._metadata_update(client.cluster, [topic]), "there was nobody to ask"
            while not await client.force_metadata_update():  # noqa: ASYNC110 - a new connection
                await asyncio.sleep(0.1)
        assert not client._sync_task.done()
        await stream.close_consumer(consumer)
        await stream.close()

    uvloop.run(lose_connections())


def _gone(_: bytes) -> None:
    """As ``test_lost_connection.py`` shows of uvloop."""
    raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


def test_a_tls_connection_ends_without_the_brokers_goodbye(secured_kafka: SecuredKafka):
    """It says none. On uvloop, which our processes run on, every client then took half a minute to close, about every second time."""

    async def read_and_close() -> None:
        stream = await open_kafka_stream(secured_kafka.cert(), session_timeout_s=6.0)
        topic = f"actlabel.items.{uuid4().hex}"
        await stream.create_topics({topic: TopicSettings(partitions=1)})
        await stream.producer().send(topic, key=b"k", value=b"v")
        async with asyncio.timeout(20):  # one goodbye alone takes longer
            for _ in range(8):
                assert [record.value async for records in stream.scan(Partition(topic, 0), start=0, end=1) for record in records] == [b"v"]
            await stream.close()

    uvloop.run(read_and_close())
