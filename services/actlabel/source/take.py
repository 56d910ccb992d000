"""A batch of a followed topic into its campaign: decoded, registered and produced, or put aside, each record once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from actlabel.core import topics
from actlabel.core.errors import DeadLetter, RetryLater, UserError
from actlabel.intake.raw_record import RawRecord, place_name
from actlabel.intake.register import Register
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import Campaign
from actlabel.source.reading import SourceReader
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.port import Partition, Record

REFUSED: Final = "refused"


@dataclass(slots=True)
class Sorted:
    """A batch, looked at: every record is in exactly one of the three, and those of ``good`` may still be refused."""

    good: dict[str, tuple[RawRecord, Record]] = field(default_factory=dict)  # by item id
    bad: list[tuple[Record, DeadLetter]] = field(default_factory=list)
    skipped: int = 0  # tombstones, duplicates within the batch, and what was put aside before


class TakeSource:
    """See ``follower.Taker``."""

    def __init__(self, *, campaign: Campaign, reader: SourceReader, register: Register, dead_letters: DeadLetters) -> None:
        """``register``: of ``campaign``."""
        self._campaign = campaign
        self._reader = reader
        self._register = register
        self._dead_letters = dead_letters
        self._dead: dict[Partition, Collection[int]] = {}

    def forget(self) -> None:
        """See ``follower.Taker``."""
        self._dead.clear()

    async def take(self, records: Sequence[Record], /) -> None:
        """See ``follower.Taker``. What is registered and produced again is known, what is put aside again stays as it was."""
        batch = await self._sort(records)
        await self.admit(batch)
        for record, why in batch.bad:
            await self._put_aside(record, why)
        self._count("skipped", batch.skipped)

    async def _sort(self, records: Sequence[Record]) -> Sorted:
        batch = Sorted()
        for record in records:
            if not record.value or record.offset in await self._put_aside_before(record):
                batch.skipped += 1
            else:
                await self.read(record, batch)
        return batch

    async def _put_aside_before(self, record: Record) -> Collection[int]:
        """A dead letter is a decision: delivered again, the record stays dead even if it could be read this time."""
        if record.partition not in self._dead:
            self._dead[record.partition] = await self._dead_letters.offsets(record.partition, record.offset, uid=self._campaign.uid)
        return self._dead[record.partition]

    async def read(self, record: Record, batch: Sorted) -> None:
        """Put a record where it belongs. Raises ``RetryLater``."""
        try:
            raw = await self._reader.read(record)
        except DeadLetter as why:
            batch.bad.append((record, why))
            return
        first = batch.good.setdefault(raw.id, (raw, record))[0]
        if first.content_sha256() != raw.content_sha256():
            batch.bad.append((record, DeadLetter(REFUSED, f"{raw.where}: id {raw.id!r} came with other content at {first.where}")))
        else:
            batch.skipped += first is not raw

    async def admit(self, batch: Sorted) -> None:
        """Register and produce what is good; what the register refuses becomes bad. Raises ``RetryLater``."""
        conflicts = await self._register.conflicts([raw for raw, _ in batch.good.values()], replace=False)
        batch.bad += [(batch.good.pop(item_id)[1], DeadLetter(REFUSED, _without_remedy(why))) for item_id, why in conflicts.items()]
        known = self._register.counts.known
        try:
            await self._register.take([raw for raw, _ in batch.good.values()], replace=False)
        except UserError as error:  # another process was first with an id, or the storage refuses: the next attempt knows which
            raise RetryLater(str(error)) from error
        except DeadLetter as error:
            raise RetryLater(f"the items topic of campaign {self._campaign.name} takes no record ({error.detail})") from error
        known = self._register.counts.known - known
        self._count("known", known)
        self._count("done", len(batch.good) - known)

    async def _put_aside(self, record: Record, why: DeadLetter) -> None:
        await self._dead_letters.put(
            record,
            stage=topics.SOURCE,
            version=self._campaign.version,
            reason=why.reason,
            detail=why.detail,
            uid=self._campaign.uid,
            item_id=place_name(*record.partition, record.offset),
        )
        self._count("dead", 1)

    def _count(self, outcome: str, records: int) -> None:
        metrics.RECORDS.labels(topics.SOURCE, self._campaign.uid, outcome).inc(records)


def _without_remedy(why: UserError) -> str:
    """The register's remedy is an option of ``ingest``, which a topic has not."""
    return str(why).partition("; ")[0]
