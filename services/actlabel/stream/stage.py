"""The stage loop: reads its topics, gives every record to the worker, commits the low watermark, drains when told to stop."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from actlabel.core import topics
from actlabel.core.errors import RetryLater
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import EVERY_STAGE, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.log import get_log
from actlabel.stream.assignment import Assignment
from actlabel.stream.backlog import Backlog, Work
from actlabel.stream.cancelling import cancel_all, wait_at_most
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.handling import Handle, Places
from actlabel.stream.lag import Lag
from actlabel.stream.limits import Limits
from actlabel.stream.membership import Membership
from actlabel.stream.port import Consumer, Handover, Record, Stream, only
from actlabel.stream.pulse import Pulse
from actlabel.stream.tracker import Tracker
from actlabel.stream.window import Window
from actlabel.stream.worker import Worker

_log = get_log(__name__)
_TICK_S: Final = 0.05
_COMMIT_PAUSE_S: Final = 0.2
_PATIENCE_S: Final = 5.0


class Stage:
    """One stage of one process. Delivers every record at least once; what it promises is in the README of this room."""

    def __init__(
        self,
        *,
        name: str,
        stream: Stream,
        source_kind: str,
        handle: Handle,
        campaigns: Campaigns,
        dead_letters: DeadLetters,
        limits: Limits,
        clock: Clock,
        places: Places | None = None,
        handover: Handover | None = None,
        campaign_uid: str | None = None,
    ) -> None:
        """``name``: the stage, which names its group; ``source_kind``: the kind of topic that it reads, of every campaign.

        ``campaign_uid``: it works for that campaign alone, with the group of that campaign; whoever makes it knows that it is dedicated.

        ``places``: a campaign's own bound on handlers at work; where that of the process is larger, one campaign that hangs leaves
        the others alone. ``handover``: see ``Stream.consumer``.
        """
        self._name = name
        self._stream = stream
        self._handover = handover
        self._kind = source_kind
        self._uid = campaign_uid
        self._campaigns = campaigns
        self._dead_letters = dead_letters
        self._limits = limits
        self._clock = clock
        self._backlog = Backlog(calls=limits.calls_in_flight, lend=limits.lend_to_campaign, first=1 if places else None)
        self._assignment = Assignment(withdraw=self._backlog.withdraw, changed=self._on_rebalance)
        self._membership = Membership(self._assignment)
        self._window = Window(limits)
        self._pulse = Pulse(limits, clock, stage=name)
        self._lag = Lag(name, clock)
        self._worker = Worker(
            stage=name,
            handle=handle,
            campaigns=campaigns,
            dead_letters=dead_letters,
            stream=stream,
            backlog=self._backlog,
            owns=self._assignment.owns,
            is_member=self._membership.confirm,
            pulse=self._pulse,
            limits=limits,
            clock=clock,
            places=places,
        )
        self._full = asyncio.Event()  # the window is full: commit now
        self._room = asyncio.Event()  # something was committed, or other partitions came
        self._reported: frozenset[str] = frozenset()  # strangers that the log has told of
        self._news = asyncio.Event()  # partitions came whose dead letters are not known yet

    def liveness(self) -> str | None:
        """Say why this process should be restarted; None when there is no reason."""
        return self._pulse.liveness()

    def readiness(self) -> str | None:
        """Say what this stage waits for; None when it works."""
        return self._pulse.readiness()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then drain, commit and leave the group. Raises ``Fatal`` when this process cannot go on.

        Cancelled, it abandons everything without a commit, as a kill would.
        """
        consumer = await self._join(stop)
        if consumer is None:
            return
        watching = self._lag.run(consumer, self._assignment.trackers.values, self._works)
        parts = (self._read(consumer), self._commit_often(consumer), self._tend(), self._learn(consumer), watching)
        loops = [asyncio.create_task(part) for part in parts]
        stopping = asyncio.create_task(stop.wait())
        try:
            await self._until_one([*loops, stopping])
            await self._drain(loops)
            await cancel_all(loops, patience_s=_PATIENCE_S)
            await self._worker.abandon()
            await self._commit(consumer)
        except Exception as error:
            self._pulse.broken = f"the stage has ended: {error}"
            raise
        finally:
            await cancel_all([*loops, stopping], patience_s=_PATIENCE_S)
            await self._worker.abandon()
            self._lag.end()
            with suppress(RetryLater):
                await self._stream.close_consumer(consumer)

    async def _until_one(self, tasks: Sequence[asyncio.Task[Any]], timeout_s: float | None = None) -> None:
        """Wait for the first of them, and raise what it, or the worker, died of."""
        done, _ = await asyncio.wait([*tasks, self._worker.failure], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()

    async def _join(self, stop: asyncio.Event) -> Consumer | None:
        while not stop.is_set():
            try:
                consumer = await self._member()
            except RetryLater as error:
                self._pulse.outage("join", str(error))
                await wait_at_most(stop, self._limits.learn_s)
            else:
                self._pulse.works("join")
                self._pulse.polled()
                self._pulse.joined = True
                self._membership.consumer = consumer
                return consumer
        return None

    async def _member(self) -> Consumer:
        """Join the group that all campaigns share, or that of the one campaign."""
        if self._uid is not None:
            group, topic = topics.campaign_group(self._name, self._uid), topics.topic(self._kind, self._uid)
            return await self._stream.consumer(group, topic_prefix=only(topic), rebalance=self._assignment, handover=self._handover)
        return await self._stream.consumer(
            topics.group(self._name),
            topic_prefix=topics.prefix(self._kind),
            rebalance=self._assignment,
            handover=self._handover,
            earlier=lambda topic: topics.campaign_group(self._name, topics.campaign_of(topic)),
        )

    def _on_rebalance(self) -> None:
        metrics.REBALANCES.labels(self._name).inc()
        self._news.set()
        self._room.set()

    async def _read(self, consumer: Consumer) -> None:
        while True:
            able = self._may_go_on()
            wanted, most = self._window.ask(able)
            if len(wanted) < len(able):
                self._full.set()
            if not wanted:
                await self._wait_for_room()
            try:
                records = await consumer.poll(wanted, max_records=most, timeout_s=self._limits.poll_s if wanted else 0.0)
            except RetryLater as error:
                self._pulse.outage("poll", str(error))
                await asyncio.sleep(self._limits.poll_s)
            else:
                self._pulse.works("poll")
                self._take(records)
                if 0 < len(records) < most:
                    await asyncio.sleep(self._limits.poll_pause_s)
            self._pulse.polled()

    def _may_go_on(self) -> Sequence[Tracker]:
        """Leave out partitions that are held, and those of which it is not known yet what an earlier owner put aside."""
        if self._worker.closing or not self._pulse.informed:
            return ()
        held = self._backlog.held
        return [tracker for tracker in self._assignment.trackers.values() if tracker.dead is not None and tracker.campaign not in held]

    async def _wait_for_room(self) -> None:
        self._room.clear()
        await wait_at_most(self._room, self._limits.poll_s)

    def _take(self, records: Sequence[Record]) -> None:
        """Dispatch what was read. A record of a partition that went away while it came belongs to its next owner."""
        now = self._clock.monotonic()
        for record in records:
            tracker = self._assignment.trackers.get(record.partition)
            size = len(record.key) + len(record.value)
            if tracker is None or not tracker.dispatch(record.offset, size):
                continue
            self._window.saw(size)
            if tracker.dead and record.offset in tracker.dead:
                tracker.done(record.offset)
            else:
                self._backlog.add(Work(tracker=tracker, record=record, taken_s=now))
                failpoint("record.dispatched")
        self._worker.start()

    async def _commit_often(self, consumer: Consumer) -> None:
        """Commit at every interval, and where the window is full a few times as often."""
        while True:
            await wait_at_most(self._full, self._limits.commit_interval_s)
            await self._commit(consumer)
            self._full.clear()
            await asyncio.sleep(min(_COMMIT_PAUSE_S, self._limits.commit_interval_s))

    async def _commit(self, consumer: Consumer) -> None:
        changes, offsets = self._assignment.changes, self._assignment.committable()
        if not offsets:
            self._pulse.works("commit")  # what failed was committed at a revocation, or is another member's now
            return
        failpoint("offsets.committing")
        try:
            taken = await consumer.commit({tracker.partition: offset for tracker, offset in offsets.items()})
        except RetryLater as error:
            self._pulse.outage("commit", str(error))
            metrics.COMMITS.labels(self._name, "failed").inc()
            return
        failpoint("offsets.committed")
        self._pulse.works("commit")
        metrics.COMMITS.labels(self._name, "ok" if taken else "lost").inc()
        if taken:
            self._assignment.committed(offsets, changes=changes)
        self._room.set()

    async def _tend(self) -> None:
        """Let what was delayed go on; once a second cut what is overdue, and look at everything."""
        looked_s = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            self._backlog.due(now)
            self._worker.start()
            if now - looked_s >= 1.0:
                looked_s = now
                self._look()
            await asyncio.sleep(_TICK_S)

    def _works(self) -> Iterable[Work]:
        return itertools.chain(self._worker.running, self._backlog.waiting())

    def _look(self) -> None:
        self._worker.cut_overdue()
        trackers = self._assignment.trackers.values()
        self._pulse.watch(trackers, running=self._worker.running, waiting=self._backlog.waiting())
        metrics.IN_FLIGHT.labels(self._name).set(self._backlog.in_flight)
        metrics.WINDOW.labels(self._name).set(sum(tracker.items for tracker in trackers))

    async def _learn(self, consumer: Consumer) -> None:
        """Read once a second which campaigns are held or not ours, and for new partitions what has been put aside of them."""
        while True:
            self._news.clear()
            try:
                await self._learn_once()
                if self._uid is None:
                    consumer.leave_out([topics.topic(self._kind, uid) for uid in await self._campaigns.dedicated(self._name)])
            except RetryLater as error:
                self._pulse.outage("campaigns", str(error))
            await wait_at_most(self._news, self._limits.learn_s)

    async def _learn_once(self) -> None:
        fresh = [tracker for tracker in self._assignment.trackers.values() if tracker.dead is None]
        deleted = await self._campaigns.deleted()
        pauses = await self._campaigns.pauses()
        paused = {uid for uid, stage in pauses if stage in (self._name, EVERY_STAGE)}
        self._backlog.hold(deleted | paused | self._strangers(deleted | await self._campaigns.known()))
        self._worker.drop_deleted(deleted)
        for tracker in fresh:
            tracker.buried = await self._dead_letters.buried(tracker.partition)
            tracker.dead = frozenset(tracker.buried.values())
        self._pulse.informed = True
        self._pulse.works("campaigns")
        self._room.set()
        self._worker.start()

    def _strangers(self, known: frozenset[str]) -> frozenset[str]:
        """Find topics of campaigns that are not in this database: somebody else's, or left behind. They are not read: nothing could be
        done with their records, and retrying them for ever would take the window from our own."""
        strangers = frozenset(tracker.campaign for tracker in self._assignment.trackers.values()) - known
        for uid in strangers - self._reported:
            _log.warning("A topic is left alone: its campaign is not in the database", stage=self._name, campaign_uid=uid)
        self._reported |= strangers
        return strangers

    async def _drain(self, loops: Sequence[asyncio.Task[None]]) -> None:
        """Start nothing more; let what is in work finish within the deadline, while the group still sees signs of life."""
        self._worker.closing = True
        deadline_s = self._clock.monotonic() + self._limits.drain_deadline_s
        while self._worker.running and (left_s := deadline_s - self._clock.monotonic()) > 0:
            await self._until_one([*loops, *self._worker.running.values()], min(left_s, _TICK_S))
