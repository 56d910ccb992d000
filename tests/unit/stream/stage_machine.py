"""Everything that can happen to a group of stages, in any order: see ``stage_group.py`` for what must be so all the while."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actlabel.core.errors import CampaignPaused, EndpointUnavailable, RetryLater
from actlabel.stream.memory_group import MemoryConsumer
from tests.unit.stream.bed import STAGE
from tests.unit.stream.stage_group import StageGroup

MOST_MEMBERS = 2
LAPSE = st.sampled_from((0.0, 0.002, 0.02, 0.06, 0.15))
"""Seconds that pass after a rule: nothing but what is ready, a look at the database, a poll, a commit."""
FAULTS = ("send", "acknowledge", "commit", "commit", "commit-answer", "poll")


class StageMachine(StageGroup):
    """See the module."""

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

    @precondition(lambda self: len(self.members) < MOST_MEMBERS)
    @rule(then=LAPSE)
    def start(self, then: float) -> None:
        self.run(self._start())
        self.let_pass(then)

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
