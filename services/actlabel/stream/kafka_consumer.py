"""A member of a Kafka consumer group.

aiokafka rebalances in the background and hands out records of a new assignment before its callbacks have finished. Three rules keep
that apart from what the owner sees: a partition can be read only while it has a buffer here; buffers are dropped in the first, synchronous
step of a revocation and made again in the step that told the owner and set the position; what a fetch brings that began before a
revocation and ended after it is thrown away, and asked for again from our own position.
"""

import asyncio
import re
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, GroupAuthorizationFailedError, IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition

from actlabel.core.errors import Fatal, RetryLater
from actlabel.runtime.log import get_log
from actlabel.stream.handover import handed_over
from actlabel.stream.kafka_client import KafkaCluster, as_record, named, refusal, translated_kafka_errors
from actlabel.stream.kafka_connection import has_lost_connection
from actlabel.stream.kafka_group_client import group_client
from actlabel.stream.kafka_silence import Silence
from actlabel.stream.kafka_stopping import stop_consumer
from actlabel.stream.kafka_topics import KafkaTopics
from actlabel.stream.kafka_unreadable import UNREADABLE, one_by_one, was_unreadable
from actlabel.stream.port import Earlier, Handover, Partition, Rebalance, Record

_LAST_COMMIT_S: Final = 5.0
_COMMIT_S: Final = 15.0
_BACKOFF_S: Final = 0.2
_NOWHERE: Final = TopicPartition("", 0)  # asking for it is a sign of life to the group and brings no records
_log = get_log(__name__)


class KafkaConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """See ``port.Consumer``."""

    def __init__(
        self,
        cluster: KafkaCluster,
        group: str,
        *,
        topic_prefix: str,
        rebalance: Rebalance,
        handover: Handover | None = None,
        earlier: Earlier | None = None,
        topics: KafkaTopics,
        session_timeout_s: float,
        max_poll_interval_s: float = 300.0,
    ) -> None:
        """``topics``: for committed offsets. ``session_timeout_s``: silence after which the group counts this member as dead.

        ``max_poll_interval_s``: time without a poll after which it leaves by itself.
        """
        self._group = group
        self._prefix = topic_prefix
        self._rebalance = rebalance
        self._handover = handover
        self._earlier = earlier
        self._left_out: frozenset[str] = frozenset()
        self._topics = topics
        self._cluster = cluster
        self._silence = Silence(cluster)
        self._client = group_client(cluster, group, session_timeout_s=session_timeout_s, max_poll_interval_s=max_poll_interval_s)
        self._buffers: dict[Partition, deque[Any]] = {}  # of the partitions that the owner knows it has
        self._positions: dict[Partition, int] = {}  # of the same: the offset after the last one that was ever in the buffer
        self._revocations = 0
        self._rebalancing = False
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._adopting: asyncio.Task[None] | None = None
        self._fetching: asyncio.Task[Any] | None = None
        self._careful = False  # a record cannot be read: find it
        self._answered_ms = 0  # when Kafka last answered a fetch
        self._fetched_at = 0  # the number of revocations when that fetch began
        self._committing: asyncio.Task[None] | None = None
        self._commit_turn = asyncio.Lock()
        self._turn = 0
        self._failure: Exception | None = None

    async def start(self) -> None:
        """Connect and begin to join. Raises ``RetryLater`` with the reason."""
        try:
            async with self._cluster.explained():
                await self._client.start()
        except BaseException:
            await stop_consumer(self._client)
            raise
        self._client.subscribe(pattern=_pattern(self._prefix, self._left_out), listener=self)

    def leave_out(self, topics: Collection[str]) -> None:
        """See ``port.Consumer``. aiokafka compares the pattern with the topics whenever it asks for them, which is every two seconds."""
        if (wanted := frozenset(topics)) != self._left_out:
            self._left_out = wanted
            self._client.subscribe(pattern=_pattern(self._prefix, wanted), listener=self)

    async def close(self) -> None:
        """Hand over and leave the group. Commits nothing."""
        self._buffers.clear()
        if self._adopting is not None:
            self._adopting.cancel()
        await handed_over(self._handover, group=self._group)
        await self._silence.close()
        try:
            await stop_consumer(self._client)
        except KafkaError as error:
            _log.warning("Kafka consumer did not leave cleanly", group=self._group, error=repr(error))
        if tasks := [task for task in (self._adopting, self._fetching, self._committing) if task is not None]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def assignment(self) -> frozenset[Partition]:
        """See ``port.Consumer``."""
        return frozenset(self._buffers)

    # ── rebalances ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_partitions_revoked(self, revoked: Collection[Any]) -> Any:  # noqa: ARG002 - all are: aiokafka's protocol is eager
        """Forget every partition before anything awaits, then commit for the last time."""
        self._revocations += 1
        self._careful = False
        self._rebalancing = True
        if self._adopting is not None:
            self._adopting.cancel()
        lost = frozenset(self._buffers)
        self._buffers.clear()
        last: Mapping[Partition, int] = {}
        if lost:
            try:
                last = self._rebalance.revoked(lost)
            except Exception as error:  # noqa: BLE001 - poll raises it
                self._failure = error
        self._tell_change()
        return self._let_go({p: offset for p, offset in last.items() if p in lost}, handover=self._handover if lost else None)

    async def _let_go(self, last: Mapping[Partition, int], *, handover: Handover | None) -> None:
        """Do what must be done before anybody else gets the partitions. aiokafka joins the group anew when this returns."""
        await asyncio.gather(self._commit_last(last), handed_over(handover, group=self._group))

    async def _commit_last(self, offsets: Mapping[Partition, int]) -> None:
        """Nothing older may arrive after this commit, and nothing of ours after the rebalance: Kafka checks only the generation."""
        if self._committing is not None and not self._committing.done():
            self._committing.cancel()
            await asyncio.wait([self._committing])
        if not offsets:
            return
        try:
            async with asyncio.timeout(_LAST_COMMIT_S):
                await self._client.commit({named(p): offset for p, offset in offsets.items()})
        except (KafkaError, OSError, TimeoutError) as error:
            _log.warning("Kafka did not take the last commit; its records come again", group=self._group, error=repr(error))

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        """Adopt the partitions in a task of its own: heartbeats begin only after this callback."""
        self._rebalancing = False
        self._silence.heard()
        self._tell_change()
        if assigned:
            partitions = [Partition(tp.topic, tp.partition) for tp in assigned]
            self._adopting = asyncio.create_task(self._adopt(partitions), name=f"{self._group} adopts partitions")

    async def _adopt(self, partitions: Sequence[Partition]) -> None:
        """Read where the group stands, then in one step without an await: tell the owner, set positions, let records flow."""
        try:
            committed = await self._where_the_group_stands(partitions)
            starts = self._rebalance.assigned(committed)
            for partition, offset in committed.items():
                self._positions[partition] = starts.get(partition, offset)
                self._client.seek(named(partition), self._positions[partition])
                self._buffers[partition] = deque()
        except Exception as error:  # noqa: BLE001 - poll raises it
            self._failure = error
        self._tell_change()

    async def _where_the_group_stands(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Return what is committed; where nothing is, commit where the earlier group stands, or the log's start: the lag is visible."""
        while True:
            try:
                with translated_kafka_errors():
                    committed = await self._topics.committed(self._group, partitions)
                    starts = await self._first_starts([p for p in partitions if committed[p] is None])
                    if starts:
                        await self._client.commit(starts)
            except (RetryLater, IllegalStateError) as error:  # until it works or the partitions are revoked again
                _log.warning("Kafka does not say yet where the group stands", group=self._group, error=str(error))
                await asyncio.sleep(_BACKOFF_S)
            else:
                return {p: starts[named(p)] if offset is None else offset for p, offset in committed.items()}

    async def _first_starts(self, new: Sequence[Partition]) -> Mapping[Any, int]:
        """Return where to begin partitions of which this group has committed nothing."""
        starts: dict[Any, int] = await self._client.beginning_offsets([named(p) for p in new]) if new else {}
        if self._earlier is None:
            return starts
        for topic in sorted({p.topic for p in new}):
            before = await self._topics.committed(self._earlier(topic), [p for p in new if p.topic == topic])
            starts |= {named(p): max(starts[named(p)], offset) for p, offset in before.items() if offset is not None}
        return starts

    def _tell_change(self) -> None:
        if not self._changed.done():
            self._changed.set_result(None)
        self._changed = asyncio.get_running_loop().create_future()

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def poll(self, wanted: Collection[Partition], *, max_records: int, timeout_s: float) -> Sequence[Record]:
        """See ``port.Consumer``."""
        if self._failure is not None:
            raise self._failure
        mine = [p for p in wanted if p in self._buffers]
        hungry = [p for p in mine if not self._buffers[p]]
        wait_s = timeout_s if len(hungry) == len(mine) else 0.0
        changed = self._changed
        fetching = self._fetch(hungry, wait_s if mine else 0.0)
        await asyncio.wait({changed, fetching} if fetching and mine else {changed}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        self._store()
        if self._failure is not None:
            raise self._failure
        if changed.done():
            return ()
        if not (taken := self._take(mine, max_records)):
            self._silence.check()
        return taken

    def _fetch(self, hungry: Sequence[Partition], wait_s: float) -> "asyncio.Task[Any] | None":
        """Ask Kafka for the partitions that have nothing buffered. A fetch that outlives its poll serves the next one."""
        if self._rebalancing:  # aiokafka would wait for its end, however long that takes; only what it cannot do by itself is heard
            self._listen()
        elif self._fetching is None:
            self._fetched_at = self._revocations
            asked = [named(p) for p in hungry] or [_NOWHERE]
            careful = self._careful and bool(hungry)
            fetch = one_by_one(self._client, asked) if careful else self._client.getmany(*asked, timeout_ms=int(wait_s * 1000))
            self._fetching = asyncio.create_task(fetch)
        return self._fetching

    def _store(self) -> None:
        if self._fetching is None or not self._fetching.done():
            return
        fetching, self._fetching = self._fetching, None
        if (error := fetching.exception()) is not None:
            self._on_fetch_error(error)
        else:
            for tp, records in fetching.result().items():
                self._put(Partition(tp.topic, tp.partition), records)
            self._careful = self._careful and not was_unreadable(fetching.result())
            if fetching.result() or self._answered():
                self._silence.heard()

    def _answered(self) -> bool:
        """Say whether Kafka has answered a fetch lately, be it with nothing."""
        last_ms = max((self._client.last_poll_timestamp(tp) or 0 for tp in self._client.assignment()), default=0)
        news = last_ms > self._answered_ms
        self._answered_ms = last_ms
        return news

    def _listen(self) -> None:
        """Hear what keeps the client from joining; it waits until somebody has."""
        try:
            self._client._coordinator.check_errors()  # noqa: SLF001 - public is only getmany, which waits for the rebalance
        except KafkaError as error:
            self._on_fetch_error(error)

    def _put(self, partition: Partition, records: Sequence[Any]) -> None:
        if partition not in self._buffers:
            return
        if self._fetched_at == self._revocations:
            self._buffers[partition].extend(records)
            self._positions[partition] = records[-1].offset + 1
        else:  # whether they came before or after the position was set, nobody can say
            self._client.seek(named(partition), self._positions[partition])

    def _on_fetch_error(self, error: BaseException) -> None:
        if (refused := refusal(error)) is not None:
            self._silence.refused(refused)
            if isinstance(error, GroupAuthorizationFailedError):
                self._client._coordinator.request_rejoin()  # noqa: SLF001 - aiokafka's heartbeats have ended and do not begin again by themselves
        elif isinstance(error, UNREADABLE):
            self._careful = True
            for partition in self._buffers:
                self._client.seek(named(partition), self._positions[partition])
            _log.warning("A record has a header that cannot be read; it is put aside", group=self._group)
        elif (isinstance(error, KafkaError) and error.retriable) or isinstance(error, IllegalStateError) or has_lost_connection(error):
            _log.warning("Kafka fetch failed and is repeated", group=self._group, error=repr(error))
        else:
            self._failure = Fatal(f"the Kafka consumer of {self._group} cannot go on ({error!r})")
            self._failure.__cause__ = error

    def _take(self, mine: Sequence[Partition], max_records: int) -> Sequence[Record]:
        """Take an equal share from every partition that has records; they take turns in going first."""
        ready = [p for p in mine if self._buffers[p]]
        self._turn += 1
        first = self._turn % len(ready) if ready else 0
        taken: list[Record] = []
        for index, partition in enumerate(ready[first:] + ready[:first]):
            buffer = self._buffers[partition]
            share = -(-(max_records - len(taken)) // (len(ready) - index))
            taken += [as_record(partition, buffer.popleft()) for _ in range(min(share, len(buffer)))]
        return taken

    async def ends(self) -> Mapping[Partition, int]:
        """See ``port.Consumer``."""
        mine = list(self._buffers)
        with translated_kafka_errors():
            ends = await self._client.end_offsets([named(p) for p in mine]) if mine else {}
        return {p: ends[named(p)] for p in mine}

    # ── committing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See ``port.Consumer``."""
        async with self._commit_turn:
            mine = {named(p): offset for p, offset in offsets.items() if p in self._buffers}
            if not mine:
                return False
            self._committing = asyncio.create_task(self._client.commit(mine))
            done, _ = await asyncio.wait([self._committing], timeout=_COMMIT_S)
            if not done:
                self._committing.cancel()
                raise RetryLater(f"Kafka did not take a commit of {self._group} within {_COMMIT_S:.0f} s")
            if self._committing.cancelled():
                return False  # a revocation took over, and has committed what its owner said
            with translated_kafka_errors():
                try:
                    self._committing.result()
                except (CommitFailedError, IllegalStateError):
                    _log.info("Kafka consumer commits nothing, it lost its partitions", group=self._group)
                    return False
        return True


def _pattern(prefix: str, left_out: Collection[str]) -> str:
    if prefix.endswith("$"):
        return f"^{re.escape(prefix[:-1])}$"
    others = "|".join(re.escape(topic) for topic in sorted(left_out))
    return f"^(?!(?:{others})$){re.escape(prefix)}" if others else f"^{re.escape(prefix)}"
