"""Exact mode: draws over sealed batches, one replica at a time, resumable after a crash at any step.

Steps of a draw, each idempotent: freeze the population (a row with its parameters), store the design (manifest and cells), store the
decisions, complete it together with the budget and the work of emission. Nothing is emitted before it is complete.
"""

import asyncio
from contextlib import AbstractAsyncContextManager

import numpy as np

from actlabel.core import topics
from actlabel.core.errors import Fatal, RetryLater, UserError
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import EVERY_STAGE, Campaign, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Session
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.log import get_log
from actlabel.sampler.domain import (
    EXACT,
    Drawn,
    DrawPlan,
    DrawRow,
    Parameters,
    budget_of,
    check_budget,
    check_mode,
    draw_batch,
    due_draws,
    latest_by_batch,
)
from actlabel.sampler.draw_store import DrawStore, Place
from actlabel.sampler.meters import count_decisions
from actlabel.sampler.parameters import CampaignKeys, allowance
from actlabel.stream.port import Stream

log = get_log(__name__)


class Draws:
    """Looks at all exact campaigns and makes the draws that are due."""

    def __init__(self, *, store: DrawStore, stream: Stream, campaigns: Campaigns, keys: CampaignKeys, clock: Clock) -> None:
        """Keep the parts; nothing is read yet."""
        self._store = store
        self._database = store.database
        self._stream = stream
        self._campaigns = campaigns
        self._keys = keys
        self._clock = clock

    async def step(self) -> None:
        """Look at every campaign once. One that cannot go on is paused with its reason, and the others go on."""
        paused = await self._campaigns.pauses()
        for campaign in await self._campaigns.list():
            held = {(campaign.uid, topics.SAMPLER), (campaign.uid, EVERY_STAGE)} & paused.keys()
            if campaign.file.sampler.mode == EXACT and not held:
                await self._step(campaign)

    async def _step(self, campaign: Campaign) -> None:
        try:
            await self._make_due(campaign)
        except UserError as error:
            log.warning("A campaign cannot be drawn and is paused.", campaign=campaign.name, reason=str(error))
            metrics.PAUSES.labels(topics.SAMPLER, campaign.uid).inc()
            await self._campaigns.pause(campaign.uid, topics.SAMPLER, str(error))
        except RetryLater as error:
            log.warning("A draw waits for what is out of reach.", campaign=campaign.name, reason=str(error))

    async def _make_due(self, campaign: Campaign) -> None:
        draws = await self._store.draws(self._database, campaign.uid)
        unfinished = next((row for row in draws if not row.complete), None)
        if unfinished is not None:
            await self._lead(campaign, unfinished)
            return
        seals = (await self._campaigns.status(campaign.uid)).seals
        for plan in due_draws(seals, draws, allowance(campaign), await self._keys.parameters(campaign)):
            items = seals[plan.batch]
            if plan.raises or await self._store.is_complete_batch(self._database, campaign.uid, plan.batch, items):
                await self._lead(campaign, plan, sealed_items=items)

    def _lock(self, uid: str) -> AbstractAsyncContextManager[bool]:
        return self._database.try_lock(f"draw:{uid}")

    async def _lead(self, campaign: Campaign, work: DrawRow | DrawPlan, *, sealed_items: int = 0) -> None:
        async with self._lock(campaign.uid) as leads:
            if not leads:
                return
            if isinstance(work, DrawPlan):
                frozen = await self._freeze(campaign, work, sealed_items)
            else:
                frozen = await self._unfinished(campaign.uid, work.draw)
            if frozen is not None:
                await self._make(campaign, frozen)

    async def _unfinished(self, uid: str, draw: int) -> DrawRow | None:
        rows = await self._store.draws(self._database, uid)
        return next((row for row in rows if row.draw == draw and not row.complete), None)

    async def _freeze(self, campaign: Campaign, plan: DrawPlan, sealed_items: int) -> DrawRow | None:
        """Fix population and parameters. None where another replica was faster, or an item turned up again meanwhile."""
        parameters = await self._keys.parameters(campaign)
        async with self._database.transaction() as session:
            check_mode(EXACT, (await self._store.lock_budget(session, campaign.uid, EXACT))["mode"])
            draws = await self._store.draws(session, campaign.uid)
            if not await self._still_due(session, campaign.uid, plan, draws, sealed_items):
                return None
            population = await self._store.count(session, "population_size", campaign.uid, plan.batch)
            row = _row(plan, draws, budget_of(plan, draws, allowance(campaign), population), population, parameters)
            await self._put(session, campaign.uid, row)
            await session.execute(self._store.sql["withdraw_of_batch"], campaign.uid, plan.batch)
        failpoint("draw.frozen")
        return row

    async def _still_due(self, session: Session, uid: str, plan: DrawPlan, draws: list[DrawRow], sealed_items: int) -> bool:
        latest = latest_by_batch(draws).get(plan.batch)
        if any(not row.complete for row in draws) or (latest.draw if latest else 0) != plan.raises:
            return False
        return bool(plan.raises) or await self._store.is_complete_batch(session, uid, plan.batch, sealed_items)

    async def _put(self, session: Session, uid: str, row: DrawRow) -> None:
        parameters = row.parameters
        values = (row.batch, EXACT, parameters.rule, row.budget, row.population, row.raises, parameters.to_json())
        await session.execute(self._store.sql["put_draw"], uid, row.draw, *values, False, self._clock.now())

    async def _make(self, campaign: Campaign, row: DrawRow) -> None:
        try:
            drawn = await self._design(campaign, row)
        except UserError:
            await self._database.execute(self._store.sql["drop_undesigned_draw"], campaign.uid, row.draw)
            raise
        if drawn is not None:
            await self._store_decisions(campaign.uid, row, drawn)
        if await self._complete(campaign, row, drawn.selected if drawn is not None else 0) and drawn is not None:
            count_decisions(campaign.uid, drawn.design)

    async def _design(self, campaign: Campaign, row: DrawRow) -> Drawn | None:
        """Decide in memory. None for a batch of which nothing came through."""
        check_budget(row, allowance(campaign))
        population = await self._store.population(campaign.uid, row.batch)
        if not population.ids:
            return None
        key = await self._key_of(campaign, row.parameters)
        keep = await self._store.kept_cells(campaign.uid, row.raises) if row.raises else None
        return await asyncio.to_thread(draw_batch, key, population, budget=row.budget, parameters=row.parameters, keep=keep)

    async def _key_of(self, campaign: Campaign, parameters: Parameters) -> bytes:
        """Return the key that the draw was frozen with, also where a newer campaign version has another seed."""
        frozen = await self._campaigns.get(campaign.uid, parameters.campaign_version)
        if (await self._keys.parameters(frozen)).key_sha256 != parameters.key_sha256:
            raise UserError(
                "ACTLABEL_SECRET_KEY_FILE: is not the key that an unfinished draw was begun with; give the sampler that key again"
            )
        return await self._keys.of(frozen)

    async def _store_decisions(self, uid: str, row: DrawRow, drawn: Drawn) -> None:
        """Store what was decided: cells first, then what is selected, then the rest."""
        manifest, place = drawn.manifest(), Place(uid, row.draw)
        if await self._store.put_manifest(uid, row.draw, manifest) != manifest:
            raise Fatal(
                f"draw {row.draw} of campaign {uid} was begun with other cells than its population gives now; do not touch its tables"
            )
        failpoint("draw.designed")
        await self._store.put_cells(self._database, place, manifest)
        failpoint("draw.celled")
        await self._store.put_decisions(self._database, place, drawn, of=np.flatnonzero(drawn.chosen))
        failpoint("draw.chosen")
        await self._store.put_unselected(uid, row.draw, row.batch, drawn.population.pages)
        failpoint("draw.decided")
        stored = (await self._database.fetch(self._store.sql["decision_counts"], uid, row.draw))[0]
        if (stored["items"], stored["selected"]) != (row.population, drawn.selected):
            raise Fatal(f"draw {row.draw} of campaign {uid} stored {stored['items']} decisions for {row.population} items")

    async def _complete(self, campaign: Campaign, row: DrawRow, selected: int) -> bool:
        """Say that every decision is stored, and what is to be emitted; False where another replica was faster."""
        ends = await self._stream.end_offsets(topics.topic(topics.CRITIQUED, campaign.uid))
        sql = self._store.sql
        async with self._database.transaction() as session:
            await self._store.lock_budget(session, campaign.uid, EXACT)
            if not await session.execute(sql["complete_draw"], campaign.uid, row.draw, selected):
                return False
            if row.raises:
                await session.execute(sql["drop_emission"], campaign.uid, row.raises)
            rows = [(campaign.uid, row.draw, partition.number, end) for partition, end in ends.items()] if row.population else []
            await session.execute_many(sql["put_emission"], rows)
            budget, taken, seen = _totals(await self._store.draws(session, campaign.uid), campaign)
            await session.execute(sql["set_budget"], campaign.uid, budget, taken, seen)
            failpoint("draw.completing")
        failpoint("draw.completed")
        metrics.DRAWS.labels(campaign.uid).inc()
        log.info("A draw is complete.", campaign=campaign.name, draw=row.draw, items=row.population, selected=selected)
        return True


def _row(plan: DrawPlan, draws: list[DrawRow], budget: int, population: int, parameters: Parameters) -> DrawRow:
    return DrawRow(
        draw=max((row.draw for row in draws), default=0) + 1,
        batch=plan.batch,
        mode=EXACT,
        budget=budget,
        selected=0,
        population=population,
        raises=plan.raises,
        parameters=parameters,
        complete=False,
    )


def _totals(draws: list[DrawRow], campaign: Campaign) -> tuple[int, int, int]:
    """Return budget, taken and seen over the latest complete draw of each batch."""
    latest = latest_by_batch(draws).values()
    count = allowance(campaign).count
    taken = sum(row.selected for row in latest)
    return max(count if count is not None else sum(row.budget for row in latest), taken), taken, sum(row.population for row in latest)
