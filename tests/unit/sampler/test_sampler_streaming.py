"""Streaming mode: blocks with quotas, stored before anything of them leaves, and never more reviews than the budget."""

import asyncio
from collections.abc import Sequence

import pytest

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import CampaignPaused, RetryLater
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.open import open_database
from tests.unit.sampler.sampling import Fuse, Killed, Replica, Sampling, campaign_file, epsilons, until


def stream_file(**sampler):
    return campaign_file(mode="streaming", **{"block_items": 32, "block_seconds": 10.0, **sampler})


async def _begin(replica: Replica, campaign: Campaign, items: Sequence[Item]) -> list[asyncio.Task]:
    """Let items arrive and wait; returns when all of them are stored."""
    tasks = [asyncio.create_task(replica.handle(item, campaign)) for item in items]
    await until(lambda: replica.blocks.waiting >= sum(not task.done() for task in tasks))
    return tasks


async def _produce(sampling: Sampling, tasks: Sequence[asyncio.Task]) -> None:
    for outgoing in [one for task in tasks if task.done() for one in task.result()]:
        await sampling.stream.producer().send(outgoing.topic, key=outgoing.key, value=outgoing.value)


async def _apply(sampling: Sampling, **sampler) -> Campaign:
    return await sampling.apply(stream_file(**sampler))


async def test_a_full_block_is_decided_and_stored_before_anything_of_it_leaves(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="25%")
    replica = sampling.replica()
    items = await sampling.critique(campaign, epsilons(40))
    tasks = await _begin(replica, campaign, items)
    assert not any(task.done() for task in tasks)
    assert replica.blocks.full.is_set()
    await replica.blocks.step()
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True] * 32 + [False] * 8
    await _produce(sampling, tasks)
    outcome = sampling.outcome(campaign)
    assert set(outcome) == set(list(epsilons(40))[:32])
    stored = await sampling.database.fetch(
        "SELECT draw, block, cell, cell_selected, cell_size, epsilon_q16, selected, item_id FROM decision"
    )
    assert {row["item_id"]: tuple(row)[:-1] for row in stored} == outcome
    block = (await sampling.database.fetch("SELECT block, items, quota FROM block"))[0]
    assert tuple(block) == (1, 32, 7)  # 25 % of 32, one held back
    assert sum(row["selected"] for row in stored) == 7
    cells = await sampling.database.fetch("SELECT SUM(size) AS size, SUM(selected) AS selected FROM cell WHERE block = 1")
    assert tuple(cells[0]) == (32, 7)
    for task in tasks[32:]:
        task.cancel()


async def test_time_closes_a_block_that_is_not_full(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="50%")
    replica = sampling.replica()
    tasks = await _begin(replica, campaign, await sampling.critique(campaign, epsilons(12)))
    sampling.clock.advance(9.9)
    await replica.blocks.step()
    assert not any(task.done() for task in tasks)
    sampling.clock.advance(0.1)
    await replica.blocks.step()
    await asyncio.gather(*tasks)
    assert await sampling.budget(campaign) == (5, 5, 12)


async def test_what_has_no_review_due_waits_and_joins_a_later_block(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="5%")  # the first review is due after 40 items: one is held back
    replica = sampling.replica()
    tasks = await _begin(replica, campaign, await sampling.critique(campaign, epsilons(39)))
    sampling.clock.advance(1000)
    await replica.blocks.step()
    assert not any(task.done() for task in tasks)
    tasks += await _begin(replica, campaign, await sampling.critique(campaign, epsilons(1, first=39)))
    await replica.blocks.step()
    await asyncio.gather(*tasks)
    await _produce(sampling, tasks)
    assert await sampling.budget(campaign) == (1, 1, 40)
    assert all(selected_of_cell > 0 for _, _, _, selected_of_cell, *_ in sampling.outcome(campaign).values())


async def test_the_last_items_of_a_sealed_stream_always_get_a_review(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="10%")
    doubts = epsilons(131)
    await sampling.register(campaign, doubts)
    await sampling.campaigns.seal(campaign.uid)
    replica = sampling.replica()
    items = await sampling.critique(campaign, doubts)
    tasks = await _begin(replica, campaign, items[:130])
    sampling.clock.advance(1000)
    await replica.blocks.step()
    await asyncio.gather(*tasks)
    assert await sampling.budget(campaign) == (12, 12, 130)
    tasks += await _begin(replica, campaign, items[130:])
    sampling.clock.advance(1000)
    await replica.blocks.step()
    await asyncio.gather(*tasks)
    assert await sampling.budget(campaign) == (13, 13, 131)


@pytest.mark.parametrize("replicas", [1, 4])
@pytest.mark.parametrize(("budget", "expected"), [(57, 500), (500, 500), (3, 500), ("11.4%", None)])
async def test_replicas_together_spend_the_budget_and_never_more(sampling: Sampling, replicas: int, budget, expected) -> None:
    campaign = await _apply(sampling, budget=budget, expected_items=expected, audit_share=0.3)
    limit = 57 if budget == "11.4%" else budget
    doubts = epsilons(500)
    await sampling.register(campaign, doubts)
    await sampling.campaigns.seal(campaign.uid)
    items = await sampling.critique(campaign, doubts)
    processes = [sampling.replica() for _ in range(replicas)]
    tasks: list[asyncio.Task] = []
    for start in range(0, 500, 45):
        for number, replica in enumerate(processes):
            tasks += await _begin(replica, campaign, items[start : start + 45][number::replicas])
        sampling.clock.advance(3)
        await asyncio.gather(*(replica.blocks.step() for replica in processes))
        assert (await sampling.budget(campaign))[1] <= limit
    sampling.clock.advance(100)
    for _ in range(2):
        await asyncio.gather(*(replica.blocks.step() for replica in processes))
    await asyncio.gather(*tasks)
    await _produce(sampling, tasks)
    outcome = sampling.outcome(campaign)
    assert set(outcome) == set(doubts)
    assert sum(selected for *_, selected in outcome.values()) == limit
    assert min(selected_of_cell for _, _, _, selected_of_cell, *_ in outcome.values()) > 0
    assert (await sampling.budget(campaign))[1:] == (limit, 500)


async def test_a_replica_finds_decided_what_another_one_decided(sampling: Sampling) -> None:
    """Also what is too little for a block of its own."""
    campaign = await _apply(sampling, budget="50%")
    one, two = sampling.replica(), sampling.replica()
    items = await sampling.critique(campaign, epsilons(33))
    tasks = await _begin(one, campaign, items[:1])
    tasks += await _begin(two, campaign, items[1:32])
    await two.blocks.step()
    assert not tasks[0].done()
    await one.blocks.step()
    await asyncio.gather(*tasks)
    assert len(await sampling.database.fetch("SELECT block FROM block")) == 1


async def test_redelivery_and_duplicates_are_answered_from_the_store(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="25%")
    one = sampling.replica()
    items = await sampling.critique(campaign, epsilons(32))
    tasks = await _begin(one, campaign, items)
    await one.blocks.step()
    first = [task.result() for task in await _settled(tasks)]
    again = await sampling.take_in(sampling.replica(), campaign, items)
    assert again == first
    for item in items:
        item.critique.error_probability = 1.0
    changed = await sampling.take_in(one, campaign, items)
    decisions = [Item.FromString(out[0].value).decision for out in changed]
    assert decisions == [Item.FromString(out[0].value).decision for out in first]
    assert await sampling.budget(campaign) == (7, 7, 32)


async def _settled(tasks: list[asyncio.Task]) -> list[asyncio.Task]:
    await asyncio.gather(*tasks)
    return tasks


async def test_the_same_item_twice_in_one_block_counts_once(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="50%")
    replica = sampling.replica()
    items = await sampling.critique(campaign, epsilons(20))
    tasks = await _begin(replica, campaign, items)
    twins = [asyncio.create_task(replica.handle(item, campaign)) for item in items]
    await until(lambda: replica.blocks.waiting == 20 and replica.blocks.calls_waiting == 40)
    sampling.clock.advance(100)
    await replica.blocks.step()
    assert await asyncio.gather(*tasks) == await asyncio.gather(*twins)
    assert (await sampling.budget(campaign))[2] == 20


async def test_killed_anywhere_while_a_block_closes_nothing_is_lost_or_decided_twice() -> None:
    total = await _kill(at=0)
    assert total > 10
    for at in range(1, total + 1):
        await _kill(at=at)


async def _kill(*, at: int) -> int:
    """Two replicas; the first dies at its statement number ``at``, the other takes over. Returns how many statements it made."""
    sampling = Sampling(await open_database("sqlite:///:memory:"))
    campaign = await _apply(sampling, budget="25%")
    fuse = Fuse()
    dying, other = sampling.replica(fuse=fuse), sampling.replica()
    items = await sampling.critique(campaign, epsilons(32))
    abandoned = await _begin(dying, campaign, items)
    fuse.count, fuse.at = 0, at
    if at:
        with pytest.raises(Killed):
            await dying.blocks.step()
        rows = await sampling.database.fetch("SELECT (SELECT COUNT(*) FROM decision) AS d, (SELECT COUNT(*) FROM block) AS b")
        assert tuple(rows[0]) in {(0, 0), (32, 1)}
        for task in abandoned:
            task.cancel()
        tasks = await _begin(other, campaign, items)
        await other.blocks.step()
        await asyncio.gather(*tasks)
    else:
        await dying.blocks.step()
        await asyncio.gather(*abandoned)
    assert await sampling.budget(campaign) == (7, 7, 32)
    assert len(await sampling.database.fetch("SELECT block FROM block")) == 1
    await sampling.database.close()
    return fuse.count


async def test_a_used_up_budget_pauses_the_campaign_until_it_is_raised(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget=8, expected_items=40)
    replica = sampling.replica()
    items = await sampling.critique(campaign, epsilons(70))
    tasks = await _begin(replica, campaign, items)
    sampling.clock.advance(100)
    await replica.blocks.step()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert await sampling.budget(campaign) == (8, 8, 64)
    assert [type(outcome) for outcome in outcomes[64:]] == [CampaignPaused] * 6
    assert (await sampling.pause(campaign) or "") == (
        "sampler.budget: 8 over the expected 40 items is used up, and items wait; raise it and apply"
    )
    again = asyncio.create_task(replica.handle(items[-1], campaign))
    await until(lambda: replica.blocks.waiting == 1)
    await replica.blocks.step()
    with pytest.raises(CampaignPaused):
        await again
    raised = await _apply(sampling, budget=20, expected_items=70)
    tasks = await _begin(replica, raised, items[64:])
    await replica.blocks.step()
    await asyncio.gather(*tasks)
    assert await sampling.budget(campaign) == (20, 14, 70)  # 12 are due, and 6 items are there


async def test_a_pause_gives_back_what_waits_and_keeps_it_stored(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="50%")
    replica = sampling.replica()
    tasks = await _begin(replica, campaign, await sampling.critique(campaign, epsilons(40)))
    await sampling.campaigns.pause(campaign.uid, "*", "a person said so")
    await replica.blocks.step()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"a person said so"}
    assert await sampling.database.fetch("SELECT block FROM block") == []
    assert len(await sampling.database.fetch("SELECT item_id FROM candidate WHERE block IS NULL")) == 40


async def test_a_stopping_process_gives_back_what_waits(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="50%")
    replica = sampling.replica()
    items = await sampling.critique(campaign, epsilons(9))
    tasks = await _begin(replica, campaign, items[:8])
    replica.blocks.give_back()
    assert {type(outcome) for outcome in await asyncio.gather(*tasks, return_exceptions=True)} == {RetryLater}
    with pytest.raises(RetryLater):
        await replica.handle(items[8], campaign)


async def test_a_raise_is_for_the_blocks_to_come(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="25%")
    replica = sampling.replica()
    tasks = await _begin(replica, campaign, await sampling.critique(campaign, epsilons(32)))
    await replica.blocks.step()
    raised = await _apply(sampling, budget="50%", rule="uniform")
    tasks += await _begin(replica, raised, await sampling.critique(raised, epsilons(32, first=32)))
    await replica.blocks.step()
    await asyncio.gather(*tasks)
    await _produce(sampling, tasks)
    rules = {
        item.decision.block: item.decision.rule for kind in (topics.MERGED, topics.REVIEW) for item in sampling.emitted(campaign, kind)
    }
    assert rules == {1: "threshold", 2: "uniform"}
    assert await sampling.budget(campaign) == (31, 31, 64)


async def test_a_stream_that_becomes_exact_is_paused_and_nothing_is_drawn(sampling: Sampling) -> None:
    campaign = await _apply(sampling, budget="25%")
    doubts = epsilons(40)
    await sampling.register(campaign, doubts)
    replica = sampling.replica()
    tasks = await _begin(replica, campaign, await sampling.critique(campaign, doubts))
    await sampling.campaigns.seal(campaign.uid)
    await sampling.apply(campaign_file(budget="25%"))
    await replica.draws.step()
    reason = await sampling.pause(campaign)
    assert (reason or "").startswith("sampler.mode: is exact, but items of this campaign were already taken in as streaming")
    await sampling.campaigns.resume(campaign.uid)
    await replica.blocks.step()
    assert {str(outcome) for outcome in await asyncio.gather(*tasks, return_exceptions=True)} == {reason}
    assert await sampling.database.fetch("SELECT draw FROM draw") == []
    back = await _apply(sampling, budget="25%")
    tasks = await _begin(replica, back, await sampling.critique(back, doubts))
    sampling.clock.advance(100)
    await replica.blocks.step()
    await asyncio.gather(*tasks)
    assert await sampling.budget(campaign) == (10, 10, 40)
