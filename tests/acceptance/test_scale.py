"""Replicas come and go in the middle of a run with slow calls: hardly a call is made twice."""

import asyncio
from pathlib import Path

from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import Member, eventually
from tests.acceptance.pipeline import System, system

ITEMS = 3000
IN_FLIGHT = 200  # per process and stage
LEAST_IN_FLIGHT = 150  # of a stage when replicas come or go
SLOW, FAST = Faults(latency_ms=4000), Faults(latency_ms=200)  # while replicas come and go, so that calls run on; and for the rest
# Without claims every rebalance repeats what is in flight in the partitions that move: hundreds. With them a repeat needs a claim that
# was not written within the two seconds of a handover, or an owner that was silent for longer than its expiry: nothing on a healthy
# machine, a few on a starved one.
MOST_REPEATS = 5


class Scale:
    """Members of the two stages that call models, and what their rebalances cost."""

    def __init__(self, arena: System, campaign: Campaign, logs: dict[str, RequestLog]) -> None:
        self.arena, self.campaign, self.logs = arena, campaign, logs
        self.members: list[Member] = []
        self.in_flight: list[int] = []  # at each change, of each stage

    async def grow(self, more: int) -> None:
        """More members of each stage at once; wait until they are ready."""
        started = [self.arena.fleet.start(stage) for stage in self.logs for _ in range(more)]
        self.members += started
        await asyncio.gather(*(member.ready() for member in started))

    async def shrink(self, fewer: int) -> None:
        """SIGTERM to the newest members of each stage at once; they drain."""
        leaving = [member for stage in self.logs for member in [m for m in self.members if m.role == stage][-fewer:]]
        self.members = [member for member in self.members if member not in leaving]
        codes = await asyncio.gather(*(asyncio.to_thread(member.terminate) for member in leaving))
        assert set(codes) == {0}

    async def past(self, share: float) -> None:
        """Wait until the criticizer has committed so much of the items, with calls in flight everywhere."""

        async def holds() -> bool:
            self.arena.fleet.check()
            done = (await self.arena.progress(self.campaign)).stages[1].done
            assert done <= 0.9 * ITEMS, "the run ends before replicas could come or go"
            return done >= share * ITEMS and min(log.in_flight for log in self.logs.values()) >= LEAST_IN_FLIGHT

        await eventually(holds, what=f"{share:.0%} of the items criticized, and calls in flight")
        self.in_flight += [log.in_flight for log in self.logs.values()]

    def repeats(self) -> dict[str, int]:
        """Count, per stage, calls that were made again word for word."""
        return {stage: sum(count - 1 for count in log.arrived.values()) for stage, log in self.logs.items()}


async def test_scaling_to_four_and_back_repeats_hardly_a_call(tmp_path: Path, kafka_settings: Settings) -> None:
    recording = synthetic(tmp_path, ITEMS)
    logs = {topics.ANNOTATOR: RequestLog(), topics.CRITICIZER: RequestLog()}
    answers = RecordedAnswers.load(recording.answers)
    # a starved machine must not look like a dead member: sessions are long
    tuning = {"ACTLABEL_CALLS_IN_FLIGHT": "1000", "ACTLABEL_WINDOW_ITEMS": "2000", "ACTLABEL_SESSION_TIMEOUT_S": "30"}
    async with (
        Standin(answers, SLOW, log=logs[topics.ANNOTATOR]) as annotates,
        Standin(answers, SLOW, log=logs[topics.CRITICIZER]) as criticizes,
        system(tmp_path, kafka_settings, **tuning) as arena,
    ):
        bounds = {"annotator__calls_in_flight": IN_FLIGHT, "criticizer__calls_in_flight": IN_FLIGHT}
        campaign = await arena.apply("scale", annotates.endpoint, criticizer__endpoint=criticizes.endpoint, sampler__budget=10, **bounds)
        scale = Scale(arena, campaign, logs)
        await arena.fleet.start_all(topics.SAMPLER, topics.REVIEW_GATEWAY)
        await scale.grow(1)
        await arena.ingest(campaign, recording.items)
        await scale.past(0.01)
        await scale.grow(3)
        await scale.past(0.4)
        await scale.shrink(3)
        annotates.faults = criticizes.faults = FAST
        assert (await arena.progress(campaign)).stages[1].done < ITEMS, "in the middle of the run"
        await arena.at_rest(campaign, reviewed=False)

        print(f"scale: {scale.repeats()} calls repeated of {2 * ITEMS}; in flight at the changes {scale.in_flight}")
        assert sum(scale.repeats().values()) <= MOST_REPEATS
        assert all(len(log.arrived) == ITEMS for log in logs.values())
        assert all(log.outcomes == {"200": ITEMS + scale.repeats()[stage]} for stage, log in logs.items())
