"""Reading a frozen range of one Kafka partition, outside any group."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from actlabel.core.errors import RetryLater
from actlabel.stream.kafka_client import KafkaCluster, as_record, named, translated_kafka_errors
from actlabel.stream.kafka_stopping import stop_consumer
from actlabel.stream.kafka_unreadable import UNREADABLE, one_by_one, was_unreadable
from actlabel.stream.port import Partition, Record

_BATCH_RECORDS: Final = 1000
_WAIT_MS: Final = 300
_SILENCE_S: Final = 30.0


async def scan_partition(cluster: KafkaCluster, partition: Partition, *, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
    """Yield the records with ``start <= offset < end`` in batches. Raises ``RetryLater`` when Kafka falls silent."""
    if start >= end:
        return
    with translated_kafka_errors():
        client = cluster.consumer(client_id="actlabel-scan", group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=_WAIT_MS // 2)
        client.assign([named(partition)])
        try:
            await client.start()
            client.seek(named(partition), start)
            async for records in _until(client, named(partition), end):
                yield [as_record(partition, record) for record in records if record.offset < end]
        finally:
            await stop_consumer(client)


async def _next(client: Any, tp: Any, position: int, *, wait_ms: int) -> Sequence[Any]:
    """Read a batch; where a record in it cannot be read, all before it, one by one, and an empty one in its place."""
    try:
        return (await client.getmany(tp, timeout_ms=wait_ms, max_records=_BATCH_RECORDS)).get(tp, ())  # type: ignore[no-any-return]
    except UNREADABLE:
        client.seek(tp, position)
        found: list[Any] = []
        while not was_unreadable({tp: found}):
            found += (await one_by_one(client, [tp])).get(tp, ())
        return found


async def _until(client: Any, tp: Any, end: int) -> AsyncIterator[Sequence[Any]]:
    """Read until the position is ``end``, or Kafka says that nothing is left below it: the last offsets of a log may hold no record."""
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while (position := await client.position(tp)) < end:
        last_answer = client.last_poll_timestamp(tp)
        records = await _next(client, tp, position, wait_ms=_WAIT_MS)
        if not records and await client.position(tp) == position and client.last_poll_timestamp(tp) != last_answer:
            heard = loop.time()
            records = await _next(client, tp, position, wait_ms=0)  # the answer may have come just when the wait was over
            if not records and (client.highwater(tp) or 0) >= end:
                return  # a fetch from this very position was answered, and it brought nothing
        if records:
            heard = loop.time()
            yield records
        elif loop.time() - heard > _SILENCE_S:
            raise RetryLater(f"Kafka did not answer for {_SILENCE_S:.0f} s while {tp.topic} was read")
