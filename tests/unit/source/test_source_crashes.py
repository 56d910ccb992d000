"""A kill at every single step of a batch, of the source and of the mirror: what is left is always finished by whoever comes next."""

import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actlabel.core import topics
from actlabel.intake.decoders import JsonDecoder
from actlabel.intake.register import Register
from actlabel.mirror.take import TakeMerged
from actlabel.runtime.campaign_streams import SourceFields
from actlabel.runtime.campaigns import Campaigns
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.media import MediaStore
from actlabel.source.reading import SourceReader
from actlabel.source.take import TakeSource
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.memory import MemoryStream
from actlabel.stream.port import TopicSettings
from tests.unit.dataset.merged_items import UID, campaign, item, reviewed
from tests.unit.mirror.test_mirror_take import MIRROR
from tests.unit.mirror.test_mirror_take import records as merged_records
from tests.unit.source.test_source_take import Bed, bed, order, records

__all__ = ["bed"]


class KilledError(BaseException):
    """The process ends here: nothing catches this."""


class Steps:
    """Counts every statement, commit and produce, and strikes before or after the one that a test names."""

    def __init__(self, strike: int, *, after: bool) -> None:
        self.left, self.after, self.struck = strike, after, False

    async def run(self, step: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            step.close()
            self._strike()
        result = await step
        if self.left == 0:
            self._strike()
        return result

    def _strike(self) -> None:
        self.struck = True
        raise KilledError


class StruckSession:
    """A session or database whose every statement is a step."""

    def __init__(self, inner: Any, steps: Steps) -> None:
        self._inner, self._steps = inner, steps

    async def fetch(self, statement: str, *values: Any) -> Any:
        return await self._steps.run(self._inner.fetch(statement, *values))

    async def execute(self, statement: str, *values: Any) -> Any:
        return await self._steps.run(self._inner.execute(statement, *values))

    async def execute_many(self, statement: str, rows: Any) -> Any:
        return await self._steps.run(self._inner.execute_many(statement, list(rows)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["StruckSession"]:
        async with self._inner.transaction() as session:
            yield StruckSession(session, self._steps)


class StruckProducer:
    """A producer whose every record is a step."""

    def __init__(self, stream: MemoryStream, steps: Steps) -> None:
        self._stream, self._steps = stream, steps

    async def _send(self, topic: str, key: bytes, value: bytes) -> None:
        await self._stream.producer().send(topic, key=key, value=value)

    async def send(self, topic: str, *, key: bytes, value: bytes, **_: object) -> None:
        await self._steps.run(self._send(topic, key, value))


class StruckStream:
    """What dead letters see of the stream."""

    def __init__(self, producer: StruckProducer) -> None:
        self._producer = producer

    def producer(self) -> StruckProducer:
        return self._producer


def struck_source(bed: Bed, steps: Steps) -> TakeSource:
    database, producer = StruckSession(bed.database, steps), StruckProducer(bed.stream, steps)
    clock, campaigns = SystemClock(), Campaigns(database, SystemClock())
    letters = DeadLetters(database=database, stream=StruckStream(producer), campaigns=campaigns, clock=clock, per_minute=1000)
    register = Register(
        database=database, producer=producer, media=MediaStore(str(bed.folder / "storage")), clock=clock, campaign=bed.campaign
    )
    fields = SourceFields(id="order.id", text=("order.text",))
    reader = SourceReader(JsonDecoder(), fields)
    return TakeSource(campaign=bed.campaign, reader=reader, register=register, dead_letters=letters)


BATCH = records(order("a"), b"nope", order("b"), order("a", "other"), order("c"), order("b"), {"order": {}})


@pytest.mark.parametrize("after", [False, True])
async def test_source_killed_at_every_step(bed: Bed, after: bool) -> None:
    taken = 0
    for strike in itertools.count(1):
        steps = Steps(strike, after=after)
        shifted = _other_ids(strike)
        try:
            await struck_source(bed, steps).take(shifted)
        except KilledError:
            await struck_source(bed, Steps(-1, after=False)).take(shifted)
        taken += 1
        if not steps.struck:
            break
    assert taken > 12, "the batch has that many steps"
    items = await bed.items()
    contents = {each.id: {one.content.sha256 for one in items if one.id == each.id} for each in items}
    assert set(contents) == {f"{name}-{strike}" for name in "abc" for strike in range(1, taken + 1)}
    assert all(len(each) == 1 for each in contents.values())
    assert {each.content.parts[0].text for each in items} == {"tea"}
    dead = await bed.dead()
    assert len(dead) == 3 * taken
    assert {(each.offset, each.reason) for each in dead} == {
        (100 * strike + offset, reason)
        for strike in range(1, taken + 1)
        for offset, reason in ((1, "undecodable"), (3, "refused"), (6, "unusable"))
    }
    unproduced = await bed.database.fetch("SELECT COUNT(*) AS n FROM item WHERE NOT produced")
    assert unproduced[0]["n"] == 0


def _other_ids(strike: int) -> Sequence[Any]:
    """The same batch under ids and offsets of its own."""
    values = [record.value for record in BATCH]
    renamed = [value.replace(b'"id": "', b'"id": "').replace(b'", "text"', b'-%d", "text"' % strike) for value in values]
    return records(*renamed, start=100 * strike)


@pytest.mark.parametrize("after", [False, True])
async def test_mirror_killed_at_every_step(after: bool, tmp_path: Path) -> None:
    batch = merged_records(item("a"), reviewed(item("a", draw=2), "yes"), item("b"), item("a"), reviewed(item("b"), "no"))
    for strike in itertools.count(1):
        database = await open_database("sqlite:///:memory:")
        stream = MemoryStream()
        await stream.create_topics({MIRROR: TopicSettings(partitions=1, compacted=True)})
        steps = Steps(strike, after=after)
        for each in (steps, Steps(-1, after=False)):
            taker = TakeMerged(
                campaign=campaign(), database=StruckSession(database, each), producer=StruckProducer(stream, each), content=True
            )
            try:
                await taker.take(batch)
            except KilledError:
                continue
            break
        last = {row["id"]: (row["draw"], row["revision"]) for row in map(json.loads, (r.value for r in stream.records(MIRROR)))}
        assert last == {"a": (2, 1), "b": (1, 1)}
        ranks = await database.fetch("SELECT item_id, draw, revision FROM mirrored WHERE uid = $1 ORDER BY item_id", UID)
        assert [tuple(row) for row in ranks] == [("a", 2, 1), ("b", 1, 1)]
        assert topics.topic(topics.MERGED_JSON, UID) == MIRROR
        await database.close()
        if not steps.struck:
            assert strike > 5
            break
