"""Rebalances, lost commits and double deliveries against the simulated owner of a partition: nothing is lost, ever."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actlabel.stream.assignment import Assignment
from actlabel.stream.port import Partition
from actlabel.stream.tracker import Tracker

PARTITION = Partition("actlabel.items.c1", 0)
LOG = [offset for offset in range(40) if offset % 7 != 3]  # with holes
END = 40


@dataclass(eq=False)
class Job:
    """A record in work or waiting."""

    tracker: Tracker
    offset: int


class Owner(RuleBasedStateMachine):
    """One member of a group with one partition, and another member that takes over when the first has lost it."""

    def __init__(self) -> None:
        super().__init__()
        self.assignment = Assignment(withdraw=self.withdraw, changed=lambda: None)
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.out: set[int] = set()
        self.committed = 0
        self.position = 0
        self.assign()

    def withdraw(self, trackers) -> None:
        for tracker in trackers:
            tracker.rewind([job.offset for job in self.waiting if job.tracker is tracker])
            self.waiting = [job for job in self.waiting if job.tracker is not tracker]

    @property
    def mine(self) -> Tracker | None:
        return self.assignment.trackers.get(PARTITION)

    def assign(self) -> None:
        self.position = self.assignment.assigned({PARTITION: self.committed})[PARTITION]
        assert self.position >= self.committed

    @precondition(lambda self: self.mine)
    @rule(count=st.integers(1, 6), back=st.integers(0, 3))
    def read(self, count: int, back: int) -> None:
        """Read on, ``back`` records being delivered a second time."""
        upcoming = [offset for offset in LOG if offset >= self.position][:count]
        again = [offset for offset in LOG if self.mine.committed <= offset < self.position][-back:] if back else []
        for offset in again + upcoming:
            known = {job.offset for job in self.waiting + self.running if job.tracker is self.mine}
            if self.mine.dispatch(offset, 1):
                assert offset not in known, "a call in progress must not be repeated"
                self.waiting.append(Job(self.mine, offset))
            self.position = max(self.position, offset + 1)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def begin(self, data) -> None:
        job = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(job)
        self.running.append(job)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), succeeds=st.booleans())
    def end(self, data, succeeds: bool) -> None:
        """A call ends, of the present assignment or of an earlier one; a failed one waits again, or is left to the next owner."""
        job = data.draw(st.sampled_from(self.running))
        self.running.remove(job)
        present = self.mine
        before = present and (present.watermark, present.outstanding, present.items, present.next)
        if succeeds:
            self.out.add(job.offset)
            job.tracker.done(job.offset)
        elif self.assignment.owns(job.tracker):
            self.waiting.append(job)
        else:
            job.tracker.rewind((job.offset,))
        if present and job.tracker is not present:
            assert before == (present.watermark, present.outstanding, present.items, present.next), "an old mark reached a new tracker"

    @precondition(lambda self: self.mine)
    @rule(arrives=st.booleans(), answered=st.booleans())
    def commit(self, arrives: bool, answered: bool) -> None:
        """Commit; it may be lost, or arrive without an answer."""
        offsets = self.assignment.committable()
        if arrives and offsets:
            self.committed = offsets[self.mine]
            if answered:
                self.assignment.committed(offsets, changes=self.assignment.changes)

    @precondition(lambda self: self.mine)
    @rule(arrives=st.booleans())
    def revoke(self, arrives: bool) -> None:
        last = self.assignment.revoked([PARTITION])[PARTITION]
        if arrives:
            self.committed = last

    @precondition(lambda self: not self.mine)
    @rule(count=st.integers(0, 10))
    def another_member_works(self, count: int) -> None:
        done = [offset for offset in LOG if offset >= self.committed][:count]
        self.out.update(done)
        self.committed = max([self.committed, *(offset + 1 for offset in done)])

    @precondition(lambda self: not self.mine)
    @rule()
    def back(self) -> None:
        self.assign()

    @invariant()
    def nothing_is_committed_that_is_not_out(self) -> None:
        assert self.out.issuperset(offset for offset in LOG if offset < self.committed)

    @invariant()
    def nothing_is_committed_beyond_the_lowest_in_work(self) -> None:
        if self.mine:
            mine = [job.offset for job in self.waiting + self.running if job.tracker is self.mine]
            assert self.mine.watermark <= min(mine, default=END)
            assert self.mine.outstanding == len(mine)

    def teardown(self) -> None:
        """Once all is quiet every record is out and the group stands at the end: no partition freezes."""
        if not self.mine:
            self.assign()
        self.read(END, 0)
        for job in self.waiting + self.running:
            self.out.add(job.offset)
            job.tracker.done(job.offset)
        offsets = self.assignment.committable()
        self.assignment.committed(offsets, changes=self.assignment.changes)
        assert self.out == set(LOG)
        assert self.mine.committed == LOG[-1] + 1
        assert self.mine.items == 0
        assert self.mine.bytes == 0


Owner.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestOwner = Owner.TestCase
