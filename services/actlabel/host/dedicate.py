"""A campaign gets a stage for itself, and gives it back: offsets move with it, and at no time do two groups read it.

First nobody reads: the processes that did see the new state within a second or two, give the partitions back as in any rebalance
(running calls are claimed, the last offsets committed) and no longer subscribe. Kafka says when the last has. Then the offsets are
copied, and only then does the other side begin. Whatever is killed between two steps, repeating the command finishes it.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from actlabel.core import topics
from actlabel.core.errors import RetryLater, UserError
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign, Dedication
from actlabel.stream.kafka_groups import KafkaGroups
from actlabel.stream.kafka_stream import KafkaStream
from actlabel.stream.port import Partition

STAGES: Final = (topics.ANNOTATOR, topics.CRITICIZER)
"""Those that can work for one campaign alone: they call models, which is what takes time."""

_LOOK_S: Final = 0.5
_PATIENCE_S: Final = 90.0


async def dedicate(host: Host, campaign: Campaign, stage: str, *, patience_s: float = _PATIENCE_S) -> None:
    """Give a campaign a stage for itself. Raises ``UserError`` when this is no Kafka, or when somebody goes on reading."""
    move = _Move(host, campaign, stage, patience_s)
    if (await host.campaigns.dedicated(stage)).get(campaign.uid) is not Dedication.OWN:
        await host.campaigns.dedicate(campaign.uid, stage, Dedication.LEAVING)
        await move.nobody_reads(move.shared)
        await move.groups.commit(move.own, await move.offsets(move.shared))
        await host.campaigns.dedicate(campaign.uid, stage, Dedication.OWN)
    await move.forget_shared()


async def share(host: Host, campaign: Campaign, stage: str, *, patience_s: float = _PATIENCE_S) -> None:
    """Let a campaign share a stage with all others again. Raises as ``dedicate``."""
    move = _Move(host, campaign, stage, patience_s)
    state = (await host.campaigns.dedicated(stage)).get(campaign.uid)
    if state is None:
        return
    if state is not Dedication.LEAVING:  # of a move that never arrived the shared group still has the offsets
        await host.campaigns.dedicate(campaign.uid, stage, Dedication.RETURNING)
        await move.nobody_reads(move.own)
        await move.groups.commit(move.shared, await move.offsets(move.own))  # members would find them too, but there may be none
    await host.campaigns.dedicate(campaign.uid, stage, None)


class _Move:
    """What both directions need."""

    def __init__(self, host: Host, campaign: Campaign, stage: str, patience_s: float) -> None:
        if stage not in STAGES:
            raise UserError(f"stage {stage!r} works for all campaigns together; {' and '.join(STAGES)} can have one for itself")
        if not isinstance(host.stream, KafkaStream):
            raise UserError("ACTLABEL_STREAM: on embedded files one process runs every stage; dedicate campaigns on Kafka")
        self._stream = host.stream
        self._patience_s = patience_s
        self.topic = topics.topic(topics.READS[stage], campaign.uid)
        self.shared = topics.group(stage)
        self.own = topics.campaign_group(stage, campaign.uid)

    @property
    def groups(self) -> KafkaGroups:
        return self._stream.groups

    async def offsets(self, group: str) -> Mapping[Partition, int]:
        """What a group has committed; the log's start where that is nothing."""
        return {partition: offset or 0 for partition, offset in (await self._stream.committed(group, self.topic)).items()}

    async def nobody_reads(self, group: str) -> None:
        """Wait until no member of a group subscribes to the topic: then none holds a partition of it, and none can commit one."""
        why = "nobody was asked yet"
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    try:
                        readers = await self.groups.readers(group, self.topic)
                    except RetryLater as error:
                        why = str(error)
                    else:
                        if not readers:
                            return
                        why = f"{len(readers)} processes read it, the first is {readers[0]}"
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as error:
            raise UserError(
                f"{self.topic}: the group {group} does not let go ({why}); is an older version in it? Repeat when that has ended"
            ) from error

    async def forget_shared(self) -> None:
        """Take the topic out of the shared group's lag, so that nothing scales on it there."""
        offsets = await self._stream.committed(self.shared, self.topic)
        if stale := [partition for partition, offset in offsets.items() if offset is not None]:
            await self.groups.forget(self.shared, stale)
