"""What a process does while what it needs is out of reach."""

import asyncio

import pytest

from actlabel.core.errors import Fatal, NotUsableYet, RetryLater, UserError
from actlabel.host.patience import Patience
from actlabel.runtime.health import Health


class Process:
    """One that fails in its first attempts, then works until it is told to stop."""

    def __init__(self, *failures: Exception, hangs: bool = False) -> None:
        self.health, self.stop = Health(), asyncio.Event()
        self.patience = Patience(self.health, self.stop, role="role", pause_s=0.001)
        self.failures = list(failures)
        self.hangs = hangs
        self.seen: list[list[str]] = []
        self.drained = False

    async def work(self) -> None:
        self.seen.append(self.health.ready())
        self.health.add_readiness("role", lambda: "of an attempt")
        if self.failures:
            raise self.failures.pop(0)
        if self.hangs:
            await asyncio.Event().wait()
        self.patience.opened()
        self.health.add_readiness("role", lambda: None)
        await self.stop.wait()
        await asyncio.sleep(0)
        self.drained = True

    async def run(self) -> None:
        async with asyncio.timeout(10):
            await self.patience.run(self.work)


async def test_it_says_why_and_tries_again_until_it_works() -> None:
    process = Process(NotUsableYet("no key"), RetryLater("no database"))
    running = asyncio.create_task(process.run())
    while process.health.ready():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.001)
    assert process.seen == [["start: opens database and stream"], ["start: no key"], ["start: no database"]]
    process.stop.set()
    assert process.health.ready() == ["stop: drains, and takes no more work"]
    await running
    assert process.drained


@pytest.mark.parametrize("error", [UserError("wrong"), Fatal("broken"), ValueError("a defect")])
async def test_it_ends_with_what_no_repair_elsewhere_changes(error: Exception) -> None:
    process = Process(error)
    with pytest.raises(type(error)):
        await process.run()


async def test_a_stop_ends_an_attempt_that_has_not_opened_anything() -> None:
    process = Process(hangs=True)
    running = asyncio.create_task(process.run())
    while not process.seen:  # noqa: ASYNC110
        await asyncio.sleep(0)
    process.stop.set()
    await running
    assert not process.drained


async def test_a_stop_ends_a_pause() -> None:
    process = Process(*[NotUsableYet("no key")] * 10_000)
    process.patience = Patience(process.health, process.stop, role="role", pause_s=3600)
    running = asyncio.create_task(process.run())
    while process.health.ready() != ["start: no key"]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    process.stop.set()
    await running


async def test_what_is_opened_is_not_ready_before_its_service_says_so() -> None:
    health, stop = Health(), asyncio.Event()
    patience = Patience(health, stop, role="sampler")
    patience.opened()
    health.add_readiness("topics", lambda: None)
    assert health.ready() == ["start: the service begins"]
    health.add_readiness("sampler", lambda: None)
    assert health.ready() == []
