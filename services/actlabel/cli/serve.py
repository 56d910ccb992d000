"""``actlabel serve`` runs one stage as a process of its own; ``actlabel up`` runs all of them in one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from actlabel.annotator.main import run as run_annotator
from actlabel.cli.running import run_with_database, run_with_host
from actlabel.criticizer.main import run as run_criticizer
from actlabel.host.host import Host
from actlabel.mirror.main import run as run_mirror
from actlabel.model_server.main import run as run_model_server
from actlabel.review_gateway.main import run as run_review_gateway
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database
from actlabel.runtime.health import Health, serve_health
from actlabel.runtime.lifecycle import run_together, stop_signals
from actlabel.runtime.log import get_log
from actlabel.runtime.settings import Settings
from actlabel.sampler.main import run as run_sampler
from actlabel.source.main import run as run_source

log = get_log(__name__)


class Role(StrEnum):
    """What a process can be."""

    ANNOTATOR = "annotator"
    CRITICIZER = "criticizer"
    SAMPLER = "sampler"
    REVIEW_GATEWAY = "review-gateway"
    SOURCE = "source"
    MIRROR = "mirror"
    MODEL = "model"


_ROLES: dict[Role, Callable[..., Coroutine[Any, Any, None]]] = {
    Role.ANNOTATOR: run_annotator,
    Role.CRITICIZER: run_criticizer,
    Role.SAMPLER: run_sampler,
    Role.REVIEW_GATEWAY: run_review_gateway,
    Role.SOURCE: run_source,
    Role.MIRROR: run_mirror,
}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(serve)
    app.command()(up)


def serve(role: Annotated[Role, typer.Argument(help="which stage")]) -> None:
    """Run one stage, or the model server. Any number of processes may run the same one; stop with SIGTERM."""
    if role is Role.MODEL:
        run_with_database(_serve_models)
        return
    run_with_host(lambda host: _until_stopped(host, role.value, _ROLES[role](host)), runs_stages=True)


def up() -> None:
    """Run every stage in one process on the embedded defaults; stop with Ctrl-C."""
    run_with_host(lambda host: _until_stopped(host, "up", run_stages(host)), runs_stages=True)


async def _until_stopped(host: Host, role: str, work: Coroutine[Any, Any, None]) -> None:
    async with _signs_of_life(host.settings, host.health, host.stop, role=role, stream=host.settings.stream.partition("?")[0]):
        await work


async def _serve_models(settings: Settings, database: Database, clock: Clock) -> None:
    health, stop = Health(), asyncio.Event()
    async with _signs_of_life(settings, health, stop, role=Role.MODEL.value):
        await run_model_server(settings=settings, database=database, clock=clock, health=health, stop=stop)


@asynccontextmanager
async def _signs_of_life(settings: Settings, health: Health, stop: asyncio.Event, *, role: str, **facts: str) -> AsyncIterator[None]:
    """Answer probes, and set ``stop`` at a signal, while the block runs."""
    runner, port = await serve_health(health, role=role, host=settings.host, port=settings.http_port)
    log.info("The process is up.", role=role, http_port=port, **facts)
    try:
        with stop_signals(stop):
            yield
    finally:
        await runner.cleanup()
    log.info("The process has drained and ends.", role=role)


async def run_stages(host: Host) -> None:
    """Run every stage on one host until ``host.stop``; when one fails, the others are abandoned as by a kill and its error is raised."""
    stages = (run(host, serve_grpc=False) for run in (run_annotator, run_criticizer, run_sampler))
    await run_together(*stages, run_review_gateway(host), run_source(host), run_mirror(host))
