"""aiokafka's member of a consumer group, and how it is tuned."""

import asyncio
from typing import Any, Final

from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from actlabel.stream.kafka_client import BATCH_BYTES, KafkaCluster
from actlabel.stream.kafka_secrets import FreshClient

_HEARTBEAT_MS: Final = 1000
_REBALANCE_TIMEOUT_MS: Final = 60_000  # aiokafka would take the session timeout
_NEW_TOPICS_MS: Final = 2000
_FETCH_WAIT_MS: Final = 200


def group_client(cluster: KafkaCluster, group: str, *, session_timeout_s: float, max_poll_interval_s: float) -> Any:
    """Make one, not yet started, that reads every topic from its first record and commits nothing by itself."""
    # the assignor's memory is a class attribute: members of one process must not share the class
    assignor = type("StickyPartitionAssignor", (StickyPartitionAssignor,), {})
    consumer = cluster.consumer(
        client_id=group,
        group_id=group,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(assignor,),
        session_timeout_ms=int(session_timeout_s * 1000),
        heartbeat_interval_ms=min(_HEARTBEAT_MS, int(session_timeout_s * 1000 / 3)),
        rebalance_timeout_ms=_REBALANCE_TIMEOUT_MS,
        max_poll_interval_ms=int(max_poll_interval_s * 1000),
        metadata_max_age_ms=_NEW_TOPICS_MS,
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        max_partition_fetch_bytes=BATCH_BYTES,  # the read-ahead of a slow owner; a larger batch still comes whole
    )
    AllTopicsClient.take_over(consumer._client, cluster.address)  # noqa: SLF001 - see there
    return consumer


class AllTopicsClient(FreshClient):
    """Always asks for every topic, as a member with a pattern must.

    aiokafka does so while its list of topics is empty. But asked for offsets of a partition that it does not know, such as one of a topic
    that was just deleted, it writes that topic on the list, asks for nothing else from then on, and never hears of a new topic again.
    """

    def add_topic(self, topic: str) -> "asyncio.Future[bool]":  # noqa: ARG002 - aiokafka's signature
        """Ask for all topics anew."""
        asked: asyncio.Future[bool] = self.force_metadata_update()
        return asked
