"""Dead letters of a source, read again: after the registry, the descriptor or the campaign's labels were put right."""

from collections.abc import Sequence

from actlabel.core.errors import UserError
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.source.open import open_taker
from actlabel.source.take import Sorted, TakeSource
from actlabel.stream.dead_records import DeadRecord, DeadRecords, Original
from actlabel.stream.port import Record


async def replay_source(host: Host, campaign: Campaign, dead: Sequence[DeadRecord]) -> int:
    """Read these again by the newest campaign file; return how many were taken in. The others keep their rows.

    Repeating it is harmless: a record that is registered already is known. Raises ``UserError`` when the campaign has no source any more.
    """
    if campaign.file.source is None:
        raise UserError(f"{campaign.name}: source: is not in the campaign file any more, so nothing says how its records are read")
    records = DeadRecords(database=host.database, stream=host.stream, clock=host.clock)
    taken = 0
    async with open_taker(host, campaign, campaign.file.source) as taker:
        async for originals in records.originals(campaign.uid, dead):
            gone = await _take(taker, originals)
            await records.forget(gone)
            taken += len(gone)
    return taken


async def _take(taker: TakeSource, originals: Sequence[Original]) -> Sequence[DeadRecord]:
    """Take what can be taken, and return which that were: all but those that are bad again."""
    batch = Sorted()
    for original in originals:
        await taker.read(Record(original.dead.partition, original.dead.offset, original.key, original.value, (), 0), batch)
    await taker.admit(batch)
    bad = {(record.partition, record.offset) for record, _ in batch.bad}
    return [original.dead for original in originals if (original.dead.partition, original.dead.offset) not in bad]
