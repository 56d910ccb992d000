"""A copy of an item may die while another goes on, in a process that does not know of the first. The item then has one fate."""

import asyncio

import pytest

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import Database
from actlabel.sampler.domain import STREAMING
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.port import Partition, Record
from tests.unit.sampler.sampling import Sampling, campaign_file, epsilons, until

DOUBTS = epsilons(60)
ITEM = "item-00007"


@pytest.fixture
def sampling(database: Database) -> Sampling:
    return Sampling(database)


async def put_aside(sampling: Sampling, campaign: Campaign, item_id: str, *, stage: str = topics.CRITICIZER) -> None:
    letters = DeadLetters(
        database=sampling.database, stream=sampling.stream, campaigns=sampling.campaigns, clock=sampling.clock, per_minute=1000
    )
    place = Partition(topics.topic(topics.ANNOTATED, campaign.uid), 0)
    record = Record(partition=place, offset=3, timestamp_ms=0, key=item_id.encode(), value=b"v", headers=())
    await letters.put(record, stage=stage, version=1, reason="bad-answer", detail="nonsense")


async def dead(sampling: Sampling) -> list[str]:
    return [row["item_id"] for row in await sampling.database.fetch("SELECT item_id FROM dead ORDER BY item_id")]


async def test_what_the_sampler_has_is_not_put_aside_by_the_stages_before_it(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(), DOUBTS)
    await put_aside(sampling, campaign, ITEM)
    assert await dead(sampling) == []
    await put_aside(sampling, campaign, ITEM, stage=topics.REVIEW_GATEWAY)
    assert await dead(sampling) == [ITEM], "what happens after the draw is no matter of copies"


async def test_a_newer_revision_that_dies_is_no_copy(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(), DOUBTS)
    await sampling.database.execute("UPDATE item SET revision = 2 WHERE item_id = $1", ITEM)
    await put_aside(sampling, campaign, ITEM)
    await sampling.replica().draws.step()
    assert await dead(sampling) == [ITEM]


async def _two_die_of_which_one_has_a_copy(sampling: Sampling, file: CampaignFile) -> tuple[Campaign, list[Item]]:
    campaign = await sampling.apply(file)
    await sampling.register(campaign, [*DOUBTS, "gone"])
    await put_aside(sampling, campaign, ITEM)
    await put_aside(sampling, campaign, "gone")
    await sampling.campaigns.seal(campaign.uid)
    return campaign, await sampling.critique(campaign, DOUBTS)


async def _decided(sampling: Sampling) -> set[str]:
    return {row["item_id"] for row in await sampling.database.fetch("SELECT item_id FROM decision")}


async def test_a_copy_that_came_through_before_the_draw_withdraws_the_dead_letter(sampling: Sampling) -> None:
    campaign, critiqued = await _two_die_of_which_one_has_a_copy(sampling, campaign_file())
    replica = sampling.replica()
    await sampling.take_in(replica, campaign, critiqued)
    await replica.draws.step()
    assert (await dead(sampling), await _decided(sampling)) == (["gone"], set(DOUBTS))


async def test_a_copy_that_came_through_before_its_block_withdraws_the_dead_letter(sampling: Sampling) -> None:
    file = campaign_file(mode=STREAMING, block_items=100, block_seconds=5.0, budget="50%")
    campaign, critiqued = await _two_die_of_which_one_has_a_copy(sampling, file)
    replica = sampling.replica()
    work = asyncio.gather(*(replica.handle(item, campaign) for item in critiqued))
    await until(lambda: replica.blocks.waiting == len(critiqued))
    sampling.clock.advance(6)
    await replica.blocks.step()
    await work
    assert (await dead(sampling), await _decided(sampling)) == (["gone"], set(DOUBTS))
    assert (await sampling.budget(campaign))[1:] == (30, 60), "whose last block spends what the items that came allow"


async def test_a_copy_that_came_through_after_the_draw_waits_for_the_next_one(sampling: Sampling) -> None:
    campaign = await sampling.apply(campaign_file(budget="50%"))
    await sampling.register(campaign, DOUBTS)
    await put_aside(sampling, campaign, ITEM)
    replica = sampling.replica()
    others = {item_id: doubt for item_id, doubt in DOUBTS.items() if item_id != ITEM}
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, others))
    await sampling.campaigns.seal(campaign.uid)
    await replica.draws.step()
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, {ITEM: 0.5}))
    await replica.draws.step()
    assert await dead(sampling) == [ITEM], "it was drawn without it"
    more = epsilons(10, first=60)
    await sampling.register(campaign, more)
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, more, batch=2))
    await sampling.campaigns.seal(campaign.uid)
    await replica.draws.step()
    await replica.emission.step()
    assert await dead(sampling) == []
    assert set(sampling.outcome(campaign)) == {*DOUBTS, *more}
