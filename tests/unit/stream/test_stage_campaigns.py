"""Campaigns beside each other: one that hangs, is paused, is deleted or produces dead letters leaves the others alone."""

from collections import Counter
from dataclasses import replace

from actlabel.core import topics
from actlabel.core.errors import CampaignPaused, DeadLetter, RetryLater
from actlabel.runtime.campaigns import EVERY_STAGE
from actlabel.stream.port import TopicSettings
from tests.unit.stream.bed import FAST, GROUP, STAGE, Bed, Handler, fake_clock, until

IDS = [f"item-{number}" for number in range(60)]
SLOW = [f"slow-{number}" for number in range(60)]


async def polled(bed: Bed, times: int = 10) -> None:
    """Let the loop turn some times."""
    member = bed.stream.group(GROUP).members[0]
    polls = member.polls
    await until(lambda: member.polls > polls + times)


async def test_a_campaign_whose_calls_hang_takes_only_its_share(bed: Bed) -> None:
    handler = Handler()
    handler.hold(*SLOW)
    hanging, other = await bed.campaign("hanging"), await bed.campaign("other")
    await bed.send(hanging, SLOW)
    async with bed.killed(handler, limits=replace(FAST, calls_in_flight=16, window_items=100)):
        await until(lambda: handler.in_flight == 15)  # 16 * 8 / 9, the rest stays free
        await bed.send(other, IDS)
        await until(lambda: bed.at_rest(other))
        assert handler.in_flight == 15
    assert Counter(bed.out(other)) == Counter(IDS)


async def test_a_campaign_whose_calls_hang_leaves_the_others_their_own_bound(bed: Bed) -> None:
    """Where the process has room for more than every campaign's own bound, the rate of the others does not fall at all."""
    handler = Handler()
    gate = handler.hold(*SLOW, *IDS)
    hanging, other = await bed.campaign("hanging"), await bed.campaign("other")
    await bed.send(hanging, SLOW)
    async with bed.killed(handler, limits=replace(FAST, calls_in_flight=100), places=lambda _: 4):
        await until(lambda: handler.in_flight == 4)
        await polled(bed)
        assert handler.in_flight == 4
        await bed.send(other, IDS)
        await until(lambda: handler.in_flight == 8)
        await polled(bed)
        assert (handler.most_in_flight, gate.is_set()) == (8, False)


async def test_topics_of_campaigns_that_are_not_ours_take_nothing_from_ours(bed: Bed) -> None:
    """Two systems with a database each may share a Kafka, and topics may be left behind: their records are not even read."""
    handler = Handler()
    stranger = f"actlabel.items.{'f' * 12}"
    await bed.stream.create_topics({stranger: TopicSettings(partitions=3)})
    for number in range(60):
        await bed.stream.producer().send(stranger, key=f"x{number}".encode(), value=b"not even an item")
    ours = await bed.campaign("ours")
    await bed.send(ours, IDS)
    async with bed.running(handler, limits=replace(FAST, window_items=20)):
        await until(lambda: bed.at_rest(ours))
        await polled(bed)
        assert {p.topic for p, offset in bed.stream.group(GROUP).committed.items() if offset} == {topics.topic(topics.ITEMS, ours.uid)}
    assert Counter(bed.out(ours)) == Counter(IDS)


async def test_a_partition_whose_head_hangs_leaves_the_window_to_the_others(bed: Bed) -> None:
    handler = Handler()
    handler.hold("slow-0")
    stuck, other = await bed.campaign("stuck", partitions=1), await bed.campaign("other")
    await bed.send(stuck, SLOW)
    async with bed.killed(handler, limits=replace(FAST, window_items=20)):
        await until(lambda: len(bed.out(stuck)) >= 13)  # two thirds of the window
        await polled(bed)
        await bed.send(other, IDS)
        await until(lambda: bed.at_rest(other))
        assert len(bed.out(stuck)) < 20


async def test_a_paused_campaign_is_not_read_and_the_others_go_on(bed: Bed) -> None:
    handler = Handler()
    paused, other = await bed.campaign("paused"), await bed.campaign("other")
    await bed.campaigns.pause(paused.uid, STAGE, "by hand")
    await bed.send(paused, SLOW)
    await bed.send(other, IDS)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(other))
        await polled(bed)
        positions = bed.stream.group(GROUP).members[0].positions
        assert {p.number: at for p, at in positions.items() if topics.campaign_of(p.topic) == paused.uid} == {0: 0, 1: 0, 2: 0}
    assert Counter(handler.calls) == Counter(IDS)
    assert set(bed.committed(paused).values()) == {0}


async def test_a_pause_of_another_stage_is_none_here_and_one_of_every_stage_is(bed: Bed) -> None:
    handler = Handler()
    here, nowhere = await bed.campaign("here"), await bed.campaign("nowhere")
    await bed.campaigns.pause(here.uid, topics.CRITICIZER, "elsewhere")
    await bed.campaigns.pause(nowhere.uid, EVERY_STAGE, "everywhere")
    await bed.send(here, IDS)
    await bed.send(nowhere, SLOW)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(here))
        await polled(bed)
    assert Counter(handler.calls) == Counter(IDS)


async def test_a_handler_that_meets_the_pause_gives_its_record_back_until_the_pause_is_lifted(bed: Bed) -> None:
    """The spend cap is reached in the middle: nothing is lost, nothing is put aside, no place is held, others use the window."""
    handler = Handler()
    capped, other = await bed.campaign("capped"), await bed.campaign("other")
    handler.failing |= dict.fromkeys(SLOW[20:], CampaignPaused("spend_cap_usd is reached"))
    await bed.campaigns.pause(capped.uid, STAGE, "spend_cap_usd is reached")
    await bed.campaigns.resume(capped.uid)
    await bed.send(capped, SLOW)
    limits = replace(FAST, calls_in_flight=4, window_items=60)
    async with bed.running(handler, limits=limits):
        await until(lambda: any(handler.calls.count(item_id) for item_id in SLOW[20:]))
        await bed.campaigns.pause(capped.uid, STAGE, "spend_cap_usd is reached")
        await polled(bed)
        calls = Counter(handler.calls)
        await polled(bed)
        assert Counter(handler.calls) == calls
        assert handler.in_flight == 0
        await bed.send(other, IDS)
        await until(lambda: bed.at_rest(other))
        handler.failing.clear()
        await bed.campaigns.resume(capped.uid)
        await until(lambda: bed.at_rest(capped))
    assert Counter(bed.out(capped)) == Counter(SLOW)
    assert await bed.dead.list(capped.uid) == []


async def test_a_long_pause_does_not_count_towards_the_deadline(still_bed: Bed) -> None:
    bed, handler = still_bed, Handler()
    campaign = await bed.campaign()
    handler.failing["item-3"] = CampaignPaused("for a while")
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: "item-3" in handler.calls)
        fake_clock(bed).advance(10_000)
        gate = handler.hold("item-3")
        handler.failing.clear()
        await until(lambda: handler.in_flight == 1)
        await polled(bed, 20)  # long enough for a cut
        gate.set()
        await until(lambda: bed.at_rest(campaign))
    assert handler.cancelled == []
    assert await bed.dead.list(campaign.uid) == []
    assert Counter(bed.out(campaign)) == Counter(IDS)


async def test_too_many_dead_letters_pause_the_campaign_there_and_a_restart_flushes_no_more(bed: Bed) -> None:
    handler = Handler()
    failing, other = await bed.campaign("failing"), await bed.campaign("other")
    handler.failing |= dict.fromkeys(SLOW, DeadLetter("no-label", "the model answers nonsense"))
    await bed.send(failing, SLOW)
    await bed.send(other, IDS)
    for _ in range(2):  # the second one is the restart
        async with bed.running(handler, per_minute=5):
            await until(lambda: bed.at_rest(other))
            await until(lambda: bed.stream.group(GROUP).members != [])
            await polled(bed)
            await until(lambda: bed.pauses(failing))
        assert len(await bed.dead.list(failing.uid)) == 6
        assert len(bed.stream.records(topics.topic(topics.DEAD, failing.uid))) == 6
    reason = (await bed.pauses(failing))[STAGE]
    assert "6 dead letters in a minute, more than 5" in reason
    assert "no-label: the model answers nonsense" in reason
    handler.failing.clear()
    await bed.campaigns.resume(failing.uid)
    async with bed.running(handler, per_minute=5):
        await until(lambda: bed.at_rest(failing))
    dead = {one.item_id for one in await bed.dead.list(failing.uid)}
    assert Counter(bed.out(failing)) == Counter(set(SLOW) - dead)


async def test_after_a_pause_is_lifted_the_count_begins_anew(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    handler.failing |= dict.fromkeys(SLOW, DeadLetter("no-label", "nonsense"))
    await bed.send(campaign, SLOW)
    async with bed.running(handler, per_minute=5):
        for round_number in (1, 2):
            await until(lambda: bed.pauses(campaign))
            assert len(await bed.dead.list(campaign.uid)) == 6 * round_number
            await polled(bed)
            await bed.campaigns.resume(campaign.uid)


async def test_records_of_a_deleted_campaign_are_dropped_and_marked_done(bed: Bed) -> None:
    """Deleted in the middle, some waiting for another attempt, its topics gone: nothing holds the stage up, nothing is put aside."""
    handler = Handler()
    deleted, other = await bed.campaign("deleted"), await bed.campaign("other")
    gate = handler.hold("slow-1")
    handler.failing["slow-0"] = RetryLater("again")
    await bed.send(deleted, SLOW)
    async with bed.running(handler, limits=replace(FAST, calls_in_flight=4)) as stage:
        await until(lambda: "slow-1" in handler.calls and "slow-0" in handler.calls)
        await bed.campaigns.delete(deleted.uid)
        await bed.stream.delete_topics([topics.topic(kind, deleted.uid) for kind in topics.KINDS])
        gate.set()
        await bed.send(other, IDS)
        await until(lambda: bed.at_rest(other) and handler.in_flight == 0)
        calls = len(handler.calls)
        await polled(bed)
        assert len(handler.calls) == calls
        assert (stage.liveness(), stage.readiness()) == (None, None)
    assert await bed.dead.list(deleted.uid) == []


async def test_a_deleted_campaign_whose_topics_are_still_there_is_not_handled(bed: Bed) -> None:
    handler = Handler()
    deleted, other = await bed.campaign("deleted"), await bed.campaign("other")
    await bed.send(deleted, SLOW)
    await bed.send(other, IDS)
    await bed.campaigns.delete(deleted.uid)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(other))
        await polled(bed)
    assert Counter(handler.calls) == Counter(IDS)


async def test_waiting_records_of_a_campaign_deleted_meanwhile_let_the_watermark_go_on(bed: Bed) -> None:
    handler = Handler()
    campaign = await bed.campaign(partitions=1)
    gate = handler.hold(*SLOW)
    await bed.send(campaign, SLOW)
    async with bed.running(handler, limits=replace(FAST, calls_in_flight=2)):
        await until(lambda: handler.in_flight == 2)
        await bed.campaigns.delete(campaign.uid)
        await polled(bed)
        gate.set()
        await until(lambda: bed.committed(campaign)[0] > 2)
    assert len(handler.calls) == 2
