"""Who works on what: items are lent for a while, each loan under a token of its own."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from actlabel.review_gateway.domain import SETTLED, Caller, Entry, State, check_lease
from actlabel.review_gateway.entries import entry_of, read_entry, statements
from actlabel.review_gateway.refusals import Paused
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Session
from actlabel.runtime.failpoints import failpoint

MOST_HELD: Final = 50
"""Items that one reviewer can hold at a time, so that nobody empties the queue for the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An item lent to somebody."""

    entry: Entry
    token: str
    seconds: float  # that it lasts from now


class Leases:
    """Claims and extensions."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        """Keep both; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._sql = statements()

    async def claim(
        self, campaign: Campaign, caller: Caller, *, count: int, resume: bool = False, skipped: bool = False, paused: str | None = None
    ) -> Sequence[Lease]:
        """Lend up to ``count`` items that nobody else holds, in hashed order.

        ``resume``: first give back what the caller holds already, under new tokens (a page that was loaded again has forgotten the old).
        ``skipped``: lend what the caller skipped before. Raises ``Paused``.
        """
        if paused is not None:
            raise Paused(f"The campaign is paused: {paused}")
        async with self._database.transaction() as session:
            await session.execute(self._sql["release_expired"], campaign.uid, self._clock.now())
            held = await session.fetch(self._sql["held"], campaign.uid, caller.name) if resume else ()
            free = await self._free(session, campaign, caller, count - len(held), skipped=skipped)
            rows = (*held[:count], *free)
            lent = [await self.lend(session, campaign, caller, entry_of(row)) for row in rows]
            failpoint("review.lending")
        failpoint("review.lent")
        return lent

    async def _free(self, session: Session, campaign: Campaign, caller: Caller, count: int, *, skipped: bool) -> Sequence[object]:
        held = (await session.fetch(self._sql["count_held"], campaign.uid, caller.name))[0]["items"]
        room = min(count, MOST_HELD - held)
        if room <= 0:
            return ()
        return await session.fetch(self._sql["claimable_skipped" if skipped else "claimable"], campaign.uid, caller.name, room)

    async def lend(self, session: Session, campaign: Campaign, caller: Caller, entry: Entry) -> Lease:
        """Write a lease under a new token, which ends every older one. An answered item stays answered while it is revised."""
        now, seconds = self._clock.now(), campaign.file.review.lease_seconds
        lent = replace(
            entry,
            state=entry.state if entry.state in SETTLED else State.LEASED,
            lease_token=secrets.token_urlsafe(16),
            leased_by=caller.name,
            leased_at=now,
            leased_until=now + seconds,
        )
        columns = (lent.state.value, lent.lease_token, lent.leased_by, lent.leased_at, lent.leased_until)
        await session.execute(self._sql["lease"], entry.uid, entry.item_id, *columns)
        return Lease(entry=lent, token=str(lent.lease_token), seconds=seconds)

    async def extend(self, campaign: Campaign, caller: Caller, item_id: str, token: str) -> float:
        """Begin the lease anew and return its seconds. Raises ``NoSuchItem``, ``LeaseLost``."""
        seconds = campaign.file.review.lease_seconds
        async with self._database.transaction() as session:
            entry = await read_entry(session, self._sql, campaign.uid, item_id, lock=True)
            check_lease(entry, caller, token)
            if entry.state is State.WAITING:  # it had run out and nobody took it
                await self.lend_again(session, entry)
            await session.execute(self._sql["extend"], campaign.uid, item_id, self._clock.now() + seconds)
        return seconds

    async def lend_again(self, session: Session, entry: Entry) -> None:
        """Revive a lease that ran out, under its old token."""
        columns = (State.LEASED.value, entry.lease_token, entry.leased_by, entry.leased_at, entry.leased_until)
        await session.execute(self._sql["lease"], entry.uid, entry.item_id, *columns)
