"""The way to the merged topic: in order, whole, and again after a crash, with an undo in every gap."""

import asyncio

import pytest

from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.review_gateway.outbox import Outbox
from actlabel.runtime.clock import FakeClock
from tests.unit.review_gateway.records import ANN, ControlledProducer, Desk


async def answered(desk: Desk, clock: FakeClock, *ids: str, label: str = "pro") -> None:
    await desk.put(*ids)
    for item_id, token in (await desk.take(ANN, len(ids))).items():
        await desk.say(ANN, item_id, token, label)
    clock.advance(11)


async def test_a_kill_between_produce_and_mark_publishes_the_same_bytes_again(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a")
    desk.producer.is_held = True
    publishing = asyncio.create_task(desk.outbox.publish_due())
    await desk.producer.until_sent(1)
    publishing.cancel()  # the process dies: the log has the record, the row does not know
    await asyncio.gather(publishing, return_exceptions=True)
    after = ControlledProducer()
    clock.advance(100)
    assert await Outbox(database=desk.database, producer=after, clock=clock).publish_due() == 1
    assert after.sent == desk.producer.sent
    assert await desk.outbox.publish_due() == 0


async def test_an_undo_after_that_kill_is_a_new_revision(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a", label="con")
    desk.producer.is_held = True
    publishing = asyncio.create_task(desk.outbox.publish_due())
    await desk.producer.until_sent(1)
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    undone = await desk.answers.undo(desk.campaign, ANN, "a")
    assert undone.is_published, "it may be on the topic, so it can only be replaced"
    assert await desk.say(ANN, "a", undone.lease.token, "pro") == 2
    clock.advance(11)
    desk.producer.is_held = False
    await desk.outbox.drain()
    assert [(item.review.revision, item.review.label) for item in desk.producer.merged()] == [(1, "con"), (2, "pro")]


async def test_an_undo_during_a_slow_produce_cannot_overtake_it(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a", label="con")
    desk.producer.is_held = True
    publishing = asyncio.create_task(desk.outbox.publish_due())
    await desk.producer.until_sent(1)
    undone = await asyncio.wait_for(desk.answers.undo(desk.campaign, ANN, "a"), 5)  # nothing blocks while the produce hangs
    assert undone.is_published
    await desk.say(ANN, "a", undone.lease.token, "pro")
    clock.advance(11)
    other = Outbox(database=desk.database, producer=desk.producer, clock=clock)
    assert await other.publish_due() == 0, "the newer revision waits for the older one's acknowledgement"
    desk.producer.is_held = False
    desk.producer.acknowledge()
    await publishing
    await other.drain()
    assert [item.review.revision for item in desk.producer.merged()] == [1, 2]


async def test_a_draw_that_arrives_during_a_produce_is_published_after_it(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a")
    desk.producer.is_held = True
    publishing = asyncio.create_task(desk.outbox.publish_due())
    await desk.producer.until_sent(1)
    await desk.put("a", decision__draw=2)
    desk.producer.is_held = False
    desk.producer.acknowledge()
    await publishing
    await desk.outbox.drain()
    assert [item.decision.draw for item in desk.producer.merged()] == [1, 2]


async def test_what_was_acknowledged_is_marked_though_others_failed(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a", "b")
    desk.producer.is_held = True
    publishing = asyncio.create_task(desk.outbox.publish_due())
    await desk.producer.until_sent(2)
    first = desk.producer._waiting.pop(0)
    first.set_result(None)
    desk.producer.lose()
    with pytest.raises(RetryLater):
        await publishing
    desk.producer.is_held = False
    await desk.outbox.drain()
    assert len(desk.producer.sent) == 3
    assert desk.producer.sent[2] == desk.producer.sent[1]


async def test_a_stream_out_of_reach_is_said_and_tried_again(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a")
    desk.producer.failure = RetryLater("no broker")
    await desk.outbox.drain()
    assert "no broker" in (desk.outbox.trouble() or "")
    desk.producer.failure = None
    await desk.outbox.drain()
    assert desk.outbox.trouble() is None
    assert len(desk.producer.sent) == 1


async def test_an_answer_that_the_topic_refuses_stops_no_other(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a")
    desk.producer.failure = DeadLetter("too-large", "a MiB too much")
    await desk.outbox.drain()
    desk.producer.failure = None
    await desk.put("b")
    await desk.say(ANN, "b", (await desk.take(ANN))["b"])
    clock.advance(11)
    await desk.outbox.drain()
    assert [item.id for item in desk.producer.merged()] == ["b"]
    clock.advance(3600)
    await desk.outbox.drain()
    assert [item.id for item in desk.producer.merged()] == ["b", "a"]


async def test_answers_of_a_deleted_campaign_stay_where_they_are(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a")
    await desk.campaigns.delete(desk.campaign.uid)
    await desk.outbox.drain()
    assert desk.producer.sent == []
    clock.advance(1000)
    await desk.outbox.drain()
    assert desk.outbox.trouble() is None


async def test_stopping_publishes_what_is_due_and_keeps_what_is_in_its_grace_period(desk: Desk, clock: FakeClock) -> None:
    ids = [f"i{number}" for number in range(300)]
    for begin in range(0, 300, 50):
        await answered(desk, clock, *ids[begin : begin + 50])
    await desk.put("late")
    await desk.say(ANN, "late", (await desk.take(ANN))["late"])
    stop = asyncio.Event()
    stop.set()
    await desk.outbox.run(stop)
    assert sorted(item.id for item in desk.producer.merged()) == sorted(ids)


async def test_waiting_long_is_said(desk: Desk, clock: FakeClock) -> None:
    await answered(desk, clock, "a")
    async with desk.database.try_lock("review-outbox") as is_ours:
        assert is_ours
        clock.advance(200)
        await desk.outbox.drain()
        assert "has waited" in (desk.outbox.trouble() or "")
