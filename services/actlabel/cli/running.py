"""How a command runs: its settings, its logs, its event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

from actlabel.host.host import Host, open_host
from actlabel.runtime.log import configure_logs
from actlabel.runtime.settings import Settings, load_settings

_T = TypeVar("_T")


def run_with_host(work: Callable[[Host], Awaitable[_T]], *, runs_stages: bool = False, settings: Settings | None = None) -> _T:
    """Open the host, run ``work`` on an event loop of its own, close the host; returns what ``work`` returns.

    Raises what ``open_host`` and ``work`` raise; ``main`` turns our own errors into one line.
    """
    chosen = settings or load_settings()
    configure_logs(level=chosen.log_level, json=chosen.log_format == "json")

    async def opened() -> _T:
        async with open_host(chosen, runs_stages=runs_stages) as host:
            return await work(host)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(opened())
