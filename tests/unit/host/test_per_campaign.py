"""Work per campaign begins, begins anew with a version, ends, and is tried again; one campaign's trouble is nobody else's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from actlabel.core.errors import Fatal, RetryLater, UserError
from actlabel.host import per_campaign
from actlabel.host.per_campaign import PerCampaign
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.health import Health
from tests.unit.runtime.test_campaign_file import MINIMAL
from tests.unit.stream.bed import until


class Fine:
    """Stands for a follower that has nothing to tell."""

    def liveness(self) -> None: ...

    def readiness(self) -> None: ...


class Work:
    """Says what runs, and fails where a test wants it."""

    def __init__(self) -> None:
        self.running: set[tuple[str, int]] = set()
        self.log: list[tuple[str, int]] = []
        self.tries = 0
        self.failing: dict[str, Exception] = {}

    async def __call__(self, campaign: Campaign, show: Callable[..., None], stop: asyncio.Event) -> None:
        self.tries += 1
        if campaign.name in self.failing:
            raise self.failing[campaign.name]
        show(Fine())
        self.running.add((campaign.name, campaign.version))
        self.log.append((campaign.name, campaign.version))
        try:
            await stop.wait()
        finally:
            self.running.remove((campaign.name, campaign.version))


@pytest.fixture
async def campaigns(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Campaigns]:
    monkeypatch.setattr(per_campaign, "_LOOK_S", 0.01)
    monkeypatch.setattr(per_campaign, "_AGAIN_S", 0.01)
    database = await open_database("sqlite:///:memory:")
    yield Campaigns(database, SystemClock())
    await database.close()


async def apply(campaigns: Campaigns, name: str, *, mirror: bool = True, seed: int = 0) -> Campaign:
    text = MINIMAL.replace("name: stance", f"name: {name}").replace("seed: 0", f"seed: {seed}")
    return await campaigns.apply(parse_campaign(text + ("mirror: {}\n" if mirror else ""), where=name))


@asynccontextmanager
async def running(campaigns: Campaigns, work: Work) -> AsyncIterator[Health]:
    kept = PerCampaign(name="mirror", campaigns=campaigns, wants=lambda each: each.file.mirror is not None, work=work)
    health, stop = Health(), asyncio.Event()
    kept.add_checks(health)
    task = asyncio.create_task(kept.run(stop))
    yield health
    stop.set()
    await task


async def test_it_follows_the_campaign_file(campaigns: Campaigns) -> None:
    work = Work()
    first = await apply(campaigns, "a")
    await apply(campaigns, "silent", mirror=False)
    async with running(campaigns, work) as health:
        await until(lambda: work.running == {("a", 1)})
        await apply(campaigns, "b")
        await until(lambda: work.running == {("a", 1), ("b", 1)})
        await apply(campaigns, "a", seed=1)
        await until(lambda: work.running == {("a", 2), ("b", 1)})
        await apply(campaigns, "b", mirror=False)
        await until(lambda: work.running == {("a", 2)})
        await campaigns.delete(first.uid)
        await until(lambda: not work.running)
        assert (health.ready(), health.alive()) == ([], [])
    assert work.log == [("a", 1), ("b", 1), ("a", 2)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("no such topic"), "no such topic"),
        (RetryLater("no broker"), "no broker"),
        (ZeroDivisionError("with something of the record in it"), "a defect: ZeroDivisionError"),
    ],
)
async def test_one_campaign_in_trouble_is_tried_again_and_leaves_the_others_alone(
    campaigns: Campaigns, error: Exception, told: str
) -> None:
    work = Work()
    work.failing["b"] = error
    await apply(campaigns, "b")
    async with running(campaigns, work) as health:
        await until(lambda: health.ready() == [f"mirror: campaign b: {told}"])
        await apply(campaigns, "a")
        await until(lambda: work.running == {("a", 1)} and not health.ready())
        work.failing.clear()
        await until(lambda: work.running == {("a", 1), ("b", 1)})


async def test_what_ends_the_process_ends_it(campaigns: Campaigns) -> None:
    work = Work()
    work.failing["a"] = Fatal("the producer is broken")
    await apply(campaigns, "a")
    with pytest.raises(Fatal, match="the producer is broken"):
        async with running(campaigns, work):
            await until(lambda: work.tries)
