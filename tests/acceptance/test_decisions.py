"""The same campaign, seed and key decide the same on SQLite and on Kafka, item by item; the stance set comes out as measured."""

import asyncio
from pathlib import Path
from statistics import mean

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.runtime.settings import Settings
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.server import Standin
from tests.acceptance.data import Recording, recorded, synthetic
from tests.acceptance.pipeline import System, make_settings, one_process, system, working

BUDGET = 570
SEEDS = (1, 2, 3, 4, 5)


def _decisions(merged: dict[str, Item]) -> dict[str, tuple[object, ...]]:
    return {
        item.id: (d.selected, d.cell, d.cell_selected, d.cell_size, d.epsilon_q16, d.draw)
        for item, d in ((item, item.decision) for item in merged.values())
    }


async def _run(arena: System, recording: Recording, endpoint: str) -> dict[str, Item]:
    campaign = await arena.apply("same", endpoint, sampler__budget=60, sampler__audit_share=0.5, partitions=5)
    await arena.ingest(campaign, recording.items)
    async with working(arena.reviewer(recording, campaign.name)):
        await arena.at_rest(campaign, reviewed=True)
    return await arena.merged(campaign)


async def test_sqlite_and_kafka_decide_alike(tmp_path: Path, kafka_settings: Settings) -> None:
    recording = synthetic(tmp_path, 400)
    embedded_folder = tmp_path / "embedded"
    embedded_folder.mkdir()
    files = {"stream": f"sqlite:///{embedded_folder}/stream.db", "database": f"sqlite:///{embedded_folder}/actlabel.db"}
    async with Standin(RecordedAnswers.load(recording.answers)) as endpoint:
        async with one_process(tmp_path, make_settings(embedded_folder, **files)) as arena:
            embedded = await _run(arena, recording, endpoint.endpoint)
        async with system(tmp_path, kafka_settings) as arena:
            await arena.fleet.start_all(*topics.READS)
            grown_up = await _run(arena, recording, endpoint.endpoint)
    assert set(embedded) == set(recording.truth)
    assert _decisions(embedded) == _decisions(grown_up)
    assert {item.id: item.review.label for item in embedded.values()} == {item.id: item.review.label for item in grown_up.values()}
    assert sum(item.decision.selected for item in embedded.values()) == 60


async def test_stance_through_the_real_pipeline(tmp_path: Path, kafka_settings: Settings, stance_file: Path) -> None:
    recording = recorded(tmp_path, stance_file)
    assert len(recording.wrong) == BUDGET
    recalls = []
    async with Standin(RecordedAnswers.load(stance_file)) as endpoint, system(tmp_path, kafka_settings) as arena:
        campaigns = [
            await arena.apply(f"stance-{seed}", endpoint.endpoint, sampler__budget=BUDGET, sampler__audit_share=0.0, seed=seed)
            for seed in SEEDS
        ]
        assert {campaign.partitions for campaign in campaigns} == {12}
        await arena.fleet.start_all(*topics.READS, topics.SAMPLER, topics.SAMPLER)
        await asyncio.gather(*(arena.ingest(campaign, recording.items) for campaign in campaigns))
        for campaign in campaigns:
            async with working(arena.reviewer(recording, campaign.name)) as reviewer:
                await arena.at_rest(campaign, reviewed=True, within_s=400)
            merged = await arena.merged(campaign)
            assert set(merged) == set(recording.truth)
            reviewed = {item.id for item in merged.values() if item.HasField("review")}
            assert len(reviewed) == BUDGET == len(reviewer.acknowledged)
            recalls.append(len(reviewed & recording.wrong) / len(recording.wrong))
    print(f"stance: wrong labels found per seed {[round(recall, 4) for recall in recalls]}, mean {mean(recalls):.4f}")
    assert abs(mean(recalls) - 0.402) <= 0.015
    assert len(set(recalls)) > 1, "another seed is another draw"
