"""One system under test: fleet, stand-in, host and the steps that a person would take."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from actlabel.cli.serve import run_stages
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.dataset.merged import read_merged
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host, open_host
from actlabel.host.progress import CampaignProgress, read_progress
from actlabel.intake.fields import Fields
from actlabel.intake.ingest import ingest
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings, load_settings
from tests.acceptance.crowd import Reviewer
from tests.acceptance.data import Recording, campaign_yaml
from tests.acceptance.fleet import Fleet, eventually
from tests.services.processes import free_port


def make_settings(folder: Path, *, stream: str, database: str, **changes: object) -> Settings:
    """Settings with a token and a random-number key of the test's own."""
    token, key = folder / "review-token", folder / "secret-key"
    token.write_text(secrets.token_urlsafe(32))
    key.write_bytes(b"the same key in every test run, 32 bytes and more")
    places = {"stream": stream, "database": database, "storage": str(folder / "storage")}
    return load_settings(**places, review_token_file=token, secret_key_file=key, session_timeout_s=6.0, review_port=free_port(), **changes)


@dataclass
class System:
    """A running system and its operator."""

    host: Host
    gateway: Callable[[], str]  # the address of a review gateway that is alive
    fleet: Fleet

    async def apply(self, name: str, endpoint: str, **changes: object) -> Campaign:
        """Apply a campaign file."""
        text = yaml.safe_dump(campaign_yaml(name, endpoint, **changes))
        return await apply_campaign(self.host, parse_campaign(text, where=name))

    async def ingest(self, campaign: Campaign, items: Path, *, seal: bool = True) -> None:
        """Ingest a file, and seal."""
        register = self.host.register(campaign)
        await ingest(register, items, Fields(), progress=lambda *_: None)
        if seal:
            await self.host.campaigns.seal(campaign.uid)

    async def progress(self, campaign: Campaign) -> CampaignProgress:
        """Look once."""
        return await read_progress(self.host, campaign.uid)

    async def at_rest(self, campaign: Campaign, *, reviewed: bool, within_s: float = 180.0) -> CampaignProgress:
        """Wait until nothing moves and, where ``reviewed``, nothing waits for a reviewer or is on its way to `merged`."""

        async def still() -> bool:
            self.fleet.check()
            progress = await self.progress(campaign)
            done = not progress.moving() and (progress.draws > 0 or not progress.exact)
            return done and (not reviewed or (progress.open_reviews == 0 and progress.outbox == 0))

        await eventually(still, what=f"campaign {campaign.name} at rest", within_s=within_s)
        return await self.progress(campaign)

    async def merged(self, campaign: Campaign) -> dict[str, Item]:
        """Read the merged topic, one record per item."""
        merged = await read_merged(self.host.stream, campaign.uid)
        assert merged.unreadable == 0
        return {item.id: item async for item in merged.items()}

    def reviewer(self, recording: Recording, campaign: str) -> Reviewer:
        """A reviewer at whichever gateway is alive."""
        token = (self.host.settings.review_token_file or Path()).read_text().strip()
        return Reviewer(token=token, campaign=campaign, truth=recording.truth, address=self.gateway)


@asynccontextmanager
async def system(folder: Path, settings: Settings, **tuning: str) -> AsyncIterator[System]:
    """Open the operator's host and an empty fleet; on failure the logs of every process are shown."""
    fleet = Fleet(folder=folder, settings=settings, tuning=tuning)
    try:
        async with open_host(settings, runs_stages=False) as host:
            yield System(host=host, gateway=fleet.gateway, fleet=fleet)
    except BaseException:
        print(fleet.logs())
        raise
    finally:
        fleet.close()


@asynccontextmanager
async def one_process(folder: Path, settings: Settings) -> AsyncIterator[System]:
    """Run every stage in this process, as `actlabel up` does."""
    async with open_host(settings, runs_stages=True) as host:
        stages, test = asyncio.create_task(run_stages(host)), asyncio.current_task()
        stages.add_done_callback(lambda ended: ended.exception() and test and test.cancel())
        try:
            yield System(
                host=host, gateway=lambda: f"http://127.0.0.1:{settings.review_port}", fleet=Fleet(folder=folder, settings=settings)
            )
        finally:
            host.stop.set()
            await stages


@asynccontextmanager
async def working(reviewer: Reviewer) -> AsyncIterator[Reviewer]:
    """Let a reviewer work while the block runs."""
    stop = asyncio.Event()
    task = asyncio.create_task(reviewer.work(stop))
    try:
        yield reviewer
    finally:
        stop.set()
        await task
