"""One topic, followed in order and in batches by its own group: for what moves records between streams and makes no slow calls.

The stage loop works on many records at once, out of order. Here a batch is taken whole before the next one is read, so that what is written
keeps the order of each partition; what is committed is what was taken. Whatever is killed is read again from the last commit.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from actlabel.core.errors import CampaignPaused, Fatal, RetryLater
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import EVERY_STAGE, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.stream.cancelling import cancel_all
from actlabel.stream.limits import Limits
from actlabel.stream.port import Consumer, Partition, Record, Stream, only

_POLL_S: Final = 0.5
_RETRY_MOST_S: Final = 2.0  # our own outages, or a registry's: soon again, for everything behind it waits
_SIGN_OF_LIFE_S: Final = 1.0
_PATIENCE_S: Final = 5.0


class Taker(Protocol):
    """What is done with the records."""

    async def take(self, records: Sequence[Record], /) -> None:
        """Take a batch, safely, in order. It may come again, whole or in part, and must then change nothing.

        Raises ``RetryLater`` (the same batch again later), ``CampaignPaused`` (again once the pause is lifted), ``Fatal``.
        """

    def forget(self) -> None:
        """Partitions came or went: what is remembered of their records no longer holds."""


class Follower:
    """See the module. It is the group's ``Rebalance`` itself."""

    def __init__(
        self,
        *,
        stage: str,
        uid: str,
        group: str,
        topic: str,
        stream: Stream,
        taker: Taker,
        campaigns: Campaigns,
        limits: Limits,
        clock: Clock,
    ) -> None:
        """``stage``, ``uid``: whose pauses count. ``stream``: where the topic is."""
        self._stage = stage
        self._uid = uid
        self._group = group
        self._topic = topic
        self._stream = stream
        self._taker = taker
        self._campaigns = campaigns
        self._limits = limits
        self._clock = clock
        self._taken: dict[Partition, int] = {}  # the offset after the last record that was taken: what may be committed
        self._committed: dict[Partition, int] = {}
        self._changes = 0
        self._turned_s: float | None = None  # none: it has not joined yet, and to wait for a broker is no reason to be restarted
        self._committed_s = clock.monotonic()
        self._asked_s = float("-inf")
        self._pause: str | None = "the pauses have not been read yet"
        self._outages: dict[str, str] = {}

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        """See ``port.Rebalance``."""
        self._taken |= partitions
        self._committed |= partitions
        self._note_change()
        return partitions

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        """See ``port.Rebalance``."""
        last = {p: self._taken.pop(p) for p in partitions if p in self._taken}
        self._note_change()
        return last

    def _note_change(self) -> None:
        self._changes += 1
        self._taker.forget()
        metrics.REBALANCES.labels(self._stage).inc()

    def liveness(self) -> str | None:
        """Say why this process should be restarted, if it should."""
        silent_s = 0.0 if self._turned_s is None else self._clock.monotonic() - self._turned_s
        return f"{self._topic} has not been asked for {silent_s:.0f} s" if silent_s > self._limits.stuck_margin_s else None

    def readiness(self) -> str | None:
        """Say what this follower waits for; a pause is somebody's wish and none of it."""
        return "; ".join(self._outages.values()) or None

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until ``stop``; then finish the batch in hand within the drain deadline, commit, and leave the group.

        Raises ``RetryLater`` when the group cannot be joined or this member can never read again, and what ``take`` raises as ``Fatal``.
        """
        consumer = await self._join()
        try:
            while not stop.is_set():
                await self._turn(consumer, stop)
            await self._commit(consumer)
        finally:
            await self._stream.close_consumer(consumer)

    async def _join(self) -> Consumer:
        try:
            return await self._stream.consumer(self._group, topic_prefix=only(self._topic), rebalance=self)
        except Fatal as error:
            raise RetryLater(f"{self._topic} cannot be followed: {error}") from error

    async def _turn(self, consumer: Consumer, stop: asyncio.Event) -> None:
        await self._learn()
        wanted = () if self._pause is not None else tuple(self._taken)
        if records := await self._poll(consumer, wanted, timeout_s=_POLL_S):
            await self._take(consumer, records, stop)
        if self._clock.monotonic() - self._committed_s >= self._limits.commit_interval_s:
            await self._commit(consumer)

    async def _learn(self) -> None:
        """Ask once a second whether the campaign is paused here."""
        if self._clock.monotonic() - self._asked_s < self._limits.learn_s:
            return
        try:
            pauses = await self._campaigns.pauses()
        except RetryLater as error:
            self._outages["campaigns"] = str(error)
            return
        self._outages.pop("campaigns", None)
        self._asked_s = self._clock.monotonic()
        self._pause = pauses.get((self._uid, self._stage)) or pauses.get((self._uid, EVERY_STAGE))

    async def _poll(self, consumer: Consumer, wanted: Collection[Partition], *, timeout_s: float) -> Sequence[Record]:
        self._turned_s = self._clock.monotonic()
        try:
            records = await consumer.poll(wanted, max_records=self._limits.poll_records, timeout_s=timeout_s)
        except RetryLater as error:
            self._outages["poll"] = str(error)
            await asyncio.sleep(timeout_s)
            return ()
        except Fatal as error:
            raise RetryLater(f"{self._topic} cannot be followed: {error}") from error
        self._outages.pop("poll", None)
        return records

    async def _take(self, consumer: Consumer, records: Sequence[Record], stop: asyncio.Event) -> None:
        """Try until the batch is taken. After a rebalance it is dropped: every partition is read again from its last commit."""
        changes, tries = self._changes, 0
        while changes == self._changes:
            if self._pause is None and await self._attempt(consumer, records, stop):
                if changes == self._changes:
                    self._taken |= {record.partition: record.offset + 1 for record in records}
                return
            if stop.is_set():
                return
            await self._poll(consumer, (), timeout_s=min(self._limits.retry_first_s * 2.0 ** min(tries, 30), _RETRY_MOST_S))
            await self._learn()
            tries += 1

    async def _attempt(self, consumer: Consumer, records: Sequence[Record], stop: asyncio.Event) -> bool:
        task = asyncio.create_task(self._taker.take(records))
        try:
            await self._while_in_work(consumer, task, stop)
            if not task.done():
                return False
            task.result()
        except RetryLater as error:
            self._outages["take"] = str(error)
            return False
        except CampaignPaused as error:
            self._pause = str(error)
            return False
        finally:
            await cancel_all([task], patience_s=_PATIENCE_S)
        self._outages.pop("take", None)
        return True

    async def _while_in_work(self, consumer: Consumer, task: "asyncio.Task[None]", stop: asyncio.Event) -> None:
        """Show signs of life to the group, at most to the drain deadline once ``stop`` is set."""
        stopped_s: float | None = None
        while not (await asyncio.wait([task], timeout=_SIGN_OF_LIFE_S))[0]:
            now = self._clock.monotonic()
            if stop.is_set():
                stopped_s = now if stopped_s is None else stopped_s
                if now - stopped_s >= self._limits.drain_deadline_s:
                    return
            await self._poll(consumer, (), timeout_s=0.0)

    async def _commit(self, consumer: Consumer) -> None:
        moved = {p: offset for p, offset in self._taken.items() if offset != self._committed.get(p)}
        self._committed_s = self._clock.monotonic()
        if not moved:
            return
        try:
            await consumer.commit(moved)
        except RetryLater as error:
            self._outages["commit"] = str(error)
            metrics.COMMITS.labels(self._stage, "failed").inc()
            return
        self._outages.pop("commit", None)
        metrics.COMMITS.labels(self._stage, "ok").inc()
        self._committed |= moved
