"""A stage as a process of its own: signs of life from the first moment to the last, whatever is in reach."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from actlabel.cli.signs_of_life import signs_of_life
from actlabel.core import topics
from actlabel.host.host import Host, open_host
from actlabel.host.missing_topics import MissingTopics
from actlabel.host.patience import Patience
from actlabel.runtime.health import Health
from actlabel.runtime.lifecycle import run_together
from actlabel.runtime.rpc import serve_rpc
from actlabel.runtime.settings import Settings
from actlabel.stream.kafka_address import is_kafka, parse_kafka_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a process can be."""

    name: str
    run: Callable[[Host], Coroutine[Any, Any, None]]
    offers_rpc: bool = False  # it serves gRPC itself while it works, health included


async def run_stage_process(settings: Settings, role: Role) -> None:
    """Work until SIGTERM or SIGINT, then drain.

    Where processes share a Kafka it stays when something is out of reach, and says what (``Patience``); on embedded files, where a person
    looks on, it says so and ends. Raises ``UserError`` for wrong usage, ``Fatal`` when a restart is needed.
    """
    if waits := is_kafka(settings.stream):
        parse_kafka_address(settings.stream, where="ACTLABEL_STREAM")  # before it waits for anything: no repair elsewhere makes it one
    health, stop = Health(), asyncio.Event()
    patience = Patience(health, stop, role=role.name)
    process = _Process(settings, role, health, stop, patience)
    async with signs_of_life(settings, health, stop, role=role.name), process.probes():
        await (patience.run(process.work) if waits else process.work())


class _Process:
    """One attempt after the other, and who answers gRPC probes meanwhile."""

    def __init__(self, settings: Settings, role: Role, health: Health, stop: asyncio.Event, patience: Patience) -> None:
        self._settings = settings
        self._role = role
        self._health = health
        self._stop = stop
        self._patience = patience
        self._server = AsyncExitStack()

    async def work(self) -> None:
        async with open_host(self._settings, runs_stages=True, health=self._health, stop=self._stop) as host:
            self._patience.opened()
            if not self._role.offers_rpc:
                await self._run(host)
                return
            await self._server.aclose()  # the port is the role's from here on
            try:
                await self._run(host)
            finally:
                await self._answer()

    async def _run(self, host: Host) -> None:
        watching = [MissingTopics(host, self._role.name).run()] if self._role.name in topics.READS else []
        await run_together(self._role.run(host), *watching)

    @asynccontextmanager
    async def probes(self) -> AsyncIterator[None]:
        """Answer probes while the block runs, but for the time in which the role does."""
        await self._answer()
        try:
            yield
        finally:
            await self._server.aclose()

    async def _answer(self) -> None:
        server = serve_rpc(host=self._settings.host, port=self._settings.grpc_port, health_checks=self._health)
        await self._server.enter_async_context(server)
