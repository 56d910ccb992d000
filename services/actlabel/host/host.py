"""What a process of actlabel stands on, opened in order and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from actlabel.core.errors import UserError
from actlabel.intake.register import Register
from actlabel.runtime import tracing
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock, SystemClock
from actlabel.runtime.database.open import open_configured
from actlabel.runtime.database.port import Database
from actlabel.runtime.health import Health
from actlabel.runtime.media import MediaStore
from actlabel.runtime.settings import Settings
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.kafka_address import is_kafka
from actlabel.stream.open import open_stream
from actlabel.stream.port import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Handed to the ``main`` of every service; a service takes from it what it needs."""

    settings: Settings
    clock: Clock
    database: Database
    stream: Stream
    campaigns: Campaigns
    health: Health
    stop: asyncio.Event  # set when the process shall end; services drain and return

    def dead_letters(self) -> DeadLetters:
        """Make what puts records aside, within the limit per minute of the settings."""
        return DeadLetters(
            database=self.database,
            stream=self.stream,
            campaigns=self.campaigns,
            clock=self.clock,
            per_minute=self.settings.dead_letters_per_minute,
        )

    def register(self, campaign: Campaign) -> Register:
        """Make what takes items into a campaign. Raises ``UserError`` when ``ACTLABEL_STORAGE`` cannot be used."""
        return Register(
            database=self.database,
            producer=self.stream.producer(),
            media=MediaStore(self.settings.storage),
            clock=self.clock,
            campaign=campaign,
        )


@asynccontextmanager
async def open_host(
    settings: Settings, *, runs_stages: bool, health: Health | None = None, stop: asyncio.Event | None = None
) -> AsyncIterator[Host]:
    """Open database and stream. ``runs_stages``: this process takes records from groups, so it needs the role on embedded files.

    ``health``, ``stop``: of the process, where it had them before. Raises ``UserError`` when an address is unusable, when Kafka is paired
    with SQLite, or when another process has the role; of them ``NotUsableYet`` when what it names is out of reach.
    """
    if runs_stages and is_kafka(settings.stream) and settings.database.startswith("sqlite:"):
        raise UserError(
            "ACTLABEL_STREAM is Kafka, so several processes share the database: ACTLABEL_DATABASE must be postgresql://…, not SQLite"
        )
    async with AsyncExitStack() as stack:
        if settings.otlp_endpoint is not None:
            stack.push_async_callback(_record_spans(settings.otlp_endpoint.get_secret_value(), settings.trace_ratio))
        clock = SystemClock()
        database = await open_configured(settings)
        stack.push_async_callback(database.close)
        stream = await open_stream(settings, runs_stages=runs_stages)
        stack.push_async_callback(stream.close)
        yield Host(
            settings=settings,
            clock=clock,
            database=database,
            stream=stream,
            campaigns=Campaigns(database, clock),
            health=health or Health(),
            stop=stop or asyncio.Event(),
        )


def _record_spans(endpoint: str, ratio: float) -> Callable[[], Awaitable[None]]:
    """Let this process record spans; returns what ends that. Raises ``UserError`` where the packages are missing."""
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise UserError("ACTLABEL_OTLP_ENDPOINT: write http://host:4318, where the collector takes OTLP over HTTP")
    try:
        from actlabel.runtime.tracing_otlp import OtlpRecorder  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UserError(f"ACTLABEL_OTLP_ENDPOINT needs the extra otel ({error.name} is missing): pip install 'actlabel[otel]'") from error
    recorder = OtlpRecorder(endpoint, ratio=ratio)
    tracing.use_recorder(recorder)

    async def end() -> None:
        tracing.use_recorder(None)
        await asyncio.to_thread(recorder.close)

    return end
