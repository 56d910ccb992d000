"""Who reads what on Kafka, and offsets that move from one group to another. The protocol's admin requests, of which aiokafka lacks one."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka.consumer.group_coordinator import ConsumerProtocol
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from actlabel.core.errors import RetryLater
from actlabel.stream.kafka_client import KafkaCluster, refusal
from actlabel.stream.kafka_topics import KafkaTopics
from actlabel.stream.port import Partition

_SETTLED: Final = ("Stable", "Empty", "Dead")
_IN_USE: Final = 86  # GROUP_SUBSCRIBED_TO_TOPIC


class KafkaGroups:
    """Every method raises ``Refused`` when Kafka does not allow it, another ``RetryLater`` when it does not answer or not yet."""

    def __init__(self, cluster: KafkaCluster, topics: KafkaTopics) -> None:
        """``topics`` is connected."""
        self._cluster = cluster
        self._topics = topics

    async def readers(self, group: str, topic: str) -> Sequence[str]:
        """Name the members of a group that read a topic, by host and client. Raises ``RetryLater`` while the group settles."""
        for code, name, state, _, _, members, *_ in await self._described(group):
            if code:
                raise refusal(for_code(code)(name)) or RetryLater(f"Kafka does not describe the group {group} ({for_code(code).__name__})")
            if state not in _SETTLED:
                raise RetryLater(f"the group {group} is being shared anew")
            return [f"{client} at {host.strip('/')}" for _, client, host, metadata, _ in members if topic in _subscription(metadata)]
        return ()

    async def _described(self, group: str) -> Sequence[Any]:
        responses = await self._cluster.answered(lambda: self._topics.admin.describe_consumer_groups([group]))
        return [described for response in responses for described in response.groups]

    async def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Commit for a group. Where it has members Kafka refuses, and nothing happens."""
        await self._topics.commit(group, offsets)

    async def forget(self, group: str, partitions: Collection[Partition]) -> None:
        """Remove what a group has committed. Raises ``RetryLater`` while a member reads one of the topics."""
        response = await self._cluster.answered(lambda: self._delete_offsets(group, partitions))
        codes = [response.error_code, *(code for _, states in response.topics for _, code in states)]
        for code in codes:
            if code == _IN_USE:
                raise RetryLater(f"the group {group} still reads")
            if code:
                raise refusal(for_code(code)(group)) or RetryLater(
                    f"Kafka does not remove offsets of {group} ({for_code(code).__name__}); that takes the right Delete on the group"
                )

    async def _delete_offsets(self, group: str, partitions: Collection[Partition]) -> Any:
        numbers = {topic: [p.number for p in partitions if p.topic == topic] for topic in {p.topic for p in partitions}}
        node = await self._topics.admin.find_coordinator(group)
        return await self._topics.admin._send_request(_OffsetDelete(group, list(numbers.items())), node)  # noqa: SLF001 - it knows no such request


def _subscription(metadata: bytes) -> Collection[str]:
    return ConsumerProtocol.METADATA.decode(metadata).subscription if metadata else ()


class _OffsetDeleteResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY, API_VERSION = 47, 0
    SCHEMA = Schema(
        ("error_code", Int16),
        ("throttle_time_ms", Int32),
        ("topics", Array(("name", String("utf-8")), ("partitions", Array(("partition", Int32), ("error_code", Int16))))),
    )


class _OffsetDeleteRequest(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION = 47, 0
    RESPONSE_TYPE = _OffsetDeleteResponse
    SCHEMA = Schema(
        ("group_id", String("utf-8")),
        ("topics", Array(("name", String("utf-8")), ("partitions", Array(Int32)))),
    )


class _OffsetDelete(Request[_OffsetDeleteRequest]):  # type: ignore[misc]
    API_KEY = 47

    def __init__(self, group: str, topics: Sequence[tuple[str, Sequence[int]]]) -> None:
        self._group = group
        self._topics = topics

    def build(self, request_struct_class: type[_OffsetDeleteRequest]) -> _OffsetDeleteRequest:
        return request_struct_class(self._group, self._topics)
