"""Two processes register the same id at the same moment, on PostgreSQL: one is first, and nothing of the other is produced."""

import asyncio
from pathlib import Path

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import RetryLater, UserError
from actlabel.intake.raw_record import RawPart, RawRecord
from actlabel.intake.register import Register
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaigns
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.media import MediaStore
from actlabel.stream.memory import MemoryStream
from actlabel.stream.port import TopicSettings
from tests.unit.runtime.test_campaign_file import MINIMAL

ROUNDS, ITEMS = 20, 50


def records(who: str, number: int) -> list[RawRecord]:
    """The same ids, each with the content of one of the two; in opposite orders, as two partitions would have them."""
    ids = [f"{number}-{item}" for item in range(ITEMS)]
    made = [RawRecord(id=each, parts=(RawPart(name="text", text=who),), metadata={}, gold=None, where=who) for each in ids]
    return made if who == "left" else made[::-1]


async def test_first_write_wins_and_the_other_is_refused(postgres_address: str, tmp_path: Path) -> None:
    databases = [await open_database(postgres_address) for _ in range(2)]
    stream = MemoryStream()
    campaign = await Campaigns(databases[0], SystemClock()).apply(parse_campaign(MINIMAL, where="m"))
    name = topics.topic(topics.ITEMS, campaign.uid)
    await stream.create_topics({name: TopicSettings(partitions=1)})
    left, right = (
        Register(database=each, producer=stream.producer(), media=MediaStore(str(tmp_path)), clock=SystemClock(), campaign=campaign)
        for each in databases
    )
    outcomes = []
    for number in range(ROUNDS):
        outcomes += await asyncio.gather(
            left.take(records("left", number), replace=False),
            right.take(records("right", number), replace=False),
            return_exceptions=True,
        )
    assert {type(outcome) for outcome in outcomes} <= {type(None), UserError, RetryLater}, outcomes
    produced = [Item.FromString(record.value) for record in stream.records(name)]
    by_id: dict[str, set[bytes]] = {}
    for item in produced:
        by_id.setdefault(item.id, set()).add(item.content.sha256)
    stored = {row["item_id"]: bytes(row["content_sha256"]) for row in await databases[0].fetch("SELECT item_id, content_sha256 FROM item")}
    assert by_id == {item: {content} for item, content in stored.items()}, "what is produced is what is registered"
    assert len(stored) == ROUNDS * ITEMS
    for database in databases:
        await database.close()
