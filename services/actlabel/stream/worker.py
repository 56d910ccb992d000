"""The way of one record through a stage: decode, campaign, handler, produce, acknowledged, marked."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from actlabel.core.errors import CampaignPaused, DeadLetter, EndpointUnavailable, Fatal, RetryLater
from actlabel.runtime import metrics, tracing
from actlabel.runtime.campaigns import Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.log import get_log
from actlabel.runtime.tallies import HistogramTally, Tally
from actlabel.stream.backlog import Backlog, Work
from actlabel.stream.cancelling import cancel_all
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.handling import DEADLINE, DEFECT, Handle, Places, decode
from actlabel.stream.limits import Limits
from actlabel.stream.port import Stream
from actlabel.stream.pulse import Pulse
from actlabel.stream.tracker import Tracker

_log = get_log(__name__)
_PATIENCE_S: Final = 5.0


class Worker:
    """Runs one task per record out of the backlog, and decides what becomes of what goes wrong."""

    def __init__(
        self,
        *,
        stage: str,
        handle: Handle,
        campaigns: Campaigns,
        dead_letters: DeadLetters,
        stream: Stream,
        backlog: Backlog,
        owns: Callable[[Tracker], bool],
        is_member: Callable[[], Awaitable[bool]],
        pulse: Pulse,
        limits: Limits,
        clock: Clock,
        places: Places | None,
    ) -> None:
        """``owns``: whether a tracker's partition is still ours, as far as we know, and its records to be tried again here.

        ``is_member``: whether the group says so too.
        """
        self._stage = stage
        self._handle = handle
        self._campaigns = campaigns
        self._dead_letters = dead_letters
        self._producer = stream.producer()
        self._backlog = backlog
        self._owns = owns
        self._is_member = is_member
        self._pulse = pulse
        self._limits = limits
        self._clock = clock
        self._places = places
        self._seconds = HistogramTally(metrics.STAGE_SECONDS.labels(stage))
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._deleted: frozenset[str] = frozenset()
        self.running: dict[Work, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        self.failure: asyncio.Future[None] = self._loop.create_future()
        self.closing = False  # start nothing more

    def start(self) -> None:
        """Begin with as many waiting records as there are places for."""
        create = self._loop.create_task
        while not self.closing and (work := self._backlog.take()) is not None:
            self.running[work] = create(self._run(work))

    async def _run(self, work: Work) -> None:
        tracing.about(work.record)
        if work.span is None:
            work.span = tracing.begin(self._stage, work.record)
        try:
            await self._attempt(work)
        except RetryLater as error:
            self._try_again(work, error)
        except CampaignPaused:
            self._wait_for_pause(work)
        except Exception as error:  # noqa: BLE001 - putting a record aside failed: the stage cannot go on, and says so
            self._fail(error)
        finally:
            del self.running[work]
            self.start()

    async def _attempt(self, work: Work) -> None:
        work.begun_s = self._clock.monotonic()
        try:
            if work.outgoing is None and work.verdict is None and not await self._is_buried(work):
                await self._handle_once(work)
        finally:
            self._backlog.give(work)
        if work.tracker.campaign in self._deleted:
            return self._finish(work, "dropped")
        if await self._is_buried(work):  # before the handler, or while it worked
            return self._finish(work, "dead")
        if work.verdict is None:
            failpoint("record.handled")
            await self._produce(work)
        if work.verdict is not None:
            return await self._put_aside(work, *work.verdict)
        failpoint("record.produced")
        self._seconds.observe(self._clock.monotonic() - work.taken_s)
        return self._finish(work, "done")

    async def _is_buried(self, work: Work) -> bool:
        """Say whether a copy of this record has died: its decision stands for all of them."""
        return work.record.key in work.tracker.buried and await self._dead_letters.is_copy_of_dead(work.record)

    async def _handle_once(self, work: Work) -> None:
        try:
            item = decode(work.record, work.tracker.campaign)
            work.version = item.campaign.version
            campaign = await self._campaigns.get(work.tracker.campaign, work.version)
            if self._places is not None and self._backlog.bound(campaign.uid, self._places(campaign)):
                self.start()
            if work.deadline_s is None:
                work.deadline_s = work.begun_s + self._limits.item_deadline_s
            work.in_handler = True
            work.outgoing = await self._handle(item, campaign)
        except DeadLetter as error:
            work.verdict = error.reason, error.detail
        except asyncio.CancelledError:
            self._cut(work)
        except (RetryLater, CampaignPaused, Fatal):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the item is put aside with it and the others go on
            _log.exception("a handler failed in a way that it should not", stage=self._stage, campaign=work.tracker.campaign)
            work.verdict = DEFECT, f"{type(error).__name__}: {error}"
        finally:
            work.in_handler = False

    def _cut(self, work: Work) -> None:
        """Turn a cancellation at the deadline into a verdict; any other one goes on."""
        task = asyncio.current_task()
        if not work.cut or task is None:
            raise asyncio.CancelledError
        task.uncancel()
        work.cut = False
        if self._pulse.outage_since(work.begun_s):
            raise RetryLater("the handler was cut at the deadline while our own stream or database was out of reach")
        work.verdict = DEADLINE, f"the handler was not done after {self._limits.item_deadline_s:g} s"

    async def _produce(self, work: Work) -> None:
        outgoing = work.outgoing or ()
        headers = tracing.carried(work.record) if work.span is None else work.span.headers()
        try:
            if len(outgoing) == 1:
                await self._producer.send(outgoing[0].topic, key=outgoing[0].key, value=outgoing[0].value, headers=headers)
            else:
                await asyncio.gather(*(self._producer.send(out.topic, key=out.key, value=out.value, headers=headers) for out in outgoing))
        except DeadLetter as error:
            work.verdict = error.reason, error.detail

    async def _put_aside(self, work: Work, reason: str, detail: str) -> None:
        """A partition that went away takes its verdicts along: its new owner reads the record, and only one of us may decide."""
        if self._owns(work.tracker) and not await self._is_member():
            raise RetryLater("the group does not count on this process any more; who has its partitions now decides")
        if not self._owns(work.tracker):
            return work.tracker.rewind((work.record.offset,))
        work.tracker.buried[work.record.key] = work.record.offset  # from here on its copies ask
        try:
            await self._dead_letters.put(work.record, stage=self._stage, version=work.version, reason=reason, detail=detail)
        except CampaignPaused:
            work.verdict = None
            raise
        return self._finish(work, "dead")

    def _finish(self, work: Work, outcome: str) -> None:
        work.tracker.done(work.record.offset)
        failpoint("record.marked")
        self._pulse.works("work")
        self._count(work, outcome)
        if work.span is not None:
            work.span.end(outcome)

    def _count(self, work: Work, outcome: str) -> None:
        # what is counted of a deleted campaign belongs to none: its uid is forgotten
        key = ("" if work.tracker.campaign in self._deleted else work.tracker.campaign, outcome)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally(metrics.RECORDS.labels(self._stage, *key))
        tally.count += 1

    def _try_again(self, work: Work, error: RetryLater) -> None:
        now = self._clock.monotonic()
        if not isinstance(error, EndpointUnavailable):
            self._pulse.outage("work", str(error))
            work.deadline_s = None
        self._count(work, "retried")
        if not self._owns(work.tracker):
            return work.tracker.rewind((work.record.offset,))
        longest_s = min(self._limits.retry_most_s, self._limits.retry_first_s * 2.0 ** min(work.tries, 30))
        work.tries += 1
        wait_s = random.uniform(0.0, longest_s)  # noqa: S311 - full jitter, not a secret
        if work.deadline_s is not None and now + wait_s >= work.deadline_s:
            work.verdict = DEADLINE, f"given up at {self._limits.item_deadline_s:g} s; the last of {work.tries} attempts: {error}"
            wait_s = 0.0
        return self._backlog.delay(work, now + wait_s)

    def _wait_for_pause(self, work: Work) -> None:
        """Keep the record without a place; its campaign is held until the pauses are read again."""
        if not self._owns(work.tracker):
            return work.tracker.rewind((work.record.offset,))
        work.deadline_s = None
        self._backlog.hold(self._backlog.held | {work.tracker.campaign})
        return self._backlog.put_back(work)

    def _fail(self, error: Exception) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)

    def cut_overdue(self) -> None:
        """Cancel the handlers whose item is past its deadline. One that does not listen is cancelled again each time."""
        now = self._clock.monotonic()
        for work, task in self.running.items():
            if work.in_handler and work.deadline_s is not None and now >= work.deadline_s:
                work.cut = True
                task.cancel()

    def drop_deleted(self, deleted: frozenset[str]) -> None:
        """Mark done what waits of deleted campaigns, now and whenever it would be tried again."""
        if gone := deleted - self._deleted:
            self._tallies = {key: tally for key, tally in self._tallies.items() if key[0] not in gone}
            metrics.forget(gone)
        self._deleted = deleted
        for work in self._backlog.drop(deleted):
            self._finish(work, "dropped")

    async def abandon(self) -> None:
        """Cancel what runs. A handler that goes on in spite of it is left to the end of the process; it marks nothing that is committed."""
        self.closing = True
        if left := await cancel_all(list(self.running.values()), patience_s=_PATIENCE_S):
            _log.warning("handlers ignore their cancellation", stage=self._stage, handlers=left)
