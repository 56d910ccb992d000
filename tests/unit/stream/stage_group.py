"""A group of real stages over the stream in memory, in virtual time, and what must be so at any moment and at rest.

What is real: Stage, Worker, Assignment, Tracker, Backlog, Window, DeadLetters, Campaigns and their tables. What is simulated: the broker
(stream/memory*.py), the model (a handler that the machine answers), and time. What happens to it: see ``stage_machine.py``.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import structlog
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import DeadLetter
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.open import schema
from actlabel.runtime.database.sqlite import SqliteDatabase
from actlabel.stream.limits import Limits
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import Partition
from actlabel.stream.stage import Stage
from tests.unit.stream.bed import GROUP, Bed, outgoing
from tests.unit.stream.virtual_loop import LoopClock, VirtualLoop

WINDOW = 12
CALLS = 4
LIMITS = Limits(
    calls_in_flight=CALLS,
    window_items=WINDOW,
    item_deadline_s=1e6,
    drain_deadline_s=1.0,
    commit_interval_s=0.1,
    poll_s=0.05,
    learn_s=0.2,
    retry_first_s=0.1,
    retry_most_s=0.5,
)
_QUIET_S = 0.5
_PATIENCE = 400


@dataclass(eq=False)
class Call:
    """A handler at work."""

    member: "Member"
    item: Item
    answer: "asyncio.Future[Exception | None]"


@dataclass(eq=False)
class Member:
    """One process of the stage."""

    stage: Stage
    stop: asyncio.Event
    task: "asyncio.Task[None] | None" = None
    reading: dict[str, Any] = field(default_factory=dict)  # what its window was when last looked at

    @property
    def alive(self) -> bool:
        return self.task is not None and not self.task.done()


class StageGroup(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.silence = ExitStack()
        self.silence.enter_context(structlog.testing.capture_logs())  # a defect's traceback costs more than all the rest
        self.loop = VirtualLoop()
        self.calls: list[Call] = []
        self.members: list[Member] = []
        self.sent: dict[str, Counter[str]] = {}  # campaign uid → id → how often it lies on the topic
        self.owed: dict[tuple[str, str], int] = {}  # campaign uid, id → how often it must be out, after the group was set back
        self.lows: dict[Partition, int] = {}  # what each partition had committed, so that it never falls by itself
        self.count = 0
        self.hasty = False  # handlers answer at once

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def let_pass(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @initialize()
    def open(self) -> None:
        self.run(self._open())

    async def _open(self) -> None:
        self.database = SqliteDatabase(":memory:")
        await self.database.open(schema())
        self.bed = Bed(self.database, LoopClock(self.loop))
        with patch("actlabel.runtime.campaigns.secrets.token_hex", side_effect=("aaaa", "bbbb")):  # the same in every replay
            self.campaigns = [await self.bed.campaign("birds", partitions=3), await self.bed.campaign("planes", partitions=1)]
        self.sent = {campaign.uid: Counter() for campaign in self.campaigns}
        self.group = self.bed.stream.group(GROUP)
        await self._start()
        for which in range(len(self.campaigns)):
            await self._send(which, [f"item-{self.count + number}" for number in range(10)])
            self.count += 10
        await asyncio.sleep(0.1)

    async def _start(self) -> None:
        async def handle(item: Item, campaign: Campaign) -> Sequence[Outgoing]:
            return await self._handle(member, item, campaign)

        member = Member(stage=self.bed.stage(handle, limits=LIMITS), stop=asyncio.Event())
        member.task = asyncio.create_task(member.stage.run(member.stop))
        self.members.append(member)
        await asyncio.sleep(0)

    def _never_alone(self) -> None:
        """A group without members teaches nothing."""
        if not self.members:
            self.run(self._start())

    async def _kill(self, member: Member) -> None:
        assert member.task is not None
        member.task.cancel()
        await asyncio.wait([member.task])
        self.members.remove(member)

    async def _handle(self, member: Member, item: Item, campaign: Campaign) -> Sequence[Outgoing]:
        call = Call(member, item, self.loop.create_future())
        self.calls.append(call)
        try:
            if (error := await self._word(call)) is not None:
                raise error
        finally:
            self.calls.remove(call)
        return self._nature(item)

    async def _word(self, call: Call) -> Exception | None:
        """Most calls take 10 ms; every fourth waits for the machine's word."""
        if self.hasty or int(call.item.id.rpartition("-")[2]) % 4:
            await asyncio.sleep(0.01)
            return call.answer.result() if call.answer.done() else None
        return await call.answer

    @staticmethod
    def _nature(item: Item) -> Sequence[Outgoing]:
        """What becomes of an item is its own: some are refused by every model, some meet a defect of ours."""
        number = int(item.id.rpartition("-")[2])
        if number % 7 == 3:
            raise DeadLetter("no-label", "the model says nothing")
        if number % 11 == 5:
            raise ZeroDivisionError("by zero")
        return [outgoing(item)]

    async def _send(self, which: int, ids: Sequence[str]) -> None:
        campaign = self.campaigns[which]
        for item_id in ids:
            await self._upstream(campaign, item_id)
            self.sent[campaign.uid][item_id] += 1

    async def _upstream(self, campaign: Campaign, item_id: str) -> None:
        """The stage before has other faults than this one."""
        faults = self.bed.stream.faults
        errors, faults._errors = faults._errors, {}
        await self.bed.send(campaign, [item_id])
        faults._errors = errors

    def _free(self) -> list[Partition]:
        every = [Partition(topics.topic(topics.ITEMS, c.uid), number) for c in self.campaigns for number in range(c.partitions)]
        taken = {partition for member in self.group.members for partition in member.assignment()}
        return [partition for partition in every if partition not in taken]

    def _owe(self, partition: Partition, first: int, end: int) -> None:
        campaign = next(one for one in self.campaigns if one.uid == topics.campaign_of(partition.topic))
        out = Counter(self.bed.out(campaign))
        for record in self.bed.stream.read(partition, first, end - first):
            if record.offset < end and out[record.key.decode()]:
                self.owed[campaign.uid, record.key.decode()] = out[record.key.decode()] + 1

    def _safe(self) -> dict[str, set[str]]:
        """Campaign → ids that are out or put aside."""
        rows = self.run(self.database.fetch("SELECT uid, item_id FROM dead WHERE replayed_at IS NULL"))
        return {c.uid: {*self.bed.out(c), *(row["item_id"] for row in rows if row["uid"] == c.uid)} for c in self.campaigns}

    @invariant()
    def nothing_is_committed_that_is_not_safe(self) -> None:
        safe = self._safe()
        for campaign in self.campaigns:
            committed = self.bed.committed(campaign)
            for record in self.bed.stream.records(topics.topic(topics.ITEMS, campaign.uid)):
                if record.offset < committed.get(record.partition.number, 0):
                    assert record.key.decode() in safe[campaign.uid], f"{record.key!r} at {record.partition.number}/{record.offset} is lost"

    @invariant()
    def what_is_committed_never_falls(self) -> None:
        for partition, offset in self.group.committed.items():
            assert offset >= self.lows.get(partition, 0), f"the group went back on {partition}"
            self.lows[partition] = offset

    @invariant()
    def every_tracker_knows_its_own_work_and_no_other(self) -> None:
        """What a tracker holds as outstanding, somebody works on for it: an old mark reaches no new tracker, nothing is forgotten."""
        for member in self.members:
            stage = member.stage
            works = [*stage._worker.running, *stage._backlog.waiting()]
            for tracker in stage._assignment.trackers.values():
                mine = [work.record.offset for work in works if work.tracker is tracker]
                assert len(mine) == len(set(mine)), "one record is in work twice"
                assert tracker._outstanding <= set(mine), f"dispatched, and nobody works on it: {tracker._outstanding - set(mine)}"
                assert tracker.watermark <= min(tracker._outstanding, default=tracker.next)

    @invariant()
    def bounds_are_kept(self) -> None:
        for member in self.members:
            mine = [call for call in self.calls if call.member is member]
            assert len(mine) <= CALLS + len(self.campaigns)
            self._check_window(member)

    def _check_window(self, member: Member) -> None:
        """By reading alone the window never grows beyond its bound; partitions that come back bring what they had."""
        stage = member.stage
        free = [tracker for tracker in stage._assignment.trackers.values() if tracker.campaign not in stage._backlog.held]
        now = {"items": sum(t.items for t in free), "changes": stage._assignment.changes, "held": stage._backlog.held}
        before, member.reading = member.reading, now
        same = before and (before["changes"], before["held"]) == (now["changes"], now["held"])
        if same and now["items"] > before["items"]:
            assert now["items"] <= WINDOW + len(self.campaigns)

    @invariant()
    def nobody_has_died(self) -> None:
        for member in self.members:
            if member.task is not None and member.task.done():
                member.task.result()
                raise AssertionError("a stage has ended by itself")

    def teardown(self) -> None:
        try:
            if self.sent:
                self.run(self._come_to_rest())
                self._check_at_rest()
        finally:
            try:
                self.run(self._close())
            finally:
                self.loop.close()
                self.silence.close()

    async def _come_to_rest(self) -> None:
        for campaign in self.campaigns:
            await self.bed.campaigns.resume(campaign.uid)
        self.hasty = True
        for call in self.calls:
            if not call.answer.done():
                call.answer.set_result(None)
        if not self.members:
            await self._start()
        self.bed.stream.settle()
        await asyncio.sleep(_QUIET_S)  # what still fails may fail in the last commit of all
        self.bed.stream.faults._errors.clear()
        for _ in range(_PATIENCE):
            if all(self.bed.at_rest(campaign) for campaign in self.campaigns):
                break
            await asyncio.sleep(_QUIET_S)

    def _check_at_rest(self) -> None:
        """Every id got out, once in effect; every partition stands at its end; nobody complains."""
        for member in self.members:
            assert member.stage.liveness() is None
        safe = self._safe()
        for campaign in self.campaigns:
            assert self.bed.at_rest(campaign), f"a partition froze at {self.bed.committed(campaign)}"
            assert safe[campaign.uid] == set(self.sent[campaign.uid])
            dead = {one.item_id for one in self.run(self.bed.dead.list(campaign.uid))}
            out = Counter(self.bed.out(campaign))
            assert not dead & out.keys(), "put aside and out"
            owed = {item_id: least for (uid, item_id), least in self.owed.items() if uid == campaign.uid}
            assert all(out[item_id] >= least for item_id, least in owed.items()), "what was set back is not done again"

    async def _close(self) -> None:
        for member in [*self.members]:
            await self._kill(member)
        if self.sent:
            await self.database.close()
