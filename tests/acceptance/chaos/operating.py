"""What a person does in bad weather: takes files in, lifts pauses once the endpoint is well, sends dead letters round again, seals."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from actlabel.core.errors import RetryLater
from actlabel.runtime.campaigns import Campaign
from actlabel.stream.dead_records import Choice, DeadRecords
from tests.acceptance.pipeline import System

_LOOK_S = 1.0
_WHERE_THEY_ARE = (
    "SELECT item_id FROM candidate WHERE uid = $1 AND item_id = ANY($2)",
    "SELECT item_id FROM dead WHERE uid = $1 AND item_id = ANY($2) AND replayed_at IS NULL",
)


class Operator:
    """Repeats what fails because a service is out of reach; each step says that it may be repeated."""

    def __init__(self, arena: System, campaign: Campaign, *, endpoint_is_well: Callable[[], bool], tell: Callable[[str], None]) -> None:
        """``tell``: about everything that is done."""
        self._arena = arena
        self._campaign = campaign
        self._endpoint_is_well = endpoint_is_well
        self._tell = tell

    async def take_in(self, files: list[Path]) -> None:
        """Ingest file after file and seal each batch but the last."""
        for file in files:
            await _until_done(lambda file=file: self._arena.ingest(self._campaign, file, seal=False))
            if file != files[-1]:
                await self.seal()

    async def seal(self) -> None:
        """Seal the present batch."""
        await _until_done(lambda: self._arena.host.campaigns.seal(self._campaign.uid))

    async def lift_pauses(self) -> None:
        """Look every second, for ever; a pause stays while the endpoint is ill."""
        while True:
            await asyncio.sleep(_LOOK_S)
            with suppress(RetryLater):
                pauses = await self._arena.host.campaigns.pauses()
                if pauses and self._endpoint_is_well():
                    await self._arena.host.campaigns.resume(self._campaign.uid)
                    self._tell("operator resumes: " + "; ".join(f"{stage}: {why[:60]}" for (_, stage), why in pauses.items()))

    async def replay_half_of_the_dead(self, dice: random.Random) -> None:
        """Send half of the dead letters round again, and see them come back: what comes after the last draw would wait for another seal.

        The others stay where they are, and the ledger must say so.
        """
        host, uid = self._arena.host, self._campaign.uid
        records = DeadRecords(database=host.database, stream=host.stream, clock=host.clock)

        chosen: set[str] = set()

        async def replay() -> None:
            """Once chosen, the same ones again: a replay that broke off goes on."""
            ids = {dead.item_id for dead in await records.list(uid)}
            if not chosen:
                chosen.update(dice.sample(sorted(ids), (len(ids) + 1) // 2))
            if left := chosen & ids:
                count = await records.replay(uid, Choice(item_ids=left))
                self._tell(f"operator replays {count} of {len(ids)} dead letters")

        await _until_done(replay)
        await _until_done(lambda: self._come_back(chosen))

    async def _come_back(self, item_ids: set[str]) -> None:
        while await self._on_their_way(item_ids):  # noqa: ASYNC110 - it happens in other processes
            await asyncio.sleep(_LOOK_S)

    async def _on_their_way(self, item_ids: set[str]) -> set[str]:
        found = [await self._arena.host.database.fetch(sql, self._campaign.uid, list(item_ids)) for sql in _WHERE_THEY_ARE]
        return item_ids - {row["item_id"] for rows in found for row in rows}


async def _until_done(work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except RetryLater:
            await asyncio.sleep(_LOOK_S)
        else:
            return
