"""A group of real stages over the stream in memory, in virtual time, and everything that can happen to them, in any order.

What is real: Stage, Worker, Assignment, Tracker, Backlog, Window, DeadLetters, Campaigns and their tables. What is simulated: the broker
(stream/memory*.py), the model (a handler that the machine answers), and time.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import structlog
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import CampaignPaused, DeadLetter, EndpointUnavailable, RetryLater
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.open import schema
from actlabel.runtime.database.sqlite import SqliteDatabase
from actlabel.stream.limits import Limits
from actlabel.stream.memory_group import MemoryConsumer
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import Partition
from actlabel.stream.stage import Stage
from tests.unit.stream.bed import GROUP, STAGE, Bed, outgoing
from tests.unit.stream.virtual_loop import LoopClock, VirtualLoop

WINDOW = 12
CALLS = 4
MOST_MEMBERS = 2
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
LAPSE = st.sampled_from((0.0, 0.002, 0.02, 0.06, 0.15))
"""Seconds that pass after a rule: nothing but what is ready, a look at the database, a poll, a commit."""
_QUIET_S = 0.5
_PATIENCE = 400
FAULTS = ("send", "acknowledge", "commit", "commit", "commit-answer", "poll")


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


class StageMachine(RuleBasedStateMachine):
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

    # ---- the model behind the handlers

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

    # ---- rules: work

    @rule(count=st.integers(1, 12), which=st.integers(0, 1), then=LAPSE)
    def send(self, count: int, which: int, then: float) -> None:
        ids = [f"item-{self.count + number}" for number in range(count)]
        self.count += count
        self.run(self._send(which, ids))
        self.let_pass(then)

    @precondition(lambda self: self.count)
    @rule(data=st.data(), which=st.integers(0, 1), then=LAPSE)
    def send_again(self, data, which: int, then: float) -> None:
        """A producer before us repeats itself: the same item lies at another offset too."""
        if known := sorted(self.sent[self.campaigns[which].uid]):
            self.run(self._send(which, [data.draw(st.sampled_from(known))]))
        self.let_pass(then)

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

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), error=st.sampled_from((None, None, None, RetryLater("ours"), EndpointUnavailable("theirs"))), then=LAPSE)
    def answer(self, data, error: Exception | None, then: float) -> None:
        call = data.draw(st.sampled_from(self.calls))
        if not call.answer.done():
            call.answer.set_result(error)
        self.let_pass(then)

    @precondition(lambda self: self.calls)
    @rule(count=st.integers(1, 8), then=LAPSE)
    def answer_the_oldest(self, count: int, then: float) -> None:
        for call in self.calls[:count]:
            if not call.answer.done():
                call.answer.set_result(None)
        self.let_pass(then)

    @rule(seconds=st.sampled_from((0.3, 1.0, 5.0)), then=LAPSE)
    def time_passes(self, seconds: float, then: float) -> None:
        self.let_pass(seconds + then)

    # ---- rules: the group

    @precondition(lambda self: self.group.members)
    @rule(data=st.data(), commits=st.booleans(), then=LAPSE)
    def revoke(self, data, commits: bool, then: float) -> None:
        """Some or all partitions are taken from their members; the last commit arrives or is lost."""
        owned = sorted({partition for member in self.group.members for partition in member.assignment()})
        if owned:
            taken = data.draw(st.sets(st.sampled_from(owned), min_size=1))
            self.group.revoke(sorted(taken), commit=commits)
        self.let_pass(then)

    @precondition(lambda self: self.group.members and self._free())
    @rule(data=st.data(), then=LAPSE)
    def assign(self, data, then: float) -> None:
        """A partition that nobody has comes to any member: the one that had it, or another."""
        partition = data.draw(st.sampled_from(self._free()))
        member: MemoryConsumer = data.draw(st.sampled_from(self.group.members))
        member.take({partition: self.group.committed.setdefault(partition, 0)})
        self.let_pass(then)

    @precondition(lambda self: self.group.members)
    @rule(data=st.data(), commits=st.booleans(), answers=st.integers(0, 6), then=LAPSE)
    def come_straight_back(self, data, commits: bool, answers: int, then: float) -> None:
        """Everything is taken, calls end meanwhile, and every member has what it had."""
        before = {member: member.assignment() for member in self.group.members}
        self.group.revoke([partition for mine in before.values() for partition in mine], commit=commits)
        for call in self.calls[:answers]:
            if not call.answer.done():
                call.answer.set_result(None)
        self.let_pass(then)
        for member, mine in before.items():
            if member in self.group.members:
                free = mine & set(self._free())
                member.take({partition: self.group.committed.setdefault(partition, 0) for partition in sorted(free)})
        self.let_pass(then)

    @precondition(lambda self: self.group.members)
    @rule(data=st.data(), then=LAPSE)
    def overtake_a_commit(self, data, then: float) -> None:
        """A commit is on its way when one partition is moved: the group takes nothing of it."""
        self.bed.stream.faults.commit_s = 0.08
        self.let_pass(0.12)
        if owned := sorted({partition for member in self.group.members for partition in member.assignment()}):
            self.group.revoke([data.draw(st.sampled_from(owned))])
        self.bed.stream.faults.commit_s = 0.0
        self.let_pass(then)

    @precondition(lambda self: self._free())
    @rule(data=st.data(), back=st.integers(1, 10), then=LAPSE)
    def set_back(self, data, back: int, then: float) -> None:
        """A person sets the group back on a partition that nobody has: what lies there is done again."""
        partition = data.draw(st.sampled_from(self._free()))
        before = self.group.committed.get(partition, 0)
        lower = max(0, before - back)
        retired = [member.stage._assignment._retired.get(partition) for member in self.members]
        if lower < before and not any(old is not None and old.committed <= lower <= old.attempted for old in retired):
            self.group.committed[partition] = self.lows[partition] = lower
            self._owe(partition, lower, before)
        self.let_pass(then)

    def _owe(self, partition: Partition, first: int, end: int) -> None:
        campaign = next(one for one in self.campaigns if one.uid == topics.campaign_of(partition.topic))
        out = Counter(self.bed.out(campaign))
        for record in self.bed.stream.read(partition, first, end - first):
            if record.offset < end and out[record.key.decode()]:
                self.owed[campaign.uid, record.key.decode()] = out[record.key.decode()] + 1

    def _free(self) -> list[Partition]:
        every = [Partition(topics.topic(topics.ITEMS, c.uid), number) for c in self.campaigns for number in range(c.partitions)]
        taken = {partition for member in self.group.members for partition in member.assignment()}
        return [partition for partition in every if partition not in taken]

    @rule(then=LAPSE)
    def settle(self, then: float) -> None:
        self.bed.stream.settle()
        self.let_pass(then)

    @precondition(lambda self: self.group.members)
    @rule(data=st.data(), back=st.integers(1, 10), then=LAPSE)
    def deliver_again(self, data, back: int, then: float) -> None:
        """What was read is delivered a second time."""
        member: MemoryConsumer = data.draw(st.sampled_from(self.group.members))
        for partition, position in member.positions.items():
            member.positions[partition] = max(0, position - back)
        member.wake()
        self.let_pass(then)

    # ---- rules: failures

    @rule(what=st.sampled_from(FAULTS), times=st.integers(1, 3), then=LAPSE)
    def fail(self, what: str, times: int, then: float) -> None:
        self.bed.stream.faults.fail(what, RetryLater(f"{what} fails"), times=times)
        self.let_pass(then)

    @rule(seconds=st.sampled_from((0.0, 0.02, 0.08)), then=LAPSE)
    def commits_take(self, seconds: float, then: float) -> None:
        """On their way they can be overtaken by a rebalance."""
        self.bed.stream.faults.commit_s = seconds
        self.let_pass(then)

    @rule(what=st.sampled_from(FAULTS), then=LAPSE)
    def mend(self, what: str, then: float) -> None:
        self.bed.stream.faults.mend(what)
        self.let_pass(then)

    @rule(which=st.integers(0, 1), then=LAPSE)
    def pause(self, which: int, then: float) -> None:
        self.run(self.bed.campaigns.pause(self.campaigns[which].uid, STAGE, "a person said so"))
        self.let_pass(then)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), then=LAPSE)
    def pause_from_within(self, data, then: float) -> None:
        """A handler finds that its campaign cannot go on."""
        call = data.draw(st.sampled_from(self.calls))
        self.run(self.bed.campaigns.pause(call.item.campaign.uid, STAGE, "the endpoint refuses"))
        if not call.answer.done():
            call.answer.set_result(CampaignPaused("the endpoint refuses"))
        self.let_pass(then)

    @rule(which=st.integers(0, 1), then=LAPSE)
    def lift(self, which: int, then: float) -> None:
        self.run(self.bed.campaigns.resume(self.campaigns[which].uid))
        self.let_pass(then)

    # ---- rules: processes

    @precondition(lambda self: len(self.members) < MOST_MEMBERS)
    @rule(then=LAPSE)
    def start(self, then: float) -> None:
        self.run(self._start())
        self.let_pass(then)

    async def _start(self) -> None:
        async def handle(item: Item, campaign: Campaign) -> Sequence[Outgoing]:
            return await self._handle(member, item, campaign)

        member = Member(stage=self.bed.stage(handle, limits=LIMITS), stop=asyncio.Event())
        member.task = asyncio.create_task(member.stage.run(member.stop))
        self.members.append(member)
        await asyncio.sleep(0)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), then=LAPSE)
    def stop(self, data, then: float) -> None:
        """SIGTERM, with whatever is in work."""
        member = data.draw(st.sampled_from(self.members))
        member.stop.set()
        self.run(member.task)
        self.members.remove(member)
        self._never_alone()
        self.let_pass(then)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), then=LAPSE)
    def kill(self, data, then: float) -> None:
        member = data.draw(st.sampled_from(self.members))
        self.run(self._kill(member))
        self._never_alone()
        self.let_pass(then)

    def _never_alone(self) -> None:
        """A group without members teaches nothing."""
        if not self.members:
            self.run(self._start())

    async def _kill(self, member: Member) -> None:
        assert member.task is not None
        member.task.cancel()
        with suppress(asyncio.CancelledError):
            await member.task
        self.members.remove(member)

    # ---- what must be so at any moment

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
        """What a tracker holds as outstanding is what somebody works on for it: an old mark reaches no new tracker, nothing is forgotten."""
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

    # ---- and at rest

    def teardown(self) -> None:
        try:
            if self.sent:
                self.run(self._come_to_rest())
                self._check_at_rest()
        finally:
            self.run(self._close())
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
