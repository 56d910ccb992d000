"""A campaign whose endpoint hangs, one that is paused and one that comes later leave the others alone."""

import asyncio
from pathlib import Path

from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import eventually
from tests.acceptance.pipeline import make_settings, one_process, working

OWN_BOUND = 20


async def test_hanging_and_paused_campaigns_leave_others_alone(tmp_path: Path) -> None:
    files = {"stream": f"sqlite:///{tmp_path}/stream.db", "database": f"sqlite:///{tmp_path}/actlabel.db"}
    settings = make_settings(tmp_path, **files, drain_deadline_s=1.0)
    fine, stuck = (synthetic(tmp_path, 300, name=name) for name in ("fine", "stuck"))
    good_log, bad_log = RequestLog(), RequestLog()
    async with (
        Standin(RecordedAnswers.load(fine.answers), Faults(latency_ms=150), log=good_log) as good,
        Standin(RecordedAnswers.load(stuck.answers), Faults(hang=1.0), log=bad_log) as bad,
        one_process(tmp_path, settings) as arena,
    ):
        hanging = await arena.apply("hanging", bad.endpoint, annotator__calls_in_flight=OWN_BOUND)
        paused = await arena.apply("paused", good.endpoint)
        await arena.host.campaigns.pause(paused.uid, "*", "by the test")
        await asyncio.sleep(2)  # stages read pauses once a second
        await arena.ingest(hanging, stuck.items)
        await arena.ingest(paused, fine.items)
        await bad_log.until(lambda log: log.in_flight >= OWN_BOUND)  # the hanging one has all that it can get

        late = await arena.apply("late", good.endpoint, annotator__calls_in_flight=OWN_BOUND)  # applied while others run
        await arena.ingest(late, fine.items)
        async with working(arena.reviewer(fine, late.name)):
            await arena.at_rest(late, reviewed=True)
        assert set(await arena.merged(late)) == set(fine.truth)
        assert good_log.most_in_flight >= OWN_BOUND, "the late campaign got its share beside one that hangs"
        assert sum((await arena.host.stream.end_offsets(f"actlabel.annotated.{hanging.uid}")).values()) == 0
        assert sum((await arena.host.stream.end_offsets(f"actlabel.annotated.{paused.uid}")).values()) == 0

        await arena.host.campaigns.resume(paused.uid)

        async def moves() -> bool:
            return sum((await arena.host.stream.end_offsets(f"actlabel.critiqued.{paused.uid}")).values()) > 0

        await eventually(moves, what="the paused campaign goes on once resumed")
