"""A process that stood still beyond session and item deadline wakes up as the owner of what others have done since, and spoils nothing."""

import asyncio
from pathlib import Path

from actlabel.core import topics
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import eventually
from tests.acceptance.pipeline import system

DEADLINE_S = 8.0
STANDSTILL_S = 12.0  # the session times out after 6


async def test_what_a_frozen_process_gives_up_too_late_is_not_put_aside(tmp_path: Path, kafka_settings: Settings) -> None:
    recording, log = synthetic(tmp_path, 400), RequestLog()
    tuning = {"ACTLABEL_ITEM_DEADLINE_S": str(DEADLINE_S), "ACTLABEL_WINDOW_ITEMS": "100"}
    async with (
        Standin(RecordedAnswers.load(recording.answers), Faults(latency_ms=800), log=log) as endpoint,
        system(tmp_path, kafka_settings, **tuning) as arena,
    ):
        campaign = await arena.apply("standstill", endpoint.endpoint, annotator__calls_in_flight=40)
        (frozen,) = await arena.fleet.start_all(topics.ANNOTATOR)
        await arena.ingest(campaign, recording.items)
        await log.until(lambda log: log.in_flight >= 40)
        frozen.freeze()
        await arena.fleet.start_all(topics.ANNOTATOR)
        await asyncio.sleep(STANDSTILL_S)  # that long is what is tested
        frozen.thaw()
        topic = topics.topic(topics.ITEMS, campaign.uid)

        async def all_done() -> bool:
            arena.fleet.check()
            committed = await arena.host.stream.committed(topics.group(topics.ANNOTATOR), topic)
            return dict(committed) == dict(await arena.host.stream.end_offsets(topic))

        await eventually(all_done, what="everything annotated")
        put_aside = await arena.host.database.fetch("SELECT item_id, reason FROM dead WHERE uid = $1", campaign.uid)
        assert [tuple(row) for row in put_aside] == []
