"""What cannot be processed: put aside with its bytes, once, never undone by a redelivery, and sent round again."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from actlabel.contracts.v1.item_pb2 import DeadLetter as Letter
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import CampaignPaused, DeadLetter, RetryLater, UserError
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.port import Database
from actlabel.stream.dead_records import Choice
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import MAX_RECORD_BYTES, Partition, Record
from tests.unit.stream.bed import FAST, GROUP, STAGE, Bed, Handler, outgoing, until

IDS = [f"item-{number}" for number in range(20)]


def letters(bed: Bed, campaign) -> list[Letter]:
    return [Letter.FromString(record.value) for record in bed.stream.records(topics.topic(topics.DEAD, campaign.uid))]


@pytest.mark.parametrize("value", [b"\xff\xfe poison", b"\x0a\x02\xff\xff"])  # no protobuf; protobuf with an id that is not UTF-8
async def test_undecodable_bytes_are_put_aside_under_their_key(bed: Bed, value: bytes) -> None:
    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, ["poison"], value)
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
    (letter,) = letters(bed, campaign)
    (dead,) = await bed.dead.list(campaign.uid)
    assert (letter.item_id, letter.reason, letter.value, letter.key) == ("poison", "undecodable", value, b"poison")
    assert (letter.topic, letter.partition, letter.offset) == (*dead.partition, dead.offset)
    assert (letter.campaign.uid, letter.stage, dead.stage) == (campaign.uid, STAGE, STAGE)
    assert Counter(bed.out(campaign)) == Counter(IDS)


async def test_an_item_under_another_key_or_in_another_campaign_is_put_aside(bed: Bed) -> None:
    handler = Handler()
    campaign, other = await bed.campaign(), await bed.campaign("other")
    await bed.send(campaign, ["key"], bed.item(campaign, "another-id"))
    await bed.send(campaign, ["guest"], bed.item(other, "guest"))
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
    assert {(one.item_id, one.reason) for one in await bed.dead.list(campaign.uid)} == {("key", "misplaced"), ("guest", "misplaced")}
    assert handler.calls == []


async def test_an_unknown_version_is_put_aside(bed: Bed) -> None:
    campaign = await bed.campaign()
    item = Item.FromString(bed.item(campaign, "item-0"))
    item.campaign.version = 7
    await bed.send(campaign, ["item-0"], item.SerializeToString())
    async with bed.running(Handler()):
        await until(lambda: bed.at_rest(campaign))
    assert [one.reason for one in await bed.dead.list(campaign.uid)] == ["unknown-campaign"]


@pytest.mark.parametrize("key", [b"\xff\x00key", b"", b"a\x00b"])  # neither UTF-8 nor without NUL, nor there at all
async def test_hostile_keys_and_details_become_plain_text(bed: Bed, key: bytes) -> None:
    campaign = await bed.campaign()
    record = Record(Partition(topics.topic(topics.ITEMS, campaign.uid), 0), 5, key, b"value", (), 0)
    await bed.dead_letters().put(record, stage=STAGE, version=1, reason="no-label", detail="two\nlines \0 \ud800" + "x" * 1000)
    (dead,) = await bed.dead.list(campaign.uid)
    assert not {"\0", "\n"} & set(dead.item_id + dead.detail)
    assert dead.detail.startswith("two lines")
    assert len(dead.detail) == 500
    assert letters(bed, campaign)[0].key == key


@pytest.mark.parametrize("again_at", [5, 6])  # the same record delivered again; the same item sent twice
async def test_putting_aside_twice_counts_once_and_the_first_reason_stays(bed: Bed, again_at: int) -> None:
    campaign = await bed.campaign()
    partition, desk = Partition(topics.topic(topics.ITEMS, campaign.uid), 0), bed.dead_letters()
    for reason, offset in (("no-label", 5), ("deadline", again_at)):
        await desk.put(Record(partition, offset, b"item-0", b"value", (), 0), stage=STAGE, version=1, reason=reason, detail="")
    assert [(one.reason, one.offset) for one in await bed.dead.list(campaign.uid)] == [("no-label", 5)]


async def test_what_was_put_aside_stays_so_when_it_is_delivered_again(bed: Bed) -> None:
    """The head hangs, so nothing is committed; the second answer would be another one. An item is never dead and merged."""
    first, second, campaign = Handler(), Handler(), await bed.campaign(partitions=1)
    first.hold("item-0")
    first.failing["item-5"] = DeadLetter("no-label", "nonsense, this time")
    await bed.send(campaign, IDS)
    async with bed.killed(first):
        await until(lambda: len(bed.out(campaign)) == len(IDS) - 2)
        await until(lambda: bed.dead.list(campaign.uid))
    async with bed.running(second):
        await until(lambda: bed.at_rest(campaign))
    assert "item-5" not in bed.out(campaign)
    assert "item-5" not in second.calls
    assert set(bed.out(campaign)) == set(IDS) - {"item-5"}


@pytest.mark.parametrize("new_owner", [False, True])
async def test_a_copy_of_a_dead_record_dies_with_it(bed: Bed, new_owner: bool) -> None:
    """The stage before was killed between produce and commit: the item came twice, and the model would answer the second time."""
    handler, campaign = Handler(), await bed.campaign()
    handler.failing["item-0"] = DeadLetter("bad-answer", "no label")
    await bed.send(campaign, ["item-0", "item-1"])
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
        if not new_owner:
            await _second_copies(bed, handler, campaign)
    if new_owner:
        async with bed.running(handler):
            await _second_copies(bed, handler, campaign)
    assert [one.item_id for one in await bed.dead.list(campaign.uid)] == ["item-0"]
    assert Counter(bed.out(campaign)) == {"item-1": 2}
    assert handler.calls.count("item-0") == 1, "and nobody pays for the copy"


async def _second_copies(bed: Bed, handler: Handler, campaign) -> None:
    handler.failing.clear()
    await bed.send(campaign, ["item-0", "item-1"])
    await until(lambda: bed.at_rest(campaign))


async def test_a_copy_that_is_at_work_while_the_other_dies_goes_no_further(bed: Bed) -> None:
    campaign, died = await bed.campaign(partitions=1), asyncio.Event()
    calls: list[str] = []

    async def handle(item: Item, _) -> list[Outgoing]:
        calls.append(item.id)
        if len(calls) == 1:
            raise DeadLetter("bad-answer", "no label")
        await died.wait()
        return [outgoing(item)]

    await bed.send(campaign, ["item-0", "item-0"])
    async with bed.running(handle):
        await until(lambda: bed.dead.list(campaign.uid))
        died.set()
        await until(lambda: bed.at_rest(campaign))
    assert (len(calls), bed.out(campaign)) == (2, [])


async def test_another_revision_and_a_replay_of_a_dead_item_go_their_way(bed: Bed) -> None:
    """Their key is that of a dead record: the one has other bytes, the other the same."""
    handler, campaign = Handler(), await bed.campaign()
    handler.failing = {item_id: DeadLetter("bad-answer", "no label") for item_id in ("replaced", "replayed")}
    await bed.send(campaign, ["replaced", "replayed"])
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
        handler.failing.clear()
        changed = Item.FromString(bed.item(campaign, "replaced"))
        changed.revision = 2
        await bed.send(campaign, ["replaced"], changed.SerializeToString())
        await bed.dead.replay(campaign.uid, Choice(item_ids=["replayed"]))
        await until(lambda: bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == {"replaced": 1, "replayed": 1}


async def test_a_kill_between_message_and_row_loses_nothing(bed: Bed) -> None:
    """The row fails: the input is not marked, and the next attempt writes both again."""
    first, second, campaign = Handler(), Handler(), await bed.campaign()
    for handler in (first, second):
        handler.failing["item-5"] = DeadLetter("no-label", "nonsense")
    await bed.send(campaign, IDS)
    await bed.database.execute("ALTER TABLE dead RENAME TO elsewhere")
    stage = bed.stage(first)
    with pytest.raises(Exception, match="no such table"):
        await stage.run(asyncio.Event())
    await bed.database.execute("ALTER TABLE elsewhere RENAME TO dead")
    async with bed.running(second):
        await until(lambda: bed.at_rest(campaign))
    assert [one.item_id for one in await bed.dead.list(campaign.uid)] == ["item-5"]
    assert {letter.item_id for letter in letters(bed, campaign)} == {"item-5"}


async def test_a_stream_out_of_reach_keeps_the_verdict_until_it_can_be_written(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    handler.failing["item-5"] = DeadLetter("no-label", "nonsense")
    await bed.send(campaign, ["item-5"])
    bed.stream.faults.fail("send", RetryLater("no broker"))
    async with bed.running(handler) as stage:
        await until(lambda: "no broker" in (stage.readiness() or ""))
        bed.stream.faults.mend("send")
        await until(lambda: bed.at_rest(campaign))
    assert handler.calls == ["item-5"]
    assert [one.item_id for one in await bed.dead.list(campaign.uid)] == ["item-5"]


async def test_a_record_that_is_too_large_with_its_envelope_leaves_its_bytes_where_they_are(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    value = b"\xff" * (MAX_RECORD_BYTES - 10)
    await bed.send(campaign, ["large"], value)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
    assert [letter.value for letter in letters(bed, campaign)] == [b""]
    assert (await bed.dead.show((await bed.dead.list(campaign.uid))[0])).value == value


async def test_show_and_replay_of_items_by_name(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    handler.failing |= dict.fromkeys(IDS[:3], DeadLetter("no-label", "nonsense"))
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
        handler.failing.clear()
        (one,) = await bed.dead.list(campaign.uid, Choice(item_ids=["item-1"]))
        assert (await bed.dead.show(one)).value == bed.item(campaign, "item-1")
        with pytest.raises(UserError, match="item-7"):
            await bed.dead.replay(campaign.uid, Choice(item_ids=["item-1", "item-7"]))
        assert await bed.dead.replay(campaign.uid, Choice(item_ids=["item-1"])) == 1
        await until(lambda: "item-1" in bed.out(campaign))
        assert {one.item_id for one in await bed.dead.list(campaign.uid)} == {"item-0", "item-2"}
        assert await bed.dead.replay(campaign.uid) == 2
        assert await bed.dead.replay(campaign.uid) == 0
        await until(lambda: bed.at_rest(campaign))
    assert Counter(bed.out(campaign)) == Counter(IDS)


async def test_an_item_that_dies_again_while_it_is_replayed_stays_dead(bed: Bed) -> None:
    """The replayed record dies before the replay removes the row: the row is that of the new death then, and stays."""
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    handler.failing["item-1"] = DeadLetter("no-label", "nonsense")
    await bed.send(campaign, IDS)
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
        handler.failing["item-1"] = DeadLetter("deadline", "and now too slow")
        bed.stream.hold_acks()  # the replay waits for its produce, and the stage for its dead letter's
        replay = asyncio.create_task(bed.dead.replay(campaign.uid))
        await until(lambda: handler.calls.count("item-1") == 2)
        await until(lambda: len(letters(bed, campaign)) == 2)
        bed.stream.release_acks()
        await replay
        await until(lambda: bed.at_rest(campaign))
    (dead,) = await bed.dead.list(campaign.uid)
    assert dead.offset in {1, len(IDS)}


async def test_the_row_of_a_later_death_survives_the_end_of_the_replay(bed: Bed) -> None:
    campaign = await bed.campaign(partitions=1)
    partition, desk = Partition(topics.topic(topics.ITEMS, campaign.uid), 0), bed.dead_letters()
    await bed.send(campaign, ["item-0"])
    await desk.put(Record(partition, 0, b"item-0", b"first", (), 0), stage=STAGE, version=1, reason="no-label", detail="")
    sql = desk._sql
    await bed.database.execute(sql["begin_replay"], campaign.uid, "item-0", 1.0)
    await desk.put(Record(partition, 1, b"item-0", b"first", (), 0), stage=STAGE, version=1, reason="deadline", detail="")
    await bed.database.execute(sql["end_replay"], campaign.uid, "item-0", *partition, 0)
    assert [(one.reason, one.offset) for one in await bed.dead.list(campaign.uid)] == [("deadline", 1)]


async def test_a_redelivery_of_the_old_record_does_not_undo_a_replay_that_has_begun(bed: Bed) -> None:
    campaign = await bed.campaign(partitions=1)
    record = Record(Partition(topics.topic(topics.ITEMS, campaign.uid), 0), 0, b"item-0", b"first", (), 0)
    desk = bed.dead_letters()
    await desk.put(record, stage=STAGE, version=1, reason="no-label", detail="")
    await bed.database.execute(desk._sql["begin_replay"], campaign.uid, "item-0", 1.0)
    await desk.put(record, stage=STAGE, version=1, reason="no-label", detail="")
    rows = await bed.database.fetch("SELECT replayed_at FROM dead")
    assert [row["replayed_at"] for row in rows] == [1.0]


async def test_a_hanging_item_reaches_the_dead_letters_at_real_time_too(bed: Bed) -> None:
    handler, campaign = Handler(), await bed.campaign()
    handler.hold("item-3")
    await bed.send(campaign, IDS)
    async with bed.running(handler, limits=replace(FAST, item_deadline_s=1.0)):
        await until(lambda: bed.at_rest(campaign))
    assert [(one.item_id, one.reason) for one in await bed.dead.list(campaign.uid)] == [("item-3", "deadline")]


async def test_the_statements_mean_the_same_on_every_database(database: Database) -> None:
    bed = Bed(database, SystemClock())
    campaign = await bed.campaign(partitions=1)
    partition, desk = Partition(topics.topic(topics.ITEMS, campaign.uid), 0), bed.dead_letters(per_minute=1)
    await bed.send(campaign, ["item-0", "item-1", "item-2"])
    for offset, key in ((0, b"item-0"), (2, b"\x00\xff")):
        record = Record(partition, offset, key, b"value", (), 0)
        for reason in ("no-label", "deadline"):
            with suppress(CampaignPaused):
                await desk.put(record, stage=STAGE, version=1, reason=reason, detail="a \0 and \ud800")
    assert await desk.offsets(partition, 1) == {2}
    assert "2 dead letters" in (await bed.pauses(campaign))[STAGE]
    assert [one.reason for one in await bed.dead.list(campaign.uid)] == ["no-label", "no-label"]
    assert (await bed.campaigns.deleted()) == frozenset()
    assert await bed.dead.replay(campaign.uid) == 2
    assert await bed.dead.list(campaign.uid) == []
    await bed.campaigns.delete(campaign.uid)
    assert (await bed.campaigns.deleted()) == {campaign.uid}


async def test_a_process_that_the_group_has_given_up_puts_nothing_aside(bed: Bed) -> None:
    """It stood still, its successor has its partitions, and it does not know yet: the successor may decide otherwise."""
    handler, campaign = Handler(), await bed.campaign(partitions=1)
    gate = handler.hold("bad")
    handler.failing["bad"] = DeadLetter("bad-answer", "no JSON")
    await bed.send(campaign, ["bad"])
    async with bed.running(handler):
        await until(lambda: handler.calls == ["bad"])
        member = bed.stream.group(GROUP).members[0]
        member.given_up = True
        gate.set()
        polls = member.polls
        await until(lambda: member.polls > polls + 20)
        assert not await bed.dead.list(campaign.uid)
        member.given_up = False
        await until(lambda: bed.at_rest(campaign))
    assert [dead.item_id for dead in await bed.dead.list(campaign.uid)] == ["bad"]
