"""A later draw that leaves out what an earlier one selected: the reviewer's copy is told, and no answer is bypassed.

No rule does so today (a raise keeps what was chosen); a new calibration would. The later draw is written here as it would be.
"""

from dataclasses import dataclass

import pytest

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core import topics
from actlabel.review_gateway.answers import Answers
from actlabel.review_gateway.arrivals import Arrivals
from actlabel.review_gateway.domain import Caller
from actlabel.review_gateway.leases import Leases
from actlabel.review_gateway.outbox import Outbox
from actlabel.runtime.campaigns import Campaign
from tests.unit.sampler.sampling import Replica, Sampling, campaign_file, epsilons

REVIEWER = Caller(name="ann", is_lead=False)


@dataclass
class Redrawn:
    """A campaign whose first draw is out and whose second one selects the opposite, and is complete."""

    sampling: Sampling
    campaign: Campaign
    replica: Replica
    first: set[str]
    second: set[str]


async def _redraw(sampling: Sampling, campaign: Campaign) -> None:
    """Write draw 2 as a calibration would: complete, nothing of it emitted, draw 1 no longer either."""
    await sampling.database.execute(
        "INSERT INTO draw SELECT uid, 2, batch, mode, rule, budget, selected, 1, population, 1, parameters, manifest, complete, created_at "
        "FROM draw WHERE uid = $1",
        campaign.uid,
    )
    await sampling.database.execute(
        "INSERT INTO decision SELECT uid, 2, item_id, block, cell, cell_selected, cell_size, epsilon_q16, NOT selected "
        "FROM decision WHERE uid = $1",
        campaign.uid,
    )
    await sampling.database.execute("UPDATE emission SET draw = 2, next_offset = 0 WHERE uid = $1", campaign.uid)


async def _arrive(sampling: Sampling, campaign: Campaign, draw: int) -> None:
    """Let the gateway take in what a draw has put on the review topic, and produce what it answers."""
    arrivals = Arrivals(database=sampling.database, clock=sampling.clock)
    for item in sampling.emitted(campaign, topics.REVIEW):
        if item.decision.draw == draw:
            for out in await arrivals.handle(item, campaign):
                await sampling.stream.producer().send(out.topic, key=out.key, value=out.value)


@pytest.fixture
async def redrawn(sampling: Sampling) -> Redrawn:
    campaign = await sampling.ready_to_draw(campaign_file(budget=12, audit_share=0.5), epsilons(40))
    replica = sampling.replica()
    await replica.draws.step()
    await replica.emission.step()
    await _arrive(sampling, campaign, 1)
    first = {item.id for item in sampling.emitted(campaign, topics.REVIEW)}
    await _redraw(sampling, campaign)
    return Redrawn(sampling, campaign, replica, first, set(epsilons(40)) - first)


def _of(items: list[Item], draw: int) -> set[str]:
    return {item.id for item in items if item.decision.draw == draw}


async def test_what_was_selected_once_goes_to_the_gateway_again(redrawn: Redrawn) -> None:
    sampling, campaign = redrawn.sampling, redrawn.campaign
    await redrawn.replica.emission.step()
    assert _of(sampling.emitted(campaign, topics.REVIEW), 2) == redrawn.first | redrawn.second
    assert _of(sampling.emitted(campaign, topics.MERGED), 2) == set()


async def test_an_item_that_comes_again_goes_there_too(redrawn: Redrawn) -> None:
    """Another delivery of an item of `critiqued`, after both draws: the handler emits what is stored."""
    sampling, campaign = redrawn.sampling, redrawn.campaign
    items = await sampling.critique(campaign, dict.fromkeys(sorted(redrawn.first), 0.5))
    answers = await sampling.take_in(redrawn.replica, campaign, items)
    assert {out.topic for (out,) in answers} == {topics.topic(topics.REVIEW, campaign.uid)}


async def test_an_answer_stays_and_what_nobody_answered_is_withdrawn(redrawn: Redrawn) -> None:
    sampling, campaign = redrawn.sampling, redrawn.campaign
    leases = Leases(database=sampling.database, clock=sampling.clock)
    answers = Answers(database=sampling.database, clock=sampling.clock, campaigns=sampling.campaigns, leases=leases)
    lease, *_ = await leases.claim(campaign, REVIEWER, count=2)
    answered = lease.entry.item_id
    await answers.submit(campaign, REVIEWER, answered, token=lease.token, label="b", seconds=1.0, comment="")
    await redrawn.replica.emission.step()
    await _arrive(sampling, campaign, 2)
    sampling.clock.advance(campaign.file.review.undo_seconds + 1)
    await Outbox(database=sampling.database, producer=sampling.stream.producer(), clock=sampling.clock).drain()
    merged = {item.id: item for item in sampling.emitted(campaign, topics.MERGED) if item.decision.draw == 2}
    assert set(merged) == redrawn.first
    reviewed = {item.id: item.review.label for item in merged.values() if item.review.outcome == Review.OUTCOME_LABELLED}
    assert reviewed == {answered: "b"}
    rows = await sampling.database.fetch("SELECT item_id, state FROM review WHERE uid = $1", campaign.uid)
    states = {row["item_id"]: row["state"] for row in rows}
    assert {states[item_id] for item_id in redrawn.first - {answered}} == {"withdrawn"}
    assert {states[item_id] for item_id in redrawn.second} == {"waiting"}
    assert states[answered] == "answered"
