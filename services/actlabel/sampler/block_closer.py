"""Closes one block of a stream in one transaction: quota from the budget row, design, decisions, and who belongs to it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Row, Session
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.log import get_log
from actlabel.sampler.allowance import Allowance, BlockPlan, least_block, plan_block
from actlabel.sampler.domain import STREAMING, Drawn, Parameters, Population, check_mode, draw_block
from actlabel.sampler.draw_store import DrawStore, Place
from actlabel.sampler.meters import count_decisions
from actlabel.sampler.parameters import CampaignKeys, allowance

log = get_log(__name__)

_DRAW: Final = 1
"""All blocks of a campaign belong to one draw."""


class BlockCloser:
    """Holds the lock of the budget row while it decides, so that replicas take turns and never take more than there is."""

    def __init__(self, *, store: DrawStore, keys: CampaignKeys, clock: Clock) -> None:
        """Keep the parts; nothing is read yet."""
        self._store = store
        self._sql = store.sql
        self._keys = keys
        self._clock = clock

    async def close(self, campaign: Campaign) -> BlockPlan:
        """Close the next block of a campaign if it is full or due and the budget allows it; the answer says what was done.

        Raises ``UserError`` when the newest version of the campaign has another mode.
        """
        check_mode(campaign.file.sampler.mode, STREAMING)
        key, parameters = await self._keys.of(campaign), await self._keys.parameters(campaign)
        async with self._store.database.transaction() as session:
            stream = await self._look(session, campaign)
            waiting = await self._waiting(session, stream)
            failpoint("block.locked")
            plan = self._plan(stream, waiting)
            if not plan.items:
                return plan
            drawn = draw_block(key, _population(waiting[: plan.items]), quota=plan.quota, parameters=parameters)
            block = await self._put(session, campaign.uid, drawn, parameters)
            failpoint("block.decided")
            await self._take(session, stream, plan, parameters)
            failpoint("block.taken")
        failpoint("block.closed")
        count_decisions(campaign.uid, drawn.design)
        log.info("A block is closed.", campaign=campaign.name, block=block, items=plan.items, selected=plan.quota)
        return plan

    async def _look(self, session: Session, campaign: Campaign) -> "_Stream":
        """Lock the budget row, and see how far the stream is."""
        budget = await self._store.lock_budget(session, campaign.uid, STREAMING)
        row = (await session.fetch(self._sql["sealed_total"], campaign.uid))[0]
        final_items = int(row["items"]) if row["sealed"] and not row["open"] else None
        return _Stream(campaign, allowance(campaign), budget["seen"], budget["taken"], final_items)

    async def _waiting(self, session: Session, stream: "_Stream") -> Sequence[Row]:
        """Return those who wait the longest, as many as one block can need."""
        least = least_block(stream.allowance, seen=stream.seen, taken=stream.taken, final_items=stream.final_items) or 1
        return await session.fetch(self._sql["waiting"], stream.campaign.uid, max(stream.campaign.file.sampler.block_items, least))

    def _plan(self, stream: "_Stream", waiting: Sequence[Row]) -> BlockPlan:
        sampler = stream.campaign.file.sampler
        oldest = waiting[0]["arrived_at"] if waiting else self._clock.now()
        return plan_block(
            waiting=len(waiting),
            due_by_time=self._clock.now() - oldest >= sampler.block_seconds,
            block_items=sampler.block_items,
            allowance=stream.allowance,
            seen=stream.seen,
            taken=stream.taken,
            final_items=stream.final_items,
        )

    async def _put(self, session: Session, uid: str, drawn: Drawn, parameters: Parameters) -> int:
        """Store the record of a block, its decisions and its members; return its number."""
        ids, manifest = list(drawn.population.ids), drawn.manifest()
        block = int((await session.fetch(self._sql["last_block"], uid))[0]["block"]) + 1
        record = json.dumps({"parameters": asdict(parameters), **json.loads(manifest)}, sort_keys=True)
        values = (block, _DRAW, parameters.rule, len(ids), drawn.selected, record, self._clock.now())
        await session.execute(self._sql["put_block"], uid, *values)
        await self._store.put_cells(session, Place(uid, _DRAW, block), manifest)
        await self._store.put_decisions(session, Place(uid, _DRAW, block), drawn, of=np.arange(len(ids)))
        await session.execute(self._sql["assign_block"], uid, block, ids)
        await session.execute(self._sql["withdraw_of_block"], uid, ids)
        return block

    async def _take(self, session: Session, stream: "_Stream", plan: BlockPlan, parameters: Parameters) -> None:
        """Count the block against the budget, on its row and on the one draw that all blocks belong to."""
        uid = stream.campaign.uid
        seen, taken = stream.seen + plan.items, stream.taken + plan.quota
        allowed = max(taken, stream.allowed(seen))
        await session.execute(self._sql["set_budget"], uid, allowed, taken, seen)
        values = (0, STREAMING, parameters.rule, allowed, seen, 0, parameters.to_json(), True, self._clock.now())
        await session.execute(self._sql["put_draw"], uid, _DRAW, *values)
        await session.execute(self._sql["grow_stream_draw"], uid, _DRAW, allowed, taken, seen)


@dataclass(frozen=True, slots=True)
class _Stream:
    """How far the stream of a campaign is."""

    campaign: Campaign
    allowance: Allowance
    seen: int  # items decided upon
    taken: int  # reviews
    final_items: int | None  # how many come in all, once every batch is sealed; None while more may come

    def allowed(self, seen: int) -> int:
        """Return the human budget: a count as it is, of a share what so many items allow."""
        return self.allowance.count if self.allowance.count is not None else self.allowance.due(seen, final_items=self.final_items)


def _population(rows: Sequence[Row]) -> Population:
    return Population(
        ids=[row["item_id"] for row in rows],
        epsilon_q16=np.array([row["epsilon_q16"] for row in rows], dtype=np.int64),
    )
