"""Appending to Kafka: idempotent, in the order of ``send``, with an end to every wait.

aiokafka's idempotent producer never gives up on a record, and after some errors it can never send again. So every record has a deadline
here, and a producer that failed or fell silent is put away for a new one; the records it still had fail with ``RetryLater``.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import Any, Final

from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError, UnknownTopicOrPartitionError

from actlabel.core.errors import ActlabelError, DeadLetter, RetryLater
from actlabel.runtime.log import get_log
from actlabel.stream.kafka_batching import Batching, Pending
from actlabel.stream.kafka_client import KafkaCluster, refusal
from actlabel.stream.kafka_idempotence import abandon, idempotent_client, stop_soon
from actlabel.stream.kafka_topics import KafkaTopics
from actlabel.stream.partitioner import partition_of
from actlabel.stream.port import Headers, Partition
from actlabel.stream.record_size import check_size

_SWEEP_S: Final = 0.5
_SUSPICIOUS_S: Final = 3.0  # unacknowledged for so long: does the topic still exist?
_BACKOFF_S: Final = 0.5
_CLOSE_S: Final = 5.0
_log = get_log(__name__)
_Future = asyncio.Future[None]


class KafkaProducer:
    """See ``port.Producer``."""

    def __init__(self, cluster: KafkaCluster, topics: KafkaTopics, *, timeout_s: float = 30.0) -> None:
        """``timeout_s``: how long a record may stay unacknowledged. Connects on the first ``send``."""
        self._cluster = cluster
        self._topics = topics
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._client: Any = None
        self._context = Context()  # our tasks' log lines are about no record
        self._trouble = ""  # why a client cannot start
        self._starting: asyncio.Task[None] | None = None
        self._batching = Batching(self, self._background)
        self._known: dict[str, int] = {}  # topics that exist, as far as we know, with their partition counts
        self._unknown: dict[str, list[Pending]] = {}  # records for topics of which that is not known yet
        self._open: dict[Pending, None] = {}  # in the order of send
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    def send(self, topic: str, *, key: bytes, value: bytes, headers: Headers = ()) -> _Future:
        """See ``port.Producer``."""
        future: _Future = self._loop.create_future()
        try:
            check_size(topic, key=key, value=value, headers=headers)
        except DeadLetter as error:
            future.set_exception(error)
            return future
        pending = Pending(topic, key, value, headers, self._loop.time(), future)
        self._open[pending] = None
        if (partitions := self._known.get(topic)) is not None and topic not in self._unknown:
            self._batching.add(Partition(topic, partition_of(key, partitions)), pending)
        else:
            self._look_for(topic, pending)
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep(), name="kafka producer deadlines", context=self._context)
        return future

    async def flush(self) -> None:
        """See ``port.Producer``."""
        if waiting := [pending.future for pending in self._open]:
            await asyncio.wait(waiting)

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work, name="kafka producer", context=self._context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look_for(self, topic: str, pending: Pending) -> None:
        if (queue := self._unknown.get(topic)) is not None:
            queue.append(pending)
        else:
            self._unknown[topic] = [pending]
            self._background(self._find(topic))

    async def _find(self, topic: str) -> None:
        """Find out how many partitions a topic has, and let its records go on; a topic that hangs holds up no other."""
        try:
            await self._check_exists(topic)
        except ActlabelError as error:
            for pending in self._unknown.pop(topic):
                self._fail(pending, error)
        else:
            for pending in self._unknown.pop(topic):
                self._batching.add(Partition(topic, partition_of(pending.key, self._known[topic])), pending)

    async def _check_exists(self, topic: str) -> None:
        deadline = self._loop.time() + _SUSPICIOUS_S
        while topic not in self._known:
            self._known = dict(await self._topics.partitions())
            if topic not in self._known:
                if self._loop.time() > deadline:
                    raise _unknown(topic)
                await asyncio.sleep(_BACKOFF_S)

    def answered(self, batch: Sequence[Pending], client: Any, sent: "asyncio.Future[object]") -> None:
        """See ``Outcome``."""
        if sent.cancelled():
            self.failed(batch, RetryLater("the Kafka producer was closed"))
        elif (error := sent.exception()) is not None:
            self._on_error(batch, client, error)
        else:
            for pending in batch:
                self._open.pop(pending, None)
                if not pending.future.done():
                    pending.future.set_result(None)

    def refused(self, batch: Sequence[Pending], client: Any, error: Exception) -> bool:
        """See ``Outcome``."""
        if client is not self._client:
            return True  # it was put away meanwhile, and the next one gets the records
        self._on_error(batch, client, error)
        return False

    def _on_error(self, batch: Sequence[Pending], client: Any, error: BaseException) -> None:
        topic = batch[0].topic
        if isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError)):
            for pending in batch:
                self._fail(pending, DeadLetter("too-large", f"{len(pending.value)} bytes are more than {topic} takes"))
        elif isinstance(error, UnknownTopicOrPartitionError):
            self.failed(batch, _unknown(topic))
        else:
            self.failed(batch, refusal(error) or RetryLater(f"Kafka did not take a record for {topic} ({error!r})"))
        # records that failed have used up sequence numbers: without a new producer id every later one could be out of order
        if topic in self._known:
            self._replace(client)

    def failed(self, batch: Sequence[Pending], error: ActlabelError) -> None:
        """See ``Outcome``."""
        for pending in batch:
            self._fail(pending, error)

    def _fail(self, pending: Pending, error: ActlabelError) -> None:
        self._open.pop(pending, None)
        if not pending.future.done():
            pending.future.set_exception(error)

    async def client(self) -> Any:
        """See ``Outcome``."""
        while self._client is None:
            if self._starting is None:
                self._starting = asyncio.create_task(self._start(), name="kafka producer start", context=self._context)
            starting = self._starting
            await asyncio.wait([starting])
            if self._client is None and self._starting is starting:  # it ended without one: waiting again would spin for ever
                raise RetryLater("the Kafka producer was closed before it could start")
        return self._client

    async def _start(self) -> None:
        while self._client is None:
            client = idempotent_client(self._cluster)
            try:
                await client.start()
            except (KafkaError, OSError) as error:
                await client.stop()
                await self._tell(error)
                await asyncio.sleep(_BACKOFF_S)
            except BaseException:
                await client.stop()
                raise
            else:
                self._client, self._trouble = client, ""
        self._starting = None

    async def _tell(self, error: Exception) -> None:
        """Note why no client can start; where Kafka's rules are in the way nobody needs to wait for it."""
        if (refused := refusal(error)) is not None:
            for pending in list(self._open):
                self._fail(pending, refused)
        why = str(refused or await self._cluster.why_no_connection() or repr(error))
        if why != self._trouble:
            _log.warning("Kafka producer cannot start yet", why=why)
        self._trouble = why

    def _replace(self, client: Any) -> None:
        """Put a producer away; the next record starts a new one."""
        if client is None or client is not self._client:
            return
        self._client = None
        _log.warning("Kafka producer is replaced")
        self._background(abandon(client))

    async def _sweep(self) -> None:
        """End the wait of records that Kafka does not acknowledge."""
        while self._open:
            await asyncio.sleep(_SWEEP_S)
            now = self._loop.time()
            late = [pending for pending in self._open if now - pending.since > _SUSPICIOUS_S]
            if late:
                await self._fail_deleted(late)
            for pending in late:
                if now - pending.since > self._timeout_s and not pending.future.done():
                    what = f"Kafka did not acknowledge a record for {pending.topic} within {self._timeout_s:.0f} s"
                    self._fail(pending, RetryLater(f"{what}: {self._trouble}" if self._trouble else what))
                    self._replace(self._client)
        self._sweeping = None

    async def _fail_deleted(self, late: list[Pending]) -> None:
        try:
            async with asyncio.timeout(_SUSPICIOUS_S):
                self._known = dict(await self._topics.partitions())
        except (ActlabelError, TimeoutError):
            return
        for pending in late:
            if pending.topic not in self._known:
                self._fail(pending, _unknown(pending.topic))

    async def close(self) -> None:
        """Wait a few seconds for what was handed over, and disconnect; whoever still waits for the rest gets ``RetryLater``.

        Longer would be in vain: its record has not been marked, so that it is read again.
        """
        if waiting := [pending.future for pending in self._open]:
            await asyncio.wait(waiting, timeout=min(self._timeout_s, _CLOSE_S))
        self.failed(list(self._open), RetryLater("the Kafka producer was closed"))
        for task in (self._sweeping, self._starting):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if self._client is not None:
            await stop_soon(self._client)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)


def _unknown(topic: str) -> DeadLetter:
    return DeadLetter("unknown-topic", f"topic {topic} does not exist")
