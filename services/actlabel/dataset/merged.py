"""The merged topic as a set of items: read to frozen offsets, one record per item."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core.errors import RetryLater
from actlabel.dataset.layout import ContentKey, Layout, content_keys, layout_of
from actlabel.dataset.manifest import Manifest, OffsetRange, freeze
from actlabel.runtime.log import get_log
from actlabel.stream.port import Partition, Record, Stream

_log = get_log(__name__)


def human_label(item: Item) -> str | None:
    """Return the label that a reviewer gave, or None where nobody could or was asked to."""
    return item.review.label if item.review.outcome == Review.OUTCOME_LABELLED else None


def final_label(item: Item) -> str:
    """Return the label of a merged item: the reviewer's, else the annotator's."""
    human = human_label(item)
    return item.annotation.label if human is None else human


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A frozen data set on the merged topic. What it costs in memory is eight bytes an item; the items themselves stay in the log."""

    stream: Stream
    manifest: Manifest
    winners: dict[int, npt.NDArray[np.int64]]  # partition → offsets of the records that count, ascending
    layout: Layout
    labels: frozenset[str]  # every label that an annotator or a reviewer gave
    unreadable: int  # records that are no item of this campaign; they are reported, not exported

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(offsets) for offsets in self.winners.values())

    async def items(self) -> AsyncIterator[Item]:
        """Yield every item once, by partition and offset.

        Raises ``RetryLater`` when the log was compacted in between, so that a record is gone; start again from ``read_merged``.
        """
        for extent in self.manifest.ranges:
            async for item in self._of_partition(extent):
                yield item

    async def _of_partition(self, extent: OffsetRange) -> AsyncIterator[Item]:
        wanted = set(self.winners[extent.partition].tolist())
        async for record in _records(self.stream, self.manifest.topic, extent):
            if record.offset in wanted:
                wanted.discard(record.offset)
                yield Item.FromString(record.value)
        if wanted:
            raise RetryLater(f"{self.manifest.topic}: {len(wanted)} records were compacted away while they were read; start again")


async def read_merged(stream: Stream, campaign_uid: str, manifest: Manifest | None = None) -> Merged:
    """Find the record that counts for every item of a campaign, up to frozen offsets (the present ones where none are given).

    Of several records of one item the highest (draw, review revision) counts, then the later offset: a late duplicate of a machine
    answer never replaces a human one.
    """
    frozen = manifest if manifest is not None else await freeze(stream, campaign_uid)
    survey = _Survey(campaign_uid)
    winners = {extent.partition: await survey.partition(stream, frozen.topic, extent) for extent in frozen.ranges}
    if survey.unreadable:
        _log.warning("Records on the merged topic are not items of this campaign", topic=frozen.topic, records=survey.unreadable)
    return Merged(
        stream=stream,
        manifest=frozen,
        winners=winners,
        layout=layout_of(survey.keys),
        labels=frozenset(survey.labels),
        unreadable=survey.unreadable,
    )


class _Survey:
    """The first reading: which records count, and what columns and labels there are."""

    def __init__(self, campaign_uid: str) -> None:
        self.keys: set[ContentKey] = set()
        self.labels: set[str] = set()
        self.unreadable = 0
        self._uid = campaign_uid

    async def partition(self, stream: Stream, topic: str, extent: OffsetRange) -> npt.NDArray[np.int64]:
        """Return the offsets that count. All records of an item are in one partition, so one partition's ids are held at a time."""
        best: dict[str, tuple[int, int, int]] = {}
        async for record in _records(stream, topic, extent):
            if (item := self._decode(record)) is not None:
                rank = (item.decision.draw, item.review.revision, record.offset)
                best[item.id] = max(best.get(item.id, rank), rank)
        return np.sort(np.fromiter((rank[2] for rank in best.values()), dtype=np.int64, count=len(best)))

    def _decode(self, record: Record) -> Item | None:
        try:
            item = Item.FromString(record.value)
        except DecodeError:
            item = Item()
        if not item.id or item.campaign.uid != self._uid or not item.annotation.label:
            self.unreadable += 1
            return None
        self.keys.update(key for key, _ in content_keys(item.content))
        self.labels.update(label for label in (item.annotation.label, human_label(item)) if label is not None)
        return item


async def _records(stream: Stream, topic: str, extent: OffsetRange) -> AsyncIterator[Record]:
    async for batch in stream.scan(Partition(topic, extent.partition), start=extent.start, end=extent.end):
        for record in batch:
            yield record
