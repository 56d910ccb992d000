"""Exact mode: one draw over a sealed batch, stored once, emitted as stored."""

import asyncio
import hashlib

import numpy as np
import pytest

from actlabel.core import topics
from actlabel.core.designs import design_exact, quantise, select
from actlabel.core.errors import UserError
from actlabel.core.random_numbers import random_numbers
from actlabel.runtime.database.open import open_database
from actlabel.sampler import emission
from tests.unit.sampler.sampling import KEY, Sampling, campaign_file, epsilons


async def test_nothing_leaves_before_every_item_has_come_and_the_batch_is_sealed(sampling: Sampling) -> None:
    doubts = epsilons(120)
    campaign = await sampling.apply(campaign_file(budget=40, audit_share=0.5))
    await sampling.register(campaign, doubts)
    items = await sampling.critique(campaign, doubts)
    replica = sampling.replica()
    assert await sampling.take_in(replica, campaign, items[:-1]) == [[]] * 119
    await sampling.campaigns.seal(campaign.uid)
    for _ in range(2):
        await replica.draws.step()
        await replica.emission.step()
    assert sampling.outcome(campaign) == {}
    assert await sampling.database.fetch("SELECT * FROM draw") == []
    await sampling.take_in(replica, campaign, items[-1:])
    await replica.draws.step()
    assert sampling.outcome(campaign) == {}
    await replica.emission.step()
    assert set(sampling.outcome(campaign)) == set(doubts)


async def test_an_unsealed_batch_is_never_drawn(sampling: Sampling) -> None:
    doubts = epsilons(120)
    campaign = await sampling.apply(campaign_file())
    await sampling.register(campaign, doubts)
    replica = sampling.replica()
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, doubts))
    await replica.draws.step()
    assert await sampling.database.fetch("SELECT * FROM draw") == []


async def test_the_draw_is_the_one_that_the_mathematics_says(sampling: Sampling) -> None:
    doubts = epsilons(400)
    campaign = await sampling.ready_to_draw(campaign_file(budget=90, audit_share=0.5, rule="normalization"), doubts)
    replica = sampling.replica()
    await replica.draws.step()
    await replica.emission.step()
    ids, q16 = list(doubts), quantise(np.array(list(doubts.values())))
    parameters = await replica.keys.parameters(campaign)
    design = design_exact(q16, budget=90, audit_share=0.5, rule=parameters.core_rule)
    key = await sampling.campaigns.secret_key(campaign, KEY)
    chosen = select(design, random_numbers(key, ids), ids)
    expected = {
        item_id: (1, 0, cell, int(design.selected[cell]), int(design.size[cell]), epsilon, picked)
        for item_id, cell, epsilon, picked in zip(ids, design.cell.tolist(), q16.tolist(), chosen.tolist(), strict=True)
    }
    assert sampling.outcome(campaign) == expected
    assert parameters.key_sha256 == hashlib.sha256(key).hexdigest()
    assert await sampling.budget(campaign) == (90, 90, 400)


async def test_the_order_of_arrival_does_not_matter(sampling: Sampling) -> None:
    doubts = epsilons(300)
    backwards = dict(reversed(doubts.items()))
    campaign = await sampling.ready_to_draw(campaign_file(budget=60), doubts)
    other = Sampling(await open_database("sqlite:///:memory:"))
    twin = await other.ready_to_draw(campaign_file(budget=60), backwards)
    for system in (sampling, other):
        replica = system.replica()
        await replica.draws.step()
        await replica.emission.step()
    assert campaign.uid != twin.uid
    assert sampling.outcome(campaign) == other.outcome(twin)
    await other.database.close()


async def test_the_dead_count_as_arrived_unless_they_are_on_their_way_again(sampling: Sampling) -> None:
    doubts = epsilons(100)
    campaign = await sampling.apply(campaign_file())
    await sampling.register(campaign, [*doubts, "dead-1", "dead-2"])
    replica = sampling.replica()
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, doubts))
    await sampling.campaigns.seal(campaign.uid)
    await sampling.bury(campaign, "dead-1")
    await sampling.bury(campaign, "dead-2")
    await sampling.bury(campaign, "item-00000")  # critiqued as well: counts once
    await sampling.database.execute("UPDATE dead SET replayed_at = 5 WHERE item_id = 'dead-2'")
    await replica.draws.step()
    assert await sampling.database.fetch("SELECT * FROM draw") == []
    await sampling.database.execute("UPDATE dead SET replayed_at = NULL")
    await replica.draws.step()
    await replica.emission.step()
    assert set(sampling.outcome(campaign)) == set(doubts)


async def test_a_batch_of_which_nothing_came_through_is_a_complete_draw_of_nothing(sampling: Sampling) -> None:
    campaign = await sampling.apply(campaign_file())
    await sampling.register(campaign, ["only"])
    await sampling.campaigns.seal(campaign.uid)
    await sampling.bury(campaign, "only")
    replica = sampling.replica()
    await replica.draws.step()
    rows = await sampling.database.fetch("SELECT complete, population, selected FROM draw")
    assert [tuple(row) for row in rows] == [(1, 0, 0)]
    assert await sampling.pause(campaign) is None


async def test_a_share_is_of_the_batch_and_rounded_down(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget="30%"), epsilons(129))
    await sampling.replica().draws.step()
    assert await sampling.budget(campaign) == (38, 38, 129)


async def test_two_replicas_at_once_make_one_draw(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=50), epsilons(200))
    replicas = [sampling.replica() for _ in range(3)]
    await asyncio.gather(*(replica.draws.step() for replica in replicas))
    await asyncio.gather(*(replica.emission.step() for replica in replicas))
    assert [row["draw"] for row in await sampling.database.fetch("SELECT draw FROM draw")] == [1]
    assert len(sampling.emitted(campaign, topics.REVIEW)) == 50
    assert len(sampling.emitted(campaign, topics.MERGED)) == 150


async def test_what_comes_again_after_the_draw_leaves_with_the_stored_decision(sampling: Sampling) -> None:
    doubts = epsilons(150)
    campaign = await sampling.ready_to_draw(campaign_file(budget=30), doubts)
    replica = sampling.replica()
    await replica.draws.step()
    await replica.emission.step()
    before = sampling.outcome(campaign)
    calmer = dict.fromkeys(doubts, 0.0)  # a second critique of the same items says otherwise
    answers = await sampling.take_in(sampling.replica(), campaign, await sampling.critique(campaign, calmer))
    for outgoing in [one for answer in answers for one in answer]:
        await sampling.stream.producer().send(outgoing.topic, key=outgoing.key, value=outgoing.value)
    assert len(sampling.emitted(campaign, topics.REVIEW)) == 60
    assert sampling.outcome(campaign) == before


async def test_the_same_record_is_emitted_with_the_same_bytes(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=30), epsilons(100))
    replica = sampling.replica()
    await replica.draws.step()
    await replica.emission.step()
    await sampling.database.execute("UPDATE emission SET next_offset = 0")
    await replica.emission.step()
    records = [
        (record.key, record.value)
        for kind in (topics.MERGED, topics.REVIEW)
        for record in sampling.stream.records(topics.topic(kind, campaign.uid))
    ]
    assert len(records) == 200
    assert len(set(records)) == 100


async def test_late_items_are_the_next_batch_with_a_draw_of_its_own(sampling: Sampling) -> None:
    first, second = epsilons(150), epsilons(130, first=150)
    campaign = await sampling.ready_to_draw(campaign_file(budget="20%"), first)
    replica = sampling.replica()
    await replica.draws.step()
    await replica.emission.step()
    assert await sampling.register(campaign, second) == 2
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, second, batch=2))
    await replica.draws.step()
    assert set(sampling.outcome(campaign)) == set(first)
    await sampling.campaigns.seal(campaign.uid)
    await replica.draws.step()
    await replica.emission.step()
    outcome = sampling.outcome(campaign)
    assert {item_id for item_id, (draw, *_) in outcome.items() if draw == 2} == set(second)
    assert await sampling.budget(campaign) == (56, 56, 280)
    assert len(sampling.emitted(campaign, topics.MERGED)) + len(sampling.emitted(campaign, topics.REVIEW)) == 280


async def test_an_item_replayed_after_its_draw_joins_the_next_one(sampling: Sampling) -> None:
    first, late = epsilons(100), {"late": 0.97}
    campaign = await sampling.apply(campaign_file(budget="20%"))
    await sampling.register(campaign, [*first, *late])
    replica = sampling.replica()
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, first))
    await sampling.bury(campaign, "late")
    await sampling.campaigns.seal(campaign.uid)
    await replica.draws.step()
    await sampling.database.execute("DELETE FROM dead")  # it was replayed
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, late, batch=1))
    second = epsilons(100, first=100)
    await sampling.register(campaign, second)
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, second, batch=2))
    await sampling.campaigns.seal(campaign.uid)
    await replica.draws.step()
    await replica.emission.step()
    outcome = sampling.outcome(campaign)
    assert {item_id for item_id, (draw, *_) in outcome.items() if draw == 2} == {*second, "late"}
    assert set(outcome) == {*first, *second, "late"}


async def test_replayed_items_alone_can_be_sealed_and_drawn(sampling: Sampling) -> None:
    campaign = await sampling.apply(campaign_file(budget="50%"))
    await sampling.register(campaign, [*epsilons(20), "late-1", "late-2"])
    replica = sampling.replica()
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, epsilons(20)))
    await sampling.bury(campaign, "late-1")
    await sampling.bury(campaign, "late-2")
    await sampling.campaigns.seal(campaign.uid)
    await replica.draws.step()
    with pytest.raises(UserError, match="nothing to seal"):
        await sampling.campaigns.seal(campaign.uid)
    await sampling.database.execute("DELETE FROM dead")  # they were replayed
    late = {"late-1": 0.5, "late-2": 0.5}
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, late, batch=1))
    assert await sampling.campaigns.seal(campaign.uid) == 0
    await sampling.apply(campaign_file(budget="100%"))
    await replica.draws.step()
    await replica.draws.step()
    await replica.emission.step()
    assert set(sampling.outcome(campaign)) == {*epsilons(20), *late}


async def test_a_newer_revision_is_waited_for_and_counts(sampling: Sampling) -> None:
    doubts = epsilons(80)
    campaign = await sampling.apply(campaign_file(budget=20, audit_share=0))
    await sampling.register(campaign, doubts)
    replica = sampling.replica()
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, doubts))
    await sampling.database.execute("UPDATE item SET revision = 2 WHERE item_id = 'item-00000'")
    await sampling.campaigns.seal(campaign.uid)
    await replica.draws.step()
    assert await sampling.database.fetch("SELECT * FROM draw") == []
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, {"item-00000": 0.9999}, revision=2))
    await replica.draws.step()
    await replica.emission.step()
    emitted = [item for kind in (topics.MERGED, topics.REVIEW) for item in sampling.emitted(campaign, kind)]
    assert len(emitted) == 80
    revised = next(item for item in emitted if item.id == "item-00000")
    assert revised.revision == 2
    assert revised.decision.epsilon_q16 == round(0.9999 * 65536)


async def test_what_is_too_large_with_its_decision_is_put_aside_and_the_rest_goes_on(sampling: Sampling) -> None:
    doubts = epsilons(60)
    campaign = await sampling.apply(campaign_file(budget=20))
    await sampling.register(campaign, doubts)
    items = await sampling.critique(campaign, doubts)
    await sampling.take_in(sampling.replica(), campaign, items)
    await sampling.campaigns.seal(campaign.uid)
    replica = sampling.replica()
    await replica.draws.step()
    await sampling.stream.delete_topics([topics.topic(topics.REVIEW, campaign.uid)])
    await replica.emission.step()
    assert len(sampling.put_aside) == 20
    assert len(sampling.emitted(campaign, topics.MERGED)) == 40


async def test_a_large_campaign_is_emitted_in_turns_beside_a_small_one(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emission, "_TURN_OFFSETS", 20)
    large = await sampling.ready_to_draw(campaign_file("large", budget=40), epsilons(300))
    small = await sampling.ready_to_draw(campaign_file("small", budget=9), epsilons(30))
    replica = sampling.replica()
    await replica.draws.step()
    await replica.emission.step()
    assert len(sampling.outcome(small)) == 30
    assert 0 < len(sampling.outcome(large)) <= 60
    for _ in range(6):
        await replica.emission.step()
    records = [item for kind in (topics.MERGED, topics.REVIEW) for item in sampling.emitted(large, kind)]
    assert len(records) == 300 == len({item.id for item in records})


async def test_holes_at_the_end_of_a_partition_do_not_hold_emission_up(sampling: Sampling) -> None:
    doubts = epsilons(90)
    campaign = await sampling.ready_to_draw(campaign_file(budget=20), doubts)
    await sampling.critique(campaign, dict.fromkeys(list(doubts)[:20], 0.5))
    await sampling.replica().draws.step()
    sampling.stream.compact(topics.topic(topics.CRITIQUED, campaign.uid))
    await sampling.replica().emission.step()
    left = await sampling.database.fetch("SELECT partition FROM emission WHERE next_offset < end_offset")
    assert (left, set(sampling.outcome(campaign))) == ([], set(doubts))
