"""A followed export: every merged record in one part, once, whatever is killed between any two of its steps."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actlabel.core.errors import RetryLater, UserError
from actlabel.dataset.flat import MergedRecord
from actlabel.dataset.follow import FollowedExport, Rotation
from actlabel.dataset.followed_files import POSITION, FollowedFiles
from actlabel.runtime.campaigns import Campaigns
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.open import open_database
from actlabel.stream.memory import MemoryStream
from actlabel.stream.port import TopicSettings
from tests.unit.dataset.merged_items import TOPIC, UID, campaign, item, publish, reviewed, with_image


class KilledError(Exception):
    """What a test raises where a kill would strike."""


class Bed:
    """A merged topic in memory and exports of it."""

    def __init__(self, folder: Path, campaigns: Campaigns) -> None:
        self.out = folder / "out"
        self.stream = MemoryStream()
        self.campaigns = campaigns
        self.clock = FakeClock()
        self.parts: list[int] = []

    def files(self, file_format: str = "jsonl") -> FollowedFiles:
        return FollowedFiles(self.out, campaign_uid=UID, file_format=file_format)

    def export(self, files: FollowedFiles, *, items: int = 3, seconds: float = 30.0) -> FollowedExport:
        return FollowedExport(
            stream=self.stream, campaigns=self.campaigns, campaign=campaign(), files=files,
            rotation=Rotation(items=items, seconds=seconds), clock=self.clock, on_part=self.parts.append,
        )  # fmt: skip

    async def once(self, **options: object) -> None:
        """Start, read what is there, and stop."""
        files = self.files()
        following = self.export(files, **options)
        try:
            await following.step(asyncio.Event())
            following.rotate()
        finally:
            files.close()

    def rows(self) -> list[dict]:
        return [json.loads(line) for part in sorted(self.out.glob("part-*.jsonl")) for line in part.read_text().splitlines()]

    def ids(self) -> Counter[str]:
        return Counter(row["id"] for row in self.rows())


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    database = await open_database("sqlite:///:memory:")
    yield Bed(tmp_path, Campaigns(database, FakeClock()))
    await database.close()


async def test_parts_hold_everything_once_and_keep_to_the_schema(bed: Bed) -> None:
    await publish(bed.stream, [item(f"i{number}") for number in range(10)])
    await bed.once()
    assert bed.ids() == Counter({f"i{number}": 1 for number in range(10)})
    assert bed.parts == [3, 3, 3, 1]
    for row in bed.rows():
        MergedRecord.model_validate_json(json.dumps(row))
    await publish(bed.stream, [item("late")])
    await bed.once()
    assert bed.ids()["late"] == 1
    assert sorted(path.name for path in bed.out.iterdir()) == [POSITION, *(f"part-0000000{number}.jsonl" for number in range(1, 6))]


async def test_a_newer_revision_is_written_again_and_an_older_or_equal_one_is_not(bed: Bed) -> None:
    new = reviewed(item("a", draw=2), "yes")
    await publish(bed.stream, [item("a"), item("a"), new])
    await bed.once()
    await publish(bed.stream, [item("a"), new, reviewed(item("a", draw=2), "no", revision=2)])
    await bed.once()
    assert [(row["draw"], row["revision"]) for row in bed.rows()] == [(1, 0), (2, 1), (2, 2)]


async def test_a_part_ends_by_time_too(bed: Bed) -> None:
    await publish(bed.stream, [item("a")])
    files = bed.files()
    following = bed.export(files, items=100, seconds=30.0)
    await following.step(asyncio.Event())
    assert bed.rows() == [], "nothing half-written is visible"
    bed.clock.advance(31.0)
    await following.step(asyncio.Event())
    assert bed.ids() == Counter({"a": 1})
    files.close()


@pytest.mark.parametrize("step", ["write", "_note", "_publish"])
@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
async def test_a_kill_between_any_two_steps_loses_and_doubles_nothing(bed: Bed, step: str, file_format: str, monkeypatch) -> None:
    ids = [f"i{number}" for number in range(7)]
    await publish(bed.stream, [item(name) for name in ids])
    files = bed.files(file_format)
    real = getattr(files, step)
    calls = 0

    def strike(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:  # in the middle: a first part, or a first record, is there
            raise KilledError
        return real(*given)

    monkeypatch.setattr(files, step, strike)
    with pytest.raises(KilledError):
        await bed.export(files).step(asyncio.Event())
    files.close()  # lets go of lock and handles, as the end of a process does; it makes nothing real
    visible = {path: path.read_bytes() for path in bed.out.glob("part-*")}
    again = bed.files(file_format)
    assert not list(bed.out.glob(".part-*")), "what was not noted is thrown away"
    following = bed.export(again, items=100)
    await following.step(asyncio.Event())
    following.rotate()
    again.close()
    parts = sorted(bed.out.glob("part-*"))
    rows = bed.rows() if file_format == "jsonl" else [row for part in parts for row in pq.read_table(part).to_pylist()]
    assert Counter(row["id"] for row in rows) == Counter(ids)
    assert {path: path.read_bytes() for path in visible} == visible, "a part that was seen never changes"


async def test_parquet_says_the_same_as_json(bed: Bed, tmp_path: Path) -> None:
    await publish(bed.stream, [reviewed(item("a"), "yes"), with_image(item("b"), b"png")])
    await bed.once()
    lines = {row["id"]: row for row in bed.rows()}
    bed.out = tmp_path / "columns"
    files = bed.files("parquet")
    following = bed.export(files)
    await following.step(asyncio.Event())
    following.rotate()
    files.close()
    for row in pq.read_table(next(bed.out.glob("*.parquet"))).to_pylist():
        row["metadata"] = {pair["key"]: pair["value"] for pair in row["metadata"]}
        row |= {name: row[name].isoformat() if row[name] else None for name in ("created_at", "reviewed_at")}
        assert row == lines[row["id"]]


async def test_one_process_and_one_campaign_per_folder(bed: Bed, tmp_path: Path) -> None:
    files = bed.files()
    with pytest.raises(UserError, match="another process follows into it"):
        bed.files()
    files.close()
    with pytest.raises(UserError, match="as jsonl; name another place"):
        bed.files("parquet")
    with pytest.raises(UserError, match="follows campaign feedc0ffee01"):
        FollowedFiles(bed.out, campaign_uid="other", file_format="jsonl")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is there and no followed export"):
        FollowedFiles(tmp_path / "mine", campaign_uid=UID, file_format="jsonl")


async def test_it_waits_out_an_outage_and_ends_its_part_when_stopped(bed: Bed, monkeypatch) -> None:
    await publish(bed.stream, [item("a")])
    stop, calls = asyncio.Event(), 0
    ends = bed.stream.end_offsets

    async def flaky(topic: str) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RetryLater("the broker restarts")
        stop.set()
        return await ends(topic)

    monkeypatch.setattr(bed.stream, "end_offsets", flaky)
    monkeypatch.setattr("actlabel.dataset.follow._AGAIN_S", 0.01)
    files = bed.files()
    original = bed.export(files, items=100)
    monkeypatch.setattr(original, "step", _ignoring_stop(original))
    await original.run(stop)
    files.close()
    assert bed.ids() == Counter({"a": 1})


def _ignoring_stop(export: FollowedExport):
    step = export.step
    return lambda _stop: step(asyncio.Event())


async def test_holes_of_compaction_at_the_end_are_passed(bed: Bed) -> None:
    await bed.stream.create_topics({TOPIC: TopicSettings(partitions=3, compacted=True)})
    await publish(bed.stream, [item("a"), item("b"), item("a", draw=2)])
    bed.stream.compact(TOPIC)
    await bed.once()
    assert [(row["id"], row["draw"]) for row in sorted(bed.rows(), key=lambda row: row["id"])] == [("a", 2), ("b", 1)]
    bed.stream._logs[next(iter(await bed.stream.end_offsets(TOPIC)))].append(None)  # as the marker of a transaction
    files = bed.files()
    await bed.export(files).step(asyncio.Event())
    assert files.next == {partition.number: end for partition, end in (await bed.stream.end_offsets(TOPIC)).items() if end}
    files.close()
    assert sum(bed.ids().values()) == 2
