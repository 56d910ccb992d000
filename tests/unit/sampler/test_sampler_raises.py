"""A raised budget is a new draw that drops nothing; what would unmake a draw is refused with a sentence."""

import asyncio

import pytest

from actlabel.core import topics
from tests.unit.sampler.sampling import Replica, Sampling, campaign_file, epsilons


async def _draw_and_emit(replica: Replica) -> None:
    await replica.draws.step()
    await replica.emission.step()


def _selected(sampling: Sampling, campaign, draw: int) -> set[str]:
    return {item.id for item in sampling.emitted(campaign, topics.REVIEW) if item.decision.draw == draw}


@pytest.mark.parametrize("rule", ["threshold", "exponential", "normalization", "variance-optimal", "uniform"])
async def test_every_raise_keeps_what_was_chosen_and_emits_all_again(sampling: Sampling, rule: str) -> None:
    doubts = epsilons(400)
    budgets = [60, 61, 75, 150, 400]
    campaign = await sampling.ready_to_draw(campaign_file(rule=rule, budget=budgets[0], audit_share=0.5), doubts)
    replica = sampling.replica()
    await _draw_and_emit(replica)
    for number, budget in enumerate(budgets[1:], 2):
        await sampling.apply(campaign_file(rule=rule, budget=budget, audit_share=0.5))
        await _draw_and_emit(replica)
        assert _selected(sampling, campaign, number - 1) <= _selected(sampling, campaign, number)
        assert len(_selected(sampling, campaign, number)) == budget
        assert await sampling.budget(campaign) == (budget, budget, 400)
        outcome = sampling.outcome(campaign)
        assert {draw for draw, *_ in outcome.values()} == {number}
        assert set(outcome) == set(doubts)
    assert await sampling.pause(campaign) is None


async def test_the_same_file_applied_again_is_no_new_draw(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=50), epsilons(200))
    replica = sampling.replica()
    await _draw_and_emit(replica)
    await sampling.apply(campaign_file(budget=50))
    await sampling.apply(campaign_file(budget=50, beta=3.0))  # the threshold rule has no beta
    await _draw_and_emit(replica)
    assert len(await sampling.database.fetch("SELECT draw FROM draw")) == 1
    assert await sampling.pause(campaign) is None


async def test_an_older_emission_ends_when_a_raise_is_complete(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=50), epsilons(200))
    replica = sampling.replica()
    await replica.draws.step()
    await sampling.apply(campaign_file(budget=80))
    await replica.draws.step()
    await replica.emission.step()
    assert {draw for draw, *_ in sampling.outcome(campaign).values()} == {2}
    assert len(sampling.emitted(campaign, topics.REVIEW)) == 80
    left = (await sampling.database.fetch("SELECT SUM(end_offset - next_offset) AS left FROM emission"))[0]["left"]
    assert left == 0


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        ({"budget": 49}, "sampler.budget: allows 49 reviews in batch 1, and draw 1 has already chosen 50"),
        ({"budget": 50, "rule": "uniform"}, "rule: draw 1 was made with other values"),
        ({"budget": 90, "audit_share": 0.2}, "audit_share: draw 1 was made with other values"),
        ({"budget": 50, "seed": 2}, "seed, key_sha256: draw 1 was made with other values"),
    ],
)
async def test_what_would_unmake_a_draw_pauses_the_campaign_and_changes_nothing(sampling: Sampling, change: dict, begins: str) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=50), epsilons(200))
    replica = sampling.replica()
    await _draw_and_emit(replica)
    before = sampling.outcome(campaign)
    await sampling.apply(campaign_file(**change))
    await _draw_and_emit(replica)
    reason = await sampling.pause(campaign)
    assert reason is not None
    assert reason.startswith(begins)
    assert sampling.outcome(campaign) == before
    await sampling.apply(campaign_file(budget=70))  # put right: the pause is lifted and the raise is made
    await _draw_and_emit(replica)
    assert await sampling.pause(campaign) is None
    assert await sampling.budget(campaign) == (70, 70, 200)


async def test_another_secret_key_is_refused_after_a_draw(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=50), epsilons(200))
    await sampling.replica().draws.step()
    await sampling.replica(key=b"x" * 40).draws.step()
    assert (await sampling.pause(campaign) or "").startswith("key_sha256: draw 1 was made with other values")


async def test_a_budget_that_does_not_cover_the_audit_pauses_one_campaign_and_the_others_go_on(sampling: Sampling) -> None:
    poor = await sampling.ready_to_draw(campaign_file("poor", budget=2, audit_share=0.5), epsilons(300))
    rich = await sampling.ready_to_draw(campaign_file("rich", budget=50), epsilons(300))
    replica = sampling.replica()
    await _draw_and_emit(replica)
    assert "2 reviews do not cover the audit" in (await sampling.pause(poor) or "")
    assert sampling.outcome(poor) == {}
    assert await sampling.database.fetch("SELECT draw FROM draw WHERE uid = $1", poor.uid) == []
    assert len(sampling.outcome(rich)) == 300
    await sampling.apply(campaign_file("poor", budget=60, audit_share=0.5))
    await _draw_and_emit(replica)
    assert len(sampling.outcome(poor)) == 300
    assert await sampling.budget(poor) == (60, 60, 300)


async def test_a_count_is_for_the_campaign_and_its_raise_goes_to_the_newest_batch(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=50, audit_share=0), epsilons(40))
    replica = sampling.replica()
    await _draw_and_emit(replica)
    assert await sampling.budget(campaign) == (50, 40, 40)
    second = epsilons(100, first=40)
    await sampling.register(campaign, second)
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, second, batch=2))
    await sampling.campaigns.seal(campaign.uid)
    await _draw_and_emit(replica)
    assert await sampling.budget(campaign) == (50, 50, 140)
    await sampling.apply(campaign_file(budget=65, audit_share=0))
    await _draw_and_emit(replica)
    assert await sampling.budget(campaign) == (65, 65, 140)
    rows = await sampling.database.fetch("SELECT draw, batch, budget, selected, raises FROM draw ORDER BY draw")
    assert [tuple(row) for row in rows] == [(1, 1, 40, 40, 0), (2, 2, 10, 10, 0), (3, 2, 25, 25, 2)]


async def test_a_raise_waits_for_a_sealed_batch_that_is_still_coming(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=20, audit_share=0), epsilons(40))
    replica = sampling.replica()
    await _draw_and_emit(replica)
    second = epsilons(60, first=40)
    await sampling.register(campaign, second)
    await sampling.campaigns.seal(campaign.uid)
    await sampling.apply(campaign_file(budget=50, audit_share=0))
    await _draw_and_emit(replica)
    assert await sampling.budget(campaign) == (20, 20, 40)
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, second, batch=2))
    await _draw_and_emit(replica)
    assert await sampling.budget(campaign) == (50, 50, 100)


async def test_a_raised_share_is_raised_in_every_batch(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget="20%"), epsilons(100))
    replica = sampling.replica()
    await _draw_and_emit(replica)
    second = epsilons(200, first=100)
    await sampling.register(campaign, second)
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, second, batch=2))
    await sampling.campaigns.seal(campaign.uid)
    await _draw_and_emit(replica)
    await sampling.apply(campaign_file(budget="30%"))
    await _draw_and_emit(replica)
    await _draw_and_emit(replica)
    rows = await sampling.database.fetch("SELECT draw, batch, selected, raises FROM draw ORDER BY draw")
    assert [tuple(row) for row in rows] == [(1, 1, 20, 0), (2, 2, 40, 0), (3, 1, 30, 1), (4, 2, 60, 2)]
    assert await sampling.budget(campaign) == (90, 90, 300)


async def test_a_count_that_earlier_batches_used_up_pauses_the_next_one(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=30), epsilons(100))
    replica = sampling.replica()
    await _draw_and_emit(replica)
    second = epsilons(50, first=100)
    await sampling.register(campaign, second)
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, second, batch=2))
    await sampling.campaigns.seal(campaign.uid)
    await asyncio.gather(*(sampling.replica().draws.step() for _ in range(2)))
    assert (await sampling.pause(campaign) or "").startswith("sampler.budget: leaves no review for batch 2 of 50 items")
    assert set(sampling.outcome(campaign)) == set(epsilons(100))
    await sampling.apply(campaign_file(budget=50))
    await _draw_and_emit(replica)
    assert await sampling.budget(campaign) == (50, 50, 150)


async def test_a_budget_of_nothing_is_taken_at_its_word(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=0), epsilons(100))
    await _draw_and_emit(sampling.replica())
    assert len(sampling.emitted(campaign, topics.MERGED)) == 100
    assert {item.decision.cell_selected for item in sampling.emitted(campaign, topics.MERGED)} == {0}


async def test_a_campaign_does_not_change_its_mode(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=30), epsilons(100))
    streaming = await sampling.apply(campaign_file(budget="30%", mode="streaming"))
    items = await sampling.critique(streaming, epsilons(1, first=100))
    with pytest.raises(Exception, match=r"sampler\.mode: is streaming, but items .* were already taken in as exact"):
        await sampling.take_in(sampling.replica(), streaming, items)
    assert (await sampling.pause(campaign) or "").startswith("sampler.mode")
