"""Looks at the system from outside: watermarks once a second, and what a killed process leaves to be read again."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress

from actlabel.core import topics
from actlabel.core.errors import RetryLater
from actlabel.host.host import Host
from actlabel.stream.port import Partition
from tests.acceptance.chaos.standing import Reread, Sample

_LOOK_S = 1.0


class Watermarks:
    """Samples of what every stage has committed."""

    def __init__(self, host: Host, uid: str) -> None:
        """Begin without any."""
        self._host = host
        self._uid = uid
        self.samples: list[Sample] = []

    async def watch(self) -> None:
        """Look once a second, for ever; an outage leaves a gap."""
        while True:
            with suppress(RetryLater):
                self.samples.append(await self._look())
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> Sample:
        at_s = time.time()
        committed: dict[str, int] = {}
        ends: dict[str, int] = {}
        for stage, kind in topics.READS.items():
            topic = topics.topic(kind, self._uid)
            offsets = await self._host.stream.committed(topics.group(stage), topic)
            committed |= {f"{kind}/{partition.number}": offset or 0 for partition, offset in offsets.items()}
            found = await self._host.stream.end_offsets(topic)
            ends |= {f"{kind}/{partition.number}": end for partition, end in found.items()}
        return Sample(at_s=at_s, committed=committed, ends=ends)


class Followed:
    """The keys of a topic, read on where the last look ended."""

    def __init__(self, host: Host, topic: str) -> None:
        """Nothing is read yet."""
        self._host = host
        self._topic = topic
        self.keys: defaultdict[Partition, list[bytes]] = defaultdict(list)  # by offset: these topics are not compacted
        self.seen: set[bytes] = set()

    async def look(self) -> None:
        """Read what was appended."""
        for partition, end in (await self._host.stream.end_offsets(self._topic)).items():
            async for batch in self._host.stream.scan(partition, start=len(self.keys[partition]), end=end):
                self.keys[partition] += [record.key for record in batch]
                self.seen.update(record.key for record in batch)


class Rereads:
    """Counts, when a process was killed, what was done and not committed."""

    def __init__(self, host: Host, uid: str, *, window: int) -> None:
        """``window``: of one process."""
        self._host = host
        self._uid = uid
        self._window = window
        self._followed = {kind: Followed(host, topics.topic(kind, uid)) for kind in topics.KINDS}
        self.found: list[Reread] = []

    async def count(self, member: str, role: str, *, replicas: int) -> None:
        """Count for the whole group of the victim, ``replicas`` with it: nobody outside knows which partitions were whose."""
        source = topics.READS[role]
        committed = await self._host.stream.committed(topics.group(role), topics.topic(source, self._uid))
        done = await self._done(role)
        read = self._followed[source]
        await read.look()
        beyond = (key for partition, offset in committed.items() for key in read.keys[partition][offset or 0 :])
        self.found.append(Reread(member=member, records=sum(key in done for key in beyond), bound=self._window * replicas))

    async def _done(self, role: str) -> Collection[bytes]:
        table = {topics.SAMPLER: "candidate", topics.REVIEW_GATEWAY: "review"}.get(role)
        if table is not None:
            rows = await self._host.database.fetch(f"SELECT item_id FROM {table} WHERE uid = $1", self._uid)
            return {row["item_id"].encode() for row in rows}
        output = self._followed[{topics.ANNOTATOR: topics.ANNOTATED, topics.CRITICIZER: topics.CRITIQUED}[role]]
        await output.look()
        return output.seen
