"""The stage loop: every record gets out, whatever goes wrong on the way, and nothing is committed that is not out."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core.errors import DeadLetter, EndpointUnavailable, Fatal, RetryLater
from actlabel.runtime.campaigns import Campaign
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.partitioner import partition_of
from tests.unit.stream.bed import FAST, GROUP, Bed, Handler, fake_clock, until

IDS = [f"item-{number}" for number in range(60)]


def committed_below_unfinished(bed: Bed, campaign, unfinished: set[str]) -> bool:
    """Whether the group has nothing at or beyond a record that is not finished."""
    lowest: dict[int, int] = {}
    for item_id, (partition, offset) in bed.offsets(campaign).items():
        if item_id in unfinished:
            lowest[partition.number] = min(lowest.get(partition.number, offset), offset)
    return all(bed.committed(campaign)[number] <= offset for number, offset in lowest.items())


async def test_every_item_gets_out_once_and_is_committed(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS)
    assert Counter(handler.calls) == Counter(IDS)


async def test_items_of_a_campaign_that_comes_later_get_out_too(bed: Bed) -> None:
    async with bed.running(Handler()):
        campaign = await bed.campaign()
        await bed.send(campaign, IDS)
        await until(lambda: bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS)


async def test_a_new_group_commits_its_start_so_that_lag_is_seen(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    async with bed.running(handler):
        await until(lambda: bed.committed(campaign) == {0: 0, 1: 0, 2: 0} and bool(bed.stream.group(GROUP).commits))


async def test_a_slow_item_holds_the_commit_back_and_nothing_else(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    gate = handler.hold("item-7")
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: len(bed.out(campaign)) == len(IDS) - 1)
        await until(lambda: bed.committed(campaign)[0] == 7)
        gate.set()
        await until(lambda: bed.at_rest(campaign))
    assert all(
        commit.get(partition, 0) <= 7 or "item-7" in bed.out(campaign) for commit in bed.stream.group(GROUP).commits for partition in commit
    )


async def test_nothing_is_committed_before_it_is_acknowledged(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    async with bed.running(handler):
        await until(lambda: bool(bed.committed(campaign)))
        await bed.send(campaign, IDS)
        bed.stream.hold_acks()
        await until(lambda: len(bed.out(campaign)) == len(IDS))
        polls = bed.stream.group(GROUP).members[0].polls
        await until(lambda: bed.stream.group(GROUP).members[0].polls > polls + 5)  # several commit intervals
        assert set(bed.committed(campaign).values()) == {0}
        bed.stream.release_acks()
        await until(lambda: bed.at_rest(campaign))


async def test_calls_in_flight_are_bounded_and_a_call_that_only_waits_for_its_acknowledgement_is_none(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    bed.stream.hold_acks()
    task = asyncio.create_task(bed.send(campaign, IDS))
    await asyncio.sleep(0)
    bed.stream.release_acks()
    await task
    bed.stream.hold_acks()
    async with bed.running(handler, limits=replace(FAST, calls_in_flight=4)):
        await until(lambda: len(bed.out(campaign)) == len(IDS))
        assert handler.most_in_flight <= 4
        bed.stream.release_acks()
        await until(lambda: bed.at_rest(campaign))


async def test_a_failed_produce_is_repeated_without_calling_again(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, IDS)
    bed.stream.faults.fail("send", RetryLater("the broker is not there"), times=25)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS)
    assert Counter(handler.calls) == Counter(IDS)


async def test_a_stream_out_of_reach_is_waited_for(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, IDS)
    for operation in ("poll", "commit"):
        bed.stream.faults.fail(operation, RetryLater("the broker is not there"))
    async with bed.running(handler) as stage:
        await until(lambda: stage.readiness() is not None and "broker" in (stage.readiness() or ""))
        assert stage.liveness() is None
        bed.stream.faults.mend("poll")
        await until(lambda: len(bed.out(campaign)) == len(IDS))
        assert set(bed.committed(campaign).values()) == {0}
        bed.stream.faults.mend("commit")
        await until(lambda: bed.at_rest(campaign) and stage.readiness() is None)


async def test_a_group_that_cannot_be_joined_is_waited_for(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, IDS)
    bed.stream.faults.fail("join", RetryLater("no coordinator"))
    async with bed.running(handler) as stage:
        await until(lambda: stage.readiness() == "no coordinator")
        bed.stream.faults.mend("join")
        await until(lambda: bed.at_rest(campaign))


async def test_fatal_ends_the_stage(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    handler.failing["item-3"] = Fatal("the disk is full")
    await bed.send(campaign, IDS)
    stage = bed.stage(handler)
    with pytest.raises(Fatal, match="disk is full"):
        await stage.run(asyncio.Event())
    assert "disk is full" in (stage.liveness() or "")
    assert committed_below_unfinished(bed, campaign, set(IDS) - set(bed.out(campaign)))


async def test_our_own_outage_is_never_a_reason_to_put_an_item_aside(still_bed: Bed) -> None:
    bed = still_bed
    handler, campaign = Handler(), await bed.campaign()
    handler.failing |= dict.fromkeys(IDS[:5], RetryLater("the database is out of reach"))
    await bed.send(campaign, IDS)
    async with bed.running(handler) as stage:
        for _ in range(5):  # far beyond the deadline of 900 s
            before = Counter(handler.calls)
            await until(lambda before=before: all(handler.calls.count(failing) > before[failing] for failing in IDS[:5]))
            fake_clock(bed).advance(1000)
        assert "database is out of reach" in (stage.readiness() or "")
        handler.failing.clear()
        await until(lambda: fake_clock(bed).advance(10) or bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS)
    assert await bed.dead.list(campaign.uid) == []


async def test_campaigns_that_cannot_be_read_are_waited_for(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_reach(uid: str, version: int) -> Campaign:
        raise RetryLater("the database is out of reach")

    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, IDS)
    monkeypatch.setattr(bed.campaigns, "get", out_of_reach)
    async with bed.running(handler) as stage:
        await until(lambda: "out of reach" in (stage.readiness() or ""))
        assert handler.calls == []
        monkeypatch.undo()
        await until(lambda: bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS)


async def test_an_endpoint_that_stays_away_counts_towards_the_deadline(still_bed: Bed) -> None:
    bed = still_bed
    handler, campaign = Handler(), await bed.campaign()
    handler.failing["item-3"] = EndpointUnavailable("503 again and again")
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: handler.calls.count("item-3") >= 1)
        await until(lambda: fake_clock(bed).advance(10) or bed.at_rest(campaign))
    assert handler.calls.count("item-3") > 1
    (dead,) = await bed.dead.list(campaign.uid)
    assert (dead.item_id, dead.reason) == ("item-3", "deadline")
    assert "503" in dead.detail
    assert set(bed.out(campaign)) == set(IDS) - {"item-3"}


async def test_a_handler_that_hangs_is_cut_at_the_deadline_and_delays_only_itself(still_bed: Bed) -> None:
    bed = still_bed
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    handler.hold("item-3")
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: len(bed.out(campaign)) == len(IDS) - 1)
        await until(lambda: bed.committed(campaign)[0] == 3)
        fake_clock(bed).advance(899)
        polls = bed.stream.group(GROUP).members[0].polls
        await until(lambda: bed.stream.group(GROUP).members[0].polls > polls + 10)
        assert handler.cancelled == []
        fake_clock(bed).advance(2)
        await until(lambda: bed.at_rest(campaign))
    assert handler.cancelled == ["item-3"]
    (dead,) = await bed.dead.list(campaign.uid)
    assert (dead.item_id, dead.reason) == ("item-3", "deadline")


async def test_a_handler_that_does_not_listen_is_cut_again(still_bed: Bed) -> None:
    bed = still_bed
    handler, campaign = Handler(), await bed.campaign()
    cuts: list[str] = []

    async def deaf(item: Item, campaign: Campaign) -> Sequence[Outgoing]:
        while item.id == "item-3" and len(cuts) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cuts.append(item.id)
        if item.id == "item-3":
            await asyncio.Event().wait()
        return await handler(item, campaign)

    await bed.send(campaign, IDS)
    async with bed.running(deaf):
        await until(lambda: len(bed.out(campaign)) == len(IDS) - 1)
        fake_clock(bed).advance(901)
        for number in (1, 2):
            await until(lambda number=number: len(cuts) == number)
            fake_clock(bed).advance(1)
        await until(lambda: bed.at_rest(campaign))
    assert [one.reason for one in await bed.dead.list(campaign.uid)] == ["deadline"]


async def test_a_handler_cut_while_we_were_out_of_reach_is_tried_again(still_bed: Bed) -> None:
    bed = still_bed
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    gate = handler.hold("item-3")
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: len(bed.out(campaign)) == len(IDS) - 1)
        bed.stream.faults.fail("poll", RetryLater("the broker is not there"), times=1)
        polls = bed.stream.group(GROUP).members[0].polls
        await until(lambda: bed.stream.group(GROUP).members[0].polls > polls + 2)
        fake_clock(bed).advance(901)
        await until(lambda: handler.cancelled == ["item-3"])
        gate.set()
        await until(lambda: fake_clock(bed).advance(10) or bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS)
    assert await bed.dead.list(campaign.uid) == []


async def test_a_defect_of_the_handler_puts_the_item_aside_and_the_others_go_on(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    handler.failing |= {"item-3": ZeroDivisionError("by zero"), "item-4": DeadLetter("no-label", "the model said nothing")}
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
    dead = {one.item_id: (one.reason, one.detail) for one in await bed.dead.list(campaign.uid)}
    assert dead == {"item-3": ("defect", "ZeroDivisionError: by zero"), "item-4": ("no-label", "the model said nothing")}
    assert Counter(bed.out(campaign)) == Counter(set(IDS) - {"item-3", "item-4"})


async def test_stop_lets_calls_in_progress_finish_and_begins_no_other(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    gate = handler.hold(*IDS)
    await bed.send(campaign, IDS)
    stage, stop = bed.stage(handler, limits=replace(FAST, calls_in_flight=8)), asyncio.Event()
    task = asyncio.create_task(stage.run(stop))
    await until(lambda: handler.in_flight == 8)
    polls = bed.stream.group(GROUP).members[0].polls
    stop.set()
    await until(lambda: bed.stream.group(GROUP).members[0].polls > polls + 2)  # the group still sees signs of life
    gate.set()
    await task
    assert Counter(bed.out(campaign)) == Counter(handler.calls)
    assert len(handler.calls) == 8
    assert committed_below_unfinished(bed, campaign, set(IDS) - set(bed.out(campaign)))
    assert sum(bed.committed(campaign).values()) > 0
    assert bed.stream.group(GROUP).members == []


async def test_stop_gives_up_what_is_not_done_at_the_drain_deadline(still_bed: Bed) -> None:
    bed = still_bed
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    handler.hold("item-30")
    await bed.send(campaign, IDS)
    stage, stop = bed.stage(handler), asyncio.Event()
    task = asyncio.create_task(stage.run(stop))
    await until(lambda: len(bed.out(campaign)) == len(IDS) - 1)
    stop.set()
    polls = bed.stream.group(GROUP).members[0].polls
    await until(lambda: bed.stream.group(GROUP).members[0].polls > polls + 2)
    assert not task.done()
    fake_clock(bed).advance(6)
    await task
    assert handler.cancelled == ["item-30"]
    assert bed.committed(campaign) == {0: 30}


async def test_what_a_stage_abandons_the_next_one_does(bed: Bed) -> None:
    first, second, campaign = Handler(), Handler(), await bed.campaign()
    first.hold(*IDS[20:30])
    await bed.send(campaign, IDS)
    async with bed.killed(first):
        await until(lambda: len(bed.out(campaign)) == len(IDS) - 10)
    async with bed.running(second):
        await until(lambda: bed.at_rest(campaign))
    assert set(bed.out(campaign)) == set(IDS)


async def test_a_kill_repeats_no_more_than_the_window(bed: Bed) -> None:
    """The head hangs, so nothing can be committed: what is read ahead of it is what the next stage reads again."""
    ids = [f"item-{number}" for number in range(500)]
    first, second, campaign = Handler(), Handler(), await bed.campaign()
    first.hold(*[next(i for i in ids if partition_of(i.encode(), 3) == number) for number in range(3)])
    await bed.send(campaign, ids)
    async with bed.killed(first, limits=replace(FAST, window_items=60)):
        await until(lambda: bed.stream.group(GROUP).members != [] and len(bed.out(campaign)) >= 40)
        polls = bed.stream.group(GROUP).members[0].polls
        await until(lambda: bed.stream.group(GROUP).members[0].polls > polls + 10)
    done_once = len(bed.out(campaign))
    async with bed.running(second):
        await until(lambda: bed.at_rest(campaign))
    repeated = Counter(first.calls) & Counter(second.calls)
    assert 0 < repeated.total() <= 60
    assert done_once < 60
    assert set(bed.out(campaign)) == set(ids)


async def test_the_window_opens_again_as_soon_as_it_is_committed(bed: Bed) -> None:
    ids = [f"item-{number}" for number in range(400)]
    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, ids)
    async with bed.running(handler, limits=replace(FAST, window_items=10, commit_interval_s=3600)):
        await until(lambda: len(bed.out(campaign)) == len(ids))
    assert Counter(bed.out(campaign)) == Counter(ids)


async def test_duplicates_and_holes_in_the_log_do_no_harm(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, IDS + IDS)
    bed.stream.compact(f"actlabel.items.{campaign.uid}")
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS + IDS)
