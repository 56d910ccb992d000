"""How topics are made, how a frozen range is read in spite of holes, and what a person hears when no Kafka is there."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from actlabel.core.errors import UserError
from actlabel.runtime.settings import Settings
from actlabel.stream import kafka_stream
from actlabel.stream.kafka_stream import KafkaStream, open_kafka_stream
from actlabel.stream.kafka_topics import _configuration
from actlabel.stream.open import open_stream
from actlabel.stream.port import MAX_RECORD_BYTES, Partition, TopicSettings

_PATIENCE_S = 60.0


@pytest.fixture
async def stream(kafka_address: str) -> AsyncIterator[KafkaStream]:
    opened = await open_kafka_stream(kafka_address, session_timeout_s=6.0)
    yield opened
    await opened.close()


@pytest.fixture
async def admin(kafka_address: str) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_address)
    await client.start()
    yield client
    await client.close()


async def _offsets(stream: KafkaStream, topic: str) -> tuple[list[int], int]:
    partition = Partition(topic, 0)
    end = (await stream.end_offsets(topic))[partition]
    async with asyncio.timeout(_PATIENCE_S):
        return [record.offset async for batch in stream.scan(partition, start=0, end=end) for record in batch], end


@pytest.mark.parametrize(("compacted", "policy"), [(True, "compact"), (False, "delete")])
async def test_topics_keep_everything_until_they_are_deleted(stream: KafkaStream, admin: Any, compacted: bool, policy: str):
    topic = f"actlabel.merged.{uuid4().hex}"
    await stream.create_topics({topic: TopicSettings(partitions=2, compacted=compacted)})
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    found = {entry[0]: entry[1] for entry in response.resources[0][4]}
    assert (found["retention.ms"], found["retention.bytes"], found["cleanup.policy"]) == ("-1", "-1", policy)
    assert int(found["max.message.bytes"]) > MAX_RECORD_BYTES


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_two_replicas_must_have_a_record_where_three_can(replicas: int, in_sync: str | None):
    assert _configuration(TopicSettings(partitions=1), replicas).get("min.insync.replicas") == in_sync


async def test_a_scan_ends_where_the_last_offsets_hold_no_record(stream: KafkaStream, admin: Any, kafka_address: str):
    """Transaction markers and aborted records take up offsets that no reader ever sees, the very last one included."""
    topic = f"actlabel.merged.{uuid4().hex}"
    await stream.create_topics({topic: TopicSettings(partitions=1)})
    async with AIOKafkaProducer(bootstrap_servers=kafka_address, transactional_id=topic) as producer:
        for committed in (True, False):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, key=b"k", value=b"v")
            await (producer.commit_transaction() if committed else producer.abort_transaction())
    assert await _offsets(stream, topic) == ([0], 4)


async def test_a_scan_of_a_compacted_topic_ends_in_spite_of_holes(stream: KafkaStream, admin: Any, kafka_address: str):
    topic = f"actlabel.merged.{uuid4().hex}"
    fast = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "300"}
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=fast)])
    producer = stream.producer()
    await asyncio.gather(*(producer.send(topic, key=b"%d" % (i % 5), value=b"%d" % i) for i in range(500)))
    offsets: list[int] = []
    async with asyncio.timeout(_PATIENCE_S):
        while not 0 < len(offsets) < 250:  # until the cleaner has run
            await producer.send(topic, key=b"tick", value=b"")
            await asyncio.sleep(0.3)
            offsets, end = await _offsets(stream, topic)
    assert offsets[-1] == end - 1
    assert offsets == sorted(set(offsets))


async def test_a_scan_from_inside_a_hole_and_to_inside_a_hole(stream: KafkaStream, kafka_address: str):
    topic = f"actlabel.merged.{uuid4().hex}"
    await stream.create_topics({topic: TopicSettings(partitions=1)})
    async with AIOKafkaProducer(bootstrap_servers=kafka_address, transactional_id=topic) as producer:
        for _ in range(3):
            async with producer.transaction():
                await producer.send_and_wait(topic, key=b"k", value=b"v")
    partition = Partition(topic, 0)

    async def scanned(start: int, end: int) -> list[int]:
        async with asyncio.timeout(_PATIENCE_S):
            return [record.offset async for batch in stream.scan(partition, start=start, end=end) for record in batch]

    assert await scanned(1, 6) == [2, 4]
    assert await scanned(0, 4) == [0, 2]
    assert await scanned(3, 4) == []


async def test_a_broker_that_is_not_there_is_one_clear_line(free_port: int):
    with pytest.raises(UserError, match=f"no Kafka broker at 127.0.0.1:{free_port}.*start it, or correct the address"):
        await open_stream(Settings(stream=f"kafka://127.0.0.1:{free_port}"), runs_stages=True)


@pytest.mark.parametrize("address", ["kafka://localhost", "kafka://", "kafka:///x", "amqp://x:1", "sqlite:///"])
async def test_an_address_of_no_stream_is_one_clear_line(address: str):
    with pytest.raises(UserError, match=r"ACTLABEL_STREAM.*kafka://host:port"):
        await open_stream(Settings(stream=address), runs_stages=True)


async def test_what_listens_but_is_no_kafka_is_one_clear_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kafka_stream, "_CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(UserError, match="does not answer as Kafka does"):
            await open_stream(Settings(stream=f"kafka://127.0.0.1:{port}"), runs_stages=True)


async def test_the_second_of_two_addresses_is_enough(kafka_address: str, free_port: int):
    stream = await open_stream(Settings(stream=f"kafka://127.0.0.1:{free_port},{kafka_address}"), runs_stages=False)
    assert await stream.topics("actlabel.nothing") == {}
    await stream.close()
