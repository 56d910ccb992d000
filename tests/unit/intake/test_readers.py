"""Files into records: every bad line is named with its place; nothing is fetched; nothing outside the folder is read."""

import base64
import io
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actlabel.core.errors import Fatal, UserError
from actlabel.intake.check import Uniqueness
from actlabel.intake.fields import Fields
from actlabel.intake.raw_record import TEXT_LIMIT_BYTES, RawPart, RawRecord
from actlabel.intake.readers import good_records, read_records


def png(size: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (size, size), 128).save(buffer, "PNG")
    return buffer.getvalue()


def jsonl(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8")
    return path


def problems(path: Path, fields: Fields | None = None) -> list[str]:
    return [str(record) for record in read_records(path, fields or Fields()) if isinstance(record, UserError)]


def test_jsonl_text_with_metadata_and_gold(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", {"id": 7, "text": "héllo", "label": "a", "source": "web", "n": 3, "none": None})
    (record,) = good_records(path, Fields(gold="label"))
    assert (record.id, record.parts[0].text, record.gold) == ("7", "héllo", "a")
    assert record.metadata == {"source": "web", "n": "3"}  # gold is in no metadata


def test_csv_with_byte_order_mark_and_multiline_cell(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\n1,"two\nlines"\n2,x\n')
    assert [(r.id, r.parts[0].text) for r in good_records(path, Fields())] == [("1", "two\nlines"), ("2", "x")]


def test_parquet_in_the_hugging_face_form(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"id": ["1"], "image": [{"bytes": png(), "path": "x.png"}], "text": ["seven"]}), path)
    (record,) = good_records(path, Fields())
    assert [(part.name, part.mime_type) for part in record.parts] == [("text", ""), ("image", "image/png")]


def test_folder_of_images_with_metadata(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "sub/b.png").write_bytes(png(5))
    (tmp_path / "notes.txt").write_text("not an image")
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "a.png", "label": "3", "id": "first"})
    records = list(good_records(tmp_path, Fields(gold="label")))
    assert [(r.id, r.gold) for r in records] == [("first", "3"), ("sub/b.png", None)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "d.jsonl:2: is not JSON"),
        ("[1]", "d.jsonl:2: is not a JSON object"),
        ("[" * 100_000, "d.jsonl:2: is n"),  # nested too deeply, or no JSON, as the parser has it
        ({"text": "x"}, "d.jsonl:2: id: is missing or empty"),
        ({"id": " ", "text": "x"}, "d.jsonl:2: id: is missing or empty"),
        ({"id": "a\u0000b", "text": "x"}, "d.jsonl:2: id: 'a\\x00b' holds control characters"),
        ({"id": "x" * 600, "text": "x"}, "d.jsonl:2: id: longer than 512 bytes"),
        ({"id": "1"}, "d.jsonl:2: has none of the content fields text, image"),
        ({"id": "1", "text": 5}, "d.jsonl:2: text: is int, not text"),
        ({"id": "1", "text": "x" * (TEXT_LIMIT_BYTES + 1)}, "more than 262144; split it"),
        ('{"id": "1", "text": "\\ud800"}', "d.jsonl:2: text: holds an unpaired surrogate"),
        ({"id": "1", "image": "http://169.254.169.254/x.png"}, "d.jsonl:2: image: is a URL; nothing is fetched"),
        ({"id": "1", "image": "../../etc/passwd"}, "lies outside the folder of the data"),
        ({"id": "1", "image": "missing.png"}, "'missing.png' cannot be read (No such file or directory)"),
        ({"id": "1", "image": "fake.png"}, "d.jsonl:2: image: is no image that can be decoded"),
        ({"id": "1", "image": "data:image/png;base64,@@"}, "d.jsonl:2: image: is not valid base64"),
        ({"id": "1", "image": "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()}, "is no image"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, line: object, message: str) -> None:
    (tmp_path / "fake.png").write_text("<html>")
    path = jsonl(tmp_path / "d.jsonl", {"id": "ok", "text": "fine"}, line)
    (problem,) = problems(path)
    assert message in problem


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(png())
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.png").symlink_to(outside)
    assert "lies outside" in problems(jsonl(folder / "d.jsonl", {"id": "1", "image": "link.png"}))[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "there is no such file"),
        ("d.txt", b"x", ".txt is not read"),
        ("empty.jsonl", b"", "holds no records"),
        ("empty.csv", b"id,text\n", "holds no records"),
        ("bad.parquet", b"PAR1", "cannot be read as Parquet"),
        ("latin.csv", b"id,text\n1,caf\xe9\n", "cannot be read as UTF-8 CSV"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=name) as caught:
        list(read_records(path, Fields()))
    assert message in str(caught.value)


def test_ragged_csv_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("id,text\n1\n2,x,y\n")
    assert [p.partition("d.csv")[2] for p in problems(path)] == [
        ":2: has fewer cells than the header has names",
        ":3: has more cells than the header has names",
    ]


def test_generated_ids_follow_the_content(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", {"text": "a"}, {"text": "b"}, {"text": "a"})
    first, second, third = (r.id for r in good_records(path, Fields(generate_ids=True)))
    assert first == third != second


def test_content_hash_tells_parts_apart(tmp_path: Path) -> None:
    def digest(columns: dict[str, str]) -> bytes:
        path = jsonl(tmp_path / "d.jsonl", {"id": "1", **columns})
        record = next(iter(read_records(path, Fields(text=("a", "b")))))
        assert isinstance(record, RawRecord)
        return record.content_sha256()

    assert len({digest({"a": "xy"}), digest({"a": "x", "b": "y"}), digest({"b": "xy"}), digest({"a": "x"})}) == 4
    assert digest({"a": "x", "meta": "1"}) == digest({"a": "x", "meta": "2"})


def test_a_full_disk_while_ids_are_checked_is_one_line() -> None:
    record = RawRecord(id="a", parts=(RawPart(name="text", text="t"),), metadata={}, gold=None, where="data.jsonl:1")
    with closing(Uniqueness()) as seen:
        assert not seen.is_duplicate(record)
        assert not seen.is_duplicate(replace(record, id="b", where="data.jsonl:2"))
        pages = seen._seen.execute("PRAGMA page_count").fetchone()[0]
        seen._seen.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk looks like to SQLite
        more = [replace(record, id=f"more-{number}", where=f"data.jsonl:{number + 3}") for number in range(10_000)]
        with pytest.raises(Fatal, match="has no room to check the file in"):
            list(map(seen.is_duplicate, more))
