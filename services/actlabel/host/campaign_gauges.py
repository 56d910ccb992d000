"""The state of every campaign as gauges: what it has, what waits, what it cost, why it stands still. Read, never counted along.

So they are right after any restart, and there for stages that are scaled to zero. The review gateway looks, since somebody must and it is
always there; replicas say the same, a moment apart.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from actlabel.core import topics
from actlabel.core.errors import RetryLater
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Row, load_statements
from actlabel.runtime.lifecycle import until
from actlabel.runtime.log import get_log
from actlabel.stream.port import Stream

_log = get_log(__name__)

_LOOK_S: Final = 5.0
_REST: Final = 10.0
"""A look may take a tenth of the time, however many campaigns there are."""
_AT_ONCE: Final = 8
_COUNTED: Final = (topics.ITEMS, topics.ANNOTATED, topics.CRITIQUED, topics.REVIEW, topics.MERGED)
_REVIEW_STATES: Final = ("waiting", "leased", "answered", "undecidable", "withdrawn")

Values = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the topics of one campaign are."""

    uid: str
    records: Mapping[str, int]  # by kind of topic
    lag: Mapping[str, int]  # by stage


class CampaignGauges:
    """Looks at every campaign that is not deleted. One per process."""

    def __init__(self, *, database: Database, stream: Stream, campaigns: Campaigns, clock: Clock) -> None:
        """Keep the parts; nothing is read yet."""
        self._database = database
        self._stream = stream
        self._campaigns = campaigns
        self._clock = clock
        self._sql = load_statements("actlabel.host", "gauges.sql")
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def run(self, stop: asyncio.Event) -> None:
        """Look every few seconds until ``stop``. What cannot be read is what was read last."""
        wait_s = 0.0
        while not await until(stop, wait_s):
            begun_s = self._clock.monotonic()
            try:
                await self.look()
            except RetryLater as error:
                _log.warning("The state of the campaigns cannot be read.", error=str(error))
            wait_s = max(_LOOK_S, _REST * (self._clock.monotonic() - begun_s))

    async def look(self) -> None:
        """Read everything, then set everything at once. Raises ``RetryLater``."""
        campaigns = await self._campaigns.list()
        rows = {name: await self._read(name) for name in self._sql}
        positions = await asyncio.gather(*(self._position(campaign) for campaign in campaigns))
        _show_campaigns(campaigns, positions, rows)
        _show_trouble(rows, self._clock.now(), {campaign.uid for campaign in campaigns})
        _show_reviews(rows, self._clock.now(), [campaign.uid for campaign in campaigns])

    async def _read(self, name: str) -> Sequence[Row]:
        moment = (self._clock.now(),) if "$1" in self._sql[name] else ()
        return await self._database.fetch(self._sql[name], *moment)

    async def _position(self, campaign: Campaign) -> Position:
        """Ask the log. A topic that is not there yet has nothing."""
        async with self._turn:
            ends = {kind: await self._end(kind, campaign.uid) for kind in _COUNTED}
            groups = {stage: (await self._campaigns.group(campaign.uid, stage), kind) for stage, kind in topics.READS.items()}
            if campaign.file.mirror is not None:
                groups[topics.MIRROR] = topics.campaign_group(topics.MIRROR, campaign.uid), topics.MERGED
            lag = {}
            for stage, (group, kind) in groups.items():
                committed = await self._stream.committed(group, topics.topic(kind, campaign.uid))
                lag[stage] = max(ends[kind] - sum(offset or 0 for offset in committed.values()), 0)
        return Position(uid=campaign.uid, records=ends, lag=lag)

    async def _end(self, kind: str, uid: str) -> int:
        return sum((await self._stream.end_offsets(topics.topic(kind, uid))).values())


def _show_campaigns(campaigns: Sequence[Campaign], positions: Sequence[Position], rows: Mapping[str, Sequence[Row]]) -> None:
    known = {campaign.uid for campaign in campaigns}
    emission = {row["uid"]: float(row["records"]) for row in rows["emissions"]}
    metrics.replace(metrics.CAMPAIGN, {(campaign.uid, campaign.name): 1.0 for campaign in campaigns})
    metrics.replace(metrics.CAMPAIGN_RECORDS, {(at.uid, kind): records for at in positions for kind, records in at.records.items()})
    lag: Values = {(at.uid, stage): records for at in positions for stage, records in at.lag.items()}
    metrics.replace(metrics.CAMPAIGN_LAG, lag | {(uid, "emission"): emission.get(uid, 0.0) for uid in known})
    metrics.replace(metrics.SPEND_CAP, {(campaign.uid,): campaign.file.spend_cap_usd for campaign in campaigns})
    money: Values = {(row["uid"], state): float(row[state]) for row in rows["money"] for state in ("spent", "held", "lost")}
    nothing: Values = {(uid, state): 0.0 for uid in known for state in ("spent", "held", "lost")}
    metrics.replace(metrics.SPEND, nothing | _of(known, money))


def _show_trouble(rows: Mapping[str, Sequence[Row]], now_s: float, known: set[str]) -> None:
    pauses: Values = {(row["uid"], row["stage"]): max(now_s - row["created_at"], 0.0) for row in rows["pauses"]}
    metrics.replace(metrics.CAMPAIGN_PAUSE, _of(known, pauses))
    dead: Values = {(row["uid"], row["stage"], row["reason"]): row["items"] for row in rows["dead"]}
    metrics.replace(metrics.CAMPAIGN_DEAD, _of(known, dead))


def _show_reviews(rows: Mapping[str, Sequence[Row]], now_s: float, uids: Sequence[str]) -> None:
    """Of what a campaign has none, its number is 0: a gauge that is missing warns nobody."""
    known = set(uids)
    queue: Values = {(row["uid"], row["state"]): row["items"] for row in rows["reviews"]}
    metrics.replace(metrics.REVIEWS, {(uid, state): 0.0 for uid in uids for state in _REVIEW_STATES} | _of(known, queue))
    oldest: Values = {(row["uid"],): max(now_s - row["chosen_at"], 0.0) for row in rows["oldest_open"]}
    metrics.replace(metrics.REVIEW_OLDEST, {(uid,): 0.0 for uid in uids} | _of(known, oldest))
    at_work: Values = {(row["uid"],): row["reviewers"] for row in rows["at_work"]}
    metrics.replace(metrics.REVIEWERS, {(uid,): 0.0 for uid in uids} | _of(known, at_work))
    budget: Values = {(row["uid"], state): row[column] for row in rows["budgets"] for state, column in _BUDGET}
    metrics.replace(metrics.BUDGET, _of(known, budget))


_BUDGET: Final = (("allowed", "budget"), ("taken", "taken"))


def _of(known: set[str], values: Values) -> Values:
    """Leave out campaigns that are deleted."""
    return {labels: value for labels, value in values.items() if labels[0] in known}
