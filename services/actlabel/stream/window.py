"""Which partitions to ask for, and for how much: the window of dispatched but uncommitted items, shared fairly."""

from collections.abc import Collection
from dataclasses import dataclass

from actlabel.stream.fair_share import fits
from actlabel.stream.limits import Limits
from actlabel.stream.port import Partition
from actlabel.stream.tracker import Tracker


@dataclass(slots=True)
class _Held:
    items: int = 0
    bytes: int = 0

    def add(self, tracker: Tracker) -> None:
        self.items += tracker.items
        self.bytes += tracker.bytes


class Window:
    """Decides from the trackers as they are now; keeps no count of its own that could go wrong."""

    def __init__(self, limits: Limits) -> None:
        """``limits``: of the process."""
        self._limits = limits
        self._mean_bytes = 1024.0  # of a record, learnt from those that came

    def saw(self, size: int) -> None:
        """Learn from the size of a record, in bytes."""
        self._mean_bytes += (size - self._mean_bytes) / 64

    def ask(self, trackers: Collection[Tracker]) -> tuple[list[Partition], int]:
        """Return the partitions to ask for, out of those that may go on, and how many records to take at most.

        Items never exceed the window (but see ``fits``: the first of a campaign always fits). Bytes are known only after a record has
        been read, so one poll may exceed them by as much as its records are larger than those before.
        """
        total = _Held()
        campaigns: dict[str, _Held] = {}
        for tracker in trackers:
            total.add(tracker)
            campaigns.setdefault(tracker.campaign, _Held()).add(tracker)
        wanted = [t.partition for t in trackers if self._fits(t, campaigns[t.campaign], total)]
        return wanted, self._batch(total)

    def _fits(self, tracker: Tracker, campaign: _Held, total: _Held) -> bool:
        limits = self._limits
        items, size = limits.window_items, limits.window_bytes
        return campaign.items == 0 or (
            fits(campaign.items, total.items, capacity=items, lend=limits.lend_to_campaign)
            and fits(campaign.bytes, total.bytes, capacity=size, lend=limits.lend_to_campaign)
            and total.items < items
            and total.bytes < size
            and fits(tracker.items, total.items, capacity=items, lend=limits.lend_to_partition)
            and fits(tracker.bytes, total.bytes, capacity=size, lend=limits.lend_to_partition)
        )

    def _batch(self, total: _Held) -> int:
        """Take a quarter of what is free, so that a threshold is not overrun by much."""
        items = (self._limits.window_items - total.items) // 4
        by_bytes = int((self._limits.window_bytes - total.bytes) / self._mean_bytes) // 4
        return max(1, min(self._limits.poll_records, items, by_bytes))
