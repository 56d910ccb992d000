"""The state of the campaigns as the database and the log have it, on both databases; campaigns that are deleted leave nothing."""

from collections.abc import Collection, Mapping, Sequence

import pytest
from prometheus_client import REGISTRY

from actlabel.core import topics
from actlabel.host.campaign_gauges import CampaignGauges
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign, Campaigns, Dedication
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.port import Database
from actlabel.stream.memory import MemoryStream
from actlabel.stream.port import Partition, TopicSettings
from tests.unit.runtime.test_campaign_file import MINIMAL

_REVIEW = """
INSERT INTO review (uid, item_id, content_revision, draw, item, queue_order, state, leased_by, leased_until, revision, floor_revision,
                    started_revision, published_revision, published_draw)
VALUES ($1, $2, 1, $3, $4, 0, $5, $6, $7, 0, 0, 0, 0, 0)
"""


class Keeps:
    """A member that takes its partitions as they stand."""

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        return partitions

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        return {}


class Bench:
    """Campaigns, and rows as the services write them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = FakeClock()
        self.stream = MemoryStream()
        self.campaigns = Campaigns(database, self.clock)
        self.gauges = CampaignGauges(database=database, stream=self.stream, campaigns=self.campaigns, clock=self.clock)

    async def apply(self, name: str) -> Campaign:
        made = await self.campaigns.apply(parse_campaign(MINIMAL.replace("stance", name, 1), where=name))
        await self.stream.create_topics({topics.topic(kind, made.uid): TopicSettings(partitions=2) for kind in topics.KINDS})
        return made

    async def send(self, campaign: Campaign, kind: str, records: int) -> None:
        for number in range(records):
            await self.stream.producer().send(topics.topic(kind, campaign.uid), key=f"{number}".encode(), value=b"")

    async def review(self, uid: str, item_id: str, state: str, *, draw: int = 1, reviewer: str | None = None, until_s: float = 0.0) -> None:
        await self.database.execute(_REVIEW, uid, item_id, draw, b"", state, reviewer, until_s or None)

    async def draw(self, uid: str, mode: str, made_at: float) -> None:
        row = (uid, 1, mode, "uniform", 9, True, made_at)
        await self.database.execute(
            "INSERT INTO draw (uid, draw, batch, mode, rule, budget, selected, calibration_version, population, raises, parameters,"
            " manifest, complete, created_at) VALUES ($1, $2, 1, $3, $4, $5, 0, 0, 0, 0, '{}', '', $6, $7)",
            *row,
        )

    async def block(self, uid: str, block: int, items: Sequence[str], made_at: float) -> None:
        sql = "INSERT INTO block (uid, block, draw, rule, items, quota, manifest, created_at) VALUES ($1, $2, 1, 'uniform', 1, 1, '', $3)"
        await self.database.execute(sql, uid, block, made_at)
        decision = (
            "INSERT INTO decision (uid, draw, item_id, block, cell, cell_selected, cell_size, epsilon_q16, selected)"
            " VALUES ($1, 1, $2, $3, 0, 1, 1, 0, $4)"
        )
        for item_id in items:
            await self.database.execute(decision, uid, item_id, block, True)


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def said(metric: str, uid: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"campaign": uid, **labels})


def series_of(uid: str) -> list[str]:
    return [sample.name for family in REGISTRY.collect() for sample in family.samples if sample.labels.get("campaign") == uid]


async def test_topics_and_what_no_group_has_committed(bench: Bench):
    campaign = await bench.apply("progress")
    await bench.send(campaign, topics.ITEMS, 7)
    await bench.send(campaign, topics.MERGED, 3)
    topic = topics.topic(topics.ITEMS, campaign.uid)
    await bench.stream.commit_start(topics.group(topics.ANNOTATOR), topic)
    await bench.gauges.look()
    assert said("actlabel_campaign_info", campaign.uid, name="progress") == 1
    assert [said("actlabel_campaign_records", campaign.uid, topic=kind) for kind in ("items", "annotated", "merged")] == [7, 0, 3]
    assert said("actlabel_campaign_lag_records", campaign.uid, stage="annotator") == 7, "nobody runs, and it shows"
    assert said("actlabel_campaign_lag_records", campaign.uid, stage="emission") == 0


async def test_a_campaign_with_a_stage_of_its_own_lags_behind_that_stage(bench: Bench):
    campaign = await bench.apply("alone")
    await bench.send(campaign, topics.ITEMS, 7)
    topic, own = topics.topic(topics.ITEMS, campaign.uid), topics.campaign_group(topics.ANNOTATOR, campaign.uid)
    await bench.campaigns.dedicate(campaign.uid, topics.ANNOTATOR, Dedication.OWN)
    consumer = await bench.stream.consumer(own, topic_prefix=topic, rebalance=Keeps())
    await consumer.poll(consumer.assignment(), max_records=7, timeout_s=0.0)
    await consumer.commit(await bench.stream.end_offsets(topic))
    await bench.gauges.look()
    assert said("actlabel_campaign_lag_records", campaign.uid, stage="annotator") == 0


async def test_money_pauses_and_the_dead(bench: Bench):
    campaign = await bench.apply("trouble")
    uid, now = campaign.uid, bench.clock.now()
    for owner, spent, reserved, expires in (("a", 1.0, 0.5, now + 9), ("b", 2.0, 0.25, now - 9), ("c", 4.0, 0.0, now - 9)):
        sql = "INSERT INTO spend (uid, owner, spent_usd, reserved_usd, expires_at) VALUES ($1, $2, $3, $4, $5)"
        await bench.database.execute(sql, uid, owner, spent, reserved, expires)
    await bench.campaigns.pause(uid, "annotator", "for the test")
    dead = (
        "INSERT INTO dead (uid, item_id, stage, reason, detail, topic, partition, record_offset, created_at, replayed_at)"
        " VALUES ($1, $2, 'annotator', 'deadline', '', 't', 0, $3, 0, $4)"
    )
    for number, replayed in enumerate((None, None, None, now)):
        await bench.database.execute(dead, uid, f"item-{number}", number, replayed)
    await bench.database.execute("INSERT INTO dead_purge (uid, item_id, purged_at) VALUES ($1, 'item-0', 0)", uid)
    bench.clock.advance(5)
    await bench.gauges.look()
    assert [said("actlabel_campaign_spend_usd", uid, state=state) for state in ("spent", "held", "lost")] == [7.0, 0.5, 0.25]
    assert said("actlabel_campaign_spend_cap_usd", uid) == campaign.file.spend_cap_usd
    assert said("actlabel_campaign_pause_seconds", uid, stage="annotator") == 5
    assert said("actlabel_campaign_dead_items", uid, stage="annotator", reason="deadline") == 2
    await bench.campaigns.resume(uid)
    await bench.gauges.look()
    assert said("actlabel_campaign_pause_seconds", uid, stage="annotator") is None


async def test_the_age_of_a_review_counts_from_its_draw_or_its_block(bench: Bench):
    exact, stream = (await bench.apply("exact")).uid, (await bench.apply("streaming")).uid
    now = bench.clock.now()
    await bench.draw(exact, "exact", now - 100)
    await bench.review(exact, "a", "waiting")
    await bench.review(exact, "b", "leased", reviewer="ann", until_s=now + 60)
    await bench.review(exact, "c", "leased", reviewer="ann", until_s=now + 60)
    await bench.review(exact, "d", "leased", reviewer="bob", until_s=now - 1)
    await bench.draw(stream, "streaming", now - 9000)
    await bench.block(stream, 1, ["old"], now - 500)
    await bench.block(stream, 2, ["new", "newer"], now - 30)
    await bench.review(stream, "old", "answered")
    await bench.review(stream, "new", "waiting")
    await bench.gauges.look()
    assert said("actlabel_review_oldest_open_seconds", exact) == 100
    assert said("actlabel_review_oldest_open_seconds", stream) == 30, "the older one has its answer"
    assert [said("actlabel_review_queue_items", exact, state=state) for state in ("waiting", "leased", "answered")] == [1, 3, 0]
    assert (said("actlabel_reviewers_at_work", exact), said("actlabel_reviewers_at_work", stream)) == (1, 0)


async def test_a_deleted_campaign_leaves_no_series(bench: Bench):
    campaign, other = await bench.apply("gone"), await bench.apply("stays")
    await bench.review(campaign.uid, "a", "waiting")
    await bench.gauges.look()
    assert series_of(campaign.uid)
    await bench.campaigns.delete(campaign.uid)
    await bench.gauges.look()
    assert not series_of(campaign.uid)
    assert series_of(other.uid)
