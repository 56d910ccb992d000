"""What /metrics says of readiness and version, and how an ended job waits for its last fetch."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from actlabel.runtime import metrics
from actlabel.runtime.health import Health, serve_health, shown_to_the_end


@pytest.fixture
async def served() -> AsyncIterator[tuple[Health, str]]:
    health = Health()
    runner, port = await serve_health(health, role="annotator", host="127.0.0.1", port=0)
    yield health, f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def fetch(address: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{address}/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_readiness_is_a_gauge_per_part_and_a_part_that_goes_leaves_none(served: tuple[Health, str]):
    health, address = served
    assert 'actlabel_ready{part="process",role="annotator"} 1.0' in await fetch(address)
    why: list[str] = ["no Kafka"]
    health.add_readiness("annotator", lambda: why[0] if why else None)
    health.add_readiness("models", lambda: None)
    said = await fetch(address)
    assert 'actlabel_ready{part="annotator",role="annotator"} 0.0' in said
    assert 'actlabel_ready{part="models",role="annotator"} 1.0' in said
    assert 'part="process"' not in said
    why.clear()
    assert 'actlabel_ready{part="annotator",role="annotator"} 1.0' in await fetch(address)
    assert "actlabel_build_info{" in said
    assert "no Kafka" not in said, "reasons are lines of /readyz, not labels"


async def test_a_job_that_ended_waits_for_one_more_fetch(served: tuple[Health, str]):
    health, address = served
    await fetch(address)
    waiting = asyncio.create_task(health.scraped(most_s=20))
    await asyncio.sleep(0)
    assert not waiting.done(), "what was fetched before does not count"
    await fetch(address)
    assert await waiting
    assert not await health.scraped(most_s=0.01)


async def test_the_last_fetch_of_a_job_arrives_whole(free_port: int):
    """The job ends as soon as it has been fetched; whoever fetched has everything, what was set last included."""
    health, address = Health(), f"http://127.0.0.1:{free_port}"

    async def collector() -> str:
        said = ""
        while True:
            try:
                said = await fetch(address)
            except aiohttp.ClientError:
                return said

    for number in range(10):
        async with shown_to_the_end(health, role="train", host="127.0.0.1", port=free_port):
            collecting = asyncio.create_task(collector())
            await health.scraped(most_s=20)
            metrics.TRAIN_STEPS.labels("fetched", "done").set(number)
        assert f'actlabel_train_steps{{campaign="fetched",state="done"}} {number}.0' in await collecting
