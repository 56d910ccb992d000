"""Registration: (item id, content hash) in the database, then the record on the items topic, in batches.

A row is first registered as not produced and marked when the stream has its record: a crash in between leaves rows that the same
ingest, run again, produces.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from actlabel.contracts.v1.item_pb2 import CampaignRef, Content, Item, Part
from actlabel.core import topics
from actlabel.core.errors import UserError
from actlabel.intake.raw_record import RawPart, RawRecord
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Row, Session, load_statements
from actlabel.runtime.media import MediaStore
from actlabel.runtime.tracing import instant
from actlabel.stream.port import Producer


@dataclass(slots=True)
class Counts:
    """What an ingest did."""

    new: int = 0
    known: int = 0  # same id and content as registered before: nothing to do
    resumed: int = 0  # registered by an ingest that did not finish, produced now
    revised: int = 0


@dataclass(frozen=True, slots=True)
class _Admitted:
    record: RawRecord
    batch: int
    revision: int


class Register:
    """Takes checked records into one campaign."""

    def __init__(self, *, database: Database, producer: Producer, media: MediaStore, clock: Clock, campaign: Campaign) -> None:
        """Keep the parts; nothing is written yet."""
        self._database = database
        self._producer = producer
        self._media = media
        self._clock = clock
        self._campaign = campaign
        self._sql = load_statements("actlabel.intake")
        self.counts = Counts()

    async def conflicts(self, records: Sequence[RawRecord], *, replace: bool) -> dict[str, UserError]:
        """Look a batch up and return, by id, what registration would refuse; writes nothing."""
        known = await self._known(self._database, records)
        sealed = await self._sealed(self._database)
        problems = ((record.id, self._conflict(record, known.get(record.id), sealed, replace=replace)) for record in records)
        return {item_id: problem for item_id, problem in problems if problem is not None}

    async def _sealed(self, session: Session) -> set[int]:
        return {row["batch"] for row in await session.fetch(self._sql["seals"], self._campaign.uid)}

    def _conflict(self, record: RawRecord, row: Row | None, sealed: set[int], *, replace: bool) -> UserError | None:
        if record.gold is not None and record.gold not in self._campaign.file.task.label_names:
            names = ", ".join(self._campaign.file.task.label_names[:10])
            return UserError(f"{record.where}: {record.gold!r} is not a label of campaign {self._campaign.name} ({names})")
        if row is None or bytes(row["content_sha256"]) == record.content_sha256():
            return None
        if not replace:
            return UserError(f"{record.where}: id {record.id!r} is registered with other content; use --replace for a revision")
        if row["batch"] in sealed:
            return UserError(f"{record.where}: id {record.id!r} belongs to sealed batch {row['batch']}; use a new id for new content")
        return None

    async def _known(self, session: Session, records: Sequence[RawRecord]) -> dict[str, Row]:
        ids = [record.id for record in records]
        return {row["item_id"]: row for row in await session.fetch(self._sql["registered"], self._campaign.uid, ids)}

    async def take(self, records: Sequence[RawRecord], *, replace: bool) -> None:
        """Register and produce a batch. Raises ``UserError`` on a conflict, with nothing of the batch written."""
        async with self._database.transaction() as session:
            admitted = await self._admit(session, records, replace=replace)
        items = [await self._item(each) for each in admitted]
        topic = topics.topic(topics.ITEMS, self._campaign.uid)
        await asyncio.gather(*(self._send(topic, item) for item in items))
        await self._database.execute_many(self._sql["mark_produced"], [(self._campaign.uid, item.id, item.revision) for item in items])

    def _send(self, topic: str, item: Item) -> Awaitable[None]:
        headers = instant("ingest", self._campaign.uid, item.id)
        return self._producer.send(topic, key=item.id.encode(), value=item.SerializeToString(), headers=headers)

    async def _admit(self, session: Session, records: Sequence[RawRecord], *, replace: bool) -> list[_Admitted]:
        batch = (await session.fetch(self._sql["batch"], self._campaign.uid))[0]["batch"]
        sealed = await self._sealed(session)
        known = await self._known(session, records)
        for record in records:
            if (problem := self._conflict(record, known.get(record.id), sealed, replace=replace)) is not None:
                raise problem
        new = sorted((record for record in records if record.id not in known), key=lambda record: record.id)
        revised = [record for record in records if record.id in known and _differs(record, known[record.id])]
        resumed = [record for record in records if record.id in known and _is_unproduced(record, known[record.id])]
        await self._write(session, new, revised, batch)
        await self._confirm(session, new, sealed)
        self._count(records, new, revised, resumed)
        return [
            *(_Admitted(record, batch, 1) for record in new),
            *(_Admitted(record, known[record.id]["batch"], known[record.id]["revision"] + 1) for record in revised),
            *(_Admitted(record, known[record.id]["batch"], known[record.id]["revision"]) for record in resumed),
        ]

    async def _write(self, session: Session, new: Sequence[RawRecord], revised: Sequence[RawRecord], batch: int) -> None:
        uid, now = self._campaign.uid, self._clock.now()
        await session.execute_many(self._sql["insert"], [(uid, r.id, r.content_sha256(), batch, r.gold, now) for r in new])
        await session.execute_many(self._sql["revise"], [(uid, r.id, r.content_sha256(), r.gold) for r in revised])

    async def _confirm(self, session: Session, new: Sequence[RawRecord], sealed: set[int]) -> None:
        """Read back what was inserted: another process may have been first with the same id, and first write wins."""
        stored = await self._known(session, new) if new else {}
        for record in new:
            if (problem := self._conflict(record, stored[record.id], sealed, replace=False)) is not None:
                raise problem

    def _count(
        self, records: Sequence[RawRecord], new: Sequence[RawRecord], revised: Sequence[RawRecord], resumed: Sequence[RawRecord]
    ) -> None:
        self.counts.new += len(new)
        self.counts.revised += len(revised)
        self.counts.resumed += len(resumed)
        self.counts.known += len(records) - len(new) - len(revised) - len(resumed)

    async def _item(self, admitted: _Admitted) -> Item:
        record = admitted.record
        item = Item(id=record.id, campaign=CampaignRef(uid=self._campaign.uid, version=self._campaign.version))
        item.batch, item.revision = admitted.batch, admitted.revision
        item.created_at.FromMicroseconds(int(self._clock.now() * 1e6))
        item.content.CopyFrom(Content(sha256=record.content_sha256(), metadata=dict(record.metadata)))
        for part in record.parts:
            item.content.parts.append(await self._part(part))
        return item

    async def _part(self, part: RawPart) -> Part:
        if part.image is None:
            return Part(name=part.name, text=part.text or "")
        return Part(name=part.name, media=await self._media.put(part.image, part.mime_type))


def _differs(record: RawRecord, row: Row) -> bool:
    return bytes(row["content_sha256"]) != record.content_sha256()


def _is_unproduced(record: RawRecord, row: Row) -> bool:
    return not _differs(record, row) and not row["produced"]
