"""An upgrade, a rollback and the upgrade again, in the middle of a campaign, each stage replaced while old and new work side by side.

    python -m tests.acceptance.upgrade OLD [--items 10000]

By hand, in a checkout with its history: OLD is a commit or tag whose services run as the old version, those of the working tree as the
new one. On real Kafka and PostgreSQL. What must hold: every process ends with 0, no call is made twice but a few, every item is merged,
and every reviewed label is the one that the reviewer sent.
"""

import argparse
import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from actlabel.contracts.v1.item_pb2 import Review
from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.data import Recording, synthetic
from tests.acceptance.fleet import Member, eventually
from tests.acceptance.pipeline import System, make_settings, system, working
from tests.bench.real_services import real_services

ROOT = Path(__file__).parents[2]
CHANGES = ((0.15, "new"), (0.4, "old"), (0.65, "new"))  # from which share of the items on, to which version
SIDE_BY_SIDE_S = 3.0
MOST_REPEATS = 10
BUDGET = 500


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Another commit of this repository in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="actlabel-old-") as folder:
        place = Path(folder) / "old"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(place), commit], cwd=ROOT, check=True)
        try:
            yield place
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(place)], cwd=ROOT, check=True)


class Versions:
    """Which version each stage runs."""

    def __init__(self, arena: System, old: Path) -> None:
        self.arena = arena
        self.paths = {"old": str(old / "services"), "new": str(ROOT / "services")}
        self.members: dict[str, Member] = {}
        self.began_s = time.monotonic()

    def start(self, role: str, version: str) -> Member:
        """Start one process of this version."""
        return self.arena.fleet.start(role, PYTHONPATH=self.paths[version])

    async def begin(self) -> None:
        """Every stage in the old version."""
        self.members = {role: self.start(role, "old") for role in topics.READS}
        await asyncio.gather(*(member.ready() for member in self.members.values()))

    async def roll(self, version: str) -> None:
        """One more pod, then one less, stage by stage, as a Deployment does it."""
        for role, leaving in list(self.members.items()):
            coming = self.members[role] = self.start(role, version)
            await coming.ready()
            await asyncio.sleep(SIDE_BY_SIDE_S)
            code = await asyncio.to_thread(leaving.terminate)
            print(f"{time.monotonic() - self.began_s:6.1f} s  {role}: {version} is ready, the other has drained with {code}", flush=True)
            assert code == 0


async def run(old: Path, folder: Path, items: int) -> None:
    """Run once."""
    recording, log = synthetic(folder, items), RequestLog()
    with real_services() as services:
        settings = make_settings(folder, stream=services.stream, database=services.postgres.create_database())
        async with (
            Standin(RecordedAnswers.load(recording.answers), Faults(latency_ms=2000), log=log) as endpoint,
            system(folder, settings, ACTLABEL_SESSION_TIMEOUT_S="30") as arena,
        ):
            bounds = {f"{stage}__calls_in_flight": 200 for stage in ("annotator", "criticizer")}
            campaign = await arena.apply("upgrade", endpoint.endpoint, sampler__budget=BUDGET, spend_cap_usd=100, **bounds)
            versions = Versions(arena, old)
            await versions.begin()
            await arena.ingest(campaign, recording.items)
            async with _reviewed(arena, recording, campaign) as acknowledged:
                for share, version in CHANGES:
                    await eventually(lambda share=share: _past(arena, campaign, share * items), what=f"{share:.0%}", within_s=600)
                    await versions.roll(version)
                await arena.at_rest(campaign, reviewed=True, within_s=900)
            await _judge(arena, campaign, recording, acknowledged, log)


@asynccontextmanager
async def _reviewed(arena: System, recording: Recording, campaign: Campaign) -> AsyncIterator[dict[str, str]]:
    async with working(arena.reviewer(recording, campaign.name)) as reviewer:
        yield reviewer.acknowledged


async def _past(arena: System, campaign: Campaign, count: float) -> bool:
    arena.fleet.check()
    return (await arena.progress(campaign)).stages[1].done >= count


async def _judge(arena: System, campaign: Campaign, recording: Recording, acknowledged: dict[str, str], log: RequestLog) -> None:
    merged = await arena.merged(campaign)
    reviewed = {item.id: item.review.label for item in merged.values() if item.review.outcome == Review.OUTCOME_LABELLED}
    repeats = sum(count - 1 for count in log.arrived.values())
    print(f"{len(merged)} of {len(recording.truth)} merged, {len(reviewed)} reviewed; {repeats} of {len(log.arrived)} calls made again")
    assert set(merged) == set(recording.truth), "registered = merged, by the ids of the input file"
    assert len(reviewed) == BUDGET
    assert all(reviewed[item] == label for item, label in acknowledged.items())
    assert repeats <= MOST_REPEATS


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="commit or tag")
    parser.add_argument("--items", type=int, default=10_000)
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="actlabel-upgrade-") as folder, checked_out(given.old) as old:
        asyncio.run(run(old, Path(folder), given.items))


if __name__ == "__main__":
    sys.exit(main())
