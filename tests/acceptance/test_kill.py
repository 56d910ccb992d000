"""kill -9 of each stage in the middle of its work, on Kafka and PostgreSQL: the ledger balances, nothing is paid or merged twice."""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core import topics
from actlabel.host.progress import CampaignProgress
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from actlabel.stream.port import Partition
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import Member, eventually
from tests.acceptance.hearing import hear_out
from tests.acceptance.pipeline import System, system, working

ITEMS = 2000
WINDOW = 400
IN_FLIGHT = 100
STAGE_OF_TASK = {"annotate": topics.ANNOTATOR, "criticize": topics.CRITICIZER}


class Witness:
    """Sees what a kill may cost: calls whose answer was not stored when it struck."""

    def __init__(self, arena: System, campaign: Campaign, models: dict[str, Standin]) -> None:
        self.arena, self.campaign, self.models = arena, campaign, models
        self.logs = {stage: model.log for stage, model in models.items()}
        self.unstored = 0
        self.in_flight: dict[str, int] = {}

    async def kill(self, member: Member) -> None:
        """Kill, then count the calls of this stage that it had sent and that have no stored answer."""
        model = self.models.get(member.role)
        self.in_flight[member.role] = model.log.in_flight if model else 0
        member.kill()
        if model is None:
            return
        await hear_out(model)
        statement = "SELECT COUNT(*) AS n FROM result WHERE uid = $1 AND stage = $2"
        stored = (await self.arena.host.database.fetch(statement, self.campaign.uid, member.role))[0]["n"]
        self.unstored += len(model.log.arrived) - stored

    def repeats(self) -> int:
        """Count calls that were made again, word for word."""
        return sum(count - 1 for log in self.logs.values() for count in log.arrived.values())


async def test_kill_each_stage_in_turn(tmp_path: Path, kafka_settings: Settings) -> None:
    recording = synthetic(tmp_path, ITEMS)
    logs = {topics.ANNOTATOR: RequestLog(), topics.CRITICIZER: RequestLog()}
    answers = RecordedAnswers.load(recording.answers)
    tuning = {"ACTLABEL_CALLS_IN_FLIGHT": str(2 * IN_FLIGHT), "ACTLABEL_WINDOW_ITEMS": str(WINDOW)}
    async with (
        Standin(answers, Faults(latency_ms=400), log=logs[topics.ANNOTATOR]) as annotates,
        Standin(answers, Faults(latency_ms=400), log=logs[topics.CRITICIZER]) as criticizes,
        system(tmp_path, kafka_settings, **tuning) as arena,
    ):
        campaign = await arena.apply("kills", annotates.endpoint, criticizer__endpoint=criticizes.endpoint, sampler__budget=300)
        members = await arena.fleet.start_all(*topics.READS)
        witness = Witness(arena, campaign, {topics.ANNOTATOR: annotates, topics.CRITICIZER: criticizes})
        await arena.ingest(campaign, recording.items)

        for member in members[:3]:
            await _when(arena, campaign, _in_the_middle(member.role, logs.get(member.role)), what=f"{member.role} in the middle")
            await _kill_and_restart(witness, member)
        async with working(arena.reviewer(recording, campaign.name)) as reviewer:
            await _when(arena, campaign, _reviews_in_the_middle, what="reviews in the middle")
            await _kill_and_restart(witness, members[3])
            await arena.at_rest(campaign, reviewed=True)
            acknowledged = dict(reviewer.acknowledged)

        merged = await arena.merged(campaign)
        _ledger_balances(merged, recording.truth)
        _reviews_are_the_submitted_ones(merged, recording.truth, acknowledged, budget=300)
        repeats = witness.repeats()
        print(f"kills: {repeats} calls repeated of {witness.unstored} unstored at the kills; in flight then {witness.in_flight}")
        assert repeats <= witness.unstored
        assert min(witness.in_flight[stage] for stage in logs) >= 50


def _in_the_middle(stage: str, log: RequestLog | None) -> Callable[[CampaignProgress], bool]:
    """Between 30 and 70 %, and for a stage that calls a model with at least 50 calls in flight."""

    def holds(progress: CampaignProgress) -> bool:
        done = next(entry.done for entry in progress.stages if entry.name == stage)
        assert done <= 0.7 * ITEMS, f"{stage} was past 70 % before it could be killed"
        return done >= 0.3 * ITEMS and (log is None or log.in_flight >= 50)

    return holds


def _reviews_in_the_middle(progress: CampaignProgress) -> bool:
    return progress.reviews.get("answered", 0) >= 0.3 * 300


async def _when(arena: System, campaign: Campaign, holds: Callable[[CampaignProgress], bool], *, what: str) -> None:
    last: list[CampaignProgress] = []

    async def now() -> bool:
        arena.fleet.check()
        last[:] = [await arena.progress(campaign)]
        return holds(last[0])

    try:
        await eventually(now, what=what)
    except AssertionError:
        print(last)
        raise


async def _kill_and_restart(witness: Witness, member: Member) -> None:
    """The restarted process begins at the committed offsets; at most a window of what it reads was dispatched before."""
    await witness.kill(member)
    topic = topics.topic(topics.READS[member.role], witness.campaign.uid)
    committed = await witness.arena.host.stream.committed(topics.group(member.role), topic)
    reread = await _dispatched_beyond(witness, member.role, committed)
    assert reread <= WINDOW, f"{member.role}: {reread} records after the committed offsets were dispatched, more than the window"
    await witness.arena.fleet.start(member.role).ready()


async def _dispatched_beyond(witness: Witness, stage: str, committed: "dict[Partition, int | None]") -> int:
    """Count records at or after the committed offsets whose work is on the output topic already."""
    finished = await _ids_after(stage, witness)
    host = witness.arena.host
    count = 0
    for partition, offset in committed.items():
        end = (await host.stream.end_offsets(partition.topic))[partition]
        async for batch in host.stream.scan(partition, start=offset or 0, end=end):
            count += sum(record.key.decode() in finished for record in batch)
    return count


async def _ids_after(stage: str, witness: Witness) -> set[str]:
    host, uid = witness.arena.host, witness.campaign.uid
    reads: dict[str, Callable[[], Awaitable[set[str]]]] = {
        topics.SAMPLER: lambda: _column(witness, "SELECT item_id FROM candidate WHERE uid = $1"),
        topics.REVIEW_GATEWAY: lambda: _column(witness, "SELECT item_id FROM review WHERE uid = $1"),
    }
    if stage in reads:
        return await reads[stage]()
    output = topics.topic({topics.ANNOTATOR: topics.ANNOTATED, topics.CRITICIZER: topics.CRITIQUED}[stage], uid)
    ids: set[str] = set()
    for partition, end in (await host.stream.end_offsets(output)).items():
        async for batch in host.stream.scan(partition, start=0, end=end):
            ids.update(record.key.decode() for record in batch)
    return ids


async def _column(witness: Witness, statement: str) -> set[str]:
    return {row["item_id"] for row in await witness.arena.host.database.fetch(statement, witness.campaign.uid)}


def _ledger_balances(merged: dict[str, Item], truth: dict[str, str]) -> None:
    assert set(merged) == set(truth), "registered = merged, by the ids of the input file"


def _reviews_are_the_submitted_ones(merged: dict[str, Item], truth: dict[str, str], acknowledged: dict[str, str], *, budget: int) -> None:
    reviewed = {item.id: item.review.label for item in merged.values() if item.review.outcome == Review.OUTCOME_LABELLED}
    assert len(reviewed) == budget == sum(item.decision.selected for item in merged.values())
    assert all(reviewed[item] == label for item, label in acknowledged.items())
    assert all(label == truth[item] for item, label in reviewed.items())
    assert Counter(item.decision.draw for item in merged.values()) == {1: len(merged)}
