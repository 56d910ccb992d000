"""The audit from end to end over a campaign that moves between any two of its looks, and over what was planted in one at rest."""

import pytest

from actlabel.audit import rows
from actlabel.audit.freeze import freeze_start
from actlabel.audit.handle import run_audit
from actlabel.audit.ledger import Ledger
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import schema
from actlabel.runtime.database.sqlite import SqliteDatabase
from tests.unit.audit.restless import DRAW, Restless
from tests.unit.stream.bed import Bed

ITEMS = 150


async def restless(seed: int) -> Restless:
    database = SqliteDatabase(":memory:")
    await database.open(schema())
    bed = Bed(database, SystemClock())
    made = Restless(bed, await bed.campaign(partitions=1), items=ITEMS, seed=seed)
    await made.execute(DRAW)
    return made


async def audited(made: Restless) -> Ledger:
    return await run_audit(made.host(), made.campaign.uid, work=None, progress=lambda *_: None)


@pytest.mark.parametrize("seed", range(12))
async def test_no_look_at_a_moving_campaign_accuses_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PAGE_ROWS", 3)  # many pages: it moves between them too
    made = await restless(seed)
    looks = [await audited(made) for _ in range(6)]
    assert [look.violations for look in looks] == [[]] * len(looks)
    assert looks[-1].registered > looks[0].registered
    for look in looks:
        assert look.registered == look.merged + look.in_review + look.dead + sum(look.in_flight.values())
    await made.bed.database.close()


async def test_one_record_taken_away_is_found_by_its_id() -> None:
    made = await restless(1)
    while not (merged := made.bed.stream.records(topics.topic(topics.MERGED, made.campaign.uid))):
        await made.steps()
    partition = merged[0].partition
    made.bed.stream._logs[partition][merged[0].offset] = None
    looks = await audited(made)
    assert [(violation.fault, violation.first) for violation in looks.violations] == [("lost", (merged[0].key.decode(),))]
    await made.bed.database.close()


async def test_a_stranger_on_merged_is_named_from_its_record() -> None:
    made = await restless(2)
    topic = topics.topic(topics.MERGED, made.campaign.uid)
    await made.bed.stream.producer().send(topic, key=b"str\xffanger", value=Item(id="x").SerializeToString())
    looks = await audited(made)
    assert [(violation.fault, violation.first) for violation in looks.violations] == [("unregistered", ("str�anger",))]
    await made.bed.database.close()


async def test_emissions_that_are_open_are_looked_at() -> None:
    made = await restless(3)
    put = "INSERT INTO emission (uid, draw, partition, next_offset, end_offset) VALUES ($1, $2, $3, $4, $5)"
    for row in ((1, 0, 5, 9), (1, 1, 7, 7), (2, 0, 0, 4)):
        await made.execute(put, *row)
    start = await freeze_start(made.host(), made.campaign.uid)
    assert {number: sorted(gaps) for number, gaps in start.moment.emitting.items()} == {0: [(0, 4), (5, 9)]}
    assert start.draws == {1}
    await made.bed.database.close()
