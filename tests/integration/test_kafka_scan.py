"""Scans lose nothing, whatever arrives when."""

import asyncio
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer

from actlabel.stream.kafka_stream import open_kafka_stream
from actlabel.stream.port import Partition, TopicSettings

RECORDS = 50


async def test_records_that_arrive_just_when_a_wait_is_over_are_yielded(kafka_address: str, monkeypatch: pytest.MonkeyPatch):
    """A chaos run lost 113 items to this: what the last look at the buffer found was taken out of it and thrown away."""
    stream = await open_kafka_stream(kafka_address, session_timeout_s=6.0)
    topic = f"actlabel.items.{uuid4().hex}"
    await stream.create_topics({topic: TopicSettings(partitions=1)})
    await asyncio.gather(*(stream.producer().send(topic, key=b"k", value=b"%d" % i) for i in range(RECORDS)))
    ask, late = AIOKafkaConsumer.getmany, []

    async def too_late(consumer: AIOKafkaConsumer, *partitions: object, timeout_ms: int = 0, max_records: int | None = None):
        if timeout_ms and not late:
            late.append(True)
            async with asyncio.timeout(30):
                while not consumer._fetcher._records:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            return {}
        return await ask(consumer, *partitions, timeout_ms=timeout_ms, max_records=max_records)

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", too_late)
    offsets = [record.offset async for batch in stream.scan(Partition(topic, 0), start=0, end=RECORDS) for record in batch]
    await stream.close()
    assert late
    assert offsets == list(range(RECORDS))
