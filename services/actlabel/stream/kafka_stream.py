"""The stream on Apache Kafka. See ``port.Stream``."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError

from actlabel.core.errors import NotUsableYet
from actlabel.stream.kafka_address import parse_kafka_address
from actlabel.stream.kafka_client import KafkaCluster, named, refusal
from actlabel.stream.kafka_consumer import KafkaConsumer
from actlabel.stream.kafka_groups import KafkaGroups
from actlabel.stream.kafka_producer import KafkaProducer
from actlabel.stream.kafka_scan import scan_partition
from actlabel.stream.kafka_stopping import stop_consumer
from actlabel.stream.kafka_topics import KafkaTopics
from actlabel.stream.port import Consumer, Earlier, Handover, Partition, Producer, Rebalance, Record, TopicSettings

_CONNECT_TIMEOUT_S: Final = 8.0


async def open_kafka_stream(address: str, *, session_timeout_s: float, where: str = "ACTLABEL_STREAM") -> "KafkaStream":
    """Connect to an address (see ``kafka_address``) or a bare ``host:port[,host:port]``; ``where`` it was given.

    Raises ``NotUsableYet``: no broker is there, it does not let us in, or a secret file cannot be used. Another ``UserError``: the address
    is none.
    """
    cluster = KafkaCluster(parse_kafka_address(address, where=where))
    if (why := await cluster.why_no_connection(_CONNECT_TIMEOUT_S)) is not None:
        raise NotUsableYet(f"{where}: {why}")
    topics = KafkaTopics(cluster)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await topics.start()
    except (KafkaError, OSError, TimeoutError) as error:
        await topics.close()
        why = str(refusal(error) or f"what listens at {cluster.address.servers} does not answer as Kafka does ({error!r}); see its log")
        raise NotUsableYet(f"{where}: {why}") from error
    return KafkaStream(cluster, topics, session_timeout_s=session_timeout_s)


class KafkaStream:
    """See ``port.Stream``."""

    def __init__(self, cluster: KafkaCluster, topics: KafkaTopics, *, session_timeout_s: float) -> None:
        """``topics`` is connected."""
        self._cluster = cluster
        self._topics = topics
        self._session_timeout_s = session_timeout_s
        self._producer = KafkaProducer(cluster, topics)
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
        ends = await self._cluster.answered(lambda: client.end_offsets([named(p) for p in partitions]))
        return {p: ends[named(p)] for p in partitions}

    async def _partitions(self, topic: str) -> Sequence[Partition]:
        return [Partition(topic, number) for number in range((await self._topics.partitions()).get(topic, 0))]

    async def _offset_client(self) -> Any:
        async with self._offsets_turn:
            if self._offsets is None:
                client = self._cluster.consumer(client_id="actlabel-offsets")
                try:
                    await self._cluster.answered(client.start)
                except BaseException:
                    await stop_consumer(client)
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
        return scan_partition(self._cluster, partition, start=start, end=end)

    @property
    def groups(self) -> KafkaGroups:
        """Who reads what, and offsets that move from one group to another."""
        return KafkaGroups(self._cluster, self._topics)

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
        earlier: Earlier | None = None,
    ) -> Consumer:
        """See ``port.Stream``."""
        consumer = KafkaConsumer(
            self._cluster,
            group,
            topic_prefix=topic_prefix,
            rebalance=rebalance,
            handover=handover,
            earlier=earlier,
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
            await stop_consumer(self._offsets)
        await self._topics.close()
