"""How far a campaign is: what `watch` shows and what waiting for rest asks."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from actlabel.chat.settlement import Money, read_money
from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.runtime.campaigns import CampaignStatus
from actlabel.runtime.database.port import load_statements
from actlabel.stream.port import Partition

_OPEN_REVIEWS = ("waiting", "leased")
_OLDEST_PARTITIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress:
    """One stage of one campaign."""

    name: str
    done: int  # records read and committed
    lag: int  # records not yet committed
    dead: int
    cost_usd: float

    @property
    def total(self) -> int:
        """Records that have reached this stage."""
        return self.done + self.lag


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignProgress:
    """One look at a campaign. Counts of records are of the log and can exceed items where something was redelivered."""

    status: CampaignStatus
    registered: int
    stages: tuple[StageProgress, ...]
    draws: int  # complete ones
    drawn_batches: frozenset[int]
    late: int  # items that came after the draw of their batch and wait for another seal
    emitted: int  # offsets of `critiqued` whose decisions are out
    to_emit: int
    reviews: Mapping[str, int]  # by state
    outbox: int  # answers on their way to `merged`
    budget: int | None  # reviews allowed, once a draw has been made
    merged_records: int
    exact: bool  # the sampler waits for a seal
    money: Money
    cap_usd: float

    @property
    def dead(self) -> int:
        """Items put aside at any stage."""
        return sum(stage.dead for stage in self.stages)

    @property
    def open_reviews(self) -> int:
        """Items that wait for a reviewer."""
        return sum(self.reviews.get(state, 0) for state in _OPEN_REVIEWS)

    @property
    def cost_usd(self) -> float:
        """Money spent on model calls."""
        return sum(stage.cost_usd for stage in self.stages)

    def moving(self) -> bool:
        """Say whether anything is in flight; items that wait for a reviewer, a seal, or a resumed pause are at rest."""
        undrawn = set(self.status.seals) - self.drawn_batches if self.exact else set()
        return any(stage.lag for stage in self.stages) or self.emitted < self.to_emit or bool(undrawn)


async def read_progress(host: Host, uid: str) -> CampaignProgress:
    """Look at database and stream once. The parts are read one after another, so they can be a moment apart."""
    sql = load_statements("actlabel.host", "progress.sql")
    database = host.database
    dead = {row["stage"]: row["items"] for row in await database.fetch(sql["dead"], uid)}
    costs = {row["stage"]: float(row["cost_usd"] or 0.0) for row in await database.fetch(sql["results"], uid)}
    draws = await database.fetch(sql["draws"], uid)
    emission = (await database.fetch(sql["emission"], uid))[0]
    budget = await database.fetch(sql["budget"], uid)
    status = await host.campaigns.status(uid)
    campaign = await host.campaigns.get(uid, status.version)
    return CampaignProgress(
        status=status,
        registered=(await database.fetch(sql["registered"], uid))[0]["items"],
        stages=tuple([await _stage(host, uid, stage, dead.get(stage, 0), costs.get(stage, 0.0)) for stage in topics.READS]),
        draws=sum(1 for draw in draws if draw["complete"]),
        drawn_batches=frozenset(draw["batch"] for draw in draws if draw["complete"]),
        late=(await database.fetch(sql["late"], uid))[0]["items"],
        emitted=int(emission["emitted"]),
        to_emit=int(emission["total"]),
        reviews={row["state"]: row["items"] for row in await database.fetch(sql["reviews"], uid)},
        outbox=(await database.fetch(sql["outbox"], uid))[0]["items"],
        budget=budget[0]["budget"] if budget else None,
        merged_records=sum((await host.stream.end_offsets(topics.topic(topics.MERGED, uid))).values()),
        exact=campaign.file.sampler.mode == "exact",
        money=await read_money(database, host.clock, uid),
        cap_usd=campaign.file.spend_cap_usd,
    )


async def _stage(host: Host, uid: str, stage: str, dead: int, cost_usd: float) -> StageProgress:
    topic = topics.topic(topics.READS[stage], uid)
    ends = await host.stream.end_offsets(topic)
    committed = await host.stream.committed(await host.campaigns.group(uid, stage), topic)
    done = sum(offset or 0 for offset in committed.values())
    return StageProgress(name=stage, done=done, lag=sum(ends.values()) - done, dead=dead, cost_usd=cost_usd)


async def read_oldest(host: Host, uid: str) -> Mapping[str, float]:
    """Return, per stage that has something waiting, the age in seconds of the oldest record that it has not committed.

    A record is as old as its time on that topic. It costs one short read per partition with a lag, of a stage's eight longest at most.
    """
    ages = await asyncio.gather(*(_oldest(host, uid, stage) for stage in topics.READS))
    return {stage: age for stage, age in zip(topics.READS, ages, strict=True) if age is not None}


async def _oldest(host: Host, uid: str, stage: str) -> float | None:
    topic = topics.topic(topics.READS[stage], uid)
    committed = await host.stream.committed(await host.campaigns.group(uid, stage), topic)
    ends = await host.stream.end_offsets(topic)
    lags = {partition: end - (committed.get(partition) or 0) for partition, end in ends.items()}
    longest = sorted((partition for partition, lag in lags.items() if lag > 0), key=lags.__getitem__, reverse=True)[:_OLDEST_PARTITIONS]
    moments = await asyncio.gather(*(_moment_ms(host, partition, committed.get(partition) or 0) for partition in longest))
    known = [moment for moment in moments if moment is not None]
    return max(0.0, host.clock.now() - min(known) / 1000) if known else None


async def _moment_ms(host: Host, partition: Partition, offset: int) -> int | None:
    """Return when the log took a record; None where that offset holds none."""
    async for records in host.stream.scan(partition, start=offset, end=offset + 1):
        return records[0].timestamp_ms if records else None
    return None
