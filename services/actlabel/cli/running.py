"""How a command runs: its settings, its logs, its event loop."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import uvloop

from actlabel.host.host import Host, open_host
from actlabel.runtime.clock import Clock, SystemClock
from actlabel.runtime.database.open import open_configured
from actlabel.runtime.database.port import Database
from actlabel.runtime.failpoints import arm
from actlabel.runtime.log import configure_logs
from actlabel.runtime.settings import Settings, load_settings

_T = TypeVar("_T")
_YOUNG_OBJECTS: Final = 20_000
_OLD_ROUNDS: Final = 50


def run_with_host(work: Callable[[Host], Awaitable[_T]], *, runs_stages: bool = False, settings: Settings | None = None) -> _T:
    """Open the host, run ``work`` on an event loop of its own, close the host; returns what ``work`` returns.

    Raises what ``open_host`` and ``work`` raise; ``main`` turns our own errors into one line.
    """

    async def opened(chosen: Settings) -> _T:
        async with open_host(chosen, runs_stages=runs_stages) as host:
            return await work(host)

    return run_process(opened, runs_stages=runs_stages, settings=settings)


def run_process(work: Callable[[Settings], Coroutine[Any, Any, _T]], *, runs_stages: bool, settings: Settings | None = None) -> _T:
    """Read the settings, begin the logs, and run ``work`` on an event loop of its own; returns and raises what it does."""
    chosen = settings or load_settings()
    configure_logs(level=chosen.log_level, json=chosen.log_format == "json")
    if runs_stages:
        collect_garbage_rarely()
    arm(chosen.failpoint)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work(chosen))


def run_with_database(work: Callable[[Settings, Database, Clock], Awaitable[_T]]) -> _T:
    """Open the database alone, for what needs no stream; run ``work``, close it. Returns and raises as ``run_with_host`` does."""

    async def opened(settings: Settings) -> _T:
        database = await open_configured(settings, connections=2)
        try:
            return await work(settings, database, SystemClock())
        finally:
            await database.close()

    return run_process(opened, runs_stages=False)


def collect_garbage_rarely() -> None:
    """Look for cycles of garbage after 20,000 new objects instead of 700, and never among what was imported.

    Thousands of calls in flight are objects that live for seconds: looking at them again and again was a third of a stage's CPU
    (tests/bench/README.md). Almost everything here is freed without a search, when its last reference goes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 10, _OLD_ROUNDS)
