"""A campaign gets a stage for itself in the middle of a run, and gives it back: nothing is lost, no call is made twice."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import aiohttp

from actlabel.core import topics
from actlabel.host.dedicate import dedicate, share
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import CALLER, Member, eventually
from tests.acceptance.pipeline import System, system
from tests.services.processes import listens

ITEMS = 600
IN_FLIGHT = 40  # per process
SLOW = Faults(latency_ms=300)
STAGE = topics.ANNOTATOR


async def _annotated(arena: System, campaign: Campaign, count: int) -> None:
    async def holds() -> bool:
        arena.fleet.check()
        return (await arena.progress(campaign)).stages[0].done >= count

    await eventually(holds, what=f"{count} items of {campaign.name} annotated")


async def _listening(member: Member) -> bool:
    return await asyncio.to_thread(listens, member.http_port)


async def _offsets(host: Host, group: str, uid: str) -> set[int | None]:
    return set((await host.stream.committed(group, topics.topic(topics.ITEMS, uid))).values())


def _callers(folder: Path) -> Counter[str]:
    """Count the calls for the large campaign by who made them."""
    lines = (json.loads(line) for line in (folder / "large.log").read_text().splitlines())
    return Counter(line["caller"] for line in lines if line["event"] == "arrived")


async def _unready(member: Member, why: str) -> None:
    async def holds() -> bool:
        url = f"http://127.0.0.1:{member.http_port}/readyz"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status == 503 and why in await response.text()

    await eventually(holds, what=f"{member.name} says {why!r}", within_s=30)


async def test_a_campaign_moves_to_a_stage_of_its_own_and_back_in_the_middle_of_its_items(tmp_path: Path, kafka_settings: Settings) -> None:
    large, small = synthetic(tmp_path, ITEMS, name="large"), synthetic(tmp_path, ITEMS, name="small")
    logs = {"large": RequestLog(tmp_path / "large.log"), "small": RequestLog()}
    bounds = {"sampler__budget": 5, "annotator__calls_in_flight": IN_FLIGHT, "annotator__api_key_env": CALLER}
    async with (
        Standin(RecordedAnswers.load(large.answers), SLOW, log=logs["large"]) as for_large,
        Standin(RecordedAnswers.load(small.answers), SLOW, log=logs["small"]) as for_small,
        system(tmp_path, kafka_settings, ACTLABEL_SESSION_TIMEOUT_S="30") as arena,
    ):
        one = await arena.apply("large", for_large.endpoint, **bounds)
        other = await arena.apply("small", for_small.endpoint, **bounds)
        shared = topics.group(STAGE)
        await arena.fleet.start_all(STAGE, STAGE)
        alone = arena.fleet.start(STAGE, ACTLABEL_CAMPAIGN="large")
        await eventually(lambda: _listening(alone), what="the one for large is up")
        await _unready(alone, "campaign large shares the annotator with all others")
        await arena.ingest(one, large.items)
        await arena.ingest(other, small.items)

        await _annotated(arena, one, 50)
        await dedicate(arena.host, one, STAGE)
        before = (await arena.progress(one)).stages[0].done
        assert before < ITEMS, "in the middle of the run"
        assert await _offsets(arena.host, shared, one.uid) == {None}, "it counts for the lag of its own group alone"
        await alone.ready()
        asked = _callers(tmp_path)
        await _annotated(arena, one, before + 50)
        assert len(_callers(tmp_path) - asked) == 1, "only the process that works for it alone"

        await share(arena.host, one, STAGE)
        assert (await arena.progress(one)).stages[0].done < ITEMS, "in the middle of the run"
        await _unready(alone, "campaign large shares the annotator with all others")
        await _annotated(arena, one, ITEMS)
        await _annotated(arena, other, ITEMS)

        written = sum((await arena.host.stream.end_offsets(topics.topic(topics.ANNOTATED, one.uid))).values())
        print(f"dedicated: {written} records for {ITEMS} items")
        assert written <= ITEMS + 6 * IN_FLIGHT, "more than was in flight: it was begun anew somewhere"
        for name, log in logs.items():
            assert len(log.arrived) == ITEMS, name
            assert sum(log.arrived.values()) == ITEMS, f"{name}: a call was made twice"
