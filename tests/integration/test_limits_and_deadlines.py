"""What waits for a limit does not run out of time: a stage takes up what can go soon and leaves the rest where no deadline runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actlabel.annotator import main as annotator_main
from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.host.host import Host, open_host
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.server import Standin
from actlabel.stream.port import TopicSettings

DEADLINE_S = 10.0


class _Always:
    def answer(self, question: Question) -> Opinion:
        return Opinion(label="cat", error_probability=0.0, reason="")


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    settings = Settings(
        database=f"sqlite:///{tmp_path / 'd.db'}",
        stream=f"sqlite:///{tmp_path / 's.db'}",
        storage=str(tmp_path / "media"),
        item_deadline_s=DEADLINE_S,
    )
    async with open_host(settings, runs_stages=True) as opened:
        yield opened


async def annotated(host: Host, endpoint: str, items: int, **fields: Any) -> Campaign:
    """Let the annotator work through so many items; raises when it takes a minute."""
    document = {
        "name": "animals",
        "task": {"question": "Which animal?", "labels": ["cat", "dog"]},
        "annotator": {"endpoint": endpoint, "model": "m", **fields},
        "criticizer": {"endpoint": endpoint, "model": "n"},
        "sampler": {"budget": "10%"},
        "spend_cap_usd": 1,
        "partitions": 1,
    }
    campaign = await host.campaigns.apply(CampaignFile.model_validate(document))
    names = [topics.topic(kind, campaign.uid) for kind in (topics.ITEMS, topics.ANNOTATED, topics.DEAD)]
    await host.stream.create_topics({name: TopicSettings(partitions=1) for name in names})
    for number in range(items):
        item = Item(id=str(number))
        item.campaign.uid, item.campaign.version = campaign.uid, campaign.version
        item.content.parts.add(name="text", text=f"animal {number}")
        await host.stream.producer().send(names[0], key=item.id.encode(), value=item.SerializeToString())
    stage = asyncio.create_task(annotator_main.run(host, serve_grpc=False))
    async with asyncio.timeout(60):
        while sum([await ends(host, name) for name in names[1:]]) < items:  # noqa: ASYNC110 - topics tell nobody
            await asyncio.sleep(0.1)
    host.stop.set()
    await stage
    return campaign


async def ends(host: Host, topic: str) -> int:
    return sum((await host.stream.end_offsets(topic)).values())


async def test_items_that_wait_for_a_quota_do_not_die_of_it(host: Host) -> None:
    """Sixty items at four a second are longer under way than a deadline."""
    async with Standin(_Always()) as server:
        campaign = await annotated(host, server.endpoint, 60, requests_per_minute=240)
    assert await ends(host, topics.topic(topics.DEAD, campaign.uid)) == 0


async def test_items_that_wait_for_the_bound_do_not_die_of_it(host: Host) -> None:
    """An endpoint that bears two at once, and a campaign that would like sixty-four."""
    async with Standin(_Always(), Faults(latency_ms=500, concurrency=(2,), retry_after_s=0.1)) as server:
        campaign = await annotated(host, server.endpoint, 60, retries=20)
    assert await ends(host, topics.topic(topics.DEAD, campaign.uid)) == 0
