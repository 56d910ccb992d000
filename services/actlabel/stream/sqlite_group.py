"""Consumer groups of the embedded log. Members live in this process; what they committed lives in the file."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from actlabel.stream.cancelling import wait_at_most
from actlabel.stream.handover import handed_over
from actlabel.stream.partition_shares import share
from actlabel.stream.port import Handover, Partition, Rebalance, Record
from actlabel.stream.sqlite_log import Commit

_Read = Callable[[Mapping[Partition, int], int], Awaitable[Sequence[Record]]]
_Committed = Callable[[str, str], Awaitable[Mapping[Partition, int | None]]]
_Store = Callable[[Collection[Commit]], Awaitable[None]]
_Ends = Callable[[str], Awaitable[Mapping[Partition, int]]]
_START: Final = 0


class SqliteConsumer:
    """See ``port.Consumer``."""

    def __init__(
        self,
        group: str,
        *,
        topic_prefix: str,
        rebalance: Rebalance,
        handover: Handover | None,
        read: _Read,
        store: _Store,
        ends: _Ends,
    ) -> None:
        """Begin without partitions."""
        self.group = group
        self.topic_prefix = topic_prefix
        self._rebalance = rebalance
        self._handover = handover
        self._read = read
        self._store = store
        self._ends = ends
        self._positions: dict[Partition, int] = {}
        self._news = asyncio.Event()
        self._shares = 0  # how often the assignment changed
        self._turn = 0
        self._failure: Exception | None = None

    def assignment(self) -> frozenset[Partition]:
        """See ``port.Consumer``."""
        return frozenset(self._positions)

    def leave_out(self, topics: Collection[str]) -> None:
        """See ``port.Consumer``."""

    async def ends(self) -> Mapping[Partition, int]:
        """See ``port.Consumer``."""
        mine = self.assignment()
        known = [await self._ends(topic) for topic in sorted({p.topic for p in mine})]
        return {p: end for ends in known for p, end in ends.items() if p in mine}

    def wake(self) -> None:
        """Somebody wrote: a waiting poll looks again."""
        self._news.set()

    def fail(self, error: Exception) -> None:
        """Let the next poll raise what went wrong behind its back."""
        self._failure = error
        self._news.set()

    def take(self, committed: Mapping[Partition, int]) -> None:
        """Get partitions, and read them from where the owner says."""
        starts = self._rebalance.assigned(committed)
        for partition, offset in committed.items():
            self._positions[partition] = starts.get(partition, offset)
        self._shares += 1
        self._news.set()

    def give(self, partitions: Collection[Partition]) -> Sequence[Commit]:
        """Lose partitions; returns the last offsets to commit for them."""
        for partition in partitions:
            del self._positions[partition]
        self._shares += 1
        self._news.set()
        last = self._rebalance.revoked(partitions)
        return [Commit(group=self.group, partition=p, offset=offset) for p, offset in last.items() if p in partitions]

    async def hand_over(self) -> None:
        """Do what must be done after partitions were lost and before somebody else gets them."""
        await handed_over(self._handover, group=self.group)

    async def poll(self, wanted: Collection[Partition], *, max_records: int, timeout_s: float) -> Sequence[Record]:
        """See ``port.Consumer``."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        shares = self._shares
        while True:
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            records = await self._next(wanted, max_records)
            if records or self._shares != shares:
                return records
            await wait_at_most(self._news, deadline - asyncio.get_running_loop().time())
            if not self._news.is_set():
                return ()

    async def _next(self, wanted: Collection[Partition], max_records: int) -> Sequence[Record]:
        starts = {p: self._positions[p] for p in self._in_turn(wanted)}
        if not starts:
            return ()
        read = await self._read(starts, max_records)
        # a partition that was given away or moved while the thread read is read again from where it stands
        records = [record for record in read if self._positions.get(record.partition) == starts[record.partition]]
        for record in records:
            starts[record.partition] = record.offset + 1
        self._positions.update({record.partition: starts[record.partition] for record in records})
        return records

    def _in_turn(self, wanted: Collection[Partition]) -> list[Partition]:
        mine = [p for p in wanted if p in self._positions]
        self._turn += 1
        first = self._turn % len(mine) if mine else 0
        return mine[first:] + mine[:first]

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See ``port.Consumer``."""
        mine = [Commit(group=self.group, partition=p, offset=offset) for p, offset in offsets.items() if p in self._positions]
        if mine:
            await self._store(mine)
        return bool(mine)


class SqliteGroup:
    """The members of one group, and who has which partition."""

    def __init__(self, name: str, *, committed: _Committed, store: _Store) -> None:
        """``committed`` and ``store`` read and write the group's offsets."""
        self._name = name
        self._committed = committed
        self._store = store
        self._changing = asyncio.Lock()
        self.members: list[SqliteConsumer] = []

    async def settle(self, topics: Mapping[str, int]) -> None:
        """Share the partitions of ``topics`` (name → partitions) anew: first those who lose, then those who get."""
        async with self._changing:
            partitions = [Partition(topic, number) for topic, count in topics.items() for number in range(count)]
            held = {member: member.assignment() for member in self.members}
            plan = share(partitions, prefixes={member: member.topic_prefix for member in self.members}, held=held)
            losers = [member for member, mine in held.items() if mine - plan[member]]
            last = [commit for member in losers for commit in member.give(held[member] - plan[member])]
            await asyncio.gather(*(member.hand_over() for member in losers))
            if last:
                await self._store(last)
            for member, theirs in plan.items():
                if gained := theirs - held[member]:
                    member.take(await self._starts(gained))

    async def _starts(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Read where the group stands; where it never was, it stands at the start and that is committed, so that its lag is visible."""
        stored: dict[Partition, int | None] = {}
        for topic in sorted({p.topic for p in partitions}):
            stored.update(await self._committed(self._name, topic))
        new = [Commit(group=self._name, partition=p, offset=_START) for p in partitions if stored.get(p) is None]
        if new:
            await self._store(new)
        return {p: stored.get(p) or _START for p in partitions}
