"""Puts the pieces of the model client together for one stage of one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from actlabel.chat.asker import Asker
from actlabel.chat.openai_compatible import OpenAiCompatibleClient
from actlabel.chat.quota import DatabaseLedger
from actlabel.chat.results import Results
from actlabel.chat.spend import Purse
from actlabel.runtime.campaigns import Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database
from actlabel.runtime.media import MediaStore
from actlabel.runtime.settings import Settings


@asynccontextmanager
async def open_asker(*, stage: str, settings: Settings, database: Database, campaigns: Campaigns, clock: Clock) -> AsyncIterator[Asker]:
    """Open client, results and purse. At the end: store what is paid, close connections, give back what is reserved.

    Raises ``UserError`` when ``ACTLABEL_STORAGE`` cannot be used.
    """
    media = MediaStore(settings.storage)
    async with AsyncExitStack() as stack:
        purse = Purse(database=database, clock=clock, stage=stage)
        stack.push_async_callback(purse.close)
        stack.push_async_callback(_end, asyncio.create_task(purse.run()))
        client = await stack.enter_async_context(_client(settings, database, clock))
        results = Results(database, clock)
        stack.push_async_callback(results.close)
        yield Asker(stage=stage, client=client, results=results, purse=purse, media=media, campaigns=campaigns, clock=clock)


def _client(settings: Settings, database: Database, clock: Clock) -> OpenAiCompatibleClient:
    ledger = DatabaseLedger(database, clock)
    return OpenAiCompatibleClient(clock=clock, calls_in_flight=settings.calls_in_flight, ledger=ledger)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
