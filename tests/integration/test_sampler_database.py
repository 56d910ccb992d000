"""Draws and blocks on SQLite and on PostgreSQL, every replica on connections of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.runtime.database.open import open_database
from actlabel.runtime.database.port import Database
from tests.unit.sampler.sampling import Fuse, Killed, Replica, Sampling, campaign_file, epsilons

DOUBTS = epsilons(600)


@pytest.fixture
def sampling(database: Database) -> Sampling:
    return Sampling(database)


@asynccontextmanager
async def _replicas(sampling: Sampling, address: str, count: int) -> AsyncIterator[list[Replica]]:
    """Processes with a database pool each. On SQLite all stages share one process, so they share its connection."""
    async with AsyncExitStack() as stack:
        replicas = []
        for _ in range(count):
            database = sampling.database
            if address.startswith("postgres"):
                database = await open_database(address, connections=4)
                stack.push_async_callback(database.close)
            replicas.append(sampling.replica(database=database))
        yield replicas


async def _expected() -> dict[str, tuple[object, ...]]:
    """The decisions of one undisturbed process on SQLite in memory."""
    system = Sampling(await open_database("sqlite:///:memory:"))
    campaign = await system.ready_to_draw(campaign_file(budget=90, audit_share=0.4, rule="exponential"), DOUBTS)
    replica = system.replica()
    await replica.draws.step()
    await replica.emission.step()
    outcome = system.outcome(campaign)
    await system.database.close()
    return outcome


async def _draw_and_emit(replica: Replica) -> None:
    await replica.draws.step()
    await replica.emission.step()


async def test_racing_replicas_decide_what_one_alone_decides(sampling: Sampling, database_address: str) -> None:
    campaign = await sampling.apply(campaign_file(budget=90, audit_share=0.4, rule="exponential"))
    await sampling.register(campaign, DOUBTS)
    items = await sampling.critique(campaign, DOUBTS)
    async with _replicas(sampling, database_address, 3) as replicas:
        twice = [sampling.take_in(replica, campaign, reversed(items)) for replica in replicas[:2]]
        await asyncio.gather(*twice)
        await sampling.campaigns.seal(campaign.uid)
        for _ in range(3):
            await asyncio.gather(*(replica.draws.step() for replica in replicas))
            await asyncio.gather(*(replica.emission.step() for replica in replicas))
    assert sampling.outcome(campaign) == await _expected()
    assert await sampling.budget(campaign) == (90, 90, 600)
    assert len(await sampling.database.fetch("SELECT draw FROM draw")) == 1


@pytest.mark.parametrize("at", [3, 9, 14, 17, 20, 22, 24, 26, 28])
async def test_killed_in_a_draw_the_next_replica_finishes_it(sampling: Sampling, at: int) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=90, audit_share=0.4, rule="exponential"), DOUBTS)
    with pytest.raises(Killed):
        await _draw_and_emit(sampling.replica(fuse=Fuse(at=at)))
    replica = sampling.replica()
    await replica.draws.step()
    await replica.emission.step()
    assert sampling.outcome(campaign) == await _expected()


async def test_a_raise_keeps_what_was_chosen(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=90), DOUBTS)
    replica = sampling.replica()
    for budget in (90, 91, 200):
        await sampling.apply(campaign_file(budget=budget))
        await replica.draws.step()
        await replica.emission.step()
    chosen = [{i.id for i in sampling.emitted(campaign, topics.REVIEW) if i.decision.draw == draw} for draw in (1, 2, 3)]
    assert chosen[0] < chosen[1] < chosen[2]
    assert [len(each) for each in chosen] == [90, 91, 200]


async def test_late_items_and_revisions(sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget="20%"), DOUBTS)
    replica = sampling.replica()
    await replica.draws.step()
    second = epsilons(200, first=600)
    await sampling.register(campaign, second)
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, second, batch=2))
    changed = {"item-00600": 0.999}
    await sampling.database.execute("UPDATE item SET revision = 2 WHERE item_id = 'item-00600'")
    await sampling.campaigns.seal(campaign.uid)
    await replica.draws.step()
    assert len(await sampling.database.fetch("SELECT draw FROM draw")) == 1
    await sampling.take_in(replica, campaign, await sampling.critique(campaign, changed, batch=2, revision=2))
    again = await sampling.take_in(replica, campaign, await sampling.critique(campaign, {"item-00000": 0.1}))
    assert Item.FromString(again[0][0].value).decision.draw == 1
    await replica.draws.step()
    await replica.emission.step()
    outcome = sampling.outcome(campaign)
    assert {item_id for item_id, (draw, *_) in outcome.items() if draw == 2} == set(second)
    assert outcome["item-00600"][5] == round(0.999 * 65536)


@pytest.mark.parametrize(("budget", "expected", "reviews"), [(57, 500, 57), ("11.4%", None, 57), (500, 500, 500)])
async def test_streaming_replicas_never_exceed_the_budget_and_spend_it(
    sampling: Sampling, database_address: str, budget: int | str, expected: int | None, reviews: int
) -> None:
    file = campaign_file(budget=budget, expected_items=expected, mode="streaming", block_items=32, audit_share=0.3)
    campaign = await sampling.apply(file)
    doubts = epsilons(500)
    await sampling.register(campaign, doubts)
    await sampling.campaigns.seal(campaign.uid)
    items = await sampling.critique(campaign, doubts)
    async with _replicas(sampling, database_address, 4) as replicas:
        work = [asyncio.create_task(replica.handle(item, campaign)) for n, replica in enumerate(replicas) for item in items[n::4]]
        # a second delivery of everything, to other replicas
        work += [asyncio.create_task(replicas[n - 1].handle(item, campaign)) for n in range(4) for item in items[n::4]]
        async with asyncio.timeout(60):
            while not all(task.done() for task in work):
                await asyncio.gather(*(replica.blocks.step() for replica in replicas))
                assert (await sampling.budget(campaign))[1] <= reviews
                sampling.clock.advance(1)
        answers = [outgoing for task in work for outgoing in task.result()]
    assert len(answers) == 1000
    assert len({(outgoing.key, outgoing.topic, outgoing.value) for outgoing in answers}) == 500
    emitted = [Item.FromString(value) for value in {outgoing.value for outgoing in answers}]
    assert sum(item.decision.selected for item in emitted) == reviews
    assert (await sampling.budget(campaign))[1:] == (reviews, 500)
    stored = await sampling.database.fetch("SELECT SUM(quota) AS quota, SUM(items) AS items FROM block")
    assert (stored[0]["quota"], stored[0]["items"]) == (reviews, 500)
