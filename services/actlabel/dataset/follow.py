"""``actlabel export --follow``: new merged records into files as they come."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from actlabel.core import topics
from actlabel.core.errors import RetryLater
from actlabel.dataset.flat import flat, parse_merged, rank_of
from actlabel.dataset.followed_files import FollowedFiles
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.lifecycle import until
from actlabel.runtime.log import get_log
from actlabel.stream.port import Partition, Record, Stream

_log = get_log(__name__)
ROTATE_ITEMS: Final = 10_000
ROTATE_SECONDS: Final = 30.0
_LOOK_S: Final = 1.0
_AGAIN_S: Final = 5.0

Progress = Callable[[int], None]
"""Told the records of a part that has just appeared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When a part is ended."""

    items: int = ROTATE_ITEMS
    seconds: float = ROTATE_SECONDS  # since its first record


class FollowedExport:
    """Writes every (item, draw, revision, content revision) once, unless a higher one of the item was there first."""

    def __init__(
        self,
        *,
        stream: Stream,
        campaigns: Campaigns,
        campaign: Campaign,
        files: FollowedFiles,
        rotation: Rotation,
        clock: Clock,
        on_part: Progress = lambda _records: None,
    ) -> None:
        """``files``: of this campaign."""
        self._stream = stream
        self._campaigns = campaigns
        self._campaign = campaign
        self._files = files
        self._rotation = rotation
        self._clock = clock
        self._on_part = on_part
        self._topic = topics.topic(topics.MERGED, campaign.uid)
        self._begun_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until ``stop``, or until the campaign is deleted; then end the open part. Raises ``UserError`` when the disk refuses."""
        wait_s = 0.0
        while not await until(stop, wait_s):
            try:
                await self.step(stop)
                wait_s = _LOOK_S
                if self._campaign.uid in await self._campaigns.deleted():
                    break
            except RetryLater as error:
                _log.warning("The merged topic cannot be read for now.", campaign=self._campaign.uid, reason=str(error))
                wait_s = _AGAIN_S
        self.rotate()

    async def step(self, stop: asyncio.Event) -> None:
        """Read what is there now. Raises ``RetryLater`` when the stream is out of reach."""
        for partition, end in sorted((await self._stream.end_offsets(self._topic)).items()):
            start = self._files.next.get(partition.number, 0)
            if start < end and not stop.is_set():
                await self._read(partition, start, end, stop)
        if self._files.records == 0 or self._clock.monotonic() - self._begun_s >= self._rotation.seconds:
            self.rotate()

    async def _read(self, partition: Partition, start: int, end: int, stop: asyncio.Event) -> None:
        async for records in self._stream.scan(partition, start=start, end=end):
            for record in records:
                self._take(record)
            if stop.is_set():
                return
        self._files.next[partition.number] = end  # the last offsets may hold no record

    def _take(self, record: Record) -> None:
        item = parse_merged(record.value, self._campaign.uid)
        if item is not None and self._files.is_news(item.id, rank := rank_of(item)):
            if self._files.records == 0:
                self._begun_s = self._clock.monotonic()
            self._files.write(flat(item, self._campaign.name, content=True), rank)
        self._files.next[record.partition.number] = record.offset + 1
        if self._files.records >= self._rotation.items:
            self.rotate()

    def rotate(self) -> None:
        """End the open part."""
        if records := self._files.rotate():
            self._on_part(records)
