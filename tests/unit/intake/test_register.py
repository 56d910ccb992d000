"""Registration: the same again is a no-op, other content is refused with its line, a crash in between is repaired by the next run."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import RetryLater, UserError
from actlabel.intake.check import Findings
from actlabel.intake.fields import Fields
from actlabel.intake.ingest import ingest
from actlabel.intake.register import Register
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.database.port import Database
from actlabel.runtime.media import INLINE_LIMIT_BYTES, MediaStore
from actlabel.stream.memory import MemoryStream
from actlabel.stream.port import Producer, TopicSettings

FILE = """
name: birds
task: {question: "Which?", labels: [bird, plane]}
annotator: {endpoint: "http://127.0.0.1:1", model: m}
criticizer: {endpoint: "http://127.0.0.1:1", model: m}
sampler: {budget: 10}
spend_cap_usd: 1
partitions: 3
"""


class Bed:
    """A campaign in memory and the ways to look at it."""

    def __init__(self, database: Database, stream: MemoryStream, campaign: Campaign, folder: Path) -> None:
        self.database, self.stream, self.campaign, self.folder = database, stream, campaign, folder
        self.campaigns = Campaigns(database, SystemClock())
        self.producer: Producer = stream.producer()

    def file(self, *rows: dict[str, object], name: str = "data.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    async def ingest(self, path: Path, **options: object) -> tuple[Register, Findings]:
        register = Register(
            database=self.database,
            producer=self.producer,
            media=MediaStore(str(self.folder / "storage")),
            clock=SystemClock(),
            campaign=self.campaign,
        )
        findings = await ingest(register, path, Fields(gold="gold"), progress=lambda *_: None, **options)
        return register, findings

    async def items(self) -> list[Item]:
        name = topics.topic(topics.ITEMS, self.campaign.uid)
        found = []
        for partition, end in (await self.stream.end_offsets(name)).items():
            async for batch in self.stream.scan(partition, start=0, end=end):
                found += [Item.FromString(record.value) for record in batch]
        return sorted(found, key=lambda item: item.id)

    async def rows(self) -> int:
        return (await self.database.fetch("SELECT COUNT(*) AS n FROM item"))[0]["n"]


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    database = await open_database("sqlite:///:memory:")
    stream = MemoryStream()
    campaign = await Campaigns(database, SystemClock()).apply(parse_campaign(FILE, where="birds.yaml"))
    await stream.create_topics({topics.topic(topics.ITEMS, campaign.uid): TopicSettings(partitions=3)})
    yield Bed(database, stream, campaign, tmp_path)
    await database.close()


async def test_items_carry_content_and_no_gold(bed: Bed) -> None:
    register, _ = await bed.ingest(bed.file({"id": "a", "text": "tweet", "gold": "bird", "source": "x"}, {"id": "b", "text": "roar"}))
    assert register.counts.new == 2
    first, second = await bed.items()
    assert (first.id, first.content.parts[0].text, dict(first.content.metadata)) == ("a", "tweet", {"source": "x"})
    assert (first.campaign.uid, first.campaign.version, first.batch, first.revision) == (bed.campaign.uid, 1, 1, 1)
    assert b"bird" not in first.SerializeToString(), "a gold label reaches no record"
    gold = await bed.database.fetch("SELECT gold FROM item ORDER BY item_id")
    assert [row["gold"] for row in gold] == ["bird", None]
    assert second.content.sha256 != first.content.sha256


async def test_the_same_again_is_a_no_op(bed: Bed) -> None:
    path = bed.file({"id": "a", "text": "x"}, {"id": "a", "text": "x"}, {"id": "b", "text": "y"})
    _, findings = await bed.ingest(path)
    register, _ = await bed.ingest(path)
    assert (findings.duplicates, register.counts.new, register.counts.known) == (1, 0, 2)
    assert len(await bed.items()) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"id": "b", "text": "new"}, {"id": "a", "text": "other"}],
            "data.jsonl:2: id 'a' is registered with other content; use --replace",
        ),
        ([{"id": "c", "text": "1"}, {"id": "c", "text": "2"}], "data.jsonl:2: id 'c' came with other content at "),
        ([{"id": "b", "text": "new", "gold": "cat"}], "data.jsonl:1: 'cat' is not a label of campaign birds"),
        ([{"id": "b", "text": "new"}, {"id": "d"}], "data.jsonl:2: has none of the content fields"),
    ],
)
async def test_one_bad_record_refuses_the_file_and_writes_nothing(bed: Bed, rows: list[dict[str, object]], message: str) -> None:
    await bed.ingest(bed.file({"id": "a", "text": "x"}))
    with pytest.raises(UserError) as caught:
        await bed.ingest(bed.file(*rows))
    assert message in str(caught.value)
    assert "nothing was ingested" in str(caught.value)
    assert (await bed.rows(), len(await bed.items())) == (1, 1)


async def test_with_rejects_the_good_records_go_in(bed: Bed) -> None:
    await bed.ingest(bed.file({"id": "a", "text": "x"}))
    rejects = bed.folder / "rejects.jsonl"
    rows = [{"id": "a", "text": "other"}, {"id": "b", "text": "good"}, {"id": "", "text": "bad"}]
    register, findings = await bed.ingest(bed.file(*rows), rejects=rejects)
    assert (register.counts.new, findings.problem_count) == (1, 2)
    told = [json.loads(line)["problem"] for line in rejects.read_text().splitlines()]
    assert len(told) == 2
    assert [item.id for item in await bed.items()] == ["a", "b"]


async def test_replace_makes_a_revision(bed: Bed) -> None:
    await bed.ingest(bed.file({"id": "a", "text": "x"}))
    register, _ = await bed.ingest(bed.file({"id": "a", "text": "better"}), replace=True)
    assert register.counts.revised == 1
    assert [(item.revision, item.content.parts[0].text) for item in await bed.items()] == [(1, "x"), (2, "better")]


async def test_a_sealed_item_cannot_be_replaced(bed: Bed) -> None:
    await bed.ingest(bed.file({"id": "a", "text": "x"}))
    assert await bed.campaigns.seal(bed.campaign.uid) == 1
    with pytest.raises(UserError, match="belongs to sealed batch 1; use a new id"):
        await bed.ingest(bed.file({"id": "a", "text": "better"}), replace=True)
    await bed.ingest(bed.file({"id": "late", "text": "x"}))
    assert {item.id: item.batch for item in await bed.items()} == {"a": 1, "late": 2}


class Failing:
    """A producer that cannot reach its log."""

    def __init__(self, inner: Producer) -> None:
        self._inner = inner

    async def send(self, *_: object, **__: object) -> None:
        raise RetryLater("the log is out of reach")

    async def flush(self) -> None:
        await self._inner.flush()


async def test_what_a_crash_left_unproduced_is_produced_by_the_next_run(bed: Bed) -> None:
    path = bed.file({"id": "a", "text": "x"}, {"id": "b", "text": "y"})
    working, bed.producer = bed.producer, Failing(bed.producer)
    with pytest.raises(RetryLater):
        await bed.ingest(path)
    assert (await bed.rows(), len(await bed.items())) == (2, 0)
    with pytest.raises(UserError, match="2 items of an interrupted ingest are not in the stream; ingest the same file again"):
        await bed.campaigns.seal(bed.campaign.uid)
    bed.producer = working
    register, _ = await bed.ingest(path)
    assert (register.counts.resumed, len(await bed.items())) == (2, 2)
    assert await bed.campaigns.seal(bed.campaign.uid) == 2


async def test_an_empty_campaign_cannot_be_sealed(bed: Bed) -> None:
    with pytest.raises(UserError, match="batch 1 has no items"):
        await bed.campaigns.seal(bed.campaign.uid)


async def test_large_images_travel_by_reference(bed: Bed) -> None:
    Image.effect_noise((400, 400), 90).save(bed.folder / "big.png")
    assert (bed.folder / "big.png").stat().st_size > INLINE_LIMIT_BYTES
    await bed.ingest(bed.file({"id": "a", "image": "big.png"}))
    (item,) = await bed.items()
    media = item.content.parts[0].media
    assert media.WhichOneof("source") == "uri"
    assert await MediaStore(str(bed.folder / "storage")).get(media) == (bed.folder / "big.png").read_bytes()
