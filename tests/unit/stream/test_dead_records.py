"""Dead letters chosen by stage, reason and item; replayed again and again; given up for good."""

import asyncio
from collections import Counter
from contextlib import suppress

import pytest

from actlabel.contracts.v1.item_pb2 import DeadLetter as Letter
from actlabel.core import topics
from actlabel.core.errors import DeadLetter, UserError
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.port import Database
from actlabel.stream.dead_records import Choice
from actlabel.stream.port import Partition, Record
from tests.unit.stream.bed import Bed, Handler, until

DEAD = {"item-0": "no-label", "item-1": "no-label", "item-2": "deadline"}


async def some_dead(bed: Bed) -> Campaign:
    """Put three items of a campaign aside, and one of another."""
    campaign, other = await bed.campaign(), await bed.campaign("other")
    desk = bed.dead_letters()
    for made in (campaign, other):
        await bed.send(made, list(DEAD))
        for item_id, (partition, offset) in bed.offsets(made).items():
            stage = topics.ANNOTATOR if item_id != "item-1" else topics.CRITICIZER
            record = Record(partition, offset, item_id.encode(), bed.item(made, item_id), (), 0)
            await desk.put(record, stage=stage, version=1, reason=DEAD[item_id], detail="it says nothing")
    return campaign


async def ids(bed: Bed, campaign: Campaign, **choice: object) -> set[str]:
    return {one.item_id for one in await bed.dead.list(campaign.uid, Choice(**choice))}  # type: ignore[arg-type]


async def test_they_are_chosen_by_campaign_stage_reason_and_item(bed: Bed) -> None:
    campaign = await some_dead(bed)
    assert await ids(bed, campaign) == set(DEAD)
    assert await ids(bed, campaign, stage=topics.CRITICIZER) == {"item-1"}
    assert await ids(bed, campaign, reason="no-label") == {"item-0", "item-1"}
    assert await ids(bed, campaign, reason="no-label", stage=topics.ANNOTATOR) == {"item-0"}
    assert await ids(bed, campaign, item_ids=["item-2"]) == {"item-2"}
    with pytest.raises(UserError, match="item-1"):
        await bed.dead.list(campaign.uid, Choice(item_ids=["item-1"], stage=topics.ANNOTATOR))


async def test_what_is_purged_stays_dead_and_is_never_replayed(bed: Bed) -> None:
    campaign = await some_dead(bed)
    assert await bed.dead.purge(campaign.uid, Choice(reason="no-label")) == 2
    assert await bed.dead.purge(campaign.uid, Choice(reason="no-label")) == 0
    assert await ids(bed, campaign) == {"item-2"}
    assert await ids(bed, campaign, purged=True) == {"item-0", "item-1"}
    with pytest.raises(UserError, match="item-0"):
        await bed.dead.replay(campaign.uid, Choice(item_ids=["item-0"]))
    assert await bed.dead.replay(campaign.uid) == 1
    rows = await bed.database.fetch("SELECT item_id FROM dead WHERE uid = $1 AND replayed_at IS NULL", campaign.uid)
    assert {row["item_id"] for row in rows} == {"item-0", "item-1"}, "a draw that waits for every item counts them still"


async def test_a_redelivery_of_what_was_purged_is_still_skipped(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    handler.failing["item-1"] = DeadLetter("no-label", "nonsense")
    await bed.send(campaign, ["item-0", "item-1"])
    async with bed.killed(handler):
        await until(lambda: bed.dead.list(campaign.uid))
    await bed.dead.purge(campaign.uid)
    second = Handler()
    bed.stream.group("actlabel.annotator").committed.clear()
    async with bed.running(second):
        await until(lambda: bed.at_rest(campaign))
    assert "item-1" not in second.calls


async def test_replaying_twice_sends_once(bed: Bed) -> None:
    campaign = await some_dead(bed)
    before = len(bed.stream.records(topics.topic(topics.ITEMS, campaign.uid)))
    assert [await bed.dead.replay(campaign.uid) for _ in range(2)] == [3, 0]
    assert len(bed.stream.records(topics.topic(topics.ITEMS, campaign.uid))) == before + 3


async def test_a_replay_killed_between_produce_and_the_end_is_harmless_to_repeat(bed: Bed) -> None:
    """Killed while the acknowledgements are out: the rows remain, marked, and the second replay sends them again."""
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    handler.failing |= {item_id: DeadLetter("no-label", "nonsense") for item_id in DEAD}
    await bed.send(campaign, list(DEAD))
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
        handler.failing.clear()
        bed.stream.hold_acks()
        replay = asyncio.create_task(bed.dead.replay(campaign.uid))
        await until(lambda: len(bed.stream.records(topics.topic(topics.ITEMS, campaign.uid))) == 2 * len(DEAD))
        replay.cancel()
        with suppress(asyncio.CancelledError):
            await replay
        bed.stream.release_acks()
        left = await bed.dead.list(campaign.uid)
        assert {one.item_id for one in left if one.is_replaying} == set(DEAD)
        assert await bed.dead.replay(campaign.uid) == len(DEAD)
        await until(lambda: bed.at_rest(campaign))
    assert await bed.dead.list(campaign.uid) == []
    assert Counter(bed.out(campaign)) == Counter(dict.fromkeys(DEAD, 2)), "each went round twice, and none was lost"


async def test_a_purge_leaves_out_what_a_replay_has_begun_with(bed: Bed) -> None:
    campaign = await some_dead(bed)
    await bed.database.execute("UPDATE dead SET replayed_at = 1.0 WHERE uid = $1 AND item_id = 'item-0'", campaign.uid)
    assert await bed.dead.purge(campaign.uid) == 2
    assert await ids(bed, campaign) == {"item-0"}


async def test_a_purge_at_the_very_moment_of_a_replay_wins(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replay chose its items before the purge: it must not send what was given up meanwhile."""
    campaign = await some_dead(bed)
    listed = await bed.dead.list(campaign.uid)
    await bed.dead.purge(campaign.uid, Choice(item_ids=["item-0"]))

    async def as_before(*_: object) -> object:
        return listed

    monkeypatch.setattr(bed.dead, "list", as_before)
    assert await bed.dead.replay(campaign.uid) == 2
    sent = Counter(record.key for record in bed.stream.records(topics.topic(topics.ITEMS, campaign.uid)))
    assert sent == {b"item-0": 1, b"item-1": 2, b"item-2": 2}


async def test_purge_and_replay_mean_the_same_on_every_database(database: Database) -> None:
    bed = Bed(database, SystemClock())
    campaign = await some_dead(bed)
    assert await bed.dead.purge(campaign.uid, Choice(reason="deadline")) == 1
    assert await bed.dead.replay(campaign.uid) == 2
    assert await ids(bed, campaign) == set()
    assert await ids(bed, campaign, purged=True) == {"item-2"}
    (one,) = await bed.dead.list(campaign.uid, Choice(purged=True))
    assert (await bed.dead.show(one)).value == bed.item(campaign, "item-2")
    letters = bed.stream.records(topics.topic(topics.DEAD, campaign.uid))
    assert {Letter.FromString(record.value).item_id for record in letters} == set(DEAD)
    assert isinstance(one.partition, Partition)
