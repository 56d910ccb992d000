"""The stream on Apache Kafka. See ``port.Stream``."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from actlabel.core.errors import UserError
from actlabel.stream.kafka_client import REQUEST_TIMEOUT_MS, answered, named
from actlabel.stream.kafka_consumer import KafkaConsumer
from actlabel.stream.kafka_producer import KafkaProducer
from actlabel.stream.kafka_scan import scan_partition
from actlabel.stream.kafka_topics import KafkaTopics
from actlabel.stream.port import Consumer, Handover, Partition, Producer, Rebalance, Record, TopicSettings

_CONNECT_TIMEOUT_S: Final = 8.0


async def open_kafka_stream(servers: str, *, session_timeout_s: float) -> "KafkaStream":
    """Connect to ``host:port[,host:port]``. Raises ``UserError`` when no broker is there."""
    await _reach(servers)
    topics = KafkaTopics(servers)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await topics.start()
    except (KafkaError, OSError, TimeoutError) as error:
        await topics.close()
        raise UserError(
            f"ACTLABEL_STREAM: what listens at {servers} does not answer as Kafka does ({type(error).__name__}); see its log"
        ) from error
    return KafkaStream(servers, topics, session_timeout_s=session_timeout_s)


async def _reach(servers: str) -> None:
    """Knock at every address before the client does, which would fill the log with its attempts."""
    why = "no address"
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"ACTLABEL_STREAM: {server!r} is not host:port; write kafka://host:port[,host:port]")
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S / (servers.count(",") + 1)):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError) as error:
            why = str(error) or "no answer"
            continue
        writer.close()
        return
    raise UserError(f"ACTLABEL_STREAM: no Kafka broker at {servers} ({why}); start it, or correct the address")


class KafkaStream:
    """See ``port.Stream``."""

    def __init__(self, servers: str, topics: KafkaTopics, *, session_timeout_s: float) -> None:
        """``topics`` is connected."""
        self._servers = servers
        self._topics = topics
        self._session_timeout_s = session_timeout_s
        self._producer = KafkaProducer(servers, topics)
        self._consumers: list[KafkaConsumer] = []
        self._offsets: Any = None
        self._offsets_turn = asyncio.Lock()

    async def create_topics(self, topics: Mapping[str, TopicSettings]) -> None:
        """See ``port.Stream``."""
        await self._topics.create(topics)

    async def delete_topics(self, names: Collection[str]) -> None:
        """See ``port.Stream``."""
        await self._topics.delete(names)

    async def topics(self, prefix: str) -> Mapping[str, int]:
        """See ``port.Stream``."""
        return {name: count for name, count in (await self._topics.partitions()).items() if name.startswith(prefix)}

    async def end_offsets(self, topic: str) -> Mapping[Partition, int]:
        """See ``port.Stream``."""
        partitions = await self._partitions(topic)
        if not partitions:
            return {}
        client = await self._offset_client()
        ends = await answered(lambda: client.end_offsets([named(p) for p in partitions]))
        return {p: ends[named(p)] for p in partitions}

    async def _partitions(self, topic: str) -> Sequence[Partition]:
        return [Partition(topic, number) for number in range((await self._topics.partitions()).get(topic, 0))]

    async def _offset_client(self) -> Any:
        async with self._offsets_turn:
            if self._offsets is None:
                client: Any = AIOKafkaConsumer(
                    bootstrap_servers=self._servers,
                    client_id="actlabel-offsets",
                    isolation_level="read_committed",
                    request_timeout_ms=REQUEST_TIMEOUT_MS,
                )
                try:
                    await answered(client.start)
                except BaseException:
                    await client.stop()
                    raise
                self._offsets = client
        return self._offsets

    async def committed(self, group: str, topic: str) -> Mapping[Partition, int | None]:
        """See ``port.Stream``."""
        return await self._topics.committed(group, await self._partitions(topic))

    async def commit_start(self, group: str, topic: str) -> None:
        """See ``port.Stream``."""
        await self._topics.commit_start(group, await self._partitions(topic))

    def scan(self, partition: Partition, *, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """See ``port.Stream``."""
        return scan_partition(self._servers, partition, start=start, end=end)

    def producer(self) -> Producer:
        """See ``port.Stream``."""
        return self._producer

    async def consumer(self, group: str, *, topic_prefix: str, rebalance: Rebalance, handover: Handover | None = None) -> Consumer:
        """See ``port.Stream``."""
        consumer = KafkaConsumer(
            self._servers,
            group,
            topic_prefix=topic_prefix,
            rebalance=rebalance,
            handover=handover,
            topics=self._topics,
            session_timeout_s=self._session_timeout_s,
        )
        await consumer.start()
        self._consumers.append(consumer)
        return consumer

    async def close_consumer(self, consumer: Consumer) -> None:
        """See ``port.Stream``."""
        mine = [member for member in self._consumers if member is consumer]
        self._consumers = [member for member in self._consumers if member is not consumer]
        for member in mine:
            await member.close()

    async def close(self) -> None:
        """See ``port.Stream``."""
        for consumer in list(self._consumers):
            await self.close_consumer(consumer)
        await self._producer.close()
        if self._offsets is not None:
            await self._offsets.stop()
        await self._topics.close()
