"""The embedded stream: topics in one SQLite file, groups within this process. See ``port.Stream``."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from actlabel.core.errors import DeadLetter
from actlabel.stream.cancelling import wait_at_most
from actlabel.stream.port import Consumer, Earlier, Handover, Headers, Partition, Producer, Rebalance, Record, TopicSettings
from actlabel.stream.record_size import check_size
from actlabel.stream.sqlite_group import SqliteConsumer, SqliteGroup
from actlabel.stream.sqlite_log import Commit, LogReader, LogWriter, Send
from actlabel.stream.sqlite_role import StageRole
from actlabel.stream.sqlite_writer import GroupCommit

_WATCH_INTERVAL_S: Final = 0.1  # how soon a write of another process is noticed
_SCAN_RECORDS: Final = 1000
_T = TypeVar("_T")


async def open_sqlite_stream(path: str, *, runs_stages: bool) -> "SqliteStream":
    """Open a file, made when missing. Raises ``UserError``: not usable, or ``runs_stages`` and another process has that role."""
    write_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite log writer")
    read_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite log reader")
    role: StageRole | None = None
    loop = asyncio.get_running_loop()
    try:
        writer = await loop.run_in_executor(write_thread, LogWriter, path)
        role = StageRole(path) if runs_stages else None
        reader = await loop.run_in_executor(read_thread, LogReader, path)
    except BaseException:
        if role is not None:
            role.release()
        write_thread.shutdown()
        read_thread.shutdown()
        raise
    return SqliteStream(writer, write_thread, reader, read_thread, role)


class SqliteProducer:
    """See ``port.Producer``."""

    def __init__(self, writer: GroupCommit) -> None:
        self._writer = writer

    def send(self, topic: str, *, key: bytes, value: bytes, headers: Headers = ()) -> Awaitable[None]:
        """See ``port.Producer``."""
        try:
            check_size(topic, key=key, value=value, headers=headers)
        except DeadLetter as error:
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused
        return self._writer.hand_over(Send(topic=topic, key=key, value=value, headers=headers, timestamp_ms=time.time_ns() // 1_000_000))

    async def flush(self) -> None:
        """See ``port.Producer``."""
        await self._writer.idle()


class SqliteStream:
    """See ``port.Stream``."""

    def __init__(
        self,
        writer: LogWriter,
        write_thread: ThreadPoolExecutor,
        reader: LogReader,
        read_thread: ThreadPoolExecutor,
        role: StageRole | None,
    ) -> None:
        """Each connection with the one thread that uses it; ``role``: held when this process runs stages."""
        self._log = writer
        self._write_thread = write_thread
        self._reader = reader
        self._read_thread = read_thread
        self._role = role
        self._writes = GroupCommit(writer, write_thread, on_written=self._wake_readers)
        self._producer = SqliteProducer(self._writes)
        self._groups: dict[str, SqliteGroup] = {}
        self._watching: asyncio.Task[None] | None = None
        self._topics_changed = asyncio.Event()

    async def _read(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._read_thread, work)

    async def create_topics(self, topics: Mapping[str, TopicSettings]) -> None:
        """See ``port.Stream``."""
        await self._writes.call(lambda: self._log.create_topics(topics))
        self._topics_changed.set()

    async def delete_topics(self, names: Collection[str]) -> None:
        """See ``port.Stream``."""
        await self._writes.idle()
        await self._writes.call(lambda: self._log.delete_topics(names))
        self._topics_changed.set()

    async def topics(self, prefix: str) -> Mapping[str, int]:
        """See ``port.Stream``."""
        return {name: count for name, count in (await self._read(self._reader.topics)).items() if name.startswith(prefix)}

    async def end_offsets(self, topic: str) -> Mapping[Partition, int]:
        """See ``port.Stream``."""
        return await self._read(lambda: self._reader.ends(topic))

    async def committed(self, group: str, topic: str) -> Mapping[Partition, int | None]:
        """See ``port.Stream``."""
        return await self._read(lambda: self._reader.committed(group, topic))

    async def commit_start(self, group: str, topic: str) -> None:
        """See ``port.Stream``."""
        await self._writes.call(lambda: self._log.commit_start(group, topic))

    async def scan(self, partition: Partition, *, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """See ``port.Stream``."""
        await self._read(self._reader.changes)
        while start < end:
            records = await self._read(lambda: list(self._reader.scan(partition, start, end, _SCAN_RECORDS)))  # noqa: B023 - awaited here
            if not records:
                return
            start = records[-1].offset + 1
            yield records

    def producer(self) -> Producer:
        """See ``port.Stream``."""
        return self._producer

    async def consumer(
        self,
        group: str,
        *,
        topic_prefix: str,
        rebalance: Rebalance,
        handover: Handover | None = None,
        earlier: Earlier | None = None,  # noqa: ARG002 - nothing is left out here
    ) -> Consumer:
        """See ``port.Stream``. Only for a process with the role of running stages."""
        assert self._role is not None, "a process that joins groups opens its stream with runs_stages=True"
        member = SqliteConsumer(
            group,
            topic_prefix=topic_prefix,
            rebalance=rebalance,
            handover=handover,
            read=self._read_records,
            store=self._store,
            ends=self.end_offsets,
        )
        joined = self._groups.setdefault(group, SqliteGroup(group, committed=self.committed, store=self._store))
        joined.members.append(member)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="sqlite log watch")
        await joined.settle(await self.topics(""))
        return member

    async def _read_records(self, starts: Mapping[Partition, int], max_records: int) -> Sequence[Record]:
        return await self._read(lambda: self._reader.read(starts, max_records))

    async def _store(self, commits: Collection[Commit]) -> None:
        await asyncio.gather(*[self._writes.hand_over(commit) for commit in commits])

    async def close_consumer(self, consumer: Consumer) -> None:
        """See ``port.Stream``."""
        for group in self._groups.values():
            if consumer in group.members:
                leaving = [member for member in group.members if member is consumer]
                group.members = [member for member in group.members if member is not consumer]
                await asyncio.gather(*(member.hand_over() for member in leaving))
                await group.settle(await self.topics(""))

    async def _watch(self) -> None:
        """Notice what other processes write, and topics that come and go."""
        topics: Mapping[str, int] = {}
        seen = 0
        while True:
            changes = await self._read(self._reader.changes)
            if changes != seen:
                seen = changes
                self._wake_all()
                topics = await self._settle_if_changed(topics)
            await wait_at_most(self._topics_changed, _WATCH_INTERVAL_S)
            self._topics_changed.clear()

    async def _settle_if_changed(self, before: Mapping[str, int]) -> Mapping[str, int]:
        after = await self.topics("")
        if after == before:
            return after
        for group in list(self._groups.values()):
            try:
                await group.settle(after)
            except Exception as error:  # noqa: BLE001 - its members raise it from poll
                for member in group.members:
                    member.fail(error)
        return after

    def _wake_readers(self, topics: Set[str]) -> None:
        """Wake those who read one of these topics: the others would look in vain, and a look is a turn of a thread."""
        for group in self._groups.values():
            for member in group.members:
                if any(topic.startswith(member.topic_prefix) for topic in topics):
                    member.wake()

    def _wake_all(self) -> None:
        for group in self._groups.values():
            for member in group.members:
                member.wake()

    async def close(self) -> None:
        """See ``port.Stream``."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._writes.idle()
        await self._writes.call(self._log.close)
        await self._read(self._reader.close)
        self._write_thread.shutdown()
        self._read_thread.shutdown()
        if self._role is not None:
            self._role.release()
