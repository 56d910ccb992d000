"""Calls that hang for ever, on real Kafka: cut at their deadline, put aside, and a delay to nobody but themselves."""

from pathlib import Path

from actlabel.core import topics
from actlabel.host.progress import StageProgress
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import eventually
from tests.acceptance.pipeline import System, system, working

ITEMS = 300
DEADLINE_S = 8.0


async def test_an_item_that_hangs_delays_only_itself(tmp_path: Path, kafka_settings: Settings) -> None:
    """All items are in one partition; some of the first hang, so that nothing can be committed behind them until their deadline."""
    recording, faults, log = synthetic(tmp_path, ITEMS), Faults(latency_ms=20, hang=0.02, seed=7), RequestLog()
    answers = RecordedAnswers.load(recording.answers)
    async with (
        Standin(answers, faults, log=log) as hangs,
        Standin(answers) as fine,
        system(tmp_path, kafka_settings, ACTLABEL_ITEM_DEADLINE_S=str(DEADLINE_S)) as arena,
    ):
        campaign = await arena.apply("hangs", hangs.endpoint, criticizer__endpoint=fine.endpoint, sampler__budget=30, partitions=1)
        await arena.fleet.start_all(*topics.READS)
        await arena.ingest(campaign, recording.items)
        await log.until(lambda log: len(log.arrived) == ITEMS)
        hung = {digest for digest in log.arrived if faults.verdict(digest, 1).fate == "hang"}
        assert hung

        async def others_are_through() -> bool:
            return (await _stage(arena, campaign, topics.CRITICIZER)).total == ITEMS - len(hung)

        await eventually(others_are_through, what="all the others are annotated", within_s=DEADLINE_S)
        held = await _stage(arena, campaign, topics.ANNOTATOR)
        assert (held.dead, held.lag > 0) == (0, True), "the watermark waits for the hanging ones; the others did not"

        async with working(arena.reviewer(recording, campaign.name)):
            progress = await arena.at_rest(campaign, reviewed=True)
        assert progress.dead == len(hung)
        assert max(log.arrived.values()) == 1, "what was cut at its deadline is not asked again"
        rows = await arena.host.database.fetch("SELECT DISTINCT stage, reason FROM dead WHERE uid = $1", campaign.uid)
        assert [tuple(row) for row in rows] == [(topics.ANNOTATOR, "deadline")]
        assert len(await arena.merged(campaign)) == ITEMS - len(hung)


async def _stage(arena: System, campaign: Campaign, name: str) -> StageProgress:
    return next(stage for stage in (await arena.progress(campaign)).stages if stage.name == name)
