"""Why a member of a group hears nothing: aiokafka tries again for ever and keeps the reason to itself."""

import asyncio
from typing import Final

from actlabel.core.errors import RetryLater
from actlabel.stream.kafka_client import KafkaCluster, Refused

_SILENCE_S: Final = 5.0  # after that somebody goes and looks
_SHOWN_S: Final = 5.0  # what was wrong is told for so long, unless something was heard


class Silence:
    """Notes signs of life of Kafka, knocks when there are none, and tells what is wrong."""

    def __init__(self, cluster: KafkaCluster) -> None:
        """Begin as if Kafka had just answered."""
        self._cluster = cluster
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._loop.time()
        self._trouble: RetryLater | None = None
        self._seen_s = 0.0
        self._knocking: asyncio.Task[None] | None = None

    def heard(self) -> None:
        """Kafka has answered this member."""
        self._heard_s = self._loop.time()
        self._trouble = None

    def refused(self, why: Refused) -> None:
        """Kafka has answered that it must not."""
        self._trouble, self._seen_s = why, self._loop.time()

    def check(self) -> None:
        """Raise ``RetryLater`` with what is wrong, if anything is; after a silence find out in the background."""
        now = self._loop.time()
        if self._knocking is None and now - max(self._heard_s, self._seen_s) > _SILENCE_S:
            self._knocking = asyncio.create_task(self._knock(), name="kafka knock")
        if self._trouble is not None and (self._knocking is not None or now - self._seen_s <= _SHOWN_S):
            raise self._trouble

    async def _knock(self) -> None:
        try:
            why = await self._cluster.why_no_connection()
            self._seen_s = self._loop.time()
            self._trouble = None if why is None else RetryLater(why)
        finally:
            self._knocking = None

    async def close(self) -> None:
        """End what runs."""
        if self._knocking is not None:
            self._knocking.cancel()
            await asyncio.wait([self._knocking])
