"""What records of the review topic do to the queue, in whatever order and however often they come."""

import pytest

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import DeadLetter
from actlabel.review_gateway.domain import State, queue_order
from actlabel.review_gateway.refusals import LeaseLost
from actlabel.runtime.clock import FakeClock
from tests.unit.review_gateway.records import ANN, Desk, text_item


async def state_of(desk: Desk, item_id: str) -> str:
    return (await desk.database.fetch("SELECT state FROM review WHERE item_id = $1", item_id))[0]["state"]


async def test_a_redelivery_changes_nothing(desk: Desk) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    await desk.put("a")
    assert await desk.say(ANN, "a", held["a"]) == 1
    await desk.put("a")
    assert await state_of(desk, "a") == State.ANSWERED
    assert await desk.take(ANN) == {}


async def test_a_later_draw_keeps_the_answer_and_publishes_it_with_its_new_probability(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    clock.advance(11)
    await desk.outbox.drain()
    await desk.put("a", decision__draw=2, decision__cell_selected=4)
    await desk.outbox.drain()
    first, second = desk.producer.merged()
    assert (first.decision.draw, first.decision.cell_selected) == (1, 3)
    assert (second.decision.draw, second.decision.cell_selected) == (2, 4)
    assert first.review == second.review
    assert second.review.revision == 1


async def test_an_older_draw_after_a_newer_one_is_ignored(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a", decision__draw=2)
    await desk.put("a", decision__draw=1)
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    clock.advance(11)
    await desk.outbox.drain()
    assert [item.decision.draw for item in desk.producer.merged()] == [2]


async def test_a_later_draw_leaves_a_lease_alone(desk: Desk) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    await desk.put("a", decision__draw=2)
    assert await desk.say(ANN, "a", held["a"]) == 1


async def test_a_later_draw_within_the_grace_period_does_not_shorten_it(desk: Desk) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    await desk.put("a", decision__draw=2)
    await desk.outbox.drain()
    assert desk.producer.sent == []


async def test_other_content_opens_the_item_again_and_ends_its_lease(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a", "b")
    held = await desk.take(ANN, 2)
    await desk.say(ANN, "a", held["a"])
    clock.advance(11)
    await desk.outbox.drain()
    await desk.put("a", "b", revision=2)
    with pytest.raises(LeaseLost):
        await desk.say(ANN, "b", held["b"])
    again = await desk.take(ANN, 2)
    assert set(again) == {"a", "b"}
    assert await desk.say(ANN, "a", again["a"], "con") == 2
    clock.advance(11)
    await desk.outbox.drain()
    assert [(item.revision, item.review.revision, item.review.label) for item in desk.producer.merged()] == [(1, 1, "pro"), (2, 2, "con")]


async def test_an_unpublished_answer_about_old_content_is_never_published(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    await desk.put("a", revision=2)
    clock.advance(11)
    await desk.outbox.drain()
    assert desk.producer.sent == []


async def test_what_the_newest_draw_leaves_out_goes_on_to_merged_unreviewed(desk: Desk) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    left_out = text_item(desk.campaign, "a", decision__draw=2, decision__selected=False)
    for _ in range(2):  # its produce may not have been acknowledged, so it may come again
        (outgoing,) = await desk.arrivals.handle(left_out, desk.campaign)
        assert outgoing.topic == topics.topic(topics.MERGED, desk.campaign.uid)
        assert Item.FromString(outgoing.value) == left_out
    assert await desk.take(ANN) == {}
    assert await state_of(desk, "a") == State.WITHDRAWN
    await desk.put("a", decision__draw=3)
    assert set(await desk.take(ANN)) == {"a"}
    assert held["a"] not in (await desk.take(ANN, resume=True)).values()


async def test_an_answered_item_that_the_newest_draw_leaves_out_keeps_its_answer(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    clock.advance(11)
    await desk.outbox.drain()
    outgoing = await desk.arrivals.handle(text_item(desk.campaign, "a", decision__draw=2, decision__selected=False), desk.campaign)
    assert list(outgoing) == []
    await desk.outbox.drain()
    last = desk.producer.merged()[-1]
    assert (last.decision.draw, last.decision.selected, last.review.label) == (2, False, "pro")


async def test_the_order_of_the_queue_says_nothing_about_risk(desk: Desk) -> None:
    ids = [f"item-{number:03}" for number in range(60)]
    for number, item_id in enumerate(ids):
        await desk.put(item_id, critique__error_probability=number / 60)
    order = list(await desk.take(ANN, 50))
    assert order == sorted(ids, key=lambda item_id: queue_order(desk.campaign.uid, item_id))[:50]
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)


@pytest.mark.parametrize(("item_id", "reason"), [("", "bad-id"), ("a\0b", "bad-id")])
async def test_an_id_that_cannot_be_kept_goes_to_the_dead_letters(desk: Desk, item_id: str, reason: str) -> None:
    with pytest.raises(DeadLetter) as caught:
        await desk.put(item_id)
    assert caught.value.reason == reason


async def test_an_item_without_a_decision_goes_to_the_dead_letters(desk: Desk) -> None:
    item = text_item(desk.campaign, "a")
    item.ClearField("decision")
    with pytest.raises(DeadLetter, match="no-decision"):
        await desk.arrivals.handle(item, desk.campaign)


async def test_fields_that_this_version_does_not_know_survive(desk: Desk, clock: FakeClock) -> None:
    unknown = bytes([0xFA, 0x3E, 3]) + b"new"  # field 1007, length-delimited
    item = Item.FromString(text_item(desk.campaign, "a").SerializeToString() + unknown)
    await desk.arrivals.handle(item, desk.campaign)
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    clock.advance(11)
    await desk.outbox.drain()
    assert unknown in desk.producer.sent[0][2]
