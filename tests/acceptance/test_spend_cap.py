"""Two replicas of each stage share one small spend cap: it is never crossed, it pauses, and a higher one lets the campaign finish."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console

from actlabel.cli.watch import Rates, render
from actlabel.core import topics
from actlabel.host.progress import CampaignProgress
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import STEP_S, eventually
from tests.acceptance.pipeline import System, system

ITEMS = 300
CAP_USD, MORE_USD = 0.5, 50.0
PRICE = {"input_usd_per_million_tokens": 10.0, "output_usd_per_million_tokens": 10.0}
DEAREST_USD = 0.05  # no call's bound is above: 4,000 bytes and 64 tokens of answer
STAGES = (topics.ANNOTATOR, topics.CRITICIZER)


class Ledger:
    """What the database says at every look, and what the endpoint has charged for."""

    def __init__(self, arena: System, campaign: Campaign, log: RequestLog) -> None:
        self.arena, self.campaign, self.log = arena, campaign, log
        self.most_usd = 0.0  # spent and reserved together, at any look
        self.looks = 0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look again and again while the block runs."""
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            money = (await self.arena.progress(self.campaign)).money
            self.most_usd = max(self.most_usd, money.spent_usd + money.held_usd + money.lost_usd)
            self.looks += 1
            await asyncio.sleep(STEP_S)

    async def charged_usd(self) -> float:
        """Sum what the endpoint charged: every answer that it gave is stored, none was given twice."""
        rows = await self.arena.host.database.fetch(
            "SELECT COUNT(*) AS n, COALESCE(SUM(cost_usd), 0) AS usd FROM result WHERE uid = $1", self.campaign.uid
        )
        assert self.log.outcomes == {"200": rows[0]["n"]}
        return float(rows[0]["usd"])


async def test_cap_of_several_processes_pauses_and_a_higher_one_finishes(tmp_path: Path, kafka_settings: Settings) -> None:
    recording, log = synthetic(tmp_path, ITEMS), RequestLog()
    models = {"price": PRICE, "calls_in_flight": 8, "max_output_tokens": 64}
    changes = {f"{stage}__{field}": value for stage in STAGES for field, value in models.items()}
    async with (
        Standin(RecordedAnswers.load(recording.answers), Faults(latency_ms=50), log=log) as endpoint,
        system(tmp_path, kafka_settings, ACTLABEL_SESSION_TIMEOUT_S="30") as arena,
    ):
        campaign = await arena.apply("money", endpoint.endpoint, sampler__budget=60, spend_cap_usd=CAP_USD, **changes)
        members = await arena.fleet.start_all(*STAGES, *STAGES, topics.SAMPLER, topics.REVIEW_GATEWAY)
        ledger = Ledger(arena, campaign, log)
        async with ledger.watched():
            await arena.ingest(campaign, recording.items)
            await eventually(lambda: _paused(arena, campaign), what="paused at both stages")
            for member in members:
                await member.ready()  # a cap is no outage
            _shows_the_pause(await arena.progress(campaign))
            await eventually(lambda: _settled(arena, campaign), what="reservations given back")
        charged_usd = await ledger.charged_usd()
        assert CAP_USD - DEAREST_USD <= charged_usd <= CAP_USD + 1e-9
        assert ledger.most_usd <= CAP_USD + 1e-9
        assert ledger.looks >= 10
        said = "".join(member.log.read_text() for member in members)
        assert "spend cap" not in "".join(line for line in said.splitlines() if "cannot go on" in line), "waiting for money is no outage"

        await arena.apply("money", endpoint.endpoint, sampler__budget=60, spend_cap_usd=MORE_USD, **changes)
        progress = await arena.at_rest(campaign, reviewed=False)
        assert progress.status.pauses == {}
        assert log.outcomes == {"200": 2 * ITEMS}
        print(f"money: ${charged_usd:.4f} of ${CAP_USD} when paused, at most ${ledger.most_usd:.4f} in {ledger.looks} looks")


async def _paused(arena: System, campaign: Campaign) -> bool:
    arena.fleet.check()
    return set((await arena.progress(campaign)).status.pauses) == set(STAGES)


async def _settled(arena: System, campaign: Campaign) -> bool:
    return (await arena.progress(campaign)).money.held_usd == 0.0


def _shows_the_pause(progress: CampaignProgress) -> None:
    console = Console(file=io.StringIO(), width=300)
    with console.capture() as shown_there:
        console.print(render(progress, Rates()))
    shown = shown_there.get()
    assert f"PAUSED at annotator: spend cap of ${CAP_USD:g} reached" in shown
    assert "raise spend_cap_usd and apply the campaign again" in shown
    assert f"spent of ${CAP_USD:g}" in shown
