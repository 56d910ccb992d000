"""Records of a followed topic become items or dead letters, each exactly once, whatever comes again."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import CampaignPaused, RetryLater
from actlabel.intake.decoders import JsonDecoder
from actlabel.intake.register import Register
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaign_streams import SourceFields
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.database.port import Database
from actlabel.runtime.media import MediaStore
from actlabel.source.reading import SourceReader
from actlabel.source.take import TakeSource
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.dead_records import DeadRecord, DeadRecords
from actlabel.stream.memory import MemoryStream
from actlabel.stream.port import Partition, Record, TopicSettings

FILE = """
name: orders
task: {question: "Which?", labels: [good, bad]}
annotator: {endpoint: "http://127.0.0.1:1", model: m}
criticizer: {endpoint: "http://127.0.0.1:1", model: m}
sampler: {budget: 10%, mode: streaming}
spend_cap_usd: 1
partitions: 3
source: {topic: orders}
"""
ORDERS = Partition("orders", 3)


class Bed:
    """A campaign in memory, and takers for it."""

    def __init__(self, database: Database, campaign: Campaign, folder: Path) -> None:
        self.database, self.campaign, self.folder = database, campaign, folder
        self.stream = MemoryStream()
        self.campaigns = Campaigns(database, SystemClock())
        self.register = self._register()

    def _register(self) -> Register:
        return Register(
            database=self.database,
            producer=self.stream.producer(),
            media=MediaStore(str(self.folder / "storage")),
            clock=SystemClock(),
            campaign=self.campaign,
        )

    def taker(self, *, per_minute: int = 1000, **fields: object) -> TakeSource:
        chosen = SourceFields(**{"id": "order.id", "text": ("order.text",), "gold": "order.verdict", **fields})
        letters = DeadLetters(
            database=self.database, stream=self.stream, campaigns=self.campaigns, clock=SystemClock(), per_minute=per_minute
        )
        return TakeSource(
            campaign=self.campaign, reader=SourceReader(JsonDecoder(), chosen), register=self._register(), dead_letters=letters
        )

    async def items(self) -> list[Item]:
        return sorted(
            (Item.FromString(record.value) for record in self.stream.records(topics.topic(topics.ITEMS, self.campaign.uid))),
            key=lambda item: item.id,
        )

    async def dead(self) -> list[DeadRecord]:
        return list(await DeadRecords(database=self.database, stream=self.stream, clock=SystemClock()).list(self.campaign.uid))


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    database = await open_database("sqlite:///:memory:")
    campaign = await Campaigns(database, SystemClock()).apply(parse_campaign(FILE, where="orders.yaml"))
    bed = Bed(database, campaign, tmp_path)
    await bed.stream.create_topics({topics.topic(kind, campaign.uid): TopicSettings(partitions=3) for kind in topics.KINDS})
    yield bed
    await database.close()


def records(*values: object, start: int = 0, keys: Sequence[bytes] = ()) -> list[Record]:
    encoded = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    padded = [*keys, *[b""] * len(values)]
    return [Record(ORDERS, start + number, padded[number], value, (), 0) for number, value in enumerate(encoded)]


def order(item: str, text: str = "tea", **more: object) -> dict[str, object]:
    return {"order": {"id": item, "text": text, **more}, "shop": "east"}


async def test_items_carry_content_metadata_and_no_gold(bed: Bed) -> None:
    await bed.taker().take(records(order("a", verdict="good", size=3)))
    (item,) = await bed.items()
    assert (item.id, item.content.parts[0].name, item.content.parts[0].text) == ("a", "order.text", "tea")
    assert json.loads(item.content.metadata["order"]) == {"size": 3}, "what was taken out of it is not in its neighbour"
    assert item.content.metadata["shop"] == "east"
    assert b"good" not in item.SerializeToString()
    assert [row["gold"] for row in await bed.database.fetch("SELECT gold FROM item")] == ["good"]


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b"nope", "undecodable", "is not JSON"),
        ({"order": {"text": "x"}}, "unusable", "orders/3 offset 0: order.id: is missing"),
        ({"order": {"id": "a"}}, "unusable", "none of the content fields order.text"),
        ({"order": {"id": "a", "text": 3}}, "unusable", "order.text: is int, not text"),
        ({"order": {"id": "a\u0000", "text": "x"}}, "unusable", "control characters"),
        ({"order": {"id": "source:orders-3-0", "text": "x"}}, "unusable", "by which dead letters of a source are named"),
        (order("a", verdict="ugly"), "refused", "'ugly' is not a label of campaign orders"),
        (order("a", "\ud800"), "unusable", "unpaired surrogate"),
        (order("a", size="\ud800"), "unusable", "not valid Unicode"),
        (order("a", size="x" * 9_000_000), "unusable", "bytes of content and metadata"),
    ],
)
async def test_a_bad_record_is_put_aside_with_its_place_and_stops_nothing(bed: Bed, value: object, reason: str, detail: str) -> None:
    await bed.taker().take(records(value, order("fine")))
    (dead,) = await bed.dead()
    assert (dead.item_id, dead.stage, dead.reason) == ("source:orders-3-0", "source", reason)
    assert (dead.partition, dead.offset) == (ORDERS, 0)
    assert detail in dead.detail
    assert [item.id for item in await bed.items()] == ["fine"]


async def test_the_same_id_with_other_content_is_refused_within_a_batch_and_across(bed: Bed) -> None:
    await bed.taker().take(records(order("a"), order("a"), order("a", "coffee")))
    await bed.taker().take(records(order("a"), order("a", "milk"), start=3))
    assert [(dead.offset, dead.reason) for dead in await bed.dead()] == [(2, "refused"), (4, "refused")]
    assert [(item.id, item.content.parts[0].text) for item in await bed.items()] == [("a", "tea")]


async def test_tombstones_are_nothing(bed: Bed) -> None:
    await bed.taker().take(records(b"", order("a")))
    assert ([item.id for item in await bed.items()], await bed.dead()) == (["a"], [])


async def test_ids_from_the_key_or_the_place(bed: Bed) -> None:
    await bed.taker(id="@key").take(records(order("x"), order("y"), keys=[b"k-1", b"\xff"]))
    await bed.taker(id="@place").take(records(order("x", "other"), start=7))
    assert [item.id for item in await bed.items()] == ["k-1", "orders-3-7"]
    assert [(dead.offset, "not UTF-8" in dead.detail) for dead in await bed.dead()] == [(1, True)]


async def test_images_come_as_base64_and_nothing_is_fetched(bed: Bed) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    taker = bed.taker(text=(), image=("photo",), id="id")
    rows = [{"id": "a", "photo": pixel}, {"id": "b", "photo": f"data:image/png;base64,{pixel}"}]
    await taker.take(records(*rows, {"id": "c", "photo": "http://evil/x.png"}, {"id": "d", "photo": "/etc/passwd"}))
    assert [(item.id, item.content.parts[0].media.mime_type) for item in await bed.items()] == [("a", "image/png"), ("b", "image/png")]
    details = [dead.detail for dead in await bed.dead()]
    assert "nothing is fetched" in details[0]
    assert "not valid base64" in details[1]


async def test_a_batch_that_comes_again_changes_nothing(bed: Bed) -> None:
    batch = records(order("a"), b"nope", order("b"), order("a", "other"))
    await bed.taker().take(batch)
    before = await bed.dead()
    await bed.taker().take(batch)  # another process after a kill
    assert await bed.dead() == before
    assert [item.id for item in await bed.items()] == ["a", "b"]


async def test_a_dead_letter_is_a_decision(bed: Bed) -> None:
    """A record that was put aside is not registered when it is delivered again, even if it could be read by now."""
    batch = records({"id": "a", "text": "x"})
    await bed.taker().take(batch)
    await bed.taker(id="id", text=("text",)).take(batch)
    assert (len(await bed.dead()), await bed.items()) == (1, [])


async def test_a_crash_between_registration_and_produce_is_repaired(bed: Bed) -> None:
    batch = records(order("a"), b"nope")
    bed.stream.faults.fail("send", RetryLater("the log is out of reach"))
    with pytest.raises(RetryLater):
        await bed.taker().take(batch)
    assert (await bed.items(), await bed.dead()) == ([], [])
    bed.stream.faults.mend("send")
    await bed.taker().take(batch)
    assert ([item.id for item in await bed.items()], len(await bed.dead())) == (["a"], 1)


async def test_too_many_bad_records_pause_the_campaign_at_the_source(bed: Bed) -> None:
    with pytest.raises(CampaignPaused):
        await bed.taker(per_minute=3).take(records(*[b"nope"] * 10))
    assert len(await bed.dead()) == 4
    assert "dead letters in a minute" in (await bed.campaigns.pauses())[bed.campaign.uid, "source"]


async def test_two_processes_with_the_same_id_first_write_wins(bed: Bed) -> None:
    """The other process registers between our look-up and our insert: our content is refused, not produced under its row."""
    mine, theirs = bed.taker(), bed.taker()
    conflicts = mine._register.conflicts

    async def late(raws: Sequence[object], *, replace: bool) -> object:
        found = await conflicts(raws, replace=replace)
        await theirs.take(records(order("a", "theirs"), start=50))
        mine._register.conflicts = conflicts
        return found

    mine._register.conflicts = late
    with pytest.raises(RetryLater):
        await mine.take(records(order("a", "mine")))
    await mine.take(records(order("a", "mine")))
    assert [item.content.parts[0].text for item in await bed.items()] == ["theirs"]
    assert [(dead.offset, dead.reason) for dead in await bed.dead()] == [(0, "refused")]
