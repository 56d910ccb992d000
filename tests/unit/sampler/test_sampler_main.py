"""The whole sampler process: loop, draws, blocks, emission and gRPC around one handler."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from actlabel.contracts.v1 import sampler_pb2, sampler_pb2_grpc
from actlabel.core import topics
from actlabel.core.errors import UserError
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.health import Health
from actlabel.runtime.settings import Settings
from actlabel.sampler import main
from tests.unit.sampler.sampling import Sampling, campaign_file, epsilons, until


def _host(sampling: Sampling, **settings: object) -> Host:
    return Host(
        settings=Settings(commit_interval_s=0.05, **settings),
        clock=SystemClock(),
        database=sampling.database,
        stream=sampling.stream,
        campaigns=sampling.campaigns,
        health=Health(),
        stop=asyncio.Event(),
    )


@asynccontextmanager
async def _running(host: Host, *, serve_grpc: bool = False) -> AsyncIterator[None]:
    task = asyncio.create_task(main.run(host, serve_grpc=serve_grpc))
    try:
        yield
    finally:
        host.stop.set()
        await asyncio.wait_for(task, 20)


async def _lag(sampling: Sampling, campaign: Campaign) -> int:
    topic = topics.topic(topics.CRITIQUED, campaign.uid)
    ends = await sampling.stream.end_offsets(topic)
    committed = await sampling.stream.committed(topics.group(topics.SAMPLER), topic)
    return sum(ends.values()) - sum(offset or 0 for offset in committed.values())


async def _until_committed(sampling: Sampling, campaign: Campaign) -> None:
    async def committed() -> bool:
        return await _lag(sampling, campaign) == 0

    await until(committed)


async def _stored(sampling: Sampling) -> int:
    return len(await sampling.database.fetch("SELECT item_id FROM candidate"))


async def test_exact_commits_as_it_goes_and_draws_at_the_seal(sampling: Sampling) -> None:
    doubts = epsilons(120)
    campaign = await sampling.apply(campaign_file(budget=40))
    await sampling.register(campaign, doubts)
    host = _host(sampling)
    async with _running(host):
        await sampling.critique(campaign, doubts)
        await _until_committed(sampling, campaign)
        assert sampling.outcome(campaign) == {}
        assert (host.health.ready(), host.health.alive()) == ([], [])  # waiting for a seal is not lag
        await sampling.campaigns.seal(campaign.uid)
        await until(lambda: len(sampling.outcome(campaign)) == 120)
    assert len(sampling.emitted(campaign, topics.REVIEW)) == 40


async def test_streaming_samples_as_items_come(sampling: Sampling) -> None:
    file = campaign_file(budget="25%", mode="streaming", block_items=32, block_seconds=0.2)
    campaign = await sampling.apply(file)
    host = _host(sampling)
    async with _running(host):
        await sampling.critique(campaign, epsilons(100))
        await until(lambda: len(sampling.outcome(campaign)) == 100)
        await _until_committed(sampling, campaign)
        assert host.health.alive() == []
    assert len(sampling.emitted(campaign, topics.REVIEW)) == 24
    assert (await sampling.budget(campaign))[1:] == (24, 100)


async def test_a_stop_while_items_wait_ends_soon_and_leaves_them_to_the_next_process(sampling: Sampling) -> None:
    campaign = await sampling.apply(campaign_file(budget="25%", mode="streaming", block_items=500, block_seconds=3600))
    await sampling.critique(campaign, epsilons(50))
    async with _running(_host(sampling)):

        async def all_stored() -> bool:
            return await _stored(sampling) == 50

        await until(all_stored)
    assert await _lag(sampling, campaign) == 50
    await sampling.apply(campaign_file(budget="25%", mode="streaming", block_items=50, block_seconds=3600))
    async with _running(_host(sampling)):
        await until(lambda: len(sampling.outcome(campaign)) == 50)
        await _until_committed(sampling, campaign)


async def test_what_carries_no_critique_goes_to_the_dead_letters_and_the_draw_goes_on(sampling: Sampling) -> None:
    doubts = epsilons(60)
    campaign = await sampling.apply(campaign_file(budget=20))
    await sampling.register(campaign, [*doubts, "naked", "beyond"])
    await sampling.critique(campaign, {**doubts, "beyond": 1.5})
    naked = (await sampling.critique(campaign, {"naked": 0.5}))[0]
    naked.id = "naked-2"
    await sampling.register(campaign, ["naked-2"])
    naked.ClearField("critique")
    topic = topics.topic(topics.CRITIQUED, campaign.uid)
    await sampling.stream.producer().send(topic, key=b"naked-2", value=naked.SerializeToString())
    await sampling.campaigns.seal(campaign.uid)
    async with _running(_host(sampling)):
        await until(lambda: len(sampling.outcome(campaign)) == 61)
    rows = await sampling.database.fetch("SELECT item_id, stage, reason FROM dead ORDER BY item_id")
    assert [tuple(row) for row in rows] == [("beyond", "sampler", "no-critique"), ("naked-2", "sampler", "no-critique")]


async def test_grpc_is_served(sampling: Sampling) -> None:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    await sampling.apply(campaign_file(budget=40))
    async with _running(_host(sampling, grpc_port=port), serve_grpc=True), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = sampler_pb2_grpc.SamplerStub(channel)
        answer = await stub.GetBudget(sampler_pb2.GetBudgetRequest(campaign="doubt"), wait_for_ready=True, timeout=10)
        assert answer.budget == 40


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"short", "holds 5 bytes; at least 32 random ones are needed"), (None, "cannot be read")],
)
async def test_a_secret_key_file_that_cannot_serve_is_refused(
    sampling: Sampling, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        await main.run(_host(sampling, secret_key_file=file), serve_grpc=False)
