"""How each fault is inflicted, and how it is lifted."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.acceptance.chaos.crew import LEAST, MOST, Crew
from tests.acceptance.chaos.endpoint import Endpoint
from tests.acceptance.chaos.schedule import OF_THE_ENDPOINT, Fault, Kind
from tests.acceptance.fleet import Member
from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer


@dataclass(kw_only=True)
class Outages:
    """When broker, database and endpoint were out of reach on purpose: (start, end) in seconds since 1970."""

    broker: list[tuple[float, float]] = field(default_factory=list)
    database: list[tuple[float, float]] = field(default_factory=list)
    endpoint: list[tuple[float, float]] = field(default_factory=list)
    running: int = 0  # broker and database

    def since(self, moment_s: float) -> bool:
        """Say whether broker or database were out of reach after a moment."""
        return any(end >= moment_s for _, end in (*self.broker, *self.database))

    def disturbed(self, *, aftermath_s: float) -> Sequence[tuple[float, float]]:
        """Return all, each with the time that it takes to get over it."""
        return [(start, end + aftermath_s) for start, end in (*self.broker, *self.database, *self.endpoint)]


Killed = Callable[[Member], Awaitable[None]]
"""Told of a process that was just killed, before anybody takes its place."""


class Faults:
    """Knows everything that can be broken."""

    def __init__(
        self, *, crew: Crew, broker: KafkaBroker, postgres: PostgresServer, endpoint: Endpoint, outages: Outages, killed: Killed
    ) -> None:
        """``outages`` is kept up to date."""
        self._crew = crew
        self._broker = broker
        self._postgres = postgres
        self._endpoint = endpoint
        self._outages = outages
        self._killed = killed
        self._turns = {kind: asyncio.Lock() for kind in ("broker", "database", "endpoint")}

    async def inflict(self, fault: Fault, victim: Member | None) -> None:
        """Break it and mend it again; returns when that is over. ``victim``: for a fault of a process."""
        if fault.kind in OF_THE_ENDPOINT:
            async with self._out("endpoint", self._outages.endpoint):
                await self._endpoint.fail(fault.kind, fault.seconds)
        elif victim is None:
            await self._to_a_service(fault)
        else:
            await self._to_a_process(fault, victim)

    async def _to_a_service(self, fault: Fault) -> None:
        if fault.kind is Kind.BROKER_RESTART:
            async with self._out("broker", self._outages.broker):
                self._broker.kill()
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(self._broker.start)
            return
        async with self._out("database", self._outages.database):
            if fault.kind is Kind.DATABASE_FREEZE:
                self._postgres.freeze()
                await asyncio.sleep(fault.seconds)
                self._postgres.thaw()
            else:
                self._postgres.kill()
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(self._postgres.start)

    @asynccontextmanager
    async def _out(self, what: str, outages: list[tuple[float, float]]) -> AsyncIterator[None]:
        async with self._turns[what]:
            start = time.time()
            outages.append((start, float("inf")))
            self._outages.running += what != "endpoint"
            try:
                yield
            finally:
                self._outages.running -= what != "endpoint"
                outages.remove((start, float("inf")))
                outages.append((start, time.time()))

    async def _to_a_process(self, fault: Fault, victim: Member) -> None:
        match fault.kind:
            case Kind.KILL:
                self._crew.kill(victim)
                await self._killed(victim)
                await asyncio.sleep(fault.seconds)
                self._crew.start(victim.role)
            case Kind.TERMINATE:
                self._crew.start(victim.role)
                await self._crew.terminate(victim)
            case Kind.FREEZE:
                await self._crew.freeze(victim, fault.seconds)
            case Kind.START:
                if len(self._crew.replicas(victim.role)) < MOST:
                    self._crew.start(victim.role)
            case Kind.STOP:
                if len(self._crew.replicas(victim.role)) > LEAST:
                    await self._crew.terminate(victim)
