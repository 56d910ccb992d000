"""Streaming mode: what waits is cut into blocks, each decided and stored in one transaction before anything of it is emitted.

Those who wait are in the database, whichever replica read them, so a campaign has one block at a time and no replica holds a rest that
is too small for a review. Any replica closes a block that is full or due; the others find their items decided.
"""

import asyncio
from collections import defaultdict

from actlabel.core import topics
from actlabel.core.errors import ActlabelError, CampaignPaused, RetryLater, UserError
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import EVERY_STAGE, Campaign, Campaigns
from actlabel.runtime.database.port import Row
from actlabel.runtime.log import get_log
from actlabel.sampler.block_closer import BlockCloser
from actlabel.sampler.draw_store import DrawStore

log = get_log(__name__)

_LOOK_UP = 1_000
_Waiters = dict[str, list["asyncio.Future[Row]"]]


class Blocks:
    """Holds the items of this replica that wait for their decision, and closes blocks."""

    def __init__(self, *, store: DrawStore, campaigns: Campaigns, closer: BlockCloser, patience_s: float) -> None:
        """``patience_s``: an item that waits longer is given back to the loop, which asks again and shows why."""
        self._store = store
        self._campaigns = campaigns
        self._closer = closer
        self._patience_s = patience_s
        self._waiters: defaultdict[str, _Waiters] = defaultdict(dict)
        self.full = asyncio.Event()
        """Set when enough items of one campaign wait here for a block of its own."""
        self._closing = False

    async def wait(self, campaign: Campaign, item_id: str) -> Row:
        """Wait for the decision of an item that is stored as a candidate.

        Raises ``CampaignPaused`` when the campaign is paused meanwhile, ``RetryLater`` when no review is due for the item for long.
        """
        if self._closing:
            raise RetryLater("this process is stopping")
        future: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        waiters = self._waiters[campaign.uid]
        waiters.setdefault(item_id, []).append(future)
        if len(waiters) >= campaign.file.sampler.block_items:
            self.full.set()
        try:
            async with asyncio.timeout(self._patience_s):
                return await future
        except TimeoutError:
            raise RetryLater(f"{campaign.name}: {len(waiters)} items are too few for a review of theirs under the budget") from None
        finally:
            self._forget(campaign.uid, item_id, future)

    def _forget(self, uid: str, item_id: str, future: "asyncio.Future[Row]") -> None:
        futures = self._waiters.get(uid, {}).get(item_id, [])
        if future in futures:
            futures.remove(future)
        if not futures:
            self._waiters.get(uid, {}).pop(item_id, None)

    @property
    def waiting(self) -> int:
        """How many items wait here."""
        return sum(len(waiters) for waiters in self._waiters.values())

    @property
    def calls_waiting(self) -> int:
        """How many calls of the handler wait here: an item that was delivered twice waits twice."""
        return sum(len(futures) for waiters in self._waiters.values() for futures in waiters.values())

    async def step(self) -> None:
        """Close what is full or due in every campaign that has items here, and answer those that are decided."""
        self.full.clear()
        held = {uid for uid, waiters in self._waiters.items() if waiters}
        if not held:
            return
        paused = await self._campaigns.pauses()
        newest = {campaign.uid: campaign for campaign in await self._campaigns.list() if campaign.uid in held}
        for uid in held:
            reason = paused.get((uid, topics.SAMPLER)) or paused.get((uid, EVERY_STAGE))
            await self._step(uid, newest.get(uid), reason)

    async def _step(self, uid: str, campaign: Campaign | None, reason: str | None) -> None:
        try:
            if campaign is not None and reason is None:
                reason = await self._close_due(campaign)
            await self._answer(uid)
        except RetryLater as error:
            log.warning("Blocks wait for what is out of reach.", campaign_uid=uid, reason=str(error))
            return
        if campaign is None or reason is not None:
            self._give_up(uid, CampaignPaused(reason or "the campaign was deleted"))

    async def _close_due(self, campaign: Campaign) -> str | None:
        """Close what is full or due; return why the campaign cannot go on, if it cannot, once that is stored as its pause."""
        try:
            while (plan := await self._closer.close(campaign)).items:
                await self._answer(campaign.uid)
        except UserError as error:
            return await self._pause(campaign, str(error))
        return await self._pause(campaign, _used_up(campaign)) if plan.exhausted else None

    async def _pause(self, campaign: Campaign, reason: str) -> str:
        log.warning("A stream cannot be sampled and is paused.", campaign=campaign.name, reason=reason)
        metrics.PAUSES.labels(topics.SAMPLER, campaign.uid).inc()
        await self._campaigns.pause(campaign.uid, topics.SAMPLER, reason)
        return reason

    async def _answer(self, uid: str) -> None:
        ids = list(self._waiters[uid])
        for start in range(0, len(ids), _LOOK_UP):
            rows = await self._store.database.fetch(self._store.sql["block_decisions"], uid, ids[start : start + _LOOK_UP])
            for row in rows:
                for future in self._waiters[uid].pop(row["item_id"], []):
                    if not future.done():
                        future.set_result(row)

    def give_back(self) -> None:
        """Give every item that waits back to the loop, which is draining; whoever reads it next finds it stored."""
        self._closing = True
        for uid in list(self._waiters):
            self._give_up(uid, RetryLater("this process is stopping"))

    def _give_up(self, uid: str, error: ActlabelError) -> None:
        for futures in self._waiters.pop(uid, {}).values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)


def _used_up(campaign: Campaign) -> str:
    sampler = campaign.file.sampler
    spread = f" over the expected {sampler.expected_items} items" if sampler.expected_items else ""
    return f"sampler.budget: {sampler.budget}{spread} is used up, and items wait; raise it and apply"
