"""Who holds what."""

import pytest

from actlabel.review_gateway.leases import MOST_HELD
from actlabel.review_gateway.refusals import LeaseLost, NoSuchItem, Paused
from actlabel.runtime.clock import FakeClock
from tests.unit.review_gateway.records import ANN, BOB, Desk


async def test_one_item_is_never_lent_twice_at_once(desk: Desk) -> None:
    await desk.put(*"abcde")
    anns, bobs = await desk.take(ANN, 3), await desk.take(BOB, 3)
    assert (len(anns), len(bobs)) == (3, 2)
    assert not set(anns) & set(bobs)
    assert await desk.take(ANN) == {}


async def test_a_lease_that_ran_out_returns_and_its_token_is_refused_once_somebody_else_has_the_item(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    old = await desk.take(ANN)
    clock.advance(61)
    new = await desk.take(BOB)
    assert set(new) == {"a"}
    with pytest.raises(LeaseLost):
        await desk.say(ANN, "a", old["a"])
    assert await desk.say(BOB, "a", new["a"]) == 1


async def test_an_answer_after_the_end_counts_while_nobody_else_has_the_item(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a", "b")
    held = await desk.take(ANN, 2)
    clock.advance(61)
    assert await desk.say(ANN, "a", held["a"]) == 1
    await desk.leases.claim(desk.campaign, BOB, count=0)  # notices what ran out, takes nothing
    assert await desk.say(ANN, "b", held["b"]) == 1


async def test_another_reviewer_cannot_use_a_token(desk: Desk) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    with pytest.raises(LeaseLost):
        await desk.say(BOB, "a", held["a"])
    with pytest.raises(LeaseLost):
        await desk.leases.extend(desk.campaign, BOB, "a", held["a"])


async def test_extending_begins_the_lease_anew(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    clock.advance(59)
    assert await desk.leases.extend(desk.campaign, ANN, "a", held["a"]) == 60
    clock.advance(59)
    assert await desk.take(BOB) == {}
    clock.advance(2)
    assert set(await desk.take(BOB)) == {"a"}


async def test_extending_revives_a_lease_that_ran_out_and_that_nobody_took(desk: Desk, clock: FakeClock) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    clock.advance(61)
    await desk.leases.claim(desk.campaign, BOB, count=0)
    await desk.leases.extend(desk.campaign, ANN, "a", held["a"])
    assert await desk.take(BOB) == {}


async def test_a_page_that_is_loaded_again_gets_its_items_back_under_new_tokens(desk: Desk) -> None:
    await desk.put("a", "b", "c")
    before = await desk.take(ANN, 2)
    after = await desk.take(ANN, 2, resume=True)
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())
    item_id = next(iter(before))
    with pytest.raises(LeaseLost):
        await desk.say(ANN, item_id, before[item_id])


async def test_nobody_empties_the_queue(desk: Desk) -> None:
    await desk.put(*(f"i{number}" for number in range(MOST_HELD + 5)))
    assert len(await desk.take(ANN, MOST_HELD)) == MOST_HELD
    assert await desk.take(ANN, 5) == {}
    assert len(await desk.take(BOB, 10)) == 5


async def test_a_paused_campaign_lends_nothing_but_takes_answers(desk: Desk) -> None:
    await desk.put("a", "b")
    held = await desk.take(ANN)
    with pytest.raises(Paused, match="lunch"):
        await desk.leases.claim(desk.campaign, ANN, count=1, paused="lunch")
    ((item_id, token),) = held.items()
    assert await desk.say(ANN, item_id, token) == 1


async def test_an_unknown_item_is_unknown(desk: Desk) -> None:
    with pytest.raises(NoSuchItem):
        await desk.leases.extend(desk.campaign, ANN, "a", "token")
