"""Submit, skip, undo, redo, flag."""

import pytest

from actlabel.contracts.v1.item_pb2 import Review
from actlabel.review_gateway.domain import State
from actlabel.review_gateway.refusals import AlreadyAnswered, LeaseLost, NoSuchItem, NothingToUndo, UnknownLabel
from actlabel.runtime.clock import FakeClock
from tests.unit.review_gateway.records import ANN, BOB, LEA, Desk, campaign_file


async def skip(desk: Desk, caller: object, item_id: str, token: str, reason: str = "unclear") -> State:
    return await desk.answers.skip(desk.campaign, caller, item_id, token=token, reason=reason)


async def test_an_answer_reaches_merged_complete_after_its_grace_period(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    revision = await desk.answers.submit(desk.campaign, ANN, "a", token=held["a"], label="pro", seconds=4.25, comment="clear")
    assert revision == 1
    clock.advance(9)
    await desk.outbox.drain()
    assert desk.producer.sent == []
    clock.advance(1)
    await desk.outbox.drain()
    (item,) = desk.producer.merged()
    assert item.annotation.label == "con"
    review = item.review
    assert (review.outcome, review.label, review.reviewer, review.revision) == (Review.OUTCOME_LABELLED, "pro", "ann", 1)
    assert (review.comment, review.seconds, review.suggestion_shown) == ("clear", 4.25, True)
    assert review.reviewed_at.ToSeconds() == 1_000_000


async def test_the_same_answer_sent_again_is_taken_once(desk: Desk) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    assert [await desk.say(ANN, "a", held["a"]) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(AlreadyAnswered):
        await desk.say(ANN, "a", held["a"], "con")


async def test_a_label_outside_the_set_of_the_items_version_is_refused(desk: Desk) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    wider = campaign_file().model_dump(mode="json")
    wider["task"]["labels"].append({"name": "other", "description": ""})
    newer = await desk.campaigns.apply(type(campaign_file()).model_validate(wider))
    with pytest.raises(UnknownLabel):
        await desk.answers.submit(newer, ANN, "a", token=held["a"], label="other", seconds=1, comment="")
    assert await desk.say(ANN, "a", held["a"], "pro") == 1


async def test_undo_within_the_grace_period_leaves_no_trace_and_the_next_answer_is_the_first(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    await desk.say(ANN, "a", held["a"], "con")
    undone = await desk.answers.undo(desk.campaign, ANN, "a")
    assert (undone.is_published, undone.answer.label) == (False, "con")
    clock.advance(30)
    await desk.outbox.drain()
    assert desk.producer.sent == []
    with pytest.raises(LeaseLost):
        await desk.say(ANN, "a", held["a"], "con")
    assert await desk.say(ANN, "a", undone.lease.token, "pro") == 1
    clock.advance(11)
    await desk.outbox.drain()
    assert [(item.review.label, item.review.revision) for item in desk.producer.merged()] == [("pro", 1)]


async def test_after_publication_a_new_answer_replaces_the_old_one_by_its_revision(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"], "con")
    clock.advance(11)
    await desk.outbox.drain()
    undone = await desk.answers.undo(desk.campaign, ANN, "a")
    assert undone.is_published
    assert await desk.take(BOB) == {}, "an answered item stays answered while it is revised"
    assert await desk.say(ANN, "a", undone.lease.token, "pro") == 2
    clock.advance(11)
    await desk.outbox.drain()
    assert [(item.review.label, item.review.revision) for item in desk.producer.merged()] == [("con", 1), ("pro", 2)]


async def test_a_revision_that_is_taken_back_leaves_the_answer_before_it(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"], "con")
    clock.advance(11)
    await desk.outbox.drain()
    revising = await desk.answers.undo(desk.campaign, ANN, "a")
    await desk.say(ANN, "a", revising.lease.token, "pro")
    undone = await desk.answers.undo(desk.campaign, ANN, "a")
    assert (undone.is_published, undone.answer.label) == (False, "pro")
    clock.advance(1000)
    await desk.outbox.drain()
    _, answer = await desk.reading.item(desk.campaign, ANN, "a")
    assert (answer.label, answer.revision) == ("con", 1)
    assert await desk.take(BOB) == {}
    assert len(desk.producer.sent) == 1


async def test_a_draw_that_came_during_a_revision_is_published_when_the_revision_is_taken_back(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"], "con")
    clock.advance(11)
    await desk.outbox.drain()
    await desk.say(ANN, "a", (await desk.answers.undo(desk.campaign, ANN, "a")).lease.token, "pro")
    await desk.put("a", decision__draw=2)
    await desk.answers.undo(desk.campaign, ANN, "a")
    await desk.outbox.drain()
    assert [(i.decision.draw, i.review.label, i.review.revision) for i in desk.producer.merged()] == [(1, "con", 1), (2, "con", 1)]


async def test_only_the_author_or_a_lead_takes_an_answer_back(desk: Desk) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    with pytest.raises(NoSuchItem):
        await desk.answers.undo(desk.campaign, BOB, "a")
    undone = await desk.answers.undo(desk.campaign, LEA, "a")
    assert await desk.say(LEA, "a", undone.lease.token, "neutral") == 1


async def test_an_item_that_was_never_yours_is_not_there(desk: Desk) -> None:
    await desk.put("a")
    for wrong in (desk.answers.undo(desk.campaign, ANN, "a"), desk.answers.flag(desk.campaign, ANN, "a", "?")):
        with pytest.raises(NoSuchItem):
            await wrong


async def test_a_skip_goes_to_somebody_else_and_then_counts_as_undecidable(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    assert await skip(desk, ANN, "a", (await desk.take(ANN))["a"]) is State.WAITING
    assert await desk.take(ANN) == {}
    assert await skip(desk, BOB, "a", (await desk.take(BOB))["a"], "no-label-fits") is State.UNDECIDABLE
    clock.advance(11)
    await desk.outbox.drain()
    (item,) = desk.producer.merged()
    assert (item.review.outcome, item.review.label) == (Review.OUTCOME_UNDECIDABLE, "")
    assert item.review.comment == "skipped: unclear, no-label-fits"


async def test_a_single_reviewer_takes_back_what_they_skipped(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await skip(desk, ANN, "a", (await desk.take(ANN))["a"])
    assert (await desk.reading.progress(desk.campaign, ANN)).skipped_by_me_waiting == 1
    again = await desk.take(ANN, skipped=True)
    assert await desk.say(ANN, "a", again["a"], None) == 1
    clock.advance(11)
    await desk.outbox.drain()
    assert desk.producer.merged()[0].review.outcome == Review.OUTCOME_UNDECIDABLE


async def test_skipping_twice_counts_once(desk: Desk) -> None:
    await desk.put("a")
    first = (await desk.take(ANN))["a"]
    assert [await skip(desk, ANN, "a", first) for _ in range(2)] == [State.WAITING, State.WAITING]
    assert await skip(desk, ANN, "a", (await desk.take(ANN, skipped=True))["a"]) is State.WAITING


async def test_a_lead_settles_what_others_skipped(desk: Desk) -> None:
    await desk.put("a")
    await skip(desk, ANN, "a", (await desk.take(ANN))["a"])
    assert await desk.say(LEA, "a", (await desk.take(LEA))["a"]) == 1


async def test_a_skip_is_taken_back_until_somebody_else_has_the_item(desk: Desk) -> None:
    await desk.put("a")
    await skip(desk, ANN, "a", (await desk.take(ANN))["a"])
    undone = await desk.answers.undo(desk.campaign, ANN, "a")
    assert undone.answer is None
    await skip(desk, ANN, "a", undone.lease.token)
    await desk.take(BOB)
    with pytest.raises(NothingToUndo):
        await desk.answers.undo(desk.campaign, ANN, "a")


async def test_the_skip_that_made_an_item_undecidable_is_taken_back(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await skip(desk, ANN, "a", (await desk.take(ANN))["a"])
    await skip(desk, BOB, "a", (await desk.take(BOB))["a"])
    undone = await desk.answers.undo(desk.campaign, BOB, "a")
    assert undone.answer.label is None
    clock.advance(61)
    again = await desk.take(BOB)
    assert set(again) == {"a"}, "the skip that was taken back no longer keeps the item from its author"
    assert await desk.say(BOB, "a", again["a"], "pro") == 1


async def test_skipping_a_revision_leaves_the_answer(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    clock.advance(11)
    await desk.outbox.drain()
    undone = await desk.answers.undo(desk.campaign, ANN, "a")
    assert await skip(desk, ANN, "a", undone.lease.token) is State.ANSWERED
    _, answer = await desk.reading.item(desk.campaign, ANN, "a")
    assert answer.label == "pro"


async def test_a_lost_reply_to_an_undo_can_be_asked_for_again(desk: Desk) -> None:
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"])
    await desk.answers.undo(desk.campaign, ANN, "a")
    again = await desk.answers.undo(desk.campaign, ANN, "a")
    assert await desk.say(ANN, "a", again.lease.token) == 1


async def test_flags_keep_the_last_comment_of_each_person(desk: Desk) -> None:
    await desk.put("a")
    await desk.take(ANN)
    await desk.answers.flag(desk.campaign, ANN, "a", "odd")
    await desk.answers.flag(desk.campaign, ANN, "a", "very odd")
    rows = await desk.reading.flags(desk.campaign, limit=10)
    assert [(row["item_id"], row["reviewer"], row["comment"]) for row in rows] == [("a", "ann", "very odd")]


async def test_history_shows_ones_own_answers_that_still_count(desk: Desk, clock: FakeClock) -> None:
    await desk.put(*"abc")
    held = await desk.take(ANN, 3)
    for item_id, token in held.items():
        clock.advance(1)
        await desk.say(ANN, item_id, token)
    rows = await desk.reading.history(desk.campaign, "ann", before=1e12, limit=2)
    assert [row["item_id"] for row in rows] == list(held)[:0:-1]
    older = await desk.reading.history(desk.campaign, "ann", before=rows[-1]["answered_at"], limit=2)
    assert [row["item_id"] for row in older] == list(held)[:1]
    lead = await desk.answers.undo(desk.campaign, LEA, next(iter(held)))
    await desk.say(LEA, next(iter(held)), lead.lease.token, "neutral")
    assert len(await desk.reading.history(desk.campaign, "ann", before=1e12, limit=9)) == 2
