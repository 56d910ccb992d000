"""A sampler that is killed at any statement leaves nothing that the next one cannot finish, with the same decisions."""

from collections.abc import Awaitable, Callable

import pytest

from actlabel.core import topics
from actlabel.core.errors import Fatal
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.open import open_database
from tests.unit.sampler.sampling import Fuse, Killed, Replica, Sampling, campaign_file, epsilons

DOUBTS = epsilons(90)
FILE = campaign_file(budget=30, audit_share=0.4)
Work = Callable[[Replica], Awaitable[None]]


async def _prepared() -> tuple[Sampling, Campaign]:
    sampling = Sampling(await open_database("sqlite:///:memory:"))
    return sampling, await sampling.ready_to_draw(FILE, DOUBTS)


async def _draw_and_emit(replica: Replica) -> None:
    await replica.draws.step()
    await replica.emission.step()


async def _statements(work: Work) -> int:
    """Count what a process that lives does."""
    sampling, _ = await _prepared()
    fuse = Fuse()
    await work(sampling.replica(fuse=fuse))
    await sampling.database.close()
    return fuse.count


async def test_killed_anywhere_in_a_draw_and_its_emission() -> None:
    whole, campaign = await _prepared()
    await _draw_and_emit(whole.replica())
    expected = whole.outcome(campaign)
    await whole.database.close()
    steps = await _statements(_draw_and_emit)
    assert steps > 20
    for at in range(1, steps + 1):
        sampling, campaign = await _prepared()
        with pytest.raises(Killed):
            await _draw_and_emit(sampling.replica(fuse=Fuse(at=at)))
        assert await _emitted_before_complete(sampling, campaign) == 0
        await _draw_and_emit(sampling.replica())
        assert sampling.outcome(campaign) == expected
        assert await sampling.budget(campaign) == (30, 30, 90)
        assert [row["draw"] for row in await sampling.database.fetch("SELECT draw FROM draw")] == [1]
        await sampling.database.close()


async def _emitted_before_complete(sampling: Sampling, campaign: Campaign) -> int:
    complete = await sampling.database.fetch("SELECT 1 FROM draw WHERE complete")
    return 0 if complete else len(sampling.outcome(campaign))


async def test_a_kill_emits_at_most_one_batch_of_a_partition_again() -> None:
    sampling, campaign = await _prepared()
    await sampling.replica().draws.step()
    fuse = Fuse()
    replica = sampling.replica(fuse=fuse)
    fuse.at = 4  # draws, the first batch's decisions, then its progress
    with pytest.raises(Killed):
        await replica.emission.step()
    partial = len(sampling.outcome(campaign))
    assert 0 < partial < 90
    await sampling.replica().emission.step()
    records = [record for kind in (topics.MERGED, topics.REVIEW) for record in sampling.stream.records(topics.topic(kind, campaign.uid))]
    assert len({(record.key, record.value) for record in records}) == 90
    assert len(records) <= 90 + partial


async def test_an_unfinished_draw_is_finished_with_what_it_was_begun_with() -> None:
    """A new version of the campaign that comes between does not change the draw."""
    whole, campaign = await _prepared()
    await _draw_and_emit(whole.replica())
    sampling, twin = await _prepared()
    steps = await _statements(lambda replica: replica.draws.step())
    with pytest.raises(Killed):
        await sampling.replica(fuse=Fuse(at=steps - 8)).draws.step()
    row = (await sampling.database.fetch("SELECT complete, manifest FROM draw"))[0]
    assert not row["complete"]
    await sampling.apply(campaign_file(budget=30, audit_share=0.1, rule="uniform", seed=9))
    replica = sampling.replica()
    await replica.draws.step()
    await replica.emission.step()
    assert sampling.outcome(twin) == whole.outcome(campaign)
    await replica.draws.step()
    reason = await sampling.pause(twin)
    assert reason is not None
    assert reason.startswith("rule, audit_share, seed, key_sha256: draw 1 was made with other values")


async def test_a_draw_whose_tables_were_touched_stops_the_process() -> None:
    sampling, _ = await _prepared()
    with pytest.raises(Killed):
        await sampling.replica(fuse=Fuse(at=await _statements(lambda replica: replica.draws.step()) - 8)).draws.step()
    await sampling.database.execute("UPDATE candidate SET epsilon_q16 = 5 WHERE item_id < 'item-00030'")
    with pytest.raises(Fatal, match="begun with other cells"):
        await sampling.replica().draws.step()
