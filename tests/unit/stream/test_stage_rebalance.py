"""Rebalances in the middle of calls: the calls go on and count, nothing is called twice, nothing is committed too far."""

import asyncio
from collections import Counter
from dataclasses import replace

from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.stream.port import Partition
from tests.unit.stream.bed import FAST, GROUP, Bed, Handler, until

IDS = [f"item-{number}" for number in range(60)]


async def polled(bed: Bed, times: int = 10) -> None:
    member = bed.stream.group(GROUP).members[0]
    polls = member.polls
    await until(lambda: member.polls > polls + times)


async def test_calls_in_progress_count_when_their_partition_comes_back(bed: Bed) -> None:
    """Four in work, the others waiting: a rebalance keeps the four, reads the others again, and repeats no call."""
    handler, campaign = Handler(), await bed.campaign()
    gate = handler.hold(*IDS)
    await bed.send(campaign, IDS)
    async with bed.running(handler, limits=replace(FAST, calls_in_flight=8)):
        await until(lambda: handler.in_flight == 8)
        for _ in range(3):
            bed.stream.revoke(GROUP)
            await polled(bed)
            bed.stream.settle()
            await polled(bed)
        assert (handler.in_flight, len(handler.calls)) == (8, 8)
        gate.set()
        await until(lambda: bed.at_rest(campaign))
    assert Counter(handler.calls) == Counter(IDS)
    assert Counter(bed.out(campaign)) == Counter(IDS)


async def test_what_waits_is_not_begun_while_its_partition_is_another_members(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    gate = handler.hold(*IDS)
    await bed.send(campaign, IDS)
    async with bed.running(handler, limits=replace(FAST, calls_in_flight=8)):
        await until(lambda: handler.in_flight == 8)
        bed.stream.revoke(GROUP)
        gate.set()
        await until(lambda: handler.in_flight == 0)
        await polled(bed)
        assert len(handler.calls) == 8
        bed.stream.settle()
        await until(lambda: bed.at_rest(campaign))
    assert Counter(handler.calls) == Counter(IDS)


async def test_what_ends_between_revoke_and_assign_is_not_forgotten(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    gate = handler.hold(*IDS)
    await bed.send(campaign, IDS)
    async with bed.running(handler, limits=replace(FAST, calls_in_flight=100)):
        await until(lambda: handler.in_flight == len(IDS))
        bed.stream.revoke(GROUP)
        gate.set()
        await until(lambda: len(bed.out(campaign)) == len(IDS))
        assert set(bed.committed(campaign).values()) == {0}  # not ours to commit
        bed.stream.settle()
        await until(lambda: bed.at_rest(campaign))
    assert Counter(handler.calls) == Counter(IDS)


async def test_the_last_commit_of_a_revoke_may_get_lost(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    gate = handler.hold("item-9")
    await bed.send(campaign, IDS)
    async with bed.running(handler, limits=replace(FAST, commit_interval_s=3600)):
        await until(lambda: len(bed.out(campaign)) == len(IDS) - 1)
        bed.stream.revoke(GROUP, commit=False)
        bed.stream.settle()
        gate.set()
        await until(lambda: len(bed.out(campaign)) == len(IDS))
    assert bed.at_rest(campaign)
    assert Counter(handler.calls) == Counter(IDS)


async def test_a_tracker_does_not_go_on_where_another_member_did(bed: Bed) -> None:
    """Meanwhile somebody else finished everything: our old calls end, and change nothing that the group has."""
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    gate = handler.hold(*IDS[:4])
    await bed.send(campaign, IDS[:20])
    async with bed.running(handler):
        await until(lambda: len(bed.out(campaign)) == 16)
        bed.stream.revoke(GROUP)
        bed.stream.group(GROUP).commit({Partition(f"actlabel.items.{campaign.uid}", 0): 20})
        bed.stream.settle()
        await bed.send(campaign, IDS[20:])
        await until(lambda: bed.at_rest(campaign))
        gate.set()
        await until(lambda: handler.in_flight == 0)
        await polled(bed)
    assert bed.committed(campaign) == {0: 60}
    offsets = [commit[p] for commit in bed.stream.group(GROUP).commits for p in commit]
    assert offsets == sorted(offsets)


async def test_a_group_that_was_set_back_is_read_again(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
        bed.stream.revoke(GROUP)
        bed.stream.group(GROUP).commit({Partition(f"actlabel.items.{campaign.uid}", 0): 50})
        bed.stream.settle()
        await until(lambda: len(handler.calls) == 70)
        await until(lambda: bed.at_rest(campaign))


async def test_a_call_that_fails_after_its_partition_went_is_left_to_the_next_owner(bed: Bed) -> None:
    """Not put aside by us, not tried again by us: only one may decide. When the partition comes back it is read again."""
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    gate = handler.hold("item-0", "item-1")
    handler.failing |= {"item-0": DeadLetter("no-label", "nonsense"), "item-1": RetryLater("again")}
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: len(bed.out(campaign)) == len(IDS) - 2)
        bed.stream.revoke(GROUP)
        gate.set()
        await until(lambda: handler.in_flight == 0)
        await polled(bed)
        assert await bed.dead.list(campaign.uid) == []
        assert len(handler.calls) == len(IDS)
        handler.failing.clear()
        bed.stream.settle()
        await until(lambda: bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS)
    assert len(handler.calls) == len(IDS) + 2


async def test_two_members_share_the_work_and_a_member_that_goes_leaves_it_to_the_other(bed: Bed) -> None:
    first, second, campaign = Handler(), Handler(), await bed.campaign(partitions=4)
    await bed.send(campaign, IDS)
    async with bed.running(first):
        async with bed.running(second):
            await until(lambda: len(bed.stream.group(GROUP).members) == 2)
            await until(lambda: bed.at_rest(campaign))
        await bed.send(campaign, [f"more-{number}" for number in range(60)])
        await until(lambda: bed.at_rest(campaign))
    assert set(bed.out(campaign)) == {*IDS, *(f"more-{number}" for number in range(60))}


async def test_rebalances_all_the_time_lose_nothing(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign(partitions=4)
    ids = [f"item-{number}" for number in range(400)]
    async with bed.running(handler, limits=replace(FAST, calls_in_flight=16, window_items=50)):
        sending = asyncio.create_task(bed.send(campaign, ids))
        await until(lambda: bool(bed.stream.group(GROUP).members))
        for turn in range(60):
            await polled(bed, 1)
            bed.stream.revoke(GROUP, commit=turn % 3 != 0)
            await asyncio.sleep(0)
            bed.stream.settle()
        await sending
        await until(lambda: bed.at_rest(campaign))
    assert set(bed.out(campaign)) == set(ids)


async def test_a_commit_that_failed_and_was_made_good_by_a_rebalance_is_no_trouble_any_more(bed: Bed) -> None:
    """Nothing is left to commit then, so no later commit would say that it works."""
    campaign = await bed.campaign()
    async with bed.running(Handler()) as stage:
        await until(lambda: stage.readiness() is None)
        await until(lambda: bool(bed.committed(campaign)))
        bed.stream.faults.fail("commit", RetryLater("no coordinator"))
        await bed.send(campaign, IDS)
        await until(lambda: len(bed.out(campaign)) == len(IDS) and stage.readiness() == "no coordinator")
        bed.stream.revoke(GROUP)
        bed.stream.settle()
        assert bed.at_rest(campaign), "the last commit of the revocation"
        await until(lambda: stage.readiness() is None)
