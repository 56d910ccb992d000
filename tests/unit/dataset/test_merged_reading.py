"""One record counts for every item, whatever arrived late, twice or broken."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core.errors import RetryLater, UserError
from actlabel.dataset.manifest import Manifest, OffsetRange, freeze, parse_manifest
from actlabel.dataset.merged import final_label, human_label, read_merged
from actlabel.stream.port import Partition, Record, Stream
from actlabel.stream.sqlite_stream import open_sqlite_stream
from tests.unit.dataset.merged_items import TOPIC, UID, item, publish, reviewed


@pytest.fixture
async def stream(tmp_path: Path) -> AsyncIterator[Stream]:
    """A log in a file."""
    opened = await open_sqlite_stream(str(tmp_path / "log.db"), runs_stages=False)
    yield opened
    await opened.close()


async def _labels(stream: Stream, manifest: Manifest | None = None) -> dict[str, str]:
    merged = await read_merged(stream, UID, manifest)
    return {made.id: final_label(made) async for made in merged.items()}


async def test_every_item_is_read_once(stream: Stream) -> None:
    await publish(stream, [item(f"i{number}") for number in range(50)])
    merged = await read_merged(stream, UID)
    assert len(merged) == 50
    assert sorted([made.id async for made in merged.items()]) == sorted(f"i{number}" for number in range(50))


async def test_a_late_duplicate_of_a_machine_answer_does_not_replace_a_human_one(stream: Stream) -> None:
    await publish(stream, [item("a"), reviewed(item("a"), "yes"), item("a")])
    assert await _labels(stream) == {"a": "yes"}


async def test_a_higher_review_revision_counts_even_when_it_came_first(stream: Stream) -> None:
    await publish(stream, [reviewed(item("a"), "yes", revision=2), reviewed(item("a"), "no", revision=1)])
    assert await _labels(stream) == {"a": "yes"}


async def test_a_later_draw_counts_before_the_review_revision(stream: Stream) -> None:
    await publish(stream, [reviewed(item("a"), "no", revision=9), reviewed(item("a", draw=2), "yes", revision=1)])
    assert await _labels(stream) == {"a": "yes"}


async def test_of_equals_the_later_offset_counts(stream: Stream) -> None:
    await publish(stream, [item("a", "no"), item("a", "yes")])
    assert await _labels(stream) == {"a": "yes"}


async def test_what_comes_after_the_freeze_is_not_read(stream: Stream) -> None:
    await publish(stream, [item("a")])
    manifest = await freeze(stream, UID)
    await publish(stream, [reviewed(item("a"), "yes"), item("b")])
    assert await _labels(stream, manifest) == {"a": "no"}
    assert await _labels(stream) == {"a": "yes", "b": "no"}


async def test_undecidable_items_keep_the_label_of_the_model() -> None:
    made = reviewed(item("a", "no"), "", outcome=Review.OUTCOME_UNDECIDABLE)
    assert (human_label(made), final_label(made)) == (None, "no")


async def test_what_is_no_item_of_the_campaign_is_counted_and_left_out(stream: Stream) -> None:
    stranger = item("other")
    stranger.campaign.uid = "another"
    unlabelled = item("bare")
    unlabelled.ClearField("annotation")
    await publish(stream, [item("a"), stranger, unlabelled])
    await stream.producer().send(TOPIC, key=b"x", value=b"\xff\xff\xff")
    merged = await read_merged(stream, UID)
    assert (len(merged), merged.unreadable) == (1, 3)


async def test_an_empty_topic_is_an_empty_data_set(stream: Stream) -> None:
    await publish(stream, [])
    assert len(await read_merged(stream, UID)) == 0


class _CompactsMeanwhile:
    """A log that loses a record between the two readings, as compaction does."""

    def __init__(self, records: list[bytes]) -> None:
        self._records = records
        self._scans = 0

    async def end_offsets(self, topic: str) -> dict[Partition, int]:
        return {Partition(topic, 0): len(self._records)}

    async def scan(self, partition: Partition, *, start: int, end: int) -> AsyncIterator[list[Record]]:
        self._scans += 1
        kept = self._records if self._scans == 1 else self._records[1:]
        first = end - len(kept)
        yield [Record(partition, first + number, b"", value, (), 0) for number, value in enumerate(kept)]


async def test_a_record_that_vanishes_between_the_readings_is_not_missed_in_silence() -> None:
    log = _CompactsMeanwhile([item(name).SerializeToString() for name in "ab"])
    merged = await read_merged(log, UID)  # type: ignore[arg-type]
    with pytest.raises(RetryLater, match="compacted"):
        [made async for made in merged.items()]


class _Log:
    """One partition of records in memory."""

    def __init__(self, items: list[Item]) -> None:
        self._records = [made.SerializeToString() for made in items]

    async def end_offsets(self, topic: str) -> dict[Partition, int]:
        return {Partition(topic, 0): len(self._records)}

    async def scan(self, partition: Partition, *, start: int, end: int) -> AsyncIterator[list[Record]]:
        for offset in range(start, end):
            yield [Record(partition, offset, b"", self._records[offset], (), 0)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.integers(0, 3)), max_size=12))
@settings(max_examples=60, deadline=None)
async def test_the_highest_draw_and_revision_win_in_any_order(history: list[tuple[str, int, int]]) -> None:
    items = []
    for number, (name, draw, revision) in enumerate(history):
        made = item(name, draw=draw)
        made.review.revision = revision
        made.annotation.rationale = str(number)
        items.append(made)
    merged = await read_merged(_Log(items), UID)  # type: ignore[arg-type]
    found = {made.id: int(made.annotation.rationale) async for made in merged.items()}
    expected = {
        name: max((draw, revision, number) for number, (other, draw, revision) in enumerate(history) if other == name)[2]
        for name in {name for name, _, _ in history}
    }
    assert found == expected


def test_a_manifest_survives_its_json_and_equal_ones_hash_equally() -> None:
    manifest = Manifest(campaign_uid=UID, topic=TOPIC, ranges=(OffsetRange(partition=0, start=0, end=5),))
    again = parse_manifest(manifest.to_json(), where="m.json")
    assert (again, again.sha256, again.records) == (manifest, manifest.sha256, 5)


@pytest.mark.parametrize("text", ["", "[]", '{"ranges": [{}]}', '{"ranges": 3, "topic": "t"}'])
def test_a_broken_manifest_names_its_place(text: str) -> None:
    with pytest.raises(UserError, match=r"m\.json: is no manifest"):
        parse_manifest(text, where="m.json")
