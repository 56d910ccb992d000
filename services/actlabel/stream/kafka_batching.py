"""How records become batches on their way to Kafka.

aiokafka lets every partition linger by itself, so that a steady stream over a dozen partitions leaves in a dozen small requests. Here all
partitions leave together, a moment after the first of their records came and never closer together than a short pause: one request to a
broker carries what came meanwhile for all of its partitions (tests/bench/README.md).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from aiokafka.errors import KafkaError

from actlabel.core.errors import ActlabelError
from actlabel.stream.port import Headers, Partition

_PAUSE_S: Final = 0.08


@dataclass(slots=True, eq=False)
class Pending:
    """A record on its way."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    since: float  # loop time
    future: asyncio.Future[None]


class Outcome(Protocol):
    """What becomes of a batch."""

    async def client(self) -> Any:
        """Return the present client, once it runs. Raises ``RetryLater`` when there will be none."""

    def failed(self, batch: Sequence[Pending], error: ActlabelError, /) -> None:
        """There is nobody to hand these to."""

    def answered(self, batch: Sequence[Pending], client: Any, sent: "asyncio.Future[object]", /) -> None:
        """The batch was acknowledged, or not."""

    def refused(self, batch: Sequence[Pending], client: Any, error: Exception, /) -> bool:
        """The client did not even take the batch; say whether it is to be handed over again, to the next client."""


@dataclass(slots=True, eq=False)
class _Lane:
    partition: Partition
    waiting: deque[Pending] = field(default_factory=deque)
    busy: bool = False  # a batch is being handed over


class Batching:
    """Collects records by partition and hands them to the client. Order within a partition is kept."""

    def __init__(self, outcome: Outcome, background: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """``background``: runs a task and keeps it alive."""
        self._outcome = outcome
        self._background = background
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[Partition, _Lane] = {}
        self._ready: set[_Lane] = set()  # with records for the next departure
        self._departed_s = float("-inf")
        self._waits = False

    def add(self, partition: Partition, pending: Pending) -> None:
        """Let a record leave with the next departure."""
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane(partition)
        lane.waiting.append(pending)
        self._ready.add(lane)
        if not self._waits:
            self._waits = True
            self._loop.call_at(self._departed_s + _PAUSE_S, self._depart)

    def _depart(self) -> None:
        self._waits = False
        self._departed_s = self._loop.time()
        ready, self._ready = self._ready, set()
        for lane in ready:
            if not lane.busy:
                lane.busy = True
                self._background(self._hand_over(lane))

    async def _hand_over(self, lane: _Lane) -> None:
        """Hand over what waits; what comes while the client cannot take it yet goes into the next batch."""
        try:
            while lane.waiting and await self._one_batch(lane):
                pass
        finally:
            lane.busy = False
            if lane.waiting:
                self._again(lane)
            else:
                self._lanes.pop(lane.partition, None)

    def _again(self, lane: _Lane) -> None:
        self.add(lane.partition, lane.waiting.pop())

    async def _one_batch(self, lane: _Lane) -> bool:
        """Return whether there was more than fits into one."""
        try:
            client = await self._outcome.client()
        except ActlabelError as error:
            self._outcome.failed(list(lane.waiting), error)
            lane.waiting.clear()
            return False
        builder, batch = _filled(client.create_batch(), lane.waiting)
        if not batch:
            return bool(lane.waiting)
        try:
            sent = await client.send_batch(builder, lane.partition.topic, partition=lane.partition.number)
        except (KafkaError, OSError) as error:
            if self._outcome.refused(batch, client, error):
                lane.waiting.extendleft(reversed(batch))
            return True
        sent.add_done_callback(partial(self._outcome.answered, batch, client))
        return builder.closed() and bool(lane.waiting)


def _filled(builder: Any, waiting: deque[Pending]) -> tuple[Any, list[Pending]]:
    """Move records into a batch until it is full; those that were given up are left out."""
    batch: list[Pending] = []
    while waiting:
        pending = waiting[0]
        if not pending.future.done():
            if builder.append(timestamp=None, key=pending.key, value=pending.value, headers=list(pending.headers)) is None:
                return builder, batch
            batch.append(pending)
        waiting.popleft()
    return builder, batch
