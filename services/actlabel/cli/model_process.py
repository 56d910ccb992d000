"""The model server as a process of its own: signs of life from the first moment to the last, whatever is in reach."""

import asyncio

from actlabel.cli.signs_of_life import signs_of_life
from actlabel.host.patience import Patience
from actlabel.model_server.main import ROLE, run
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_configured
from actlabel.runtime.health import Health
from actlabel.runtime.settings import Settings

_CONNECTIONS = 2  # it asks for names and models, not for records


async def run_model_process(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Where processes share a database server it stays when something is out of reach, and says what (``Patience``); on an embedded file,
    where a person looks on, it says so and ends. Raises ``UserError`` for wrong usage.
    """
    health, stop = Health(), asyncio.Event()
    patience = Patience(health, stop, role=ROLE)

    async def work() -> None:
        database = await open_configured(settings, connections=_CONNECTIONS)
        try:
            patience.opened()
            await run(settings=settings, database=database, clock=SystemClock(), health=health, stop=stop)
        finally:
            await database.close()

    async with signs_of_life(settings, health, stop, role=ROLE):
        await (work() if settings.database.startswith("sqlite:") else patience.run(work))
