"""Consumer groups of the stream in memory: members, what they committed, and rebalances that a test starts when it likes."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from actlabel.stream.partition_shares import share
from actlabel.stream.port import Handover, Partition, Rebalance, Record

Read = Callable[[Partition, int, int], Sequence[Record]]
"""Partition, first offset, how many at most."""


class MemoryConsumer:
    """See ``port.Consumer``."""

    def __init__(
        self,
        group: "MemoryGroup",
        *,
        topic_prefix: str,
        rebalance: Rebalance,
        handover: Handover | None = None,
        read: Read,
        end: Callable[[Partition], int],
    ) -> None:
        """Begin without partitions."""
        self._group = group
        self._read = read
        self._end = end
        self.positions: dict[Partition, int] = {}  # what is read next
        self._generation = 0
        self._news = asyncio.Event()
        self._turn = 0
        self.topic_prefix = topic_prefix
        self.rebalance = rebalance
        self.handover = handover
        self.polls = 0  # how often it was asked, for tests
        self.given_up = False  # by a test: the group counts it as gone, and it has not learned that yet

    def assignment(self) -> frozenset[Partition]:
        """See ``port.Consumer``."""
        return frozenset(self.positions)

    def leave_out(self, topics: Collection[str]) -> None:
        """See ``port.Consumer``."""

    async def ends(self) -> Mapping[Partition, int]:
        """See ``port.Consumer``."""
        return {partition: self._end(partition) for partition in self.positions}

    def wake(self) -> None:
        """Somebody wrote, or the assignment changed: a waiting poll looks again."""
        self._news.set()

    def take(self, committed: Mapping[Partition, int]) -> None:
        """Get partitions, and read them from where the owner says."""
        starts = self.rebalance.assigned(committed)
        self._generation += 1
        self.positions |= {partition: starts.get(partition, offset) for partition, offset in committed.items()}
        self.wake()

    def give(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Lose partitions; returns the last offsets to commit for them."""
        self._generation += 1
        for partition in partitions:
            del self.positions[partition]
        self.wake()
        return self.rebalance.revoked(partitions)

    async def poll(self, wanted: Collection[Partition], *, max_records: int, timeout_s: float) -> Sequence[Record]:
        """See ``port.Consumer``."""
        self.polls += 1
        self._group.faults.check("poll")
        before = self.assignment()
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not (records := self._next(wanted, max_records)) and self.assignment() == before:
            self._news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                break
        await asyncio.sleep(0)
        return [record for record in records if self._move(record)]

    def _next(self, wanted: Collection[Partition], most: int) -> Sequence[Record]:
        mine = [partition for partition in wanted if partition in self.positions]
        self._turn += 1
        first = self._turn % len(mine) if mine else 0
        records: list[Record] = []
        for partition in mine[first:] + mine[:first]:
            records += self._read(partition, self.positions[partition], most - len(records))
        return records

    def _move(self, record: Record) -> bool:
        """Step over a record; one of a partition that went away or was set back meanwhile is read again from where it stands."""
        position = self.positions.get(record.partition)
        if position is None or record.offset < position or self._skips(record, position):
            return False
        self.positions[record.partition] = record.offset + 1
        return True

    def _skips(self, record: Record, position: int) -> bool:
        first = self._read(record.partition, position, 1)
        return bool(first) and first[0].offset != record.offset

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See ``port.Consumer``."""
        self._group.faults.check("commit")
        generation = self._generation
        await asyncio.sleep(self._group.faults.commit_s)
        taken = generation == self._generation and not self.given_up  # as Kafka fences the commits of an earlier generation
        if taken:
            self._group.commit({p: offset for p, offset in offsets.items() if p in self.positions})
        self._group.faults.check("commit-answer")
        return taken


class MemoryFaults:
    """What goes wrong: errors to raise by operation, always or so many times.

    Before anything happened: ``send``, ``poll``, ``commit``, ``join``; after it did: ``acknowledge`` (of a send), ``commit-answer``.
    """

    def __init__(self) -> None:
        """Begin with a stream that works."""
        self._errors: dict[str, tuple[Exception, int | None]] = {}
        self.commit_s = 0.0  # how long a commit is on its way

    def fail(self, operation: str, error: Exception, *, times: int | None = None) -> None:
        """Raise ``error`` from an operation, the next ``times`` or until ``mend``."""
        self._errors[operation] = error, times

    def mend(self, operation: str) -> None:
        """Let an operation work again."""
        self._errors.pop(operation, None)

    def check(self, operation: str) -> None:
        """Raise what is due."""
        error, times = self._errors.get(operation, (None, None))
        if error is None:
            return
        if times is not None:
            self._errors[operation] = error, times - 1
            if times <= 1:
                self.mend(operation)
        raise error


class MemoryGroup:
    """The members of one group, who has which partition, and what is committed."""

    def __init__(self, faults: MemoryFaults) -> None:
        """Begin without members."""
        self.faults = faults
        self.members: list[MemoryConsumer] = []
        self.committed: dict[Partition, int] = {}
        self.commits: list[Mapping[Partition, int]] = []  # every commit that arrived, for tests

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Store offsets."""
        self.committed |= offsets
        self.commits.append(dict(offsets))

    def revoke(self, partitions: Collection[Partition], *, commit: bool = True) -> None:
        """Take partitions from whoever has them. ``commit=False``: the last commit is lost."""
        for member in self.members:
            if mine := member.assignment() & set(partitions):
                last = member.give(mine)
                if commit:
                    self.commit({p: offset for p, offset in last.items() if p in mine})

    def withdraw(self, topics: Mapping[str, int]) -> Sequence[MemoryConsumer]:
        """Take what members lose when the partitions of ``topics`` are shared anew; returns those who lost something."""
        plan = self._plan(topics)
        losers = [(member, lost) for member in self.members if (lost := member.assignment() - plan[member])]
        for _, lost in losers:
            self.revoke(lost)
        return [member for member, _ in losers]

    def settle(self, topics: Mapping[str, int]) -> None:
        """Share the partitions of ``topics`` (name → partitions) anew; members keep what they can."""
        self.withdraw(topics)
        for member, theirs in self._plan(topics).items():
            if gained := theirs - member.assignment():
                member.take({partition: self.committed.setdefault(partition, 0) for partition in gained})

    def _plan(self, topics: Mapping[str, int]) -> Mapping[MemoryConsumer, set[Partition]]:
        partitions = [Partition(topic, number) for topic, count in topics.items() for number in range(count)]
        prefixes = {member: member.topic_prefix for member in self.members}
        return share(partitions, prefixes=prefixes, held={member: member.assignment() for member in self.members})
