"""SIGTERM in the middle of calls, on real Kafka: what ends in time is finished and never paid again, what does not is abandoned."""

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
from tests.acceptance.pipeline import system, working

ITEMS = 300
IN_FLIGHT = 60
DRAIN_S = 4.0
GRACE_S = 12.0  # beyond the deadline: the last commit, leaving the group, the end of the interpreter, on a busy machine


async def test_sigterm_finishes_what_ends_in_time_and_abandons_the_rest(tmp_path: Path, kafka_settings: Settings) -> None:
    recording, log = synthetic(tmp_path, ITEMS), RequestLog()
    faults = Faults(latency_ms=1500, hang=0.1, seed=2)  # a call takes less than the drain deadline, or for ever
    answers = RecordedAnswers.load(recording.answers)
    tuning = {"ACTLABEL_DRAIN_DEADLINE_S": str(DRAIN_S), "ACTLABEL_CALLS_IN_FLIGHT": str(2 * IN_FLIGHT)}
    async with (
        Standin(answers, faults, log=log) as slow,
        Standin(answers) as fine,
        system(tmp_path, kafka_settings, **tuning) as arena,
    ):
        campaign = await arena.apply("drains", slow.endpoint, criticizer__endpoint=fine.endpoint, sampler__budget=30)
        annotator, *_ = await arena.fleet.start_all(*topics.READS)
        await arena.ingest(campaign, recording.items)
        await log.until(lambda log: log.in_flight >= IN_FLIGHT and log.outcomes["200"] > 0)
        paid = log.outcomes["200"]
        assert await asyncio.to_thread(annotator.terminate, DRAIN_S + GRACE_S) == 0

        async def noticed() -> bool:
            return log.in_flight == 0

        await eventually(noticed, what="the endpoint sees the abandoned calls go")
        hung = {digest for digest in log.arrived if faults.verdict(digest, 1).fate == "hang"}
        finished = log.outcomes["200"] - paid
        assert finished >= IN_FLIGHT / 2, "calls in flight were waited for"
        assert log.outcomes["abandoned"] == len(hung) > 0
        assert len(log.arrived) < ITEMS, "nothing was begun any more"
        stored = await arena.host.database.fetch("SELECT COUNT(*) AS n FROM result WHERE uid = $1 AND stage = 'annotator'", campaign.uid)
        assert stored[0]["n"] == log.outcomes["200"], "what was finished is stored"

        slow.faults = Faults(latency_ms=10)
        await arena.fleet.start_all(topics.ANNOTATOR)
        async with working(arena.reviewer(recording, campaign.name)):
            await arena.at_rest(campaign, reviewed=True)
        assert {digest for digest, calls in log.arrived.items() if calls > 1} == hung, "asked again: those abandoned, and no other"
        assert set(log.paid.values()) == {1}
        assert set(await arena.merged(campaign)) == set(recording.truth)
