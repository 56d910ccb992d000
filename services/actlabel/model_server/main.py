"""Runs the model server. The only file here that sees everything; it needs database and storage, no stream."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aiohttp import web

from actlabel.core.errors import UserError
from actlabel.model_registry.registry import Registry
from actlabel.model_server.api import Api
from actlabel.model_server.batching import Batcher
from actlabel.model_server.ports import Open, Predictor
from actlabel.model_server.shelf import Shelf
from actlabel.model_server.tokens import Tokens
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database
from actlabel.runtime.health import Health
from actlabel.runtime.lifecycle import until
from actlabel.runtime.log import get_log
from actlabel.runtime.settings import Settings
from actlabel.runtime.storage import Storage

ROLE: Final = "model"
_LOOK_S: Final = 5.0
_log = get_log(__name__)


async def run(
    *,
    settings: Settings,
    database: Database,
    clock: Clock,
    health: Health,
    stop: asyncio.Event,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until ``stop``, then finish the requests that are there. ``started`` is told the endpoint.

    Raises ``UserError``: the extra is missing, the port is taken; ``NotUsableYet``: no usable token file.
    """
    tokens = Tokens(settings.model_token_file, host=settings.host, clock=clock)
    opened = _opener()
    with (
        tempfile.TemporaryDirectory(prefix="actlabel-models-") as cache,
        ThreadPoolExecutor(1, thread_name_prefix="forward") as forward,
        ThreadPoolExecutor(1, thread_name_prefix="load") as loader,
    ):

        def batcher(predictor: Predictor, name: str) -> Batcher:
            return Batcher(predictor, executor=forward, clock=clock, most=settings.model_batch_items, name=name)

        shelf = Shelf(
            registry=Registry(database, clock),
            storage=Storage(settings.storage),
            cache=Path(cache),
            opened=opened,
            batcher=batcher,
            loader=loader,
            names=_names(settings.models),
        )
        health.add_readiness(ROLE, lambda: "it drains and ends" if stop.is_set() else shelf.trouble)
        health.add_liveness(ROLE, shelf.stuck)
        await shelf.look()
        async with _served(Api(shelf=shelf, tokens=tokens, clock=clock), settings) as endpoint:
            _log.info("The model server is open", endpoint=endpoint, models=", ".join(shelf.listed()) or "none yet")
            if started is not None:
                started(endpoint)
            while not await until(stop, _LOOK_S):
                await shelf.look()


def _opener() -> Open:
    if not all(find_spec(name) is not None for name in ("torch", "safetensors")):
        raise UserError("serving a model needs the extra train: pip install 'actlabel[train]'")
    from actlabel.model_server.predictor import open_predictor  # noqa: PLC0415 - torch is an extra, and takes seconds

    return open_predictor


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


@asynccontextmanager
async def _served(api: Api, settings: Settings) -> AsyncIterator[str]:
    runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=settings.drain_deadline_s)
    await runner.setup()
    try:
        await _listen(runner, settings)
        yield f"http://{settings.host}:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.model_port).start()
    except OSError as error:
        raise UserError(f"ACTLABEL_MODEL_PORT: {settings.model_port} cannot be listened on ({error.strerror}); choose another") from error
