"""What the embedded log promises to processes: crashes, two at a time, one role, a full disk."""

import asyncio
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path

import pytest

from actlabel.core.errors import Fatal, UserError
from actlabel.stream.port import Partition, TopicSettings
from actlabel.stream.sqlite_stream import SqliteStream, open_sqlite_stream

_PATIENCE_S = 60.0
_TOPIC = "actlabel.items.x"
_PRODUCE = """
import asyncio, sys
from actlabel.stream.port import TopicSettings
from actlabel.stream.sqlite_stream import open_sqlite_stream

async def main(path, name, count):
    stream = await open_sqlite_stream(path, runs_stages=False)
    await stream.create_topics({"actlabel.items.x": TopicSettings(partitions=3)})
    for first in range(0, count, 50):
        await asyncio.gather(*(
            stream.producer().send("actlabel.items.x", key=f"{name}-{i}".encode(), value=bytes(500)) for i in range(first, first + 50)
        ))
        print(first + 50, flush=True)
    await stream.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
_HOLD_THE_ROLE = """
import asyncio, sys
from actlabel.stream.sqlite_stream import open_sqlite_stream

async def main(path):
    await open_sqlite_stream(path, runs_stages=True)
    print("held", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(sys.argv[1]))
"""
_FILL_A_SMALL_DISK = """
import asyncio, resource, sys
from actlabel.core.errors import Fatal
from actlabel.stream.port import TopicSettings
from actlabel.stream.sqlite_stream import open_sqlite_stream

async def main(path):
    stream = await open_sqlite_stream(path, runs_stages=True)
    await stream.create_topics({"actlabel.items.x": TopicSettings(partitions=1)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
    taken = 0
    while True:
        try:
            await stream.producer().send("actlabel.items.x", key=b"%d" % taken, value=bytes(100_000))
        except Fatal as error:
            print(taken, error, sep="\\t", flush=True)
            return
        taken += 1

asyncio.run(main(sys.argv[1]))
"""


class Owner:
    """Owns nothing in particular."""

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        return partitions

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        return {}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "stream.db")


@pytest.fixture
async def stream(path: str) -> AsyncIterator[SqliteStream]:
    opened = await open_sqlite_stream(path, runs_stages=True)
    yield opened
    await opened.close()


async def _process(program: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", program, *arguments, stdout=asyncio.subprocess.PIPE)


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def _keys(stream: SqliteStream) -> list[bytes]:
    return [
        record.key
        for partition, end in (await stream.end_offsets(_TOPIC)).items()
        async for batch in stream.scan(partition, start=0, end=end)
        for record in batch
    ]


async def test_acknowledged_records_survive_a_kill_of_their_producer(path: str, stream: SqliteStream):
    producing = await _process(_PRODUCE, path, "a", "100000")
    acknowledged = 0
    while acknowledged < 1000:
        acknowledged = int(await _line(producing))
    producing.send_signal(signal.SIGKILL)
    await producing.wait()
    keys = await _keys(stream)
    assert len(keys) == len(set(keys)) >= acknowledged
    assert {b"a-%d" % i for i in range(acknowledged)} <= set(keys)
    assert sum((await stream.end_offsets(_TOPIC)).values()) == len(keys)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_processes_that_write_at_once_lose_nothing_and_leave_no_gap(path: str, stream: SqliteStream):
    processes = [await _process(_PRODUCE, path, name, "1000") for name in "ab"]
    await stream.create_topics({_TOPIC: TopicSettings(partitions=3)})
    await asyncio.gather(*(stream.producer().send(_TOPIC, key=b"c-%d" % i, value=b"") for i in range(1000)))
    said = [(await process.communicate())[0] for process in processes]
    assert [lines.split()[-1] for lines in said] == [b"1000", b"1000"]
    assert sorted(await _keys(stream)) == sorted(b"%c-%d" % (name, i) for name in b"abc" for i in range(1000))
    for partition, end in (await stream.end_offsets(_TOPIC)).items():
        offsets = [record.offset async for batch in stream.scan(partition, start=0, end=end) for record in batch]
        assert offsets == list(range(end))


async def test_a_waiting_poll_sees_topics_and_records_of_another_process(path: str, stream: SqliteStream):
    consumer = await stream.consumer("g", topic_prefix="actlabel.items.", rebalance=Owner())
    producing = await _process(_PRODUCE, path, "a", "200")
    read = 0
    async with asyncio.timeout(_PATIENCE_S):
        while read < 200:
            read += len(await consumer.poll(consumer.assignment(), max_records=100, timeout_s=_PATIENCE_S))
    assert await producing.wait() == 0


async def test_one_process_runs_stages_and_the_others_hear_which(path: str):
    holder = await _process(_HOLD_THE_ROLE, path)
    assert await _line(holder) == "held"
    with pytest.raises(UserError, match=f"process {holder.pid} already runs stages on .*stream.db; stop it first"):
        await open_sqlite_stream(path, runs_stages=True)
    beside = await open_sqlite_stream(path, runs_stages=False)
    await beside.create_topics({_TOPIC: TopicSettings(partitions=1)})
    await beside.producer().send(_TOPIC, key=b"k", value=b"v")
    await beside.close()
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    freed = await open_sqlite_stream(path, runs_stages=True)
    assert await _keys(freed) == [b"k"]
    await freed.close()


async def test_the_role_is_free_again_after_a_close(path: str):
    for _ in range(2):
        await (await open_sqlite_stream(path, runs_stages=True)).close()


async def test_within_one_process_the_role_is_held_once_too(path: str, stream: SqliteStream):
    with pytest.raises(UserError, match=f"process {os.getpid()} already runs stages"):
        await open_sqlite_stream(path, runs_stages=True)


async def test_a_full_disk_is_one_clear_line_and_keeps_what_was_acknowledged(path: str):
    filling = await _process(_FILL_A_SMALL_DISK, path)
    taken, _, says = (await _line(filling)).partition("\t")
    assert await filling.wait() == 0
    assert says.startswith(path)
    assert "free some space and start again" in says
    after = await open_sqlite_stream(path, runs_stages=True)
    assert await _keys(after) == [b"%d" % i for i in range(int(taken))]
    await after.producer().send(_TOPIC, key=b"more", value=b"")
    assert int(taken) > 5
    await after.close()


async def test_a_full_database_fails_every_waiting_send_and_commit(path: str, stream: SqliteStream):
    await stream.create_topics({_TOPIC: TopicSettings(partitions=1)})
    await stream.producer().send(_TOPIC, key=b"0", value=b"kept")
    pages = await stream._writes.call(lambda: stream._log._connection.execute("PRAGMA page_count").fetchone()[0])
    await stream._writes.call(lambda: stream._log._connection.execute(f"PRAGMA max_page_count = {pages + 20}").fetchall())
    sends = [stream.producer().send(_TOPIC, key=b"%d" % i, value=bytes(50_000)) for i in range(1, 20)]
    answers = await asyncio.gather(*sends, return_exceptions=True)
    assert all(isinstance(answer, Fatal) for answer in answers)
    assert await _keys(stream) == [b"0"]
    await stream._writes.call(lambda: stream._log._connection.execute("PRAGMA max_page_count = 1000000").fetchall())
    await stream.producer().send(_TOPIC, key=b"1", value=bytes(50_000))
    assert await stream.end_offsets(_TOPIC) == {Partition(_TOPIC, 0): 2}


@pytest.mark.parametrize("name", ["/dev/null/stream.db", "{folder}", "{text}"])
async def test_a_path_that_cannot_be_used_is_one_clear_line(tmp_path: Path, name: str):
    (tmp_path / "text").write_text("no database, though long enough to be read as one\n" * 50)
    with pytest.raises(UserError, match=r"ACTLABEL_STREAM: .* is not usable as a SQLite file") as raised:
        await open_sqlite_stream(name.format(folder=tmp_path, text=tmp_path / "text"), runs_stages=True)
    assert "\n" not in str(raised.value)


def test_the_limit_that_the_full_disk_test_sets_is_honoured_here():
    """Python ignores SIGXFSZ, so that a write above the limit fails as on a full disk instead of ending the process."""
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
