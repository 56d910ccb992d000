"""What lands on disk: columns, shards, hashes, and nothing half-written."""

import csv
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core.errors import UserError
from actlabel.dataset.export import Exported, Format, export, verify
from actlabel.dataset.layout import content_keys, layout_of
from actlabel.dataset.merged import read_merged
from actlabel.dataset.parquet import ParquetSink, ShardLimits
from actlabel.dataset.table import schema
from actlabel.runtime.media import MediaStore
from actlabel.stream.sqlite_stream import open_sqlite_stream
from tests.unit.dataset.merged_items import UID, campaign, item, publish, reviewed, with_image


async def _export(items: Sequence[Item], folder: Path, form: Format = "parquet", name: str = "out") -> Exported:
    stream = await open_sqlite_stream(str(folder / f"{name}.db"), runs_stages=False)
    try:
        await publish(stream, items)
        merged = await read_merged(stream, UID)
        return await export(merged, campaign(), MediaStore(str(folder / "storage")), folder / name, file_format=form)
    finally:
        await stream.close()


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and path.name != "storage"]


def _sha256sum(folder: Path) -> str:
    """Hash a data set as a person would, with coreutils."""
    command = "sha256sum part-*.parquet | sha256sum"
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout.split()[0]


def _rows(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in pq.read_table(sorted(folder.glob("*.parquet"))).to_pylist()}


async def test_every_column_says_what_the_record_said(tmp_path: Path) -> None:
    await _export([item("a"), reviewed(item("b", "no"), "yes")], tmp_path)
    rows = _rows(tmp_path / "out")
    machine, human = rows["a"], rows["b"]
    assert (machine["label"], machine["label_source"], machine["human_label"], machine["sampled"]) == ("no", "model", None, False)
    assert (human["label"], human["label_source"], human["model_label"], human["label_id"]) == ("yes", "human", "no", 1)
    assert (human["pi"], human["p_error"], human["p_error_calibrated"], human["cost_usd"]) == (0.25, 0.5, 0.5, 0.75)
    assert (human["outcome"], human["reviewer"], human["reviewed_at"].isoformat()) == ("labelled", "ann", "2023-11-14T22:23:20+00:00")
    assert (machine["reviewed_at"], machine["text"], machine["metadata"]) == (None, "some words", [{"key": "source", "value": "import"}])
    assert (machine["annotator_model"], machine["critic_model"], machine["campaign_version"]) == ("good", "other", 1)


async def test_an_undecidable_item_is_sampled_without_a_human_label(tmp_path: Path) -> None:
    await _export([reviewed(item("a"), "", outcome=Review.OUTCOME_UNDECIDABLE)], tmp_path)
    row = _rows(tmp_path / "out")["a"]
    assert (row["sampled"], row["human_label"], row["label_source"], row["outcome"]) == (True, None, "model", "undecidable")


async def test_images_have_the_form_of_hugging_face(tmp_path: Path) -> None:
    await _export([with_image(item("a"), b"png bytes"), item("b")], tmp_path)
    rows = _rows(tmp_path / "out")
    assert rows["a"]["image"]["bytes"] == b"png bytes"
    assert rows["b"]["image"] is None
    features = json.loads(pq.read_schema(tmp_path / "out" / "part-00000.parquet").metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"}, "label_id": {"names": ["no", "yes"], "_type": "ClassLabel"}}


async def test_media_by_reference_comes_from_storage(tmp_path: Path) -> None:
    store = MediaStore(str(tmp_path / "storage"))
    made = item("a")
    made.content.parts.add(name="photo").media.CopyFrom(await store.put(b"x" * 40_000, "image/jpeg"))
    assert made.content.parts[1].media.uri
    await _export([made], tmp_path)
    image = _rows(tmp_path / "out")["a"]["image"]
    assert image == {"bytes": b"x" * 40_000, "path": hashlib.sha256(b"x" * 40_000).hexdigest() + ".jpg"}


async def test_missing_media_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    made = with_image(item("a"), b"abc")
    media = made.content.parts[1].media
    media.uri = f"media/{media.sha256.hex()}"
    with pytest.raises(UserError, match=r"item 'a', part 'photo': .*ACTLABEL_STORAGE"):
        await _export([made], tmp_path)
    assert not _folders(tmp_path)


async def test_nothing_merged_yet_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no merged items yet"):
        await _export([], tmp_path)
    assert not (tmp_path / "out").exists()


async def test_a_place_that_is_taken_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="already there"):
        await _export([item("a")], tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


async def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: ParquetSink, _rows: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ParquetSink, "write", full)
    with pytest.raises(UserError, match="No space left on device"):
        await _export([item("a")], tmp_path)
    assert not _folders(tmp_path)


async def test_the_hash_names_every_byte(tmp_path: Path) -> None:
    written = await _export([item("a"), item("b")], tmp_path)
    assert verify(tmp_path / "out")["sha256"] == written.sha256
    assert _sha256sum(tmp_path / "out") == written.sha256
    shard = tmp_path / "out" / "part-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[200] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match="are not those that its manifest"):
        verify(tmp_path / "out")


async def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    items = [reviewed(item(f"i{number}"), "yes") for number in range(20)]
    first, second = await _export(items, tmp_path), await _export(items, tmp_path, name="again")
    assert first.sha256 == second.sha256


async def test_the_card_is_plain_and_its_front_matter_is_yaml(tmp_path: Path) -> None:
    await _export([reviewed(item("a"), "yes"), item("b")], tmp_path)
    card = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["configs"][0]["data_files"] == "*.parquet"
    assert "2 items, 1 of them labelled by people" in card
    assert r"| question | Happy \| sad? |" in card


def test_shards_and_row_groups_are_bounded(tmp_path: Path) -> None:
    form = schema(layout_of([]), ["no"], {})
    sink = ParquetSink(tmp_path, form, ShardLimits(row_group_bytes=10_000, shard_bytes=30_000))
    for number in range(100):
        sink.write([{"id": f"{number}-{row}", "label": "no", "metadata": []} for row in range(10)])
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 2
    assert sum(pq.read_metadata(file).num_rows for file in files) == 1000
    groups = [
        pq.read_metadata(file).row_group(number).num_rows for file in files for number in range(pq.read_metadata(file).num_row_groups)
    ]
    assert max(groups) < 500
    assert pa.concat_tables([pq.read_table(file) for file in files])["id"].to_pylist()[:2] == ["0-0", "0-1"]


async def test_json_lines_are_objects_with_images_beside_them(tmp_path: Path) -> None:
    await _export([with_image(reviewed(item("a"), "yes"), b"bytes")], tmp_path, "jsonl")
    row = json.loads((tmp_path / "out" / "dataset.jsonl").read_text())
    assert (row["label"], row["pi"], row["metadata"]) == ("yes", 0.25, {"source": "import"})
    assert row["reviewed_at"] == "2023-11-14T22:23:20+00:00"
    assert (tmp_path / "out" / row["image"]).read_bytes() == b"bytes"
    assert verify(tmp_path / "out")["format"] == "jsonl"


# what a spreadsheet would run (OWASP, CSV injection), and what it would not
@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("plain = text", "plain = text"),
        ('quoted "words", and commas\nin two lines', 'quoted "words", and commas\nin two lines'),
    ],
)
async def test_csv_runs_no_formulas(tmp_path: Path, text: str, cell: str) -> None:
    await _export([item("a", text=text)], tmp_path, "csv")
    with (tmp_path / "out" / "dataset.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["text"] == cell
    assert (row["p_error"], row["human_label"]) == ("0.5", "")


async def test_csv_writes_images_as_files_that_no_record_names(tmp_path: Path) -> None:
    made = with_image(item("../../etc/passwd"), b"abc", name="../../x")
    await _export([made], tmp_path, "csv")
    images = list((tmp_path / "out" / "images").iterdir())
    assert [path.name for path in images] == [hashlib.sha256(b"abc").hexdigest() + ".png"]


def test_further_parts_keep_their_names_unless_taken() -> None:
    made = item("a")
    for name in ("title", "label", "title"):
        made.content.parts.add(name=name).text = "more"
    with_image(with_image(made, b"1"), b"2", name="title")
    names = [layout_of({key for key, _ in content_keys(made.content)}).columns[key] for key, _ in content_keys(made.content)]
    assert names == ["text", "text_title", "text_label", "text_title_2", "image", "title"]
