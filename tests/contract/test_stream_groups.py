"""What every stream promises about groups and their members, on the fake, on SQLite and on Kafka alike."""

import asyncio
from collections import defaultdict

from actlabel.core.errors import RetryLater
from actlabel.stream.port import Partition, only
from tests.contract.stream_bench import PARTITIONS, PATIENCE_S, Bench, Member, Owner, until


async def test_a_member_knows_where_its_partitions_end(bench: Bench):
    await bench.create()
    member = await bench.join()
    assert await member.consumer.ends() == dict.fromkeys(member.consumer.assignment(), 0)
    await member.hold(PARTITIONS)
    await bench.fill(5)
    assert await member.consumer.ends() == dict.fromkeys(bench.partitions(), 5)
    await member.read(20)
    assert await member.consumer.ends() == dict.fromkeys(bench.partitions(), 5)


async def test_a_group_resumes_where_it_committed(bench: Bench):
    await bench.create(partitions=1)
    await bench.send(10)
    first = await bench.join()
    await first.read(10)
    (partition,) = first.owner.held
    await first.consumer.commit({partition: 7})
    await bench.stream.close_consumer(first.consumer)
    assert await bench.stream.committed(bench.group, bench.topic) == {partition: 7}
    second = await bench.join()
    assert [record.offset for record in await second.read(3)] == [7, 8, 9]
    assert second.owner.committed == {partition: 7}


async def test_what_was_read_and_not_committed_comes_again(bench: Bench):
    await bench.create(partitions=1)
    await bench.send(5)
    first = await bench.join()
    await first.read(5)
    await bench.stream.close_consumer(first.consumer)
    second = await bench.join()
    assert [record.offset for record in await second.read(5)] == [0, 1, 2, 3, 4]


async def test_members_commit_their_start_so_that_lag_is_visible(bench: Bench):
    await bench.create()
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions())
    member = await bench.join()
    await member.hold(PARTITIONS)
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions(), 0)


async def test_the_owner_says_where_to_read_from(bench: Bench):
    await bench.create(partitions=1)
    await bench.send(10)
    partition = Partition(bench.topic, 0)
    member = await bench.join(Owner(starts={partition: 6}))
    assert [record.offset for record in await member.read(4)] == [6, 7, 8, 9]


async def test_topics_made_later_are_read_too(bench: Bench):
    await bench.create()
    member = await bench.join()
    await member.hold(PARTITIONS)
    later = await bench.create(f"{bench.prefix}.later", partitions=2)
    await bench.send(5, topic=later)
    await member.hold(PARTITIONS + 2)
    assert {record.partition.topic for record in await member.read(5)} == {later}


async def test_a_member_without_topics_waits_for_the_first(bench: Bench):
    member = await bench.join()
    assert not await member.poll(())
    assert member.owner.log == []
    await bench.create(partitions=1)
    await bench.send(1)
    await member.read(1)


async def test_members_share_partitions_and_take_over(bench: Bench):
    await bench.create()
    first, second = await bench.join(), None
    await first.hold(PARTITIONS)
    second = await bench.join()
    await asyncio.gather(first.hold(2), second.hold(2))
    assert first.owner.held | second.owner.held == set(bench.partitions())
    assert first.owner.log[:3] == ["assigned", "revoked", "assigned"] or first.owner.log == ["assigned", "revoked"]
    await bench.stream.close_consumer(second.consumer)
    await first.hold(PARTITIONS)


async def test_what_a_member_keeps_stays_with_it(bench: Bench):
    """Sticky: who has two of four partitions keeps one of its own when a third member comes."""
    await bench.create()
    first = await bench.join()
    await first.hold(PARTITIONS)
    second = await bench.join()
    await asyncio.gather(first.hold(2), second.hold(2))
    before = {id(member): set(member.owner.held) for member in (first, second)}
    third = await bench.join()
    members = (first, second, third)
    async with asyncio.timeout(PATIENCE_S):
        while sorted(len(member.owner.held) for member in members) != [1, 1, 2] or not third.owner.held:
            await asyncio.gather(*(member.poll((), max_records=1) for member in members))
    for member in (first, second):
        assert member.owner.held & before[id(member)]


async def test_a_handover_is_awaited_before_another_member_gets_what_was_revoked(bench: Bench):
    await bench.create()
    first, second = Owner(), Owner()

    async def hand_over() -> None:
        assert first.log[-1] == "revoked"
        for _ in range(20):  # whoever did not wait would be assigned meanwhile
            await asyncio.sleep(0.02)
        assert second.log == []
        first.log.append("handed over")

    one = await bench.join(first, handover=hand_over)
    await one.hold(PARTITIONS)
    joining = asyncio.create_task(bench.join(second))
    async with asyncio.timeout(PATIENCE_S):
        while not joining.done() or not second.held:
            await asyncio.gather(one.poll((), max_records=1), *([joining.result().poll((), max_records=1)] if joining.done() else []))
    await asyncio.gather(one.hold(2), joining.result().hold(2))
    assert first.log[:3] == ["assigned", "revoked", "handed over"]


async def test_a_member_that_leaves_hands_over_first(bench: Bench):
    await bench.create()
    left: list[str] = []

    async def hand_over() -> None:
        await asyncio.sleep(0.05)
        left.append("handed over")

    member = await bench.join(handover=hand_over)
    await member.hold(PARTITIONS)
    await bench.stream.close_consumer(member.consumer)
    assert left == ["handed over"]


async def test_a_handover_that_fails_or_does_not_end_stops_nobody(bench: Bench):
    await bench.create()
    begun: list[str] = []
    never = asyncio.Event()

    async def hang() -> None:
        begun.append("hangs")
        await never.wait()

    async def fail() -> None:
        begun.append("fails")
        raise RetryLater

    members = [await bench.join(handover=hang)]
    await members[0].hold(PARTITIONS)
    joining = asyncio.create_task(bench.join(handover=fail))
    async with asyncio.timeout(PATIENCE_S):
        while not joining.done():
            await members[0].poll((), max_records=1)
    await asyncio.gather(members[0].hold(2), joining.result().hold(2))
    await bench.stream.close_consumer(joining.result().consumer)
    await members[0].hold(PARTITIONS)
    assert {"hangs", "fails"} <= set(begun)
    never.set()


async def test_nothing_is_lost_while_members_come_and_go(bench: Bench):
    """Each member commits what it has read; when all have, every record was read by somebody."""
    await bench.create()
    read: set[bytes] = set()

    async def work(member: Member, stop: asyncio.Event) -> None:
        while not stop.is_set():
            last = {record.partition: record.offset + 1 for record in await member.poll(max_records=7)}
            read.update(record.key for record in member.records)
            await member.consumer.commit(last)
        await bench.stream.close_consumer(member.consumer)

    async def begin() -> tuple[Member, asyncio.Event, asyncio.Task[None]]:
        member, stop = await bench.join(), asyncio.Event()
        return member, stop, asyncio.create_task(work(member, stop))

    running = [await begin()]
    for round_ in range(3):
        await bench.send(200, first=200 * round_)
        running.append(await begin())
        await until(lambda: bool(running[-1][0].owner.held))
        _, stop, task = running.pop(0)
        stop.set()
        await task
    await until(lambda: len(read) == 600)
    _, stop, task = running.pop()
    stop.set()
    await task
    ends = await bench.stream.end_offsets(bench.topic)
    assert await bench.stream.committed(bench.group, bench.topic) == ends


async def test_the_last_offsets_of_a_revocation_are_committed(bench: Bench):
    await bench.create()
    await bench.fill(3)
    last = dict.fromkeys(bench.partitions(), 2)
    first = await bench.join(Owner(last=last))
    await first.hold(PARTITIONS)
    second = await bench.join()
    await asyncio.gather(first.hold(2), second.hold(2))
    assert {second.owner.committed[partition] for partition in second.owner.held} == {2}


async def test_a_commit_for_a_partition_of_somebody_else_is_left_out(bench: Bench):
    await bench.create()
    await bench.fill(1)
    first = await bench.join()
    await first.hold(PARTITIONS)
    second = await bench.join()
    await asyncio.gather(first.hold(2), second.hold(2))
    await first.consumer.commit(dict.fromkeys(bench.partitions(), 1))
    committed = await bench.stream.committed(bench.group, bench.topic)
    assert committed == {p: 1 if p in first.owner.held else 0 for p in bench.partitions()}


async def test_partitions_that_are_not_wanted_keep_their_records(bench: Bench):
    await bench.create()
    await bench.fill(20)
    member = await bench.join()
    await member.hold(PARTITIONS)
    one = bench.partitions()[1]
    async with asyncio.timeout(PATIENCE_S):
        while len(member.records) < 20:
            await member.poll([one])
    assert not await member.poll([one])
    everything = await member.read(20 * PARTITIONS)
    offsets: dict[Partition, list[int]] = defaultdict(list)
    for record in everything:
        offsets[record.partition].append(record.offset)
    assert dict(offsets) == {partition: list(range(20)) for partition in bench.partitions()}


async def test_partitions_take_turns(bench: Bench):
    await bench.create()
    await bench.fill(200)
    member = await bench.join()
    await member.hold(PARTITIONS)
    everything = await member.read(200 * PARTITIONS)  # warm: whatever a backend fetches ahead is there
    assert len(everything) == 200 * PARTITIONS
    await bench.fill(200)
    seen: dict[Partition, int] = defaultdict(int)
    async with asyncio.timeout(PATIENCE_S):
        while sum(seen.values()) < 400:
            for record in await member.poll(max_records=8):
                seen[record.partition] += 1
    assert set(seen) == set(bench.partitions())


async def test_a_poll_that_waits_is_woken_by_a_send(bench: Bench):
    await bench.create(partitions=1)
    member = await bench.join()
    await member.hold(1)
    waiting = asyncio.create_task(member.poll(timeout_s=PATIENCE_S * 10))
    await asyncio.sleep(0)
    await bench.send(1)
    async with asyncio.timeout(PATIENCE_S):
        assert len(await waiting) == 1


async def test_a_poll_that_waits_for_nothing_is_woken_by_partitions(bench: Bench):
    member = await bench.join()
    waiting = asyncio.create_task(member.poll((), timeout_s=PATIENCE_S * 10))
    await asyncio.sleep(0)
    await bench.create(partitions=1)
    async with asyncio.timeout(PATIENCE_S):
        assert not await waiting


async def test_commit_start_shows_the_lag_of_a_group_without_members_and_moves_nobody(bench: Bench):
    await bench.create(partitions=2)
    await bench.stream.commit_start(bench.group, bench.topic)
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions(count=2), 0)
    await bench.send(20)
    member = await bench.join()
    await member.read(20)
    await member.consumer.commit(dict.fromkeys(bench.partitions(count=2), 3))
    await bench.stream.commit_start(bench.group, bench.topic)
    await bench.stream.close_consumer(member.consumer)
    await bench.stream.commit_start(bench.group, bench.topic)
    assert await bench.stream.committed(bench.group, bench.topic) == dict.fromkeys(bench.partitions(count=2), 3)


async def test_a_member_may_read_one_topic_only_and_one_that_comes_later_too(bench: Bench):
    await bench.create(f"{bench.topic}-v2")
    owner = Owner()
    member = Member(await bench.stream.consumer(bench.group, topic_prefix=only(bench.topic), rebalance=owner), owner)
    await bench.create()
    await bench.send(5, topic=f"{bench.topic}-v2")
    await bench.send(7)
    assert {record.partition.topic for record in await member.read(7)} == {bench.topic}
    assert member.consumer.assignment() == frozenset(bench.partitions())
