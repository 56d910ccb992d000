"""Topics and committed offsets of Kafka, through its admin protocol."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from actlabel.core.errors import RetryLater, UserError
from actlabel.stream.kafka_client import MESSAGE_BYTES, KafkaCluster, named, refusal
from actlabel.stream.kafka_stopping import stop_consumer
from actlabel.stream.port import Partition, TopicSettings


class KafkaTopics:
    """Every method raises ``Refused`` when Kafka does not allow it, another ``RetryLater`` when it does not answer."""

    def __init__(self, cluster: KafkaCluster) -> None:
        """Connects in ``start``."""
        self._cluster = cluster
        self._admin = cluster.admin(client_id="actlabel-admin")

    @property
    def admin(self) -> Any:
        """aiokafka's own, for requests that are none of topics."""
        return self._admin

    async def start(self) -> None:
        """Connect."""
        await self._admin.start()

    async def close(self) -> None:
        """Disconnect."""
        await self._admin.close()

    async def partitions(self) -> Mapping[str, int]:
        """Return every topic with its partition count. (Asking for all topics, never by name: a name would create it on some clusters.)"""
        return {topic["topic"]: len(topic["partitions"]) for topic in await self._described()}

    async def _described(self) -> Sequence[Mapping[str, Any]]:
        topics = await self._cluster.answered(lambda: self._admin.describe_topics(None))
        return [topic for topic in topics if topic["error_code"] == 0]

    async def create(self, topics: Mapping[str, TopicSettings]) -> None:
        """Make those that are missing and wait until they can be used; raises ``UserError`` where one is not as wanted."""
        existing = await self.partitions()
        if missing := {name: settings for name, settings in topics.items() if name not in existing}:
            await self._create(missing)
            existing = await self._cluster.answered(lambda: self._with_leaders(missing))
        for name, settings in topics.items():
            if existing[name] != settings.partitions:
                raise UserError(f"topic {name} has {existing[name]} partitions and cannot get {settings.partitions}")

    async def _create(self, topics: Mapping[str, TopicSettings]) -> None:
        replicas = await self._default_replication()
        new = [
            NewTopic(name, settings.partitions, replicas, topic_configs=_configuration(settings, replicas))
            for name, settings in topics.items()
        ]
        response = await self._cluster.answered(lambda: self._admin.create_topics(new))
        for name, code, message, *_ in response.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise refusal(for_code(code)(name)) or UserError(
                    f"Kafka does not make the topic {name} ({for_code(code).__name__}: {message}); see the broker's settings"
                )

    async def _default_replication(self) -> int:
        """Ask a broker how many replicas a topic gets by itself."""
        broker = (await self._cluster.answered(self._admin.describe_cluster))["brokers"][0]["node_id"]
        wanted = ConfigResource(ConfigResourceType.BROKER, str(broker), configs={"default.replication.factor": None})
        responses = await self._cluster.answered(lambda: self._admin.describe_configs([wanted]))
        code, _, _, _, entries = responses[0].resources[0]
        if (refused := refusal(for_code(code)("DescribeConfigs"))) is not None:
            raise refused
        return int(entries[0][1]) if entries else 1

    async def _with_leaders(self, topics: Collection[str]) -> Mapping[str, int]:
        """Return all topics once every partition of ``topics`` has a leader; raises ``RetryLater`` until then."""
        described = {topic["topic"]: topic["partitions"] for topic in await self._described()}
        for name in topics:
            if name not in described or any(partition["leader"] < 0 for partition in described[name]):
                raise RetryLater(f"Kafka has not made the topic {name} yet")
        return {name: len(partitions) for name, partitions in described.items()}

    async def delete(self, names: Collection[str]) -> None:
        """Remove topics and wait until they are gone; Kafka removes the committed offsets with them."""
        if not (existing := set(names) & set(await self.partitions())):
            return
        response = await self._cluster.answered(lambda: self._admin.delete_topics(sorted(existing)))
        for name, code, *_ in response.topic_error_codes:
            if code not in (0, UnknownTopicOrPartitionError.errno):
                raise refusal(for_code(code)(name)) or UserError(
                    f"Kafka does not delete the topic {name} ({for_code(code).__name__}); see the broker's settings"
                )
        await self._cluster.answered(lambda: self._without(existing))

    async def _without(self, names: Collection[str]) -> None:
        if left := set(names) & set(await self.partitions()):
            raise RetryLater(f"Kafka has not deleted the topic {min(left)} yet")

    async def committed(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
        """Return what a group has committed, for each of the partitions."""
        return await self._cluster.answered(lambda: self._committed(group, partitions))

    async def _committed(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
        if not partitions:
            return {}
        found = await self._admin.list_consumer_group_offsets(group, partitions=[named(p) for p in partitions])
        # a coordinator that is starting answers with an empty list, which must not read as "nothing committed"
        if missing := [p for p in partitions if named(p) not in found]:
            raise RetryLater(f"Kafka did not say what {group} has committed in {missing[0].topic}")
        offsets = {p: found[named(p)].offset for p in partitions}
        return {p: offset if offset >= 0 else None for p, offset in offsets.items()}

    async def commit_start(self, group: str, partitions: Collection[Partition]) -> None:
        """Commit 0 where a group has nothing. A group with members commits its own starts, and Kafka refuses ours: both are fine."""
        committed = await self.committed(group, partitions)
        await self.commit(group, {p: 0 for p, offset in committed.items() if offset is None})

    async def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Commit for a group without members; where it has some, Kafka refuses and nothing happens."""
        if offsets:
            await self._cluster.answered(lambda: self._commit_outside(group, {named(p): offset for p, offset in offsets.items()}))

    async def _commit_outside(self, group: str, offsets: Mapping[Any, int]) -> None:
        consumer = self._cluster.consumer(group_id=group, client_id="actlabel-admin")
        consumer.assign(list(offsets))
        try:
            await consumer.start()
            await consumer.commit(offsets)
        except CommitFailedError:
            return
        finally:
            await stop_consumer(consumer)


def _configuration(settings: TopicSettings, replicas: int) -> Mapping[str, str]:
    """A backlog behind a rate limit may be older than any retention; losing one broker of three loses nothing."""
    return {
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "cleanup.policy": "compact" if settings.compacted else "delete",
        "max.message.bytes": str(MESSAGE_BYTES),
        **({"min.insync.replicas": "2"} if replicas >= 3 else {}),
    }
