"""A topic as somebody else writes it: good records, duplicates, other content under a known id, and bytes that are no record at all."""

import asyncio
import io
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import fastavro

from actlabel.stream.port import Stream, TopicSettings
from tests.acceptance.data import Recording

PARTITIONS = 4
SCHEMA_NUMBER = 41
SCHEMA = {
    "type": "record",
    "name": "Post",
    "fields": [
        {"name": "post", "type": {"type": "record", "name": "Body", "fields": [
            {"name": "id", "type": "string"}, {"name": "text", "type": ["null", "string"]},
        ]}},
        {"name": "shop", "type": "string"},
    ],
}  # fmt: skip
_PARSED = fastavro.parse_schema(SCHEMA)
Encode = Callable[[dict[str, object]], bytes]


def as_json(row: dict[str, object]) -> bytes:
    """One JSON object."""
    return json.dumps(row).encode()


def as_avro(row: dict[str, object]) -> bytes:
    """Confluent's envelope around Avro."""
    out = io.BytesIO(struct.pack(">bi", 0, SCHEMA_NUMBER))
    out.seek(5)
    fastavro.schemaless_writer(out, _PARSED, row)
    return out.getvalue()


@dataclass
class ForeignTopic:
    """What was written, and what must become of it: every record is in exactly one of the four."""

    topic: str
    items: dict[str, str] = field(default_factory=dict)  # id → text
    duplicates: int = 0
    tombstones: int = 0
    dead: dict[tuple[int, int], str] = field(default_factory=dict)  # (partition, offset) → reason, once all is written
    _composed: list[tuple[str, bytes, bytes]] = field(default_factory=list)  # (what it is, key, value)

    async def create(self, stream: Stream) -> None:
        """Make the topic."""
        await stream.create_topics({self.topic: TopicSettings(partitions=PARTITIONS)})

    def compose(self, recording: Recording, encode: Encode, *, seed: int) -> None:
        """Make all records of a recording, with one bad or doubled record after every tenth."""
        dice = random.Random(seed)
        for line in recording.items.read_text().splitlines():
            row = json.loads(line)
            self.items[row["id"]] = row["text"]
            good = encode({"post": {"id": row["id"], "text": row["text"]}, "shop": "east"})
            self._composed.append(("good", row["id"].encode(), good))
            if dice.random() < 0.1:
                self._composed.append(self._odd(dice, row, good, encode))
        self.duplicates = sum(kind == "duplicate" for kind, _, _ in self._composed)
        self.tombstones = sum(kind == "tombstone" for kind, _, _ in self._composed)

    async def write(self, stream: Stream, *, per_second: int) -> None:
        """Write them at a steady pace, as a stream that lives."""
        for first in range(0, len(self._composed), per_second // 10):
            for _, key, value in self._composed[first : first + per_second // 10]:
                stream.producer().send(self.topic, key=key, value=value)
            await asyncio.sleep(0.1)
        await stream.producer().flush()
        await self._locate(stream)

    def _odd(self, dice: random.Random, row: dict[str, str], good: bytes, encode: Encode) -> tuple[str, bytes, bytes]:
        """Of the same key, so that it comes after the good one of its id."""
        other = encode({"post": {"id": row["id"], "text": "something else"}, "shop": "west"})
        empty = encode({"post": {"id": row["id"] + "-empty", "text": None if encode is as_avro else ""}, "shop": "west"})
        kinds = [("duplicate", good), ("tombstone", b""), ("refused", other), ("unusable", empty), ("undecodable", b"\xff\xfe nonsense")]
        if encode is as_avro:
            kinds.append(("unknown-schema", struct.pack(">bi", 0, 999) + good[5:]))
        kind, value = dice.choice(kinds)
        return kind, row["id"].encode(), value

    async def _locate(self, stream: Stream) -> None:
        """Find the offsets of the bad ones."""
        waiting = list(self._composed)
        for partition, end in (await stream.end_offsets(self.topic)).items():
            async for records in stream.scan(partition, start=0, end=end):
                for record in records:
                    entry = next(each for each in waiting if (each[1], each[2]) == (record.key, record.value))
                    waiting.remove(entry)
                    if entry[0] not in {"good", "duplicate", "tombstone"}:
                        self.dead[partition.number, record.offset] = entry[0]
        assert not waiting, "every record is on the topic"

    @property
    def records(self) -> int:
        """How many were written."""
        return len(self.items) + self.duplicates + self.tombstones + len(self.dead)


def source_of(topic: str, **more: object) -> dict[str, object]:
    """The source section of a campaign file for such a topic."""
    return {"topic": topic, "fields": {"id": "post.id", "text": "post.text"}, **more}


def answers_of(folder: Path, *recordings: Recording) -> Path:
    """Join the recorded answers of several recordings into one file."""
    path = folder / "all-answers.jsonl"
    path.write_text("".join(recording.answers.read_text() for recording in recordings))
    return path
