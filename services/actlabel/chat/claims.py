"""Claims: rows that tell other processes which calls are running here, so that they wait for the answer rather than pay for it again.

They are written at a handover only (partitions go to other members while calls run on) and cost the hot path no write. A claim expires
soon and is renewed while its call runs, so that a killed owner delays nobody for longer than ``EXPIRY_S``.
"""

import asyncio
import secrets
from collections.abc import Collection
from typing import Final

from actlabel.core.errors import RetryLater
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, load_statements
from actlabel.runtime.log import get_log

EXPIRY_S: Final = 10.0
_ROUND_S: Final = 2.0
_log = get_log(__name__)


class Claims:
    """The claims of one process and stage."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Begin without claims."""
        self.owner = secrets.token_hex(8)
        self._database = database
        self._clock = clock
        self._sql = load_statements("actlabel.chat", "claims.sql")
        self._running: set[str] = set()  # result ids that are claimed and whose calls run
        self._ended: set[str] = set()  # claimed, and no longer running
        self._turn = asyncio.Lock()  # a removal must not overtake the claim it removes
        self._keeping: asyncio.Task[None] | None = None

    async def make(self, result_ids: Collection[str]) -> None:
        """Claim calls that run here, in one transaction; a living claim of another stays. Raises ``RetryLater``.

        Where that failed it is tried again with the renewals.
        """
        self._running.update(result_ids)
        if self._running and (self._keeping is None or self._keeping.done()):
            self._keeping = asyncio.create_task(self._keep())
        async with self._turn:
            await self._renew()

    def ended(self, result_id: str) -> None:
        """Note that a call has ended, stored or not: its claim can go."""
        if result_id in self._running:
            self._running.discard(result_id)
            self._ended.add(result_id)

    async def _keep(self) -> None:
        """Remove and renew while there is anything claimed."""
        while self._running or self._ended:
            await self._clock.sleep(_ROUND_S)
            try:
                async with self._turn:
                    await self._remove()
                    await self._renew()
            except RetryLater as error:
                _log.warning("The claims of running calls could not be renewed and are tried again", error=str(error))

    async def _renew(self) -> None:
        if self._running:
            now = self._clock.now()
            rows = [(result_id, self.owner, now + EXPIRY_S, now) for result_id in sorted(self._running)]
            await self._database.execute_many(self._sql["claim"], rows)

    async def _remove(self) -> None:
        """Remove what has ended, and what killed owners left behind."""
        gone = list(self._ended)
        if gone:
            await self._database.execute(self._sql["remove"], gone, self.owner, self._clock.now() - EXPIRY_S)
            self._ended.difference_update(gone)

    async def close(self) -> None:
        """Remove every claim of this process; what cannot be removed expires."""
        if self._keeping is None:
            return
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        try:
            async with self._turn:
                await self._database.execute(self._sql["remove_all"], self.owner)
        except RetryLater as error:
            _log.warning("Claims could not be removed and expire", error=str(error))
