"""What every process that serves does around its work: answer probes, tell its readiness, listen for signals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from actlabel.runtime.health import Health, serve_health
from actlabel.runtime.lifecycle import stop_signals
from actlabel.runtime.log import get_log
from actlabel.runtime.readiness_log import ReadinessLog
from actlabel.runtime.settings import Settings
from actlabel.stream.cancelling import cancel_all

log = get_log(__name__)
_PATIENCE_S: Final = 5.0


@asynccontextmanager
async def signs_of_life(settings: Settings, health: Health, stop: asyncio.Event, *, role: str) -> AsyncIterator[None]:
    """Answer over HTTP and log what is missing while the block runs; SIGTERM and SIGINT set ``stop``."""
    runner, port = await serve_health(health, role=role, host=settings.host, port=settings.http_port)
    log.info("The process is up.", role=role, http_port=port, stream=settings.stream.partition("?")[0])
    telling = asyncio.create_task(ReadinessLog(health).run(stop))
    try:
        with stop_signals(stop):
            yield
    finally:
        await cancel_all([telling], patience_s=_PATIENCE_S)
        await runner.cleanup()
    log.info("The process has drained and ends.", role=role)
