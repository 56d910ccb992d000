"""The traps of Kafka consumers that a contract cannot see from outside, each on the real broker."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from actlabel.stream.kafka_consumer import KafkaConsumer
from actlabel.stream.kafka_stream import KafkaStream, open_kafka_stream
from actlabel.stream.port import Partition, TopicSettings

_PATIENCE_S = 60.0
_UNTIL_KILLED = """
import asyncio, sys
from actlabel.stream.kafka_stream import open_kafka_stream

class Owner:
    def assigned(self, partitions, /):
        print(len(partitions), flush=True)
        return partitions
    def revoked(self, partitions, /):
        return {}

async def main(servers, group, prefix):
    stream = await open_kafka_stream(servers, session_timeout_s=3.0)
    consumer = await stream.consumer(group, topic_prefix=prefix, rebalance=Owner())
    while True:
        await consumer.poll(consumer.assignment(), max_records=10, timeout_s=0.2)

asyncio.run(main(*sys.argv[1:]))
"""


class Owner:
    """Says that it has done everything up to ``last``, and reads from ``starts``."""

    def __init__(self, *, starts: Mapping[Partition, int] | None = None, last: Mapping[Partition, int] | None = None) -> None:
        self.starts = starts or {}
        self.last = last or {}
        self.events: list[str] = []

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        self.events.append("assigned")
        return {partition: self.starts.get(partition, offset) for partition, offset in partitions.items()}

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        self.events.append("revoked")
        return {p: self.last[p] for p in partitions if p in self.last}


@pytest.fixture
async def stream(kafka_address: str) -> AsyncIterator[KafkaStream]:
    opened = await open_kafka_stream(kafka_address, session_timeout_s=3.0)
    yield opened
    await opened.close()


@pytest.fixture
async def topic(stream: KafkaStream) -> str:
    """One partition with 20 records."""
    name = f"actlabel.items.{uuid4().hex}"
    await stream.create_topics({name: TopicSettings(partitions=1)})
    await asyncio.gather(*(stream.producer().send(name, key=b"k", value=b"%d" % i) for i in range(20)))
    return name


async def _polled(consumer: Any, until: Callable[[], bool]) -> list[int]:
    offsets: list[int] = []
    async with asyncio.timeout(_PATIENCE_S):
        while not until():
            offsets += [r.offset for r in await consumer.poll(consumer.assignment(), max_records=100, timeout_s=0.1)]
    return offsets


async def test_nothing_is_delivered_before_the_owner_said_where_to_read(stream: KafkaStream, topic: str, monkeypatch: pytest.MonkeyPatch):
    """aiokafka hands out records of an assignment while its callback still waits: here it waits until we let it."""
    ask, let_go = stream._topics.committed, asyncio.Event()

    async def slowly(group: str, partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
        await let_go.wait()
        return await ask(group, partitions)

    monkeypatch.setattr(stream._topics, "committed", slowly)
    partition = Partition(topic, 0)
    owner = Owner(starts={partition: 15})
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=owner)
    assert isinstance(consumer, KafkaConsumer)
    async with asyncio.timeout(_PATIENCE_S):
        while not consumer._client.assignment():  # as soon as aiokafka would deliver
            assert not await consumer.poll([partition], max_records=100, timeout_s=0.1)
        for _ in range(10):
            assert not await consumer.poll([partition], max_records=100, timeout_s=0.1)
    assert owner.events == []
    assert consumer.assignment() == frozenset()
    let_go.set()
    seen: list[int] = []
    async with asyncio.timeout(_PATIENCE_S):
        while len(seen) < 5:
            seen += [r.offset for r in await consumer.poll([partition], max_records=100, timeout_s=0.1)]
    assert seen == [15, 16, 17, 18, 19]


@pytest.mark.parametrize("polls", [True, False], ids=["polled meanwhile", "not polled meanwhile"])
async def test_what_was_fetched_across_a_revocation_is_read_again_from_where_the_owner_says(stream: KafkaStream, topic: str, polls: bool):
    """A fetch that begins before a rebalance and ends after it brings records of either side: none may be lost, none come twice."""
    partition = Partition(topic, 0)
    owner = Owner(starts={partition: 3})
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=owner)
    assert isinstance(consumer, KafkaConsumer)
    await _polled(consumer, lambda: bool(consumer.assignment()))
    for _ in range(3):
        got: list[int] = []
        async with asyncio.timeout(_PATIENCE_S):
            while len(got) < 17:
                got += [record.offset for record in await consumer.poll([partition], max_records=2, timeout_s=0.2)]
        assert got == list(range(3, 20))
        waiting = asyncio.create_task(consumer.poll([partition], max_records=2, timeout_s=_PATIENCE_S))
        await asyncio.sleep(0)  # it has asked Kafka, and Kafka has nothing
        assigned = owner.events.count("assigned")
        consumer._client._coordinator.request_rejoin()
        async with asyncio.timeout(_PATIENCE_S):
            assert not await waiting
            while owner.events.count("assigned") == assigned:
                await asyncio.sleep(0.02)
                assert not polls or not await consumer.poll([partition], max_records=2, timeout_s=0.05)


async def test_what_came_between_an_assignment_and_the_answer_of_the_owner_is_not_delivered(
    stream: KafkaStream, topic: str, monkeypatch: pytest.MonkeyPatch
):
    """A fetch that began before a rebalance is fed from the committed offset, 0, before the owner has said 3."""
    partition = Partition(topic, 0)
    owner = Owner(starts={partition: 3})
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=owner)
    assert isinstance(consumer, KafkaConsumer)
    await _polled(consumer, lambda: bool(consumer.assignment()))
    async with asyncio.timeout(_PATIENCE_S):
        first: list[int] = []
        while len(first) < 17:
            first += [record.offset for record in await consumer.poll([partition], max_records=100, timeout_s=0.1)]
        ask, let_go = stream._topics.committed, asyncio.Event()

        async def slowly(group: str, partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
            await let_go.wait()
            return await ask(group, partitions)

        monkeypatch.setattr(stream._topics, "committed", slowly)
        waiting = asyncio.create_task(consumer.poll([partition], max_records=2, timeout_s=_PATIENCE_S))
        await asyncio.sleep(0)
        consumer._client._coordinator.request_rejoin()
        assert not await waiting
        assert consumer._fetching is not None
        assert await consumer._fetching, "the old fetch got records of the new assignment"
        let_go.set()
        while not consumer.assignment():  # noqa: ASYNC110 - the adoption behind the port
            await asyncio.sleep(0.02)
        got: list[int] = []
        while len(got) < 17:
            got += [record.offset for record in await consumer.poll([partition], max_records=100, timeout_s=0.1)]
    assert got == list(range(3, 20))


async def test_a_member_that_polls_for_nothing_stays_and_one_that_does_not_poll_leaves(stream: KafkaStream, topic: str):
    def member(owner: Owner) -> KafkaConsumer:
        return KafkaConsumer(
            stream._cluster,
            f"g.{topic}",
            topic_prefix=topic,
            rebalance=owner,
            topics=stream._topics,
            session_timeout_s=3.0,
            max_poll_interval_s=1.0,
        )

    loop = asyncio.get_running_loop()
    owner = Owner()
    consumer = member(owner)
    await consumer.start()
    await _polled(consumer, lambda: bool(consumer.assignment()))
    end = loop.time() + 3.0  # three times the interval
    while loop.time() < end:
        await consumer.poll((), max_records=1, timeout_s=0.2)
    await consumer.commit({Partition(topic, 0): 7})
    assert owner.events == ["assigned"]
    assert not any(consumer._buffers.values()), "asking for no partition reads as asking for all"
    assert await stream.committed(f"g.{topic}", topic) == {Partition(topic, 0): 7}
    async with asyncio.timeout(_PATIENCE_S):  # the other half: without a poll it leaves, so the first half proves something
        while "revoked" not in owner.events:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await consumer.close()


async def test_a_commit_that_hangs_gives_way_to_the_last_commit_of_a_revocation(
    stream: KafkaStream, topic: str, monkeypatch: pytest.MonkeyPatch
):
    partition = Partition(topic, 0)
    owner = Owner(last={partition: 9})
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=owner)
    assert isinstance(consumer, KafkaConsumer)
    await _polled(consumer, lambda: bool(consumer.assignment()))
    commit, hangs = consumer._client.commit, asyncio.Event()

    async def hang_once(offsets: Any) -> None:
        if hangs.is_set():
            await commit(offsets)
            return
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(consumer._client, "commit", hang_once)
    running = asyncio.create_task(consumer.commit({partition: 4}))
    await hangs.wait()
    consumer._client._coordinator.request_rejoin()
    async with asyncio.timeout(_PATIENCE_S):
        await running  # neither an error nor for ever
    await _polled(consumer, lambda: owner.events == ["assigned", "revoked", "assigned"])
    assert await stream.committed(f"g.{topic}", topic) == {partition: 9}


async def test_a_killed_member_is_replaced_after_its_session(stream: KafkaStream, topic: str, kafka_address: str):
    command = [sys.executable, "-c", _UNTIL_KILLED, kafka_address, f"g.{topic}", topic]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"1\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Owner())
    seen: list[int] = []
    async with asyncio.timeout(_PATIENCE_S):
        while len(seen) < 20:
            seen += [r.offset for r in await consumer.poll(consumer.assignment(), max_records=100, timeout_s=0.1)]
    assert seen == list(range(20))


async def test_a_position_that_is_no_longer_in_the_log_moves_to_its_start_and_not_to_its_end(
    stream: KafkaStream, topic: str, kafka_address: str
):
    partition = Partition(topic, 0)
    await stream.commit_start(f"g.{topic}", topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_address)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=12)})
    await admin.close()
    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Owner())
    seen: list[int] = []
    async with asyncio.timeout(_PATIENCE_S):
        while len(seen) < 8:
            seen += [r.offset for r in await consumer.poll([partition], max_records=100, timeout_s=0.1)]
    assert seen == list(range(12, 20))
    scanned = [record.offset async for batch in stream.scan(partition, start=0, end=20) for record in batch]
    assert scanned == list(range(12, 20))


async def test_an_owner_that_fails_is_heard_in_poll(stream: KafkaStream, topic: str):
    class Broken(Owner):
        def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
            raise ZeroDivisionError("a defect")

    consumer = await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Broken())
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await _polled(consumer, lambda: False)


async def test_every_member_has_a_sticky_assignor_class_of_its_own(stream: KafkaStream, topic: str):
    """Its memory is a class attribute: members of one process that shared it would not be sticky."""
    members = [await stream.consumer(f"g.{topic}", topic_prefix=topic, rebalance=Owner()) for _ in range(2)]
    strategies = [member._client._partition_assignment_strategy for member in members]  # type: ignore[attr-defined]
    assert strategies[0] != strategies[1]
    assert {assignor.name for strategy in strategies for assignor in strategy} == {"sticky"}
