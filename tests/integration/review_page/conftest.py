"""A gateway and a real browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from actlabel.runtime.database.open import open_database
from actlabel.stream.memory import MemoryStream
from tests.unit.review_gateway.gateway import Gateway, running_gateway

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
]


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    database = await open_database("sqlite:///:memory:")
    async with running_gateway(database=database, stream=MemoryStream(), folder=tmp_path) as running:
        yield running
    await database.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=30_000)  # what a busy machine needs is no failure of the page
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield started
        await started.close()
