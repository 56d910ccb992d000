"""uvloop and aiokafka together: writing to a connection that is gone is an outage, not the end of the process."""

import asyncio

import pytest
import uvloop

from actlabel.core.errors import RetryLater
from actlabel.stream.kafka_client import translated_kafka_errors
from actlabel.stream.kafka_connection import has_lost_connection


async def _write_to_what_is_gone() -> None:
    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.transport.abort()
    await asyncio.sleep(0.05)
    server.close()
    writer.write(b"a commit")


def test_a_write_to_a_closed_connection_is_an_outage():
    with pytest.raises(RuntimeError) as raw, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_write_to_what_is_gone())
    assert has_lost_connection(raw.value)
    with pytest.raises(RetryLater), translated_kafka_errors():
        raise raw.value
    with pytest.raises(RuntimeError, match="ours"), translated_kafka_errors():
        raise RuntimeError("a defect of ours")
