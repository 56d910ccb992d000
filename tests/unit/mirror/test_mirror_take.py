"""The mirror: records that keep to their written schema, in order, and never an older one on top of a newer one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema
import pytest

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core import topics
from actlabel.core.errors import RetryLater
from actlabel.dataset import flat as flat_module
from actlabel.dataset.flat import MergedRecord, json_schema
from actlabel.mirror.take import TakeMerged
from actlabel.runtime.database.open import open_database
from actlabel.stream.memory import MemoryStream
from actlabel.stream.port import MAX_RECORD_BYTES, Partition, Record, TopicSettings
from tests.unit.dataset.merged_items import TOPIC, UID, campaign, item, reviewed, with_image

MIRROR = topics.topic(topics.MERGED_JSON, UID)
SCHEMA = Path(flat_module.__file__).with_name("merged_record.schema.json")


class Bed:
    """A mirror in memory."""

    def __init__(self, database: object) -> None:
        self.database = database
        self.stream = MemoryStream()

    def taker(self, *, content: bool = True) -> TakeMerged:
        return TakeMerged(campaign=campaign(), database=self.database, producer=self.stream.producer(), content=content)

    def written(self) -> list[dict]:
        return [json.loads(record.value) for record in self.stream.records(MIRROR)]


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    database = await open_database("sqlite:///:memory:")
    made = Bed(database)
    await made.stream.create_topics({MIRROR: TopicSettings(partitions=1, compacted=True)})
    yield made
    await database.close()


def records(*items: Item | bytes) -> list[Record]:
    values = [each if isinstance(each, bytes) else each.SerializeToString() for each in items]
    return [Record(Partition(TOPIC, 0), number, b"k", value, (), 0) for number, value in enumerate(values)]


def every_kind() -> list[Item]:
    bare = Item(id="bare", revision=1)
    bare.campaign.uid, bare.campaign.version, bare.annotation.label = UID, 1, "no"
    undecidable = reviewed(item("u"), "", outcome=Review.OUTCOME_UNDECIDABLE)
    large = with_image(item("ref"), b"x" * 10)
    large.content.parts[1].media.uri = "media/" + "0" * 64
    return [item("a"), reviewed(item("b"), "yes"), undecidable, with_image(item("c"), b"png"), large, bare]


async def test_every_record_keeps_to_the_schema_that_is_written_down(bed: Bed) -> None:
    await bed.taker().take(records(*every_kind()))
    await bed.taker(content=False).take(records(item("d")))
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    written = bed.written()
    assert [row["id"] for row in written] == ["a", "b", "u", "c", "ref", "bare", "d"]
    for row in written:
        validator.validate(row)
        MergedRecord.model_validate_json(json.dumps(row))
        assert set(row) == set(MergedRecord.model_fields), "every field is always there"


def test_the_committed_schema_is_the_model() -> None:
    assert SCHEMA.read_text() == json_schema(), "write it anew: python -m actlabel.dataset.flat > merged_record.schema.json"


async def test_what_the_fields_mean(bed: Bed) -> None:
    await bed.taker().take(records(*every_kind()))
    machine, human, undecidable, image, large, _ = bed.written()
    assert (machine["label"], machine["label_source"], machine["pi"], machine["weight"]) == ("no", "model", 0.25, None)
    assert (human["label"], human["label_source"], human["model_label"], human["weight"], human["revision"]) == (
        "yes",
        "human",
        "no",
        4.0,
        1,
    )
    assert (undecidable["label_source"], undecidable["outcome"], undecidable["weight"]) == ("model", "undecidable", None)
    assert (machine["parts"][0]["text"], machine["metadata"]) == ("some words", {"source": "import"})
    assert (image["parts"][1]["data_base64"], image["parts"][1]["uri"]) == ("cG5n", None)
    assert (large["parts"][1]["data_base64"], large["parts"][1]["uri"]) == (None, "media/" + "0" * 64)
    assert human["reviewed_at"] == "2023-11-14T22:23:20+00:00"


async def test_an_older_record_never_lands_on_a_newer_one(bed: Bed) -> None:
    old, new = item("a"), reviewed(item("a", draw=2), "yes")
    await bed.taker().take(records(new, old))  # in one batch
    await bed.taker().take(records(old))  # and after a restart
    assert [(row["draw"], row["revision"]) for row in bed.written()] == [(2, 1)]
    await bed.taker().take(records(reviewed(item("a", draw=2), "no", revision=2)))
    assert [(row["draw"], row["revision"]) for row in bed.written()] == [(2, 1), (2, 2)]


async def test_killed_before_the_ranks_are_noted_the_batch_is_written_again(bed: Bed) -> None:
    batch = records(item("a"), reviewed(item("a", draw=2), "yes"), item("b"))
    bed.stream.faults.fail("send", RetryLater("the log is out of reach"), times=1)
    with pytest.raises(RetryLater):
        await bed.taker().take(batch)
    await bed.taker().take(batch)
    last = {row["id"]: (row["draw"], row["revision"]) for row in bed.written()}
    assert last == {"a": (2, 1), "b": (1, 0)}


async def test_what_is_no_item_is_left_out_and_stops_nothing(bed: Bed) -> None:
    foreign = item("x")
    foreign.campaign.uid = "another"
    await bed.taker().take(records(b"\xff\xff", foreign, item("a")))
    assert [row["id"] for row in bed.written()] == ["a"]


async def test_a_record_that_json_makes_too_large_goes_without_its_content(bed: Bed) -> None:
    image = with_image(item("a"), b"\0" * (MAX_RECORD_BYTES * 7 // 8))
    await bed.taker().take(records(image))
    (row,) = bed.written()
    assert (row["id"], row["parts"]) == ("a", None)


async def test_a_missing_topic_is_waited_for(bed: Bed) -> None:
    await bed.stream.delete_topics([MIRROR])
    with pytest.raises(RetryLater, match="takes no record"):
        await bed.taker().take(records(item("a")))
