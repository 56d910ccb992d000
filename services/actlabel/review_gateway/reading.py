"""What reviewers see besides the next item: one item again, their history, progress, flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actlabel.review_gateway.domain import Answer, Caller, Entry, State, check_access
from actlabel.review_gateway.entries import read_answer, read_entry, statements
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import Database, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a campaign's reviews are."""

    items: Mapping[State, int]
    answered_by_me: int
    skipped_by_me_waiting: int  # nobody else has settled them yet


class Reading:
    """Reads; changes nothing."""

    def __init__(self, *, database: Database) -> None:
        """Keep it; nothing is read yet."""
        self._database = database
        self._sql = statements()

    async def item(self, campaign: Campaign, caller: Caller, item_id: str) -> tuple[Entry, Answer | None]:
        """Return an item that the caller holds or answered, or any for a lead. Raises ``NoSuchItem``."""
        entry = await read_entry(self._database, self._sql, campaign.uid, item_id)
        answerers = await self._database.fetch(self._sql["answerers"], campaign.uid, item_id)
        check_access(entry, caller, frozenset(row["reviewer"] for row in answerers))
        return entry, await read_answer(self._database, self._sql, entry)

    async def history(self, campaign: Campaign, reviewer: str, *, before: float, limit: int) -> Sequence[Row]:
        """Return somebody's answers that still count, newest first, those older than ``before`` (seconds since 1970)."""
        return await self._database.fetch(self._sql["history"], campaign.uid, reviewer, before, limit)

    async def progress(self, campaign: Campaign, caller: Caller) -> Progress:
        """Count."""
        rows = await self._database.fetch(self._sql["counts"], campaign.uid)
        own = (await self._database.fetch(self._sql["own_counts"], campaign.uid, caller.name))[0]
        found = {State(row["state"]): row["items"] for row in rows}
        return Progress(
            items={state: found.get(state, 0) for state in State},
            answered_by_me=own["answered"],
            skipped_by_me_waiting=own["skipped_waiting"],
        )

    async def flags(self, campaign: Campaign, *, limit: int) -> Sequence[Row]:
        """Return what people want to talk about, newest first."""
        return await self._database.fetch(self._sql["flags"], campaign.uid, limit)
