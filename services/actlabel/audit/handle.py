"""One audit from beginning to end."""

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actlabel.audit.decide import decide
from actlabel.audit.facts import Fact, digest_of
from actlabel.audit.freeze import Ends, Start, freeze_ends, freeze_start, place_of
from actlabel.audit.history import History
from actlabel.audit.ledger import Ledger, Tally
from actlabel.audit.records import record_fact
from actlabel.audit.rows import Tables
from actlabel.audit.spill import Buckets
from actlabel.host.host import Host
from actlabel.stream.port import Partition, Stream

Progress = Callable[[str, int, int], None]
"""Told now and then: what is being read, how much was read, how much there is in all (about)."""

_REPORT_EVERY: Final = 2_000
_ROWS_OF_AN_ITEM: Final = 4  # register, candidate, decision, and now and then a review: an estimate for the progress only


async def run_audit(host: Host, uid: str, *, work: Path | None, progress: Progress) -> Ledger:
    """Prove the ledger of a campaign. ``work``: where the working files lie while it runs (about 60 bytes a record); None: the system's.

    Raises ``RetryLater`` when stream or database are out of reach, ``UserError`` when the working files cannot be written.
    """
    begun_s = host.clock.monotonic()
    start = await freeze_start(host, uid)
    tables = Tables(host.database, uid)
    expected = sum(start.early.values()) + _ROWS_OF_AN_ITEM * await tables.registered_count()
    with tempfile.TemporaryDirectory(prefix="actlabel-audit-", dir=work) as folder:
        buckets = Buckets(Path(folder), facts=expected)
        gathering = _Gathering(buckets, expected, progress)
        ends = await _gather(host, uid, start, tables, gathering)
        tally = _decide(buckets, start, progress)
        names = await _names(host.stream, tables, ends, tally)
    return tally.ledger(
        names, lag=start.lag, facts=buckets.facts, memory_bytes=buckets.memory_bytes, seconds=host.clock.monotonic() - begun_s
    )


@dataclass(slots=True)
class _Gathering:
    buckets: Buckets
    expected: int
    progress: Progress

    async def rows(self, rows: AsyncIterator[tuple[str, Fact]], what: str) -> None:
        async for item_id, fact in rows:
            self.buckets.add(digest_of(item_id.encode()), fact)
            self._report(what)

    async def partition(self, stream: Stream, partition: Partition, *, uid: str, early: int, end: int) -> None:
        place, what = place_of(partition), partition.topic.split(".")[1]
        async for records in stream.scan(partition, start=0, end=end):
            for record in records:
                fact = record_fact(place, record, uid=uid, is_early=record.offset < early)
                self.buckets.add(digest_of(record.key), fact)
                self._report(what)

    def _report(self, what: str) -> None:
        done = self.buckets.facts
        if done % _REPORT_EVERY == 0:
            self.progress(what, done, max(done, self.expected))


async def _gather(host: Host, uid: str, start: Start, tables: Tables, gathering: _Gathering) -> Ends:
    """The database first, the topics to ends that are taken after it: what a row says was done has left its record by then."""
    await gathering.rows(tables.registered(), "register")
    for rows in tables.others(start.draws):
        await gathering.rows(rows, "database")
    ends = await freeze_ends(host, uid)
    for partition, end in ends.items():
        await gathering.partition(host.stream, partition, uid=uid, early=start.early.get(partition, 0), end=end)
    return ends


def _decide(buckets: Buckets, start: Start, progress: Progress) -> Tally:
    tally = Tally()
    for number, (digest, facts) in enumerate(buckets.ids()):
        history = History(facts)
        tally.add(digest, history, decide(history, start.moment))
        if number % _REPORT_EVERY == 0:
            progress("deciding", number, number)
    return tally


async def _names(stream: Stream, tables: Tables, ends: Ends, tally: Tally) -> Mapping[bytes, str]:
    """Find the ids of the digests that a violation names: in the tables, and where no table has it on the topics."""
    wanted = {digest for digests in tally.first.values() for digest in digests}
    names: dict[bytes, str] = {}
    if not wanted:
        return names
    async for item_id in tables.ids():
        if (digest := digest_of(item_id.encode())) in wanted:
            names[digest] = item_id
            if len(names) == len(wanted):
                return names
    for partition, end in ends.items():
        async for records in stream.scan(partition, start=0, end=end):
            for record in records:
                if (digest := digest_of(record.key)) in wanted:
                    names.setdefault(digest, record.key.decode(errors="replace"))
        if len(names) == len(wanted):
            return names
    return names
