"""A follower takes batches in order, commits what was taken and nothing else, and goes on through outages, pauses and rebalances."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from actlabel.core.errors import CampaignPaused, Fatal, RetryLater
from actlabel.stream.follower import Follower
from actlabel.stream.port import Partition, Record, TopicSettings
from tests.unit.stream.bed import FAST, Bed, until

TOPIC, GROUP, UID = "orders", "actlabel.source.u", "u"


class Taken:
    """Takes what it is given, but for what a test raises or holds."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = 0
        self.holds_from = 1_000_000  # the batch that the gate is shut before
        self.forgotten = 0

    async def take(self, records: Sequence[Record], /) -> None:
        self.begun += 1
        if self.begun >= self.holds_from:
            self.gate.clear()
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append([(record.partition.number, record.offset) for record in records])

    def forget(self) -> None:
        self.forgotten += 1

    @property
    def places(self) -> list[tuple[int, int]]:
        return [place for batch in self.batches for place in batch]


@pytest.fixture(autouse=True)
async def orders(bed: Bed) -> None:
    await bed.stream.create_topics({TOPIC: TopicSettings(partitions=2), f"{TOPIC}-v2": TopicSettings(partitions=2)})


async def send(bed: Bed, count: int, topic: str = TOPIC) -> None:
    for number in range(count):
        await bed.stream.producer().send(topic, key=b"%d" % number, value=b"x")


def follower(bed: Bed, taken: Taken) -> Follower:
    limits = replace(FAST, poll_records=5, drain_deadline_s=0.5)
    return Follower(
        stage="source", uid=UID, group=GROUP, topic=TOPIC, stream=bed.stream, taker=taken,
        campaigns=bed.campaigns, limits=limits, clock=bed.clock,
    )  # fmt: skip


@asynccontextmanager
async def running(bed: Bed, taken: Taken, *, killed: bool = False) -> AsyncIterator[Follower]:
    made, stop = follower(bed, taken), asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield made
    finally:
        if killed:
            task.cancel()
        stop.set()
        await asyncio.wait([task])
    if not killed:
        task.result()


def committed(bed: Bed) -> int:
    return sum(bed.stream.group(GROUP).committed.values())


async def test_everything_once_in_order_and_of_this_very_topic(bed: Bed) -> None:
    taken = Taken()
    await send(bed, 23)
    await send(bed, 9, f"{TOPIC}-v2")
    async with running(bed, taken):
        await until(lambda: len(taken.places) == 23)
        await send(bed, 4)
        await until(lambda: len(taken.places) == 27)
    assert len(set(taken.places)) == 27
    assert all(mine == sorted(mine) for mine in ([o for p, o in taken.places if p == number] for number in (0, 1)))
    assert all(len(batch) <= 5 for batch in taken.batches)
    assert committed(bed) == 27


async def test_an_outage_repeats_the_batch_and_commits_nothing_of_it(bed: Bed) -> None:
    taken = Taken()
    taken.errors = [RetryLater("the database is out of reach")] * 3
    await send(bed, 5)
    async with running(bed, taken) as made:
        await until(lambda: made.readiness() is not None)
        assert made.readiness() == "the database is out of reach"
        assert committed(bed) == 0
        await until(lambda: len(taken.places) == 5)
        await until(lambda: made.readiness() is None)
    assert committed(bed) == 5


async def test_a_kill_in_the_middle_reads_again_from_the_last_commit(bed: Bed) -> None:
    first, second = Taken(), Taken()
    first.holds_from = 2
    await send(bed, 12)
    async with running(bed, first, killed=True):
        await until(lambda: first.begun == 2)
    assert len(first.places) == 5
    assert committed(bed) <= 5
    async with running(bed, second):
        await until(lambda: committed(bed) == 12)
    assert len(set(first.places) | set(second.places)) == 12


async def test_a_rebalance_drops_the_batch_in_hand(bed: Bed) -> None:
    """Its records may be another member's now: they are read again from the commit, and what this take did counts for nothing."""
    taken = Taken()
    await send(bed, 5)
    taken.gate.clear()
    async with running(bed, taken):
        await until(lambda: taken.begun == 1)
        bed.stream.revoke(GROUP)
        bed.stream.settle()
        taken.gate.set()
        await until(lambda: committed(bed) == 5)
    assert len(taken.places) == 10, "taken by the first attempt, and again after the rebalance"
    assert taken.forgotten >= 2


async def test_what_another_member_committed_meanwhile_is_never_set_back(bed: Bed) -> None:
    taken = Taken()
    await send(bed, 12)
    taken.gate.clear()
    group = bed.stream.group(GROUP)
    async with running(bed, taken):
        await until(lambda: taken.begun == 1)
        bed.stream.revoke(GROUP)
        group.commit(await bed.stream.end_offsets(TOPIC))  # another member had them, and took everything
        bed.stream.settle()
        taken.gate.set()
        await until(lambda: len(taken.batches) == 1)
        polls = group.members[0].polls
        await until(lambda: group.members[0].polls >= polls + 2)
    assert committed(bed) == 12
    assert taken.begun == 1


async def test_a_pause_holds_everything_until_it_is_lifted(bed: Bed) -> None:
    taken = Taken()
    await bed.campaigns.pause(UID, "source", "by hand")
    await send(bed, 5)
    async with running(bed, taken):
        group = bed.stream.group(GROUP)
        await until(lambda: group.members and group.members[0].polls >= 2)
        assert set(group.members[0].positions.values()) == {0}, "nothing is read"
        await bed.campaigns.resume(UID)
        await until(lambda: len(taken.places) == 5)


async def test_a_pause_in_the_middle_keeps_the_batch(bed: Bed) -> None:
    taken = Taken()
    await send(bed, 5)
    await bed.campaigns.pause(UID, "other-stage", "not ours")
    taken.errors = [CampaignPaused("too many dead letters")]
    async with running(bed, taken):
        await until(lambda: len(taken.places) == 5)  # the database says that there is no pause any more
    assert taken.begun == 2
    assert committed(bed) == 5


async def test_stop_ends_in_the_deadline_and_commits_nothing_unfinished(bed: Bed) -> None:
    taken = Taken()
    await send(bed, 5)
    taken.gate.clear()
    async with running(bed, taken):
        await until(lambda: taken.begun == 1)
    assert taken.places == []
    assert committed(bed) == 0


async def test_what_cannot_go_on_is_raised_as_what_to_do(bed: Bed) -> None:
    taken = Taken()
    bed.stream.faults.fail("join", Fatal("refused"))
    with pytest.raises(RetryLater, match="orders cannot be followed: refused"):
        await follower(bed, taken).run(asyncio.Event())
    bed.stream.faults.mend("join")
    bed.stream.faults.fail("poll", Fatal("lost"), times=1)
    with pytest.raises(RetryLater, match="orders cannot be followed: lost"):
        await follower(bed, taken).run(asyncio.Event())
    taken.errors = [Fatal("our own producer is broken")]
    await send(bed, 1)
    with pytest.raises(Fatal, match="our own producer"):
        await follower(bed, taken).run(asyncio.Event())


async def test_commit_failures_are_made_up_for(bed: Bed) -> None:
    taken = Taken()
    await send(bed, 5)
    bed.stream.faults.fail("commit", RetryLater("no"), times=2)
    async with running(bed, taken):
        await until(lambda: committed(bed) == 5)
    assert bed.stream.group(GROUP).committed[Partition(TOPIC, 0)] > 0


async def test_only_a_loop_that_stands_still_asks_for_a_restart(still_bed: Bed) -> None:
    await still_bed.stream.create_topics({TOPIC: TopicSettings(partitions=1)})
    made, stop, hangs = follower(still_bed, Taken()), asyncio.Event(), asyncio.Event()
    still_bed.clock.advance(1000.0)
    assert made.liveness() is None, "waiting for a broker is none"
    task = asyncio.create_task(made.run(stop))
    await until(lambda: still_bed.stream.group(GROUP).members and still_bed.stream.group(GROUP).members[0].polls >= 1)
    assert made.liveness() is None

    async def hang(*_: object, **__: object) -> None:
        hangs.set()
        await asyncio.Event().wait()

    still_bed.stream.group(GROUP).members[0].poll = hang
    await hangs.wait()
    still_bed.clock.advance(61.0)
    assert made.liveness() == "orders has not been asked for 61 s"
    task.cancel()
    await asyncio.wait([task])
