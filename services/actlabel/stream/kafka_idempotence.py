"""aiokafka's idempotent producer: how it is made, and how one is put away that may never deliver what it holds."""

import asyncio
from typing import Any, Final

from aiokafka.errors import KafkaError

from actlabel.runtime.log import get_log
from actlabel.stream.kafka_client import BATCH_BYTES, MESSAGE_BYTES, KafkaCluster

_GIVE_UP_S: Final = 2.0
_log = get_log(__name__)


def idempotent_client(cluster: KafkaCluster) -> Any:
    """Make a producer, not yet started, that writes every record once and waits for all replicas in sync."""
    return cluster.producer(
        client_id="actlabel",
        enable_idempotence=True,  # and so acks=all
        max_batch_size=BATCH_BYTES,
        max_request_size=MESSAGE_BYTES,
    )


async def stop_soon(client: Any) -> None:
    """Stop a producer that nobody waits for any more; it may still hold records of a deleted topic."""
    try:
        async with asyncio.timeout(_GIVE_UP_S):
            await client.stop()
    except TimeoutError:
        await abandon(client)


async def abandon(client: Any) -> None:
    """Stop a producer that may never be able to deliver what it holds. Its public ``stop`` would wait for that delivery for ever."""
    sender = client._sender.sender_task  # noqa: SLF001 - there is no public way to give up
    sender.cancel()
    await client.client.close()
    await asyncio.wait([sender], timeout=_GIVE_UP_S)
    if sender.done() and not sender.cancelled():
        sender.exception()  # seen: it may have failed in being cancelled
    _fail_all(client._message_accumulator)  # noqa: SLF001
    try:
        await client.stop()
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is being thrown away, and its sender's end is no end of ours
        _log.info("Kafka producer did not stop cleanly", error=repr(error))


def _fail_all(accumulator: Any) -> None:
    """Let aiokafka fail what it holds, without its complaints: batches that wait for another attempt are missing among its pending ones,
    from which their callbacks remove them, and nobody looks at the failure of a batch that was not sent."""
    accumulator._pending_batches.update(batch for batches in accumulator._batches.values() for batch in batches)  # noqa: SLF001
    accumulator.fail_all(KafkaError("the producer was replaced"))
    for batch in accumulator._pending_batches:  # noqa: SLF001
        batch._drain_waiter.exception()  # noqa: SLF001
